"""What TensorFlow and Keras write is read as they read it themselves: every type, parts, SavedModels, Keras files."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lastgood.checkpoint import Checkpoint, open_checkpoint
from lastgood.errors import BundleError
from lastgood.keras.files import check_archive
from lastgood.reasons import Reason
from lastgood.verify import verify

SCRIPTS = Path(__file__).parent / "scripts"


def run_script(python: str, name: str, folder: Path) -> Any:
    """What a script printed last, as JSON."""
    done = subprocess.run([python, str(SCRIPTS / name), str(folder)], capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def rows_of(checkpoint: Checkpoint) -> dict[str, list[Any]]:
    """By key, as the scripts print them."""
    return {
        key.decode(): [tensor.dtype, list(tensor.shape), hashlib.sha256(content(checkpoint, key)).hexdigest()]
        for key, tensor in checkpoint.tensors.items()
    }


def content(checkpoint: Checkpoint, key: bytes) -> bytes:
    if checkpoint.tensors[key].dtype == "string":
        return b"\0".join(checkpoint.elements(key))
    return b"".join(map(bytes, checkpoint.raw(key)))


@pytest.fixture(scope="module")
def written(each_tensorflow: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A folder, and what TensorFlow read back from the files in it."""
    folder = tmp_path_factory.mktemp(f"tf-{each_tensorflow.version}") / "files"
    return folder, run_script(each_tensorflow.python, "write_everything.py", folder)


def test_every_type_and_every_layout_is_read_as_tensorflow_reads_it(written: tuple[Path, Any]) -> None:
    # given
    folder, expected = written
    for rows in expected["files"].values():
        rows.pop("_CHECKPOINTABLE_OBJECT_GRAPH", None)

    # when
    found = {}
    for name in expected["files"]:
        with open_checkpoint(str(folder / name)) as checkpoint:
            found[name] = rows_of(checkpoint)

    # then
    assert found == expected["files"]
    assert len(expected["files"]["named"]) >= 23


def test_a_key_that_is_not_utf8_is_read(written: tuple[Path, Any]) -> None:
    folder, _ = written

    with open_checkpoint(str(folder / "everything")) as checkpoint:
        assert checkpoint.values(b"\xff\xfe/\x80\x01 not UTF-8") == [1.0, 2.0]

    assert verify(str(folder / "everything")).is_whole


def test_a_saved_model_has_the_names_of_its_variables(written: tuple[Path, Any]) -> None:
    folder, _ = written

    with open_checkpoint(str(folder / "saved")) as checkpoint:
        names = {tensor.label: tensor.full_name for tensor in checkpoint.tensors.values()}

    assert names == {"w": "weights"}


@pytest.mark.parametrize("name", ["model", "sharded", "sharded-?????-of-00001"])
def test_v1_checkpoints_are_recognised(written: tuple[Path, Any], name: str) -> None:
    folder, _ = written

    with pytest.raises(BundleError) as raised:
        open_checkpoint(str(folder / "v1" / name))

    assert raised.value.reason is Reason.UNSUPPORTED
    assert "is a V1 checkpoint" in raised.value.detail


@pytest.fixture(scope="module")
def keras_files(tf_python: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A folder with Keras files, and what the models hold that were saved to them."""
    folder = tmp_path_factory.mktemp("keras")
    return folder, run_script(tf_python, "write_keras.py", folder)


@pytest.mark.parametrize(
    ("file", "model"),
    [("model.keras", "model"), ("model.weights.h5", "model"), ("half.keras", "half")],
)
def test_a_keras_file_has_the_values_of_the_model(keras_files: tuple[Path, Any], file: str, model: str) -> None:
    folder, expected = keras_files

    with open_checkpoint(str(folder / file)) as checkpoint:
        found = sorted(rows_of(checkpoint).values())
        names = {tensor.full_name for tensor in checkpoint.tensors.values()}

    assert found == expected[model]
    assert {"first/0", "first/1"} <= names or {"half/0", "half/1"} <= names


def test_an_archive_of_keras_s_own_is_whole_by_its_crc32(keras_files: tuple[Path, Any]) -> None:
    folder, _ = keras_files

    found = check_archive(str(folder / "model.keras"))

    assert (found.members, found.problem) == (3, None)


def test_the_older_layout_is_read_and_the_list_of_shards_says_what_to_do(keras_files: tuple[Path, Any]) -> None:
    folder, _ = keras_files

    with open_checkpoint(str(folder / "legacy.h5")) as checkpoint:
        assert {tensor.dtype for tensor in checkpoint.tensors.values()} >= {"float32"}
        assert any(key.endswith(b"first/kernel") for key in checkpoint.tensors)

    with pytest.raises(BundleError) as raised:
        open_checkpoint(str(folder / "shards.weights.json"))
    assert raised.value.reason is Reason.UNSUPPORTED
    shard = next(folder.glob("shards_*.weights.h5"))
    with open_checkpoint(str(shard)) as checkpoint:
        assert checkpoint.tensors
