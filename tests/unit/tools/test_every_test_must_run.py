"""Where everything is expected to be there, a test that cannot run has failed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).resolve().parents[2] / "conftest.py"

SKIPS = """
import pytest

def test_it_cannot_run():
    pytest.skip("no such thing here")

@pytest.mark.xfail(reason="known")
def test_it_is_known_to_fail():
    raise ValueError
"""

SKIPS_AS_A_WHOLE = "import pytest; pytest.importorskip('no_such_module_anywhere')"

NEEDS_PYTHON_38 = """
import pytest

@pytest.mark.python38
def test_it_needs_an_old_python(python38):
    pass

def test_it_does_not():
    pass
"""


def run_pytest(folder: Path, program: str, **environment: str) -> tuple[int, str]:
    """The exit status and the last line of pytest on one test file beside our conftest."""
    shutil.copy(CONFTEST, folder / "conftest.py")
    (folder / "test_it.py").write_text(program, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = python38: needs it\n", encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "LASTGOOD_REQUIRE_ALL")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)]
    done = subprocess.run(command, env=kept | environment, cwd=folder, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout


@pytest.mark.parametrize("program", [SKIPS, SKIPS_AS_A_WHOLE], ids=["one test", "a whole module"])
@pytest.mark.parametrize("variable", [{"CI": "true"}, {"LASTGOOD_REQUIRE_ALL": "1"}], ids=["CI", "require all"])
def test_a_skipped_test_fails_where_every_test_must_run(tmp_path: Path, program: str, variable: dict[str, str]) -> None:
    # when
    status, output = run_pytest(tmp_path, program, **variable)

    # then
    assert status != 0
    assert "here every test must run" in output


def test_a_skipped_test_is_skipped_elsewhere(tmp_path: Path) -> None:
    # when
    status, output = run_pytest(tmp_path, SKIPS)

    # then
    assert status == 0
    assert "1 skipped, 1 xfailed" in output


def test_what_needs_python_3_8_is_left_out_and_counted_where_there_is_none(tmp_path: Path) -> None:
    # given: no interpreter on the PATH
    environment = {"CI": "true", "PATH": str(tmp_path), "LASTGOOD_TEST_PYTHON38": ""}

    # when
    status, output = run_pytest(tmp_path, NEEDS_PYTHON_38, **environment)

    # then
    assert status == 0
    assert "left out: 1 tests that need Python 3.8" in output
    assert "1 passed, 1 deselected" in output
