"""A file, or a stretch of bytes within it, as a seekable binary stream: what zipfile and h5py want to read from.

Opened as all of a checkpoint's files are: regular files only, nothing that could make us wait, no mmap. Nothing outside
the stretch can be read through it.
"""

import io
import os
from typing import Optional

from lastgood.bundle.files import open_file


class Window(io.RawIOBase):
    """An open file from `start` on, `size_bytes` of it (default: what there is when it is opened)."""

    def __init__(self, path: str, what: str, start: int = 0, size_bytes: Optional[int] = None) -> None:
        """`what` says in errors what was expected at `path`. Raises BundleError: INCOMPLETE (missing) or UNREADABLE."""
        super().__init__()
        self._path, self._start, self._at = path, start, 0
        self._file = open_file(path, what)
        left = max(0, self._file.size_bytes() - start)
        self.size_bytes = left if size_bytes is None else min(left, size_bytes)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size_bytes}[whence]
        if base + offset < 0:
            raise OSError("a position before the beginning of {}".format(self._path))
        self._at = base + offset
        return self._at

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        """Raises BundleError(UNREADABLE)."""
        wanted = max(0, min(len(buffer), self.size_bytes - self._at))
        count = self._file.read_into(memoryview(buffer)[:wanted], self._start + self._at) if wanted else 0
        self._at += count
        return count

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
