"""Exit codes and signals mean the same everywhere: preemption, a broken script, a late start, with real TensorFlow."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from operating import STOP_LIMIT_S, Start, wait_until_gone
from training import SCRIPTS, Training

from tests.conftest import TensorFlow

#: Seconds for one test on a machine that does other things, too.
pytestmark = pytest.mark.timeout(400)

#: So that PreemptionCheckpointHandler asks nobody outside whether this is a machine of some cloud.
NO_CLOUD = {"GCE_METADATA_IP": "127.0.0.1:9"}

#: What 40 steps come to: each adds twice its number, since there are two replicas.
RESULT = float(sum(2 * number for number in range(1, 41)))


def leaving(training: Training, *options: str) -> list[str]:
    """The command of scripts/leaving.py."""
    paths = ["--checkpoints", str(training.checkpoints), "--logs", str(training.logs)]
    return [training.python, str(SCRIPTS / "leaving.py"), *paths, *options]


def with_version(each_tensorflow: TensorFlow, tmp_path: Path) -> Training:
    return Training(each_tensorflow.python, tmp_path)


def lives(training: Training, task_id: int) -> list[tuple[int, list[int]]]:
    """Of each life: the step that it restored, and those that it trained."""
    found: list[tuple[int, list[int]]] = []
    for line in training.log(task_id):
        if line["event"] == "start":
            found.append((line["step"], []))
        elif line["event"] == "step":
            found[-1][1].append(line["step"])
    return found


def result(training: Training) -> set[float]:
    """The weight after the last step, on each worker."""
    return {[line for line in training.log(task_id) if line["event"] == "step"][-1]["weight"] for task_id in (0, 1)}


def failures(job: dict[str, Any]) -> list[tuple[str | None, str]]:
    return [(incident["worker"], incident["reason"]) for incident in job["incidents"]]


# ---------------------------------------------------------------------------------------------------------- preemption


def test_a_preempted_worker_of_a_script_that_saves_and_leaves_costs_no_step_and_no_restart(
    launch: Start, training: Training
) -> None:
    command = leaving(training, "--handler", "--pace", "0.2")
    run = launch(command, environment=NO_CLOUD, options=["--max-restarts", "0"])
    run.wait_for("SigtermHandled", "worker/1 handles SIGTERM itself (PreemptionCheckpointHandler")

    os.kill(run.launcher_pid("worker/1"), signal.SIGTERM)
    done = run.finish()

    job = run.job()
    assert done.status == 0, run.account()
    assert failures(job) == [("worker/1", "Preempted")]
    assert [(i["lost_steps"], i["attempt"]) for i in job["incidents"]] == [(0, 1)]
    first, second = lives(training, 0)
    assert (second[0], second[1]) == (first[1][-1], list(range(first[1][-1] + 1, 41)))
    assert result(training) == {RESULT}


@pytest.mark.parametrize("each_tensorflow", ["2.15", "2.21"], indirect=True)
@pytest.mark.breadth
def test_sigterm_to_launch_lets_the_gang_save_and_leave_and_the_same_command_goes_on(
    launch: Start, each_tensorflow: TensorFlow, tmp_path: Path
) -> None:
    training = with_version(each_tensorflow, tmp_path)
    command = leaving(training, "--handler", "--pace", "0.2")
    run = launch(command, environment=NO_CLOUD)
    run.wait_for("SigtermHandled", count=2)

    run.signal(signal.SIGTERM)
    first = run.finish()
    again = launch(command, environment=NO_CLOUD, again=True)
    second = again.finish()

    job = again.job()
    assert (first.status, second.status) == (128 + signal.SIGTERM, 0), again.account()
    assert [attempt["failure"] and attempt["failure"]["reason"] for attempt in job["attempts"]] == ["Interrupted", None]
    before, after = lives(training, 0)
    assert (after[0], after[1][0]) == (before[1][-1], before[1][-1] + 1)
    assert result(training) == {RESULT}


@pytest.mark.parametrize("each_tensorflow", ["2.15", "2.21"], indirect=True)
@pytest.mark.breadth
def test_where_tensorflow_swallows_sigterm_the_script_s_own_next_save_is_waited_for(
    launch: Start, each_tensorflow: TensorFlow, tmp_path: Path
) -> None:
    training = with_version(each_tensorflow, tmp_path)
    run = launch(leaving(training, "--save-every", "10", "--pace", "0.4"))
    run.wait_for_good(10)
    launcher = run.launcher_pid("worker/1")
    run.wait_for_good(20)

    os.kill(launcher, signal.SIGTERM)
    left = run.wait_for("WorkerLeaving", "worker/1")
    done = run.finish()

    job = run.job()
    assert done.status == 0, run.account()
    assert failures(job) == [("worker/1", "Preempted")]
    (incident,) = job["incidents"]
    saves = [c for c in job["checkpoints"] if c["attempt"] == 1 and c["first_report_s"] >= left["at_s"]]
    assert [(c["step"], c["verdict"]) for c in saves] == [(30, "Good")]
    assert job["attempts"][1]["plan"]["step"] == 30
    assert incident["lost_steps"] <= 5
    assert result(training) == {RESULT}


@pytest.mark.parametrize("each_tensorflow", ["2.4"], indirect=True)
@pytest.mark.breadth
def test_where_sigterm_ends_the_trainer_the_gang_goes_on_from_its_last_save(
    launch: Start, each_tensorflow: TensorFlow, tmp_path: Path
) -> None:
    training = with_version(each_tensorflow, tmp_path)
    run = launch(leaving(training, "--save-every", "10", "--pace", "0.2"), options=["--max-restarts", "0"])
    run.wait_for_good(10)
    launcher = run.launcher_pid("worker/1")
    run.wait_for_good(20)

    os.kill(launcher, signal.SIGTERM)
    done = run.finish()

    job = run.job()
    assert done.status == 0, run.account()
    assert failures(job) == [("worker/1", "Preempted")]
    assert result(training) == {RESULT}


# ------------------------------------------------------------------------------------------------------- broken scripts


def test_a_script_that_raises_the_same_again_ends_the_run_with_its_traceback(launch: Start, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("def build():\n    raise ValueError('expected 3 layers, found 2')\nbuild()\n")

    run = launch((sys.executable, script), options=["--max-restarts", "100"])
    done = run.finish()

    assert done.status == 1, done.output
    assert [entry["attempt"] for entry in run.journal.of_kind("AttemptOpened")] == [1, 2]
    end = run.job()["end"]
    assert end["reason"] == "ScriptFails"
    assert f"ValueError at {script}:2 in build, before its first step in attempts 1 and 2" in end["detail"]
    assert "  ValueError: expected 3 layers, found 2" in end["detail"].splitlines()
    assert wait_until_gone(tmp_path, 1.0) == []


@pytest.mark.breadth
def test_a_script_that_raises_at_a_step_again_is_given_up_although_it_trains_in_between(
    launch: Start, training: Training
) -> None:
    command = leaving(training, "--save-every", "5", "--always-raise-at", "13", "--pace", "0.1")

    run = launch(command, options=["--max-restarts", "100"])
    done = run.finish()

    end = run.job()["end"]
    assert (done.status, end["reason"]) == (1, "ScriptFails"), run.account()
    assert "ValueError" in end["detail"]
    assert "at step 12 in attempts 1 and 2" in end["detail"]


@pytest.mark.parametrize("each_tensorflow", ["2.4", "2.15", "2.21"], indirect=True)
@pytest.mark.breadth
def test_the_worker_that_raised_is_named_and_not_the_peer_that_lost_it(
    launch: Start, each_tensorflow: TensorFlow, tmp_path: Path
) -> None:
    training = with_version(each_tensorflow, tmp_path)

    run = launch(leaving(training, "--once", "raise"))
    done = run.finish()

    job = run.job()
    assert done.status == 0, run.account()
    assert failures(job) == [("worker/1", "WorkerExited")], run.account()
    assert "ValueError: worker 1 is broken" in job["incidents"][0]["detail"]
    assert result(training) == {RESULT}


# --------------------------------------------------------------------------------------------------------------- starts


@pytest.mark.parametrize(
    "each_tensorflow",
    [pytest.param("2.4", marks=pytest.mark.breadth), pytest.param("2.15", marks=pytest.mark.breadth), "2.21"],
    indirect=True,
)
def test_a_worker_that_dies_before_it_makes_its_strategy_does_not_leave_its_peer_waiting_for_ever(
    launch: Start, each_tensorflow: TensorFlow, tmp_path: Path
) -> None:
    training = with_version(each_tensorflow, tmp_path)

    run = launch(leaving(training, "--once", "die-before-strategy", "--pace", "0"))
    done = run.finish()

    job = run.job()
    assert done.status == 0, run.account()
    assert failures(job) == [("worker/1", "WorkerExited")]
    assert job["incidents"][0]["spans"]["stopped_s"] < STOP_LIMIT_S
    assert [len(attempt["trainers"]) for attempt in job["attempts"]] == [2, 2]
    assert result(training) == {RESULT}


@pytest.mark.breadth
def test_a_worker_that_never_makes_its_strategy_is_named_with_where_it_stands_and_the_gang_is_started_anew(
    launch: Start, training: Training
) -> None:
    run = launch(leaving(training, "--once", "sleep-before-strategy", "--pace", "0"), options=["--start-timeout", "15"])
    done = run.finish()

    job = run.job()
    assert done.status == 0, run.account()
    assert failures(job) == [(None, "StartTimeout")]
    assert "worker/0 (no strategy yet), worker/1 (no strategy yet)" in job["incidents"][0]["detail"]
    assert result(training) == {RESULT}
