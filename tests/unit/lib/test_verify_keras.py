"""Keras files: an archive proves itself, HDF5 only by its manifest; and what is recognised and not read."""

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import jsonschema
import numpy as np
import pytest

import lastgood
from lastgood.attest import NotTheSameError, verify_saved, write_manifest
from lastgood.cli import main
from lastgood.notes import Remark
from lastgood.reasons import Reason

SOURCE = Path(lastgood.__file__).parents[1]
SCHEMA = json.loads((SOURCE / "docs" / "schemas" / "manifest.schema.json").read_text())


def hdf5(*values):
    """A file of one variable, as Keras lays it out."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file["layers/dense/vars/0"] = np.array(values, np.float32)
    return content.getvalue()


HDF5 = hdf5(*range(100))
CONFIG = '{"class_name": "Functional", "config": {"name": "net"}}'


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "model.weights.h5"
    path.write_bytes(HDF5)
    return str(path)


@pytest.fixture
def archive(tmp_path):
    path = str(tmp_path / "model.keras")
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("metadata.json", "{}")
        file.writestr("config.json", CONFIG)
        file.writestr("model.weights.h5", HDF5)
    return path


def reasons(found):
    return [fault.reason for fault in found.faults]


def flip(path, position):
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])


def test_of_weights_without_a_manifest_nothing_can_be_said(weights, capsys):
    assert main(["verify", weights]) == 3
    assert capsys.readouterr().out.startswith(f"Unknown {weights}  NoChecksum: HDF5 carries no checksum")


def test_a_manifest_makes_weights_decidable(weights, capsys):
    assert main(["verify", "--write-manifest", weights]) == 3
    assert main(["verify", weights]) == 0
    assert capsys.readouterr().out.splitlines()[-2:][0] == f"Good    {weights}  4.9 kB, as its manifest says"

    flip(weights, 1000)
    assert reasons(verify_saved(weights)) == [Reason.CORRUPT]
    os.truncate(weights, 900)
    assert reasons(verify_saved(weights)) == [Reason.TORN]
    os.unlink(weights)
    assert reasons(verify_saved(weights)) == [Reason.INCOMPLETE]


def test_an_archive_is_proven_whole_by_itself_and_known_again_by_its_manifest(archive):
    before = verify_saved(archive)
    path = write_manifest(before, now_s=1.0)
    again = verify_saved(archive)
    document = json.loads(Path(path).read_text())
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("more", "x")

    replaced = verify_saved(archive)

    jsonschema.validate(document, SCHEMA)
    assert (before.faults, before.manifest, again.faults, again.manifest) == ((), "", (), path)
    assert document["model"] == {"source": "config.json", "config": json.loads(CONFIG)}
    assert (document["manifest"], document["files"][0]["name"]) == (None, "model.keras")
    assert reasons(replaced) == [Reason.VANISHED]


def test_a_damaged_archive_is_bad(archive):
    position = Path(archive).read_bytes().index(HDF5) + 100

    flip(archive, position)
    assert reasons(verify_saved(archive)) == [Reason.CORRUPT]
    os.truncate(archive, position)
    assert reasons(verify_saved(archive)) == [Reason.TORN]


def archive_of(path, weights):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("model.weights.h5", weights)
    return str(path)


def test_values_that_are_not_finite_make_either_file_bad(tmp_path, capsys):
    # given
    content = hdf5(1.0, np.nan, np.inf, -np.inf)
    archive = archive_of(tmp_path / "model.keras", content)
    weights = tmp_path / "model.weights.h5"
    weights.write_bytes(content)

    # when
    status, status_without = main(["verify", archive, str(weights)]), main(["verify", "--no-finite", archive])
    lines = capsys.readouterr().out.splitlines()

    # then
    sentence = "NotFinite: {}: layers/dense/vars/0 has 1 NaN and 2 Inf among its 4 float32 values"
    assert (status, status_without) == (1, 0)
    assert lines[0].startswith(f"Bad     {archive}  {sentence.format(archive)}")
    assert lines[1].startswith(f"Bad     {weights}  {sentence.format(weights)}; and 1 more")
    assert reasons(verify_saved(str(weights))) == [Reason.NOT_FINITE, Reason.NO_CHECKSUM]


def test_values_that_are_not_finite_are_saved_ones_and_their_manifest_says_so(tmp_path):
    # given
    weights = tmp_path / "model.weights.h5"
    weights.write_bytes(hdf5(np.nan))

    # when
    path = write_manifest(verify_saved(str(weights)))
    found = verify_saved(str(weights))

    # then
    assert (reasons(found), found.manifest) == ([Reason.NOT_FINITE], path)


def test_many_variables_that_are_not_finite_are_counted(tmp_path):
    # given
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for number in range(11):
            file[f"layers/dense_{number:02d}/vars/0"] = np.array([np.inf], np.float32)

    # when
    found = verify_saved(archive_of(tmp_path / "model.keras", content.getvalue()))

    # then
    assert [fault.detail for fault in found.faults[8:]] == ["and 3 more"]


def test_hdf5_that_does_not_parse_is_damaged_where_no_checksum_says_more(tmp_path):
    # given
    weights, archive = tmp_path / "model.weights.h5", archive_of(tmp_path / "model.keras", HDF5[:200])
    weights.write_bytes(HDF5[: len(HDF5) // 2])

    # when
    alone, in_archive = verify_saved(str(weights)), verify_saved(archive)

    # then
    assert reasons(alone) == [Reason.CORRUPT]
    assert "model.weights.h5 is damaged: OSError" in alone.faults[0].detail
    assert (reasons(in_archive), [note.remark for note in in_archive.notes]) == ([], [Remark.VALUES_UNREAD])


def test_without_h5py_a_note_says_that_values_were_not_looked_at(archive, monkeypatch, capsys):
    # given
    monkeypatch.setitem(sys.modules, "h5py", None)

    # when
    status = main(["verify", archive])

    # then
    assert status == 0
    assert "note: ValuesUnread: NaN and Inf were not looked for: reading Keras files needs h5py: pip install" in (
        capsys.readouterr().out
    )


def test_no_manifest_notes_an_archive_that_was_damaged_after_it_was_verified(archive):
    found = verify_saved(archive)
    flip(archive, Path(archive).read_bytes().index(HDF5) + 20)

    with pytest.raises(NotTheSameError, match=r"model\.keras was written again after it was verified"):
        write_manifest(found)

    assert not os.path.exists(archive + ".lastgood.json")


def test_a_manifest_of_another_kind_is_foreign(archive, weights):
    write_manifest(verify_saved(archive))
    document = json.loads(Path(archive + ".lastgood.json").read_text())
    shutil.copyfile(SOURCE / "docs" / "schemas" / "manifest.schema.json", weights + ".lastgood.json")

    assert document["lastgood_manifest"] == 1
    assert [note.remark for note in verify_saved(weights).notes] == [Remark.FOREIGN_MANIFEST]


def test_keras_files_in_a_directory_are_verified_too(archive, weights, tmp_path, capsys):
    (tmp_path / "notes.h5").write_bytes(HDF5)

    assert main(["verify", "--json", str(tmp_path)]) == 3
    assert [(row["prefix"], row["standing"]) for row in json.loads(capsys.readouterr().out)] == [
        (archive, "Good"),
        (weights, "Unknown"),
    ]


def test_a_v1_checkpoint_is_recognised_and_not_condemned(tmp_path, capsys):
    (tmp_path / "model.ckpt-00000-of-00001").touch()

    assert main(["verify", str(tmp_path / "model.ckpt")]) == 3
    assert "is a V1 checkpoint, which is recognised and not supported" in capsys.readouterr().out


def test_the_name_that_was_given_to_save_is_answered_with_the_one_that_it_returned(tmp_path, capsys):
    for name in ("ckpt-7.index", "ckpt-7.data-00000-of-00001"):
        (tmp_path / name).touch()

    assert main(["verify", str(tmp_path / "ckpt")]) == 1
    assert f"give the name that save() returned, such as {tmp_path / 'ckpt-7'}" in capsys.readouterr().out


def test_keras_files_need_nothing_but_the_standard_library(archive, weights, python38):
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONDONTWRITEBYTECODE": "1"}
    arguments = ["-m", "lastgood", "verify", "--write-manifest", "--json", archive, weights]

    old = subprocess.run([python38, *arguments], env=environment, capture_output=True, text=True, timeout=60)
    new = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=60)

    assert [row["standing"] for row in json.loads(old.stdout)] == ["Good", "Unknown"], old.stderr
    assert [row["standing"] for row in json.loads(new.stdout)] == ["Good", "Good"], new.stderr


@pytest.mark.parametrize("size_bytes", [0, 5, 700])
def test_a_keras_file_that_is_still_being_written_is_not_condemned(archive, size_bytes):
    # given
    os.truncate(archive, size_bytes)
    os.utime(archive, (5000, 5000))

    # when
    early = verify_saved(archive, settle_s=10, now_s=5005)
    late = verify_saved(archive, settle_s=10, now_s=5015)

    # then
    assert reasons(early) == [Reason.STILL_CHANGING]
    assert "model.keras was written 5.0 s ago, less than 10 s; so far: " in early.faults[0].detail
    assert reasons(late) == [Reason.TORN if size_bytes else Reason.INCOMPLETE]


def test_a_keras_file_is_read_from_the_disk_where_that_is_asked_for(archive, weights):
    verify_saved(archive)

    assert [verify_saved(archive, drop_cache=wanted).medium for wanted in (False, True)] == ["cache", "disk"]
