"""What a restore would do, decided from two descriptions."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from zlib import crc32

import bundle_builder as build
import jsonschema
import pytest
from descriptions import Variable, describe, tensor
from hypothesis import given
from hypothesis import strategies as st

from lastgood.bundle.graph import Attribute, Node, ObjectGraph, SlotVariable
from lastgood.checkpoint import TensorInfo
from lastgood.cli import main
from lastgood.explain import Outcome, Prediction, explain, explain_file_name, explain_nothing
from lastgood.explanation.described import (
    Description,
    Outsider,
    Slots,
    Traits,
    describe_checkpoint,
    rules_of,
)
from lastgood.explanation.saved_side import describe_saved
from lastgood.inspect import read_manifest
from lastgood.manifest import Kind
from lastgood.sidecar import Sidecar, write_sidecar

SCHEMA = json.loads((Path(__file__).parents[3] / "docs" / "schemas" / "explain.schema.json").read_text())


def outcomes(saved, target):
    return {one.key: one.outcome for one in explain(saved, target).predictions}


def only(saved, target, key):
    return next(one for one in explain(saved, target).predictions if one.key == key)


# --------------------------------------------------------------------------------------------------------- any graph


@st.composite
def trees(draw, depth=3):
    """Nested dicts of variables, some of which stand at several places; their names and values are all different."""
    pool: list[Variable] = []

    def variable():
        if pool and draw(st.booleans()) and draw(st.booleans()):
            return draw(st.sampled_from(pool))
        number = len(pool)
        pool.append(Variable(f"v{number}x", tensor((draw(st.integers(4, 6)),), crc=number + 1)))
        return pool[-1]

    def tree(level):
        names = draw(st.lists(st.sampled_from(["a", "b", "0", "1", "2", "d.e", "f/g"]), unique=True, max_size=3))
        return {name: tree(level - 1) if level and draw(st.booleans()) else variable() for name in names}

    return tree(depth)


@given(trees())
def test_a_checkpoint_restored_into_what_saved_it_is_restored_everywhere(tree):
    # given
    description = describe(tree)

    # when
    explanation = explain(description, description)

    # then
    assert {one.outcome for one in explanation.predictions} <= {Outcome.RESTORED}
    assert len(explanation.predictions) == len(description.tensors)
    assert explanation.is_good


def named_apart(tree, path=()):
    """The same tree with a name and a value of its own for each variable."""
    return {
        name: named_apart(child, (*path, name))
        if isinstance(child, dict)
        else Variable("x".join((*path, name)), tensor((4,), crc=crc32("/".join((*path, name)).encode())))
        for name, child in tree.items()
    }


@given(trees(), st.data())
def test_a_child_that_is_dropped_changes_the_predictions_below_it_and_no_other(tree, data):
    # given
    tree = named_apart(tree)
    if not tree:
        return
    gone = data.draw(st.sampled_from(sorted(tree)))
    saved, target = describe(tree), describe({name: child for name, child in tree.items() if name != gone})

    # when
    before, after = outcomes(saved, saved), outcomes(saved, target)

    # then
    below = {key for key in before if key == escaped(gone) or key.startswith(escaped(gone) + "/")}
    assert {key for key in before if before[key] != after[key]} == below
    assert {after[key] for key in below} <= {Outcome.DROPPED}


@given(trees(), st.data())
def test_a_child_that_is_renamed_changes_the_predictions_below_it_and_no_other(tree, data):
    # given
    tree = named_apart(tree)
    if not tree:
        return
    old = data.draw(st.sampled_from(sorted(tree)))
    renamed = {("renamed" if name == old else name): child for name, child in tree.items()}
    saved, target = describe(tree), describe(renamed)

    # when
    before, after = outcomes(saved, saved), outcomes(saved, target)

    # then
    below = {key for key in before if key == escaped(old) or key.startswith(escaped(old) + "/")}
    new = {key for key in after if key == "renamed" or key.startswith("renamed/")}
    assert {key for key in before if before[key] != after[key]} == below
    assert {after[key] for key in below} <= {Outcome.DROPPED}
    assert {after[key] for key in new} <= {Outcome.LEFT_AT_INITIAL}
    assert len(new) == len(below)


def escaped(name):
    return name.replace(".", "..").replace("/", ".S")


# ----------------------------------------------------------------------------------------------------------- matching


def test_a_saved_object_at_two_places_goes_to_the_one_that_is_met_first():
    # given
    shared = Variable("w")
    saved = describe({"x": shared, "y": shared})

    # when
    found = explain(saved, describe({"x": Variable("w"), "y": Variable("v")}))

    # then
    assert {one.key: one.outcome for one in found.predictions} == {
        "y": Outcome.LEFT_AT_INITIAL,
        "x": Outcome.RESTORED,
    }
    assert found.predictions[0].reason == "the checkpoint has one object for this and for `x`, and restores it there"


def test_slot_variables_go_by_optimizer_variable_and_name_whatever_their_order():
    # given
    def make(order, traits):
        slots = {"opt": {name: {"m": Variable(f"opt/{name}/m")} for name in order}}
        return describe(
            {"a": Variable("a"), "b": Variable("b"), "opt": {"iter": Variable("opt/iter")}}, slots, traits=traits
        )

    traits = {3: Traits(slots=Slots.TAKES, is_optimizer=True)}

    # when
    found = explain(make("ab", {}), make("ba", traits))

    # then
    assert found.is_good
    assert found.counts() == {Outcome.RESTORED: 5}


def test_slot_variables_that_are_not_there_yet_are_created_and_an_optimizer_without_any_drops_or_refuses_them():
    # given
    tree = {"a": Variable("a"), "opt": {"iter": Variable("opt/iter")}}
    saved = describe(tree, {"opt": {"a": {"m": Variable("opt/a/m")}}})
    key = "a/.OPTIMIZER_SLOT/opt/m"

    def restored_into(slots):
        return only(saved, describe(tree, traits={2: Traits("Optimizer", slots)}), key)

    # then
    assert restored_into(Slots.TAKES).outcome is Outcome.RESTORED
    assert restored_into(Slots.IGNORES) == Prediction(
        key,
        Outcome.DROPPED,
        "`Optimizer` takes no slot variable `m`",
        "restore with the optimizer that was saved, or leave it out of the checkpoint object",
    )
    assert restored_into(Slots.REFUSES).outcome is Outcome.ERROR


def test_what_an_unbuilt_object_lacks_is_deferred_and_what_a_built_one_lacks_is_dropped():
    # given
    saved = describe({"net": {"w": Variable("w")}})

    # when
    unbuilt = explain(saved, describe({"net": {}}, traits={1: Traits(is_unbuilt=True)}))
    built = explain(saved, describe({"net": {"v": Variable("v", tensor((9,)))}}))

    # then
    assert {one.key: one.outcome for one in unbuilt.predictions} == {"net/w": Outcome.DEFERRED}
    assert unbuilt.is_good
    assert {one.key: one.outcome for one in built.predictions} == {
        "net/v": Outcome.LEFT_AT_INITIAL,
        "net/w": Outcome.DROPPED,
    }


# ------------------------------------------------------------------------------------------------------------- errors


def test_a_shape_that_does_not_fit_leaves_what_comes_before_it_assigned_and_the_rest_untouched():
    # given
    saved = describe({name: Variable(name) for name in "abc"})
    target = describe({"a": Variable("a"), "b": Variable("b", tensor((5,))), "c": Variable("c")})

    # then
    assert outcomes(saved, target) == {
        "b": Outcome.ERROR,
        "a": Outcome.HALF_RESTORED,
        "c": Outcome.LEFT_AT_INITIAL,
    }


def test_a_type_that_does_not_fit_is_noticed_before_anything_is_assigned():
    # given
    saved = describe({name: Variable(name) for name in "ab"})
    target = describe({"a": Variable("a"), "b": Variable("b", tensor(dtype="float64"))})

    # then
    assert outcomes(saved, target) == {"b": Outcome.ERROR, "a": Outcome.LEFT_AT_INITIAL}


def test_a_shape_that_a_variable_leaves_open_fits():
    # given
    saved = describe({"a": Variable("a", tensor((3, 4))), "b": Variable("b")})

    # then
    assert explain(saved, describe({"a": Variable("a", tensor((-1, 4))), "b": Variable("b", tensor(None))})).is_good


def test_up_to_tensorflow_2_8_slots_are_assigned_before_a_shape_raises():
    # given
    def make(shape, **more):
        tree = {"a": Variable("a", tensor(shape)), "opt": {"iter": Variable("i", tensor(()))}}
        slots = {"opt": {"a": {"m": Variable("m")}}}
        return describe(tree, slots, traits={2: Traits(slots=Slots.TAKES)}, **more)

    # when
    old, new = (
        only(make((4,)), make((5,), rules=rules_of(version)), "a/.OPTIMIZER_SLOT/opt/m").outcome
        for version in ("2.4.4", "2.21.0")
    )

    # then: the newer ones assign in the order of the keys
    assert (old, new) == (Outcome.HALF_RESTORED, Outcome.LEFT_AT_INITIAL)


# -------------------------------------------------------------------------------------------------- in the wrong place


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


# ------------------------------------------------------------------------------------- whatever the graph looks like
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


# ---------------------------------------------------------------------------- what was not built yet in a checkpoint


def keras_optimizer(state):
    variables = {str(number): Variable(f"adam/{number}x") for number in range(2 + state)}
    return {
        "o": {"_iterations": variables["0"], "_learning_rate": variables["1"], "_variables": variables},
        "w": Variable("w"),
    }


def written(described):
    """The description again, as a checkpoint that was written with it gives it."""
    tensors = {key: TensorInfo(key, one.dtype, one.shape, one.crc32c, 4, "") for key, one in described.tensors.items()}
    return describe_checkpoint(SimpleNamespace(graph=described.graph, tensors=tensors))


@pytest.mark.parametrize(
    "empty", [keras_optimizer(0), {"o": {}, "w": Variable("w")}], ids=["keras 3", "tensorflow 2.4"]
)
def test_an_optimizer_that_the_other_checkpoint_was_saved_before_the_first_step_of_takes_its_state_later(empty):
    # when
    found = explain(written(describe(keras_optimizer(4))), written(describe(empty)))

    # then
    assert found.is_good
    assert Outcome.DEFERRED in found.counts()


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("adam_3/a_momentum", Outcome.DEFERRED),
        ("train/Adam/m/a", Outcome.DEFERRED),
        ("", Outcome.DEFERRED),
        ("sgd/a_momentum", Outcome.WRONG_VALUE),
    ],
)
def test_what_an_optimizer_without_a_step_takes_later_is_suspected_where_another_one_saved_it(name, outcome):
    # given: Keras 3 keeps an optimizer's values in a list
    saved = describe({"optimizer": {"_variables": {"0": Variable("n"), "2": Variable(name)}}})
    live = describe({"optimizer": {"_variables": {"0": Variable("n")}}})
    traits = {1: Traits(is_unbuilt=True, is_optimizer=True, name="adam"), 2: Traits(is_unbuilt=True)}

    # then
    assert outcomes(saved, replace(live, traits=traits))["optimizer/_variables/2"] is outcome


def test_a_list_of_layers_that_are_not_built_is_as_long_as_it_is():
    # given
    saved = describe({"net": {"blocks": {str(n): {"kernel": Variable(f"k{n}")} for n in range(3)}}})
    live = describe({"net": {"blocks": {str(n): {} for n in range(2)}}})
    unbuilt = {number: Traits(is_unbuilt=True) for number in range(len(live.graph.nodes))}

    # when
    found = {one.key: one for one in explain(saved, replace(live, traits=unbuilt)).predictions}

    # then
    assert {key: one.outcome for key, one in found.items()} == {
        "net/blocks/0/kernel": Outcome.DEFERRED,
        "net/blocks/1/kernel": Outcome.DEFERRED,
        "net/blocks/2/kernel": Outcome.DROPPED,
    }
    assert found["net/blocks/2/kernel"].reason == "`net/blocks` was saved with 3 elements, the program builds 2"


def test_what_keras_builds_while_it_traces_another_ones_call_misses_its_value():
    # given
    saved = describe({"model": {"first": {"kernel": Variable("k")}}})
    live = describe({"model": {"first": {}}})
    traits = {1: Traits(is_unbuilt=True, is_layer=True), 2: Traits(is_unbuilt=True, is_layer=True, traced_by=1)}

    # when
    (found,) = explain(saved, replace(live, traits=traits)).predictions

    # then
    assert found == Prediction(
        "model/first/kernel",
        Outcome.LEFT_AT_INITIAL,
        "`model/first` is not built yet: Keras 3 builds it while it traces the first call of `model`, and a value that "
        "is restored into a trace is lost",
        "call `model` once before the restore, or give it a `build` that builds its layers",
        is_suspected=True,
    )


# ------------------------------------------------------------------------------------------- kinds, and what is outside


def test_sums_come_back_in_shares_and_what_is_per_worker_comes_back_as_the_chiefs():
    # given
    saved = describe({"total": Variable("total"), "mine": Variable("mine")})
    target = describe(
        {
            "total": Variable("total", tensor(kind=Kind.AGGREGATED_SUM)),
            "mine": Variable("mine", tensor(kind=Kind.PER_WORKER)),
        },
        replicas=4,
        is_foreign=True,
    )

    # when
    found = explain(saved, target)

    # then
    assert [(one.key, one.outcome) for one in found.predictions] == [
        ("mine", Outcome.TAKEN_FROM_CHIEF),
        ("total", Outcome.RESTORED),
    ]
    assert found.predictions[1].reason.endswith("restored on each as saved / 4")
    assert found.is_good


def test_kinds_that_only_the_manifest_beside_the_checkpoint_knows_are_used(tmp_path):
    # given
    real = build.real_prefixes("tf-2.21.0", "variables")[0]
    for path in Path(real).parent.glob(Path(real).name + ".*"):
        shutil.copy(path, tmp_path / path.name)
    prefix = str(tmp_path / Path(real).name)
    manifest = read_manifest(prefix)
    summed = next(entry for entry in manifest.entries if entry.dtype == "float32" and entry.shape)
    entries = tuple(
        replace(entry, kind=Kind.AGGREGATED_SUM) if entry is summed else entry for entry in manifest.entries
    )
    write_sidecar(prefix, Sidecar(replace(manifest, entries=entries), ()))

    # when
    description = describe_saved(prefix)

    # then
    found = only(description, description, summed.label)
    assert found.reason == "saved as the sum over all replicas, restored on each as saved / replicas"


def test_a_variable_that_is_not_reached_is_not_saved_and_one_like_it_elsewhere_stays_as_it_is():
    # given
    held = Outsider("net/kernel", tensor(), "model/hidden/0/kernel", "held in the list `hidden` of `model`", True)
    twin = Outsider("w", tensor(), "w", "`w` is alive in this process", False)
    saved = describe({"w": Variable("w")})

    # when
    found = explain(saved, describe({"w": Variable("w")}, outsiders=(held, twin)))

    # then
    assert [(one.key, one.outcome, one.is_suspected) for one in found.predictions] == [
        ("w", Outcome.LEFT_AT_INITIAL, True),
        ("model/hidden/0/kernel", Outcome.NOT_SAVED, False),
        ("w", Outcome.RESTORED, False),
    ]


def test_restore_of_none_is_a_fresh_start_for_everything():
    # when
    found = explain_nothing(
        describe({"a": Variable("a"), "save_counter": Variable("save_counter", tensor((), dtype="int64"))})
    )

    # then
    assert [(one.key, one.outcome) for one in found.predictions] == [("a", Outcome.LEFT_AT_INITIAL)]
    assert found.notes[0].startswith("save_counter starts again at 0")


# ---------------------------------------------------------------------------------------------- checkpoints by names


def by_names(**values):
    return Description(ObjectGraph(()), {name.encode(): value for name, value in values.items()})


def test_what_was_saved_by_names_goes_to_every_variable_of_that_name_and_the_rest_stays_as_it_is():
    # given
    saved = by_names(a=tensor(), gone=tensor())
    live = describe({"x": Variable("a"), "y": {"z": Variable("a")}, "v": Variable("b"), "nameless": Variable("")})

    # then
    assert outcomes(saved, live) == {
        "x": Outcome.RESTORED,
        "y/z": Outcome.RESTORED,
        "v": Outcome.LEFT_AT_INITIAL,
        "nameless": Outcome.LEFT_AT_INITIAL,
        "gone": Outcome.DROPPED,
    }
    assert explain(saved, live).notes[0].startswith("the checkpoint has no object graph: it was written by names")


@pytest.mark.parametrize("other", [tensor((5,)), tensor(dtype="int64")])
def test_of_what_was_saved_by_names_the_first_that_does_not_fit_leaves_those_before_it_assigned(other):
    # given
    saved = by_names(a=tensor(), b=other, c=tensor())
    live = describe({"c": Variable("a"), "b": Variable("b"), "a": Variable("c")})

    # then
    assert outcomes(saved, live) == {
        "c": Outcome.HALF_RESTORED,
        "b": Outcome.ERROR,
        "a": Outcome.LEFT_AT_INITIAL,
    }


def test_the_counter_of_saves_is_not_looked_for_among_names():
    # given
    live = describe({"a": Variable("a"), "save_counter": Variable("save_counter", tensor((), dtype="int64"))})

    # then
    assert outcomes(by_names(a=tensor()), live) == {"a": Outcome.RESTORED}


def test_a_real_checkpoint_without_an_object_graph_is_explained_by_names(tmp_path):
    # given
    build.write_bundle(tmp_path / "v1", [build.Tensor(b"a", b"\0" * 4, (1,))])

    # when
    description = describe_saved(str(tmp_path / "v1"))

    # then
    assert outcomes(description, describe({"x": Variable("a", tensor((1,)))})) == {"x": Outcome.RESTORED}


def test_the_index_of_a_checkpoint_in_its_prefix_s_place_restores_nothing():
    # when
    found = explain_file_name("ckpt-1.index", "ckpt-1", describe({"a": Variable("a")}))

    # then
    assert [(one.key, one.outcome, one.fix) for one in found.predictions] == [
        ("a", Outcome.LEFT_AT_INITIAL, "restore `ckpt-1`")
    ]


# --------------------------------------------------------------------------------------------------------- the command


@pytest.mark.parametrize("prefix", build.real_prefixes())
def test_a_real_checkpoint_explained_against_itself_is_good_and_its_json_keeps_to_the_schema(prefix, capsys):
    # when
    status = main(["explain", prefix, "--against", prefix, "--json"])

    # then
    document = json.loads(capsys.readouterr().out)
    jsonschema.validate(document, SCHEMA)
    assert (status, document["is_good"], set(document["counts"])) == (0, True, {"restored"})


def test_a_real_checkpoint_of_keras_2_is_explained_to_keras_3_in_words(capsys):
    # given
    old = build.real_prefixes("tf-2.15.1", "keras_adam")[0]
    new = build.real_prefixes("tf-2.21.0", "keras_adam")[0]

    # when
    status = main(["explain", old, "--against", new])

    # then
    lines = capsys.readouterr().out.splitlines()
    assert status == 1
    assert any("(Keras 2 calls it `kernel`, Keras 3 `_kernel`)" in line for line in lines)
    assert lines[-1].startswith("Bad; ")
    assert main(["explain", old, "--against", new, "--json"]) == 1
    jsonschema.validate(json.loads(capsys.readouterr().out), SCHEMA)


def test_the_name_that_save_was_given_is_no_checkpoint_and_the_newest_that_it_made_is_named(tmp_path, capsys):
    # given
    for number in (2, 11):
        build.write_bundle(tmp_path / f"ckpt-{number}", [build.Tensor(b"a", b"\0" * 4, (1,))])
    real = build.real_prefixes("tf-2.21.0", "variables")[0]

    # when
    status = main(["explain", str(tmp_path / "ckpt"), "--against", real])

    # then
    out = capsys.readouterr().out
    assert status == 1
    assert f"restore `{tmp_path}/ckpt-11`, which is what save() returned" in out


def test_what_stands_for_the_program_must_be_readable(tmp_path, capsys):
    # given
    real = build.real_prefixes("tf-2.21.0", "variables")[0]

    # when
    status = main(["explain", real, "--against", str(tmp_path / "none")])

    # then
    assert status == 3
    assert "none" in capsys.readouterr().err
