"""Pins: checkpoints that outlive their rotation, as DIRECTORY/.lastgood/pins/NAME/ckpt-7.index and its data files.

The hooks in the training process make and remove them; a data file there is a hard link, so it costs nothing while the
checkpoint itself is there. This reads them: which checkpoint each holds, and where one of a given digest lies. It also
puts one back under its own name. Overwrites nothing and, but for `remove_pins`, deletes nothing. What a pin's name says
is which save it is; what it holds is told by its own index, as with any checkpoint.
"""

import errno
import os
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from typing import Iterable, List, Optional, Tuple

from lastgood.bundle.files import is_url
from lastgood.errors import BundleError
from lastgood.inspect import read_manifest

#: Of lastgood, below a directory of checkpoints; of the pins, below that; and where the workers of a gang that save
#: there find each other, and where the saves go of one that gave way.
OWN_DIRECTORY = ".lastgood"
PINS_DIRECTORY = "pins"
WRITERS_DIRECTORY = "writers"
ELSEWHERE_DIRECTORY = "elsewhere"

#: What stands for the empty signature: a series that is known by its directory alone.
ANY = "any"

_NAME = re.compile(r"([0-9a-f]{1,64}|any)\.(\d{1,9})\.(\d{1,9})\.(\d{1,9})")
_INDEX = ".index"


@dataclass(frozen=True)
class PinnedSave:
    """Which save a pin holds: the ordinal-th of its series in its attempt; attempt 0: it was there before the run."""

    signature: str
    rank: int
    attempt: int
    ordinal: int

    def __str__(self) -> str:
        return "{}.{}.{}.{}".format(self.signature or ANY, self.rank, self.attempt, self.ordinal)


@dataclass(frozen=True)
class Pin:
    """One pin. prefix: of the files in it; own_prefix: where the checkpoint itself lies, or lay."""

    name: str
    save: PinnedSave
    prefix: str
    own_prefix: str


def parse_pin_name(text: str) -> Optional[PinnedSave]:
    """The save that a pin's name names; None for any other name."""
    found = _NAME.fullmatch(text)
    if found is None:
        return None
    signature, rank, attempt, ordinal = found.groups()
    return PinnedSave("" if signature == ANY else signature, int(rank), int(attempt), int(ordinal))


def pins_directory(directory: str) -> str:
    """Where the pins of a directory of checkpoints are."""
    return os.path.join(directory, OWN_DIRECTORY, PINS_DIRECTORY)


def list_pins(directory: str) -> Tuple[Pin, ...]:
    """The pins of a directory, oldest save first; what has no index is none. Raises OSError when it can't look."""
    if is_url(directory):
        return ()
    place = pins_directory(directory)
    try:
        names = os.listdir(place)
    except (FileNotFoundError, NotADirectoryError):
        return ()
    found = [pin for pin in (_pin(directory, place, name) for name in names) if pin is not None]
    return tuple(sorted(found, key=lambda pin: (pin.save.attempt, pin.save.ordinal, pin.name)))


def _pin(directory: str, place: str, name: str) -> Optional[Pin]:
    save = parse_pin_name(name)
    if save is None:
        return None
    with suppress(OSError):
        for entry in os.listdir(os.path.join(place, name)):
            if entry.endswith(_INDEX):
                stem = entry[: -len(_INDEX)]
                return Pin(name, save, os.path.join(place, name, stem), os.path.join(directory, stem))
    return None


def find_pin(prefix: str, digest: str) -> Optional[Pin]:
    """The pin that holds the checkpoint of this digest which lies, or lay, at `prefix`; the newest such."""
    if not digest or is_url(prefix):
        return None
    with suppress(OSError):
        for pin in reversed(list_pins(os.path.dirname(prefix))):
            if os.path.basename(pin.prefix) == os.path.basename(prefix) and digest_at(pin.prefix) == digest:
                return pin
    return None


def digest_at(prefix: str) -> str:
    """The digest of what lies at a prefix, by its index and the sizes of its files; "" when that can't be told."""
    try:
        return read_manifest(prefix).digest
    except BundleError:
        return ""


def put_back(pin: Pin) -> bool:
    """Gives a pinned checkpoint its own name again, by links and a copy; True when it lies there, whole, afterwards.

    Whoever does the same at the same time does no harm. False where another file has one of its names, where there are
    no links, or where the file system refuses.
    """
    source, target = os.path.dirname(pin.prefix), os.path.dirname(pin.own_prefix)
    index = os.path.basename(pin.prefix) + _INDEX
    try:
        shards = sorted(name for name in os.listdir(source) if name.startswith(os.path.basename(pin.prefix) + ".data-"))
        if not all(_is_free_for(os.path.join(source, name), os.path.join(target, name)) for name in (*shards, index)):
            return False
        for name in shards:
            _link_again(os.path.join(source, name), os.path.join(target, name))
        _copy_again(os.path.join(source, index), os.path.join(target, index))
    except OSError:
        return False
    return True


def _is_free_for(source: str, target: str) -> bool:
    """Whether nothing lies at the target, or the very same."""
    if not os.path.lexists(target) or os.path.samefile(source, target):
        return True
    return target.endswith(_INDEX) and _content(source) == _content(target)


def _link_again(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        if not os.path.samefile(source, target):
            raise


def _copy_again(source: str, target: str) -> None:
    """A copy under a name that must be free, or be that of the same content. Appears whole or not at all."""
    temporary = "{}.tempstate{}".format(target, os.urandom(8).hex())  # named as TensorFlow names its own
    try:
        shutil.copyfile(source, temporary)
        os.link(temporary, target)
    except FileExistsError:
        if _content(source) != _content(target):
            raise
    finally:
        with suppress(OSError):
            os.unlink(temporary)


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def remove_pins(directory: str, names: Optional[Iterable[str]] = None) -> Tuple[str, ...]:
    """Removes pins, all of them unless some are named, and the directories that are empty then. What was removed.

    With all of them goes what writers have put down there; one that goes on does so again at its next save.
    Raises OSError when the file system refuses.
    """
    place = pins_directory(directory)
    wanted = None if names is None else set(names)
    removed: List[str] = []
    with suppress(FileNotFoundError, NotADirectoryError):
        for name in sorted(os.listdir(place)):
            if parse_pin_name(name) is not None and (wanted is None or name in wanted):
                _remove(os.path.join(place, name))
                removed.append(name)
    if names is None:
        _clear(os.path.join(directory, OWN_DIRECTORY, WRITERS_DIRECTORY))
    _remove_if_empty(place)
    _remove_if_empty(os.path.dirname(place))
    return tuple(removed)


def forget_writers(directory: str) -> None:
    """Removes what the workers of a gang that trains no more have put down to find each other by.

    What one of them has saved elsewhere stays: it may be the only copy. Raises OSError when the file system refuses.
    """
    _clear(os.path.join(directory, OWN_DIRECTORY, WRITERS_DIRECTORY))
    _remove_if_empty(os.path.join(directory, OWN_DIRECTORY, ELSEWHERE_DIRECTORY))
    _remove_if_empty(os.path.join(directory, OWN_DIRECTORY))


def _clear(place: str) -> None:
    """Removes a directory of small files."""
    with suppress(FileNotFoundError, NotADirectoryError):
        for name in os.listdir(place):
            os.unlink(os.path.join(place, name))
    _remove_if_empty(place)


def _remove_if_empty(place: str) -> None:
    try:
        os.rmdir(place)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.ENOENT, errno.ENOTDIR, errno.EEXIST):
            raise


def _remove(place: str) -> None:
    """Its index first: what is left of a pin then is none."""
    for name in sorted(os.listdir(place), key=lambda each: not each.endswith(_INDEX)):
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(place, name))
    os.rmdir(place)
