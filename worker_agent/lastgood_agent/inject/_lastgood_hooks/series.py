"""Series as this process sees them: which stream of checkpoints a save or a restore belongs to.

Decides signatures and ordinals. Directories are ranked apart for saves and for restores: a worker that reads the
chief's directory and writes one of its own must number its saves as the chief does.
"""

import hashlib
import os
import threading
from dataclasses import dataclass
from typing import Dict, Iterable, List, Optional, Set, Tuple

#: Created by tf.train.Checkpoint at the first save or restore, so it says nothing about what is saved.
SAVE_COUNTER = "save_counter"

#: Where checkpoints are that rotation would remove, below the directory of their series: PINS/NAME/ckpt-7.
PINS = os.path.join(".lastgood", "pins")


@dataclass(frozen=True)
class Series:
    """One stream of checkpoints. directory: real path, "" where the script named none. signature "": unknown."""

    signature: str
    ordinal: int
    directory: str

    def to_json(self) -> Dict[str, object]:
        return {"signature": self.signature, "ordinal": self.ordinal, "directory": self.directory}


def signature_of(child_names: Iterable[str]) -> str:
    """What stays the same about a root object: the names of its children."""
    names = sorted(name for name in set(child_names) if name != SAVE_COUNTER)
    return hashlib.sha256("\n".join(names).encode("utf-8")).hexdigest()[:16]


def directory_of(prefix: str) -> str:
    """The real path of the directory that a prefix belongs to; a remote one as it is.

    That of a pin belongs to the directory whose checkpoint it holds.
    """
    directory = os.path.dirname(prefix)
    if "://" in prefix:
        return directory
    real = os.path.realpath(directory or os.curdir)
    home, pins, name = real.rpartition(os.sep + PINS + os.sep)
    return home if pins and os.sep not in name else real


def real_directory(path: str) -> str:
    """The real path of a directory; a remote one as it is."""
    return path.rstrip("/") if "://" in path else os.path.realpath(path)


def absolute(prefix: str) -> str:
    """A prefix in its directory's real path; a remote one as it is."""
    return prefix if "://" in prefix else os.path.join(directory_of(prefix), os.path.basename(prefix))


def count_checkpoints(directory: str) -> Optional[int]:
    """How many checkpoints lie in a directory, 0 where there is no such directory; None for a remote one."""
    if "://" in directory:
        return None
    try:
        return sum(name.endswith(".index") for name in os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return 0


class SeriesBook:
    """Which series this process has saved and asked for. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._saved: Dict[str, List[str]] = {}
        self._asked: Dict[str, List[str]] = {}
        self._saves: Dict[Tuple[str, int], int] = {}
        self._prefixes: Set[str] = set()
        self._managed: Set[str] = set()
        self._told: Set[Series] = set()

    def begin_save(self, signature: str, directory: str) -> Tuple[Series, int]:
        """The series of a save that begins, and its ordinal from 1: counted whether or not the save succeeds."""
        with self._lock:
            rank = _rank(self._saved.setdefault(signature, []), directory)
            number = self._saves[signature, rank] = self._saves.get((signature, rank), 0) + 1
            return Series(signature, rank, directory), number

    def add_saved(self, prefix: str) -> None:
        """A save to this prefix returned."""
        with self._lock:
            self._prefixes.add(prefix)

    def add_managed(self, directory: str) -> None:
        """A CheckpointManager of this process writes there."""
        with self._lock:
            self._managed.add(directory)

    def managed(self) -> List[str]:
        """Where CheckpointManagers of this process write."""
        with self._lock:
            return sorted(self._managed)

    def series_asked(self, signature: str, directory: str) -> Series:
        """The series that a restore asks for."""
        with self._lock:
            rank = _rank(self._asked.setdefault(signature, []), directory) if directory else 0
            return Series(signature, rank, directory)

    def is_asked_first(self, asked: Series) -> bool:
        """True when this was not asked before: once is enough to tell what the script restores."""
        with self._lock:
            is_new = asked not in self._told
            self._told.add(asked)
            return is_new

    def is_elsewhere(self, directory: str) -> bool:
        """True where nothing shows that a directory is this script's own: none of its managers writes there, nor below
        it, and it never asked what is newest there.
        """
        with self._lock:
            known = self._managed | {asked.directory for asked in self._told if not asked.signature}
            return not any((each + "/").startswith(directory + "/") for each in known)

    def has_saved_prefix(self, prefix: str) -> bool:
        """True when what lies there was saved by this very process."""
        return prefix in self._prefixes

    def has_saved(self, signature: str, ordinal: int) -> bool:
        """True once a series was saved by this process: from then on a restore of it is the script's own affair."""
        return (signature, ordinal) in self._saves

    def has_saved_into(self, directory: str) -> bool:
        """True once anything was saved into a directory by this process."""
        with self._lock:
            return any(directory in directories for directories in self._saved.values())

    def is_own(self, directory: str) -> bool:
        """True when this process is known to write there."""
        return directory in self._managed or self.has_saved_into(directory)


def _rank(directories: List[str], directory: str) -> int:
    """The rank of a directory in order of first use. One that is gone gives its rank to the next new one.

    Many scripts make a fresh temporary directory for each save of a worker that is not the chief.
    """
    if directory in directories:
        return directories.index(directory)
    for rank, known in enumerate(directories):
        if "://" not in known and not os.path.isdir(known):
            directories[rank] = directory
            return rank
    directories.append(directory)
    return len(directories) - 1
