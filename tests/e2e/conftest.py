"""What end-to-end tests share: the command under test, gangs to run it on, and that nothing is left of them."""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest
from operating import Lastgood, Launch, Start, kill_what_is_left, wait_until_gone
from training import Plain, PlainRun, Training, run_plainly


@pytest.fixture(scope="session", autouse=True)
def hang_up_is_heard() -> Iterator[None]:
    """Under nohup every process begins deaf to SIGHUP, and lastgood keeps to that: here each test decides by itself."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(scope="session")
def lastgood() -> Lastgood:
    """The command of LASTGOOD_TEST_COMMAND, or the module in this interpreter, in an environment without our paths."""
    told = os.environ.get("LASTGOOD_TEST_COMMAND")
    command = tuple(shlex.split(told)) if told else (sys.executable, "-P", "-m", "lastgood")
    left_out = ("PYTHONPATH", "TF_CONFIG", "LASTGOOD_HOOKS")
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    environment["TF_CPP_MIN_LOG_LEVEL"] = "2"
    done = subprocess.run([*command, "launch", "--help"], env=environment, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        pytest.fail(
            f"expected {shlex.join(command)} to be the installed command, found: {done.stdout}{done.stderr}"
            " (`make test` runs these tests where it is)"
        )
    return Lastgood(command, environment)


@pytest.fixture(scope="session")
def plain(tf_python: str, tmp_path_factory: pytest.TempPathFactory) -> Plain:
    """What uninterrupted runs without lastgood leave; made once, also where tests run side by side."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    @cache
    def run(workers: int) -> PlainRun:
        directory = shared / f"plain-{workers}"
        made = PlainRun(Training(tf_python, directory / "run"), directory / "begun")
        with (shared / f"plain-{workers}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (directory / "whole").exists():
                shutil.rmtree(directory, ignore_errors=True)
                run_plainly(made, workers)
                (directory / "whole").touch()
        return made

    return run


@pytest.fixture
def training(tf_python: str, tmp_path: Path) -> Training:
    """The ordinary script with directories of its own."""
    return Training(tf_python, tmp_path)


@pytest.fixture
def nothing_left(tmp_path: Path) -> Iterator[None]:
    """At the end of the test, no process that knows its directory may be there."""
    yield
    left = wait_until_gone(tmp_path, within_s=2.0)
    if left:
        described = "\n".join(kill_what_is_left(tmp_path))
        pytest.fail(f"expected no process of this test to be left, found:\n{described}")


@pytest.fixture
def launch(lastgood: Lastgood, tmp_path: Path, nothing_left: None) -> Iterator[Start]:
    """Starts `lastgood launch` in the test's directory; each one that is left is ended."""
    started: list[Launch] = []

    def start(command: Sequence[str | Path], **options: object) -> Launch:
        after = started[-1].journal.entries[-1]["sequence"] if options.pop("again", False) else 0
        started.append(Launch(lastgood, tmp_path, command, after=after, **options))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for each in started:
        each.close()
