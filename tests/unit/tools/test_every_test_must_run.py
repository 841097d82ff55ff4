"""Where everything is expected to be there, a test that cannot run has failed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CLONE = Path(__file__).resolve().parents[3]

SKIPS = """
import pytest

def test_it_cannot_run():
    pytest.skip("no such thing here")

def test_it_needs_an_old_python(python38):
    pass

def test_it_needs_nothing():
    pass

@pytest.mark.xfail(reason="known")
def test_it_is_known_to_fail():
    raise ValueError
"""

SKIPS_AS_A_WHOLE = "import pytest; pytest.importorskip('no_such_module_anywhere')"


def run_pytest(folder: Path, *options: str, **environment: str) -> tuple[int, str]:
    """The exit status and the output of pytest on those tests beside our conftest, with no Python 3.8 on the PATH."""
    shutil.copy(CLONE / "tests" / "conftest.py", folder)
    (folder / "test_some.py").write_text(SKIPS, encoding="utf-8")
    (folder / "test_whole.py").write_text(SKIPS_AS_A_WHOLE, encoding="utf-8")
    (folder / "pytest.ini").write_text(f"[pytest]\npythonpath = {CLONE}\n", encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "LASTGOOD_REQUIRE_ALL")}
    kept |= {"PATH": str(folder), "LASTGOOD_TEST_PYTHON38": ""}
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", *options, str(folder)]
    done = subprocess.run(command, env=kept | environment, cwd=folder, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("variable", "options"),
    [
        pytest.param({"CI": "true"}, ["--continue-on-collection-errors"], id="CI"),
        pytest.param({"LASTGOOD_REQUIRE_ALL": "1"}, ["-n2", "--continue-on-collection-errors"], id="side by side"),
    ],
)
def test_a_skipped_test_fails_where_every_test_must_run(
    tmp_path: Path, variable: dict[str, str], options: list[str]
) -> None:
    # when
    status, output = run_pytest(tmp_path, *options, **variable)

    # then
    assert status == 1
    assert "1 failed, 1 passed, 1 xfailed, 2 errors" in output
    for what in ("test_some.py::test_it_cannot_run", "test_some.py::test_it_needs_an_old_python", "test_whole.py"):
        assert f"{what} was skipped, and here every test must run" in output


def test_a_skipped_test_is_skipped_elsewhere_and_says_what_it_needs(tmp_path: Path) -> None:
    # when
    status, output = run_pytest(tmp_path)

    # then
    assert status == 0
    assert "1 passed, 3 skipped, 1 xfailed" in output
    assert "needs a Python 3.8" in output
