"""What is on one side of a restore: objects by name, the values that they hold, and how they behave.

The same shape describes a checkpoint (`describe_checkpoint`) and the objects of a program (`lastgood.tf`). Decides
nothing and reads no tensor.
"""

from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, AbstractSet, Deque, Dict, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from lastgood.bundle.graph import Attribute, Node, ObjectGraph
from lastgood.manifest import Kind

if TYPE_CHECKING:
    from lastgood.checkpoint import Checkpoint

#: The attribute under which a variable saves its value.
VARIABLE_VALUE = "VARIABLE_VALUE"
ATTRIBUTES = "/.ATTRIBUTES/"
SAVE_COUNTER = "save_counter"

#: Saved by Keras of TensorFlow 2.4 for a SavedModel's sake, and never restored by anybody.
NEVER_RESTORED = ("OBJECT_CONFIG_JSON",)

#: An optimizer of Keras 2.11 and later has a list of all its variables: until then its counter and its learning rate.
_BEFORE_THE_FIRST_STEP = 2

#: Objects lie less deep. Where they do not, putting all paths together takes time with the square of the depth.
_MOST_STEPS = 100

_LEFT_OUT = "…/"

_SLOT_FOLDER = "/.OPTIMIZER_SLOT/"


@dataclass(frozen=True)
class Tensor:
    """One value. shape: -1 for a dimension that a variable leaves open, None for all of them. crc32c: None: unknown."""

    dtype: str
    shape: Optional[Tuple[int, ...]]
    crc32c: Optional[int] = None
    kind: Kind = Kind.UNKNOWN

    @property
    def elements(self) -> int:
        """How many it has; 0 where that is open."""
        if self.shape is None:
            return 0
        count = 1
        for size in self.shape:
            count *= max(size, 0)
        return count

    def takes(self, other: "Tensor") -> bool:
        """Whether a variable of this shape can be assigned a value of that one."""
        if self.shape is None or other.shape is None:
            return True
        return len(self.shape) == len(other.shape) and all(
            mine in (-1, theirs) or theirs == -1 for mine, theirs in zip(self.shape, other.shape)
        )

    def is_like(self, other: "Tensor") -> bool:
        """Whether it could be mistaken for the other: the same type and shape."""
        return self.dtype == other.dtype and self.takes(other)

    def __str__(self) -> str:
        return "{} {}".format(self.dtype, "of any shape" if self.shape is None else list(self.shape))


class Slots(Enum):
    """What an object does when a checkpoint has slot variables for it."""

    IGNORES = "ignores"  # it is no optimizer, or one of Keras 3
    TAKES = "takes"  # an optimizer with slot variables; those that are not there yet are created
    REFUSES = "refuses"  # an optimizer of Keras 2.11 to 2.15: restore() raises


@dataclass(frozen=True)
class Traits:
    """How one object of the program behaves.

    is_unbuilt: variables may still be created in it, and would take their values then.
    is_optimizer, is_layer: for the words in which it is spoken of. class_name: "" where unknown.
    name: of an optimizer what it calls its variables after; "" where unknown.
    traced_by: the layer whose first call Keras 3 traces to build this one; a variable that is born in such a trace has
        no value yet, and misses the one that a restore kept for it.
    """

    class_name: str = ""
    slots: Slots = Slots.IGNORES
    is_unbuilt: bool = False
    is_optimizer: bool = False
    is_layer: bool = False
    name: str = ""
    traced_by: Optional[int] = None


@dataclass(frozen=True)
class Outsider:
    """A variable of the program that the object to be restored does not lead to.

    path, where: how it is reached in the program, as a path and in words. is_inside: it belongs to an object that is
    restored, which holds it where TensorFlow does not look; otherwise it is just like one that is restored.
    """

    name: str
    tensor: Tensor
    path: str
    where: str
    is_inside: bool


@dataclass(frozen=True)
class Rules:
    """What differs between TensorFlow's versions.

    slots_at_once: up to 2.8, a slot variable is restored as soon as its variable is met, before all others.
    by_attribute: up to 2.9, an object takes what it finds under its attributes' names; later, it raises where one of
    its own values is missing.
    """

    slots_at_once: bool = False
    by_attribute: bool = False


def rules_of(version: str) -> Rules:
    """The rules of a TensorFlow, such as "2.15.1"."""
    major, minor = (int("".join(c for c in part if c.isdigit()) or 0) for part in (version + ".0").split(".")[:2])
    return Rules(slots_at_once=(major, minor) <= (2, 8), by_attribute=(major, minor) <= (2, 9))


_PLAIN = Traits()


@dataclass(frozen=True)
class Description:
    """One side.

    tensors: by checkpoint key, of a program those under which it would save now.
    traits: by node; a node that is missing has nothing remarkable.
    attached: children of the root that TensorFlow restores after all others, by name (`Checkpoint(root, x=...)`).
    late: children of the root that restore() itself creates at the end (`save_counter`).
    replicas: over how many a sum is spread; 0: unknown. is_foreign: this is a worker and not the chief.
    """

    graph: ObjectGraph
    tensors: Mapping[bytes, Tensor]
    traits: Mapping[int, Traits] = field(default_factory=dict)
    attached: Tuple[str, ...] = ()
    late: Tuple[str, ...] = ()
    rules: Rules = Rules()
    replicas: int = 1
    is_foreign: bool = False
    outsiders: Tuple[Outsider, ...] = ()

    def traits_of(self, node: int) -> Traits:
        """How that object behaves."""
        return self.traits.get(node, _PLAIN)

    def children_of(self, node: int) -> Mapping[str, int]:
        """Its children by name."""
        return dict(self.graph.nodes[node].children)

    def values(self) -> Iterator[Tuple[Attribute, str]]:
        """Every value, and where its object is, as people read it; not `save_counter`, which `restore` makes itself."""
        paths = paths_in_words(self.graph)
        for number, node in enumerate(self.graph.nodes):
            for attribute in node.attributes:
                if not attribute.checkpoint_key.startswith((SAVE_COUNTER + ATTRIBUTES).encode()):
                    yield attribute, paths.get(number, "")


def describe_checkpoint(checkpoint: "Checkpoint", kinds: Optional[Mapping[bytes, Kind]] = None) -> Description:
    """The description of an open checkpoint. kinds: by key, where a manifest has them. Raises BundleError.

    Objects with slot variables are taken to be optimizers of the kind that takes them, objects without any value and
    optimizers without any state not to have been built when it was saved.
    """
    known = kinds or {}
    graph = checkpoint.graph
    tensors = {
        key: Tensor(tensor.dtype, tensor.shape, tensor.crc32c, known.get(key, Kind.UNKNOWN))
        for key, tensor in checkpoint.tensors.items()
    }
    filled = with_values_below(graph.nodes)
    empty = Traits(slots=Slots.TAKES, is_unbuilt=True)  # an optimizer of old is empty before its first step
    traits = {number: empty for number in range(len(graph.nodes)) if number not in filled}
    for number, node in enumerate(graph.nodes):
        children = dict(node.children)
        if node.slot_variables:
            traits[number] = Traits(slots=Slots.TAKES, is_optimizer=True)
        elif children.keys() & {"_iterations", "iter"} and children.keys() & {"_learning_rate", "learning_rate"}:
            slots = Slots.TAKES if "iter" in children else Slots.IGNORES
            own = children.get("_variables")
            is_unbuilt = own is not None and len(graph.nodes[own].children) <= _BEFORE_THE_FIRST_STEP
            traits[number] = Traits(slots=slots, is_unbuilt=is_unbuilt, is_optimizer=True)
            if is_unbuilt and own is not None:
                traits[own] = Traits(is_unbuilt=True)
    return Description(graph, tensors, traits, replicas=0)


def with_values_below(nodes: Sequence[Node]) -> AbstractSet[int]:
    """Objects that hold a value, or lead to one that does."""
    parents: Dict[int, List[int]] = {}
    for number, node in enumerate(nodes):
        for _, child in node.children:
            parents.setdefault(child, []).append(number)
    filled = {number for number, node in enumerate(nodes) if node.attributes}
    queue: Deque[int] = deque(filled)
    while queue:
        for parent in parents.get(queue.popleft(), ()):
            if parent not in filled:
                filled.add(parent)
                queue.append(parent)
    return filled


class Paths(Mapping[int, str]):
    """Each node's shortest path from the root, as keys are made of it; slot variables by variable and optimizer.

    Kept as steps, and put together when one is asked for: the paths of a deep graph are longer than the graph.
    """

    def __init__(
        self, graph: ObjectGraph, last: AbstractSet[int] = frozenset(), most_steps: Optional[int] = None
    ) -> None:
        """last: nodes whose children are visited after all others, so that a path through them is the last resort.

        most_steps: of longer paths only the end is given, behind `…/`. None for whole paths, as keys need them.
        """
        self._most_steps = most_steps
        self._steps: Dict[int, Tuple[int, str]] = {0: (-1, "")} if graph.nodes else {}
        self._slots: Dict[int, Tuple[int, int, str]] = {}
        queue: Deque[int] = deque(self._steps)
        postponed: Deque[int] = deque()
        while queue or postponed:
            number = queue.popleft() if queue else postponed.popleft()
            for name, child in graph.nodes[number].children:
                if child not in self._steps:
                    self._steps[child] = (number, name)
                    (postponed if child in last else queue).append(child)
        for number, node in enumerate(graph.nodes):
            for slot in node.slot_variables:
                is_known = slot.slot_node in self._steps or slot.slot_node in self._slots
                if not is_known and number in self._steps and slot.original_node in self._steps:
                    self._slots[slot.slot_node] = (slot.original_node, number, slot.name)

    def __getitem__(self, number: int) -> str:
        if number in self._slots:
            variable, optimizer, name = self._slots[number]
            return self[variable] + _SLOT_FOLDER + self[optimizer] + "/" + escaped(name)
        lineage = self._lineage(number)
        start = "" if lineage[0] == 0 else _LEFT_OUT
        return start + "/".join(escaped(self._steps[one][1]) for one in lineage[1:])

    def __iter__(self) -> Iterator[int]:
        yield from self._steps
        yield from self._slots

    def __len__(self) -> int:
        return len(self._steps) + len(self._slots)

    def __contains__(self, number: object) -> bool:
        return number in self._steps or number in self._slots

    def step_to(self, number: int) -> Optional[Tuple[int, str]]:
        """The last step of the path: the object it is a child of, and under which name. None for slots and the root."""
        return self._steps[number] if number > 0 and number in self._steps else None

    def above(self, number: int) -> Sequence[int]:
        """The objects that its path leads through, as far as it is given, from the root on."""
        return self._lineage(number)[:-1] if number in self._steps else ()

    def below(self, tops: AbstractSet[int]) -> AbstractSet[int]:
        """What is reached through one of these only; of slots, those of variables that are."""
        found: Set[int] = set()
        for number, (parent, _) in self._steps.items():  # parents come before their children
            if parent in tops or parent in found:
                found.add(number)
        found.update(slot for slot, (variable, _, _) in self._slots.items() if variable in found)
        return found

    def _lineage(self, number: int) -> List[int]:
        found = [number]
        while found[-1] and (self._most_steps is None or len(found) <= self._most_steps):
            found.append(self._steps[found[-1]][0])
        return found[::-1]


def paths_of(graph: ObjectGraph) -> Paths:
    """Each node's shortest path from the root."""
    return Paths(graph)


def paths_in_words(graph: ObjectGraph, last: AbstractSet[int] = frozenset()) -> Paths:
    """The same as people read them: of very long ones only the end."""
    return Paths(graph, last, _MOST_STEPS)


def escaped(name: str) -> str:
    """A child's name as it stands in keys."""
    return name.replace(".", "..").replace("/", ".S")


def label_of(key: bytes) -> str:
    """A key as people read it: without TensorFlow's suffix."""
    text = key.decode("utf-8", "backslashreplace")
    suffix = ATTRIBUTES + VARIABLE_VALUE
    return text[: -len(suffix)] if text.endswith(suffix) else text
