"""What each object of a program looks like, and how it will therefore behave in a restore. Decides by looks alone."""

from dataclasses import dataclass
from typing import Dict, Mapping, Sequence

from lastgood.bundle.graph import Node
from lastgood.explanation.described import Slots, Traits, with_values_below


@dataclass(frozen=True)
class Looks:
    """One object, as whoever can see it says. The fields of `Traits` mean the same here.

    is_unbuilt_optimizer: it has not made all of its variables. is_unbuilt_layer: a layer, and no model, that is still
    to make variables. is_built: whatever is called so. is_built_layer: a layer that is built.
    is_built_by_tracing: of Keras 3, without a `build` of its own, and with layers that are not built.
    """

    class_name: str = ""
    slots: Slots = Slots.IGNORES
    is_optimizer: bool = False
    is_unbuilt_optimizer: bool = False
    is_layer: bool = False
    is_unbuilt_layer: bool = False
    is_built_layer: bool = False
    is_built: bool = False
    is_built_by_tracing: bool = False
    name: str = ""


def traits_by(looks: Sequence[Looks], nodes: Sequence[Node]) -> Mapping[int, Traits]:
    """How each object behaves. nodes: those of the same numbers, with their values."""
    filled = with_values_below(nodes)
    unbuilt = {number for number, one in enumerate(looks) if one.is_unbuilt_optimizer}
    unbuilt.update(child for number in tuple(unbuilt) for _, child in nodes[number].children)  # its lists
    traced_by = _traced_by(looks, nodes)
    return {
        number: Traits(
            class_name=one.class_name,
            slots=one.slots,
            is_unbuilt=number in unbuilt
            or one.is_unbuilt_layer
            or (number not in filled and not one.is_optimizer and not one.is_built_layer),
            is_optimizer=one.is_optimizer,
            is_layer=one.is_layer,
            name=one.name if one.is_optimizer else "",
            traced_by=traced_by.get(number),
        )
        for number, one in enumerate(looks)
    }


def _traced_by(looks: Sequence[Looks], nodes: Sequence[Node]) -> Mapping[int, int]:
    """Layers that Keras 3 will build by tracing the call of another one, each with that one."""
    found: Dict[int, int] = {}
    for number, one in enumerate(looks):
        if number in found or not one.is_built_by_tracing:
            continue
        queue = [number]
        for each in queue:
            for _, child in nodes[each].children:
                if child not in found and child != number and not looks[child].is_built:
                    found[child] = number
                    queue.append(child)
    return found
