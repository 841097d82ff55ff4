"""Gangs of `scripts/ordinary.py`: how they are started without lastgood, and what their own logs say they did."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).resolve().parent / "scripts"
PLAIN_RUN_LIMIT_S = 120.0

#: The uninterrupted runs that every other run is compared with are this long.
PLAIN_STEPS = 100
#: The step at which a plain run is held while its directory is copied, for tests that go on from there.
BEGUN = 10


@dataclass(frozen=True)
class Training:
    """One use of the script: its interpreter, its directories and its options."""

    python: str
    directory: Path
    script: str = "ordinary.py"

    @property
    def checkpoints(self) -> Path:
        return self.directory / "checkpoints"

    @property
    def logs(self) -> Path:
        return self.directory / "logs"

    @property
    def gate(self) -> Path:
        """With a step's number behind it, the file that a script waits for when it is held at that step."""
        return self.directory / "go-on"

    def command(self, *, steps: int, **options: object) -> list[str]:
        """The command line; options are the script's own, with underscores."""
        words = [
            self.python,
            str(SCRIPTS / self.script),
            "--checkpoints",
            str(self.checkpoints),
            "--logs",
            str(self.logs),
        ]
        words += ["--steps", str(steps)]
        if "hold_at" in options:
            options = {**options, "hold_until": self.gate}
        for name, value in options.items():
            words += ["--" + name.replace("_", "-"), str(value)]
        return words

    def go_on(self, step: int) -> None:
        """Lets a script that is held at a step go on."""
        self.gate.with_name(f"{self.gate.name}-{step}").touch()

    def log(self, task_id: int) -> list[dict[str, Any]]:
        """What one worker says it did, over all its lives."""
        path = self.logs / f"worker-{task_id}.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def lives(self, task_id: int) -> list[Life]:
        """One worker's lives, in order; one that ended before it had restored left no trace."""
        lives: list[Life] = []
        for line in self.log(task_id):
            if line["event"] == "start":
                lives.append(Life(line["pid"], line["step"], {}, False))
            elif line["event"] == "step":
                lives[-1].digests[line["step"]] = line["digest"]
            elif line["event"] == "end":
                lives[-1] = Life(lives[-1].pid, lives[-1].start, lives[-1].digests, True)
        return lives


@dataclass(frozen=True)
class Life:
    """One process of the script. start: the step that it restored. digests: of the variables, by executed step."""

    pid: int
    start: int
    digests: dict[int, str]
    has_finished: bool

    @property
    def executed(self) -> list[int]:
        return sorted(self.digests)

    def is_true_to(self, reference: dict[int, str]) -> bool:
        """Whether it began right after its restored step and each step came out as in the uninterrupted run."""
        expected = list(range(self.start + 1, self.start + 1 + len(self.digests)))
        return self.executed == expected and all(reference[s] == self.digests[s] for s in self.executed)


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listened on a moment ago."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def tf_config(ports: Sequence[int], index: int) -> str:
    """TF_CONFIG of one worker of a gang on this machine."""
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    return json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})


@dataclass(frozen=True)
class PlainRun:
    """An uninterrupted run without lastgood, and a copy of what it had left when it stood at step BEGUN."""

    training: Training
    begun: Path

    @property
    def digests(self) -> dict[int, str]:
        """The digest of the variables after each step, the same on every worker."""
        return self.training.lives(0)[0].digests

    def hand_over(self, training: Training) -> None:
        """Gives `training` the checkpoints and logs of the first BEGUN steps as its own."""
        shutil.copytree(self.begun, training.directory, dirs_exist_ok=True)


def run_plainly(run: PlainRun, workers: int) -> None:
    """Trains with no lastgood anywhere."""
    training = run.training
    command = training.command(steps=PLAIN_STEPS, save_every=5, hold_at=BEGUN)
    ports = free_ports(workers)
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "TF_CONFIG")}
    gang = [
        subprocess.Popen(
            command,
            env={**environment, "TF_CONFIG": tf_config(ports, index), "TF_CPP_MIN_LOG_LEVEL": "2"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for index in range(workers)
    ]
    try:
        wait_until_held(training, gang)
        for folder in (training.checkpoints, training.logs):
            shutil.copytree(folder, run.begun / folder.name)
        training.go_on(BEGUN)
        statuses = [process.wait(PLAIN_RUN_LIMIT_S) for process in gang]
    finally:
        for process in gang:
            process.kill()
            process.wait()
    assert statuses == [0] * workers
    lives = [training.lives(task_id)[0].digests for task_id in range(workers)]
    assert lives.count(lives[0]) == workers, "expected every worker of the plain run to compute the same"


def wait_until_held(training: Training, gang: Sequence[subprocess.Popen[bytes]]) -> None:
    """Every worker has saved step BEGUN, and none but the chief keeps what it has saved."""
    deadline_s = time.monotonic() + PLAIN_RUN_LIMIT_S
    while time.monotonic() < deadline_s:
        newest = [training.log(task_id)[-1:] for task_id in range(len(gang))]
        has_saved = all(line and (line[0]["event"], line[0]["step"]) == ("saved", BEGUN) for line in newest)
        if has_saved and not list(training.checkpoints.glob("workertemp_*")):
            return
        assert all(process.poll() is None for process in gang), "expected the plain run to train"
        time.sleep(0.02)
    raise AssertionError(f"the plain run did not come to step {BEGUN} within {PLAIN_RUN_LIMIT_S:.0f} s")


#: The uninterrupted run of a gang of that many workers.
Plain = Callable[[int], PlainRun]


def assert_trained_truly(training: Training, plain: PlainRun, *, steps: int, workers: int = 2) -> None:
    """Every life of every worker did what the uninterrupted run did, right on from its restored step to the end."""
    assert steps <= PLAIN_STEPS
    for task_id in range(workers):
        lives = training.lives(task_id)
        assert lives, f"worker {task_id} has never trained"
        untrue = [(life.start, life.executed) for life in lives if not life.is_true_to(plain.digests)]
        assert untrue == [], f"worker {task_id} computed something else: {untrue}"
        assert lives[-1].has_finished
        assert set().union(*(life.executed for life in lives)) == set(range(1, steps + 1))


def executed_steps(training: Training, task_id: int) -> int:
    """How many steps one worker executed, in all its lives."""
    return sum(len(life.executed) for life in training.lives(task_id))
