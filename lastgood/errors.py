"""The errors of the library: one tree; those about checkpoints have a reason from `lastgood.reasons`.

    LastgoodError
      MissingExtraError      something optional that this needs is not installed
      BundleError            a checkpoint's files do not hold what they should, or cannot be read
        MissingFileError     one of them is not there
      WriteError             a file of ours could not be written beside a checkpoint

What is thrown by the file system is translated here, once. Nothing in this package lets an IndexError, a struct.error
or an OSError of its own reading reach the caller.
"""

import errno

from lastgood.reasons import Reason

#: What the file system says when a name is (or has just become) nothing. ESTALE: removed on an NFS server.
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)


class LastgoodError(Exception):
    """Something that lastgood was asked for could not be done. The text is a sentence for people."""


class BundleError(LastgoodError):
    """A checkpoint's files are not what they should be.

    reason: one of INCOMPLETE, TORN, CORRUPT, UNSUPPORTED, UNREADABLE, VANISHED.
    detail: what was expected, what was found, and where.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__("{}: {}".format(reason.value, detail))
        self.reason = reason
        self.detail = detail

    @classmethod
    def from_os(cls, error: OSError, what: str, path: str) -> "BundleError":
        """What an OSError means for a checkpoint. `what` says what was expected at `path`, such as "the index"."""
        if error.errno in _ABSENT:
            return MissingFileError(what, path)
        return cls(Reason.UNREADABLE, "{} at {} cannot be read: {}".format(what, path, describe(error)))


class MissingFileError(BundleError):
    """A file of the checkpoint is not there."""

    def __init__(self, what: str, path: str) -> None:
        super().__init__(Reason.INCOMPLETE, "expected {} at {}, and there is none".format(what, path))


class MissingExtraError(LastgoodError):
    """Something that is optional is needed and not installed (or broken). The text says what to install."""

    def __init__(self, what: str, package: str, extra: str, error: Exception) -> None:
        super().__init__("{} needs {}: pip install 'lastgood[{}]' ({})".format(what, package, extra, describe(error)))
        self.extra = extra


class WriteError(LastgoodError):
    """A file could not be written. What lay there before lies there still."""

    def __init__(self, path: str, error: OSError) -> None:
        super().__init__("{} cannot be written: {}".format(path, describe(error)))
        self.path = path


def describe(error: BaseException) -> str:
    """The error in a few words, without the path that the sentence around it names already."""
    text = getattr(error, "strerror", None)
    return str(text) if text else "{}: {}".format(type(error).__name__, str(error)[:200])
