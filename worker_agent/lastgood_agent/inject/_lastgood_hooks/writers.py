"""Who else of the gang writes where this worker writes: two that save to one prefix destroy each other's checkpoints.

Each worker leaves an empty file, whose name says who it is, in the directory that it saves to: one when its manager is
made, since it may save there, and another one at its first save. At each save it looks for the others' files. So it is
found whatever path or mount each uses for that directory. Of two that save to one prefix the later member of the gang
gives way, where the policy wants that: its saves go to a directory of their own from then on, already the first one
where an earlier member has a manager for that prefix. Refuses to move the first member's saves; and to let a checkpoint
go that turns out to be the only one: when the earlier member does not save after all, the copy is put where the script
meant it, and nothing is moved any more.
"""

import contextlib
import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Set, Tuple

from .orders import REDIRECT
from .series import Series, directory_of
from .session import Session

#: Of lastgood, within a directory of checkpoints; `lastgood latest` knows it.
OWN_FOLDER = ".lastgood"
_MARKS, _ELSEWHERE = "writers", "elsewhere"
SAVES, MAY_SAVE = "saves", "manages"
_MARK = re.compile(
    r"(?P<attempt>\d{6})-(?P<run>[0-9a-f]{8})-(?P<stem>[0-9a-f]{8})-(?P<worker>[a-z]+-\d+)\.(?P<sort>saves|manages)"
)


@dataclass(frozen=True)
class Place:
    """Where a save really goes.

    folder: of this worker's own; "" where it goes as asked. is_sure: an earlier member saves there, so that what is
    saved elsewhere may go as soon as the save has been told.
    """

    prefix: str
    folder: str = ""
    is_sure: bool = False


class Writers:
    """The directories that this worker saves to, and who else was met there."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._told: Set[Tuple[str, str, str]] = set()
        #: What managers were made for before the strategy was.
        self._unmarked: List[str] = []
        #: Where nobody else saves after all, though somebody might have.
        self._alone: Set[Tuple[str, str]] = set()
        self._run = _short(session.settings.run_id)
        self._own = session.settings.worker.replace("/", "-")

    def announce(self, prefix: str) -> None:
        """Leaves a mark where a manager may save, as soon as it is known that this is one of a gang."""
        self._unmarked.append(prefix)
        if self._session.has_strategy:
            self.announce_all()

    def announce_all(self) -> None:
        """The strategy was made."""
        unmarked, self._unmarked = self._unmarked, []
        for prefix in unmarked:
            if self._is_watched(prefix):
                self._leave_mark(directory_of(prefix), _stem(prefix), MAY_SAVE)

    def place(self, series: Series, prefix: str, may_move: bool = True) -> Place:
        """Where a save of this series to this prefix is to go. Tells of whoever else saves there."""
        session = self._session
        if not self._is_watched(prefix):
            return Place(prefix)
        directory, stem = directory_of(prefix), _stem(prefix)
        self._leave_mark(directory, stem, SAVES)
        saves = self._others(directory, stem, SAVES)
        before = [other for other in saves if self._is_before(other)]
        self._settle(directory, stem, bool(before))
        is_wanted = may_move and session.is_steering and session.state.shared_write == REDIRECT
        place = self._elsewhere(directory, stem, prefix, bool(before)) if is_wanted else Place(prefix)
        for other in saves:
            if (directory, stem, other) not in self._told:
                self._told.add((directory, stem, other))
                session.outbox.write(
                    "shared_write",
                    series=series.to_json(),
                    directory=directory,
                    prefix=prefix,
                    other=other,
                    is_redirected=bool(place.folder),
                )
        return place

    def _is_watched(self, prefix: str) -> bool:
        return "://" not in prefix and self._session.has_strategy and self._session.gang_size > 1

    def _is_before(self, other: str) -> bool:
        return _rank(other) < _rank(self._session.settings.worker)

    # -- marks

    def _leave_mark(self, directory: str, stem: str, sort: str) -> None:
        folder = os.path.join(directory, OWN_FOLDER, _MARKS)
        mark = "{:06d}-{}-{}-{}.{}".format(self._session.settings.attempt, self._run, stem, self._own, sort)
        if os.path.exists(os.path.join(folder, mark)):
            return
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, mark), "a"):
            pass
        for name in os.listdir(folder):
            match = _MARK.fullmatch(name)
            is_own = match is not None and (match["run"], match["worker"]) == (self._run, self._own)
            if match is not None and is_own and int(match["attempt"]) < self._session.settings.attempt:
                _remove(os.path.join(folder, name))

    def _others(self, directory: str, stem: str, sort: str) -> List[str]:
        """The other workers of this attempt that have left such a mark."""
        found: Dict[str, str] = {}
        for name in os.listdir(os.path.join(directory, OWN_FOLDER, _MARKS)):
            match = _MARK.fullmatch(name)
            if match is None or (match["run"], match["stem"], match["sort"]) != (self._run, stem, sort):
                continue
            if int(match["attempt"]) == self._session.settings.attempt and match["worker"] != self._own:
                found[match["worker"]] = match["worker"].replace("-", "/")
        return sorted(found.values(), key=_rank)

    # -- elsewhere

    def _folder(self, directory: str, stem: str) -> str:
        return os.path.join(directory, OWN_FOLDER, _ELSEWHERE, "{}-{}".format(self._own, stem))

    def _elsewhere(self, directory: str, stem: str, prefix: str, is_sure: bool) -> Place:
        is_likely = any(self._is_before(other) for other in self._others(directory, stem, MAY_SAVE))
        if not is_sure and (not is_likely or (directory, stem) in self._alone):
            return Place(prefix)
        folder = self._folder(directory, stem)
        os.makedirs(folder, exist_ok=True)
        return Place(os.path.join(folder, os.path.basename(prefix)), folder, is_sure)

    def _settle(self, directory: str, stem: str, is_sure: bool) -> None:
        """What an earlier save has left elsewhere goes; or it is put in its place, where nobody else has saved that."""
        folder = self._folder(directory, stem)
        if not os.path.isdir(folder):
            return
        copies = [name[: -len(".index")] for name in os.listdir(folder) if name.endswith(".index")]
        for copy in copies:
            if is_sure or os.path.exists(os.path.join(directory, copy + ".index")):
                continue
            self._alone.add((directory, stem))
            own = [name for name in os.listdir(folder) if name.startswith((copy + ".index", copy + ".data-"))]
            for name in sorted(own):  # the data before the index, which makes it a checkpoint
                os.replace(os.path.join(folder, name), os.path.join(directory, name))
        shutil.rmtree(folder, ignore_errors=True)


def remove_place(place: Place) -> None:
    """Removes what was saved elsewhere, where it is sure to be only a copy; else the next save decides."""
    if place.folder and place.is_sure:
        shutil.rmtree(place.folder, ignore_errors=True)


def as_asked(result: Any, prefix: str, constant: Optional[Callable[[str], Any]]) -> Any:
    """What a save that went elsewhere returns: the prefix that was asked for, in the form in which it came."""
    return prefix if constant is None or not hasattr(result, "numpy") else constant(prefix)


def _stem(prefix: str) -> str:
    """A prefix' name without its number, as it stands in a mark: `a-1` and `b-1` do each other no harm."""
    return _short(re.sub(r"-\d+$", "", os.path.basename(prefix)))


def _short(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]


def _rank(worker: str) -> Tuple[bool, str, int]:
    """The chief comes first, then the workers by number."""
    task_type, _, task_id = worker.partition("/")
    return (task_type != "chief", task_type, int(task_id))


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
