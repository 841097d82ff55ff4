"""Which object of a checkpoint meets which object of a program, by the rules of `tf.train.Checkpoint.restore`.

From the root, breadth first, children are looked up by their names: attributes and positions in lists, never the names
of variables. An object of the checkpoint is bound to the first object of the program that is met under its name, and
an object of the program takes the first values that it is met with. Slot variables are found by (optimizer, variable,
name of the slot), once both are bound. What finds nothing waits for an object of that name. The values are assigned
in batches, each in the order of the keys.

Decides only who meets whom. Whether a value fits, and whether it is the right one, is not looked at.
"""

from collections import deque
from dataclasses import dataclass
from typing import Deque, Dict, List, Mapping, Optional, Tuple

from lastgood.bundle.graph import SlotVariable
from lastgood.explanation.described import VARIABLE_VALUE, Description, Slots


@dataclass(frozen=True)
class Meeting:
    """An object of the checkpoint and the one of the program that takes its values.

    live: None for a slot variable that does not exist yet, and that TensorFlow creates with the value.
    """

    saved: int
    live: Optional[int]


@dataclass(frozen=True)
class LostSlot:
    """A slot variable that finds no place. optimizer: the live one, None where the saved one is bound to nothing."""

    saved: int
    name: str
    optimizer: Optional[int]
    is_refused: bool = False


@dataclass(frozen=True)
class Matching:
    """Who meets whom.

    bound: saved node to live node, None for one that is created.
    batches: what is assigned, batch after batch; the values of a batch are read at once and assigned in order.
    lost_slots: slot variables that find no place.
    """

    bound: Mapping[int, Optional[int]]
    batches: Tuple[Tuple[Meeting, ...], ...]
    lost_slots: Tuple[LostSlot, ...]

    def is_met(self, saved: int) -> bool:
        """Whether some object of the program is bound to it."""
        return saved in self.bound


def match(saved: Description, target: Description) -> Matching:
    """What `restore` would bind to what."""
    if not saved.graph.nodes or not target.graph.nodes:
        return Matching({}, (), ())
    return _Matcher(saved, target).run()


class _Matcher:
    def __init__(self, saved: Description, target: Description) -> None:
        self._saved, self._target = saved, target
        self._bound: Dict[int, Optional[int]] = {}
        self._taken: Dict[int, int] = {}
        self._batches: List[Tuple[Meeting, ...]] = []
        self._lost: List[LostSlot] = []
        self._live_slots: Dict[int, Dict[Tuple[int, str], int]] = {}
        self._children = [dict(node.children) for node in target.graph.nodes]
        for name in target.attached + target.late:
            self._children[0].pop(name, None)
        #: Slots by the variable that they wait for, then by the optimizer that they wait for.
        self._by_variable: Dict[int, List[Tuple[int, SlotVariable]]] = {}
        self._by_optimizer: Dict[int, List[Tuple[int, SlotVariable]]] = {}
        for number, node in enumerate(saved.graph.nodes):
            for slot in node.slot_variables:
                self._by_variable.setdefault(slot.original_node, []).append((number, slot))

    def run(self) -> Matching:
        """All of it: the root and what it leads to, then what is attached to it, then what restore() creates."""
        self._restore(0, 0)
        at_root = dict(self._saved.graph.nodes[0].children)
        live_at_root = self._target.children_of(0)
        for name in self._target.attached + self._target.late:
            if name in at_root and at_root[name] not in self._bound:
                self._restore(at_root[name], live_at_root[name])
        waiting = [pair for pairs in (self._by_variable, self._by_optimizer) for pair in pairs.values()]
        for optimizer, slot in (one for several in waiting for one in several):
            self._lost.append(LostSlot(slot.slot_node, slot.name, self._bound.get(optimizer)))
        return Matching(self._bound, tuple(self._batches), tuple(self._lost))

    def _restore(self, saved: int, live: int) -> None:
        queue: Deque[Tuple[int, int]] = deque()
        batch: List[Meeting] = []
        self._bind(saved, live, queue, batch)
        while queue:
            saved, live = queue.popleft()
            self._take(saved, live, batch)
            for name, child in self._saved.graph.nodes[saved].children:
                if child in self._bound:
                    continue
                found = self._children[live].get(name)
                if found is not None:
                    self._bind(child, found, queue, batch)
            if not self._target.rules.slots_at_once:
                self._restore_slots(saved, queue, batch)
        self._add_batch(batch)

    def _bind(self, saved: int, live: int, queue: Deque[Tuple[int, int]], batch: List[Meeting]) -> None:
        self._bound[saved] = live
        queue.append((saved, live))
        if self._target.rules.slots_at_once:
            self._restore_slots(saved, queue, batch)

    def _take(self, saved: int, live: int, batch: List[Meeting]) -> None:
        """An object takes values once in a restore: the first that it meets."""
        if live not in self._taken:
            self._taken[live] = saved
            batch.append(Meeting(saved, live))

    def _restore_slots(self, saved: int, queue: Deque[Tuple[int, int]], batch: List[Meeting]) -> None:
        """What waited for this object: slots of this optimizer whose variables are met, slots of this variable."""
        for optimizer, slot in self._by_optimizer.pop(saved, ()):
            self._restore_slot(optimizer, slot, queue, batch)
        for optimizer, slot in self._by_variable.pop(saved, ()):
            if optimizer in self._bound:
                self._restore_slot(optimizer, slot, queue, batch)
            else:
                self._by_optimizer.setdefault(optimizer, []).append((optimizer, slot))

    def _restore_slot(
        self, optimizer: int, slot: SlotVariable, queue: Deque[Tuple[int, int]], batch: List[Meeting]
    ) -> None:
        live_optimizer, variable = self._bound[optimizer], self._bound[slot.original_node]
        if slot.slot_node in self._bound or live_optimizer is None or variable is None:
            return
        takes = self._target.traits_of(live_optimizer).slots
        if takes is not Slots.TAKES:
            self._lost.append(LostSlot(slot.slot_node, slot.name, live_optimizer, takes is Slots.REFUSES))
            return
        found = self._slots_of(live_optimizer).get((variable, slot.name))
        if found is None and not self._is_simple(slot.slot_node):
            self._lost.append(LostSlot(slot.slot_node, slot.name, live_optimizer))
            return
        self._bound[slot.slot_node] = found
        if found is None:
            self._add_batch([Meeting(slot.slot_node, None)])
        elif self._target.rules.slots_at_once:
            at_once: List[Meeting] = []
            self._take(slot.slot_node, found, at_once)
            self._add_batch(at_once)
        else:
            queue.append((slot.slot_node, found))

    def _slots_of(self, live_optimizer: int) -> Mapping[Tuple[int, str], int]:
        """By variable and name: the first slot variable that an optimizer has of it."""
        if live_optimizer not in self._live_slots:
            slots = self._live_slots.setdefault(live_optimizer, {})
            for slot in self._target.graph.nodes[live_optimizer].slot_variables:
                slots.setdefault((slot.original_node, slot.name), slot.slot_node)
        return self._live_slots[live_optimizer]

    def _is_simple(self, saved: int) -> bool:
        node = self._saved.graph.nodes[saved]
        return not node.children and [attribute.name for attribute in node.attributes] == [VARIABLE_VALUE]

    def _add_batch(self, batch: List[Meeting]) -> None:
        nodes = self._saved.graph.nodes
        with_values = [meeting for meeting in batch if nodes[meeting.saved].attributes]
        if with_values:
            self._batches.append(
                tuple(sorted(with_values, key=lambda meeting: nodes[meeting.saved].attributes[0].checkpoint_key))
            )
