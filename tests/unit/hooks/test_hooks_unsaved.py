"""What a save leaves out, and what it costs to look."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from _lastgood_hooks import unsaved
from _lastgood_hooks.unsaved import unsaved_variables
from lastgood.explanation import live


class Weight:
    def __init__(self, name: str) -> None:
        self.name = name


class Layer:
    """Keras' own, as far as the hooks look at one. asked: how often its weights were."""

    asked = 0

    def __init__(self, name: str, blocks: list[Layer] | None = None) -> None:
        self.name = name
        self.blocks = blocks or []
        self._own = [Weight(f"{name}/kernel")] if blocks is None else []

    @property
    def weights(self) -> list[Weight]:
        Layer.asked += 1
        return [*self._own, *(weight for block in self.blocks for weight in block.weights)]


Layer.__module__ = "keras.src.layers"


class View:
    """An object graph that leads to some blocks of a network."""

    def __init__(self, network: Layer, saved: list[Layer]) -> None:
        self.root = SimpleNamespace()
        below = {id(block): [("kernel", weight) for weight in block._own] for block in saved}
        below[id(self.root)] = [("net", network)]
        below[id(network)] = [(f"block{number}", block) for number, block in enumerate(saved)]
        self._below = below

    def list_children(self, live: Any) -> list[SimpleNamespace]:
        return [SimpleNamespace(name=name, ref=child) for name, child in self._below.get(id(live), [])]


def test_a_weight_that_no_attribute_leads_to_is_named_with_the_list_that_holds_it() -> None:
    blocks = [Layer(f"dense_{number}") for number in range(3)]
    view = View(Layer("net", blocks), saved=blocks[:2])
    assert unsaved_variables(view) == ["net/blocks/2/kernel (held in the list `blocks` of `net`)"]


def test_it_costs_next_to_nothing_where_everything_is_saved() -> None:
    # given
    blocks = [Layer(f"dense_{number}") for number in range(100)]
    view = View(Layer("net", blocks), saved=blocks)
    Layer.asked = 0

    # when
    found = unsaved_variables(view)

    # then each layer was asked for its weights by itself, and once as a part of the network
    assert found == []
    assert Layer.asked == 1 + 100 + 100


def test_hooks_and_library_leave_out_the_same_attributes_of_keras() -> None:
    """Neither can import the other."""
    assert (unsaved._INTERNAL, unsaved._DEPTH) == (live._INTERNAL, live._DEPTH)
