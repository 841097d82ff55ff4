"""What the receipts of real restores come to, on real TensorFlow, for every silent way in which one goes wrong."""

from __future__ import annotations

import json
import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from lastgood_agent.facts import parse_fact
from lastgood_agent.proofs import Words, explain_receipt, needs_words

CLONE = Path(__file__).parents[3]
SCRIPT = Path(__file__).parent / "scripts" / "receipts_of_scenarios.py"
PATHS = (CLONE, CLONE / "worker_agent" / "lastgood_agent" / "inject", CLONE / "tests/integration/library/scripts")

#: One process imports TensorFlow once and does all that there is.
pytestmark = pytest.mark.timeout(600)

#: What the last receipt of a scenario says. GOOD: nothing is wrong. WRONG: values differ, and the objects do not say
#: why. TOLD: nothing is wrong, and values met nothing. Anything else: words of the sentence about the script's change.
GOOD, WRONG, TOLD = "good", "wrong", "told"
COUNT_3, COUNT_2 = "was saved with 2 layers, the program builds 3", "was saved with 3 layers, the program builds 2"
PLACES, ANOTHER = "two values change places", "it was saved by the optimizer"

EXPECTED: dict[str, str | dict[str, str]] = {
    "the_same_again": GOOD,
    "a_list_in_another_order": PLACES,
    "layers_of_a_sequential_change_places": PLACES,
    "equal_names_under_a_name_scope": GOOD,
    "renamed_variables": GOOD,
    "the_same_model_built_once_more": GOOD,
    "more_layers_than_saved": COUNT_3,
    "more_layers_than_saved_and_not_built_yet": {
        "2.4": "was saved with 2 layers with weights, the program builds 3",
        "2.15": "was saved with 2 layers with weights, the program builds 3",
        "2.21": "was saved with 3 layers and inputs, the program builds 4",
    },
    "fewer_layers_than_saved": COUNT_2,
    "fewer_layers_than_saved_and_not_built_yet": COUNT_2,
    "fewer_layers_of_a_sequential_not_built_yet": {
        "2.4": "was saved with 3 layers with weights, the program builds 2",
        "2.15": "was saved with 3 layers with weights, the program builds 2",
        "2.21": "was saved with 4 layers and inputs, the program builds 3",
    },
    "inserted_at_the_front_of_a_list": "the values are shifted along the list",
    "renamed_attribute": "`net` has no `w1`; it has `w2`, of the same type and shape",
    "dtype_changed": "float32 was saved, and here it is float64",
    "shape_changed": "the shape [4] was saved, and here it is [5]",
    "two_objects_where_one_was": TOLD,
    "one_object_where_two_were": "`x` is one object here, and was two when it was saved",
    "optimizer_built_in_another_order": {"2.4": GOOD, "2.15": PLACES, "2.21": PLACES},
    "optimizer_of_another_class": {"2.4": "`optimizer` has no `beta_1`", "2.15": ANOTHER, "2.21": ANOTHER},
    "optimizer_of_another_class_not_built_yet": {"2.4": TOLD, "2.15": ANOTHER, "2.21": ANOTHER},
    "optimizer_left_out": TOLD,
    "optimizer_not_saved": TOLD,
    "optimizer_not_built_yet": GOOD,
    "born_later": GOOD,
    "born_later_when_the_files_are_gone": GOOD,  # what raises then is no receipt's affair
    "born_later_when_the_prefix_was_written_again": WRONG,
    "a_subclassed_model_not_built_yet": {
        "2.4": GOOD,
        "2.15": GOOD,
        "2.21": "a value that is restored into a trace is lost",
    },
    "a_model_that_builds_its_layers_not_built_yet": GOOD,
    "a_sequential_not_built_yet": GOOD,
    "a_layer_that_has_some_of_its_variables": GOOD,
    "a_sequential_of_a_layer_that_has_some_of_its_variables": GOOD,
    "a_copy_of_what_the_other_one_is_initialised_with": GOOD,
    "variables_of_nobodys_naming_beside_it": GOOD,
    "two_generators_that_were_made_in_the_other_order": GOOD,
    "layers_in_a_list": GOOD,  # what is not saved is told when it is not
    "layers_in_a_dict": GOOD,
    "variables_and_modules_in_containers_of_a_layer": GOOD,
    "a_layer_without_variables_where_one_with_was": TOLD,
    "an_optimizer_in_an_optimizer": GOOD,
    "layers_in_a_tuple": GOOD,
    "a_new_object_is_built": GOOD,  # the object that is restored is
    "a_root_and_something_attached": GOOD,
    "sums_over_replicas": GOOD,
    "a_table_and_an_iterator": GOOD,
    "a_table_where_a_variable_is_now": {
        "2.4": WRONG,
        "2.15": "a value of another kind was saved here",
        "2.21": "a value of another kind was saved here",
    },
    "a_variable_where_a_table_is_now": {
        "2.4": "holds a value of another kind",
        "2.15": "a value of another kind was saved here",
        "2.21": "a value of another kind was saved here",
    },
}

Document = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One process of each TensorFlow, which does all that there is."""

    @cache
    def run(version: str, python: str, *wanted: str) -> Document:
        folder = tmp_path_factory.mktemp(f"receipts-{version}")
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, PATHS)),
            "CUDA_VISIBLE_DEVICES": "-1",
        }
        done = subprocess.run(
            [python, str(SCRIPT), str(folder), *wanted], capture_output=True, text=True, env=environment, timeout=580
        )
        assert done.returncode == 0, done.stderr[-3000:]
        document: Document = json.loads(done.stdout.splitlines()[-1])
        return document

    return run


def words_of(receipt: dict[str, Any]) -> Words:
    """What the agent makes of one receipt."""
    fact = parse_fact("000001-00000000000000000001-1-1.json", {**receipt, "attempt": 1})
    return explain_receipt(fact, receipt["live"], receipt["before"]) if needs_words(fact) else Words()


def summary(receipt: dict[str, Any]) -> str:
    words = words_of(receipt)
    if words.fault.model_change:
        return words.fault.model_change
    if receipt["wrong_value"] or receipt["left_at_initial"] or receipt["error"]:
        return WRONG
    return TOLD if words.fault.unmatched else GOOD


def is_as_expected(found: str, expected: str) -> bool:
    return found == expected or (expected not in (GOOD, WRONG, TOLD) and expected in found)


#: One of each sort, for the short run.
CORE = (
    "the_same_again",
    "a_list_in_another_order",
    "more_layers_than_saved",
    "fewer_layers_than_saved",
    "renamed_attribute",
    "shape_changed",
    "a_subclassed_model_not_built_yet",
    "born_later_when_the_prefix_was_written_again",
)


def test_a_restore_that_went_wrong_is_explained_by_what_the_script_builds_where_that_explains_it(
    tf_python: str, documents: Any
) -> None:
    # given one restore of each sort, done for real
    document = documents("2.21", tf_python, *CORE)

    # when the agent explains the last receipt of each
    found = {name: summary((one["at_once"] + one["later"])[-1]) for name, one in document.items()}

    # then
    wanted = {name: one if isinstance(one := EXPECTED[name], str) else one["2.21"] for name in CORE}
    assert {name: found[name] for name in CORE if not is_as_expected(found[name], wanted[name])} == {}


@pytest.mark.breadth
def test_each_restore_comes_to_the_words_of_explain_or_to_none(each_tensorflow: Any, documents: Any) -> None:
    # given every scenario, restored for real
    version = each_tensorflow.version
    document = documents(version, each_tensorflow.python)

    # when the agent explains the last receipt of each
    found = {name: summary((one["at_once"] + one["later"])[-1]) for name, one in document.items()}

    # then
    wanted = {name: one if isinstance(one, str) else one[version] for name, one in EXPECTED.items()}
    assert found.keys() == wanted.keys()
    assert {name: found[name] for name in found if not is_as_expected(found[name], wanted[name])} == {}


@pytest.mark.breadth
def test_hooks_and_library_see_the_same_in_the_same_objects(each_tensorflow: Any, documents: Any) -> None:
    # given
    document = documents(each_tensorflow.version, each_tensorflow.python)

    # then: objects, names, values, looks, and what a save leaves out
    assert {name: one["misdescribed"] for name, one in document.items() if one["misdescribed"]} == {}


@pytest.mark.breadth
def test_what_fits_at_the_restore_is_not_blamed_before_a_step_has_shown_that_nothing_more_is_built(
    each_tensorflow: Any, documents: Any
) -> None:
    # given
    document = documents(each_tensorflow.version, each_tensorflow.python)

    # when a list of layers is shorter than it was
    one = document["fewer_layers_than_saved"]

    # then that counts once a step was made: until then the script may append to it
    assert [summary(receipt) for receipt in one["at_once"]] == [GOOD]
    assert COUNT_2 in summary(one["later"][-1])
