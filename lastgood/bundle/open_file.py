"""What a checkpoint's file is to whoever reads it, wherever it lies. `lastgood.bundle.files` opens one."""

from typing import NamedTuple, Optional, Union

Buffer = Union[bytearray, memoryview]


class FileStatus(NamedTuple):
    """What a file is at one moment; equal ones mean that nobody has written to it in between.

    identity: which file it is, whatever its name: device and inode, or an object's tag.
    mtime_ns: when it was last written, since the epoch, by the clock of whoever keeps it; None where that is not known.
    """

    size_bytes: int
    mtime_ns: Optional[int]
    identity: str


class Named(NamedTuple):
    """One file in a directory: its name, without the directory, and when it was last written."""

    name: str
    mtime_ns: Optional[int]


class OpenFile:
    """A file that is open for reading.

    is_from_disk: reads go past what the kernel has cached of it, or it was told to forget that (dirty pages stay).
    block_bytes: reads begin at a multiple of this, go into memory that does, and ask for a multiple of it.
    """

    is_from_disk = False
    block_bytes = 1

    def __init__(self, path: str, what: str) -> None:
        self.path = path
        self._what = what

    def size_bytes(self) -> int:
        """Its size now (when it was opened, for an object). Raises BundleError(UNREADABLE)."""
        raise NotImplementedError

    def read_into(self, buffer: Buffer, offset: int) -> int:
        """Reads at `offset`: how many bytes, 0 only at the end. Raises BundleError: INCOMPLETE or UNREADABLE."""
        raise NotImplementedError

    def drop_cached_pages(self) -> bool:
        """Asks the kernel to forget the file's clean pages. False where that cannot be asked."""
        return False

    def bypass_cache(self) -> None:
        """Reads go past what the kernel has cached, and leave it as it is; where that cannot be, it is dropped."""

    def close(self) -> None:
        """Nothing is read afterwards."""

    def __enter__(self) -> "OpenFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
