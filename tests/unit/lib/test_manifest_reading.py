"""From files to a manifest: the digest that identifies a checkpoint, names, kinds, and the step."""

import hashlib
import struct
from pathlib import Path

import bundle_builder as build
import pytest

from lastgood import checksum
from lastgood.errors import BundleError
from lastgood.inspect import (
    STEP_NAMES,
    manifest_from_index,
    read_full_names,
    read_manifest,
    read_shard_sizes,
    read_step,
)
from lastgood.manifest import Kind, manifest_from_json, manifest_to_json
from lastgood.reasons import Reason

MWMS = str(build.DATA / "tf-2.21.0" / "mwms" / "ckpt-1")

#: Changing this means that every checkpoint in the world gets a new identity: see docs/manifest.md.
PINNED_DIGEST = "607287111d7d7c37f8d16f388822ba796afc8b91d3044f2354f9b9be8548b5ed"


def index_bytes(prefix):
    return Path(prefix + ".index").read_bytes()


def integer(name, value, form="<q", dtype=9, shape=()):
    return build.Tensor((name + "/.ATTRIBUTES/VARIABLE_VALUE").encode(), struct.pack(form, value), shape, dtype)


def test_the_digest_of_a_known_checkpoint_never_changes():
    assert read_manifest(MWMS).digest == PINNED_DIGEST


def test_the_digest_is_the_same_without_the_c_checksum(monkeypatch):
    monkeypatch.setattr(checksum, "_in_c", None)

    assert read_manifest(MWMS).digest == PINNED_DIGEST


def test_the_canonical_form_is_the_documented_one(tmp_path):
    prefix = build.write_bundle(tmp_path / "ckpt-1", [build.Tensor(b"w\0\xff/x y", b"abcd", (1, 1))])

    canonical = read_manifest(prefix).canonical_bytes()

    crc = checksum.crc32c(b"abcd")
    assert canonical == b'{"entries":[["w%%00%%FF/x%%20y","float32",[1,1],%d,4]],"shards":[4],"version":1}' % crc
    assert read_manifest(prefix).digest == hashlib.sha256(canonical).hexdigest()


@pytest.mark.parametrize("prefix", build.real_prefixes())
def test_a_copied_index_and_the_files_themselves_give_one_digest(prefix):
    manifest = read_manifest(prefix)

    copied = manifest_from_index(index_bytes(prefix), read_shard_sizes(prefix, len(manifest.shard_sizes_bytes)))

    assert copied == manifest
    assert manifest_from_json(manifest_to_json(manifest)) == manifest


def test_names_and_kinds_travel_along_and_change_no_digest():
    kinds = {"w/.ATTRIBUTES/VARIABLE_VALUE": "mirrored", b"local/.ATTRIBUTES/VARIABLE_VALUE": Kind.PER_WORKER}
    with_kinds = manifest_from_index(index_bytes(MWMS), [546], kinds)
    with_names = read_manifest(MWMS, full_names=True)

    assert {entry.label: entry.kind.value for entry in with_kinds.entries if entry.kind is not Kind.UNKNOWN} == {
        "w": "mirrored",
        "local": "per_worker",
    }
    assert {entry.label: entry.full_name for entry in with_names.entries if entry.full_name} == {
        "b": "b",
        "local": "local",
        "save_counter": "save_counter",
        "seen": "seen",
        "w": "w",
    }
    assert with_kinds.digest == with_names.digest == PINNED_DIGEST


def test_what_differs_between_two_workers_is_what_was_made_outside_the_scope():
    chief = read_manifest(MWMS).by_key()
    other = read_manifest(MWMS.replace("mwms/", "mwms/workertemp_1/")).by_key()

    differing = {entry.label for key, entry in chief.items() if other[key] != entry}

    assert chief.keys() == other.keys()
    assert differing == {"local"}


def test_a_manifest_needs_every_data_file(tmp_path):
    with pytest.raises(BundleError) as raised:
        manifest_from_index(index_bytes(MWMS), [])
    assert raised.value.reason is Reason.INCOMPLETE

    (tmp_path / "ckpt-1.index").write_bytes(index_bytes(MWMS))
    with pytest.raises(BundleError) as raised:
        read_manifest(str(tmp_path / "ckpt-1"))
    assert raised.value.reason is Reason.INCOMPLETE


def test_full_names_are_read_from_the_object_graph():
    names = read_full_names(str(build.DATA / "tf-2.4.4" / "keras_adam" / "ckpt-3"))

    assert names[b"optimizer/iter/.ATTRIBUTES/VARIABLE_VALUE"] == "Adam/iter"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("keras_adam/ckpt-3", (3, 3)), ("iterator/ckpt-1", (3, 1)), ("mwms/ckpt-2", (None, 2))],
)
@pytest.mark.parametrize("version", build.VERSIONS)
def test_step_and_save_counter_are_read(version, name, expected):
    assert read_step(str(build.DATA / version / name)) == expected


@pytest.mark.parametrize("name", STEP_NAMES)
def test_every_usual_name_of_a_step_is_known(tmp_path, name):
    assert read_step(build.write_bundle(tmp_path / "ckpt-1", [integer(name, 41)])) == (41, None)


def test_the_script_s_own_step_goes_before_the_optimizer_s(tmp_path):
    tensors = [integer("optimizer/iter", 9), integer("save_counter", 2), integer("step", -7, "<i", dtype=3)]

    assert read_step(build.write_bundle(tmp_path / "ckpt-1", tensors)) == (-7, 2)


def test_what_is_not_an_integer_scalar_is_no_step(tmp_path):
    tensors = [integer("iterations", 5), integer("step", 1.5, "<f", dtype=1), integer("step_1", 8, shape=(1,))]

    assert read_step(build.write_bundle(tmp_path / "ckpt-1", tensors)) == (5, None)


def test_a_damaged_step_is_an_error_and_no_number(tmp_path):
    tensor = integer("step", 5)
    tensor.crc = 1

    with pytest.raises(BundleError) as raised:
        read_step(build.write_bundle(tmp_path / "ckpt-1", [tensor]))

    assert raised.value.reason is Reason.CORRUPT
