"""Writing a small file so that after a crash or a power loss there is the old one or the new one, never a part.

The content goes to a temporary file beside it, is synced, takes the name by a rename, and the directory is synced.
Refuses nothing else; who may write where is for the file system to say.
"""

import os
from contextlib import suppress
from typing import Optional

from lastgood.errors import WriteError


def replace_file(path: str, content: bytes, permissions: Optional[int] = None) -> None:
    """Puts `content` at `path`, in place of what lies there.

    permissions: of the new file; None for what the process's umask leaves.
    Raises WriteError: then the old file is as it was.
    """
    temporary = "{}.tmp{}".format(path, os.urandom(16).hex())  # named as TensorFlow names its own
    try:
        _write_new(temporary, content, permissions)
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            os.unlink(temporary)
        raise WriteError(path, error) from error
    sync(os.path.dirname(path) or ".")


def keep_copy(path: str, content: bytes, suffix: str) -> str:
    """Writes `content` to the first of PATH+suffix+"1", "2"... that is free, durably; overwrites nothing.

    Returns the path. Raises WriteError.
    """
    number = 1
    while True:
        copy = "{}{}{}".format(path, suffix, number)
        try:
            _write_new(copy, content, None)
        except FileExistsError:
            number += 1
            continue
        except OSError as error:
            with suppress(OSError):
                os.unlink(copy)
            raise WriteError(copy, error) from error
        sync(os.path.dirname(path) or ".")
        return copy


def sync(path: str) -> None:
    """Makes the content of a file durable, or the names in a directory. Raises WriteError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise WriteError(path, error) from error


def _write_new(path: str, content: bytes, permissions: Optional[int]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    with open(descriptor, "wb") as file:
        if permissions is not None:
            os.fchmod(descriptor, permissions)
        file.write(content)
        file.flush()
        os.fsync(descriptor)
