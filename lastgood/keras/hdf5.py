"""The datasets of an HDF5 file that Keras wrote, read defensively: h5py is C code, and the file may be anybody's.

Follows hard links within the file and nothing else: a symbolic or external link, external storage and a virtual
dataset are refused, as Keras writes none and each could lead to another file. Refused too: an object that is linked
twice (a cycle, at worst), more groups or deeper ones than any model has, filters other than the library's own, and
datasets that claim more bytes than the file stores for them. No value is read before its size is known and fits.

HDF5 keeps no checksum of what it stores: a flipped bit is read as another number, and nobody notices.
"""

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Iterator, List, NamedTuple, Tuple

from lastgood.bundle import dtypes, slices
from lastgood.errors import BundleError, MissingExtraError
from lastgood.reasons import Reason
from lastgood.window import Window

if TYPE_CHECKING:
    import numpy as np

MAX_OBJECTS = 1_000_000
MAX_DEPTH = 64
MAX_CHUNK_BYTES = 256 << 20
MAX_NAME_BYTES = 1 << 16

#: Deflate makes at most so much of one byte.
_MAX_EXPANSION = 1032

#: Deflate, shuffle and fletcher32, which are part of the library: any other one is code that is looked for on the disk.
_FILTERS = (1, 2, 3)

_PIECE_BYTES = 1 << 20

#: numpy's letter and size of an element, by TensorFlow's name.
_NAMES = {
    ("f", 2): "float16",
    ("f", 4): "float32",
    ("f", 8): "float64",
    ("i", 1): "int8",
    ("i", 2): "int16",
    ("i", 4): "int32",
    ("i", 8): "int64",
    ("u", 1): "uint8",
    ("u", 2): "uint16",
    ("u", 4): "uint32",
    ("u", 8): "uint64",
    ("c", 8): "complex64",
    ("c", 16): "complex128",
    ("b", 1): "bool",
}


class Dataset(NamedTuple):
    """One array of the file.

    path: within the file, such as "layers/dense/vars/0". name: that of the layer or optimizer that it belongs to.
    dtype: TensorFlow's name; "string" for text.
    """

    path: str
    name: str
    dtype: str
    shape: Tuple[int, ...]
    size_bytes: int


class Hdf5File:
    """An open HDF5 file."""

    def __init__(self, stream: Window, where: str) -> None:
        """`where` names the file in errors. Raises BundleError, and MissingExtraError where there is no h5py."""
        self._h5py = _import_h5py()
        self._where = where
        self._stream = stream
        with self._translated():
            self._file = self._h5py.File(stream, "r")

    def close(self) -> None:
        with self._translated():
            self._file.close()
        self._stream.close()

    def datasets(self) -> List[Dataset]:
        """All of them, in the order of their paths. Raises BundleError."""
        found: List[Dataset] = []
        with self._translated():
            seen = {self._address(self._file)}
            todo: List[Tuple[Any, str, str, int]] = [(self._file, "", "", 0)]
            while todo:
                group, path, name, depth = todo.pop()
                name = self._name_of(group) or name
                for child in group:
                    item = self._child(group, child, path, seen)
                    below = "{}/{}".format(path, child) if path else child
                    if isinstance(item, self._h5py.Group):
                        if depth >= MAX_DEPTH:
                            raise self._refused(path, "groups more than {} deep".format(MAX_DEPTH))
                        todo.append((item, below, name, depth + 1))
                    elif isinstance(item, self._h5py.Dataset):
                        found.append(self._describe(item, below, name))
        return sorted(found)

    def pieces(self, dataset: Dataset) -> Iterator[memoryview]:
        """The elements of an array of numbers, row by row, little-endian, in pieces. Raises BundleError."""
        if dataset.dtype not in dtypes.BY_NAME or dtypes.is_opaque(dataset.dtype):
            raise self._refused(dataset.path, "values of type {}".format(dataset.dtype))
        with self._translated():
            item = self._file[dataset.path]
            self._refuse_what_is_not_stored(item, dataset)
        width = max(1, dtypes.BY_NAME[dataset.dtype].size_bytes)
        if not dataset.size_bytes:
            return
        for band in slices.bands(dataset.shape, _PIECE_BYTES // width):
            with self._translated():
                where = tuple(slice(start, start + size) for start, size in zip(band.start, band.shape))
                data = _little_endian(item[where])
            yield memoryview(data)

    def _child(self, group: Any, child: str, path: str, seen: "set[Any]") -> Any:
        """The object behind one link, which must be a hard one and the only one to it."""
        link = group.get(child, getlink=True)
        if not isinstance(link, self._h5py.HardLink):
            raise self._refused("{}/{}".format(path, child), "a link that is not a hard one")
        item = group[child]
        address = self._address(item)
        if address in seen:
            raise self._refused("{}/{}".format(path, child), "a second link to one object")
        if len(seen) > MAX_OBJECTS:
            raise self._refused(path, "more than {} objects".format(MAX_OBJECTS))
        seen.add(address)
        return item

    def _address(self, item: Any) -> Any:
        return self._h5py.h5o.get_info(item.id).addr

    def _name_of(self, group: Any) -> str:
        """What Keras has noted as the layer's name; "" where there is none."""
        if not self._h5py.h5a.exists(group.id, b"name"):
            return ""
        return self._text_attribute(group, b"name")

    def _text_attribute(self, item: Any, attribute: bytes) -> str:
        identity = self._h5py.h5a.open(item.id, attribute)
        if identity.shape != () or identity.get_storage_size() > MAX_NAME_BYTES:
            return ""
        value = item.attrs[attribute.decode()]
        return (
            value
            if isinstance(value, str)
            else value.decode("utf-8", "backslashreplace")
            if isinstance(value, bytes)
            else ""
        )

    def _describe(self, item: Any, path: str, name: str) -> Dataset:
        shape = tuple(int(size) for size in item.shape) if item.shape is not None else (0,)
        dtype = self._dtype_of(item)
        return Dataset(path, name, dtype, shape, slices.volume(shape) * item.dtype.itemsize)

    def _dtype_of(self, item: Any) -> str:
        kind, width = item.dtype.kind, item.dtype.itemsize
        if (kind, width) in _NAMES:
            return _NAMES[kind, width]
        if kind in "SO":
            return dtypes.STRING
        if kind == "V" and self._h5py.h5a.exists(item.id, b"dtype"):  # Keras notes what numpy has no name for
            stated = self._text_attribute(item, b"dtype")
            if stated in dtypes.BY_NAME and dtypes.BY_NAME[stated].size_bytes == width:
                return stated
        return str(item.dtype)

    def _refuse_what_is_not_stored(self, item: Any, dataset: Dataset) -> None:
        """Values that lie elsewhere, or that are more than the file can hold."""
        layout = item.id.get_create_plist()
        if layout.get_layout() == self._h5py.h5d.VIRTUAL:
            raise self._refused(dataset.path, "a virtual dataset, whose values are in other files")
        if layout.get_external_count():
            raise self._refused(dataset.path, "values that are kept in other files")
        filters = [layout.get_filter(place)[0] for place in range(layout.get_nfilters())]
        if any(code not in _FILTERS for code in filters):
            raise self._refused(dataset.path, "the filters {}".format(filters))
        if item.chunks is not None and slices.volume(item.chunks) * item.dtype.itemsize > MAX_CHUNK_BYTES:
            raise self._refused(dataset.path, "chunks of more than {} bytes".format(MAX_CHUNK_BYTES))
        stored = item.id.get_storage_size()
        if dataset.size_bytes > stored * (_MAX_EXPANSION if filters else 1):
            raise self._corrupt("{} states {} bytes and has {}".format(dataset.path, dataset.size_bytes, stored))

    def _refused(self, path: str, what: str) -> BundleError:
        return BundleError(
            Reason.UNSUPPORTED,
            "{} has at {}: {}, which Keras does not write and lastgood does not read".format(
                self._where, path or "/", what
            ),
        )

    def _corrupt(self, what: str) -> BundleError:
        return BundleError(Reason.CORRUPT, "{} is damaged: {}".format(self._where, what))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """What h5py raises for a damaged file is of every kind: the C library's errors, and those of parsing names."""
        try:
            yield
        except BundleError:
            raise
        except MemoryError:
            raise self._corrupt("it asks for more memory than there is") from None
        except Exception as error:
            raise self._corrupt("{}: {}".format(type(error).__name__, str(error)[:200])) from error


def _little_endian(values: "np.ndarray[Any, Any]") -> bytes:
    order = values.dtype.newbyteorder("<") if values.dtype.kind not in "Vb" else values.dtype
    return bytes(values.astype(order).tobytes())


def _import_h5py() -> Any:
    try:
        import h5py
    except Exception as error:  # an h5py that does not fit this interpreter or numpy raises what it likes at import
        raise MissingExtraError("reading Keras files", "h5py", "keras", error) from error
    return h5py
