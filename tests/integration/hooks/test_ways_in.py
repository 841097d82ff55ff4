"""Every way in which a script saves, restores and exports, in real processes of TensorFlow 2.4, 2.15 and 2.21."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hooked_worker import FakeAgent, finish, free_address, plan_of, start

from tests.conftest import TensorFlow

pytestmark = pytest.mark.timeout(400)

FRESH = {"kind": "fresh", "series": []}
STEPS = 4
Agents = Callable[..., FakeAgent]
Facts = list[dict[str, Any]]


def run(tensorflow: TensorFlow, way: str, directory: Path, agent: FakeAgent, **options: Any) -> dict[str, Any]:
    """What the script says it did."""
    result = agent.home / "outcome.json"
    arguments = (way, str(directory), str(result))
    finish(
        start(tensorflow.python, agent.home, "ways.py", *arguments, addresses=[free_address()], agent=agent, **options)
    )
    return json.loads(result.read_text()) if result.exists() else {}


def let_begin(agent: FakeAgent) -> FakeAgent:
    """Plans a fresh start, once the script asks."""
    agent.answer = lambda fact: agent.say(plan=FRESH) if fact["type"] == "asked" else None
    return agent


def steer(agent: FakeAgent, plan: dict[str, Any]) -> FakeAgent:
    """The controller knows this plan from the beginning; the gate opens at the first receipt."""
    agent.say(plan=plan, nothing_known=False)
    agent.answer = lambda fact: agent.say(gate_open=True) if fact["type"] == "receipt" else None
    return agent


def saved(agent: FakeAgent) -> list[tuple[str, Any, bool]]:
    return [(Path(one["prefix"]).name, one["step"], one["observed"]) for one in agent.facts("saved")]


def harm(agent: FakeAgent) -> Facts:
    return agent.facts("hook_failed") + agent.facts("steering_lost")


def on(versions: str, broad: str = "") -> pytest.MarkDecorator:
    """These versions of TensorFlow, and those of `make test-full` alone."""
    values: list[Any] = [*versions.split(), *(pytest.param(each, marks=pytest.mark.breadth) for each in broad.split())]
    return pytest.mark.parametrize("each_tensorflow", values, indirect=True)


# -------------------------------------------------------------------------------------------- what is steered


ONE_WORKER = [
    *(
        (way, version)
        for way in ("gang", "mirrored", "one_device", "no_strategy")
        for version in ("2.4", "2.15", "2.21")
    ),
    *(("in_the_background", version) for version in ("2.15", "2.21")),
]
CORE = {("gang", "2.4"), ("mirrored", "2.15"), ("in_the_background", "2.21")}


@pytest.mark.parametrize(
    ("way", "each_tensorflow"),
    [pytest.param(*each, marks=[] if each in CORE else pytest.mark.breadth) for each in ONE_WORKER],
    indirect=["each_tensorflow"],
)
def test_a_loop_with_a_manager_is_steered_under_any_strategy_of_one_worker(
    each_tensorflow: TensorFlow, tmp_path: Path, agents: Agents, way: str
) -> None:
    # given a first life, and a directory whose newest checkpoint is not the plan's
    directory = tmp_path / "ck"
    directory.mkdir()
    first = let_begin(agents("first"))
    run(each_tensorflow, way, directory, first)
    series = {**first.facts("saved")[0]["series"], "directories": [str(directory)]}
    del series["directory"]

    # when
    second = steer(agents("second", attempt=2), plan_of(tmp_path, [series], str(directory / "ckpt-2")))
    outcome = run(each_tensorflow, way, directory, second)

    # then the step of each save is that of what was saved, and the second life goes on from the plan's
    assert saved(first) == [(f"ckpt-{number}", number, False) for number in range(1, STEPS + 1)]
    assert (outcome["at_start"], outcome["restored"], outcome["weight"]) == (2, str(directory / "ckpt-2"), 5.0625)
    receipts = second.facts("receipt")
    assert [(one["wrong_value"], one["left_at_initial"], one["error"]) for one in receipts] == [([], [], "")]
    # (a manager that saves in the background does not save its counter, and begins again with ckpt-1)
    names = ["ckpt-1", "ckpt-2"] if way == "in_the_background" else ["ckpt-3", "ckpt-4"]
    assert saved(second) == [(names[0], 3, False), (names[1], 4, False)]
    keys = {key.partition("/.ATTRIBUTES")[0] for key in first.facts("saved")[0]["kinds"]}
    assert keys == (set() if way == "no_strategy" else {"net/weight", "step", "save_counter"})
    assert harm(first) == []
    assert harm(second) == []
    assert second.facts("noticed") == []


@pytest.mark.breadth
@on("2.4 2.15 2.21")
def test_what_write_writes_read_is_steered_to(each_tensorflow: TensorFlow, tmp_path: Path, agents: Agents) -> None:
    # given the one file that the script writes again and again
    directory = tmp_path / "ck"
    directory.mkdir()
    first = let_begin(agents("first"))
    run(each_tensorflow, "write_and_read", directory, first)
    series = {**first.facts("saved")[0]["series"], "directories": [str(directory)]}

    # when
    second = steer(agents("second", attempt=2), plan_of(tmp_path, [series], str(directory / "model")))
    outcome = run(each_tensorflow, "write_and_read", directory, second)

    assert saved(first) == [("model", number, False) for number in range(1, STEPS + 1)]
    assert (outcome["at_start"], outcome["step"]) == (STEPS, 2 * STEPS)
    assert [one["wrong_value"] for one in second.facts("receipt")] == [[]]
    assert harm(second) == []


@pytest.mark.parametrize("state", ["", pytest.param("no text at all \xff\xfe", marks=pytest.mark.breadth)])
@on("2.21", "2.4 2.15")
def test_an_empty_state_file_is_no_crash_loop_and_hides_nothing(
    each_tensorflow: TensorFlow, tmp_path: Path, agents: Agents, state: str
) -> None:
    # given a state file that TensorFlow ends with a ValueError for
    directory = tmp_path / "ck"
    directory.mkdir()
    first = let_begin(agents("first"))
    run(each_tensorflow, "gang", directory, first)
    series = {**first.facts("saved")[0]["series"], "directories": [str(directory)]}
    (directory / "checkpoint").write_bytes(state.encode("latin-1"))

    # when
    second = steer(agents("second", attempt=2), plan_of(tmp_path, [series], str(directory / "ckpt-3")))
    outcome = run(each_tensorflow, "gang", directory, second)

    # then
    assert (outcome["at_start"], outcome["step"]) == (3, STEPS)
    told = [(one["kind"], one["path"], one["detail"].split(":")[0]) for one in second.facts("noticed")]
    error = "UnicodeDecodeError" if state else "ValueError"
    assert told == [("state_file", str(directory), error)]
    assert harm(second) == []


@pytest.mark.breadth
@on("2.4 2.15 2.21")
def test_an_empty_state_file_raises_as_ever_where_nobody_is_steered(
    each_tensorflow: TensorFlow, tmp_path: Path, agents: Agents
) -> None:
    (tmp_path / "ck").mkdir()
    (tmp_path / "ck" / "checkpoint").touch()

    with pytest.raises(AssertionError, match="Invalid checkpoint state"):
        run(each_tensorflow, "gang", tmp_path / "ck", agents(), settings={"steering": False})


@on("2.15", "2.4 2.21")
def test_weights_of_somebody_else_are_left_alone_before_the_first_manager_is_made(
    each_tensorflow: TensorFlow, tmp_path: Path, agents: Agents
) -> None:
    # given weights that somebody else has trained, with newer ones beside them
    directory = tmp_path / "job"
    (directory / "own").mkdir(parents=True)
    pretrained = let_begin(agents("somebody"))
    run(each_tensorflow, "gang", directory / "pretrained", pretrained)
    for number, kept in ((1, 2), (2, 3)):
        for part in (directory / "pretrained").glob(f"ckpt-{kept}.*"):
            shutil.copy(part, part.with_name(part.name.replace(f"ckpt-{kept}", f"model-{number}")))
    # and a job that nothing is known of yet
    agent = let_begin(agents("own"))

    # when
    outcome = run(each_tensorflow, "fine_tuning", directory, agent)

    # then the script got what it named, and only its own directory was asked about
    assert (outcome["before"], outcome["at_start"], outcome["weight"]) == (2.25, 0, 2.25 * 5.0625)
    assert [one["directory"] for one in agent.facts("asked")] == [str(directory / "own")]
    assert [one["prefix"] for one in agent.facts("left_alone")] == [str(directory / "pretrained" / "model-1")]
    # and the Checkpoint that was made for that restore alone, and is gone, hides no step
    assert [one["step"] for one in agent.facts("first_step")] == [1]
    assert harm(agent) == []


@on("2.21", "2.4 2.15")
def test_the_newest_of_a_pretrained_model_is_restored_once_and_is_not_what_the_own_manager_has_saved(
    each_tensorflow: TensorFlow, tmp_path: Path, agents: Agents
) -> None:
    # given a job whose first question is for the newest of somebody else's job, which is therefore planned
    directory = tmp_path / "job"
    (directory / "own").mkdir(parents=True)
    pretrained = directory / "pretrained"
    run(each_tensorflow, "gang", pretrained, let_begin(agents("somebody")))
    unsigned = {"signature": "", "ordinal": 0, "directories": [str(pretrained)]}
    agent = steer(agents("own"), plan_of(tmp_path, [unsigned], str(pretrained / f"ckpt-{STEPS}")))

    # when
    outcome = run(each_tensorflow, "fine_tuning_from_the_newest", directory, agent)

    # then the weights are those, and neither the step nor the number of saves is
    assert (outcome["at_start"], outcome["restored"], outcome["step"]) == (0, None, STEPS)
    assert outcome["weight"] == outcome["before"] ** 2
    assert saved(agent) == [(f"ckpt-{number}", number, False) for number in range(1, STEPS + 1)]
    assert [receipt["is_settled"] for receipt in agent.facts("receipt")] == [False, True]
    assert harm(agent) == []


# ---------------------------------------------------------------------------------------------- what is observed


@on("2.21", "2.4 2.15")
def test_a_saved_model_is_told_as_a_whole_and_is_neither_a_save_nor_a_restore(
    each_tensorflow: TensorFlow, tmp_path: Path, agents: Agents
) -> None:
    agent = let_begin(agents())

    outcome = run(each_tensorflow, "with_exports", tmp_path / "ck", agent)

    exports = agent.facts("exported")
    told = [
        (one["kind"], Path(one["path"]).relative_to(tmp_path).as_posix(), one["step"], one["error"]) for one in exports
    ]
    assert told == [("saved_model", "ck/export/2", 2, ""), ("saved_model", "ck/export/4", 4, "")]
    graph = tmp_path / "ck" / "export" / "4" / "saved_model.pb"
    assert exports[1]["identity"] == [graph.stat().st_size, graph.stat().st_mtime_ns]
    assert saved(agent) == [(f"ckpt-{number}", number, False) for number in range(1, STEPS + 1)]
    assert outcome["loaded"] == outcome["weight"]
    assert harm(agent) == []


def test_a_process_beside_the_training_is_told_to_read_and_is_not_steered(
    tf_python: str, tmp_path: Path, agents: Agents
) -> None:
    tensorflow = TensorFlow("2.21", tf_python)
    agent = let_begin(agents())

    outcome = run(tensorflow, "with_a_reader", tmp_path / "ck", agent)

    newest = str(tmp_path / "ck" / f"ckpt-{STEPS}")
    assert [(one["kind"], one["path"]) for one in agent.facts("noticed")] == [("read", newest)]
    assert outcome["read"] == outcome["weight"]
    assert len(agent.facts("asked")) == 1
    assert harm(agent) == []


@pytest.mark.breadth
def test_an_evaluators_process_is_never_steered(tf_python: str, tmp_path: Path, agents: Agents) -> None:
    # given a gang's checkpoints, and a plan for one of them
    tensorflow = TensorFlow("2.21", tf_python)
    first = let_begin(agents("first"))
    run(tensorflow, "no_strategy", tmp_path / "ck", first)
    series = {**first.facts("saved")[0]["series"], "directories": [str(tmp_path / "ck")]}
    second = steer(agents("second", attempt=2), plan_of(tmp_path, [series], str(tmp_path / "ck" / "ckpt-2")))

    # when a process whose TF_CONFIG says evaluator restores the newest one
    outcome = run(tensorflow, "no_strategy", tmp_path / "ck", second, task_type="evaluator")

    assert outcome["at_start"] == STEPS
    newest = str(tmp_path / "ck" / f"ckpt-{STEPS}")
    assert [(fact["type"], fact.get("path")) for fact in second.facts()] == [("noticed", newest)]


@pytest.mark.breadth
@on("2.15 2.21")
def test_files_of_keras_own_are_told_when_they_are_saved_and_when_they_are_loaded(
    each_tensorflow: TensorFlow, tmp_path: Path, agents: Agents
) -> None:
    agent = let_begin(agents())
    (tmp_path / "ck").mkdir()

    run(each_tensorflow, "keras_files", tmp_path / "ck", agent)

    weights, archive = tmp_path / "ck" / "w.weights.h5", tmp_path / "ck" / "m.keras"
    assert [(one["kind"], one["path"]) for one in agent.facts("exported")] == [
        ("hdf5", str(weights)),
        ("keras", str(archive)),
    ]
    assert [one["prefix"] for one in agent.facts("left_alone")] == [str(weights)]
    assert harm(agent) == []


@pytest.mark.parametrize(
    ("way", "each_tensorflow"),
    [
        ("sessions", "2.4"),
        *(pytest.param("sessions", version, marks=pytest.mark.breadth) for version in ("2.15", "2.21")),
        pytest.param("estimator", "2.4", marks=pytest.mark.breadth),
    ],
    indirect=["each_tensorflow"],
)
def test_what_a_saver_of_tensorflow_1_saves_is_seen_and_says_that_it_is_not_steered(
    each_tensorflow: TensorFlow, tmp_path: Path, agents: Agents, way: str
) -> None:
    # given nothing that the controller could plan
    directory = tmp_path / "ck"
    first, second = let_begin(agents("first")), let_begin(agents("second", attempt=2))

    # when the script trains, and is started again
    options = {"task_type": "chief"} if way == "estimator" else {}
    run(each_tensorflow, way, directory, first, **options)
    again = run(each_tensorflow, way, directory, second, **options)

    # then
    steps = [step for name, step, observed in saved(first) if observed and name == f"model.ckpt-{step}"]
    assert steps == ([1, 2, 3, 4] if way == "sessions" else steps)
    assert steps[-1] == STEPS
    assert len({one["series"]["signature"] for one in first.facts("saved")}) == 1
    lost = [(one["hook"], "tf.compat.v1.train.Saver" in one["error"]) for one in first.facts("steering_lost")]
    assert lost == [("", True)]
    assert again["restored"] == str(directory / f"model.ckpt-{STEPS}")
    # and the newest two are held, as of any save that nobody judges
    held = [[int(name.rpartition(".")[2]) for name in one["held"]] for one in first.facts("saved")]
    assert held == [[1], *([number - 1, number] for number in range(2, len(held) + 1))]
    assert first.facts("hook_failed") == second.facts("hook_failed") == []


# ------------------------------------------------------------------------------------------------- Keras' fit


@pytest.mark.breadth
@on("2.4 2.15")
def test_weights_with_the_epoch_in_their_name_are_steered_to_the_plans_epoch(
    each_tensorflow: TensorFlow, tmp_path: Path, agents: Agents
) -> None:
    directory = tmp_path / "ck"
    directory.mkdir()
    first = let_begin(agents("first"))
    whole = run(each_tensorflow, "keras_weights", directory, first)
    series = {**first.facts("saved")[0]["series"], "directories": [str(directory)]}

    second = steer(agents("second", attempt=2), plan_of(tmp_path, [series], str(directory / "cp-0002.ckpt")))
    outcome = run(each_tensorflow, "keras_weights", directory, second)

    assert (outcome["at_start"], outcome["weight"]) == (2, whole["weight"])
    assert [one["wrong_value"] for one in second.facts("receipt")[-1:]] == [[]]
    assert harm(second) == []


@on("2.15", "2.4")
def test_backup_and_restore_goes_on_from_the_plans_checkpoint(
    each_tensorflow: TensorFlow, tmp_path: Path, agents: Agents
) -> None:
    # given fit with BackupAndRestore that was ended after two epochs, and one that was not
    undisturbed = run(each_tensorflow, "backup_and_restore", tmp_path / "undisturbed", let_begin(agents("undisturbed")))
    directory = tmp_path / "ck"
    directory.mkdir()
    (directory / "stop").touch()
    first = let_begin(agents("first"))
    run(each_tensorflow, "backup_and_restore", directory, first)
    (directory / "stop").unlink()
    newest = first.facts("saved")[-1]
    series = {**newest["series"], "directories": [newest["series"]["directory"]]}
    # and whose state file is gone
    (directory / "backup" / "chief" / "checkpoint").unlink()

    # when
    second = steer(agents("second", attempt=2), plan_of(tmp_path, [series], newest["prefix"]))
    outcome = run(each_tensorflow, "backup_and_restore", directory, second)

    # then it trains the epochs that were left, and ends as the other
    assert outcome == {"epochs": [2, 3], "weight": undisturbed["weight"]}
    assert newest["step"] == 4
    assert [one["wrong_value"] for one in second.facts("receipt")[-1:]] == [[]]
    assert harm(second) == []


# ------------------------------------------------------------------------------------------------------ refused


@pytest.mark.parametrize("way", ["parameter_server", pytest.param("tpu", marks=pytest.mark.breadth)])
@on("2.21", "2.4 2.15")
def test_a_strategy_that_is_not_steered_is_named_before_it_waits_for_anybody(
    each_tensorflow: TensorFlow, tmp_path: Path, agents: Agents, way: str
) -> None:
    # given a script that waits for its parameter servers, or finds no TPU
    agent = agents()
    told = agent.answer
    trainer = start(
        each_tensorflow.python, agent.home, "ways.py", way, str(tmp_path), str(tmp_path / "o"),
        addresses=[free_address()], agent=agent,
    )  # fmt: skip

    def end(fact: dict[str, Any]) -> None:
        told(fact)
        if fact["type"] == "noticed":
            trainer.kill()

    agent.answer = end
    trainer.communicate(timeout=180)

    name = {"parameter_server": "ParameterServerStrategy", "tpu": "TPUStrategy"}[way]
    assert [(one["kind"], one["path"]) for one in agent.facts("noticed")] == [("unsupported", name)]


def test_fit_of_keras_3_in_a_gang_is_told_before_it_raises(tf_python: str, tmp_path: Path, agents: Agents) -> None:
    # given two workers
    addresses = [free_address(), free_address()]
    gang = [agents(f"worker-{rank}") for rank in (0, 1)]
    trainers: list[subprocess.Popen[str]] = []
    for rank, agent in enumerate(gang):
        arguments = ("fit", str(tmp_path), str(tmp_path / f"{rank}.json"))
        trainers.append(
            start(tf_python, agent.home, "ways.py", *arguments, rank=rank, addresses=addresses, agent=let_begin(agent))
        )

    # when both come to fit, and their run is ended
    def end_when_told(fact: dict[str, Any]) -> None:
        if fact["type"] == "asked":
            for agent in gang:
                agent.say(plan=FRESH)
        if fact["type"] == "noticed":
            for trainer in trainers:
                trainer.kill()

    for agent in gang:
        agent.answer = end_when_told
    output = [trainer.communicate(timeout=180)[0] for trainer in trainers]

    # then
    told = {(one["kind"], one["path"]) for agent in gang for one in agent.facts("noticed")}
    assert told == {("unsupported", "Keras3Fit")}, output
    assert any("use tf-keras with TF_USE_LEGACY_KERAS=1" in text for text in output)
    assert not any("ValueError" in text for text in output)
