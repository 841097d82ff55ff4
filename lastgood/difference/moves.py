"""What changed its place between two checkpoints, and not its value: swaps, shifts in a list, renamed keys.

A tensor is recognised by its value where that is unlike all others, and by the variable's name (`full_name`) where the
value has changed too. What could be two things is called neither. Pure: a value comes in as anything that compares.

`lastgood.explanation.displacement` knows swaps and shifts as well, and decides something else: there the pairs are
given, by the rules of a restore, and the question is which of them puts a value where it does not belong. It may
suspect where this may not, for somebody is about to lose values; here two finished states are compared.
"""

import re
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import Callable, Dict, Hashable, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

_NUMBER = re.compile(rb"\d+")

#: Longer ones are no places in a list, and Python refuses to make numbers of the longest.
_MOST_DIGITS = 18

_DIGITS = re.compile(r"_?\d+")


class Evidence(str, Enum):
    """By what a move was recognised."""

    VALUE = "value"
    NAME = "full_name"


class Print(NamedTuple):
    """What a tensor is recognised by; None for what it has not, or what says nothing.

    form: what must be equal in any case, such as dtype and shape.
    """

    form: Hashable
    value: Optional[Hashable]
    name: Optional[str]


@dataclass(frozen=True)
class Swap:
    """Each of two keys holds what the other held."""

    keys: Tuple[bytes, bytes]
    evidence: Evidence


@dataclass(frozen=True)
class Shift:
    """Neighbours in a list that moved by the same number of places. moves: (before, after), in order, two or more."""

    moves: Tuple[Tuple[bytes, bytes], ...]
    by: int
    evidence: Evidence


@dataclass(frozen=True)
class Move:
    """A tensor that stands under another key. is_rename: the old key is gone, and the new one was not there."""

    before: bytes
    after: bytes
    is_rename: bool
    evidence: Evidence


@dataclass(frozen=True)
class Moves:
    """Everything that changed its place; each key stands in at most one of them on each side."""

    swaps: Tuple[Swap, ...] = ()
    shifts: Tuple[Shift, ...] = ()
    moves: Tuple[Move, ...] = ()

    @property
    def in_all(self) -> int:
        """How many there are."""
        return len(self.swaps) + len(self.shifts) + len(self.moves)


class _Origin(NamedTuple):
    """Where the tensor of a key stood before."""

    key: bytes
    evidence: Evidence


def find_moves(before: Mapping[bytes, Print], after: Mapping[bytes, Print]) -> Moves:
    """What stands elsewhere than before, between all tensors of two checkpoints by their keys."""
    origins = _origins(before, after)
    swaps = _take_swaps(origins)
    shifts = _take_shifts(origins)
    moves = [
        Move(origin.key, key, origin.key not in after and key not in before, origin.evidence)
        for key, origin in sorted(origins.items())
    ]
    return Moves(tuple(swaps), tuple(shifts), tuple(moves))


def _origins(before: Mapping[bytes, Print], after: Mapping[bytes, Print]) -> Dict[bytes, _Origin]:
    """By the key after: where it stood. Values go first: what was recognised by its value is not looked for by name."""
    by_value = _matches(before, after, _value)
    found, claimed = set(by_value), set(by_value.values())
    by_name = {
        key: origin
        for key, origin in _matches(before, after, _name).items()
        if key not in found and origin not in claimed
    }
    in_circles = _in_circles(by_name)
    renumbered = {key for key in by_name if key not in in_circles and _is_renumbered(key, before, after)}
    origins = {key: _Origin(origin, Evidence.VALUE) for key, origin in by_value.items()}
    origins.update({key: _Origin(o, Evidence.NAME) for key, o in by_name.items() if key not in renumbered})
    return {key: origin for key, origin in origins.items() if origin.key != key}


def _matches(
    before: Mapping[bytes, Print], after: Mapping[bytes, Print], pick: Callable[[Print], Optional[Hashable]]
) -> Dict[bytes, bytes]:
    """By the key after: the key before of the one tensor that has what `pick` takes of it."""
    old = _unique(before, pick)
    return {key: old[mark] for mark, key in _unique(after, pick).items() if mark in old}


def _is_renumbered(key: bytes, before: Mapping[bytes, Print], after: Mapping[bytes, Print]) -> bool:
    """Whether a name says nothing: it was `dense_1` before and is `dense_2` now, as a program's second model has it."""
    if key not in before:
        return False
    old, new = before[key].name or "", after[key].name or ""
    return _DIGITS.sub("", old) == _DIGITS.sub("", new)


def _in_circles(origins: Mapping[bytes, bytes]) -> Set[bytes]:
    """The keys whose names merely changed places among themselves, and so do say something. No two have one origin."""
    left = set(origins)
    for key in set(origins) - set(origins.values()):  # where a chain begins
        place: Optional[bytes] = key
        while place is not None:
            left.discard(place)
            place = origins.get(place)
    return left


def _value(tensor: Print) -> Optional[Hashable]:
    return None if tensor.value is None else (tensor.form, tensor.value)


def _name(tensor: Print) -> Optional[Hashable]:
    return (tensor.form, tensor.name) if tensor.name else None


def _unique(tensors: Mapping[bytes, Print], pick: Callable[[Print], Optional[Hashable]]) -> Dict[Hashable, bytes]:
    """What only one tensor has, and which one that is."""
    marks = {key: pick(tensor) for key, tensor in tensors.items()}
    counts = Counter(marks.values())
    return {mark: key for key, mark in marks.items() if mark is not None and counts[mark] == 1}


def _take_swaps(origins: Dict[bytes, _Origin]) -> List[Swap]:
    """Takes pairs out of `origins` in which each stands where the other stood."""
    swaps = []
    for key in sorted(origins):
        origin = origins.get(key)
        if origin is None:
            continue
        back = origins.get(origin.key)
        if back is not None and back.key == key:
            swaps.append(Swap((key, origin.key), _weaker(origin.evidence, back.evidence)))
            del origins[key], origins[origin.key]
    return swaps


def _take_shifts(origins: Dict[bytes, _Origin]) -> List[Shift]:
    """Takes runs of neighbours out of `origins` that moved by the same number of places in one list."""
    groups: Dict[Tuple[bytes, int], List[Tuple[int, bytes]]] = {}
    for key, origin in origins.items():
        for pattern, was, now in _places(origin.key, key):
            groups.setdefault((pattern, now - was), []).append((now, key))
    shifts = []
    for (_, by), members in sorted(groups.items()):
        for run in _runs(sorted(members)):
            keys = [key for key in run if key in origins]
            if len(keys) < 2:
                continue
            evidence = _weaker(*(origins[key].evidence for key in keys))
            shifts.append(Shift(tuple((origins.pop(key).key, key) for key in keys), by, evidence))
    return shifts


def _places(before: bytes, after: bytes) -> Iterable[Tuple[bytes, int, int]]:
    """(the key with a blank for the one number in which both differ, the number before, the number after)."""
    if _NUMBER.sub(b"#", before) != _NUMBER.sub(b"#", after):
        return
    pairs = list(zip(_NUMBER.finditer(before), _NUMBER.finditer(after)))
    different = [(one, other) for one, other in pairs if one.group() != other.group()]
    if len(different) == 1 and all(len(found.group()) <= _MOST_DIGITS for found in different[0]):
        one, other = different[0]
        yield after[: other.start()] + b"\0" + after[other.end() :], int(one.group()), int(other.group())


def _runs(members: Sequence[Tuple[int, bytes]]) -> Iterable[List[bytes]]:
    """The keys cut where their numbers do not follow each other."""
    run: List[bytes] = []
    last = None
    for number, key in members:
        if last is not None and number != last + 1:
            yield run
            run = []
        run.append(key)
        last = number
    yield run


def _weaker(*evidence: Evidence) -> Evidence:
    return Evidence.NAME if Evidence.NAME in evidence else Evidence.VALUE
