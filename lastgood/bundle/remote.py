"""The same files in an object store, by fsspec: measured by asking, read by ranges.

Which package speaks to which store is fsspec's business, and so are credentials: `s3://` needs s3fs, `gs://` gcsfs. An
object is read as large as it was when it was opened. Only what speaks to its store asynchronously is known to bear
several threads; everything else is read by one at a time.

Whatever these packages raise becomes a `BundleError` here, once: they have no common tree of errors.
"""

import threading
from datetime import datetime, timezone
from typing import Any, List, Mapping, Optional, Tuple

from lastgood.bundle.open_file import Buffer, FileStatus, Named, OpenFile
from lastgood.errors import BundleError, MissingFileError, describe
from lastgood.reasons import Reason

#: What a store calls the time of the last writing, in the order of preference.
_TIMES = ("LastModified", "last_modified", "mtime", "updated", "created")
#: What a store calls the name of an object's content.
_TAGS = ("ETag", "etag", "generation", "md5Hash", "content_md5", "ino", "created")

#: How Python says that nothing is there; and HTTP: Not Found, Gone.
_ABSENT = (FileNotFoundError, NotADirectoryError)
_ABSENT_STATUSES = (404, 410)

_one_at_a_time = threading.Lock()


class RemoteFile(OpenFile):
    """One object. Nothing is held open: each read is a request of its own."""

    def __init__(self, path: str, what: str, status: Optional[FileStatus] = None) -> None:
        """Raises BundleError: INCOMPLETE (missing) or UNREADABLE."""
        super().__init__(path, what)
        self._store, self._key = _store_of(path)
        self._size_bytes = (status or stat_object(path, what)).size_bytes

    def size_bytes(self) -> int:
        return self._size_bytes

    def read_into(self, buffer: Buffer, offset: int) -> int:
        end = min(offset + len(buffer), self._size_bytes)
        if offset >= end:
            return 0
        try:
            data = self._read(offset, end)
        except Exception as error:  # see above
            raise _translated(error, self._what, self.path) from error
        count = min(len(data), end - offset)
        buffer[:count] = data[:count]
        return count

    def _read(self, start: int, end: int) -> bytes:
        if getattr(self._store, "async_impl", False):
            return bytes(self._store.cat_file(self._key, start=start, end=end))
        with _one_at_a_time:
            return bytes(self._store.cat_file(self._key, start=start, end=end))


def stat_object(path: str, what: str) -> FileStatus:
    """Its size, age and tag, as the store says now. Raises BundleError: INCOMPLETE (missing) or UNREADABLE."""
    store, key = _store_of(path)
    try:
        info = store.info(key)
    except Exception as error:
        raise _translated(error, what, path) from error
    size_bytes = info.get("size")
    if info.get("type") == "directory":
        raise BundleError(Reason.UNREADABLE, "expected {} at {}, found no regular file".format(what, path))
    if not isinstance(size_bytes, int):
        raise BundleError(Reason.UNREADABLE, "{} at {} has no known size".format(what, path))
    return FileStatus(size_bytes, _time_ns(info), _tag(info))


def is_remote_directory(path: str) -> bool:
    """Whether objects lie under that name; False where that cannot be said."""
    try:
        store, key = _store_of(path)
        return bool(store.isdir(key))
    except Exception:  # the reading that follows says what is wrong
        return False


def list_objects(directory: str) -> List[Named]:
    """The objects directly under a name, in no order. Raises BundleError(UNREADABLE)."""
    store, key = _store_of(directory)
    try:
        found = store.ls(key, detail=True)
    except Exception as error:
        if _says_missing(error):
            return []
        raise _translated(error, "a directory", directory) from error
    files = [info for info in found if info.get("type") == "file"]
    return [Named(str(info["name"]).rsplit("/", 1)[-1], _time_ns(info)) for info in files]


def _store_of(path: str) -> Tuple[Any, str]:
    """The file system of a URL, and the name that it has there. Raises BundleError(UNREADABLE)."""
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise BundleError(
            Reason.UNREADABLE, "reading {} needs fsspec: pip install 'lastgood[remote]'".format(path)
        ) from error
    except Exception as error:  # one that does not fit this interpreter raises what it likes at import
        raise BundleError(
            Reason.UNREADABLE,
            "reading {} needs an fsspec that works: pip install 'lastgood[remote]' ({})".format(path, describe(error)),
        ) from error
    try:
        # What a store listed a minute ago says nothing about now.
        store, key = url_to_fs(path, use_listings_cache=False)
    except ImportError as error:
        raise BundleError(Reason.UNREADABLE, "{} cannot be read: {}".format(path, error)) from error
    except Exception as error:
        raise BundleError(Reason.UNREADABLE, "{} cannot be read: {}".format(path, describe(error))) from error
    return store, str(key)


def _translated(error: Exception, what: str, path: str) -> BundleError:
    if _says_missing(error):
        return MissingFileError(what, path)
    cause = error.__cause__ if isinstance(error, _ABSENT) and error.__cause__ else error
    return BundleError(Reason.UNREADABLE, "{} at {} cannot be read: {}".format(what, path, describe(cause)))


def _says_missing(error: Exception) -> bool:
    """fsspec's HTTP calls all a missing file that went wrong, a server that cannot be reached among it."""
    if not isinstance(error, _ABSENT):
        return False
    cause = error.__cause__
    if cause is None or isinstance(cause, _ABSENT):
        return True
    is_of_http = isinstance(cause, OSError) or type(cause).__module__.partition(".")[0] in ("aiohttp", "asyncio")
    return not is_of_http or getattr(cause, "status", None) in _ABSENT_STATUSES


def _time_ns(info: Mapping[str, Any]) -> Optional[int]:
    for name in _TIMES:
        time = info.get(name)
        if isinstance(time, datetime):
            known = time if time.tzinfo else time.replace(tzinfo=timezone.utc)
            return round(known.timestamp() * 1e6) * 1000
        if isinstance(time, (int, float)):
            return int(time * 1e9)
        if isinstance(time, str):
            try:
                return round(datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp() * 1e6) * 1000
            except ValueError:
                continue
    return None


def _tag(info: Mapping[str, Any]) -> str:
    return next((str(info[name]) for name in _TAGS if info.get(name) is not None), "")
