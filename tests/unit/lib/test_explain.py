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
from descriptions import Variable, describe, only, outcomes, tensor
from hypothesis import given
from hypothesis import strategies as st

from lastgood.checkpoint import TensorInfo
from lastgood.cli import main
from lastgood.explain import Outcome, Prediction, explain, explain_nothing
from lastgood.explanation.described import (
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
