"""Pins as they lie in a directory: listed, found by what they hold, put back, removed."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from lastgood.cli import main
from lastgood.inspect import read_manifest
from lastgood.pins import PinnedSave, find_pin, list_pins, parse_pin_name, put_back
from lastgood.verify import verify

SOURCE = Path(__file__).parents[3]
SCHEMA = json.loads((SOURCE / "docs" / "schemas" / "pins.schema.json").read_text())
CHECKPOINTS = SOURCE / "tests" / "data" / "checkpoints" / "tf-2.21.0"
NAME = "0123456789abcdef.0.2.7"


def lay(directory: Path, name: str = "ckpt-7", number: int = 0) -> str:
    """A real checkpoint under that name; its prefix."""
    source = sorted(CHECKPOINTS.rglob("*.index"))[number]
    directory.mkdir(parents=True, exist_ok=True)
    for path in source.parent.glob(source.stem + ".*"):
        shutil.copy(path, directory / path.name.replace(source.stem, name, 1))
    return str(directory / name)


def pin(prefix: str, name: str = NAME) -> Path:
    """What the hooks make of a checkpoint."""
    place = Path(prefix).parent / ".lastgood" / "pins" / name
    place.mkdir(parents=True)
    for path in Path(prefix).parent.glob(Path(prefix).name + ".data-*"):
        os.link(path, place / path.name)
    shutil.copy(prefix + ".index", place)
    return place


def rotate(prefix: str) -> None:
    for path in Path(prefix).parent.glob(Path(prefix).name + ".*"):
        path.unlink()


@pytest.mark.parametrize(
    ("text", "save"),
    [
        (NAME, PinnedSave("0123456789abcdef", 0, 2, 7)),
        ("any.1.0.3", PinnedSave("", 1, 0, 3)),
        ("ckpt-7", None),
        ("0123.0.2", None),
        ("any.1.0.3.tmp", None),
    ],
)
def test_a_pins_name_says_which_save_it_holds(text: str, save: PinnedSave | None) -> None:
    assert parse_pin_name(text) == save
    assert save is None or str(save) == text


def test_a_pin_is_found_by_what_it_holds_and_not_by_what_is_called_like_it(tmp_path: Path) -> None:
    # given two checkpoints that were saved under one name, one after the other, each pinned
    older = lay(tmp_path, number=0)
    first = read_manifest(older).digest
    pin(older, "aa.0.1.3")
    rotate(older)
    second = read_manifest(lay(tmp_path, number=1)).digest
    pin(older, "aa.0.2.1")

    # when, then
    found = find_pin(older, first), find_pin(older, second)
    assert [each.name if each else None for each in found] == ["aa.0.1.3", "aa.0.2.1"]
    assert find_pin(older, "0" * 64) is None
    assert find_pin(str(tmp_path / "ckpt-8"), first) is None


def test_what_was_begun_and_has_no_index_is_no_pin(tmp_path: Path) -> None:
    place = pin(lay(tmp_path))
    (place / "ckpt-7.index").unlink()

    assert list_pins(str(tmp_path)) == ()


def test_a_checkpoint_that_was_rotated_away_gets_its_name_back_whole_and_the_pin_stays(tmp_path: Path) -> None:
    # given
    prefix = lay(tmp_path)
    digest = read_manifest(prefix).digest
    place = pin(prefix)
    rotate(prefix)
    (held,) = list_pins(str(tmp_path))

    # when, also when somebody else does the same
    assert put_back(held)
    assert put_back(held)

    # then
    assert verify(prefix, digest).faults == verify(held.prefix, digest).faults == ()
    assert sorted(path.name for path in tmp_path.glob("ckpt-7.*")) == sorted(path.name for path in place.iterdir())
    assert sorted(os.listdir(tmp_path)) == [".lastgood", "ckpt-7.data-00000-of-00001", "ckpt-7.index"]


def test_nothing_is_put_back_over_another_checkpoint(tmp_path: Path) -> None:
    # given a prefix that was saved again
    prefix = lay(tmp_path, number=0)
    pin(prefix)
    rotate(prefix)
    lay(tmp_path, number=1)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("ckpt-*")}
    (held,) = list_pins(str(tmp_path))

    # when, then
    assert not put_back(held)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("ckpt-*")} == before


def test_an_index_that_is_written_again_in_place_does_not_hurt_the_pin(tmp_path: Path) -> None:
    # given
    prefix = lay(tmp_path)
    digest = read_manifest(prefix).digest
    pin(prefix)

    # when TensorFlow saves there again: new data files, the index in place
    replaced = lay(tmp_path / "new", number=1)
    os.replace(replaced + ".data-00000-of-00001", prefix + ".data-00000-of-00001")
    with open(prefix + ".index", "r+b") as file:
        file.truncate()
        file.write(Path(replaced + ".index").read_bytes())

    # then
    found = find_pin(prefix, digest)
    assert found is not None
    assert verify(found.prefix, digest).faults == ()


# ------------------------------------------------------------------------------------------------------- the command


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["pins", *arguments])
    said = capsys.readouterr()
    return status, said.out, said.err


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    status, out, _ = run(capsys, *arguments, "--json")
    assert status == 0
    found = json.loads(out)
    jsonschema.validate(found, SCHEMA)
    return found


def test_pins_are_listed_with_what_they_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # given one whose checkpoint lies there, one that was rotated away, and one whose name another one has
    there, gone, another = (lay(tmp_path, f"ckpt-{number}") for number in (3, 2, 1))
    for number, prefix in enumerate((another, gone, there), start=1):
        pin(prefix, f"aa.0.1.{number}")
    rotate(gone)
    rotate(another)
    lay(tmp_path, "ckpt-1", number=1)

    # when
    found = document(capsys, str(tmp_path))
    status, out, _ = run(capsys, str(tmp_path))

    # then
    rows = [(row["own_prefix"], row["own_files"], row["attempt"], row["ordinal"]) for row in found["pins"]]
    assert rows == [(another, "Another", 1, 1), (gone, "Gone", 1, 2), (there, "There", 1, 3)]
    sizes = [(row["size_bytes"] - row["own_bytes"] > 0, row["removed"]) for row in found["pins"]]
    assert sizes == [(False, False), (False, False), (True, False)]
    assert status == 0
    assert [line.split("  ")[1].partition(";")[0] for line in out.splitlines()[:3]] == [
        "another one has its name now",
        "rotated away, and lies nowhere else",
        "lies there too",
    ]
    assert out.splitlines()[3].startswith("3 pins, ")


def test_one_command_removes_them_all_and_leaves_the_checkpoints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # given
    prefix = lay(tmp_path)
    pin(prefix)

    # when
    found = document(capsys, str(tmp_path), "--remove")

    # then
    assert [row["removed"] for row in found["pins"]] == [True]
    assert sorted(os.listdir(tmp_path)) == ["ckpt-7.data-00000-of-00001", "ckpt-7.index"]
    assert run(capsys, str(tmp_path)) == (0, f"no checkpoint of {tmp_path} is pinned\n", "")


def test_a_directory_that_is_none_has_no_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, str(tmp_path / "missing"))

    assert (status, out) == (3, "")
    assert err == f"lastgood: {tmp_path}/missing is no directory\n"
