"""How an environment comes to be: whole or not at all, and once."""

import subprocess
import sys
from pathlib import Path

import pytest

from tools import environment


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "lastgood"


def test_an_environment_is_built_once(cache: Path) -> None:
    # given
    built: list[Path] = []

    def build(folder: Path) -> None:
        folder.mkdir(parents=True)
        built.append(folder)

    # when
    places = [environment.ready(cache / "some", build, "something") for _ in range(2)]

    # then
    assert (places, built) == ([cache / "some"] * 2, [cache / "some"])


def test_what_an_interrupted_build_left_behind_is_not_used(cache: Path) -> None:
    # given: half an environment, without the mark of a whole one
    (cache / "some" / "half").mkdir(parents=True)

    # when
    environment.ready(cache / "some", Path.mkdir, "something")

    # then
    assert sorted(path.name for path in (cache / "some").iterdir()) == [environment.READY]


def test_a_build_that_fails_leaves_nothing_that_looks_whole(cache: Path) -> None:
    # given
    def fail(folder: Path) -> None:
        folder.mkdir(parents=True)
        environment.run([sys.executable, "-c", "raise SystemExit(7)"])

    # when
    with pytest.raises(environment.EnvironmentSetupError, match="ended with 7"):
        environment.ready(cache / "some", fail, "something")

    # then
    assert not (cache / "some" / environment.READY).exists()


def test_of_two_processes_that_want_one_environment_one_builds_and_the_other_waits(cache: Path) -> None:
    # given: each would note that it has built, and fail if the folder were there already
    program = (
        "import sys; from pathlib import Path; from tools import environment\n"
        "environment.ready(Path(sys.argv[1]), lambda f: (f.mkdir(parents=True), (f / 'x').touch(exist_ok=False)), 'it')"
    )
    command = [sys.executable, "-c", program, str(cache / "some")]

    # when
    both = [subprocess.Popen(command, cwd=environment.CLONE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=60)[1] for process in both]

    # then
    assert [process.returncode for process in both] == [0, 0], said
    assert "".join(said).count("setting up it in") == 1


def test_environments_of_clones_that_are_gone_are_removed_and_others_stay(cache: Path, tmp_path: Path) -> None:
    # given
    for name, clone in (("clone-1-a", tmp_path), ("clone-2-a", tmp_path / "gone")):
        (cache / name).mkdir(parents=True)
        (cache / name / "clone").write_text(f"{clone}\n", encoding="utf-8")

    # when
    environment.remove_environments_of_vanished_clones()

    # then
    assert [path.name for path in cache.iterdir()] == ["clone-1-a"]


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["path", "moon"], ["exec", "true"], ["clean", "all"]])
def test_wrong_usage_gets_a_sentence_and_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    # when
    status = environment.main(arguments)

    # then
    assert status == 2
    assert capsys.readouterr().err.startswith("environment: expected")
