"""Opening a checkpoint's files: regular ones only, and never one that could make us wait.

The file system's errors become a `BundleError` here, once.
"""

import os
import stat
import sys

if sys.platform == "linux":
    import fcntl

from lastgood.errors import BundleError, MissingFileError
from lastgood.reasons import Reason


def open_file(path: str, what: str) -> int:
    """A descriptor for reading. `what` says in errors what was expected at `path`, such as "the index".

    Raises BundleError: INCOMPLETE (missing) or UNREADABLE.
    """
    try:
        # O_NONBLOCK: a FIFO of that name would keep us waiting for somebody who writes to it.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise BundleError.from_os(error, what, path) from error
    except ValueError as error:  # no file can have such a path
        raise MissingFileError(what, repr(path)) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _not_regular(what, path)
    return descriptor


def stat_file(path: str, what: str) -> os.stat_result:
    """Its size and identity. Raises BundleError: INCOMPLETE (missing) or UNREADABLE."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise BundleError.from_os(error, what, path) from error
    if not stat.S_ISREG(status.st_mode):
        raise _not_regular(what, path)
    return status


def _not_regular(what: str, path: str) -> BundleError:
    return BundleError(Reason.UNREADABLE, "expected {} at {}, found no regular file".format(what, path))


def drop_cached_pages(descriptor: int) -> bool:
    """Asks the kernel to forget the file's clean pages. False where that cannot be asked."""
    if not hasattr(os, "posix_fadvise"):
        return False
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    except OSError:
        return False
    return True


def bypass_cache(descriptor: int, is_bypassed: bool) -> bool:
    """Lets reads of this descriptor go past what the kernel has cached, or not any more.

    False where the file system refuses. Such reads are of whole blocks only, and may still be refused one by one.
    """
    if sys.platform != "linux":
        return False
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_DIRECT if is_bypassed else flags & ~os.O_DIRECT)
    except OSError:
        return False
    return True
