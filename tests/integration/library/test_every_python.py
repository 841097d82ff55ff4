"""The library's commands give the same answers on every Python, with the standard library alone.

`make test` asks the oldest one, `make test-full PART=library` all of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.pythons import VERSIONS, NoPythonError, find

CLONE = Path(__file__).parents[3]
DATA = CLONE / "tests" / "data" / "checkpoints"
ADAM = DATA / "tf-2.15.1" / "keras_adam"

#: What changes from one call to the next.
PASSING = {"duration_s"}

COMMANDS = {
    "verify": ["verify", "--json", str(ADAM), str(DATA / "tf-2.21.0" / "sharded"), str(DATA / "tf-2.4.4" / "iterator")],
    "show": ["show", "--json", "--values", "--names", str(DATA / "tf-2.21.0" / "variables" / "ckpt-1")],
    "show parts": ["show", "--json", str(DATA / "tf-2.21.0" / "sharded" / "ckpt-1")],
    "latest": ["latest", "--json", str(DATA / "tf-2.21.0" / "mwms")],
    "latest in doubt": ["latest", "--json", str(DATA / "tf-2.21.0" / "variables")],
    "explain": ["explain", "--json", str(ADAM / "ckpt-2"), "--against", str(ADAM / "ckpt-3")],
    "explain of another": [
        "explain",
        "--json",
        str(ADAM / "ckpt-2"),
        "--against",
        str(DATA / "tf-2.4.4/keras_adam/ckpt-2"),
    ],
    "diff": ["diff", "--json", str(ADAM / "ckpt-2"), str(ADAM / "ckpt-3")],
}

#: Runs the command as `python -m lastgood` does, where neither numpy nor the C crc32c can be imported.
BARE = """
import sys
sys.modules["numpy"] = sys.modules["crc32c"] = None
from lastgood.cli import main
sys.exit(main(sys.argv[1:]))
"""


def answer(interpreter: str, command: list[str]) -> tuple[int, object, str]:
    """The exit status, the document without what passes, and what was said beside it."""
    environment = {**os.environ, "PYTHONPATH": str(CLONE), "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [interpreter, "-c", BARE, *command], env=environment, capture_output=True, text=True, timeout=120
    )
    try:
        document = json.loads(done.stdout)
    except ValueError:
        pytest.fail(f"expected a document from {interpreter}, found {done.stdout[-500:]!r} and {done.stderr[-2000:]}")
    return done.returncode, without_what_passes(document), done.stderr


def without_what_passes(document: object) -> object:
    if isinstance(document, dict):
        return {name: without_what_passes(value) for name, value in document.items() if name not in PASSING}
    return [without_what_passes(value) for value in document] if isinstance(document, list) else document


@pytest.mark.parametrize("command", sorted(COMMANDS))
@pytest.mark.parametrize(
    "version",
    [version if version == "3.8" else pytest.param(version, marks=pytest.mark.breadth) for version in VERSIONS],
)
def test_the_answer_is_the_same_on_every_python(version: str, command: str) -> None:
    try:
        interpreter = find(version)
    except NoPythonError as error:
        pytest.skip(f"needs a Python {version}: {error}")

    found = answer(interpreter, COMMANDS[command])

    assert found == answer(sys.executable, COMMANDS[command])
