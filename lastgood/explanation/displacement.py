"""Values that would come into the wrong variable: swapped, shifted along a list, or moved elsewhere.

TensorFlow matches by position and attribute. What a position held is recognised here by two other things: the name that
the variable had when it was saved, and the checksum of its value. Equal values prove it; names alone make it suspected,
and so do equal values where the names say that all is in order.
Names that are not unique prove nothing, and neither do numbers that Keras gives out (`dense_1`): the same layers built
once more are numbered on, so such names count only where their order changed, or where some of them are left over.

`lastgood.difference.moves` tells what changed its place between two finished states, by key; it has all values, and no
pairs to judge. Here it is known which variable takes which value, and values are missing where nothing is built yet.
"""

import re
from dataclasses import dataclass
from typing import AbstractSet, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from lastgood.explanation.described import Tensor

SWAPPED, SHIFTED, MOVED = "swapped", "shifted", "moved"

#: Equal values of fewer elements are too often a coincidence: counters, learning rates.
_LEAST_ELEMENTS = 4


@dataclass(frozen=True)
class Holder:
    """Something with a value on one side.

    label: where it is, as people read it. home: the same, where there is one by a way that leads through no optimizer.
    name: its own, "" where unknown.
    """

    label: str
    name: str
    tensor: Tensor
    home: str = ""


@dataclass(frozen=True)
class Pair:
    """A saved value and the variable that would take it."""

    saved: Holder
    live: Holder
    is_of_optimizer: bool = False


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
    saved_names, live_names = _aligned([one.name for one in saved], [one.name for one in live])
    settled = {number for number, pair in enumerate(pairs) if _have_equal_values(pair)}
    harmless = _renumbered(pairs, dropped, left)
    by_name = _by_name(pairs, saved, live, saved_names, live_names, settled | harmless)
    for number in _follows_its_variable(pairs, by_name):
        del by_name[number]
    is_called_alike = [saved_names[number] == live_names[number] for number in range(len(pairs))]
    where_saved, where_live = _unique(saved_names), _unique(live_names)
    in_order = {
        number
        for number in range(len(pairs))
        if is_called_alike[number]
        and where_saved.get(saved_names[number]) == number
        and where_live.get(live_names[number]) == number
    }
    return {**by_name, **_by_value(pairs, saved, live, is_called_alike, in_order)}


def _have_equal_values(pair: Pair) -> bool:
    mine, other = pair.saved.tensor, pair.live.tensor
    return mine.crc32c is not None and mine.crc32c == other.crc32c and mine.is_like(other)


def _by_value(
    pairs: Sequence[Pair],
    saved: Sequence[Holder],
    live: Sequence[Holder],
    is_called_alike: Sequence[bool],
    in_order: AbstractSet[int],
) -> Dict[int, Displacement]:
    """in_order: pairs whose names are alike and like no others. A history of snapshots looks like a shift by values."""
    where_saved, where_live = _unique(map(_value_of, saved)), _unique(map(_value_of, live))
    goes_to: Dict[int, int] = {}
    for number, holder in enumerate(saved):
        value = _value_of(holder)
        elsewhere = where_live.get(value)
        if value is not None and where_saved.get(value) == number and elsewhere not in (None, number):
            assert elsewhere is not None
            goes_to[number] = elsewhere
    chance = {one for one in _lonely(goes_to, len(pairs)) if one < len(pairs) and is_called_alike[one]}
    found: Dict[int, Displacement] = {}
    for number, pair in enumerate(pairs):
        elsewhere = goes_to.get(number)
        if elsewhere is None or number in chance:
            continue
        evidence = "the value saved here is the one that `{}` holds now".format(live[elsewhere].label)
        is_swap = elsewhere < len(pairs) and goes_to.get(elsewhere) == number
        how = SWAPPED if is_swap else _how(pair.live.label, live[elsewhere].label)
        if number in in_order:
            evidence += ", though both are called `{}`".format(pair.live.name)
        found[number] = Displacement(how, evidence, is_certain=number not in in_order)
    return found


def _lonely(goes_to: Mapping[int, int], pairs: int) -> Set[int]:
    """Values that one variable holds now, which is given a new one itself: the only such link there.

    A second network that was copied from the first one's initial values looks like that (a target network, a frozen
    copy), when those are made from a seed. A swap, a shift or a variable that goes empty looks otherwise.
    """
    taken = set(goes_to.values())
    return {one for one, other in goes_to.items() if other < pairs and other not in goes_to and one not in taken}


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
    sides = (_Names(saved), _Names(live))
    known: Dict[Tuple[int, str], int] = {}
    depth = 0
    while any(side.longer for side in sides):
        mine, other = (side.numbers_at(depth) for side in sides)
        shared = {group for group in mine if len(mine[group]) == len(other.get(group, ()))}
        for side, numbers in zip(sides, (mine, other)):
            ranks = {group: {one: rank for rank, one in enumerate(sorted(numbers[group]))} for group in shared}
            side.replace_at(depth, ranks, known)
        depth += 1
    return sides[0].joined(), sides[1].joined()


#: Where a part of a name stands, as a number for all parts before it, and the part without its own number.
_Group = Tuple[int, str]
_Number = Tuple[int, str]


class _Names:
    """One side's names in parts, looked at depth by depth. longer: those that have a part behind the present depth."""

    def __init__(self, names: Sequence[str]) -> None:
        self._parts = [name.split("/") for name in names]
        self._before = [0] * len(names)
        self.longer = [number for number, parts in enumerate(self._parts) if len(parts) > 1]

    def numbers_at(self, depth: int) -> Dict[_Group, Set[_Number]]:
        """Which numbers the parts of one kind have."""
        found: Dict[_Group, Set[_Number]] = {}
        for one in self.longer:
            stem, number = _numbered_part(self._parts[one][depth])
            found.setdefault((self._before[one], stem), set()).add(number)
        return found

    def replace_at(
        self, depth: int, ranks: Mapping[_Group, Mapping[_Number, int]], known: Dict[Tuple[int, str], int]
    ) -> None:
        """Puts ranks for numbers. known: a number for each beginning of a name, for both sides."""
        for one in self.longer:
            parts = self._parts[one]
            stem, number = _numbered_part(parts[depth])
            ranked = ranks.get((self._before[one], stem))
            if ranked is not None:
                parts[depth] = "{}#{}".format(stem, ranked[number])
            self._before[one] = known.setdefault((self._before[one], parts[depth]), len(known) + 1)
        self.longer = [one for one in self.longer if len(self._parts[one]) > depth + 2]

    def joined(self) -> List[str]:
        return ["/".join(parts) for parts in self._parts]


def _numbered_part(part: str) -> Tuple[str, _Number]:
    found = _NUMBERED.fullmatch(part)
    return (part, _order("0")) if found is None else (found.group(1), _order(found.group(2)))


_NUMBERED = re.compile(r"(.+)_([0-9]+)", re.DOTALL)


def _order(digits: str) -> _Number:
    """Sorts like the number, which may be too long to be made one."""
    digits = digits.lstrip("0")
    return len(digits), digits


def _group(holder: Holder) -> Tuple[str, str]:
    return (_digits_out(holder.home), without_numbers(holder.name))


#: `dense_1/kernel`, `adam/dense_1_kernel_momentum`, `variable_3`; not `w_1`, which a person has chosen.
_GIVEN_OUT = re.compile(r"_([0-9]+)(?=[_/])|(?<=ariable)_([0-9]+)$")


def without_numbers(name: str) -> str:
    """A variable's name without the numbers that Keras gives out."""
    return _GIVEN_OUT.sub("", name)


def _numbers(name: str) -> Tuple[_Number, ...]:
    return tuple(_order(found.group(1) or found.group(2)) for found in _GIVEN_OUT.finditer(name))


# -------------------------------------------------------------------------------------- optimizers name their variables


def _follows_its_variable(pairs: Sequence[Pair], displaced: Mapping[int, Displacement]) -> Set[int]:
    """Pairs of an optimizer whose two names differ by the name of a variable, and just as that variable's two names do.

    `adam/dense_1_kernel_momentum` belongs to what was called `dense_1/kernel`, whatever that is called now.
    """
    renamed = {
        _flat(pair.saved.name): _flat(pair.live.name)
        for number, pair in enumerate(pairs)
        if not pair.is_of_optimizer and number not in displaced and pair.saved.name and pair.live.name
    }
    return {
        number
        for number, pair in enumerate(pairs)
        if number in displaced
        and pair.is_of_optimizer
        and len(pair.saved.name) <= _LONGEST_NAME
        and _flat(pair.live.name) in _translations(_flat(pair.saved.name), renamed)
    }


def _translations(name: str, renamed: Mapping[str, str]) -> Iterator[str]:
    """A name with the variable's name in it put into the other side's words, wherever one may begin and end."""
    cuts = [-1, *(at for at, character in enumerate(name) if character == "_"), len(name)]
    for place, start in enumerate(cuts):
        for end in reversed(cuts[place + 1 :]):
            other = renamed.get(name[start + 1 : end])
            if other is not None:
                yield name[: start + 1] + other + name[end:]


def _flat(name: str) -> str:
    return name.replace("/", "_")


#: The names of variables are shorter, and the work grows with the square of the length.
_LONGEST_NAME = 400
