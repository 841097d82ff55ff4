"""However large, deep or odd a graph is, explaining it ends in good time."""

from __future__ import annotations

import pytest
from descriptions import Variable, describe, tensor

from lastgood.bundle.graph import Attribute, Node, ObjectGraph, SlotVariable
from lastgood.explain import Outcome, explain
from lastgood.explanation.described import (
    Description,
    Slots,
    Traits,
)

# What took time with the square of the size ran into the time limit of every test.

MANY = 20_000


def many(name, **more):
    return describe({name(number): Variable(f"v{number}x", tensor(crc=number + 1)) for number in range(MANY)}, **more)


@pytest.mark.parametrize(
    "renamed", ["other{}q".format, "stem{}_1".format], ids=["without numbers", "each with a stem of its own"]
)
def test_very_many_attributes_that_were_renamed_are_told_in_good_time(renamed):
    # when
    found = explain(many("name{}_0".format), many(renamed))

    # then
    assert found.counts() == {Outcome.LEFT_AT_INITIAL: MANY, Outcome.DROPPED: MANY}


class Counted(tuple):
    """Counts how often it is gone through."""

    times = 0

    def __iter__(self):
        Counted.times += 1
        return super().__iter__()


def test_an_optimizers_slot_variables_are_not_gone_through_for_each_of_them():
    # given
    count = 100
    nodes = [Node((("o", 1), *((f"v{n}", n + 2) for n in range(count))), ())]
    nodes.append(Node((), (), Counted(SlotVariable("m", n + 2, n + 2 + count) for n in range(count))))
    nodes += [Node((), (Attribute("VARIABLE_VALUE", "", b"%d" % n),)) for n in range(2 * count)]
    side = Description(ObjectGraph(tuple(nodes)), {}, {1: Traits(slots=Slots.TAKES, is_optimizer=True)})

    # when
    Counted.times = 0
    found = explain(side, side)

    # then
    assert found.counts() == {Outcome.RESTORED: 2 * count}
    assert Counted.times < count // 4


def test_values_at_every_level_of_a_very_deep_graph_are_named_by_the_end_of_their_paths_in_good_time():
    # given: a path has up to 8,000 steps
    depth = 8_000
    nodes = [
        Node((("x", number + 1),), (Attribute("VARIABLE_VALUE", f"n{number}", b"%d" % number),))
        for number in range(depth)
    ]
    side = Description(ObjectGraph((*nodes, Node((), ()))), {})

    # when
    found = {one.key: one for one in explain(side, side).predictions}

    # then
    assert {one.outcome for one in found.values()} == {Outcome.RESTORED}
    assert found["2"].variable == "x/x"
    assert found["7999"].variable == "…/" + "/".join("x" * 100)


def test_objects_that_lie_very_deep_need_no_recursion_and_no_memory_for_their_paths():
    # given: all paths together would take 20 GB
    depth = 100_000
    nodes = [Node((("child", number + 1),), ()) for number in range(depth)]
    nodes.append(Node((), (Attribute("VARIABLE_VALUE", "", b"deep"),)))
    side = Description(ObjectGraph(tuple(nodes)), {})

    # then
    assert explain(side, side).counts() == {Outcome.RESTORED: 1}


def test_objects_that_lead_to_each_other_are_gone_through_once():
    # given
    nodes = (Node((("a", 1), ("self", 0)), ()), Node((("back", 0), ("w", 2)), ()))
    graph = ObjectGraph((*nodes, Node((("up", 1),), (Attribute("VARIABLE_VALUE", "", b"w"),))))

    # then
    assert explain(Description(graph, {}), Description(graph, {})).counts() == {Outcome.RESTORED: 1}


@pytest.mark.parametrize("name", ["1" * 200_000 + "x", "a/" * 50_000], ids=["digits", "slashes"])
def test_a_very_long_name_is_read_in_good_time(name):
    # given
    side = describe({name: Variable(name), "b": Variable(name + "b")})

    # then
    assert explain(side, side).is_good
