"""Keras' fit with BackupAndRestore, in a gang: nobody wrote a line for lastgood, and nothing is trained twice."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from operating import Start, kill
from training import PLAIN_RUN_LIMIT_S, free_ports, tf_config

from tests.conftest import TensorFlow

#: Seconds for one test on a machine that does other things, too.
pytestmark = pytest.mark.timeout(400)

EPOCHS = 6
SCRIPT = Path(__file__).parent / "scripts" / "fit.py"


def command(tensorflow: TensorFlow, directory: Path, **options: object) -> list[str | Path]:
    words: list[str | Path] = [
        tensorflow.python,
        SCRIPT,
        "--backup",
        directory / "backup",
        "--logs",
        directory / "logs",
    ]
    words += ["--epochs", str(EPOCHS)]
    for name, value in options.items():
        words += ["--" + name.replace("_", "-"), str(value)]
    return words


def run_undisturbed(tensorflow: TensorFlow, directory: Path) -> None:
    """Two workers with no lastgood anywhere."""
    ports = free_ports(2)
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "TF_CONFIG")}
    gang = [
        subprocess.Popen(
            command(tensorflow, directory),
            env={**environment, "TF_CONFIG": tf_config(ports, index), "TF_CPP_MIN_LOG_LEVEL": "2"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for index in range(2)
    ]
    try:
        assert [process.wait(PLAIN_RUN_LIMIT_S) for process in gang] == [0, 0]
    finally:
        for process in gang:
            process.kill()
            process.wait()


def lives(directory: Path, task_id: int) -> tuple[list[list[int]], Any]:
    """The epochs of each process of one worker, in order, and the digest that the last one ended with."""
    lines = [json.loads(line) for line in (directory / "logs" / f"worker-{task_id}.jsonl").read_text().splitlines()]
    epochs: dict[int, list[int]] = {}
    for line in lines:
        epochs.setdefault(line["pid"], []).extend([line["epoch"]] if "epoch" in line else [])
    return list(epochs.values()), lines[-1].get("digest")


@pytest.mark.parametrize("each_tensorflow", ["2.15"], indirect=True)
def test_fit_with_backup_and_restore_goes_on_from_the_epoch_that_all_had_saved(
    launch: Start, each_tensorflow: TensorFlow, tmp_path: Path
) -> None:
    # Given what an undisturbed run without lastgood ends with
    run_undisturbed(each_tensorflow, tmp_path / "undisturbed")
    expected = lives(tmp_path / "undisturbed", 0)
    assert expected[0] == [list(range(EPOCHS))]

    # When a worker is killed in the middle of another one
    gate = tmp_path / "go-on"
    run = launch(command(each_tensorflow, tmp_path, hold_at=3, hold_until=gate))
    run.wait_for_good(step=12)
    kill(run.trainer_pid("worker/1"))
    run.wait_for("AttemptEnded")
    gate.touch()
    finished = run.finish()

    # Then both go on with the epoch that was not finished, and end as the undisturbed one
    assert finished.status == 0, finished.output
    assert [lives(tmp_path, task_id) for task_id in (0, 1)] == [([[0, 1, 2], [3, 4, 5]], expected[1])] * 2
    job = run.job()
    assert [attempt["plan"]["kind"] for attempt in job["attempts"]] == ["fresh", "restore"]
    assert job["attempts"][1]["plan"]["step"] == 12
    assert all(receipt["good"] for receipt in job["attempts"][1]["receipts"])
    assert job["attempts"][1]["hook_failures"] == {}
    assert [incident["lost_steps"] for incident in job["incidents"]] == [0]
