"""However `lastgood launch` ends, nothing of it stays; and the same command goes on where training was."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest
from operating import STOP_LIMIT_S, Start, wait_until, wait_until_gone
from training import SCRIPTS, Plain, Training, assert_trained_truly

#: Seconds for one test on a machine that does other things, too.
pytestmark = pytest.mark.timeout(400)

STEPS = 50


@pytest.mark.parametrize(
    "numbers",
    [
        pytest.param((signal.SIGTERM, signal.SIGKILL), id="SIGTERM, SIGKILL"),
        pytest.param((signal.SIGINT, signal.SIGHUP), id="SIGINT, SIGHUP", marks=pytest.mark.breadth),
    ],
)
def test_an_ended_launch_leaves_nothing_and_the_same_command_goes_on_from_the_last_good_checkpoint(
    launch: Start, training: Training, plain: Plain, tmp_path: Path, numbers: tuple[signal.Signals, ...]
) -> None:
    """TensorFlow swallows SIGTERM, so the trainers have to be made to end."""
    command = training.command(steps=STEPS, save_every=5, pace=0.03, hold_at="20,40")

    statuses, left = [], []
    for attempt, number in enumerate(numbers, start=1):
        run = launch(command, again=attempt > 1)
        run.wait_for_good(20 * attempt - 10, attempt)
        run.signal(number)
        statuses.append(run.finish(STOP_LIMIT_S).status)
        left.append(wait_until_gone(tmp_path, STOP_LIMIT_S if number == signal.SIGKILL else 0))
        training.go_on(20 * attempt)
    last = launch(command, again=True)
    finished = last.finish()

    expected = [-number if number == signal.SIGKILL else 128 + number for number in numbers]
    assert (statuses, finished.status) == (expected, 0), finished.output
    assert left == [[], []]
    job = last.job()
    plans = [(attempt["number"], attempt["plan"]["kind"]) for attempt in job["attempts"]]
    assert plans == [(1, "fresh"), (2, "restore"), (3, "restore")]
    for number, attempt in zip(numbers, job["attempts"], strict=False):
        assert number == signal.SIGKILL or attempt["failure"]["reason"] == "Interrupted"
    assert job["end"]["reason"] == "Finished"
    starts = [[life.start for life in training.lives(task_id)] for task_id in (0, 1)]
    assert starts == [[attempt["plan"]["step"] for attempt in job["attempts"]]] * 2
    for attempt in job["attempts"][1:]:
        good = [c["step"] for c in job["checkpoints"] if c["verdict"] == "Good" and c["attempt"] < attempt["number"]]
        assert attempt["plan"]["step"] == max(good)
    assert_trained_truly(training, plain(2), steps=STEPS)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_everything_below_launch(launch: Start, tmp_path: Path, number: signal.Signals) -> None:
    run = launch((sys.executable, SCRIPTS / "idle.py"))
    run.wait_for("TrainerChanged", count=2)

    run.signal(number)
    done = run.finish(STOP_LIMIT_S)

    assert done.status == 128 + number, done.output
    assert "Traceback" not in done.output
    assert wait_until_gone(tmp_path, 0) == []
    assert run.job()["end"]["reason"] == "Interrupted"


def test_a_killed_launch_takes_everything_with_it(launch: Start, tmp_path: Path) -> None:
    run = launch((sys.executable, SCRIPTS / "idle.py"))
    run.wait_for("TrainerChanged", count=2)

    run.signal(signal.SIGKILL)

    assert wait_until_gone(tmp_path, STOP_LIMIT_S) == []


def test_a_launch_under_nohup_outlives_its_terminal(launch: Start, tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # inherited, as from nohup
    try:
        run = launch((sys.executable, SCRIPTS / "idle.py"), workers=1)
    finally:
        signal.signal(signal.SIGHUP, before)
    run.wait_for("TrainerChanged")

    run.signal(signal.SIGHUP)
    run.signal(signal.SIGTERM)
    done = run.finish(STOP_LIMIT_S)

    assert done.status == 128 + signal.SIGTERM, done.output
    assert "SIGHUP" not in done.output


def test_events_that_cannot_be_written_any_more_do_not_end_the_run(launch: Start, tmp_path: Path) -> None:
    run = launch((sys.executable, "-c", "pass"), workers=1, options=["--json-events", "/dev/full"])
    done = run.finish()

    assert done.status == 0, done.output
    assert done.output.count("cannot write events to /dev/full: No space left on device") == 1


def test_a_journal_that_is_removed_while_it_is_in_use_is_begun_anew_and_the_run_goes_on(
    launch: Start, tmp_path: Path
) -> None:
    """The trainers of an attempt that nobody knows any more are stopped; launch shows the new journal from 1 on."""
    asleep = tmp_path / "asleep"
    once = (
        "import os, time\n"
        f"is_first = not os.path.exists({str(asleep)!r} + '-before')\n"
        f"with open({str(asleep)!r}, 'a') as file:\n"
        "    print(os.getpid(), file=file)\n"
        "time.sleep(600 if is_first else 0)\n"
    )
    run = launch((sys.executable, "-c", once))
    wait_until(lambda: asleep.exists() and len(asleep.read_text().splitlines()) == 2, "both trainers sleep")

    asleep.rename(tmp_path / "asleep-before")
    for file in run.state_dir.glob("controller.db*"):
        file.unlink()
    done = run.finish()

    assert done.status == 0, done.output
    assert "attempt 2 opened" in done.output
    job = run.job()
    assert (job["end"]["reason"], [attempt["number"] for attempt in job["attempts"]]) == ("Finished", [2])
    assert wait_until_gone(tmp_path, 1.0) == []


def test_a_terminal_that_closes_and_says_so_twice_still_lets_the_run_end_in_order(
    launch: Start, tmp_path: Path
) -> None:
    run = launch((sys.executable, SCRIPTS / "idle.py"), workers=1)
    run.wait_for("TrainerChanged")

    run.signal(signal.SIGHUP)
    run.wait_for("StopAsked")
    run.signal(signal.SIGHUP)
    done = run.finish(STOP_LIMIT_S)

    assert done.status == 128 + signal.SIGHUP, done.output
    assert run.job()["end"]["reason"] == "Interrupted"
