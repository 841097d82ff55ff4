"""Object graphs to explain, written down as nested dicts of names."""

from __future__ import annotations

from typing import Any

from lastgood.bundle.graph import Attribute, Node, ObjectGraph, SlotVariable
from lastgood.explain import Outcome, Prediction, explain
from lastgood.explanation.described import ATTRIBUTES, VARIABLE_VALUE, Description, Tensor, paths_of


def tensor(shape: tuple[int, ...] | None = (4,), crc: int | None = None, dtype: str = "float32", **more: Any) -> Tensor:
    return Tensor(dtype, shape, crc, **more)


class Variable:
    """One variable. The same one at two places is shared."""

    def __init__(self, name: str = "", value: Tensor | None = None) -> None:
        self.name, self.value = name, value or tensor()


def describe(
    tree: dict[str, Any], slots: dict[str, dict[str, dict[str, Variable]]] | None = None, **more: Any
) -> Description:
    """The description of nested dicts; what is not a dict is a Variable.

    slots: by path of the optimizer, then by path of the variable, then by name of the slot.
    """
    objects: list[Any] = [tree]
    numbers = {id(tree): 0}
    children: list[tuple[tuple[str, int], ...]] = []
    for one in objects:
        found = []
        for name, child in one.items() if isinstance(one, dict) else ():
            if id(child) not in numbers:
                numbers[id(child)] = len(objects)
                objects.append(child)
            found.append((name, numbers[id(child)]))
        children.append(tuple(found))
    by_path = {path: number for number, path in paths_of(graph_of(children)).items()}
    slot_variables: dict[int, tuple[SlotVariable, ...]] = {}
    for optimizer, variables in (slots or {}).items():
        for variable, named in variables.items():
            for name, slot in named.items():
                reference = SlotVariable(name, by_path[variable], len(objects))
                slot_variables[by_path[optimizer]] = (*slot_variables.get(by_path[optimizer], ()), reference)
                objects.append(slot)
                children.append(())
    bare = graph_of(children, slot_variables)
    tensors, nodes = {}, []
    paths = paths_of(bare)
    for number, node in enumerate(bare.nodes):
        one, path = objects[number], paths[number]
        if isinstance(one, Variable):
            key = (path + ATTRIBUTES + VARIABLE_VALUE).encode()
            tensors[key] = one.value
            node = Node(node.children, (Attribute(VARIABLE_VALUE, one.name, key),), node.slot_variables)
        nodes.append(node)
    return Description(ObjectGraph(tuple(nodes)), tensors, **more)


def graph_of(
    children: list[tuple[tuple[str, int], ...]], slots: dict[int, tuple[SlotVariable, ...]] | None = None
) -> ObjectGraph:
    return ObjectGraph(tuple(Node(one, (), (slots or {}).get(number, ())) for number, one in enumerate(children)))


def outcomes(saved: Description, target: Description) -> dict[str, Outcome]:
    """What becomes of each value."""
    return {one.key: one.outcome for one in explain(saved, target).predictions}


def only(saved: Description, target: Description, key: str) -> Prediction:
    """What is said of one value."""
    return next(one for one in explain(saved, target).predictions if one.key == key)
