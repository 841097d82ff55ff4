"""Keras's own files as a `Checkpoint`: `.weights.h5` (HDF5), and `.keras`, a zip archive with such a file in it.

The archive has a CRC-32 of each of its members, which the standard library checks (`check_archive`, no h5py needed);
HDF5 has none, so nothing can be said about the bytes of a `.weights.h5` file by itself. There is no object graph: keys
are the paths of HDF5 datasets, and a tensor's `full_name` is its layer's name and its place in it.
"""

import struct
import zipfile
import zlib
from contextlib import contextmanager
from functools import cached_property
from typing import Iterator, List, Mapping, NamedTuple, Optional, Tuple

from lastgood.bundle.dtypes import is_opaque
from lastgood.bundle.graph import ObjectGraph
from lastgood.errors import BundleError, describe
from lastgood.keras.apart import Hdf5Apart
from lastgood.keras.hdf5 import Dataset
from lastgood.opened import KERAS, Checkpoint, TensorInfo
from lastgood.reasons import Reason
from lastgood.window import Window

WEIGHTS_MEMBER, CONFIG_MEMBER = "model.weights.h5", "config.json"

NO_CHECKSUM = (
    "HDF5 carries no checksum of its values, so nothing can be said about the bytes of {} unless somebody noted its "
    "checksum when it was written"
)

MAX_CONFIG_BYTES = 64 << 20
_LOCAL_HEADER_BYTES = 30
_ENCRYPTED = 1

#: Deflate makes at most so much of one byte; whatever reads more than that reads the same bytes again and again.
_MAX_EXPANSION = 1032

#: What the standard library raises for an archive that is not one any more.
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError, KeyError, struct.error)
_PIECE_BYTES = 1 << 20


class ArchiveCheck(NamedTuple):
    """What reading every member found. problem: None when all of them match their CRC-32."""

    members: int
    bytes_read: int
    problem: Optional[BundleError]


class KerasCheckpoint(Checkpoint):
    """An open `.keras` archive or `.weights.h5` file."""

    def __init__(self, path: str, format: str) -> None:
        """Raises BundleError, and MissingExtraError where there is no h5py."""
        super().__init__(path, path, format)
        if format == KERAS:
            self._file = Hdf5Apart(path, "a .keras archive", *_weights_in_archive(path))
        else:
            self._file = Hdf5Apart(path, "a .weights.h5 file")

    @cached_property
    def _datasets(self) -> Mapping[bytes, Dataset]:
        return {dataset.path.encode("utf-8", "surrogateescape"): dataset for dataset in self._file.datasets()}

    @cached_property
    def tensors(self) -> Mapping[bytes, TensorInfo]:
        return {key: self._info(key, self._datasets[key]) for key in sorted(self._datasets)}

    def _info(self, key: bytes, dataset: Dataset) -> TensorInfo:
        return TensorInfo(key, dataset.dtype, dataset.shape, None, dataset.size_bytes, False, self._full_names)

    @cached_property
    def _names(self) -> Mapping[bytes, str]:
        return {
            key: "{}/{}".format(dataset.name, dataset.path.rpartition("/")[2])
            for key, dataset in self._datasets.items()
            if dataset.name
        }

    def _full_names(self) -> Mapping[bytes, str]:
        return self._names

    @property
    def graph(self) -> ObjectGraph:
        return ObjectGraph(())

    def raw(self, key: bytes) -> Iterator[memoryview]:
        return self._file.pieces(self._datasets[key])

    def elements(self, key: bytes) -> List[bytes]:
        dataset = self._datasets[key]
        if not is_opaque(dataset.dtype):
            raise ValueError("expected text, and {} is {}".format(dataset.path, dataset.dtype))
        raise BundleError(Reason.UNSUPPORTED, "{} of {} is text, which is not read".format(dataset.path, self.path))

    def close(self) -> None:
        self._file.close()


def check_archive(path: str) -> ArchiveCheck:
    """Reads every member of a `.keras` archive and compares its CRC-32. Raises BundleError when it cannot begin."""
    members = bytes_read = 0
    with Window(path, "a .keras archive") as window, _archive(window, path) as archive:
        for member in archive.infolist():
            try:
                with archive.open(member) as file:
                    while True:
                        count = len(file.read(_PIECE_BYTES))
                        if not count:
                            break
                        bytes_read += count
                        if bytes_read > _MAX_EXPANSION * window.size_bytes:
                            raise _damaged(path, "its members are larger than they can be")
            except BundleError as error:
                return ArchiveCheck(members, bytes_read, error)
            except _DAMAGE as error:
                return ArchiveCheck(members, bytes_read, _damaged(path, "{}: {}".format(member.filename[:200], error)))
            members += 1
    return ArchiveCheck(members, bytes_read, None)


def read_model_config(path: str) -> bytes:
    """The model's configuration in a `.keras` archive, as JSON, checked. Raises BundleError."""
    with Window(path, "a .keras archive") as window, _archive(window, path) as archive:
        member = _member(archive, CONFIG_MEMBER, path)
        if member.file_size > MAX_CONFIG_BYTES:
            raise BundleError(
                Reason.UNSUPPORTED, "{} has a {} of {} bytes".format(path, CONFIG_MEMBER, member.file_size)
            )
        try:
            with archive.open(member) as file:
                return file.read(MAX_CONFIG_BYTES)
        except _DAMAGE as error:
            raise _damaged(path, "{}: {}".format(CONFIG_MEMBER, error)) from error


@contextmanager
def _archive(window: Window, path: str) -> "Iterator[zipfile.ZipFile]":
    """The archive's directory, read. One that begins as an archive and does not end as one was cut off."""
    try:
        archive = zipfile.ZipFile(window)
    except _DAMAGE as error:
        raise BundleError(
            Reason.TORN, "{} begins as a zip archive and does not end as one: {}".format(path, describe(error))
        ) from error
    with archive:
        yield archive


def _member(archive: zipfile.ZipFile, name: str, path: str) -> zipfile.ZipInfo:
    try:
        return archive.getinfo(name)
    except KeyError as error:
        raise BundleError(
            Reason.UNSUPPORTED, "expected a .keras archive at {}, found a zip archive without {}".format(path, name)
        ) from error


def _weights_in_archive(path: str) -> Tuple[int, int]:
    """Where the HDF5 file begins in the archive, and its size: Keras stores it as it is, so nothing is unpacked."""
    with Window(path, "a .keras archive") as window:
        with _archive(window, path) as archive:
            member = _member(archive, WEIGHTS_MEMBER, path)
        if member.header_offset < 0:
            raise _damaged(path, "{} is not where the archive says".format(WEIGHTS_MEMBER))
        window.seek(member.header_offset)
        header = window.read(_LOCAL_HEADER_BYTES) or b""
    if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & _ENCRYPTED:
        raise BundleError(
            Reason.UNSUPPORTED,
            "{} in {} is compressed, as Keras does not leave it: unpack it and name it instead".format(
                WEIGHTS_MEMBER, path
            ),
        )
    if len(header) < _LOCAL_HEADER_BYTES or header[:4] != b"PK\x03\x04":
        raise _damaged(path, "{} is not where the archive says".format(WEIGHTS_MEMBER))
    name_bytes, extra_bytes = struct.unpack_from("<HH", header, 26)
    start = member.header_offset + _LOCAL_HEADER_BYTES + name_bytes + extra_bytes
    return start, member.file_size


def _damaged(path: str, what: str) -> BundleError:
    return BundleError(Reason.CORRUPT, "{} is damaged: {}".format(path, what))
