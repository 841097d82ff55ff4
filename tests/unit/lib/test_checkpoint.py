"""One view of a checkpoint: the tensors, the object graph and the values that TensorFlow itself reads."""

import hashlib
import json
import struct

import bundle_builder as build
import pytest

from lastgood.bundle.graph import RegisteredSaver, SlotVariable, parse_graph
from lastgood.checkpoint import open_checkpoint
from lastgood.checksum import crc32c
from lastgood.errors import BundleError
from lastgood.manifest import OBJECT_GRAPH_KEY
from lastgood.reasons import Reason

SUFFIX = b"/.ATTRIBUTES/VARIABLE_VALUE"
REAL = [
    (version, name)
    for version in build.VERSIONS
    for name in json.loads((build.DATA / version / "expected.json").read_text())["checkpoints"]
]


def expectation(version, name):
    return json.loads((build.DATA / version / "expected.json").read_text())["checkpoints"][name]


def digest(checkpoint, key):
    """What `expected.json` has: SHA-256 of the bytes, or of the strings joined by a zero byte."""
    if checkpoint.tensors[key].dtype == "string":
        return hashlib.sha256(b"\0".join(checkpoint.elements(key))).hexdigest()
    return hashlib.sha256(b"".join(map(bytes, checkpoint.raw(key)))).hexdigest()


@pytest.mark.parametrize(("version", "name"), REAL)
def test_keys_types_shapes_and_values_are_those_that_tensorflow_reads(version, name):
    # given
    expected = expectation(version, name)
    del expected[OBJECT_GRAPH_KEY.decode()]

    # when
    with open_checkpoint(str(build.DATA / version / name)) as checkpoint:
        found = {
            key.decode(): {
                "dtype": tensor.dtype,
                "shape": list(tensor.shape),
                "sha256": digest(checkpoint, key) if "sha256" in expected[key.decode()] else None,
            }
            for key, tensor in checkpoint.tensors.items()
        }

    # then
    assert found == {
        key: {"dtype": row["dtype"], "shape": row["shape"], "sha256": row.get("sha256")}
        for key, row in expected.items()
    }
    assert list(found) == sorted(found)


@pytest.mark.parametrize(("version", "name"), REAL)
def test_an_array_has_the_bytes_and_the_shape_that_tensorflow_reads(version, name):
    pytest.importorskip("numpy")
    expected = expectation(version, name)

    with open_checkpoint(str(build.DATA / version / name)) as checkpoint:
        arrays = {
            key.decode(): checkpoint.array(key)
            for key, t in checkpoint.tensors.items()
            if t.dtype not in ("string", "variant")
        }

    assert arrays
    for key, array in arrays.items():
        assert list(array.shape) == expected[key]["shape"], key
        assert hashlib.sha256(array.tobytes()).hexdigest() == expected[key]["sha256"], key


def test_a_tensor_says_what_it_is():
    with open_checkpoint(str(build.DATA / "tf-2.21.0" / "sharded" / "ckpt-1")) as checkpoint:
        big, small = checkpoint.tensors[b"big" + SUFFIX], checkpoint.tensors[b"small" + SUFFIX]

        assert checkpoint.format == "bundle"
        assert (big.label, big.full_name, big.is_sliced, big.crc32c, big.size_bytes) == (
            "big",
            "big",
            True,
            None,
            16384,
        )
        assert (small.is_sliced, small.crc32c, small.elements) == (False, crc32c(struct.pack("<ff", 1, 2)), 2)


def test_an_iterator_s_state_is_opaque_elements():
    with open_checkpoint(str(build.DATA / "tf-2.15.1" / "iterator" / "ckpt-1")) as checkpoint:
        key = b"iterator/.ATTRIBUTES/ITERATOR_STATE"
        elements = checkpoint.elements(key)

        assert len(elements) == checkpoint.tensors[key].elements == 16
        assert checkpoint.array(key) == checkpoint.values(key) == elements


def test_the_slots_of_an_optimizer_are_in_the_graph():
    with open_checkpoint(str(build.DATA / "tf-2.4.4" / "keras_adam" / "ckpt-3")) as checkpoint:
        nodes = checkpoint.graph.nodes
        slots = {
            (
                slot.name,
                nodes[slot.original_node].attributes[0].full_name,
                nodes[slot.slot_node].attributes[0].full_name,
            )
            for node in nodes
            for slot in node.slot_variables
        }

    assert len(slots) == 8
    assert ("m", "net/dense/kernel", "Adam/net/dense/kernel/m") in slots


def test_a_registered_saver_is_in_the_graph():
    saver = build.field(4, build.field(1, b"Package.Table") + build.field(2, b"table_0"))
    slot = build.field(3, build.field(1, 0) + build.field(2, b"m") + build.field(3, 1))

    graph = parse_graph(build.field(1, saver) + build.field(1, slot))

    assert [node.registered_saver for node in graph.nodes] == [RegisteredSaver("Package.Table", "table_0"), None]
    assert graph.nodes[1].slot_variables == (SlotVariable("m", 0, 1),)


@pytest.mark.parametrize("slot", [build.field(1, 7), build.field(3, -1)])
def test_a_slot_of_a_node_that_is_not_there_is_damage(slot):
    with pytest.raises(BundleError) as raised:
        parse_graph(build.field(1, build.field(3, slot)))

    assert raised.value.reason is Reason.CORRUPT


def test_a_checkpoint_without_an_object_graph_has_tensors_without_names(tmp_path):
    prefix = build.write_bundle(tmp_path / "ckpt", [build.Tensor(b"w", bytes(8), (2,))])

    with open_checkpoint(prefix) as checkpoint:
        assert (checkpoint.graph.nodes, checkpoint.tensors[b"w"].full_name) == ((), "")


@pytest.mark.parametrize("size", [8, 3 << 20])
def test_a_value_that_does_not_match_its_checksum_is_never_returned(tmp_path, size):
    tensor = build.Tensor(b"w", bytes(size), (size // 4,), crc=1)

    with (
        open_checkpoint(build.write_bundle(tmp_path / "ckpt", [tensor])) as checkpoint,
        pytest.raises(BundleError) as raised,
    ):
        checkpoint.array(b"w")

    assert raised.value.reason is Reason.CORRUPT


def test_opening_what_is_not_there_says_what_was_expected(tmp_path):
    with pytest.raises(BundleError) as raised:
        open_checkpoint(str(tmp_path / "ckpt-1"))

    assert raised.value.reason is Reason.INCOMPLETE
