"""What somebody installs: all of our packages, with what they carry, and no name that could be anybody's."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from source_imports import CLONE, PACKAGES

BUILD = "import sys, setuptools.build_meta as b; print(b.build_wheel(sys.argv[1]))"

#: What stands in the packages' folders and is not code that somebody could import.
CARRIED = (".py", ".pyi", ".mako", ".ini", ".typed")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """A wheel built of what is in the clone, in a folder of its own."""
    source = tmp_path_factory.mktemp("source")
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    for name in ("lastgood", "controller", "worker_agent"):
        shutil.copytree(CLONE / name, source / name, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CLONE / name, source / name)
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-W", "error::DeprecationWarning:setuptools", "-c", BUILD, str(target)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    return zipfile.ZipFile(next(target.glob("*.whl")))


def test_a_wheel_claims_three_names_that_are_ours_alone(wheel: zipfile.ZipFile) -> None:
    # given
    metadata = [name for name in wheel.namelist() if ".dist-info/" in name]

    # when
    claimed = {name.partition("/")[0] for name in set(wheel.namelist()) - set(metadata)}

    # then
    assert claimed == set(PACKAGES)


def test_a_wheel_holds_every_file_that_its_packages_carry(wheel: zipfile.ZipFile) -> None:
    # given
    carried = {
        f"{package}/{path.relative_to(folder).as_posix()}"
        for package, folder in PACKAGES.items()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix in CARRIED
    }

    # when
    missing = carried - set(wheel.namelist())

    # then
    assert missing == set()


def test_no_file_of_a_package_is_of_a_sort_that_a_wheel_leaves_behind() -> None:
    # given: a template or a page that is not named in pyproject.toml would be there in a clone and nowhere else
    files = [path for folder in PACKAGES.values() for path in folder.rglob("*") if path.is_file()]

    # when
    left_behind = [path for path in files if path.suffix not in CARRIED and "__pycache__" not in path.parts]

    # then
    assert left_behind == []


def test_an_unpacked_wheel_imports_without_anything_else(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    # given
    wheel.extractall(tmp_path)
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import lastgood.reasons; print(lastgood.__file__)"

    # when
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, timeout=60)

    # then
    assert (done.stderr, done.stdout.strip()) == ("", str(tmp_path / "lastgood" / "__init__.py"))
