"""What lies at a path: told by names and by the files' own bytes; the rest with what to do about it."""

import os
import zipfile

import bundle_builder as build
import pytest

from lastgood.checkpoint import open_checkpoint
from lastgood.errors import BundleError
from lastgood.reasons import Reason
from lastgood.recognition import Kind, Recognised, recognise

TENSOR = build.Tensor(b"w", bytes(8), (2,))

#: SavedTensorSlices with the names of one tensor: what every V1 checkpoint begins with.
V1 = build.table(build.block([(b"", build.field(1, build.field(1, build.field(1, b"a")))), (b"\0\1a\0\1\1\x80", b"")]))


def refusal_of(path):
    with pytest.raises(BundleError) as raised:
        recognise(str(path))
    return raised.value.reason, raised.value.detail


def test_a_bundle_is_recognised_by_its_prefix_and_by_each_of_its_files(tmp_path):
    prefix = build.write_bundle(tmp_path / "ckpt-1", [TENSOR])

    found = {recognise(path) for path in (prefix, prefix + ".index", prefix + ".data-00000-of-00001")}

    assert found == {Recognised(Kind.BUNDLE, prefix)}


def test_a_prefix_that_is_the_name_of_a_file_too_is_a_bundle(tmp_path):
    prefix = build.write_bundle(tmp_path / "ckpt-1", [TENSOR])
    (tmp_path / "ckpt-1").write_bytes(V1)

    assert recognise(prefix) == Recognised(Kind.BUNDLE, prefix)


def test_a_saved_model_is_read_by_its_variables(tmp_path):
    # given
    (tmp_path / "model" / "variables").mkdir(parents=True)
    (tmp_path / "model" / "saved_model.pb").write_bytes(b"\x08\x01")
    inner = build.write_bundle(tmp_path / "model" / "variables" / "variables", [TENSOR])

    # when
    found = {
        recognise(str(path)) for path in (tmp_path / "model", f"{tmp_path}/model/", tmp_path / "model" / "variables")
    }
    with open_checkpoint(str(tmp_path / "model")) as checkpoint:
        keys = list(checkpoint.tensors)

    # then
    assert {(row.kind, os.path.normpath(row.location)) for row in found} == {(Kind.BUNDLE, inner)}
    assert keys == [b"w"]


def test_a_saved_model_that_has_lost_its_index_is_a_bundle_that_is_incomplete(tmp_path):
    (tmp_path / "variables").mkdir()
    build.write_bundle(tmp_path / "variables" / "variables", [TENSOR])
    (tmp_path / "variables" / "variables.index").unlink()
    (tmp_path / "saved_model.pb").touch()

    with pytest.raises(BundleError) as raised:
        open_checkpoint(str(tmp_path))

    assert raised.value.reason is Reason.INCOMPLETE
    assert "variables.index" in raised.value.detail


def test_a_saved_model_without_variables_says_so(tmp_path):
    (tmp_path / "saved_model.pb").touch()

    assert refusal_of(tmp_path) == (Reason.INCOMPLETE, f"the SavedModel in {tmp_path} holds no variables")


@pytest.mark.parametrize("name", ["weights", "model.keras", "m.weights.h5"])
def test_keras_files_are_told_by_their_bytes_and_not_by_their_names(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    assert recognise(str(tmp_path / name)).kind is Kind.WEIGHTS_H5

    with zipfile.ZipFile(tmp_path / name, "w") as archive:
        archive.writestr("config.json", "{}")
    assert recognise(str(tmp_path / name)).kind is Kind.KERAS


@pytest.mark.parametrize(
    ("files", "asked"),
    [
        ({"model.ckpt-7": V1}, "model.ckpt-7"),
        ({"model-00000-of-00001": V1}, "model"),
        ({"model-00000-of-00001": V1}, "model-?????-of-00001"),
        ({"model-00000-of-00001": V1}, "model-00000-of-00001"),
    ],
)
def test_v1_checkpoints_are_recognised_and_say_what_to_do(tmp_path, files, asked):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)

    reason, detail = refusal_of(tmp_path / asked)

    assert reason is Reason.UNSUPPORTED
    assert "is a V1 checkpoint, which is recognised and not supported" in detail
    assert "tf.compat.v1.train.Saver" in detail


def test_a_big_endian_bundle_is_recognised_and_says_what_to_do(tmp_path):
    header = build.HEADER + build.field(2, 1)

    with pytest.raises(BundleError) as raised:
        open_checkpoint(build.write_bundle(tmp_path / "ckpt", [TENSOR], header))

    assert raised.value.reason is Reason.UNSUPPORTED
    assert "big-endian, which is recognised and not supported: restore it with TensorFlow" in raised.value.detail


@pytest.mark.parametrize(
    ("name", "content", "reason", "said"),
    [
        ("saved_model.pb", b"\x08\x01", Reason.UNSUPPORTED, "name its directory"),
        ("checkpoint", b'model_checkpoint_path: "ckpt-1"\n', Reason.UNSUPPORTED, "`lastgood latest"),
        ("m.weights.json", b"{}", Reason.UNSUPPORTED, "name one of the .weights.h5 files"),
        ("m.keras", b"not a zip archive", Reason.CORRUPT, "expected a zip archive"),
        ("m.weights.h5", b"not HDF5", Reason.CORRUPT, "expected HDF5"),
        ("m.weights.h5", b"", Reason.INCOMPLETE, "is empty"),
        ("notes.txt", b"hello", Reason.UNSUPPORTED, "a file that begins b'hello'"),
        ("index", build.index_of([TENSOR]), Reason.UNSUPPORTED, "call it PREFIX.index"),
    ],
)
def test_anything_else_is_refused_with_what_was_expected_and_found(tmp_path, name, content, reason, said):
    (tmp_path / name).write_bytes(content)

    found, detail = refusal_of(tmp_path / name)

    assert found is reason
    assert said in detail


def test_where_nothing_lies_the_name_that_save_returned_is_offered(tmp_path):
    prefix = build.write_bundle(tmp_path / "ckpt-1", [TENSOR])

    reason, detail = refusal_of(tmp_path / "ckpt")

    assert reason is Reason.INCOMPLETE
    assert f"give the name that save() returned, such as {prefix}" in detail


def test_data_files_without_an_index_are_a_bundle_that_is_incomplete(tmp_path):
    prefix = build.write_bundle(tmp_path / "ckpt-1", [TENSOR])
    (tmp_path / "ckpt-1.index").unlink()

    assert refusal_of(prefix) == (Reason.INCOMPLETE, f"expected the index at {prefix}.index, and there is none")


def test_of_a_directory_of_checkpoints_one_has_to_be_named(tmp_path):
    for name in ("ckpt-1", "ckpt-2"):
        build.write_bundle(tmp_path / name, [TENSOR])

    reason, detail = refusal_of(tmp_path)

    assert reason is Reason.UNSUPPORTED
    assert detail.endswith(f"name it, such as {tmp_path / 'ckpt-2'}")


def test_an_empty_directory_and_what_is_no_regular_file_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").mkdir()

    assert refusal_of(tmp_path / "pipe")[0] is Reason.UNREADABLE
    assert refusal_of(tmp_path / "empty")[0] is Reason.INCOMPLETE
    assert refusal_of(tmp_path / "nothing\0here")[0] is Reason.INCOMPLETE


def test_where_nobody_can_look_nothing_is_said_to_be_missing(tmp_path):
    os.symlink("loop", tmp_path / "loop")

    for path in (tmp_path / "loop", tmp_path / "loop" / "ckpt-1", tmp_path / "loop" / "model.keras"):
        assert refusal_of(path)[0] is Reason.UNREADABLE


def test_the_path_in_a_file_url_is_recognised_by_what_lies_there(tmp_path):
    (tmp_path / "model.keras").write_bytes(b"PK\x03\x04")

    assert recognise(f"file://{tmp_path}/model.keras") == Recognised(Kind.KERAS, f"{tmp_path}/model.keras")


def test_what_has_a_url_is_taken_for_a_bundle():
    assert recognise("s3://bucket/ckpt-1.index") == Recognised(Kind.BUNDLE, "s3://bucket/ckpt-1")
