"""What a restore makes of a checkpoint by names, and of an index file's name."""

from __future__ import annotations

import bundle_builder as build
import pytest
from descriptions import Variable, describe, outcomes, tensor

from lastgood.bundle.graph import ObjectGraph
from lastgood.explain import Outcome, explain, explain_file_name
from lastgood.explanation.described import (
    Description,
)
from lastgood.explanation.saved_side import describe_saved


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
