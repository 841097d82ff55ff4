"""A checkpoint's files, wherever they lie: opened, measured and read into a buffer, and nothing else.

Local ones by `preadv`, never by mmap: TensorFlow truncates files in place, and a mapped file that becomes shorter kills
the process that reads it. What has a URL (s3://, gs://, memory://) is read by `lastgood.bundle.remote`. Symbolic links
are followed, as TensorFlow does. Only regular files are opened, and never one that could make us wait.

The errors of the file system become a `BundleError` here, once.
"""

import errno
import os
import re
import stat
import sys
from contextlib import suppress
from typing import Iterator, List, Optional

if sys.platform == "linux":
    import fcntl

from lastgood.bundle.open_file import Buffer, FileStatus, Named, OpenFile
from lastgood.errors import BundleError, describe
from lastgood.reasons import Reason

#: For reads past the cache: no device has larger blocks.
BLOCK_BYTES = 4096

#: A scheme, or several (`simplecache::s3://…`): no path that TensorFlow writes to begins so.
_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*(::[A-Za-z][A-Za-z0-9+.-]*)*://")
_LOCAL_URL = re.compile(r"^(file|local)://")


class _LocalFile(OpenFile):
    def __init__(self, path: str, what: str) -> None:
        super().__init__(path, what)
        try:
            # O_NONBLOCK: a FIFO of that name would keep us waiting for somebody who writes to it.
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise BundleError.from_os(error, what, path) from error
        except ValueError as error:
            raise _impossible(what, path) from error
        if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            self.close()
            raise _not_regular(what, path)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)

    def size_bytes(self) -> int:
        try:
            return os.fstat(self._descriptor).st_size
        except OSError as error:
            raise BundleError.from_os(error, self._what, self.path) from error

    def read_into(self, buffer: Buffer, offset: int) -> int:
        try:
            if hasattr(os, "preadv"):
                return os.preadv(self._descriptor, [buffer], offset)
            data = os.pread(self._descriptor, len(buffer), offset)
        except OSError as error:
            if error.errno == errno.EINVAL and self.block_bytes > 1:
                # The file system agreed to it at first, and not to this read.
                self._go_past_cache(False)
                self.is_from_disk = self.drop_cached_pages()
                return self.read_into(buffer, offset)
            raise BundleError.from_os(error, self._what, self.path) from error
        buffer[: len(data)] = data
        return len(data)

    def drop_cached_pages(self) -> bool:
        if not hasattr(os, "posix_fadvise"):
            return False
        try:
            os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        except OSError:
            return False
        return True

    def bypass_cache(self) -> None:
        self.is_from_disk = self._go_past_cache(True) or self.drop_cached_pages()

    def _go_past_cache(self, is_wanted: bool) -> bool:
        """False where the file system refuses. It may still refuse single reads."""
        if sys.platform != "linux":
            return False
        flags = fcntl.fcntl(self._descriptor, fcntl.F_GETFL)
        try:
            fcntl.fcntl(self._descriptor, fcntl.F_SETFL, flags | os.O_DIRECT if is_wanted else flags & ~os.O_DIRECT)
        except OSError:
            return False
        self.block_bytes = BLOCK_BYTES if is_wanted else 1
        return True

    def close(self) -> None:
        os.close(self._descriptor)


def is_url(path: str) -> bool:
    """Whether `path` names something that fsspec reads; `file://` is a local path."""
    return bool(_URL.match(path)) and not _LOCAL_URL.match(path)


def local_path(path: str) -> str:
    """The path in a `file://` URL; anything else as it is."""
    return _LOCAL_URL.sub("", path)


def join(directory: str, name: str) -> str:
    """The path of `name` in a directory or below a URL; `name` itself where it is absolute."""
    return name if is_url(name) else os.path.join(directory, name)


def open_file(path: str, what: str, status: Optional[FileStatus] = None) -> OpenFile:
    """The file, open. `what` says in errors what was expected at `path`, such as "the index".

    status: what `stat_file` has said of it a moment ago; spares an object store the question.
    Raises BundleError: INCOMPLETE (missing) or UNREADABLE.
    """
    if is_url(path):
        from lastgood.bundle.remote import RemoteFile  # fsspec takes longer to import than a small checkpoint to verify

        return RemoteFile(path, what, status)
    return _LocalFile(local_path(path), what)


def stat_file(path: str, what: str) -> FileStatus:
    """Its size, age and identity. Raises BundleError: INCOMPLETE (missing) or UNREADABLE."""
    if is_url(path):
        from lastgood.bundle.remote import stat_object

        return stat_object(path, what)
    try:
        status = os.stat(local_path(path))
    except OSError as error:
        raise BundleError.from_os(error, what, path) from error
    except ValueError as error:
        raise _impossible(what, path) from error
    if not stat.S_ISREG(status.st_mode):
        raise _not_regular(what, path)
    return FileStatus(status.st_size, status.st_mtime_ns, "{}:{}".format(status.st_dev, status.st_ino))


def is_directory(path: str) -> bool:
    """Whether it is one; False where that cannot be said. Below a URL: whether any object lies under that name."""
    if is_url(path):
        from lastgood.bundle.remote import is_remote_directory

        return is_remote_directory(path)
    return os.path.isdir(local_path(path))


def list_files(directory: str) -> List[Named]:
    """The files in a directory, in no order. None in one that is missing. Raises BundleError(UNREADABLE)."""
    if is_url(directory):
        from lastgood.bundle.remote import list_objects

        return list_objects(directory)
    try:
        with os.scandir(local_path(directory)) as entries:
            return list(_named_files(entries))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        detail = "the directory {} cannot be read: {}".format(directory, describe(error))
        raise BundleError(Reason.UNREADABLE, detail) from error
    except ValueError as error:
        raise _impossible("a directory", directory) from error


def read_whole(path: str, what: str, max_bytes: int, drop_cache: bool = False) -> bytes:
    """All bytes of a small file, or `max_bytes` of a larger one. Raises BundleError: INCOMPLETE or UNREADABLE."""
    with open_file(path, what) as file:
        if drop_cache:
            file.drop_cached_pages()
        buffer = bytearray(min(file.size_bytes() + 1, max_bytes))
        filled = 0
        with memoryview(buffer) as view:
            while filled < len(buffer):
                count = file.read_into(view[filled:], filled)
                if not count:
                    break
                filled += count
        del buffer[filled:]
        return bytes(buffer)


def _named_files(entries: "Iterator[os.DirEntry[str]]") -> Iterator[Named]:
    for entry in entries:
        with suppress(FileNotFoundError):  # removed meanwhile
            file = _named(entry)
            if file is not None:
                yield file


def _named(entry: "os.DirEntry[str]") -> Optional[Named]:
    """None for what is no file. A link in a circle, or to where we may not look, is one: who opens it learns that."""
    try:
        return Named(entry.name, entry.stat().st_mtime_ns) if entry.is_file() else None
    except FileNotFoundError:
        return None
    except OSError:
        return Named(entry.name, entry.stat(follow_symlinks=False).st_mtime_ns)


def _impossible(what: str, path: str) -> BundleError:
    return BundleError(Reason.UNREADABLE, "expected {} at {!r}, and no file can have that name".format(what, path))


def _not_regular(what: str, path: str) -> BundleError:
    return BundleError(Reason.UNREADABLE, "expected {} at {}, found no regular file".format(what, path))
