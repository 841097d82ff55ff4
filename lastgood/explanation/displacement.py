"""Values that would come into the wrong variable: swapped, shifted along a list, or moved elsewhere.

TensorFlow matches by position and attribute. What a position held is recognised here by two other things: the name that
the variable had when it was saved, and the checksum of its value. Equal values prove it; names alone make it suspected.
Names that are not unique prove nothing, and neither do numbers that Keras gives out (`dense_1`): the same layers built
once more are numbered on, so such names count only where their order changed, or where some of them are left over.
"""

import re
from dataclasses import dataclass
from typing import Dict, Iterable, List, Mapping, Optional, Sequence, Set, Tuple

from lastgood.explanation.described import Tensor

SWAPPED, SHIFTED, MOVED = "swapped", "shifted", "moved"

#: Equal values of fewer elements are too often a coincidence: counters, learning rates.
_LEAST_ELEMENTS = 4


@dataclass(frozen=True)
class Holder:
    """Something with a value on one side. label: where it is, as people read it. name: its own, "" where unknown."""

    label: str
    name: str
    tensor: Tensor


@dataclass(frozen=True)
class Pair:
    """A saved value and the variable that would take it."""

    saved: Holder
    live: Holder


@dataclass(frozen=True)
class Displacement:
    """A value that goes to the wrong variable. how: SWAPPED, SHIFTED or MOVED. evidence: in words, without a stop."""

    how: str
    evidence: str
    is_certain: bool


def find_displaced(
    pairs: Sequence[Pair], dropped: Sequence[Holder], left: Sequence[Holder]
) -> Mapping[int, Displacement]:
    """What would go wrong, by the number of the pair. dropped and left: what has no partner on the other side."""
    saved = [pair.saved for pair in pairs] + list(dropped)
    live = [pair.live for pair in pairs] + list(left)
    found = _by_value(pairs, saved, live)
    saved_names, live_names = _aligned([one.name for one in saved], [one.name for one in live])
    settled = {number for number, pair in enumerate(pairs) if _have_equal_values(pair)}
    harmless = _renumbered(pairs, dropped, left)
    by_name = _by_name(pairs, saved, live, saved_names, live_names, settled | harmless)
    return {**by_name, **found}


def _have_equal_values(pair: Pair) -> bool:
    mine, other = pair.saved.tensor, pair.live.tensor
    return mine.crc32c is not None and mine.crc32c == other.crc32c and mine.is_like(other)


def _by_value(pairs: Sequence[Pair], saved: Sequence[Holder], live: Sequence[Holder]) -> Dict[int, Displacement]:
    where_saved, where_live = _unique(map(_value_of, saved)), _unique(map(_value_of, live))
    found: Dict[int, Displacement] = {}
    for number, pair in enumerate(pairs):
        value = _value_of(pair.saved)
        elsewhere = where_live.get(value)
        if value is None or where_saved.get(value) != number or elsewhere in (None, number):
            continue
        assert elsewhere is not None
        evidence = "the value saved here is the one that `{}` holds now".format(live[elsewhere].label)
        back = where_live.get(_value_of(saved[elsewhere])) if elsewhere < len(pairs) else None
        how = SWAPPED if back == number else _how(pair.live.label, live[elsewhere].label)
        found[number] = Displacement(how, evidence, is_certain=True)
    return found


def _value_of(holder: Holder) -> Optional[Tuple[str, object, int]]:
    tensor = holder.tensor
    if tensor.crc32c is None or tensor.elements < _LEAST_ELEMENTS:
        return None
    return (tensor.dtype, tensor.shape, tensor.crc32c)


def _by_name(
    pairs: Sequence[Pair],
    saved: Sequence[Holder],
    live: Sequence[Holder],
    saved_names: Sequence[str],
    live_names: Sequence[str],
    settled: Set[int],
) -> Dict[int, Displacement]:
    where_saved, where_live = _unique(saved_names), _unique(live_names)
    found: Dict[int, Displacement] = {}
    for number, pair in enumerate(pairs):
        name, own = saved_names[number], live_names[number]
        if number in settled or not name or not own or name == own:
            continue
        if where_saved.get(name) != number or where_live.get(own) != number:
            continue
        belongs = _like(live, where_live.get(name), pair.saved.tensor)
        comes_from = _like(saved, where_saved.get(own), pair.live.tensor)
        if belongs is None and comes_from is None:
            continue
        is_swap = belongs is not None and belongs == comes_from and belongs < len(pairs)
        how = SWAPPED if is_swap else _how(pair.live.label, *_labels(live, belongs), *_labels(saved, comes_from))
        evidence = _evidence(pair, live, belongs, saved, comes_from)
        found[number] = Displacement(how, evidence, is_certain=False)
    return found


def _labels(holders: Sequence[Holder], number: Optional[int]) -> List[str]:
    return [] if number is None else [holders[number].label]


def _evidence(
    pair: Pair, live: Sequence[Holder], belongs: Optional[int], saved: Sequence[Holder], comes_from: Optional[int]
) -> str:
    text = "the checkpoint calls this value `{}`".format(pair.saved.name)
    if belongs is not None:
        text += ", which here is `{}`".format(live[belongs].label)
    text += "; the variable here is `{}`".format(pair.live.name)
    if comes_from is not None:
        text += ", which was saved as `{}`".format(saved[comes_from].label)
    return text


def _like(holders: Sequence[Holder], number: Optional[int], tensor: Tensor) -> Optional[int]:
    return number if number is not None and holders[number].tensor.is_like(tensor) else None


def _unique(things: Iterable[object]) -> Dict[object, int]:
    """Where each thing stands that stands in one place only."""
    where: Dict[object, int] = {}
    several: Set[object] = {None, ""}
    for number, thing in enumerate(things):
        if thing in where:
            several.add(thing)
        where[thing] = number
    return {thing: number for thing, number in where.items() if thing not in several}


def _how(label: str, *others: str) -> str:
    """Along one list it is a shift; otherwise it moved."""
    return SHIFTED if all(_digits_out(other) == _digits_out(label) for other in others) else MOVED


def _digits_out(label: str) -> str:
    return re.sub(r"\d+", "#", label)


# ------------------------------------------------------------------------------------- numbers that Keras has given out


def _renumbered(pairs: Sequence[Pair], dropped: Sequence[Holder], left: Sequence[Holder]) -> Set[int]:
    """Pairs whose names differ by such numbers alone, all of their kind with a partner, and in the same order."""
    groups: Dict[Tuple[str, str], List[int]] = {}
    for number, pair in enumerate(pairs):
        if pair.saved.name and pair.live.name and without_numbers(pair.saved.name) == without_numbers(pair.live.name):
            groups.setdefault(_group(pair.live), []).append(number)
    incomplete = {_group(holder) for holder in [*dropped, *left] if holder.name}
    harmless: Set[int] = set()
    for group, numbers in groups.items():
        order = sorted(numbers, key=lambda number: _numbers(pairs[number].saved.name))
        live = [_numbers(pairs[number].live.name) for number in order]
        if group not in incomplete and live == sorted(live):
            harmless.update(numbers)
    return harmless


def _aligned(saved: Sequence[str], live: Sequence[str]) -> Tuple[List[str], List[str]]:
    """Both sides' names with the numbers of their layers and models as ranks, where both have equally many.

    A model that is built once more in one process is `sequential_1`; the first of either side is then the same one.
    """
    ours, theirs = [name.split("/") for name in saved], [name.split("/") for name in live]
    for depth in range(max((len(parts) - 1 for parts in ours + theirs), default=0)):
        mine, other = _numbers_at(depth, ours), _numbers_at(depth, theirs)
        shared = {group for group in mine if len(mine[group]) == len(other.get(group, ()))}
        for side, numbers in ((ours, mine), (theirs, other)):
            ranks = {group: {number: rank for rank, number in enumerate(sorted(numbers[group]))} for group in shared}
            for parts in side:
                if depth < len(parts) - 1:
                    group, number = _numbered_part(depth, parts)
                    if group in shared:
                        parts[depth] = "{}#{}".format(group[1], ranks[group][number])
    return ["/".join(parts) for parts in ours], ["/".join(parts) for parts in theirs]


_Group = Tuple[Tuple[str, ...], str]


def _numbers_at(depth: int, names: Sequence[List[str]]) -> Dict[_Group, Set[int]]:
    found: Dict[_Group, Set[int]] = {}
    for parts in names:
        if depth < len(parts) - 1:
            group, number = _numbered_part(depth, parts)
            found.setdefault(group, set()).add(number)
    return found


def _numbered_part(depth: int, parts: Sequence[str]) -> Tuple[_Group, int]:
    stem, _, number = parts[depth].rpartition("_")
    is_numbered = bool(stem) and number.isdigit()
    name = stem if is_numbered else parts[depth]
    return (tuple(parts[:depth]), name), int(number) if is_numbered else 0


def _group(holder: Holder) -> Tuple[str, str]:
    return (_digits_out(holder.label), without_numbers(holder.name))


#: `dense_1/kernel`, `adam/dense_1_kernel_momentum`, `variable_3`; not `w_1`, which a person has chosen.
_GIVEN_OUT = re.compile(r"_(\d+)(?=[_/])|(?<=ariable)_(\d+)$")


def without_numbers(name: str) -> str:
    """A variable's name without the numbers that Keras gives out."""
    return _GIVEN_OUT.sub("", name)


def _numbers(name: str) -> Tuple[int, ...]:
    return tuple(int(found.group(1) or found.group(2)) for found in _GIVEN_OUT.finditer(name))
