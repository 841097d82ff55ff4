"""The live objects of a script as a document, from which another process can explain what a restore did to them.

Decides nothing: what is there is written down as it is (docs/wire.md, `live`). Refuses to read values and to start a
collective. Done only where a restore did not do what it should, since it looks at every object.
"""

import sys
from typing import Any, Dict, List, Sequence, Tuple

from .objects import class_name_of, looks_of, optimizer_name_of, other_values, slots_of
from .series import SAVE_COUNTER
from .variables import children_of, kind_of, local_replicas

#: The version of `lastgood.explanation.told` that is meant.
VERSION = 1

_VALUE = "VARIABLE_VALUE"
#: Up to this version the object graph holds no name for a variable on several devices.
_NAMELESS_UP_TO = (2, 8)


class Live:
    """What was described. document: as it is written. numbers: of each object, by its identity at that time."""

    def __init__(self, document: Dict[str, Any], numbers: Dict[int, int]) -> None:
        self.document = document
        self._numbers = numbers

    def note_checksum(self, live_id: int, crc32c: int) -> None:
        """Adds what a variable now holds."""
        number = self._numbers.get(live_id)
        values = self.document["nodes"][number].get("values", ()) if number is not None else ()
        for value in values:
            if value["name"] == _VALUE:
                value["crc32c"] = crc32c


def describe_live(graph_view: Any, replicas: int, is_chief: bool) -> Live:
    """The objects that a root leads to, as they are now."""
    version = str(sys.modules["tensorflow"].__version__)
    describer = _Describer(graph_view, version)
    document = {
        "version": VERSION,
        "tensorflow": version,
        "replicas": replicas,
        "is_foreign": not is_chief,
        "nodes": describer.nodes(),
        "attached": describer.attached(),
        "late": describer.late,
    }
    return Live(document, describer.numbers)


class _Describer:
    def __init__(self, graph_view: Any, version: str) -> None:
        self._view = graph_view
        self._is_nameless = _version_of(version) <= _NAMELESS_UP_TO
        self._objects: List[Any] = []
        self.numbers: Dict[int, int] = {}
        self.late: List[str] = []

    def nodes(self) -> List[Dict[str, Any]]:
        self._number(self._view.root)
        nodes: List[Dict[str, Any]] = []
        for live in self._objects:  # grows while it is walked
            children = [[name, self._number(child)] for name, child in children_of(self._view, live)]
            nodes.append({"children": children} if children else {})
        self._add_slots(nodes)
        for live, node in zip(self._objects, nodes):
            node.update(_described(live, self._is_nameless))
        if not any(name == SAVE_COUNTER for name, _ in nodes[0].get("children", ())):
            self._add_save_counter(nodes)
        return nodes

    def attached(self) -> List[str]:
        attached = getattr(self._view, "attached_dependencies", None) or ()
        return [child.name for child in attached if child.name != "root"]

    def _number(self, live: Any) -> int:
        number = self.numbers.setdefault(id(live), len(self._objects))
        if number == len(self._objects):
            self._objects.append(live)
        return number

    def _add_slots(self, nodes: List[Dict[str, Any]]) -> None:
        """Slot variables hang on no object: the optimizer is asked for each variable's."""
        reached = tuple(self._objects)
        variables = [live for live in reached if local_replicas(live)]
        for number, optimizer in enumerate(reached):
            if not hasattr(type(optimizer), "get_slot_names"):
                continue
            slots = []
            for name in optimizer.get_slot_names():
                for variable in variables:
                    slot = _slot(optimizer, variable, name)
                    if slot is not None:
                        slots.append([name, self.numbers[id(variable)], self._number(slot)])
            if slots:
                nodes[number]["slots"] = slots
        nodes.extend({} for _ in range(len(self._objects) - len(nodes)))

    def _add_save_counter(self, nodes: List[Dict[str, Any]]) -> None:
        """`restore` creates it when everything else is done."""
        self.late = [SAVE_COUNTER]
        nodes[0].setdefault("children", []).append([SAVE_COUNTER, len(nodes)])
        value = {"name": _VALUE, "full_name": SAVE_COUNTER, "dtype": "int64", "shape": [], "kind": "unknown"}
        nodes.append({"class": "_SaveCounter", "values": [value]})


def _described(live: Any, is_nameless: bool) -> Dict[str, Any]:
    looks, name, slots = looks_of(live), optimizer_name_of(live), slots_of(live)
    values = _values(live, is_nameless)
    node: Dict[str, Any] = {"class": class_name_of(live)}
    node.update({"looks": looks} if looks else {})
    node.update({"name": name} if name else {})
    node.update({"slots_are": slots} if slots != "ignores" else {})
    node.update({"values": values} if values else {})
    return node


def _values(live: Any, is_nameless: bool) -> List[Dict[str, Any]]:
    variables = local_replicas(live)
    if not variables:
        return [{"name": name} for name in other_values(live)]
    first = variables[0]
    return [
        {
            "name": _VALUE,
            "full_name": "" if is_nameless and len(variables) > 1 else full_name_of(live),
            "dtype": first.dtype.base_dtype.name,
            "shape": _shape_of(first),
            "kind": kind_of(live) or "unknown",
        }
    ]


def full_name_of(live: Any) -> str:
    """The name that a save would record; "" where it has none."""
    return str(getattr(live, "_shared_name", "") or "")


def _shape_of(variable: Any) -> Any:
    if variable.shape.rank is None:
        return None
    return [-1 if size is None else int(size) for size in variable.shape.as_list()]


def _slot(optimizer: Any, variable: Any, name: str) -> Any:
    try:
        return optimizer.get_slot(variable, name)
    except (AttributeError, KeyError):
        return None


def _version_of(version: str) -> Tuple[int, int]:
    parts: Sequence[str] = (version + ".0").split(".")
    major, minor = ("".join(c for c in part if c.isdigit()) or "0" for part in parts[:2])
    return int(major), int(minor)
