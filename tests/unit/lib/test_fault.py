"""Whose fault a restore is that did not do what it should."""

from __future__ import annotations

import json
from typing import Any

import pytest
from descriptions import Variable, describe, tensor
from hypothesis import given
from hypothesis import strategies as st

from lastgood.explanation.described import Traits
from lastgood.explanation.fault import Fault, Restored, find_fault
from lastgood.explanation.predictions import Outcome
from lastgood.explanation.told import VERSION, description_from_json
from lastgood.manifest import Kind


def layers(count: int) -> dict[str, Any]:
    return {str(n): {"kernel": Variable(f"block{n}/kernel"), "bias": Variable(f"block{n}/bias")} for n in range(count)}


def model(count: int) -> Any:
    return describe({"model": {"blocks": layers(count)}})


def test_what_fits_is_nobodys_fault():
    assert find_fault(model(2), model(2), Restored()) == Fault()


def test_more_layers_than_saved_are_the_scripts_fault_unless_nothing_was_trained_yet():
    # when
    fault = find_fault(model(2), model(3), Restored())
    young = find_fault(model(2), model(3), Restored(may_grow=True))

    # then
    assert fault.model_change == "`model/blocks` was saved with 2 layers, the program builds 3"
    assert {one.key for one in fault.explained} == {"model/blocks/2/kernel", "model/blocks/2/bias"}
    assert young.model_change == ""
    assert [one.outcome for one in young.unmatched] == [Outcome.LEFT_AT_INITIAL] * 2


def test_fewer_layers_than_saved_count_once_a_step_was_made():
    assert find_fault(model(3), model(2), Restored()).model_change == ""
    settled = find_fault(model(3), model(2), Restored(is_settled=True))
    assert settled.model_change == "`model/blocks` was saved with 3 layers, the program builds 2"


def test_a_list_that_keeps_something_else_than_layers_may_grow_and_shrink():
    history, longer = (describe({"history": {str(n): Variable(f"h{n}") for n in range(size)}}) for size in (2, 3))
    assert find_fault(history, longer, Restored(is_settled=True)).model_change == ""
    assert find_fault(longer, history, Restored(is_settled=True)).model_change == ""


def swapped(crcs: tuple[int | None, int | None]) -> tuple[Any, Any]:
    saved = describe({"l": {"0": Variable("a", tensor(crc=1)), "1": Variable("b", tensor(crc=2))}})
    live = describe({"l": {"0": Variable("b", tensor(crc=crcs[0])), "1": Variable("a", tensor(crc=crcs[1]))}})
    return saved, live


@pytest.mark.parametrize("crcs", [(None, None), (1, 2)])
def test_variables_that_changed_places_are_the_scripts_fault_though_each_key_came_back(crcs):
    # given what a restore leaves: every place holds what was saved for it, and the wrong variable stands there
    saved, live = swapped(crcs)

    # when
    fault = find_fault(saved, live, Restored())

    # then
    assert fault.model_change.startswith("l/0: two values change places: the checkpoint calls this value `a`")


def test_values_that_changed_places_where_the_objects_fit_are_not_the_scripts_fault():
    # given
    saved = describe({"x": Variable("a", tensor(crc=1)), "y": Variable("b", tensor(crc=2))})
    live = describe({"x": Variable("a", tensor(crc=2)), "y": Variable("b", tensor(crc=1))})

    # when
    fault = find_fault(saved, live, Restored(wrong=frozenset({"x", "y"})))

    # then: the words are there all the same
    assert fault.model_change == ""
    assert [(one.key, one.outcome) for one in fault.explained] == [
        ("x", Outcome.WRONG_VALUE),
        ("y", Outcome.WRONG_VALUE),
    ]
    assert "the value saved here is the one that `y` holds now" in fault.explained[0].reason


def test_a_value_that_is_wrong_although_the_objects_fit_stays_unexplained():
    saved = describe({"x": Variable("a", tensor(crc=1))})
    live = describe({"x": Variable("a", tensor(crc=9))})
    assert find_fault(saved, live, Restored(wrong=frozenset({"x"}))) == Fault()


def test_a_renamed_attribute_is_the_scripts_fault_once_the_receipt_says_that_its_value_was_left():
    saved, live = describe({"net": {"w1": Variable("w")}}), describe({"net": {"w2": Variable("w")}})
    fault = find_fault(saved, live, Restored(left=frozenset({"net/w1"})))
    assert fault.model_change == "net/w1: `net` has no `w1`; it has `w2`, of the same type and shape"


def test_another_shape_is_the_scripts_fault_only_where_the_restore_has_raised():
    saved, live = describe({"x": Variable("a", tensor((4,)))}), describe({"x": Variable("a", tensor((5,)))})
    assert find_fault(saved, live, Restored()).model_change == ""
    raised = find_fault(saved, live, Restored(has_raised=True))
    assert raised.model_change == "x: the shape [4] was saved, and here it is [5]"
    assert raised.unmatched == ()


def test_a_restore_that_raised_although_everything_fits_is_not_the_scripts_fault():
    saved = describe({"x": Variable("a")})
    assert find_fault(saved, saved, Restored(has_raised=True)) == Fault()


def test_what_was_added_or_taken_away_by_name_is_told_and_nobody_is_blamed():
    saved, live = (
        describe({"net": {"w": Variable("w")}, "old": Variable("o", tensor((2,)))}),
        describe({"net": {"w": Variable("w")}, "head": Variable("h", tensor((3,)))}),
    )
    fault = find_fault(saved, live, Restored(is_settled=True))
    assert fault.model_change == ""
    assert [(one.key, one.outcome.value) for one in fault.unmatched] == [
        ("head", "left_at_initial"),
        ("old", "dropped"),
    ]


def test_values_that_were_lost_while_layers_were_built_in_a_trace_are_the_scripts_fault():
    # given a model of which nothing was built when the restore returned, and all is now
    tree = {"model": {"first": {"kernel": Variable("m/first/kernel")}}}
    saved, built = describe(tree), describe(tree)
    before = describe(
        {"model": {"first": {}}}, traits={1: Traits(is_unbuilt=True), 2: Traits(is_unbuilt=True, traced_by=1)}
    )
    restored = Restored(wrong=frozenset({"model/first/kernel"}), is_settled=True)

    # then
    assert find_fault(saved, built, restored).model_change == ""
    assert "restored into a trace is lost" in find_fault(saved, built, restored, before).model_change


# ------------------------------------------------------------------------------------------------- what hooks have told


def told(**changes: Any) -> dict[str, Any]:
    document: dict[str, Any] = {
        "version": VERSION,
        "tensorflow": "2.4.4",
        "replicas": 2,
        "is_foreign": True,
        "attached": ["x"],
        "late": [],
        "nodes": [
            {"children": [["net", 1], ["opt", 3]], "class": "Checkpoint"},
            {"children": [["w", 2]], "class": "Dense", "looks": ["is_layer", "is_built", "is_built_layer"]},
            {
                "class": "Variable",
                "values": [
                    {"name": "VARIABLE_VALUE", "full_name": "w", "dtype": "float32", "shape": [4, -1],
                     "kind": "mirrored", "crc32c": 5},
                ],
            },
            {"class": "Adam", "looks": ["is_optimizer"], "slots_are": "takes", "name": "Adam", "slots": [["m", 2, 4]]},
            {"class": "Variable", "values": [{"name": "VARIABLE_VALUE", "dtype": "float32", "shape": None}]},
        ],
    }  # fmt: skip
    return {**document, **changes}


def test_a_told_description_is_the_same_as_one_that_was_looked_at():
    # when
    side = description_from_json(json.loads(json.dumps(told())))

    # then
    assert side.graph.full_names() == {
        b"net/w/.ATTRIBUTES/VARIABLE_VALUE": "w",
    }
    assert side.tensors[b"net/w/.OPTIMIZER_SLOT/opt/m/.ATTRIBUTES/VARIABLE_VALUE"] == tensor(None)
    assert side.tensors[b"net/w/.ATTRIBUTES/VARIABLE_VALUE"] == tensor((4, -1), 5, kind=Kind.MIRRORED)
    assert (side.replicas, side.is_foreign, side.attached, side.rules.slots_at_once) == (2, True, ("x",), True)
    assert side.traits_of(3).slots.value == "takes"
    assert (side.traits_of(1).is_layer, side.traits_of(1).is_unbuilt) == (True, False)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from([*told()]), anything), st.lists(anything, max_size=3))
def test_whatever_else_is_told_is_a_value_error(changes: dict[str, Any], nodes: list[Any]):
    for document in (told(**changes), told(nodes=nodes), changes):
        try:
            description_from_json(document)
        except ValueError:
            continue
