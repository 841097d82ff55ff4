"""Are a checkpoint's files at rest? What is wrong with files that are not says nothing against the checkpoint yet.

On a shared directory (NFS) a file may appear seconds after its neighbours, be shorter than it will be, or have parts
that have not arrived; a save or a copy that is not over looks the same everywhere. Two things are evidence of it:

1. Something changed while the checkpoint was read: a file appeared or went, or its identity, size or time of writing is
   not what it was. Then parts of two states were read, and nothing that was found can be trusted, good or bad.
2. Damage was found, and one of the checkpoint's files was written less than a settle time ago. Age counts in both
   directions: a server's clock may be ahead of ours.

Decides that much and nothing else: it reads no clock and no file. It does not say that a file at rest is whole, nor
that rest is forever. A settle time of 0 leaves only the first rule.
"""

from typing import Mapping, Optional

from lastgood.bundle.open_file import FileStatus

#: What was seen of each file at one moment, by path; None: it was not there, or could not be asked.
Sight = Mapping[str, Optional[FileStatus]]


def what_changed(before: Sight, after: Sight) -> Optional[str]:
    """What was not the same at the end of the reading as at its start, in words; None: everything was."""
    for path, then in before.items():
        now = after.get(path)
        if then == now:
            continue
        if then is None:
            return "{} appeared".format(path)
        if now is None:
            return "{} was removed".format(path)
        if then.identity != now.identity:
            return "{} was replaced by another file".format(path)
        if then.size_bytes != now.size_bytes:
            return "{} had {} bytes and then {}".format(path, then.size_bytes, now.size_bytes)
        return "{} was written to".format(path)
    return None


def what_is_young(sight: Sight, now_s: float, settle_s: float) -> Optional[str]:
    """Which file was written less than `settle_s` ago (or ahead), in words; None: none was."""
    for path, status in sight.items():
        if status is None or status.mtime_ns is None:
            continue
        age_s = now_s - status.mtime_ns / 1e9
        if abs(age_s) < settle_s:
            return "{} was written {:.1f} s ago, less than {:g} s".format(path, age_s, settle_s)
    return None
