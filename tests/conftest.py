"""What all tests share: the interpreters that some need, and the rule that a test that cannot run has failed.

The rule holds where everything is expected to be there: with CI=true or LASTGOOD_REQUIRE_ALL=1, as in `.ci/run`.
Elsewhere a test that lacks something of the machine, such as a Python 3.8, is skipped with a reason that begins with
`needs`; `make test` says at its end how many were left out for which reason.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Generator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

from tests.breadth import IS_FULL

# No deadline: a busy machine is not a bug. `make test-full` looks at more examples, where a test says no number itself.
settings.register_profile("usual", deadline=None)
settings.register_profile("full", deadline=None, max_examples=2000)
settings.load_profile("full" if IS_FULL else "usual")


def every_test_must_run() -> bool:
    """Whether a skipped test is a failure."""
    return os.environ.get("CI", "").lower() in ("true", "1") or os.environ.get("LASTGOOD_REQUIRE_ALL") == "1"


@cache
def python38_interpreter() -> str | None:
    """A Python 3.8 of this machine, or None."""
    for candidate in (os.environ.get("LASTGOOD_TEST_PYTHON38"), shutil.which("python3.8")):
        if not candidate:
            continue
        program = "import sys; sys.exit(sys.version_info[:2] != (3, 8))"
        try:
            done = subprocess.run([candidate, "-I", "-c", program], capture_output=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == 0:
            return candidate
    return None


@pytest.fixture(scope="session")
def python38() -> str:
    """A Python of the oldest version that library, hooks and launcher support."""
    interpreter = python38_interpreter()
    if interpreter is None:
        pytest.skip("needs a Python 3.8, as LASTGOOD_TEST_PYTHON38, as python3.8 on the PATH, or of pyenv's versions")
    return interpreter


@pytest.fixture(scope="session")
def tf_python() -> str:
    """The interpreter of an environment with TensorFlow and nothing of lastgood."""
    interpreter = os.environ.get("LASTGOOD_TEST_TF_PYTHON", "")
    if not Path(interpreter).is_file():
        pytest.skip("needs a Python with TensorFlow as LASTGOOD_TEST_TF_PYTHON; `make test` sets it")
    return interpreter


@dataclass(frozen=True)
class TensorFlow:
    """An environment with one TensorFlow and nothing of lastgood. version: such as "2.15"."""

    version: str
    python: str


@pytest.fixture(scope="session", params=["2.4", "2.15", "2.21"])
def each_tensorflow(request: pytest.FixtureRequest) -> TensorFlow:
    """One TensorFlow after the other; 2.4 runs on Python 3.8."""
    version: str = request.param
    variable = f"LASTGOOD_TEST_TF_{version.replace('.', '_')}_PYTHON"
    interpreter = os.environ.get(variable, "")
    if not Path(interpreter).is_file():
        pytest.skip(f"needs a Python with TensorFlow {version} as {variable}; `make test` sets it where it can be had")
    return TensorFlow(version, interpreter)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves the breadth to `make test-full`."""
    if IS_FULL:
        return
    broad = [item for item in items if item.get_closest_marker("breadth")]
    items[:] = [item for item in items if item not in broad]
    config.hook.pytest_deselected(items=broad)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turns a skipped test into a failed one, where every test must run."""
    report = yield
    if report.skipped and every_test_must_run() and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} was skipped, and here every test must run: {_why(report.longrepr)}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a whole module that skips itself."""
    report = yield
    if report.skipped and every_test_must_run():
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} was skipped, and here every test must run: {_why(report.longrepr)}"
    return report


def _why(longrepr: object) -> str:
    return str(longrepr[2]) if isinstance(longrepr, tuple) else str(longrepr)
