"""What `explain` predicts of a restore comes true: on real TensorFlow, value by value, for every silent way to fail."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CLONE = Path(__file__).parents[3]
SCRIPT = Path(__file__).parent / "scripts" / "restores.py"

#: One process imports TensorFlow once and does all that there is.
pytestmark = pytest.mark.timeout(400)

ALL = ("2.4", "2.15", "2.21")


@dataclass(frozen=True)
class Expected:
    """How often each bad outcome is predicted, and what the restore raises."""

    outcomes: dict[str, int]
    error: str = ""


def bad(error: str = "", **outcomes: int) -> Expected:
    return Expected(outcomes, error)


GOOD = bad()

#: What `explain` has to say, by scenario and version; the rest is restored or deferred.
EXPECTED: dict[str, dict[str, Expected]] = {
    "the_same_again": dict.fromkeys(ALL, GOOD),
    "a_list_in_another_order": dict.fromkeys(ALL, bad(wrong_value=2)),
    "layers_of_a_sequential_change_places": dict.fromkeys(ALL, bad(wrong_value=4)),
    "equal_names_under_a_name_scope": dict.fromkeys(ALL, GOOD),
    "renamed_variables": dict.fromkeys(ALL, GOOD),
    "the_same_model_built_once_more": dict.fromkeys(ALL, GOOD),
    "more_layers_than_saved": dict.fromkeys(ALL, bad(left_at_initial=2)),
    "more_layers_than_saved_and_not_built_yet": dict.fromkeys(ALL, GOOD),
    "fewer_layers_than_saved": dict.fromkeys(ALL, bad(dropped=2)),
    "fewer_layers_than_saved_and_not_built_yet": dict.fromkeys(ALL, bad(dropped=2)),
    "fewer_layers_of_a_sequential_not_built_yet": {"2.4": bad(dropped=2), "2.15": bad(dropped=2), "2.21": GOOD},
    "inserted_at_the_front_of_a_list": dict.fromkeys(ALL, bad(wrong_value=2, left_at_initial=1)),
    "renamed_attribute": dict.fromkeys(ALL, bad(left_at_initial=1, dropped=1)),
    "dtype_changed": dict.fromkeys(ALL, bad("InvalidArgumentError", error_=1, left_at_initial=2)),
    "shape_changed": dict.fromkeys(ALL, bad("ValueError", error_=1, half_restored=1, left_at_initial=3)),
    "two_objects_where_one_was": dict.fromkeys(ALL, bad(left_at_initial=1)),
    "one_object_where_two_were": dict.fromkeys(ALL, bad(dropped=1)),
    "optimizer_built_in_another_order": {
        "2.4": GOOD,
        "2.15": bad(wrong_value=2),
        "2.21": bad(wrong_value=2),
    },
    "optimizer_of_another_class": {
        "2.4": bad(left_at_initial=4, dropped=8),
        "2.15": bad(wrong_value=3, dropped=3),
        "2.21": bad(wrong_value=3, dropped=3),
    },
    "optimizer_of_another_class_not_built_yet": {
        "2.4": bad(dropped=6),
        "2.15": bad(wrong_value=6),
        "2.21": bad(wrong_value=6),
    },
    "optimizer_left_out": {"2.4": bad(dropped=11), "2.15": bad(dropped=8), "2.21": bad(dropped=8)},
    "optimizer_not_saved": {
        "2.4": bad(left_at_initial=11),
        "2.15": bad(left_at_initial=8),
        "2.21": bad(left_at_initial=8),
    },
    "optimizer_not_built_yet": dict.fromkeys(ALL, GOOD),
    "born_later": dict.fromkeys(ALL, GOOD),
    "born_later_when_the_files_are_gone": dict.fromkeys(ALL, GOOD),
    "born_later_when_the_prefix_was_written_again": dict.fromkeys(ALL, GOOD),
    "a_subclassed_model_not_built_yet": {"2.4": GOOD, "2.15": GOOD, "2.21": bad(left_at_initial=4)},
    "a_model_that_builds_its_layers_not_built_yet": dict.fromkeys(ALL, GOOD),
    "a_sequential_not_built_yet": dict.fromkeys(ALL, GOOD),
    "a_layer_that_has_some_of_its_variables": dict.fromkeys(ALL, GOOD),
    "a_sequential_of_a_layer_that_has_some_of_its_variables": dict.fromkeys(ALL, GOOD),
    "a_copy_of_what_the_other_one_is_initialised_with": dict.fromkeys(ALL, GOOD),
    "variables_of_nobodys_naming_beside_it": dict.fromkeys(ALL, GOOD),
    "two_generators_that_were_made_in_the_other_order": dict.fromkeys(ALL, GOOD),
    "variables_and_modules_in_containers_of_a_layer": {"2.4": GOOD, "2.15": GOOD, "2.21": bad(not_saved=3)},
    "a_layer_without_variables_where_one_with_was": dict.fromkeys(ALL, bad(dropped=2)),
    "an_optimizer_in_an_optimizer": dict.fromkeys(ALL, GOOD),
    "layers_in_a_list": {"2.4": GOOD, "2.15": GOOD, "2.21": bad(not_saved=4)},
    "layers_in_a_dict": {"2.4": GOOD, "2.15": GOOD, "2.21": bad(not_saved=4)},
    "layers_in_a_tuple": dict.fromkeys(ALL, GOOD),
    "a_new_object_is_built": dict.fromkeys(ALL, bad(left_at_initial=2)),
    "nothing_to_restore": dict.fromkeys(ALL, bad(left_at_initial=2)),
    "the_name_that_save_was_given": dict.fromkeys(ALL, bad("NotFoundError", error_=1)),
    "the_file_of_its_index": dict.fromkeys(ALL, bad(left_at_initial=2)),
    "saved_by_names_and_restored_by_objects": dict.fromkeys(ALL, bad(left_at_initial=2, dropped=1)),
    "saved_by_names_with_another_shape": dict.fromkeys(
        ALL, bad("ValueError", error_=1, half_restored=1, left_at_initial=1)
    ),
    "saved_by_names_with_another_type": dict.fromkeys(
        ALL, bad("InvalidArgumentError", error_=1, half_restored=1, left_at_initial=1)
    ),
    "a_root_and_something_attached": dict.fromkeys(ALL, GOOD),
    "written_and_not_saved": dict.fromkeys(ALL, GOOD),
    "a_table_and_an_iterator": dict.fromkeys(ALL, GOOD),
    "a_table_where_a_variable_is_now": {
        "2.4": bad(dropped=1, left_at_initial=1),
        "2.15": bad("NotFoundError", error_=1, left_at_initial=2),
        "2.21": bad("NotFoundError", error_=1, left_at_initial=2),
    },
    "a_variable_where_a_table_is_now": {
        "2.4": bad(dropped=1, left_at_initial=1),
        "2.15": bad("NotFoundError", error_=1, left_at_initial=2),
        "2.21": bad("NotFoundError", error_=1, left_at_initial=2),
    },
    "sums_over_replicas": dict.fromkeys(ALL, GOOD),
}

_HARMLESS = ("restored", "deferred", "taken_from_chief")


#: Of what an older version has exported: how it is explained to a newer one, by both.
ACROSS = {
    ("2.15", "2.21"): {  # Keras 2 read by Keras 3
        "a_layer": bad(left_at_initial=1, dropped=1),
        "an_optimizer": bad(wrong_value=1, left_at_initial=1, dropped=1),
    },
    ("2.4", "2.15"): {  # slot variables read by an optimizer without
        "a_layer": GOOD,
        "an_optimizer": bad("ValueError", error_=2, left_at_initial=6, dropped=5),
    },
    ("2.4", "2.21"): {  # slot variables read by Keras 3
        "a_layer": bad(left_at_initial=1, dropped=1),
        "an_optimizer": bad(left_at_initial=4, dropped=7),
    },
}


class Processes:
    """One process of each TensorFlow, which does all that there is; older ones first: newer ones read their files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._documents: dict[str, dict[str, Any]] = {}

    def exported(self, version: str) -> Path:
        return self._folder / version / "exported"

    def document(self, version: str) -> dict[str, Any]:
        if version not in self._documents:
            older = [saver for saver, restorer in ACROSS if restorer == version and self._is_there(saver)]
            for saver in older:
                self.document(saver)
            self._documents[version] = self._run(version, [str(self.exported(saver)) for saver in older])
        return self._documents[version]

    def _is_there(self, version: str) -> bool:
        return Path(interpreter(version)).is_file()

    def _run(self, version: str, exported: list[str]) -> dict[str, Any]:
        (self._folder / version).mkdir()
        command = [interpreter(version), str(SCRIPT), str(self._folder / version), *exported]
        environment = {**os.environ, "PYTHONPATH": str(CLONE), "CUDA_VISIBLE_DEVICES": "-1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=380)
        assert done.returncode == 0, done.stderr[-3000:]
        document: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return document


def interpreter(version: str) -> str:
    return os.environ.get(f"LASTGOOD_TEST_TF_{version.replace('.', '_')}_PYTHON", "")


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Processes:
    return Processes(tmp_path_factory.mktemp("restores"))


@pytest.fixture
def told(each_tensorflow: Any, processes: Processes) -> tuple[str, dict[str, Any]]:
    """All scenarios under one TensorFlow: its version, and what came of each."""
    return each_tensorflow.version, processes.document(each_tensorflow.version)["scenarios"]


def bad_outcomes(scenario: dict[str, Any]) -> dict[str, int]:
    counted = Counter(one["outcome"] for one in scenario["predictions"] if one["outcome"] not in _HARMLESS)
    return dict(counted)


def untrue(scenario: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for one in scenario["predictions"] if not one["came_true"]]


def test_every_prediction_comes_true_value_by_value(told: tuple[str, dict[str, Any]]) -> None:
    # given
    version, scenarios = told

    # then
    assert set(scenarios) == set(EXPECTED)
    assert {name: untrue(one) for name, one in scenarios.items() if untrue(one)} == {}, version


def test_each_way_to_fail_is_named_for_what_it_is(told: tuple[str, dict[str, Any]]) -> None:
    # given
    version, scenarios = told

    # when
    found = {name: (bad_outcomes(one), one["error"], one["good"]) for name, one in scenarios.items()}

    # then
    expected = {
        name: (
            {key.rstrip("_"): n for key, n in one[version].outcomes.items()},
            one[version].error,
            one[version] == GOOD,
        )
        for name, one in EXPECTED.items()
    }
    assert found == expected


def test_no_variable_goes_without_a_prediction(told: tuple[str, dict[str, Any]]) -> None:
    # given
    _, scenarios = told

    # when
    forgotten = {name: one["unpredicted"] for name, one in scenarios.items() if one["unpredicted"]}

    # then: where nothing lies at the prefix, the prediction is about the checkpoint as a whole
    assert forgotten == {"the_name_that_save_was_given": ["a"]}


def test_a_live_object_is_described_as_what_it_then_saves(told: tuple[str, dict[str, Any]]) -> None:
    # given
    _, scenarios = told

    # then: keys, types, shapes, checksums and names
    assert {name: one["misdescribed"] for name, one in scenarios.items() if one["misdescribed"]} == {}


def test_what_is_deferred_takes_its_value_when_it_is_born_from_the_file_as_it_is_then(
    told: tuple[str, dict[str, Any]],
) -> None:
    # given
    _, scenarios = told
    names = ("born_later", "born_later_when_the_files_are_gone", "born_later_when_the_prefix_was_written_again")

    # when
    came = {name: (scenarios[name]["late_error"], scenarios[name]["born"]["net/holder/w"]) for name in names}

    # then
    assert came["born_later"][0] == ""
    assert came["born_later"][1]["value"] == came["born_later"][1]["saved"]
    assert came["born_later_when_the_files_are_gone"][0] == "NotFoundError"
    assert came["born_later_when_the_prefix_was_written_again"][1]["value"] == [7e6] * 4
    unbuilt = scenarios["optimizer_not_built_yet"]["born"]
    assert all(one["value"] == one["saved"] for one in unbuilt.values())


def test_the_three_usual_suspects_are_told_in_words(told: tuple[str, dict[str, Any]]) -> None:
    # given
    _, scenarios = told

    # when
    clash = scenarios["equal_names_under_a_name_scope"]["notes"]
    more = next(
        one for one in scenarios["more_layers_than_saved"]["predictions"] if one["outcome"] == "left_at_initial"
    )
    order = next(one for one in scenarios["a_list_in_another_order"]["predictions"] if one["key"] == "variables/0")

    # then
    assert clash == [
        "several variables are called `scope/w`: harmless, a checkpoint knows them by attribute and never by name"
    ]
    assert more["reason"] == "`model/blocks` was saved with 2 layers, the program builds 3"
    assert order["reason"] == (
        "two values change places: the checkpoint calls this value `a`, which here is `variables/1`; "
        "the variable here is `b`, which was saved as `variables/1`"
    )
    assert order["suspected"]


def test_a_model_with_more_layers_than_saved_is_told_of_before_it_is_built(told: tuple[str, dict[str, Any]]) -> None:
    # given
    version, scenarios = told
    scenario = scenarios["more_layers_than_saved_and_not_built_yet"]

    # when: what was born then, and had nothing saved
    random = [path for path, one in scenario["born"].items() if one["saved"] is None and "kernel" in path]

    # then: Keras 3 shows the layers of a Sequential when it is built, and not before
    assert random
    expected = "`model` was saved with 2 layers"
    assert any(note.startswith(expected) for note in scenario["notes"]) == (version != "2.21"), scenario["notes"]


def test_a_list_that_tensorflow_refuses_to_look_into_is_an_error_where_restore_raises(
    each_tensorflow: Any, processes: Processes
) -> None:
    # when: something was inserted into it before its first element
    refused = processes.document(each_tensorflow.version)["refused"]

    # then
    if each_tensorflow.version == "2.4":
        assert refused == {"reasons": ["restored", "restored", "restored"], "raised": ""}
    else:
        assert refused["raised"] == "ValueError"
        assert [one[:48] for one in refused["reasons"]] == ["restore() raises ValueError: Unable to save the "]


def test_a_prefix_may_be_whatever_restore_takes(each_tensorflow: Any, processes: Processes) -> None:
    # when: a str, bytes, a pathlib.Path; and what is no checkpoint object
    typed = processes.document(each_tensorflow.version)["typed"]

    # then
    assert typed == [True, True, True, "expected a tf.train.Checkpoint, found 3"]


@pytest.mark.parametrize(("saver", "restorer"), ACROSS)
def test_a_checkpoint_of_an_older_tensorflow_is_explained_to_a_newer_one(
    saver: str, restorer: str, processes: Processes
) -> None:
    # given
    for version in (saver, restorer):
        if not Path(interpreter(version)).is_file():
            pytest.skip(f"needs a Python with TensorFlow {version}; `make test` sets it where it can be had")
    expected = ACROSS[saver, restorer]

    # when
    scenarios = processes.document(restorer)["across"][str(processes.exported(saver))]

    # then
    assert {name: untrue(one) for name, one in scenarios.items()} == {name: [] for name in expected}
    assert {name: (bad_outcomes(one), one["error"]) for name, one in scenarios.items()} == {
        name: ({key.rstrip("_"): n for key, n in one.outcomes.items()}, one.error) for name, one in expected.items()
    }
    layer = scenarios["a_layer"]["predictions"]
    if restorer == "2.21":
        assert layer[0]["reason"].endswith("(Keras 2 calls it `kernel`, Keras 3 `_kernel`)")


@pytest.mark.breadth
def test_in_a_gang_another_worker_than_the_chief_is_told_what_it_gets_and_no_collective_is_started_for_it(
    each_tensorflow: Any, tmp_path: Path
) -> None:
    # when: worker 1 alone explains, and both restore
    environment = {**os.environ, "PYTHONPATH": str(CLONE), "CUDA_VISIBLE_DEVICES": "-1"}
    command = [each_tensorflow.python, str(SCRIPT.with_name("restore_in_a_gang.py")), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    worker = json.loads((tmp_path / "1.json").read_text())

    # then
    assert worker["before"] == {"mirrored": [1.0] * 4, "total": 10.0, "own": 101.0}
    assert worker["after"] == {"mirrored": [1.0] * 4, "total": 5.0, "own": 100.0}
    predictions = worker["predictions"]
    assert {key: outcome for key, (outcome, _) in predictions.items()} == {
        "mirrored": "restored",
        "total": "restored",
        "own": "taken_from_chief",
        "save_counter": "taken_from_chief",
    }
    assert predictions["total"][1] == "saved as the sum over all replicas, restored on each as saved / 2"
