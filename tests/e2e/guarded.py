"""A `lastgood launch` under test: started as an operator starts it, watched from outside, and never left behind.

Every process that comes of it carries a mark in its environment, so that a test can find any of them by its part
(controller, run, agent, trainer) and can say with certainty that none is left.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lastgood_controller.client import ClientError, JobClient
from lastgood_controller.reading import read_job, read_journal

REPOSITORY = Path(__file__).resolve().parents[2]
LASTGOOD = (sys.executable, "-P", "-m", "lastgood")
MARK = "LASTGOOD_TEST_MARK"
#: The longest that anything without TensorFlow, and a gang with it, may take on a busy machine.
SOON_S, TRAINING_S = 40.0, 150.0


def until(is_so: Callable[[], Any], within_s: float = SOON_S, what: str = "it") -> Any:
    """Looks until `is_so()` is true and returns it; fails after a deadline."""
    deadline_s = time.monotonic() + within_s
    while not (found := is_so()):
        assert time.monotonic() < deadline_s, f"{what} did not come true within {within_s:.0f} s"
        time.sleep(0.02)
    return found


def environment(mark: str) -> dict[str, str]:
    """What every process of one launch sees. Paths of this clone only where it is not installed."""
    return {**os.environ, MARK: mark, "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": ""}


def command_line(pid: int) -> list[str]:
    try:
        return Path("/proc", str(pid), "cmdline").read_bytes().decode().split("\0")[:-1]
    except OSError:
        return []


@dataclass
class Guarded:
    """One launch. directory: its current directory; state_dir: where its run is kept."""

    directory: Path
    command: Sequence[str]
    workers: int = 2
    options: Sequence[str] = ()
    job: str = "under-test"
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        self.state_dir = self.directory / "state"
        self.output = self.directory / f"launch-{self.mark}.log"

    # ------------------------------------------------------------------------------------------------- start and stop

    def start(self) -> Guarded:
        line = [*LASTGOOD, "launch", "--workers", str(self.workers), "--job", self.job, "--state-dir"]
        line += [str(self.state_dir), *self.options, "--", *map(str, self.command)]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                line,
                cwd=self.directory,
                env=environment(self.mark),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        return self

    def __enter__(self) -> Guarded:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(SOON_S)
        for pid in self.left():
            os.kill(pid, signal.SIGKILL)

    def wait(self, within_s: float = SOON_S) -> int:
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"launch did not end within {within_s:.0f} s:\n{self.text()}") from None

    def text(self) -> str:
        """What launch has printed so far."""
        return self.output.read_text("utf-8", "replace")

    # ------------------------------------------------------------------------------------------------------ processes

    def left(self) -> list[int]:
        """Every live process of this launch, launch itself left out."""
        wanted = f"{MARK}={self.mark}".encode()
        found = []
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or int(entry) in (os.getpid(), self.process.pid):
                continue
            try:
                if wanted in Path("/proc", entry, "environ").read_bytes().split(b"\0") and command_line(int(entry)):
                    found.append(int(entry))
            except OSError:
                continue
        return found

    def commands(self) -> dict[int, str]:
        """What is left, by pid, for messages."""
        return {pid: " ".join(command_line(pid)) for pid in self.left()}

    def until_gone(self, within_s: float) -> None:
        """Waits until no process is left; says which ones are, if it takes too long."""
        deadline_s = time.monotonic() + within_s
        while self.left():
            assert time.monotonic() < deadline_s, f"left after {within_s:.0f} s: {self.commands()}"
            time.sleep(0.02)

    def pid_of(self, *words: str) -> int:
        """The one process whose command line has all of these words."""
        found = until(lambda: [pid for pid in self.left() if set(words) <= set(command_line(pid))], what=str(words))
        assert len(found) == 1, f"expected one process with {words}, found {[command_line(pid) for pid in found]}"
        return int(found[0])

    def launcher(self, index: int) -> int:
        return self.pid_of("run", f"worker/{index}")

    def controller(self) -> int:
        return self.pid_of("controller")

    def agent(self, index: int) -> int:
        """The agent of a worker: the child of its launcher that is one of ours."""
        parent = self.launcher(index)
        found = until(lambda: [pid for pid in self.left() if _parent(pid) == parent and _is_agent(pid)], what="agent")
        return int(found[0])

    def trainer(self, index: int) -> int:
        return int(self.job_document()["workers"][f"worker/{index}"]["trainer"]["pid"])

    # ------------------------------------------------------------------------------------------------ what it recorded

    def address(self) -> str:
        def read() -> str | None:
            try:
                return str(json.loads((self.state_dir / "controller.json").read_text())["address"])
            except (OSError, ValueError, KeyError):
                return None

        return str(until(read, what="controller.json"))

    def job_document(self) -> dict[str, Any]:
        """Where the job stands: by its controller while launch lives, from the state directory afterwards."""
        if self.process.poll() is not None:
            return read_job(self.state_dir, self.job)

        def ask() -> dict[str, Any] | None:
            try:
                with JobClient(self.address()) as client:
                    return client.get_job(self.job)
            except ClientError:
                assert self.process.poll() is None, f"launch has ended:\n{self.text()}"
                return None

        found: dict[str, Any] = until(ask, what="the job's document")
        return found

    def journal(self) -> list[dict[str, Any]]:
        return read_journal(self.state_dir, self.job)

    def until_job(self, is_so: Callable[[dict[str, Any]], Any], within_s: float = SOON_S) -> dict[str, Any]:
        """Waits until the job's document is as wanted, and returns it."""

        def look() -> dict[str, Any] | None:
            job = self.job_document()
            return job if is_so(job) else None

        found: dict[str, Any] = until(look, within_s, "the job's state")
        return found


def _parent(pid: int) -> int:
    try:
        return int(Path("/proc", str(pid), "stat").read_text().rpartition(") ")[2].split()[1])
    except OSError:
        return 0


def _is_agent(pid: int) -> bool:
    return any(word.startswith("lastgood_agent") or word.endswith("agent.py") for word in command_line(pid))


def good_steps(job: dict[str, Any]) -> list[int]:
    """The steps of the checkpoints that are Good, oldest first."""
    return [checkpoint["step"] for checkpoint in job["checkpoints"] if checkpoint["verdict"] == "Good"]
