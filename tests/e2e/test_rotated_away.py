"""Nothing good is rotated away: what a manager that keeps one checkpoint has removed is restored all the same."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest
from operating import LOOK_S, PATIENCE_S, Lastgood, Launch, Start, kill
from training import Plain, Training, assert_trained_truly

#: Seconds for one test on a machine that does other things, too.
pytestmark = pytest.mark.timeout(400)

GOOD, LATER, NEWEST, STEPS = 10, 15, 20, 30


def flip(path: Path) -> None:
    """Changes one byte in the middle, in place, as a rotting disk does."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 0xFF]))


def names_of_saves(directory: Path) -> list[str]:
    return sorted(path.stem for path in directory.glob("*.index"))


def pinned(training: Training) -> list[Path]:
    """The index files of the pins."""
    return sorted((training.checkpoints / ".lastgood" / "pins").glob("*/*.index"))


def wait_for_saved(training: Training, run: Launch, step: int) -> None:
    """Until every worker has returned from a save."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not all(any(e["event"] == "saved" and e["step"] == step for e in training.log(t)) for t in (0, 1)):
        assert time.monotonic() < deadline_s, run.account()
        time.sleep(LOOK_S)


def test_where_rotation_left_only_damaged_checkpoints_the_last_good_one_is_restored_from_its_pin(
    launch: Start, lastgood: Lastgood, training: Training, plain: Plain
) -> None:
    # given a manager that keeps one checkpoint, and agents that read nothing after the second save
    command = training.command(steps=STEPS, save_every=5, keep=1, hold_at=f"{GOOD},{NEWEST}")
    run = launch(command)
    run.wait_for_good(GOOD)
    agents = [run.agent_pid(worker) for worker in ("worker/0", "worker/1")]
    for agent in agents:
        kill(agent, signal.SIGSTOP)
    training.go_on(GOOD)
    wait_for_saved(training, run, NEWEST)
    held = [path.name for path in pinned(training)]

    # when the newest two, of which one was rotated away, are damaged before anybody has read them
    flip(training.checkpoints / "ckpt-4.data-00000-of-00001")
    (later,) = (path for path in pinned(training) if path.name == "ckpt-3.index")
    flip(later.with_name("ckpt-3.data-00000-of-00001"))
    for agent in agents:
        kill(agent, signal.SIGCONT)
    run.wait_for("VerdictReached", f"(step {NEWEST}) Bad")
    kill(run.trainer_pid("worker/1"))

    # then the gang goes on from the one before, under its own name, and computes what it always computes
    restored = run.wait_for("PlanDecided", count=2)["event"]["plan"]["series"][0]
    run.wait_for("GateOpened", count=2)
    state = (training.checkpoints / "checkpoint").read_text()
    training.go_on(NEWEST)
    assert run.finish().status == 0, run.account()
    assert held == ["ckpt-2.index", "ckpt-3.index", "ckpt-4.index"]
    assert restored["step"] == GOOD
    assert 'model_checkpoint_path: "ckpt-2"' in state
    assert [life.start for life in training.lives(0)] == [0, GOOD], run.journal.text()
    assert_trained_truly(training, plain(2), steps=STEPS)
    verdicts = {(c["attempt"], c["step"]): c["verdict"] for c in run.job()["checkpoints"]}
    assert [verdicts[1, step] for step in (LATER, NEWEST)] == ["Bad", "Bad"]
    # and nothing is left but what the manager keeps, with its manifest
    assert names_of_saves(training.checkpoints) == ["ckpt-6"]
    assert pinned(training) == []
    assert not (training.checkpoints / ".lastgood").exists()
    verified = lastgood.document("verify", str(training.checkpoints), "--json", cwd=training.directory)
    assert [(row["standing"], Path(row["manifest"]).name) for row in verified] == [("Good", "ckpt-6.lastgood.json")]
    assert json.loads((training.checkpoints / "ckpt-6.lastgood.json").read_text())["attempt"] == 2
