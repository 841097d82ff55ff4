"""The manifest beside a checkpoint: what it says, what it finds out later, and what one is worth that was changed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import bundle_builder as build
import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lastgood
from lastgood.attest import NotTheSameError, verify_saved, write_manifest
from lastgood.inspect import read_manifest
from lastgood.notes import Remark
from lastgood.reasons import Reason
from lastgood.sidecar import Sidecar, SidecarError, read_sidecar, sidecar_from_bytes, sidecar_to_bytes
from lastgood.verify import verify

SOURCE = Path(lastgood.__file__).parents[1]
SCHEMA = json.loads((SOURCE / "docs" / "schemas" / "manifest.schema.json").read_text())
KERAS = str(build.DATA / "tf-2.21.0" / "keras_adam" / "ckpt-3")
DATA = ".data-00000-of-00001"


def copy(prefix, to):
    for path in Path(prefix).parent.glob(Path(prefix).name + ".*"):
        shutil.copyfile(path, to + path.name[len(Path(prefix).name) :])
    return to


@pytest.fixture
def saved(tmp_path):
    """ckpt-3 with its manifest beside it."""
    prefix = copy(KERAS, str(tmp_path / "ckpt-3"))
    write_manifest(verify(prefix), now_s=1700000000.25)
    return prefix


def document_of(prefix):
    return json.loads(Path(prefix + ".lastgood.json").read_text())


def reasons(found):
    return [fault.reason for fault in found.faults]


def remarks(found):
    return [note.remark for note in found.notes]


@pytest.mark.parametrize("prefix", build.real_prefixes())
def test_every_real_checkpoint_has_a_manifest_that_fits_the_schema_and_knows_it_again(prefix, tmp_path):
    copied = copy(prefix, str(tmp_path / Path(prefix).name))

    path = write_manifest(verify(copied, finite=False))

    document = json.loads(Path(path).read_text())
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(document, SCHEMA)
    assert path == copied + ".lastgood.json"
    assert document["manifest"]["digest"] == verify(prefix).digest
    found = verify_saved(copied, finite=False)
    assert (found.faults, found.notes, found.manifest) == ((), (), path)


def test_it_says_what_the_checkpoint_holds_in_words_that_can_be_read(saved):
    document = document_of(saved)

    assert document["step"] == 3
    assert document["save_counter"] == 3
    assert document["verified_at_s"] == 1700000000.25
    assert document["lastgood_version"] == lastgood.__version__
    assert document["files"] == [
        {"name": f"ckpt-3{suffix}", "size_bytes": os.path.getsize(saved + suffix)} for suffix in (".index", DATA)
    ]
    assert "model" not in document
    by_path = {row["path"]: row for row in document["objects"]}
    assert len(by_path) == len(document["objects"])
    root = by_path[""]["children"]
    assert set(root) >= {"step", "save_counter"}
    names = {entry["key"]: entry["full_name"] for entry in document["manifest"]["entries"]}
    variables = [a for row in document["objects"] for a in row.get("attributes", []) if a["full_name"]]
    assert {v["checkpoint_key"]: v["full_name"] for v in variables}.items() <= names.items()


def test_slot_variables_are_named_by_the_variable_that_they_belong_to(tmp_path):
    prefix = copy(str(build.DATA / "tf-2.4.4" / "keras_adam" / "ckpt-3"), str(tmp_path / "ckpt-3"))
    write_manifest(verify(prefix))

    slots = [slot for row in document_of(prefix)["objects"] for slot in row.get("slot_variables", [])]
    paths = {row["path"] for row in document_of(prefix)["objects"]}

    assert {slot["name"] for slot in slots} == {"m", "v"}
    assert {slot["of"] for slot in slots} | {slot["variable"] for slot in slots} <= paths


def test_a_whole_checkpoint_that_is_another_one_has_vanished_and_the_difference_is_named(saved):
    copy(KERAS.replace("ckpt-3", "ckpt-2"), saved)

    found = verify_saved(saved)

    assert verify(saved).is_whole
    assert reasons(found) == [Reason.VANISHED]
    assert (found.manifest, found.notes) == ("", ())
    assert f"another checkpoint than the one that {saved}.lastgood.json describes lies at {saved}: of " in (
        found.faults[0].detail
    )
    assert "of another value (" in found.faults[0].detail


def test_keys_that_are_gone_new_or_of_another_type_are_named(tmp_path):
    prefix = build.write_bundle(
        tmp_path / "ckpt-1", [build.Tensor(b"a", bytes(4), (1,)), build.Tensor(b"b", bytes(4), (1,))]
    )
    write_manifest(verify(prefix))
    build.write_bundle(prefix, [build.Tensor(b"b", bytes(8), (2,)), build.Tensor(b"c", bytes(4), (1,))])

    found = verify_saved(prefix)

    assert found.faults[0].detail.endswith("of 2 entries 1 gone (a), 1 new (c), 1 of another type or shape (b)")


def test_damage_is_the_same_damage_with_a_manifest(saved):
    content = Path(saved + DATA).read_bytes()

    Path(saved + DATA).write_bytes(bytes([content[0] ^ 1]) + content[1:])
    assert reasons(verify_saved(saved)) == [Reason.CORRUPT]
    os.truncate(saved + DATA, 20)
    assert Reason.TORN in reasons(verify_saved(saved))
    os.unlink(saved + DATA)
    assert reasons(verify_saved(saved)) == [Reason.INCOMPLETE]


def test_bytes_behind_the_last_tensor_make_no_other_checkpoint(saved):
    with open(saved + DATA, "ab") as file:
        file.write(b"left over")

    found = verify_saved(saved)

    assert (reasons(found), remarks(found)) == ([], [Remark.TRAILING_BYTES])
    assert found.manifest == saved + ".lastgood.json"


def test_a_checkpoint_that_was_renamed_with_its_manifest_is_the_same_one(saved, tmp_path):
    renamed = copy(saved, str(tmp_path / "best"))

    found = verify_saved(renamed)

    assert (found.faults, found.notes) == ((), ())
    assert found.manifest == renamed + ".lastgood.json"


def test_a_manifest_that_was_copied_from_another_checkpoint_is_foreign(saved, tmp_path):
    other = copy(KERAS.replace("ckpt-3", "ckpt-2"), str(tmp_path / "ckpt-2"))
    shutil.copyfile(saved + ".lastgood.json", other + ".lastgood.json")

    found = verify_saved(other)

    assert (found.faults, remarks(found)) == ((), [Remark.FOREIGN_MANIFEST])
    assert "describes another checkpoint, ckpt-3.index" in found.notes[0].detail


@pytest.mark.parametrize(
    ("content", "remark"),
    [
        (b"", Remark.FOREIGN_MANIFEST),
        (b"\xff\xfe\x00", Remark.FOREIGN_MANIFEST),
        (b"[1, 2]", Remark.FOREIGN_MANIFEST),
        (b'{"name": "something else"}', Remark.FOREIGN_MANIFEST),
        (b'{"lastgood_manifest": true}', Remark.FOREIGN_MANIFEST),
        (b"[" * 100_000, Remark.FOREIGN_MANIFEST),
        (b'{"lastgood_manifest": 1}', Remark.DAMAGED_MANIFEST),
        (b'{"lastgood_manifest": 1, "manif', Remark.DAMAGED_MANIFEST),
        (b'{"lastgood_manifest": 2, "whatever": []}', Remark.NEWER_MANIFEST),
    ],
)
def test_a_manifest_that_is_of_no_use_is_a_note_and_no_verdict(saved, content, remark):
    Path(saved + ".lastgood.json").write_bytes(content)

    found = verify_saved(saved)

    assert (found.faults, remarks(found), found.manifest) == ((), [remark], "")
    assert saved + ".lastgood.json" in found.notes[0].detail


def test_a_directory_in_the_manifest_s_place_is_a_note(saved):
    os.unlink(saved + ".lastgood.json")
    os.mkdir(saved + ".lastgood.json")

    assert (verify_saved(saved).faults, remarks(verify_saved(saved))) == ((), [Remark.DAMAGED_MANIFEST])


def test_a_flipped_bit_in_a_manifest_condemns_no_checkpoint(saved):
    path = Path(saved + ".lastgood.json")
    whole = path.read_bytes()
    unharmed = []

    for position in range(0, len(whole), 97):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1 << position % 8]) + whole[position + 1 :])
        found = verify_saved(saved)
        assert found.faults == (), position
        if not found.notes:
            unharmed.append(chr(whole[position]))

    assert set(unharmed) <= set(" \n")  # one kind of space became another


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda c: st.lists(c) | st.dictionaries(st.text(), c)
    )
)
def test_any_document_is_a_manifest_or_a_refusal(value):
    with pytest.raises(SidecarError):
        sidecar_from_bytes(json.dumps({"lastgood_manifest": 1, "manifest": value}).encode(), "x")


def test_it_is_read_as_it_was_written(saved):
    sidecar = read_sidecar(saved)

    assert sidecar_from_bytes(sidecar_to_bytes(sidecar), "x") == sidecar
    assert sidecar.manifest == read_manifest(saved, full_names=True)
    assert read_sidecar(KERAS) is None


def test_none_is_written_for_what_is_not_whole_or_not_the_same_any_more(tmp_path):
    prefix = copy(KERAS, str(tmp_path / "ckpt-3"))
    whole = verify(prefix)
    copy(KERAS.replace("ckpt-3", "ckpt-2"), prefix)

    with pytest.raises(NotTheSameError, match="was written again after it was verified"):
        write_manifest(whole)
    os.truncate(prefix + DATA, 5)
    with pytest.raises(ValueError, match="expected a whole checkpoint, found Torn"):
        write_manifest(verify(prefix))

    assert not os.path.exists(prefix + ".lastgood.json")


def test_the_configuration_of_a_saved_model_goes_along(tmp_path):
    directory = tmp_path / "model" / "variables"
    directory.mkdir(parents=True)
    prefix = copy(KERAS, str(directory / "variables"))
    config = {"name": "net", "layers": [], "clip": float("inf")}
    root = build.field(3, b"root") + build.field(5, json.dumps({"class_name": "Functional", "config": config}).encode())
    other = build.field(3, b"root.layer-0") + build.field(5, b'{"config": {}}')
    metadata = build.field(1, build.field(2, 1) + other) + build.field(1, root)

    (tmp_path / "model" / "keras_metadata.pb").write_bytes(metadata)
    write_manifest(verify(prefix))
    known = document_of(prefix)
    (tmp_path / "model" / "keras_metadata.pb").write_bytes(metadata[:50])
    write_manifest(verify(prefix))

    jsonschema.validate(known, SCHEMA)
    assert known["model"] == {
        "source": "keras_metadata.pb",
        "config": {"name": "net", "layers": [], "clip": "Infinity"},
    }
    assert "model" not in document_of(prefix)


#: The digests of the canonical form are promises to everybody who has noted one.
PINNED = {
    "tf-2.21.0/keras_adam/ckpt-3": "c688ef8119d7037937a1c0f7442e2902ae5087384c202b26e4f421057631d526",
    "tf-2.21.0/sharded/ckpt-1": "33ed7d51810087352e9b99894e1232503c20d2aa8a7804caff442dc58c13d490",
    "tf-2.4.4/iterator/ckpt-1": "f6116a57f3b099e0b856fb6baf8d7e0116787cb323ff95442b3e234a001e05fa",
}


@pytest.mark.parametrize("name", PINNED)
def test_the_digest_is_what_it_always_was(name):
    assert read_manifest(str(build.DATA / name)).digest == PINNED[name]


def test_python_3_8_with_nothing_installed_writes_the_same_manifest_and_knows_it_again(saved, tmp_path, python38):
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONDONTWRITEBYTECODE": "1"}
    prefix = copy(KERAS, str(tmp_path / "other-3"))

    def told(interpreter, *arguments):
        command = [interpreter, "-m", "lastgood", "verify", "--json", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stderr, json.loads(done.stdout)[0]

    old = told(python38, "--write-manifest", prefix)
    ours, theirs = document_of(saved), document_of(prefix)
    new = told(sys.executable, prefix)

    assert (old[:2], old[2]["written_manifest"]) == ((0, ""), prefix + ".lastgood.json")
    assert (new[:2], new[2]["manifest"]) == ((0, ""), prefix + ".lastgood.json")
    assert (theirs["manifest"], theirs["objects"]) == (ours["manifest"], ours["objects"])
    assert told(python38, saved)[2]["manifest"] == saved + ".lastgood.json"


def test_a_manifest_without_names_can_be_written():
    sidecar = Sidecar(manifest=None, files=())

    assert sidecar_from_bytes(sidecar_to_bytes(sidecar), "x") == sidecar
