"""The two sides of a restore, matched, with what the judges look up in them. Decides nothing."""

from dataclasses import dataclass
from functools import cached_property
from typing import AbstractSet, Dict, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from lastgood.bundle.graph import SlotVariable
from lastgood.explanation.counts import CountDifference, find_count_differences, stem_of
from lastgood.explanation.described import NEVER_RESTORED, Description, Tensor, label_of, paths_in_words
from lastgood.explanation.displacement import Holder
from lastgood.explanation.matching import Matching, Meeting, match

#: What is not known of a value that a description lacks.
UNKNOWN = Tensor("", None)


@dataclass(frozen=True)
class Assignment:
    """One value on its way.

    live: key of the variable; None for a slot variable that is created with it. variable: its node, -1 likewise.
    is_absent: the program looks in this place for a value under another name.
    """

    key: bytes
    live: Optional[bytes]
    variable: int
    is_absent: bool = False


class Loose(NamedTuple):
    """A value without a counterpart, and the node that holds it."""

    key: bytes
    node: int


class Top(NamedTuple):
    """How an unbound object hangs on a bound one: that one, the child's name, and a number for the path from there on.

    Equal paths have equal numbers, on both sides.
    """

    parent: int
    child: str
    rest: int


class Sides:
    """Everything about one restore that can be looked up."""

    def __init__(self, saved: Description, target: Description) -> None:
        self.saved, self.target = saved, target
        self.matching: Matching = match(saved, target)
        self.paths = paths_in_words(target.graph)
        self.names = saved.graph.full_names()
        self.live_names = target.graph.full_names()
        self.counts: Sequence[CountDifference] = find_count_differences(saved, target, self.matching, self.paths)
        self.batches = [self._assignments(batch) for batch in self.matching.batches]
        rests: Dict[Tuple[int, str], int] = {}
        self.saved_tops = _tops(saved, set(self.matching.bound), rests)
        self.live_tops = _tops(target, {live for live in self.matching.bound.values() if live is not None}, rests)

    def _assignments(self, batch: Sequence[Meeting]) -> List[Assignment]:
        return [one for meeting in batch for one in self._assignments_of(meeting)]

    def _assignments_of(self, meeting: Meeting) -> List[Assignment]:
        attributes = self.saved.graph.nodes[meeting.saved].attributes
        if meeting.live is None:
            return [Assignment(attribute.checkpoint_key, None, -1) for attribute in attributes]
        own = self.target.graph.nodes[meeting.live].attributes
        live = {attribute.name: attribute.checkpoint_key for attribute in own}
        if own and not self.target.rules.by_attribute and not any(one.name in live for one in attributes):
            return [Assignment(attributes[0].checkpoint_key, own[0].checkpoint_key, meeting.live, is_absent=True)]
        return [
            Assignment(attribute.checkpoint_key, live[attribute.name], meeting.live)
            for attribute in attributes
            if attribute.name in live
        ]

    @cached_property
    def dropped(self) -> Sequence[Loose]:
        """Saved values that nothing takes."""
        return _loose(self.saved, {one.key for batch in self.batches for one in batch})

    @cached_property
    def left(self) -> Sequence[Loose]:
        """Values of the program that nothing reaches."""
        return _loose(self.target, {one.live for batch in self.batches for one in batch})

    def saved_holder(self, key: bytes) -> Holder:
        """What the checkpoint has under a key."""
        home = self._saved_homes.get(key, "")
        return Holder(label_of(key), self.names.get(key, ""), self.saved.tensors.get(key, UNKNOWN), home)

    def live_holder(self, key: bytes) -> Holder:
        """What the program has under a key."""
        home = self._live_homes.get(key, "")
        return Holder(label_of(key), self.live_names.get(key, ""), self.target.tensors.get(key, UNKNOWN), home)

    @cached_property
    def _saved_homes(self) -> Mapping[bytes, str]:
        return _homes(self.saved)

    @cached_property
    def _live_homes(self) -> Mapping[bytes, str]:
        return _homes(self.target)

    @cached_property
    def _only_in_optimizers(self) -> AbstractSet[int]:
        optimizers = optimizers_of(self.target)
        return paths_in_words(self.target.graph, optimizers).below(optimizers)

    def place(self, live: int) -> str:
        """An object of the program in words."""
        path = self.paths.get(live, "")
        return "`{}`".format(path) if path else "the root"

    def is_below_optimizer(self, live: int) -> bool:
        """Whether it belongs to an optimizer."""
        return live in self._below_optimizers

    def is_optimizers_own(self, live: int) -> bool:
        """Whether no way leads to it but through an optimizer."""
        return live in self._only_in_optimizers

    @cached_property
    def _below_optimizers(self) -> AbstractSet[int]:
        return self.paths.below(optimizers_of(self.target))

    @cached_property
    def saved_slots(self) -> Mapping[bytes, Tuple[int, str]]:
        """By the key of each saved slot variable: its optimizer, and the slot's name."""
        nodes = self.saved.graph.nodes
        return {
            attribute.checkpoint_key: (number, slot.name)
            for number, node in enumerate(nodes)
            for slot in node.slot_variables
            for attribute in nodes[slot.slot_node].attributes
        }

    @cached_property
    def live_slots(self) -> Mapping[int, SlotVariable]:
        """The program's slot variables by their nodes."""
        return {slot.slot_node: slot for node in self.target.graph.nodes for slot in node.slot_variables}

    @cached_property
    def saved_of(self) -> Mapping[int, int]:
        """The first saved object that is bound to each live one."""
        found: Dict[int, int] = {}
        for saved, live in self.matching.bound.items():
            if live is not None:
                found.setdefault(live, saved)
        return found

    @cached_property
    def _counts_by_parent(self) -> Mapping[int, Mapping[str, CountDifference]]:
        found: Dict[int, Dict[str, CountDifference]] = {}
        for one in self.counts:
            found.setdefault(one.parent, {}).setdefault(one.stem, one)
        return found

    @cached_property
    def slot_names(self) -> Mapping[int, Sequence[str]]:
        """The names of the slots that each optimizer of the program has."""
        nodes = enumerate(self.target.graph.nodes)
        return {number: sorted({slot.name for slot in node.slot_variables}) for number, node in nodes}

    def count_of(self, parent: int, child: str) -> Optional[CountDifference]:
        """The difference in the number of those children of an object that this one is among."""
        stem = stem_of(child)
        return self._counts_by_parent.get(parent, {}).get(stem) if stem != child else None

    def count_above(self, variable: int) -> Optional[CountDifference]:
        """The difference in the number of children of an object that leads to this one."""
        found = (self._counts_by_parent.get(one, {}) for one in self.paths.above(variable))
        return next((one for counts in found for one in counts.values()), None)


def optimizers_of(side: Description) -> AbstractSet[int]:
    """The objects that are optimizers."""
    return {number for number, traits in side.traits.items() if traits.is_optimizer}


def _homes(side: Description) -> Mapping[bytes, str]:
    """By key: a path that leads through an optimizer only where no other one does."""
    paths = paths_in_words(side.graph, optimizers_of(side))
    nodes = enumerate(side.graph.nodes)
    return {one.checkpoint_key: paths.get(number, "") for number, node in nodes for one in node.attributes}


def _loose(side: Description, assigned: "Set[Optional[bytes]] | Set[bytes]") -> List[Loose]:
    return [
        Loose(attribute.checkpoint_key, number)
        for number, node in enumerate(side.graph.nodes)
        for attribute in node.attributes
        if attribute.checkpoint_key not in assigned and attribute.name not in NEVER_RESTORED
    ]


def _tops(side: Description, bound: Set[int], rests: Dict[Tuple[int, str], int]) -> Mapping[int, Top]:
    tops: Dict[int, Top] = {}
    queue: List[int] = []
    for number in sorted(bound):
        for name, child in side.graph.nodes[number].children:
            if child not in bound and child not in tops:
                tops[child] = Top(number, name, 0)
                queue.append(child)
    for number in queue:
        for name, child in side.graph.nodes[number].children:
            if child not in bound and child not in tops:
                rest = rests.setdefault((tops[number].rest, name), len(rests) + 1)
                tops[child] = tops[number]._replace(rest=rest)
                queue.append(child)
    return tops
