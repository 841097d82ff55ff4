"""The library, the launcher and the hooks run on Python 3.8: an old image has nothing newer."""

import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

from source_imports import CLONE, modules, reached_from

LAUNCHER = ("lastgood_agent.run_command", "lastgood_agent.commands")


def floor_files() -> list[Path]:
    """Every file that has to run on the oldest Python."""
    names = {m for m in modules() if m.startswith(("lastgood.", "lastgood_agent.inject"))} | {"lastgood"}
    names |= reached_from(LAUNCHER)
    own = [modules()[name] for name in names if not name.startswith("lastgood.v1")]
    return sorted([*own, *(CLONE / "tests" / "tensorflow_side").glob("*.py")])


def test_the_linter_is_told_of_every_file_that_has_to_run_on_the_oldest_python() -> None:
    # given: it would rewrite what it was not told of for a newer one
    configuration = tomllib.loads((CLONE / "pyproject.toml").read_text(encoding="utf-8"))
    told = configuration["tool"]["ruff"]["per-file-target-version"]

    # when
    names = [path.relative_to(CLONE).as_posix() for path in floor_files()]
    missing = [name for name in names if not any(fnmatch(name, pattern) for pattern in told)]
    stale = [pattern for pattern in told if not any(fnmatch(name, pattern) for name in names)]

    # then
    assert (missing, stale) == ([], [])
    assert set(told.values()) == {"py38"}


def test_no_file_uses_what_python_3_8_lacks() -> None:
    # given
    files = [str(path) for path in floor_files()]
    options = ["--target=3.8-", "--violations", "--no-tips", "--no-parse-comments", "--backport", "typing"]

    # when
    command = [sys.executable, "-c", "from vermin.main import main; main()", *options, *files]
    done = subprocess.run(command, cwd=CLONE, capture_output=True, text=True, timeout=110)

    # then
    assert done.returncode == 0, done.stdout + done.stderr


def test_python_3_8_itself_compiles_every_file(python38: str) -> None:
    # given
    program = "import sys\nfor path in sys.argv[1:]: compile(open(path, encoding='utf-8').read(), path, 'exec')"

    # when
    command = [python38, "-I", "-c", program, *map(str, floor_files())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)

    # then
    assert (done.stderr, done.returncode) == ("", 0)


def test_python_3_8_itself_imports_the_library_and_the_launcher(python38: str) -> None:
    # given: nothing on the path but our own folders
    library = [m for m in modules() if m.split(".")[0] == "lastgood" and not m.startswith("lastgood.v1")]
    needs_numpy = "lastgood.lanes"
    wanted = sorted({*library, *reached_from(LAUNCHER)} - {"lastgood.__main__", needs_numpy})
    program = f"import sys; sys.path[:0] = {[str(CLONE), str(CLONE / 'worker_agent')]!r}; import {', '.join(wanted)}"

    # when
    done = subprocess.run([python38, "-I", "-S", "-c", program], capture_output=True, text=True, timeout=60)

    # then
    assert (done.stderr, done.returncode) == ("", 0)
