"""What an open checkpoint is, whatever wrote it: logical tensors by key, an object graph, and values.

`lastgood.checkpoint` opens one; `bundle_checkpoint` and `keras.files` are the two kinds.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Callable, Iterator, List, Mapping, NamedTuple, Optional, Tuple, Union

from lastgood.bundle.dtypes import is_opaque
from lastgood.bundle.graph import ObjectGraph
from lastgood.bundle.reader import label
from lastgood.bundle.slices import volume
from lastgood.errors import BundleError
from lastgood.reasons import Reason

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.generic]

#: What the files are: a TensorBundle, a `.keras` archive, or a `.weights.h5` file.
BUNDLE, KERAS, WEIGHTS_H5 = "bundle", "keras", "weights.h5"


def _nameless() -> Mapping[bytes, str]:
    return {}


class TensorInfo(NamedTuple):
    """One logical tensor: the parts of a sliced one count as one. A tuple, since there may be 100,000 of them.

    key: the bundle key; in Keras files the path of the dataset.
    dtype: TensorFlow's name, such as "float32".
    crc32c: unmasked, of the stored bytes; None where the files have none for the tensor as a whole (sliced tensors,
        whose parts have one each; Keras files).
    size_bytes: of the stored bytes, all parts together.
    names: gives the names of all variables, by key, when they are asked for.
    """

    key: bytes
    dtype: str
    shape: Tuple[int, ...]
    crc32c: Optional[int]
    size_bytes: int
    is_sliced: bool = False
    names: Callable[[], Mapping[bytes, str]] = _nameless

    @property
    def full_name(self) -> str:
        """The variable's name when it was saved, "" where unknown.

        Reads the object graph when the first one is asked for. Raises BundleError where that is damaged.
        """
        return self.names().get(self.key, "")

    @property
    def label(self) -> str:
        """The key as people read it."""
        return label(self.key)

    @property
    def elements(self) -> int:
        """How many elements the shape has: 1 for a scalar."""
        return volume(self.shape)


class Checkpoint(ABC):
    """An open checkpoint. Made by `open_checkpoint`; a context manager that closes its files.

    path: as it was given. prefix: of the bundle, or the path of the Keras file. format: BUNDLE, KERAS or WEIGHTS_H5.
    What reads may raise BundleError, and KeyError for a key that is not among `tensors`.
    """

    def __init__(self, path: str, prefix: str, format: str) -> None:
        self.path = path
        self.prefix = prefix
        self.format = format

    @property
    @abstractmethod
    def tensors(self) -> Mapping[bytes, TensorInfo]:
        """Every logical tensor by its key, sorted by key. The object graph is not among them."""

    @property
    @abstractmethod
    def graph(self) -> ObjectGraph:
        """The object graph; without nodes where the checkpoint has none."""

    @abstractmethod
    def raw(self, key: bytes) -> Iterator[memoryview]:
        """The tensor's bytes: its elements, row by row, little-endian; strings and variants as they are stored.

        In pieces of bounded size, each valid until the next one is asked for. They are checked on the way: what came
        is proven right only when the iterator has ended without raising BundleError.
        """

    @abstractmethod
    def elements(self, key: bytes) -> List[bytes]:
        """The elements of a tensor of strings or variants, row by row. Raises ValueError for another type."""

    def array(self, key: bytes) -> "Union[Array, List[bytes]]":
        """The tensor as a numpy array of its shape; a list of its elements, row by row, for strings and variants.

        Types that numpy lacks come as `lastgood.values` says: bfloat16 as uint16 and the float8 types as uint8, which
        `values.to_float32` turns into numbers. Raises ImportError where there is no numpy, and BundleError(UNSUPPORTED)
        for a shape that numpy does not have: TensorFlow's tensors have up to 254 dimensions.
        """
        tensor = self.tensors[key]
        if is_opaque(tensor.dtype):
            return self.elements(key)
        from lastgood import values

        flat = values.to_numpy(self.raw(key), tensor.dtype, (tensor.elements,))
        try:
            return flat.reshape(tensor.shape)
        except ValueError as error:
            what = "{}, of {} dimensions, has a shape that numpy does not have ({}); `values` gives its elements"
            detail = what.format(tensor.label, len(tensor.shape), error)
            raise BundleError(Reason.UNSUPPORTED, detail) from error

    def values(self, key: bytes) -> List[Any]:
        """The tensor's elements, row by row, as Python's own numbers, strings as bytes. Needs no numpy."""
        tensor = self.tensors[key]
        if is_opaque(tensor.dtype):
            return list(self.elements(key))
        from lastgood import values

        return values.to_list(self.raw(key), tensor.dtype)

    @abstractmethod
    def close(self) -> None:
        """Closes the files. May be called again."""

    def __enter__(self) -> "Checkpoint":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
