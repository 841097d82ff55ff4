"""Keras's own files: structure and values as h5py wrote them, and whatever a hostile one might hold."""

import hashlib
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from lastgood.checkpoint import open_checkpoint
from lastgood.errors import BundleError, MissingExtraError
from lastgood.file_digest import digest_file
from lastgood.keras import apart
from lastgood.keras.files import ArchiveCheck, check_archive, read_model_config
from lastgood.reasons import Reason
from tests.breadth import IS_FULL

KERNEL = np.arange(12, dtype="float32").reshape(4, 3)
BITS = np.array([[0x3F80, 0xC000]], np.uint16)


def write_weights(path):
    """A file in the layout of Keras 3: a group for each layer, its variables numbered below `vars`."""
    with h5py.File(path, "w") as file:
        dense = file.create_group("layers/dense/vars")
        dense.attrs["name"] = "first"
        dense["0"] = KERNEL
        dense["1"] = np.zeros(3, "float32")
        half = file.create_group("layers/dense_1/vars")
        half["0"] = BITS.view("V2")
        half["0"].attrs["dtype"] = "bfloat16"
        file["optimizer/vars/0"] = np.int64(41)
        file["empty/vars/0"] = np.zeros((0, 4), "float64")
        file["odd/vars/0"] = np.arange(6, dtype=">i2").reshape(2, 3)
    return str(path)


def write_keras(path, weights, compression=zipfile.ZIP_STORED):
    """An archive as Keras writes it."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.15.1"}')
        archive.writestr("config.json", '{"class_name": "Sequential"}')
        archive.write(weights, "model.weights.h5")
    return str(path)


def flip_a_bit(path, offset):
    data = bytearray(Path(path).read_bytes())
    data[offset] ^= 1
    Path(path).write_bytes(data)


def refusal_of(path, key=None):
    """Why the structure, or the values of `key`, are refused."""
    with pytest.raises(BundleError) as raised, open_checkpoint(str(path)) as checkpoint:
        _ = checkpoint.tensors if key is None else checkpoint.array(key)
    return raised.value.reason, raised.value.detail


@pytest.fixture(params=["m.weights.h5", "m.keras"])
def keras_file(request, tmp_path):
    weights = write_weights(tmp_path / "m.weights.h5")
    return weights if request.param == "m.weights.h5" else write_keras(tmp_path / "m.keras", weights)


def test_structure_and_values_are_those_that_were_written(keras_file):
    # when
    with open_checkpoint(keras_file) as checkpoint:
        structure = {
            key: (tensor.dtype, tensor.shape, tensor.size_bytes, tensor.crc32c, tensor.full_name)
            for key, tensor in checkpoint.tensors.items()
        }
        arrays = {key: checkpoint.array(key) for key in structure}
        numbers = {key: checkpoint.values(key) for key in structure}
        graph, format = checkpoint.graph, checkpoint.format

    # then
    assert structure == {
        b"empty/vars/0": ("float64", (0, 4), 0, None, ""),
        b"layers/dense/vars/0": ("float32", (4, 3), 48, None, "first/0"),
        b"layers/dense/vars/1": ("float32", (3,), 12, None, "first/1"),
        b"layers/dense_1/vars/0": ("bfloat16", (1, 2), 4, None, ""),
        b"odd/vars/0": ("int16", (2, 3), 12, None, ""),
        b"optimizer/vars/0": ("int64", (), 8, None, ""),
    }
    assert np.array_equal(arrays[b"layers/dense/vars/0"], KERNEL)
    assert np.array_equal(arrays[b"layers/dense_1/vars/0"], BITS)
    assert arrays[b"odd/vars/0"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert arrays[b"empty/vars/0"].shape == (0, 4)
    assert numbers[b"layers/dense_1/vars/0"] == [1.0, -2.0]
    assert numbers[b"optimizer/vars/0"] == [41]
    assert graph.nodes == ()
    assert format == ("keras" if keras_file.endswith(".keras") else "weights.h5")


def test_a_large_array_comes_in_pieces(tmp_path):
    array = np.arange(3 << 18, dtype="float32").reshape(3, -1)
    with h5py.File(tmp_path / "m.weights.h5", "w") as file:
        file.create_dataset("w", data=array, chunks=(1, 1 << 16), compression="gzip", shuffle=True)

    with open_checkpoint(str(tmp_path / "m.weights.h5")) as checkpoint:
        pieces = [bytes(piece) for piece in checkpoint.raw(b"w")]

    assert max(map(len, pieces)) <= 1 << 20
    assert b"".join(pieces) == array.tobytes()


def test_every_member_of_an_archive_is_checked_and_a_flipped_bit_found(tmp_path):
    # given
    path = write_keras(tmp_path / "m.keras", write_weights(tmp_path / "w.h5"))
    whole = check_archive(path)
    place = Path(path).read_bytes().index(KERNEL.tobytes())

    # when
    flip_a_bit(path, place + 5)
    damaged = check_archive(path)

    # then
    assert (whole.members, whole.problem) == (3, None)
    assert (damaged.members, damaged.problem.reason) == (2, Reason.CORRUPT)
    assert "model.weights.h5" in damaged.problem.detail


@pytest.mark.parametrize("left_bytes", [4, 30, 200, -1])
def test_an_archive_that_was_cut_off_is_torn(tmp_path, left_bytes):
    path = tmp_path / "m.keras"
    write_keras(path, write_weights(tmp_path / "w.h5"))
    path.write_bytes(path.read_bytes()[:left_bytes])

    with pytest.raises(BundleError) as raised:
        check_archive(str(path))

    assert raised.value.reason is Reason.TORN
    assert refusal_of(path)[0] is Reason.TORN


def test_another_zip_archive_is_none_of_keras_s(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("readme", "hello")

    assert refusal_of(tmp_path / "m.keras") == (
        Reason.UNSUPPORTED,
        f"expected a .keras archive at {tmp_path / 'm.keras'}, found a zip archive without model.weights.h5",
    )


def test_an_archive_that_was_packed_again_says_what_to_do_and_can_be_checked(tmp_path):
    path = write_keras(tmp_path / "m.keras", write_weights(tmp_path / "w.h5"), zipfile.ZIP_DEFLATED)

    reason, detail = refusal_of(path)

    assert reason is Reason.UNSUPPORTED
    assert detail.endswith("is compressed, as Keras does not leave it: unpack it and name it instead")
    assert check_archive(path).problem is None


def test_an_archive_that_unpacks_to_far_more_than_it_has_is_not_read_to_its_end(tmp_path):
    # given: a thousand members that are all one and the same stretch of bytes
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0", bytes(4 << 20))
        first = archive.infolist()[0]
        archive.filelist += [first] * 2000

    # when
    found = check_archive(str(path))

    # then
    assert found.problem.detail.endswith("its members are larger than they can be")


def test_the_model_s_configuration_is_read_and_checked(tmp_path):
    path = write_keras(tmp_path / "m.keras", write_weights(tmp_path / "w.h5"))
    assert read_model_config(path) == b'{"class_name": "Sequential"}'

    flip_a_bit(path, Path(path).read_bytes().index(b"Sequential"))

    with pytest.raises(BundleError) as raised:
        read_model_config(path)
    assert raised.value.reason is Reason.CORRUPT


def test_a_check_counts_what_it_read(tmp_path):
    path = write_keras(tmp_path / "m.keras", write_weights(tmp_path / "w.h5"))

    sizes = [member.file_size for member in zipfile.ZipFile(path).infolist()]

    assert check_archive(path) == ArchiveCheck(3, sum(sizes), None)


def test_links_out_of_the_tree_are_not_followed(tmp_path):
    # given
    write_weights(tmp_path / "secret.h5")
    for name, link in {
        "external": h5py.ExternalLink("secret.h5", "/layers/dense/vars/0"),
        "soft": h5py.SoftLink("/"),
    }.items():
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["vars/0"] = KERNEL
            file["vars/1"] = link

        # when
        reason, detail = refusal_of(tmp_path / f"{name}.h5")

        # then
        assert reason is Reason.UNSUPPORTED
        assert "at vars/1: a link that is not a hard one" in detail


def test_a_group_within_itself_is_refused(tmp_path):
    with h5py.File(tmp_path / "m.h5", "w") as file:
        inner = file.create_group("a/b")
        inner["again"] = file["a"]

    assert "a second link to one object" in refusal_of(tmp_path / "m.h5")[1]


def test_groups_deeper_than_any_model_s_are_refused(tmp_path):
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.create_group("/".join("g" * 200))

    assert "groups more than 64 deep" in refusal_of(tmp_path / "m.h5")[1]


def test_values_in_other_files_are_not_read(tmp_path):
    # given
    (tmp_path / "secret").write_bytes(bytes(range(48)))
    write_weights(tmp_path / "other.h5")
    layout = h5py.VirtualLayout((4, 3), "float32")
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "layers/dense/vars/0", (4, 3))
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.create_dataset("external", (12,), "float32", external=[(str(tmp_path / "secret"), 0, 48)])
        file.create_virtual_dataset("virtual", layout)

    # then
    assert "values that are kept in other files" in refusal_of(tmp_path / "m.h5", b"external")[1]
    assert "a virtual dataset" in refusal_of(tmp_path / "m.h5", b"virtual")[1]


def test_no_memory_is_asked_for_that_the_file_does_not_fill(tmp_path):
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.create_dataset("never written", (1 << 40,), "float64")
        file.create_dataset("in chunks", (1 << 40,), "float64", chunks=(1 << 10,), compression="gzip")[0] = 1
        file.create_dataset("one chunk", (1 << 27,), "float64", chunks=(1 << 27,), compression="gzip")

    for key in (b"never written", b"in chunks"):
        reason, detail = refusal_of(tmp_path / "m.h5", key)
        assert reason is Reason.CORRUPT
        assert "states 8796093022208 bytes and has " in detail
    assert "chunks of more than" in refusal_of(tmp_path / "m.h5", b"one chunk")[1]


def test_text_and_compound_types_are_shown_and_not_read(tmp_path):
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["text"] = ["a", "bc"]
        file["pairs"] = np.zeros(2, [("x", "f4"), ("y", "i8")])

    with open_checkpoint(str(tmp_path / "m.h5")) as checkpoint:
        assert checkpoint.tensors[b"text"].dtype == "string"
        assert "x" in checkpoint.tensors[b"pairs"].dtype

    assert refusal_of(tmp_path / "m.h5", b"text")[0] is Reason.UNSUPPORTED
    assert refusal_of(tmp_path / "m.h5", b"pairs")[0] is Reason.UNSUPPORTED


def test_a_file_that_was_cut_off_anywhere_gives_a_reason_and_no_traceback(tmp_path):
    whole = Path(write_weights(tmp_path / "m.weights.h5")).read_bytes()

    for size in range(0, len(whole), 97 if IS_FULL else 1499):
        (tmp_path / "cut.h5").write_bytes(whole[:size])
        reason, _ = refusal_of(tmp_path / "cut.h5", b"layers/dense/vars/0")
        assert reason in (Reason.CORRUPT, Reason.INCOMPLETE, Reason.UNSUPPORTED), size


def test_a_file_with_any_byte_changed_gives_values_or_a_reason(tmp_path):
    whole = Path(write_weights(tmp_path / "m.weights.h5")).read_bytes()
    outcomes = set()

    for place in range(0, len(whole), 211 if IS_FULL else 1009):
        (tmp_path / "changed.h5").write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            with open_checkpoint(str(tmp_path / "changed.h5")) as checkpoint:
                for key in checkpoint.tensors:
                    checkpoint.array(key)
            outcomes.add("values")
        except BundleError as error:
            outcomes.add(error.reason)

    assert outcomes <= {"values", Reason.CORRUPT, Reason.UNSUPPORTED}
    assert {"values", Reason.CORRUPT} <= outcomes


BESET = """
import json, os, sys
order = json.loads(sys.stdin.buffer.readline())
sys.path[:] = order["sys_path"]
from lastgood.keras import apart

def parse(*_):
    {what}

apart.Hdf5File = parse
apart.serve(order)
"""


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("while True: pass", "it kept the HDF5 library busy for more than 1 s"),
        ("os.abort()", "the HDF5 library ended with status -6 over it"),
        ("print('garbage', flush=True); return", "it said b'garbage\\n'"),
        ("print('3', flush=True); return", "it said b'3\\n'"),
    ],
)
def test_bytes_that_end_the_hdf5_library_or_keep_it_for_ever_are_damage(keras_file, monkeypatch, what, told):
    monkeypatch.setattr(apart, "_CHILD", BESET.format(what=what))
    monkeypatch.setattr(apart, "CPU_S", 1)

    with pytest.raises(BundleError) as raised:
        open_checkpoint(keras_file)

    assert (raised.value.reason, raised.value.detail) == (Reason.CORRUPT, f"{keras_file} is damaged: {told}")


def test_nothing_of_the_working_directory_is_run(keras_file, tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemExit('run')")
    monkeypatch.chdir(tmp_path)

    with open_checkpoint(keras_file) as checkpoint:
        assert b"layers/dense/vars/0" in checkpoint.tensors


def test_an_h5py_that_is_there_and_broken_is_told_once(keras_file, monkeypatch):
    what = "from lastgood.errors import MissingExtraError as Missing"
    what += "; raise Missing('it', 'h5py', 'keras', ImportError('x')) from ImportError('no numpy')"
    monkeypatch.setattr(apart, "_CHILD", BESET.format(what=what))

    with pytest.raises(MissingExtraError) as raised:
        open_checkpoint(keras_file)

    assert str(raised.value).startswith("reading Keras files needs h5py: pip install 'lastgood[keras]' (ImportError: ")
    assert str(raised.value).count("pip install") == 1
    assert "no numpy" in str(raised.value)


def test_a_file_that_libhdf5_never_comes_to_an_end_with_is_damaged(monkeypatch):
    monkeypatch.setattr(apart, "CPU_S", 2)

    reason, detail = refusal_of(Path(__file__).parents[2] / "data" / "keras" / "endless.weights.h5")

    assert reason is Reason.CORRUPT
    assert detail.endswith("is damaged: it kept the HDF5 library busy for more than 2 s")


def test_nothing_is_left_of_a_file_that_was_closed_in_the_middle_of_a_value(tmp_path):
    with h5py.File(tmp_path / "m.weights.h5", "w") as file:
        file["vars/0"] = np.zeros(3 << 19, np.float32)

    with open_checkpoint(str(tmp_path / "m.weights.h5")) as checkpoint:
        first = bytes(next(checkpoint.raw(b"vars/0")))
        again = b"".join(map(bytes, checkpoint.raw(b"vars/0")))
        child = checkpoint._file._process

    assert again[: len(first)] == first
    assert len(again) == 6 << 20
    assert child.returncode is not None


def test_an_archive_whose_directory_points_before_its_beginning_is_damaged(tmp_path):
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.weights.h5", b"weights")
    data = bytearray(path.read_bytes())
    end = data.rindex(b"PK\x05\x06")
    data[end + 16 : end + 20] = (int.from_bytes(data[end + 16 : end + 20], "little") + 1000).to_bytes(4, "little")
    path.write_bytes(data)

    assert refusal_of(path, b"vars/0")[0] in (Reason.CORRUPT, Reason.TORN)


def test_without_h5py_one_sentence_says_what_to_install(keras_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)

    with pytest.raises(MissingExtraError) as raised:
        open_checkpoint(keras_file)

    assert str(raised.value).startswith("reading Keras files needs h5py: pip install 'lastgood[keras]' (")


def test_a_whole_file_has_a_size_and_two_checksums(tmp_path):
    (tmp_path / "file").write_bytes(b"123456789")

    assert digest_file(str(tmp_path / "file")) == (9, 0xE3069283, hashlib.sha256(b"123456789").hexdigest())
