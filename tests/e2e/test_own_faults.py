"""What befalls lastgood's own processes: training goes on, and nothing that it saved meanwhile is missing later."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from operating import Document, Launch, Start, kill, start_ticks
from training import Reference, Training, assert_trained_truly

#: Seconds for one test on a machine that does other things, too.
pytestmark = pytest.mark.timeout(400)

WORKERS = ("worker/0", "worker/1")


def trainers(run: Launch) -> dict[str, tuple[int, str]]:
    """Each worker's trainer: its pid, and what tells it from another process of that pid."""
    pids = {worker: run.trainer_pid(worker) for worker in WORKERS}
    return {worker: (pid, start_ticks(pid)) for worker, pid in pids.items()}


def assert_no_save_is_missing(job: Document, attempt: int, count: int, save_every: int) -> None:
    """Both workers reported each save of the attempt, and every one of them became Good."""
    saves = [c for c in job["checkpoints"] if c["attempt"] == attempt]
    seen = [(c["ordinal"], c["step"], sorted(c["reports"]), c["verdict"], c["witnesses"]) for c in saves]
    assert seen == [(n, n * save_every, sorted(WORKERS), "Good", 2) for n in range(1, count + 1)]


@pytest.fixture
def stopped() -> Iterator[list[int]]:
    """Processes that were stopped, and may go on in the end."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        kill(pid, signal.SIGCONT)


def test_controller_and_agents_may_die_or_stand_still_while_training_goes_on(
    launch: Start, training: Training, reference: Reference, stopped: list[int]
) -> None:
    steps, save_every = 80, 5
    run = launch(training.command(steps=steps, save_every=save_every, pace=0.02, hold_at="20,40,60"))
    run.wait_for_good(20)
    before = trainers(run)

    kill(run.controller_pid())
    training.go_on(20)
    run.wait_for_good(40)
    without_controller = trainers(run)
    kill(run.agent_pid("worker/1"))
    training.go_on(40)
    run.wait_for_good(60)
    without_agent = trainers(run)
    stopped.append(run.agent_pid("worker/0"))
    kill(stopped[0], signal.SIGSTOP)
    training.go_on(60)
    run.wait_for("SaveReported", f"worker/1 saved ckpt-{steps // save_every} ")
    reached = training.lives(0)[0].executed[-1]
    kill(stopped[0], signal.SIGCONT)
    done = run.finish()

    assert done.status == 0, done.output
    assert before == without_controller == without_agent
    assert reached == steps, "expected training to reach its end while an agent stood still"
    job = run.job()
    assert (len(job["attempts"]), job["restarts"], job["incidents"]) == (1, 0, [])
    assert_no_save_is_missing(job, 1, steps // save_every, save_every)
    assert_trained_truly(training, reference(2), steps=steps)


def test_a_killed_launcher_takes_its_trainer_along_and_the_gang_goes_on(
    launch: Start, training: Training, reference: Reference
) -> None:
    steps = 50
    run = launch(training.command(steps=steps, save_every=5, pace=0.02, hold_at="20,40"))
    run.wait_for_good(10)
    before = trainers(run)

    kill(run.launcher_pid("worker/1"))
    training.go_on(20)
    run.wait_for_good(40, attempt=2)
    after = trainers(run)
    training.go_on(40)
    done = run.finish()

    assert done.status == 0, done.output
    assert [before[worker] == after[worker] for worker in WORKERS] == [False, False]
    job = run.job()
    incident = job["incidents"][0]
    assert (len(job["attempts"]), len(job["incidents"]), job["restarts"]) == (2, 1, 1)
    assert (incident["worker"], incident["reason"]) in [("worker/1", "LauncherLost"), ("worker/1", "WorkerKilled")]
    assert None not in incident["spans"].values()
    assert incident["plan_step"] == job["attempts"][1]["plan"]["step"] >= 10
    assert_trained_truly(training, reference(2), steps=steps)
