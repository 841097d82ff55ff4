"""Starts one training script with lastgood or without, and reads what the script itself wrote down.

All times come from the scripts' own logs, on the machine's monotonic clock, so that nothing depends on how often the
benchmark looks. Every wait has a deadline; whatever was started is gone when a `with` block ends.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent / "scripts"

#: Between two looks at a log. Enters no measurement.
LOOK_S = 0.02


class BenchmarkError(Exception):
    """A run did not do what was to be measured; the message says what it printed last."""


@dataclass(frozen=True)
class Place:
    """A fresh folder for one run, and the interpreter that runs the script.

    extra: further arguments of the script.
    """

    folder: Path
    trainer_python: str

    def script(self, name: str, *extra: str) -> list[str]:
        """The command of a script that keeps its checkpoints and its log in this place."""
        folders = ["--directory", str(self.folder / "checkpoints"), "--log", str(self.folder / "log")]
        return [self.trainer_python, str(SCRIPTS / name), *folders, *extra]

    def log(self, worker: int = 0) -> list[list[str]]:
        """The whole lines of one worker's log, in words."""
        path = self.folder / "log" / f"worker-{worker}.log"
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        return [line.split() for line in text[: text.rfind("\n") + 1].splitlines()]


@contextmanager
def fresh_place(trainer_python: str) -> Iterator[Place]:
    """A place for one run, removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="lastgood-bench-", ignore_cleanup_errors=True) as folder:
        yield Place(Path(folder), trainer_python)


def with_lastgood(place: Place, workers: int, command: Sequence[str]) -> list[str]:
    """The same command under lastgood."""
    state = ["--state-dir", str(place.folder / "state")]
    return [sys.executable, "-m", "lastgood", "launch", "--workers", str(workers), *state, "--", *command]


def alone_environment() -> dict[str, str]:
    """TF_CONFIG for a gang of one."""
    cluster = {"worker": [f"127.0.0.1:{free_port()}"]}
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": 0}})}


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(place: Place, command: Sequence[str], environment: dict[str, str] | None = None) -> Iterator[Running]:
    """Runs a command; asks it to stop, and then makes it, when the block ends."""
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", **(environment or {})}
    inherited = {name: value for name, value in os.environ.items() if name != "TF_CONFIG"}
    with (place.folder / "output").open("wb") as output:
        process = subprocess.Popen(
            command, cwd=place.folder, env=inherited | quiet, stdout=output, stderr=output, start_new_session=True
        )
        try:
            yield Running(place, process)
        finally:
            stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the command and its process group."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=15)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=15)


@dataclass(frozen=True)
class Running:
    """A command that runs."""

    place: Place
    process: subprocess.Popen[bytes]

    def until(self, claim: Callable[[], bool], what: str, limit_s: float = 120.0) -> None:
        """Waits until the claim holds. Raises BenchmarkError when the command ends before, or the time is up."""
        deadline_s = time.monotonic() + limit_s
        while not claim():
            if self.process.poll() is not None and not claim():
                raise BenchmarkError(f"expected {what}; the run ended with {self.process.returncode}: {self.output()}")
            if time.monotonic() > deadline_s:
                raise BenchmarkError(f"expected {what} within {limit_s:.0f} s; the run printed: {self.output()}")
            time.sleep(LOOK_S)

    def finish(self, limit_s: float = 300.0) -> None:
        """Waits for an orderly end."""
        try:
            status = self.process.wait(timeout=limit_s)
        except subprocess.TimeoutExpired as error:
            raise BenchmarkError(f"expected an end within {limit_s:.0f} s; the run printed: {self.output()}") from error
        if status:
            raise BenchmarkError(f"expected the run to end with status 0, found {status}: {self.output()}")

    def output(self) -> str:
        """The last lines that the command printed."""
        lines = (self.place.folder / "output").read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n  ".join(["", *lines[-15:]])


def run_alone(place: Place, command: Sequence[str], *, guarded: bool) -> None:
    """Runs a gang of one to its end, with lastgood or without."""
    whole = with_lastgood(place, 1, command) if guarded else list(command)
    with running(place, whole, None if guarded else alone_environment()) as run:
        run.finish()
