"""What is on one side of a restore: objects by name, the values that they hold, and how they behave.

The same shape describes a checkpoint (`describe_checkpoint`) and the objects of a program (`lastgood.tf`). Decides
nothing and reads no tensor.
"""

from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Deque, Dict, List, Mapping, Optional, Tuple

from lastgood.bundle.graph import ObjectGraph
from lastgood.manifest import Kind

if TYPE_CHECKING:
    from lastgood.checkpoint import Checkpoint

#: The attribute under which a variable saves its value.
VARIABLE_VALUE = "VARIABLE_VALUE"
ATTRIBUTES = "/.ATTRIBUTES/"
SAVE_COUNTER = "save_counter"

#: Saved by Keras of TensorFlow 2.4 for a SavedModel's sake, and never restored by anybody.
NEVER_RESTORED = ("OBJECT_CONFIG_JSON",)

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
    """

    class_name: str = ""
    slots: Slots = Slots.IGNORES
    is_unbuilt: bool = False
    is_optimizer: bool = False
    is_layer: bool = False


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


def describe_checkpoint(checkpoint: "Checkpoint", kinds: Optional[Mapping[bytes, Kind]] = None) -> Description:
    """The description of an open checkpoint. kinds: by key, where a manifest has them. Raises BundleError.

    Objects with slot variables are taken to be optimizers of the kind that takes them.
    """
    known = kinds or {}
    graph = checkpoint.graph
    tensors = {
        key: Tensor(tensor.dtype, tensor.shape, tensor.crc32c, known.get(key, Kind.UNKNOWN))
        for key, tensor in checkpoint.tensors.items()
    }
    optimizers = {number for number, node in enumerate(graph.nodes) if node.slot_variables}
    traits = {number: Traits(slots=Slots.TAKES, is_optimizer=True) for number in optimizers}
    for number, node in enumerate(graph.nodes):
        names = {name for name, _ in node.children}
        if number not in traits and names & {"_iterations", "iter"} and names & {"_learning_rate", "learning_rate"}:
            traits[number] = Traits(is_optimizer=True)
    return Description(graph, tensors, traits, replicas=0)


def paths_of(graph: ObjectGraph) -> Mapping[int, str]:
    """Each node's shortest path from the root, as keys are made of it; slot variables by variable and optimizer."""
    paths: Dict[int, str] = {0: ""} if graph.nodes else {}
    queue: Deque[int] = deque(paths)
    while queue:
        number = queue.popleft()
        for name, child in graph.nodes[number].children:
            if child not in paths:
                paths[child] = join(paths[number], name)
                queue.append(child)
    slots: List[Tuple[int, str]] = []
    for number, node in enumerate(graph.nodes):
        for slot in node.slot_variables:
            if slot.slot_node not in paths and number in paths and slot.original_node in paths:
                path = paths[slot.original_node] + _SLOT_FOLDER + paths[number] + "/" + escaped(slot.name)
                slots.append((slot.slot_node, path))
    paths.update(slots)
    return paths


def join(parent: str, name: str) -> str:
    """The path of a child."""
    return parent + "/" + escaped(name) if parent else escaped(name)


def escaped(name: str) -> str:
    """A child's name as it stands in keys."""
    return name.replace(".", "..").replace("/", ".S")


def label_of(key: bytes) -> str:
    """A key as people read it: without TensorFlow's suffix."""
    text = key.decode("utf-8", "backslashreplace")
    suffix = ATTRIBUTES + VARIABLE_VALUE
    return text[: -len(suffix)] if text.endswith(suffix) else text
