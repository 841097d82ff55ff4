"""The index and the small values: the same as TensorFlow itself reads, and what is refused."""

import hashlib
import json
import math
from dataclasses import replace

import bundle_builder as build
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lastgood.bundle import ordered_code
from lastgood.bundle.contents import read_string_scalar
from lastgood.bundle.graph import parse_graph
from lastgood.bundle.reader import Bundle, Entry, _parse_entry, _usual_entry, parse_bundle, read_bundle
from lastgood.bundle.shards import Shard
from lastgood.bundle.wire import WireError
from lastgood.errors import BundleError
from lastgood.inspect import read_graph
from lastgood.manifest import OBJECT_GRAPH_KEY
from lastgood.reasons import Reason

TENSOR = build.Tensor(b"w", bytes(24), (2, 3))


def outcome_of(parse, *arguments):
    """What it returns, or that it refuses."""
    try:
        return parse(*arguments)
    except (BundleError, WireError):
        return "refused"


def reason_of(index):
    """Why the index is refused; None when it is read."""
    try:
        parse_bundle(index)
    except BundleError as error:
        return error.reason
    return None


def sliced_index(extents, parts, shape=(4, 2)):
    """A tensor `s` in slices; parts: (the part's extents, its shape)."""
    message = b"".join(
        build.field(7, b"".join(build.field(1, build.field(1, a) + build.field(2, n)) for a, n in part))
        for part in extents
    )
    dims = b"".join(build.field(2, build.field(1, size)) for size in shape)
    rows = [(b"s", build.field(1, 1) + build.field(2, dims) + message)]
    offset = 0
    for part, part_shape in parts:
        tensor = build.Tensor(ordered_code.encode_slice_key(b"s", part), bytes(4 * math.prod(part_shape)), part_shape)
        rows.append((tensor.key, build.entry(tensor, offset)))
        offset += len(tensor.data)
    return build.table(build.block([(b"", build.HEADER), *sorted(rows)]))


@pytest.mark.parametrize("version", build.VERSIONS)
def test_keys_types_shapes_and_bytes_are_those_that_tensorflow_reads(version):
    expected = json.loads((build.DATA / version / "expected.json").read_text())["checkpoints"]
    assert expected

    for name, tensors in expected.items():
        prefix = str(build.DATA / version / name)
        bundle = read_bundle(prefix)
        found = {
            entry.key.decode(): (entry.dtype, list(entry.shape))
            for entry in bundle.entries
            if not entry.key.startswith(b"\0")
        }
        assert found == {key: (row["dtype"], row["shape"]) for key, row in tensors.items()}
        for entry in bundle.entries:
            row = tensors.get(entry.key.decode("latin-1"), {})
            if "sha256" in row and row["dtype"] != "string" and not entry.slices:
                with Shard(prefix, entry.shard_id, bundle.num_shards) as shard:
                    data = shard.read(entry.offset, entry.size_bytes)
                assert hashlib.sha256(data).hexdigest() == row["sha256"], entry.key


@pytest.mark.parametrize("version", build.VERSIONS)
def test_the_object_graph_is_the_one_that_tensorflow_reads(version):
    expected = json.loads((build.DATA / version / "expected.json").read_text())["checkpoints"]

    for name, tensors in expected.items():
        prefix = str(build.DATA / version / name)
        bundle = read_bundle(prefix)
        entry = bundle.by_key()[OBJECT_GRAPH_KEY]
        with Shard(prefix, entry.shard_id, bundle.num_shards) as shard:
            message = read_string_scalar(shard, entry, 1 << 20)

        assert hashlib.sha256(message).hexdigest() == tensors["_CHECKPOINTABLE_OBJECT_GRAPH"]["sha256"]
        assert parse_graph(message) == read_graph(prefix)


def test_the_object_graph_names_children_attributes_and_keys():
    graph = read_graph(str(build.DATA / "tf-2.21.0" / "keras_adam" / "ckpt-3"))

    root = graph.nodes[0]
    step = graph.nodes[dict(root.children)["step"]].attributes[0]

    assert {name for name, _ in root.children} == {"step", "net", "optimizer", "save_counter"}
    assert (step.name, step.full_name) == ("VARIABLE_VALUE", "Variable")
    assert step.checkpoint_key == b"step/.ATTRIBUTES/VARIABLE_VALUE"
    assert graph.full_names()[b"optimizer/_iterations/.ATTRIBUTES/VARIABLE_VALUE"] == "adam/iteration"


def test_a_sliced_tensor_lists_its_parts_in_several_shards():
    bundle = read_bundle(str(build.DATA / "tf-2.21.0" / "sharded" / "ckpt-1"))

    whole = bundle.by_key()[b"big/.ATTRIBUTES/VARIABLE_VALUE"]

    assert bundle.num_shards == 5
    assert (whole.shape, whole.size_bytes, whole.crc32c) == ((64, 64), 0, 0)
    assert whole.slices == tuple(((16 * part, 16), (0, 64)) for part in range(4))
    assert bundle.needed_shard_sizes() == (4096, 4096, 4096, 4096, 271)


def test_an_index_made_here_is_read_back():
    assert parse_bundle(build.index_of([TENSOR])) == Bundle(
        1, (Entry(b"w", "float32", (2, 3), 0, 0, 24, build.crc32c(bytes(24))),)
    )


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        (build.table(build.block([])), Reason.CORRUPT),
        (build.table(build.block([(b"w", b"")])), Reason.CORRUPT),
        (build.index_of([], header=b""), Reason.CORRUPT),
        (build.index_of([], header=build.field(1, -1)), Reason.CORRUPT),
        (build.index_of([], header=build.field(1, 1 << 40)), Reason.CORRUPT),
        (build.index_of([], header=build.field(1, b"x")), Reason.CORRUPT),
        (build.index_of([], header=build.field(1, 1) + build.field(2, 1)), Reason.UNSUPPORTED),
        (build.index_of([], header=build.field(1, 1) + build.field(3, build.field(2, 2))), Reason.UNSUPPORTED),
        (build.index_of([replace(TENSOR, dtype=20)]), Reason.UNSUPPORTED),
        (build.index_of([replace(TENSOR, dtype=99)]), Reason.UNSUPPORTED),
        (build.index_of([replace(TENSOR, shard=1)]), Reason.CORRUPT),
        (build.index_of([replace(TENSOR, shard=-1)]), Reason.CORRUPT),
        (build.index_of([replace(TENSOR, offset=-1)]), Reason.CORRUPT),
        (build.index_of([replace(TENSOR, size=-24)]), Reason.CORRUPT),
        (build.index_of([replace(TENSOR, size=1 << 62)]), Reason.CORRUPT),
        (build.index_of([replace(TENSOR, shape=(2, 4))]), Reason.CORRUPT),
        (build.index_of([replace(TENSOR, shape=(-2, -3))]), Reason.CORRUPT),
        (build.index_of([replace(TENSOR, shape=(1,) * 255)]), Reason.CORRUPT),
        (build.index_of([TENSOR, replace(TENSOR, key=b"x", offset=20)]), Reason.CORRUPT),
        (build.index_of([TENSOR, replace(TENSOR, key=b"x")]), None),
        (build.index_of([]), None),
    ],
)
def test_what_contradicts_itself_or_is_unknown_is_refused(index, reason):
    assert reason_of(index) == reason


TOP, BOTTOM = ((0, 2), (0, -1)), ((2, 2), (0, -1))


@pytest.mark.parametrize(
    ("extents", "parts", "reason"),
    [
        ([TOP, BOTTOM], [(TOP, (2, 2)), (BOTTOM, (2, 2))], None),
        ([TOP, BOTTOM], [(TOP, (2, 2))], Reason.CORRUPT),
        ([TOP], [(TOP, (2, 2))], Reason.CORRUPT),
        ([TOP, BOTTOM], [(TOP, (2, 2)), (BOTTOM, (4, 1))], Reason.CORRUPT),
        ([TOP, ((3, 2), (0, -1))], [(TOP, (2, 2)), (((3, 2), (0, -1)), (2, 2))], Reason.CORRUPT),
        ([((0, 4),)], [], Reason.CORRUPT),
        ([((0, -5), (0, 1))], [], Reason.CORRUPT),
    ],
)
def test_a_sliced_tensor_needs_all_its_parts(extents, parts, reason):
    assert reason_of(sliced_index(extents, parts)) == reason


@given(st.binary(max_size=60))
def test_any_entry_gives_a_bundle_or_an_error_of_ours(value):
    reason_of(build.table(build.block([(b"", build.HEADER), (b"w", value)])))
    reason_of(build.table(build.block([(b"", value)])))


@given(
    shape=st.sampled_from([(), (0,), (1,), (3, 4), (2, 0, 300)]),
    shard=st.sampled_from([0, 1, 127, 128]),
    offset=st.sampled_from([0, 1, 127, 128, 1 << 40, (1 << 63) - 1, 1 << 63]),
    size=st.sampled_from([None, 0, 4, 1 << 63]),
    edits=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 255), st.sampled_from([0, 1])), max_size=3),
)
@example(shape=(0,), shard=0, offset=1, size=None, edits=[(9, 0x81, 1)])  # an offset that goes on into the checksum
def test_an_entry_that_is_read_the_quick_way_is_the_one_that_its_fields_give(shape, shard, offset, size, edits):
    usual = build.entry(build.Tensor(b"w", bytes(4 * math.prod(shape)), shape, shard=shard, size=size), offset)
    edited = usual.replace(build.field(3, 0), b"").replace(build.field(5, 0), b"")  # as TensorFlow leaves out zeros
    for place, byte, cut in edits:
        edited = edited[:place] + bytes([byte]) + edited[place + cut :]

    heads = {}
    for value in (usual, edited):
        quick = outcome_of(_usual_entry, b"w", value, 200, heads)

        assert quick in (None, outcome_of(_parse_entry, b"w", value, 200, "the index"))


@given(st.binary(max_size=80))
def test_any_object_graph_is_read_or_refused_as_corrupt(message):
    reason = None
    try:
        parse_graph(message)
    except BundleError as error:
        reason = error.reason

    assert reason in {None, Reason.CORRUPT}


def test_numbers_and_names_in_the_keys_of_parts_are_encoded_in_order():
    numbers = [-(1 << 63), -70000, -8193, -8192, -65, -64, -1, 0, 1, 63, 64, 8191, 8192, 1 << 20, (1 << 63) - 1]

    encoded = [ordered_code.encode_signed(number) for number in numbers]

    assert encoded == sorted(encoded)
    assert [len(code) for code in encoded] == [10, 3, 3, 2, 2, 1, 1, 1, 1, 1, 2, 2, 3, 4, 10]
    assert ordered_code.encode_bytes(b"a\0b\xff") == b"a\0\xffb\xff\0\0\1"
    assert ordered_code.encode_unsigned(0x1234) == b"\2\x12\x34"
