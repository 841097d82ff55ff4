"""Pins: hard links that keep a checkpoint when rotation removes it, under DIRECTORY/.lastgood/pins/NAME/.

Made and removed here and, while the script runs, nowhere else: within its own saves and restores, so that nobody adds
or takes a file while the script removes its directory. Data files are linked, the index is copied, since TensorFlow
writes an index in place; it comes last, so that a pin with an index is whole. Which ones stay, `keeping` decides.
Refuses to hinder: what can't be linked is kept from rotation instead (`rotation`), and a directory that has gone, as a
worker's temporary one has, is not missed.
"""

import errno
import glob
import os
import shutil
import threading
from typing import Dict, FrozenSet, Iterable, List, Set, Tuple

from .keeping import PinName, parse_pin_name, to_keep
from .orders import PlannedSeries
from .series import PINS, Series, directory_of
from .session import Session

_GONE = (errno.ENOENT, errno.ENOTDIR)
#: What a file system says that has no hard links, or no more of them, or not for us.
_HAS_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK, errno.EXDEV, errno.ENOSYS)


class Pins:
    """The pins that this process makes and removes: those of the files that a gang restores from, the chief's."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lock = threading.Lock()
        #: What could not be linked, by name: the prefix that rotation must leave alone.
        self._unlinked: Dict[PinName, str] = {}
        self._needs_bytes: Dict[str, int] = {}
        self._last_good: Dict[Tuple[str, int], FrozenSet[PinName]] = {}
        #: By prefix, what this process saved there last.
        self._saved: Dict[str, PinName] = {}

    def keep(self, series: Series, ordinal: int, prefix: str) -> List[str]:
        """Pins what was just saved, and lets go what nobody needs. The names of what is held now."""
        directory = directory_of(prefix)
        if not self._is_ours(directory):
            return []
        newest = PinName(self._session.settings.attempt, ordinal, series.signature, series.ordinal)
        with self._lock:
            self._saved[os.path.join(directory, os.path.basename(prefix))] = newest
            if not self._pin(newest, prefix, directory):
                return []
            self._needs_bytes[directory] = sum(os.stat(shard).st_size for shard in _shards(prefix))
            held = [name for name in self._held(directory) if name.is_of(series.signature, series.ordinal)]
            keep = to_keep(held, newest, self._session.pin_word, self._former(series, held))
            self._let_go(directory, set(held) - keep)
        return sorted(map(str, keep))

    def keep_planned(self, planned: PlannedSeries) -> None:
        """Pins what was just restored, unless it is pinned: the next saves may rotate it away.

        Also where it is the pin of a run that nobody remembers: by its name that one would be let go.
        """
        name = parse_pin_name(planned.pin)
        directory = directory_of(planned.prefix)
        if name is None or not self._is_ours(directory):
            return
        with self._lock:
            if not _is_pinned(os.path.join(directory, PINS, str(name))):
                self._pin(name, planned.prefix, directory)

    def prepare(self, file_prefix: str) -> None:
        """Before a save: what it would write over and must stay is moved into its pin; then room is made."""
        directory = directory_of(file_prefix)
        if self._is_ours(directory):
            with self._lock:
                self._make_way(os.path.join(directory, os.path.basename(file_prefix)), directory)
                self._make_room(directory)

    def _make_way(self, prefix: str, directory: str) -> None:
        """A save replaces the data files, which a link survives. What could not be linked is moved."""
        for name, at in self._needed_and_unlinked().items():
            if at == prefix and os.path.exists(prefix + ".index"):
                _move(prefix, _place(directory, name))
                self._unlinked.pop(name, None)

    def _make_room(self, directory: str) -> None:
        """Where the save may not find room, lets go all but the good ones. Pins must not be what fills the disk."""
        needed_bytes = self._needs_bytes.get(directory, 0)
        if needed_bytes and _free_bytes(directory) <= needed_bytes:
            good = self._session.pin_word.good
            others = [name for name in self._held(directory) if str(name) not in good]
            self._let_go(directory, [name for name in others if _is_the_last_link(_place(directory, name))])

    def kept_from_rotation(self) -> Set[str]:
        """Prefixes that are needed and could not be linked, by their real paths."""
        return set(self._needed_and_unlinked().values())

    def _needed_and_unlinked(self) -> Dict[PinName, str]:
        needed = dict(self._unlinked)
        for name, prefix in self._good().items():
            directory = directory_of(prefix)
            is_there = self._is_ours(directory) and self._lies_at(name, prefix)
            if is_there and not _is_pinned(_place(directory, name)):
                needed[name] = prefix
        return needed

    def _former(self, series: Series, held: List[PinName]) -> FrozenSet[PinName]:
        """What was good by the last word whose good ones were there, if those of the present one are not.

        One that nobody holds may be rotated away after it was judged and before its word comes.
        """
        key, good = (series.signature, series.ordinal), self._good()
        held_good = frozenset(name for name in held if name in good)
        own = [name for name, prefix in good.items() if name.is_of(*key) and self._lies_at(name, prefix)]
        if held_good or own:
            self._last_good[key] = held_good
        return self._last_good.get(key, frozenset())

    def _good(self) -> Dict[PinName, str]:
        named = ((parse_pin_name(text), prefix) for text, prefix in self._session.pin_word.good.items())
        return {name: prefix for name, prefix in named if name is not None}

    def _lies_at(self, name: PinName, prefix: str) -> bool:
        """Whether a save's own files are there, as far as this process knows what it has saved there since."""
        return self._saved.get(prefix, name) == name and os.path.exists(prefix + ".index")

    def _is_ours(self, directory: str) -> bool:
        """The chief's files are what a gang restores from; another worker's copy may be in a temporary directory."""
        session = self._session
        is_first = session.is_chief if session.has_strategy else session.settings.worker in ("chief/0", "worker/0")
        return is_first and "://" not in directory and os.path.isdir(directory)

    def _held(self, directory: str) -> List[PinName]:
        """What is held there. What a killed process has left half made is no pin, and is removed."""
        held = [name for name, prefix in self._unlinked.items() if directory_of(prefix) == directory]
        for entry in _listed(os.path.join(directory, PINS)):
            name = parse_pin_name(entry)
            if name is not None and _is_pinned(_place(directory, name)):
                held.append(name)
            elif name is not None:
                _remove(_place(directory, name))
        return held

    def _pin(self, name: PinName, prefix: str, directory: str) -> bool:
        """Links a checkpoint; False when it has gone."""
        place = _place(directory, name)
        self._unlinked = {known: at for known, at in self._unlinked.items() if at != prefix}
        try:
            _link(prefix, place)
        except OSError as error:
            _remove(place)
            if error.errno in _GONE:
                return False
            if error.errno not in _HAS_NO_LINKS:
                self._session.guard.count("pin", "{} is kept from rotation instead: {}".format(prefix, error)[:500])
            self._unlinked[name] = prefix
        return True

    def _let_go(self, directory: str, names: Iterable[PinName]) -> None:
        for name in names:
            self._unlinked.pop(name, None)
            _remove(_place(directory, name))


def _place(directory: str, name: PinName) -> str:
    return os.path.join(directory, PINS, str(name))


def _shards(prefix: str) -> List[str]:
    return sorted(glob.glob(glob.escape(prefix) + ".data-?????-of-?????"))


def _link(prefix: str, place: str) -> None:
    """Makes a pin, its index last. Raises OSError; what is there then is no pin."""
    _remove(place)
    os.makedirs(place)
    shards = _shards(prefix)
    if not shards:
        raise FileNotFoundError(errno.ENOENT, "no data files", prefix)
    for shard in shards:
        os.link(shard, os.path.join(place, os.path.basename(shard)))
    copy = os.path.join(place, os.path.basename(prefix) + ".index")
    shutil.copyfile(prefix + ".index", copy + ".tmp")
    os.rename(copy + ".tmp", copy)


def _move(prefix: str, place: str) -> None:
    """Makes a pin of a checkpoint's own files, its index last. Raises OSError."""
    _remove(place)
    os.makedirs(place)
    for path in [*_shards(prefix), prefix + ".index"]:
        os.rename(path, os.path.join(place, os.path.basename(path)))


def _is_pinned(place: str) -> bool:
    return any(name.endswith(".index") for name in _listed(place))


def _is_the_last_link(place: str) -> bool:
    """Whether the pin's data lies nowhere else, so that removing it gives room."""
    shards = [name for name in _listed(place) if ".data-" in name]
    return any(os.stat(os.path.join(place, name)).st_nlink == 1 for name in shards)


def _remove(place: str) -> None:
    """Removes a pin, its index first: what is left of it then is none."""
    for name in sorted(_listed(place), key=lambda each: not each.endswith(".index")):
        try:
            os.unlink(os.path.join(place, name))
        except FileNotFoundError:
            continue
    try:
        os.rmdir(place)
    except FileNotFoundError:
        return


def _listed(directory: str) -> List[str]:
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _free_bytes(directory: str) -> int:
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize
