"""The demo shows all that it claims; and it says no, and why, when lastgood only watches."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from operating import Finished, Lastgood, kill_what_is_left

from tests.breadth import IS_FULL

DEMO = Path(__file__).resolve().parents[2] / "demo" / "run.py"
LIMIT_S = 750.0

pytestmark = pytest.mark.timeout(800)


def run_demo(lastgood: Lastgood, python: str, directory: Path, *options: str) -> Finished:
    """The demo, by the interpreter of the tests; nothing of it is left, however it ends."""
    command = [sys.executable, str(DEMO), "--python", python, "--output", str(directory / "out"), "--plain", *options]
    try:
        done = subprocess.run(
            command,
            env=dict(lastgood.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT_S,
        )
    finally:
        left = kill_what_is_left(directory)
    assert left == []
    return Finished(done.returncode, done.stdout, 0.0)


def claims(demo: Finished, mark: str) -> list[str]:
    """The claims with that mark."""
    return [line for line in demo.lines if line.startswith(mark)]


def test_the_demo_shows_every_claim(lastgood: Lastgood, tf_python: str, tmp_path: Path) -> None:
    picture = tmp_path / "demo.svg"

    shorter = () if IS_FULL else ("--steps", "140", "--save-every", "20")
    demo = run_demo(lastgood, tf_python, tmp_path, "--record", str(picture), *shorter)

    assert demo.status == 0, demo.output
    assert (len(claims(demo, "✓")), claims(demo, "✗")) == (9, [])
    assert picture.read_text().startswith("<svg")


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.breadth)])
def test_without_steering_the_demo_fails_and_says_why(
    lastgood: Lastgood, tf_python: str, tmp_path: Path, workers: str
) -> None:
    """The script finds no state file after the kill and begins anew, as it would without lastgood."""
    options = ("--workers", workers, "--steps", "50", "--save-every", "10", "--sabotage", "c")
    demo = run_demo(lastgood, tf_python, tmp_path, "--steering", "off", *options)

    assert demo.status == 1, demo.output
    assert [line for line in claims(demo, "✗") if "has no plan" in line], demo.output
    assert [line for line in claims(demo, "✗") if line.startswith("✗ executed steps")], demo.output
