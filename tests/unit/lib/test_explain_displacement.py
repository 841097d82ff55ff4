"""Values that come into the wrong variable, and those that only look so."""

from __future__ import annotations

from dataclasses import replace

import pytest
from descriptions import Variable, describe, tensor

from lastgood.explain import Outcome, explain
from lastgood.explanation.described import (
    Traits,
)


def swapped(first="a", second="b", crcs=(None, None, None, None)):
    saved = describe({"l": {"0": Variable(first, tensor(crc=crcs[0])), "1": Variable(second, tensor(crc=crcs[1]))}})
    live = describe({"l": {"0": Variable(second, tensor(crc=crcs[2])), "1": Variable(first, tensor(crc=crcs[3]))}})
    return explain(saved, live).predictions


def test_a_swap_is_suspected_by_names_and_certain_by_values():
    # given
    by_name, by_value = swapped(), swapped("", "", (1, 2, 2, 1))

    # then
    assert [(one.outcome, one.is_suspected) for one in by_name] == [(Outcome.WRONG_VALUE, True)] * 2
    assert [(one.outcome, one.is_suspected) for one in by_value] == [(Outcome.WRONG_VALUE, False)] * 2
    assert by_value[0].reason == "two values change places: the value saved here is the one that `l/1` holds now"


def test_a_shift_by_values_is_only_suspected_where_every_name_is_in_order():
    # given: the last three states are kept, and the program goes back by one
    saved, live = (
        describe({str(place): Variable(f"step{place}", tensor(crc=newest - place)) for place in range(3)})
        for newest in (7, 8)
    )

    # when
    found = {one.key: one for one in explain(saved, live).predictions}

    # then
    assert {key: (one.outcome, one.is_suspected) for key, one in found.items()} == {
        "0": (Outcome.WRONG_VALUE, True),
        "1": (Outcome.WRONG_VALUE, True),
        "2": (Outcome.RESTORED, False),
    }
    assert found["0"].reason.endswith("is the one that `1` holds now, though both are called `step0`")


def test_equal_values_outweigh_names():
    assert {one.outcome for one in swapped("a", "b", (1, 2, 1, 2))} == {Outcome.RESTORED}


def test_values_that_occur_twice_prove_nothing():
    assert {one.outcome for one in swapped("", "", (1, 1, 1, 1))} == {Outcome.RESTORED}


def layers(names, number=0):
    return describe(
        {"net": {f"layer-{place}": {"kernel": Variable(f"{name}/kernel")} for place, name in enumerate(names)}}
    )


@pytest.mark.parametrize(
    ("saved", "live", "is_good"),
    [
        (["dense", "dense_1"], ["dense_2", "dense_3"], True),
        (["dense", "dense_1"], ["dense_1", "dense_2"], True),
        (["dense", "dense_1", "dense_2"], ["dense", "dense_2", "dense_5"], True),
        (["dense", "dense_1"], ["dense_1", "dense"], False),
        (["first", "second"], ["second", "first"], False),
        (["first", "second"], ["third", "fourth"], True),
        (["m/first", "m/second"], ["m_1/second", "m_1/first"], False),
        (["m/first", "m/second"], ["m_1/first", "m_1/second"], True),
    ],
)
def test_names_that_keras_numbered_on_are_no_swap(saved, live, is_good):
    assert explain(layers(saved), layers(live)).is_good == is_good


@pytest.mark.parametrize(
    ("holder", "what"), [("_operations", "layers and inputs"), ("_layers", "layers"), ("others", "elements")]
)
def test_a_model_of_keras_3_is_said_to_have_been_saved_with_so_many_layers(holder, what):
    # given: its input is one of its operations
    saved, live = (
        describe({"net": {holder: {str(place): {"w": Variable(f"w{place}")} for place in range(count)}}})
        for count in (3, 4)
    )

    # then
    assert explain(saved, live).predictions[0].reason == (
        f"`net/{holder}` was saved with 3 {what}, the program builds 4"
    )


def test_layers_that_are_missing_in_front_are_a_shift_though_keras_numbered_them():
    # given
    found = explain(layers(["dense", "dense_1", "dense_2"]), layers(["dense_1", "dense_2"]))

    # then
    assert [one.outcome for one in found.predictions] == [Outcome.WRONG_VALUE, Outcome.WRONG_VALUE, Outcome.DROPPED]
    assert found.predictions[0].reason.startswith("the values are shifted along the list")
    assert found.notes[0].startswith("`net` was saved with 3 layers, the program builds 2")


def test_two_models_that_were_made_in_the_other_order_are_no_swap():
    # given
    def both(first, second):
        def model(names):
            return {f"layer-{place}": {"kernel": Variable(f"{name}/kernel")} for place, name in enumerate(names)}

        return describe({"encoder": model(first), "decoder": model(second)})

    # then
    assert explain(
        both(["dense", "dense_1"], ["dense_2", "dense_3"]), both(["dense_2", "dense_3"], ["dense", "dense_1"])
    ).is_good


def test_slots_are_no_swap_where_they_are_named_by_variables_that_were_only_numbered_anew():
    # given: two generators that one optimizer trains, made in the other order
    def gan(one, other):
        first, second = (Variable(f"{name}/kernel") for name in (one, other))
        slots = {str(n): Variable(f"adam/{name}_kernel_momentum") for n, name in enumerate((one, other), start=2)}
        optimizer = {"_trainable_variables": {"0": first, "1": second}, "_variables": slots}
        described = describe({"o": optimizer, "one": {"net": {"w": first}}, "other": {"net": {"w": second}}})
        return replace(described, traits={1: Traits(is_optimizer=True)})

    # then
    assert explain(gan("dense", "dense_1"), gan("dense_1", "dense")).is_good


def test_a_copy_that_equals_the_first_ones_initial_value_is_not_its_value_gone_astray():
    # given: a target network, saved with what a seed gives to the other one at every start
    saved = describe({"online": Variable("w", tensor(crc=2)), "target": Variable("w", tensor(crc=1))})
    live = describe({"online": Variable("w", tensor(crc=1)), "target": Variable("w", tensor(crc=3))})

    # then
    assert explain(saved, live).is_good


def test_a_value_that_moved_to_a_variable_that_nothing_restores_is_certain_without_any_names():
    # given
    saved = describe({"l": {"0": Variable("", tensor(crc=1))}})
    live = describe({"l": {"0": Variable("", tensor(crc=9)), "1": Variable("", tensor(crc=1))}})

    # then
    assert [(one.outcome, one.is_suspected) for one in explain(saved, live).predictions] == [
        (Outcome.WRONG_VALUE, False),
        (Outcome.LEFT_AT_INITIAL, False),
    ]


@pytest.mark.parametrize("part", ["dense_²", "dense_" + "1" * 5000, "dense_٣"], ids=["superscript", "long", "arabic"])
def test_a_name_may_end_in_what_is_no_number_for_python(part):
    # given
    names = [f"{part}/kernel", f"{part}/bias"]

    # then
    assert explain(layers(names), layers(names)).is_good
