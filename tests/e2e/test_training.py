"""The whole loop with real TensorFlow: the demo, its negative controls, adoption, and kills of every part."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from guarded import REPOSITORY, TRAINING_S, Guarded, environment, good_steps

from demo.verdict import read_lives

TRAIN = REPOSITORY / "demo" / "train.py"
RESTORES_BEHIND = Path(__file__).with_name("scripts") / "restores_behind.py"
WORKERS = ("worker/0", "worker/1")

pytestmark = pytest.mark.timeout(400)


def script(directory: Path, steps: int, save_every: int = 5, width: int = 256) -> list[str]:
    """The demo's script, on a small model; its checkpoints and logs lie below `directory`."""
    line = [str(TRAIN), "--checkpoints", str(directory / "checkpoints"), "--logs", str(directory / "logs")]
    return [*line, "--steps", str(steps), "--save-every", str(save_every), "--width", str(width)]


def lives(directory: Path, index: int):
    return read_lives((directory / "logs" / f"steps-worker-{index}.log").read_text())


def result(directory: Path, index: int) -> dict:
    return json.loads((directory / "logs" / f"result-worker-{index}.json").read_text())


def train_plainly(python: str, directory: Path, steps: int) -> None:
    """The script on two workers, without lastgood."""
    sockets = [socket.socket() for _ in WORKERS]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    cluster = {"worker": [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]}
    for each in sockets:
        each.close()
    processes = []
    for index in range(len(WORKERS)):
        config = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
        with (directory / f"plain-{index}.log").open("wb") as log:
            environ = {**environment("plain"), "TF_CONFIG": config}
            processes.append(
                subprocess.Popen([python, *script(directory, steps)], env=environ, stdout=log, stderr=subprocess.STDOUT)
            )
    try:
        assert [process.wait(TRAINING_S) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def ten_steps(tf_python, tmp_path_factory) -> Path:
    """What ten steps without lastgood leave: checkpoints of steps 5 and 10."""
    directory = tmp_path_factory.mktemp("ten-steps")
    train_plainly(tf_python, directory, 10)
    return directory


@pytest.fixture
def begun(ten_steps, tmp_path) -> Path:
    """A directory of its own in which ten steps were trained. The state file's paths are relative, so it may move."""
    shutil.copytree(ten_steps, tmp_path / "training")
    return tmp_path / "training"


def run_demo(python: str, output: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(REPOSITORY / "demo" / "run.py"), "--python", python, "--output", str(output), *options],
        env=environment("demo"),
        capture_output=True,
        text=True,
        timeout=390,
    )


def test_the_demo_shows_every_claim(tf_python, tmp_path):
    demo = run_demo(tf_python, tmp_path / "out", "--record", str(tmp_path / "demo.svg"))

    claims = [line for line in demo.stdout.splitlines() if line.startswith(("✓", "✗"))]
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert len(claims) == 9
    assert all(claim.startswith("✓") for claim in claims)
    assert (tmp_path / "demo.svg").read_text().startswith("<svg")


def test_without_steering_the_demo_fails_and_says_why(tf_python, tmp_path):
    demo = run_demo(tf_python, tmp_path / "out", "--steering", "off", "--steps", "80", "--sabotage", "c")

    assert demo.returncode == 1, demo.stdout + demo.stderr
    failed = [line for line in demo.stdout.splitlines() if line.startswith("✗")]
    assert any("has no plan" in line for line in failed), demo.stdout


def test_a_worker_that_restored_an_older_checkpoint_ends_the_run_by_name(tf_python, begun):
    older = begun / "checkpoints" / "ckpt-1"
    command = [tf_python, RESTORES_BEHIND, older, *script(begun, 20)]

    with Guarded(begun, command, options=["--max-restarts", "0"]) as guarded:
        status = guarded.wait(TRAINING_S)

    job = guarded.job_document()
    assert status == 1, guarded.text()
    assert (job["end"]["reason"], job["restarts"]) == ("BudgetSpent", 0)
    failure = job["attempts"][-1]["failure"]
    assert (failure["worker"], failure["reason"]) == ("worker/1", "RestoredWrong")
    receipts = {receipt["worker"]: receipt for receipt in job["attempts"][-1]["receipts"]}
    assert {name: receipt["good"] for name, receipt in receipts.items()} == {"worker/0": True, "worker/1": False}
    wrong = receipts["worker/1"]["wrong_value"]
    assert len(wrong) > 1
    assert any(key in failure["detail"] for key in wrong)
    assert [step for index in (0, 1) for life in lives(begun, index)[1:] for step in life.steps] == []


def test_training_that_began_without_lastgood_goes_on_with_it_and_without_its_database(tf_python, begun):
    with Guarded(begun, [tf_python, *script(begun, 20)]) as adopting:
        assert adopting.wait(TRAINING_S) == 0, adopting.text()
    for file in adopting.state_dir.glob("controller.db*"):
        file.unlink()
    with Guarded(begun, [tf_python, *script(begun, 30)]) as again:
        assert again.wait(TRAINING_S) == 0, again.text()

    plans = [attempt["plan"] for attempt in again.job_document()["attempts"]]
    assert [(plan["kind"], plan["step"]) for plan in plans] == [("adopt", 20)]
    assert [attempt["number"] for attempt in again.job_document()["attempts"]] == [2]
    for index in range(len(WORKERS)):
        assert [life.started_after for life in lives(begun, index)] == [0, 10, 20]
        assert [step for life in lives(begun, index) for step in life.steps] == list(range(1, 31))


def test_training_survives_the_death_of_every_part_and_nothing_is_missing_after(tf_python, tmp_path):
    steps, save_every = 280, 20
    with Guarded(tmp_path, [tf_python, *script(tmp_path, steps, save_every, width=1280)]) as guarded:
        guarded.until_job(good_steps, TRAINING_S)
        os.kill(guarded.controller(), signal.SIGKILL)
        seen = good_steps(guarded.until_job(lambda job: len(good_steps(job)) >= 2, TRAINING_S))
        os.kill(guarded.agent(1), signal.SIGKILL)
        guarded.until_job(lambda job: max(good_steps(job), default=0) >= seen[-1] + 2 * save_every, TRAINING_S)
        os.kill(guarded.launcher(0), signal.SIGKILL)
        status = guarded.wait(TRAINING_S)

    job = guarded.job_document()
    assert status == 0, guarded.text()
    assert [incident["worker"] for incident in job["incidents"]] == ["worker/0"]
    assert job["incidents"][0]["reason"] in ("LauncherLost", "WorkerKilled")
    assert [attempt["number"] for attempt in job["attempts"]] == [1, 2]
    lost = job["incidents"][0]["lost_steps_by_worker"]
    for index, worker in enumerate(WORKERS):
        first, second = lives(tmp_path, index)
        assert first.steps == tuple(range(1, len(first.steps) + 1))
        assert second.steps == tuple(range(second.started_after + 1, steps + 1))
        assert len(first.steps) + len(second.steps) in (steps + lost[worker], steps + lost[worker] - 1)
        assert result(tmp_path, index)["digests"] == result(tmp_path, 0)["digests"]
    # Every save that both workers made has both reports, whoever was away when it was made.
    made = len(job["checkpoints"])
    both = [checkpoint for checkpoint in job["checkpoints"] if sorted(checkpoint["reports"]) == list(WORKERS)]
    assert len(both) >= made - 1  # the one that the launcher's death may have cut through
    assert sorted({checkpoint["step"] for checkpoint in both}) == list(range(save_every, steps + 1, save_every))
    assert guarded.left() == []
