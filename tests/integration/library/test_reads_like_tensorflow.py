"""Random checkpoints of each TensorFlow: what the library reads from them is what that TensorFlow reads.

tests/tensorflow_side/random_saves.py makes them and writes down what TensorFlow says. `make test` looks at a few,
`make test-full PART=library` at 240 of each version.
"""

import json
import os
import subprocess
from pathlib import Path
from urllib.parse import quote_from_bytes

import pytest
from tensorflow_reading import checksum_of, crc32c, digest_of

from lastgood.bundle.contents import read_string_scalar
from lastgood.bundle.reader import part_key, read_bundle
from lastgood.bundle.shards import Shard
from lastgood.checkpoint import open_checkpoint
from lastgood.manifest import OBJECT_GRAPH_KEY
from lastgood.verify import verify

TENSORFLOW_SIDE = Path(__file__).parents[2] / "tensorflow_side"
SEED = 20
FEW, MANY = 21, 240


def write_random_checkpoints(tensorflow, directory, count):
    """What truth.json says: their list, with what TensorFlow reads from each."""
    command = [tensorflow.python, str(TENSORFLOW_SIDE / "random_saves.py"), str(directory), str(SEED), str(count), "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads((directory / "truth.json").read_text())


def what_the_library_reads(prefix):
    """In the form of the truth; the object graph, which is no tensor of the checkpoint, is read by its entry."""
    found = {}
    with open_checkpoint(prefix) as checkpoint:
        for key, tensor in checkpoint.tensors.items():
            is_opaque = tensor.dtype in ("string", "variant")
            value = checkpoint.elements(key) if is_opaque else b"".join(map(bytes, checkpoint.raw(key)))
            row = {"dtype": tensor.dtype, "shape": list(tensor.shape), "sha256": digest_of(value)}
            row["crc32c"] = checksum_of(value, tensor.dtype) if tensor.is_sliced else tensor.crc32c
            found[quote_from_bytes(key, safe="/")] = row
    bundle = read_bundle(prefix)
    entry = bundle.by_key().get(OBJECT_GRAPH_KEY)
    if entry is not None:
        with Shard(prefix, entry.shard_id, bundle.num_shards) as shard:
            graph = read_string_scalar(shard, entry, 1 << 30)
        row = {"dtype": entry.dtype, "shape": list(entry.shape), "sha256": digest_of([graph]), "crc32c": entry.crc32c}
        found[OBJECT_GRAPH_KEY.decode()] = row
    return found


def without_variants(rows):
    """Only the type and the shape of variants: TensorFlow gives other bytes for the same state once it restored it."""
    kept = {"dtype", "shape"}
    return {key: {name: row[name] for name in kept} if row["dtype"] == "variant" else row for key, row in rows.items()}


def wrong_part_checksums(prefix):
    """Parts of sliced tensors whose checksum is not that of the values that lie there by the joined tensor."""
    wrong = []
    by_key = read_bundle(prefix).by_key()
    with open_checkpoint(prefix) as checkpoint:
        for whole in by_key.values():
            for part in whole.slices:
                place = tuple(slice(start, None if size < 0 else start + size) for start, size in part)
                stored = by_key[part_key(whole.key, part)]
                if crc32c(checkpoint.array(whole.key)[place].tobytes()) != stored.crc32c:
                    wrong.append((whole.label, part))
    return wrong


@pytest.mark.timeout(1200)
def test_keys_types_shapes_values_and_checksums_are_those_that_tensorflow_reads(each_tensorflow, tmp_path):
    count = MANY if os.environ.get("LASTGOOD_BREADTH") == "full" else FEW

    truth = write_random_checkpoints(each_tensorflow, tmp_path, count)

    dtypes = set()
    for row in truth["checkpoints"]:
        (save,) = row["saves"]
        prefix = str(tmp_path / save["prefix"])
        found = what_the_library_reads(prefix)
        if "again" in save:
            assert what_the_library_reads(str(tmp_path / save["again"]["prefix"])) == save["again"]["keys"]
            found, save["keys"] = without_variants(found), without_variants(save["keys"])
        assert found == save["keys"], (row["number"], row["kind"])
        assert wrong_part_checksums(prefix) == [], (row["number"], row["kind"])
        assert verify(prefix).is_whole, (row["number"], row["kind"], verify(prefix).faults)
        dtypes |= {tensor["dtype"] for tensor in save["keys"].values()}
    assert len(truth["checkpoints"]) == count
    assert count == FEW or dtypes == {*truth["dtypes"], "string", "variant"}
