"""`lastgood diff`: what changed between two checkpoints, in words, in JSON, and in the exit status."""

import json
import struct
from pathlib import Path

import bundle_builder as build
import jsonschema
import pytest

from lastgood.checkpoint import open_checkpoint
from lastgood.checksum import crc32c, mask
from lastgood.cli import main
from lastgood.diff import diff_checkpoints
from lastgood.difference.deltas import Tolerance

MWMS = build.DATA / "tf-2.21.0" / "mwms"
SCHEMA = json.loads((Path(__file__).parents[3] / "docs" / "schemas" / "diff.schema.json").read_text())


def floats(*numbers):
    return struct.pack(f"<{len(numbers)}f", *numbers)


@pytest.fixture
def write(tmp_path):
    """write("a", w=(1, 2)) writes a checkpoint of float32 vectors and gives its prefix."""

    def written(name, **tensors):
        found = [
            build.Tensor(key.replace("_", "/").encode(), floats(*numbers), (len(numbers),))
            for key, numbers in sorted(tensors.items())
        ]
        return build.write_bundle(tmp_path / name, found)

    return written


def diff_of(before, after, **options):
    with open_checkpoint(before) as one, open_checkpoint(after) as other:
        return diff_checkpoints(one, other, **options)


@pytest.mark.parametrize("prefix", build.real_prefixes())
def test_a_checkpoint_does_not_differ_from_itself(prefix):
    found = diff_of(prefix, prefix)

    assert found.is_empty
    assert found.moves.in_all == 0


def test_everything_that_changed_is_told_in_words(write, capsys):
    before = write("a", keep=(1, 2), w_0=(1, 2, 3), w_1=(4, 5, 6), old=(7, 7), wide=(5, 5), b=(1, 2))
    after = write("b", keep=(1, 2), w_0=(4, 5, 6), w_1=(1, 2, 3), new=(8, 9), wide=(5, 5, 5), b=(1, 2.5))

    status = main(["diff", before, after])

    assert (status, capsys.readouterr().out.splitlines()) == (
        1,
        [
            "swapped  w/0 and w/1 hold each other's values",
            "gone     old  float32 [2]",
            "new      new  float32 [2]",
            "retyped  wide: float32 [2] became float32 [3]",
            "changed  b: 1 of 2 values, largest difference 0.5 at [1]",
            "changed  w/0: 3 of 3 values, largest difference 3 at [0]",
            "changed  w/1: 3 of 3 values, largest difference 3 at [0]",
            "1 the same, 3 changed, 1 of another type or shape, 1 gone, 1 new",
        ],
    )


def test_a_shift_in_a_list_and_a_rename_are_told_in_words(write, capsys):
    before = write("a", w_0=(1, 2), w_1=(3, 4), kernel=(5, 6))
    after = write("b", w_0=(0, 9), w_1=(1, 2), w_2=(3, 4), weights=(5, 6))

    main(["diff", before, after])

    assert capsys.readouterr().out.splitlines()[:2] == [
        "shifted  2 neighbours moved up by 1: w/0 is now w/1, w/1 is now w/2 (by its value)",
        "renamed  kernel is now weights (by its value)",
    ]


def test_differences_within_the_tolerance_are_no_changes(write, capsys):
    before, after = write("a", b=(1, 2)), write("b", b=(1, 2.0625))

    assert main(["diff", before, after]) == 1
    assert main(["diff", "--allclose", before, after]) == 1
    capsys.readouterr()
    assert main(["diff", "--allclose", "--rtol", "0.05", before, after]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "close    b: 1 of 2 values, largest difference 0.0625 at [1]",
        "0 the same, 1 within the tolerance, 0 changed, 0 of another type or shape, 0 gone, 0 new",
    ]


def test_only_keys_that_match_are_looked_at(write, capsys):
    before, after = write("a", a_w=(1,), b_w=(1,)), write("b", a_w=(1,), b_w=(2,))

    assert main(["diff", "--key", "a/*", before, after]) == 0
    assert capsys.readouterr().out.splitlines() == ["1 the same, 0 changed, 0 of another type or shape, 0 gone, 0 new"]


def test_a_pattern_that_nothing_matches_compares_nothing_and_is_no_agreement(write, capsys):
    before, after = write("a", a_w=(1,)), write("b", a_w=(2,))

    assert main(["diff", "--key", "modle/*", before, after]) == 3
    assert "no tensor of either checkpoint matches 'modle/*': nothing was compared" in capsys.readouterr().err


def test_values_that_became_nan_are_counted(write, capsys):
    before, after = write("a", b=(1, 2)), write("b", b=(1, float("nan")))

    main(["diff", before, after])

    assert capsys.readouterr().out.splitlines()[0] == ("changed  b: 1 of 2 values; NaN 0 before, 1 now")


def test_workers_of_one_gang_differ_in_what_is_each_workers_own():
    found = diff_of(str(MWMS / "ckpt-2"), str(MWMS / "workertemp_1" / "ckpt-2"))

    assert [change.tensor.label for change in found.changed] == ["local"]
    assert (found.gone, found.new, found.retyped) == ((), (), ())


def test_only_what_differs_is_read(write):
    before, after = write("a", a=(1,) * 1000, b=(1, 2)), write("b", a=(1,) * 1000, b=(1, 3))
    seen = []

    diff_of(before, after, on_progress=lambda read, in_all: seen.append((read, in_all)))

    assert seen[-1] == (16, 16)


def test_a_damaged_checkpoint_is_named_and_not_compared(write, capsys):
    before, after = write("a", b=(1, 2)), write("b", b=(1, 3))
    data = Path(after + ".data-00000-of-00001")
    data.write_bytes(b"\xff" + data.read_bytes()[1:])

    assert main(["diff", before, after]) == 3
    assert "Corrupt" in capsys.readouterr().err


def test_the_document_says_the_same(write, capsys):
    before = write("a", w_0=(1, 2), w_1=(3, 4), old=(7, 8))
    after = write("b", w_0=(3, 4), w_1=(1, 2), b=(float("inf"), 1))

    main(["diff", "--json", before, after])

    document = json.loads(capsys.readouterr().out)
    assert document["moves"] == [{"kind": "swapped", "keys": [["w/0", "w/1"], ["w/1", "w/0"]], "by": "value"}]
    assert document["gone"] == [{"key": "old", "dtype": "float32", "shape": [2], "full_name": ""}]
    assert [each["key"] for each in document["new"]] == ["b"]
    assert document["changed"][0] == {
        "key": "w/0",
        "dtype": "float32",
        "shape": [2],
        "full_name": "",
        "elements": 2,
        "differing": 2,
        "beyond_tolerance": 2,
        "largest_difference": 2.0,
        "largest_at": [0],
        "nan": [0, 0],
        "inf": [0, 0],
    }
    assert (document["is_same"], document["same"]) == (False, 0)


@pytest.mark.parametrize("tolerance", ["-1", "nan", "inf", "much"])
def test_a_tolerance_that_is_none_is_wrong_usage(write, tolerance, capsys):
    prefix = write("a", b=(1,))

    assert main(["diff", prefix, prefix, "--rtol", tolerance]) == 2
    assert "expected a number, 0 or more" in capsys.readouterr().err


def test_a_tolerance_applies_to_every_type_with_a_distance(write):
    before, after = write("a", b=(1, 2)), write("b", b=(1, 3))

    assert diff_of(before, after, allclose=Tolerance(rtol=0, atol=1)).is_empty
    assert not diff_of(before, after, allclose=Tolerance(rtol=0, atol=0.5)).is_empty


def test_the_document_fits_its_schema_whatever_differs(write, capsys):
    most = float.fromhex("0x1.fffffep+127")
    before = write("a", w_0=(1, 2), w_1=(3, 4), old=(7, 8), nan=(float("nan"), 1), wide=(1,), far=(-most, most))
    after = write("b", w_0=(3, 4), w_1=(1, 2), new=(5, 6), nan=(1, 1), wide=(1, 2), far=(most, -most))
    jsonschema.Draft202012Validator.check_schema(SCHEMA)

    for pair in [
        (before, after),
        (after, before),
        (before, before),
        *zip(build.real_prefixes(), build.real_prefixes()[1:]),
    ]:
        main(["diff", "--json", *pair])
        jsonschema.validate(json.loads(capsys.readouterr().out), SCHEMA)


def with_graph(prefix, name):
    """A checkpoint of one variable in an attribute of that name."""
    key = name.encode() + b"/.ATTRIBUTES/VARIABLE_VALUE"
    attribute = build.field(1, b"VARIABLE_VALUE") + build.field(2, name.encode()) + build.field(3, key)
    root = build.field(1, build.field(1, 1) + build.field(2, name.encode()))
    graph = build.field(1, root) + build.field(1, build.field(2, attribute))
    length = struct.pack("<I", len(graph))
    checked = struct.pack("<I", mask(crc32c(length)))
    text = build.Tensor(
        b"_CHECKPOINTABLE_OBJECT_GRAPH",
        build.varint(len(graph)) + checked + graph,
        (),
        dtype=7,
        crc=crc32c(length + checked + graph),
    )
    return build.write_bundle(prefix, sorted([text, build.Tensor(key, bytes(4), (1,))], key=lambda one: one.key))


@pytest.mark.parametrize("command", [["diff"], ["explain", "--against"]])
def test_what_compares_two_checkpoints_cannot_steer_a_terminal_either(command, tmp_path, capsys):
    before, after = with_graph(tmp_path / "a", "w\x1b[2J\x9b"), with_graph(tmp_path / "b", "v\x1b[2J\x9b")

    status = main([*command, before, after])

    told = capsys.readouterr().out
    assert status == 1
    assert {"\x1b", "\x9b"}.isdisjoint(told)
    assert "w\\x1b[2J" in told
