"""The object graph that a checkpoint carries: which Python objects there were, and which variable had which key.

Decides nothing; the names in it are for recognising variables that changed places.
"""

from dataclasses import dataclass
from typing import Dict, List, Mapping, Optional, Tuple

from lastgood.bundle.wire import WireError, as_bytes, as_int, as_text, read_fields
from lastgood.errors import BundleError
from lastgood.reasons import Reason


@dataclass(frozen=True)
class Attribute:
    """Something that an object saved. checkpoint_key: the bundle key, or what it begins with (iterators)."""

    name: str
    full_name: str
    checkpoint_key: bytes


@dataclass(frozen=True)
class SlotVariable:
    """A variable that an optimizer keeps beside another one, such as a momentum. Both are indices of nodes."""

    name: str
    original_node: int
    slot_node: int


@dataclass(frozen=True)
class RegisteredSaver:
    """The saver outside TensorFlow that saved an object. object_name: what that saver knows the object by."""

    name: str
    object_name: str


@dataclass(frozen=True)
class Node:
    """One object.

    children: (attribute name or list position, index of the node).
    slot_variables: of an optimizer (Keras 3 keeps its own as children instead).
    registered_saver: None for nearly all: TensorFlow saved the object itself.
    """

    children: Tuple[Tuple[str, int], ...]
    attributes: Tuple[Attribute, ...]
    slot_variables: Tuple[SlotVariable, ...] = ()
    registered_saver: Optional[RegisteredSaver] = None


@dataclass(frozen=True)
class ObjectGraph:
    """The nodes; the first one is the root."""

    nodes: Tuple[Node, ...]

    def full_names(self) -> Mapping[bytes, str]:
        """The name that each variable had when it was saved, by checkpoint key; keys without a name are left out."""
        names: Dict[bytes, str] = {}
        for node in self.nodes:
            for attribute in node.attributes:
                if attribute.full_name:
                    names[attribute.checkpoint_key] = attribute.full_name
        return names


def parse_graph(message: bytes) -> ObjectGraph:
    """The graph in a serialized TrackableObjectGraph. Raises BundleError(CORRUPT)."""
    try:
        nodes = tuple(
            _parse_node(as_bytes(wire_type, value)) for number, wire_type, value in read_fields(message) if number == 1
        )
        for node in nodes:
            _refuse_missing_nodes(node, len(nodes))
    except WireError as error:
        raise BundleError(Reason.CORRUPT, "the object graph is damaged: {}".format(error)) from error
    return ObjectGraph(nodes)


def _refuse_missing_nodes(node: Node, count: int) -> None:
    for name, index in node.children:
        if not 0 <= index < count:
            raise WireError("the child {!r} is node {} of {}".format(name[:80], index, count))
    for slot in node.slot_variables:
        for index in (slot.original_node, slot.slot_node):
            if not 0 <= index < count:
                raise WireError("the slot variable {!r} names node {} of {}".format(slot.name[:80], index, count))


def _parse_node(message: bytes) -> Node:
    children: List[Tuple[str, int]] = []
    attributes: List[Attribute] = []
    slots: List[SlotVariable] = []
    saver: Optional[RegisteredSaver] = None
    for number, wire_type, value in read_fields(message):
        if number == 1:
            children.append(_parse_child(as_bytes(wire_type, value)))
        elif number == 2:
            attributes.append(_parse_attribute(as_bytes(wire_type, value)))
        elif number == 3:
            slots.append(_parse_slot(as_bytes(wire_type, value)))
        elif number == 4:
            saver = _parse_saver(as_bytes(wire_type, value))
    return Node(tuple(children), tuple(attributes), tuple(slots), saver)


def _parse_child(message: bytes) -> Tuple[str, int]:
    index, name = 0, ""
    for number, wire_type, value in read_fields(message):
        if number == 1:
            index = as_int(wire_type, value)
        elif number == 2:
            name = as_text(wire_type, value)
    return name, index


def _parse_attribute(message: bytes) -> Attribute:
    name = full_name = ""
    key = b""
    for number, wire_type, value in read_fields(message):
        if number == 1:
            name = as_text(wire_type, value)
        elif number == 2:
            full_name = as_text(wire_type, value)
        elif number == 3:
            key = as_bytes(wire_type, value)
    return Attribute(name, full_name, key)


def _parse_slot(message: bytes) -> SlotVariable:
    name, original, slot = "", 0, 0
    for number, wire_type, value in read_fields(message):
        if number == 1:
            original = as_int(wire_type, value)
        elif number == 2:
            name = as_text(wire_type, value)
        elif number == 3:
            slot = as_int(wire_type, value)
    return SlotVariable(name, original, slot)


def _parse_saver(message: bytes) -> RegisteredSaver:
    name = object_name = ""
    for number, wire_type, value in read_fields(message):
        if number == 1:
            name = as_text(wire_type, value)
        elif number == 2:
            object_name = as_text(wire_type, value)
    return RegisteredSaver(name, object_name)
