"""Scripts that were changed between two runs, or restore or save as they like: named, and no checkpoint suffers."""

from __future__ import annotations

from pathlib import Path

import pytest
from operating import Launch, Start
from training import Training

#: Seconds for one test on a machine that does other things, too.
pytestmark = pytest.mark.timeout(400)


def forget(run: Launch) -> None:
    """Deletes the controller's database, so that the next run takes over what it finds."""
    for path in run.state_dir.glob("*.db*"):
        path.unlink()


def made_steps(training: Training, rank: int) -> list[int]:
    return [line["step"] for line in training.log(rank) if line["event"] == "step"]


@pytest.fixture
def layered(training: Training) -> Training:
    return Training(training.python, training.directory, script="layers.py")


def test_a_script_that_builds_another_model_ends_with_the_sentence_and_the_checkpoints_stay(
    launch: Start, layered: Training
) -> None:
    # given two layers that were trained and saved
    first = launch(layered.command(steps=4, layers=2))
    done = first.finish()
    assert done.status == 0, done.output
    before = sorted(path.name for path in layered.checkpoints.glob("ckpt-*"))
    forget(first)

    # when the script builds three
    run = launch(layered.command(steps=8, layers=3))
    done = run.finish()

    # then the run ends and says so; nothing was trained, rolled back, quarantined or removed
    assert done.status == 1, done.output
    sentence = "`network/layers` was saved with 2 layers, the program builds 3"
    job = run.job()
    assert job["end"]["reason"] == "ModelChanged"
    assert sentence in job["end"]["detail"]
    assert sentence in done.output
    assert len(job["attempts"]) == 1
    assert [each["verdict"] for each in job["checkpoints"]] == ["Good"]
    assert {each["model_change"] for each in job["attempts"][0]["receipts"]} == {sentence}
    assert [made_steps(layered, rank) for rank in (0, 1)] == [[1, 2, 3, 4]] * 2
    assert sorted(path.name for path in layered.checkpoints.glob("ckpt-*")) == before

    # and with receipts that only warn the same run goes on, and the change stays on record
    run = launch(layered.command(steps=8, layers=3), options=["--receipts", "warn"])
    done = run.finish()
    assert done.status == 0, done.output
    job = run.job()
    assert job["policy"]["receipts"] == "warn"
    advice = {each["about"]: each for each in job["advice"]}
    assert sentence in advice["ModelChanged"]["detail"]
    assert advice["ModelChanged"]["workers"] == ["worker/0", "worker/1"]
    assert advice["TakenFromChief"]["workers"] == ["worker/1"]
    assert "local" in advice["TakenFromChief"]["detail"]
    assert [made_steps(layered, rank) for rank in (0, 1)] == [[1, 2, 3, 4, 5, 6, 7, 8]] * 2


@pytest.mark.breadth
def test_with_receipts_off_nothing_is_compared_and_the_job_says_so(launch: Start, layered: Training) -> None:
    # given
    first = launch(layered.command(steps=4, layers=2))
    assert first.finish().status == 0
    forget(first)

    # when
    run = launch(layered.command(steps=8, layers=3), options=["--receipts", "off"])
    done = run.finish()

    # then
    assert done.status == 0, done.output
    receipts = run.job()["attempts"][-1]["receipts"]
    assert [(each["compared"], each["restored"], each["good"]) for each in receipts] == [(False, 0, True)] * 2
    assert "nothing was compared, receipts are off" in done.output


@pytest.mark.breadth
@pytest.mark.parametrize("restore", ["chief", "chief-in-scope"])
def test_workers_that_train_while_the_chief_alone_restores_are_named(
    launch: Start, layered: Training, restore: str
) -> None:
    # given
    first = launch(layered.command(steps=4, layers=2))
    assert first.finish().status == 0

    # when
    options = ["--max-restarts", "0"]
    run = launch(layered.command(steps=8, layers=2, restore=restore), options=options)
    done = run.finish()

    # then
    assert done.status == 1, done.output
    failure = run.job()["attempts"][-1]["failure"]
    assert (failure["worker"], failure["reason"]) == ("worker/1", "NotRestored")
    assert [made_steps(layered, rank) for rank in (0, 1)] == [[1, 2, 3, 4]] * 2
    assert Path(layered.checkpoints, "ckpt-2.index").exists()


@pytest.mark.breadth
def test_workers_that_save_into_one_directory_are_named_and_what_they_saved_is_good_and_restored(
    launch: Start, layered: Training
) -> None:
    # given a script whose workers all save to the chief's directory
    first = launch(layered.command(steps=10, share=1))
    done = first.finish()

    # then both are named, and every checkpoint is good
    assert done.status == 0, done.output
    job = first.job()
    shared = [each for each in job["advice"] if each["about"] == "SharedWrite"]
    assert [each["workers"] for each in shared] == [["worker/0", "worker/1"]]
    assert "both save to" in done.output
    assert [each["verdict"] for each in job["checkpoints"]] == ["Good"] * 5
    moved = [each["reports"]["worker/1"]["redirected_from"] is not None for each in job["checkpoints"]]
    assert all(moved[1:]), moved
    assert not list((layered.checkpoints / ".lastgood" / "elsewhere").glob("*"))

    # and the next run goes on from the last one
    done = launch(layered.command(steps=12, share=1)).finish()
    assert done.status == 0, done.output
    assert [made_steps(layered, rank) for rank in (0, 1)] == [list(range(1, 13))] * 2
