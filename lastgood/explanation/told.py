"""The program's side of an explanation as another process has told it: a JSON document in, a `Description` out.

Hooks in a training process describe the objects of a script so when a restore did not do what it should
(docs/wire.md, `live`). Decides nothing; refuses, with ValueError, whatever is not such a document.
"""

from dataclasses import replace
from typing import Any, Dict, List, Mapping, Optional, Tuple

from lastgood.bundle.graph import Attribute, Node, ObjectGraph, SlotVariable
from lastgood.explanation.described import (
    ATTRIBUTES,
    Description,
    Slots,
    Tensor,
    paths_of,
    rules_of,
)
from lastgood.explanation.looks import Looks, traits_by
from lastgood.manifest import Kind

#: The version of the document that this module reads.
VERSION = 1

#: What is true of an object is named in its `looks`; the words are the fields of `Looks`.
_FLAGS = (
    "is_optimizer",
    "is_unbuilt_optimizer",
    "is_layer",
    "is_unbuilt_layer",
    "is_built_layer",
    "is_built",
    "is_built_by_tracing",
)

#: More objects than any model has; a document with more is not read.
MOST_OBJECTS = 2_000_000


def description_from_json(document: Any) -> Description:
    """The description in a document. Raises ValueError that says what was expected."""
    try:
        return _description(document)
    except (KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise ValueError("expected a description of live objects, found something else: {!r}".format(error)) from error


def _description(document: Any) -> Description:
    if document["version"] != VERSION:
        raise ValueError("expected a description of version {}, found {!r}".format(VERSION, document["version"]))
    told = document["nodes"]
    if not isinstance(told, list) or not 0 < len(told) <= MOST_OBJECTS:
        raise ValueError("expected 1 to {} objects".format(MOST_OBJECTS))
    bare = tuple(_node(one, len(told)) for one in told)
    paths = paths_of(ObjectGraph(bare))
    tensors: Dict[bytes, Tensor] = {}
    nodes = tuple(
        replace(node, attributes=_attributes(one, paths.get(number, ""), tensors))
        for number, (node, one) in enumerate(zip(bare, told))
    )
    return Description(
        ObjectGraph(nodes),
        tensors,
        traits_by([_looks(one) for one in told], nodes),
        attached=_texts(document.get("attached", ())),
        late=_texts(document.get("late", ())),
        rules=rules_of(str(document["tensorflow"])),
        replicas=int(document.get("replicas", 1)),
        is_foreign=bool(document.get("is_foreign", False)),
    )


def _node(told: Mapping[str, Any], count: int) -> Node:
    children = tuple((str(name), _number(child, count)) for name, child in told.get("children", ()))
    slots = tuple(
        SlotVariable(str(name), _number(variable, count), _number(slot, count))
        for name, variable, slot in told.get("slots", ())
    )
    return Node(children, (), slots)


def _number(found: Any, count: int) -> int:
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found < count:
        raise ValueError("expected the number of one of {} objects, found {!r:.40}".format(count, found))
    return found


def _texts(found: Any) -> Tuple[str, ...]:
    return tuple(str(one) for one in found)


def _attributes(told: Mapping[str, Any], path: str, tensors: Dict[bytes, Tensor]) -> Tuple[Attribute, ...]:
    found: List[Attribute] = []
    for value in told.get("values", ()):
        key = (path + ATTRIBUTES + str(value["name"])).encode("utf-8", "surrogateescape")
        tensor = _tensor(value)
        if tensor is not None:
            tensors[key] = tensor
        found.append(Attribute(str(value["name"]), str(value.get("full_name", "")), key))
    return tuple(found)


def _tensor(value: Mapping[str, Any]) -> Optional[Tensor]:
    """None for what is saved and is no variable, such as a table."""
    if "dtype" not in value:
        return None
    shape, crc = value.get("shape"), value.get("crc32c")
    sizes = None if shape is None else tuple(int(size) for size in shape)
    return Tensor(str(value["dtype"]), sizes, None if crc is None else int(crc), Kind(value.get("kind", "unknown")))


def _looks(told: Mapping[str, Any]) -> Looks:
    return Looks(
        class_name=str(told.get("class", "")),
        slots=Slots(told.get("slots_are", Slots.IGNORES.value)),
        name=str(told.get("name", "")),
        **{flag: flag in told.get("looks", ()) for flag in _FLAGS},
    )
