"""What befalls lastgood's own processes: training goes on, and nothing that it saved meanwhile is missing later."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from operating import Document, Finished, Lastgood, Launch, Start, kill, kill_what_is_left, start_ticks, wait_until_gone
from training import Plain, Training, assert_trained_truly

#: Seconds for one test on a machine that does other things, too. One run serves all of them.
pytestmark = pytest.mark.timeout(400)

WORKERS = ("worker/0", "worker/1")
STEPS, SAVE_EVERY = 95, 5
#: The last save of the first attempt, and the step at which its launcher is killed.
LAST_SAVED, KILLED_AT = 80, 82

#: Each worker's trainer: its pid, and what tells it from another process of that pid.
Trainers = dict[str, tuple[int, str]]


def trainers(run: Launch) -> Trainers:
    """Those that run now."""
    pids = {worker: one["trainer"]["pid"] for worker, one in run.job()["workers"].items()}
    return {worker: (pid, start_ticks(pid)) for worker, pid in pids.items()}


@dataclass(frozen=True)
class Hurt:
    """A run whose controller, agents and launcher were hurt one after the other, each while training was held.

    trainers: those that ran at first, and after each of these faults. reached: the step that the chief had made while
    its agent stood still.
    """

    training: Training
    done: Finished
    job: Document
    trainers: dict[str, Trainers]
    reached: int


@pytest.fixture(scope="module")
def hurt(lastgood: Lastgood, tf_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hurt]:
    directory = tmp_path_factory.mktemp("hurt")
    training = Training(tf_python, directory)
    command = training.command(steps=STEPS, save_every=SAVE_EVERY, hold_at=f"20,40,60,{KILLED_AT}")
    run = Launch(lastgood, directory, command)
    try:
        yield hurt_one_after_the_other(run, training)
        assert wait_until_gone(directory, within_s=2.0) == []
    finally:
        run.close()
        kill_what_is_left(directory)


def hurt_one_after_the_other(run: Launch, training: Training) -> Hurt:
    """Does it, and follows the run to its end."""
    seen: dict[str, Any] = {}
    run.wait_for_good(20)
    seen["at first"] = trainers(run)

    kill(run.controller_pid())
    training.go_on(20)
    run.wait_for_good(40)
    seen["controller killed"] = trainers(run)

    kill(run.agent_pid("worker/1"))
    training.go_on(40)
    run.wait_for_good(60)
    seen["agent killed"] = trainers(run)

    agent = run.agent_pid("worker/0")
    kill(agent, signal.SIGSTOP)
    training.go_on(60)
    run.wait_for("SaveReported", f"worker/1 saved ckpt-{LAST_SAVED // SAVE_EVERY} ")
    reached = training.lives(0)[0].executed[-1]
    kill(agent, signal.SIGCONT)
    run.wait_for_good(LAST_SAVED)
    seen["agent stopped"] = trainers(run)

    kill(run.launcher_pid("worker/1"))
    run.wait_for("GateOpened", count=2)
    seen["launcher killed"] = trainers(run)
    training.go_on(KILLED_AT)
    done = run.finish()
    return Hurt(training, done, run.job(), seen, reached)


def test_controller_and_agents_may_die_or_stand_still_while_training_goes_on(hurt: Hurt) -> None:
    for fault in ("controller killed", "agent killed", "agent stopped"):
        assert hurt.trainers[fault] == hurt.trainers["at first"], fault
    assert hurt.reached >= LAST_SAVED, "expected training to go on while an agent stood still"


def test_no_save_is_missing_that_was_made_while_controller_or_agents_were_away(hurt: Hurt) -> None:
    saves = [c for c in hurt.job["checkpoints"] if c["attempt"] == 1]
    found = [(c["ordinal"], c["step"], sorted(c["reports"]), c["verdict"], c["witnesses"]) for c in saves]
    count = LAST_SAVED // SAVE_EVERY
    assert found == [(n, n * SAVE_EVERY, sorted(WORKERS), "Good", 2) for n in range(1, count + 1)]


def test_a_journal_that_cannot_be_written_is_told_once_and_training_goes_on_meanwhile(
    launch: Start, training: Training, plain: Plain
) -> None:
    # given: from some moment on, no byte can be written for the controller, as on a full disk
    steps, save_every = 40, 5
    run = launch(training.command(steps=steps, save_every=save_every, pace=0.02, hold_at="10,25"))
    run.wait_for_good(10)
    controller = run.controller_pid()
    limits = resource.prlimit(controller, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))

    # when
    training.go_on(10)
    run.wait_for_words("nothing can be recorded: ")
    asked = run.job()
    resource.prlimit(controller, resource.RLIMIT_FSIZE, limits)
    run.wait_for_words("the journal can be written again")
    run.wait_for_good(25)
    training.go_on(25)
    done = run.finish()

    # then
    journal = run.state_dir / "controller.db"
    cause = (
        f"could not write the journal at {journal}: disk I/O error; see whether that disk is full, over quota or broken"
    )
    assert done.status == 0, done.output
    assert asked["trouble"] == cause
    assert done.output.count(f"nothing can be recorded: {cause}. Training goes on") == 1
    job = run.job()
    assert (len(job["attempts"]), job["restarts"], job["incidents"], job["trouble"]) == (1, 0, [], None)
    reported = [(c["ordinal"], sorted(c["reports"])) for c in job["checkpoints"]]
    assert reported == [(n, sorted(WORKERS)) for n in range(1, steps // save_every + 1)]
    assert_trained_truly(training, plain(2), steps=steps)


def test_a_killed_launcher_takes_its_trainer_along_and_the_gang_goes_on(hurt: Hurt, plain: Plain) -> None:
    assert hurt.done.status == 0, hurt.done.output
    before, after = hurt.trainers["agent stopped"], hurt.trainers["launcher killed"]
    assert [before[worker] == after[worker] for worker in WORKERS] == [False, False]
    job = hurt.job
    assert (len(job["attempts"]), len(job["incidents"]), job["restarts"]) == (2, 1, 1)
    incident = job["incidents"][0]
    assert (incident["worker"], incident["reason"]) in [("worker/1", "LauncherLost"), ("worker/1", "WorkerKilled")]
    assert None not in incident["spans"].values()
    assert incident["plan_step"] == job["attempts"][1]["plan"]["step"] == LAST_SAVED
    assert_trained_truly(hurt.training, plain(2), steps=STEPS)
