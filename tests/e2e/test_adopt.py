"""Checkpoints that lastgood has not seen written: they are taken over when they are whole, and never passed over."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from operating import Launch, Start
from training import Plain, Training, assert_trained_truly

#: Seconds for one test on a machine that does other things, too.
pytestmark = pytest.mark.timeout(400)


def forget(run: Launch) -> None:
    """Deletes the controller's database, as a person who cleans up too much does."""
    found = [path for path in run.state_dir.iterdir() if ".db" in path.name or ".sqlite" in path.name]
    assert found, f"expected the controller's database in {run.state_dir}"
    for path in found:
        path.unlink()


def test_training_goes_on_from_what_was_saved_without_lastgood_or_before_it_forgot(
    launch: Start, training: Training, plain: Plain
) -> None:
    """The last launch runs a script that asks the state file, which is gone, so that it calls restore(None)."""
    plain(2).hand_over(training)
    plans = []
    for steps, options in [(20, {}), (30, {"ask": "state"})]:
        run = launch(training.command(steps=steps, save_every=5, **options))
        done = run.finish()
        assert done.status == 0, done.output
        plans.append(run.job()["attempts"][-1]["plan"])
        forget(run)
        (training.checkpoints / "checkpoint").unlink()

    assert [(plan["kind"], plan["step"]) for plan in plans] == [("adopt", 10), ("adopt", 20)]
    starts = [[life.start for life in training.lives(task_id)] for task_id in (0, 1)]
    assert starts == [[0, 10, 20]] * 2
    asked = [line["asked"] for line in training.log(1) if line["event"] == "start"]
    assert asked[-1] is None, "expected the last script to call restore(None)"
    assert_trained_truly(training, plain(2), steps=30)


@pytest.mark.breadth
def test_restore_of_nothing_becomes_a_restore_of_the_good_one(launch: Start, training: Training, plain: Plain) -> None:
    first = launch(training.command(steps=10, save_every=5, ask="state"), workers=1).finish()
    (training.checkpoints / "checkpoint").unlink()
    run = launch(training.command(steps=20, save_every=5, ask="state"), workers=1, again=True)
    second = run.finish()

    assert (first.status, second.status) == (0, 0), second.output
    plan = run.job()["attempts"][-1]["plan"]
    assert (plan["kind"], plan["step"]) == ("restore", 10)
    assert [life.start for life in training.lives(0)] == [0, 10]
    assert_trained_truly(training, plain(1), steps=20, workers=1)


def contents(directory: Path) -> dict[str, str]:
    """The digest of each file below a directory."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_directory_of_damaged_checkpoints_is_left_as_it_is_and_nothing_starts_anew(
    launch: Start, training: Training, plain: Plain
) -> None:
    plain(2).hand_over(training)
    for data in training.checkpoints.glob("*.data-*"):
        damaged = bytearray(data.read_bytes())
        damaged[len(damaged) // 2] ^= 1
        data.write_bytes(damaged)
    before = contents(training.checkpoints)

    run = launch(training.command(steps=20, save_every=5), workers=1)
    done = run.finish()

    assert done.status == 1, done.output
    assert "NoGoodCheckpoint" in done.output
    assert run.job()["end"]["reason"] == "NoGoodCheckpoint"
    assert contents(training.checkpoints) == before
    assert [len(life.executed) for life in training.lives(0)][1:] in ([], [0])
