"""`lastgood show`: the tree, the sums, the document, and what is said of what cannot be read."""

import io
import json
import struct
from pathlib import Path

import bundle_builder as build
import jsonschema
import pytest

from lastgood.checkpoint import TensorInfo, open_checkpoint
from lastgood.cli import main
from lastgood.show import Progress, read_progress, select, tree

SCHEMA = json.loads((Path(__file__).parents[3] / "docs" / "schemas" / "show.schema.json").read_text())
ADAM = str(build.DATA / "tf-2.4.4" / "keras_adam" / "ckpt-3")
SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"


class Terminal(io.StringIO):
    """A stdout that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self):
        return True


def tensor(path, size_bytes=4):
    return TensorInfo((path + SUFFIX).encode(), "float32", (size_bytes // 4,), 0, size_bytes)


def variable(path, data=bytes(8), **changes):
    return build.Tensor((path + SUFFIX).encode(), data, (len(data) // 4,), **changes)


def integer(path, value):
    return build.Tensor((path + SUFFIX).encode(), struct.pack("<q", value), (), 9)


def rows_of(*paths):
    return [
        (row.depth, row.name, row.tensor is not None, row.tensors, row.size_bytes)
        for row in tree([tensor(path) for path in sorted(paths)])
    ]


def shown(capsys, *arguments):
    """(exit status, stdout, stderr)."""
    status = main(["show", *arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def document(capsys, *arguments):
    """(exit status, the JSON document), which fits the schema."""
    status, out, _ = shown(capsys, "--json", *arguments)
    found = json.loads(out)
    jsonschema.validate(found, SCHEMA)
    return status, found


def test_the_tree_joins_objects_that_hold_one_other_thing():
    assert rows_of("net/d1/kernel", "net/d1/bias", "opt/deep/er/m", "step") == [
        (0, "net/d1", False, 2, 8),
        (1, "bias", True, 1, 4),
        (1, "kernel", True, 1, 4),
        (0, "opt/deep/er/m", True, 1, 4),
        (0, "step", True, 1, 4),
    ]


def test_a_variable_with_slots_below_it_is_a_row_of_its_own():
    assert rows_of("a/k", "a/k/.OPTIMIZER_SLOT/o/m", "a/k/.OPTIMIZER_SLOT/o/v", "b") == [
        (0, "a/k", True, 3, 12),
        (1, ".OPTIMIZER_SLOT/o", False, 2, 8),
        (2, "m", True, 1, 4),
        (2, "v", True, 1, 4),
        (0, "b", True, 1, 4),
    ]


def test_two_keys_that_read_alike_are_two_rows():
    twice = [TensorInfo(key, "int8", (1,), 0, 1) for key in (b"a/w", b"a/w/.ATTRIBUTES/VARIABLE_VALUE")]

    assert [(row.depth, row.name, row.tensors, row.size_bytes) for row in tree(twice)] == [
        (0, "a", 2, 2),
        (1, "w", 1, 1),
        (1, "w", 1, 1),
    ]


def test_a_checkpoint_is_printed_as_a_tree_with_sums(capsys):
    status, out, err = shown(capsys, ADAM, "--key", "d2")

    assert (status, err) == (0, "")
    assert out.splitlines() == [
        f"{ADAM}  bundle, step 3, save counter 3",
        "net/d2                         6 tensors, 108 B",
        "  bias                         float32 [1]          4 B  and below it 2 tensors, 8 B",
        "    .OPTIMIZER_SLOT/optimizer  2 tensors, 8 B",
        "      m                        float32 [1]          4 B",
        "      v                        float32 [1]          4 B",
        "  kernel                       float32 [8, 1]      32 B  and below it 2 tensors, 64 B",
        "    .OPTIMIZER_SLOT/optimizer  2 tensors, 64 B",
        "      m                        float32 [8, 1]      32 B",
        "      v                        float32 [8, 1]      32 B",
        "6 of 19 tensors, 27 elements, 108 B",
    ]


def test_names_and_values_are_printed_when_they_are_asked_for(capsys):
    status, out, _ = shown(capsys, str(build.DATA / "tf-2.21.0" / "variables" / "ckpt-1"), "--names", "--values")

    assert status == 0
    found = {" ".join(line.split()) for line in out.splitlines()}
    assert found >= {
        "bool bool [3] 3 B named bool = True, False, True",
        "complex64 complex64 [2] 16 B named complex64 = (1+2j), (3-4j)",
        "empty float32 [0, 4] 0 B named empty = nothing",
        "string string [] 10 B named string = 'hello'",
        "strings string [2, 2] 613 B named strings = 'a', '', 'bcd', a string of 600 bytes",
    }


def test_the_values_of_large_tensors_are_left_out(capsys):
    _, found = document(capsys, ADAM, "--values", "--max-values", "4", "--key", "d1/bias")

    assert [row["values"] for row in found["tensors"]] == [None, None, None]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (None, {"a/b", "a/c", "x"}),
        ("a/", {"a/b", "a/c"}),
        ("*c", {"a/c"}),
        ("?/b", {"a/b"}),
        ("[ax]*", {"a/b", "a/c", "x"}),
        ("nothing", set()),
    ],
)
def test_a_pattern_without_wildcards_is_a_part_of_the_path(pattern, expected):
    tensors = {name.encode(): tensor(name) for name in ("a/b", "a/c", "x")}

    assert {row.label for row in select(tensors, pattern)} == expected


@pytest.mark.parametrize("prefix", build.real_prefixes())
def test_the_document_of_every_real_checkpoint_fits_the_schema(capsys, prefix):
    status, found = document(capsys, prefix, "--names", "--values")

    assert status == 0
    assert found["totals"]["tensors"] == len(found["tensors"]) == found["totals"]["tensors_in_all"]
    assert found["totals"]["size_bytes"] == sum(row["size_bytes"] for row in found["tensors"])


def test_the_document_says_all_that_the_tree_says(capsys, tmp_path):
    # given
    tensors = [variable("b", struct.pack("<2f", 1, float("nan"))), integer("save_counter", 7), integer("step", 9)]
    prefix = build.write_bundle(tmp_path / "ckpt-7", tensors)

    # when
    status, found = document(capsys, prefix, "--values", "--key", "b")

    # then
    with open_checkpoint(prefix) as checkpoint:
        crc = checkpoint.tensors[b"b" + SUFFIX.encode()].crc32c
    assert status == 0
    assert found == {
        "path": prefix,
        "format": "bundle",
        "prefix": prefix,
        "step": 9,
        "save_counter": 7,
        "problem": None,
        "totals": {
            "tensors": 1,
            "tensors_in_all": 3,
            "elements": 2,
            "size_bytes": 8,
            "by_dtype": [{"dtype": "float32", "tensors": 1, "size_bytes": 8}],
        },
        "tensors": [
            {
                "key": "b/.ATTRIBUTES/VARIABLE_VALUE",
                "path": "b",
                "dtype": "float32",
                "shape": [2],
                "size_bytes": 8,
                "crc32c": crc,
                "is_sliced": False,
                "full_name": None,
                "values": [1.0, "NaN"],
                "problem": None,
            }
        ],
    }


def test_a_damaged_value_is_named_and_the_others_are_shown(capsys, tmp_path):
    prefix = build.write_bundle(tmp_path / "ckpt", [variable("a", crc=1), variable("b")])

    status, found = document(capsys, prefix, "--values")
    text = shown(capsys, prefix, "--values")

    assert (status, text[0]) == (1, 1)
    assert [(row["path"], row["values"], row["problem"] and row["problem"]["reason"]) for row in found["tensors"]] == [
        ("a", None, "Corrupt"),
        ("b", [0.0, 0.0], None),
    ]
    assert "a  float32 [2]       8 B  Corrupt" in text[1].splitlines()
    assert text[1].splitlines()[-1].endswith("(docs/reasons.md#corrupt)")


def test_without_its_data_file_a_checkpoint_is_shown_with_its_step_unknown(capsys, tmp_path):
    prefix = build.write_bundle(tmp_path / "ckpt", [integer("step", 3), variable("w")])
    (tmp_path / "ckpt.data-00000-of-00001").unlink()

    status, found = document(capsys, prefix)

    assert (status, found["step"], found["problem"]["reason"], len(found["tensors"])) == (1, None, "Incomplete", 2)


@pytest.mark.parametrize(
    ("content", "status", "reason"),
    [
        (None, 1, "Incomplete"),
        (b"", 1, "Incomplete"),
        (b"\0\0garbage" * 20, 1, "Torn"),
        ("big-endian", 3, "Unsupported"),
    ],
)
def test_what_cannot_be_read_gets_a_sentence_and_its_exit_status(capsys, tmp_path, content, status, reason):
    if content == "big-endian":
        build.write_bundle(tmp_path / "ckpt", [variable("w")], build.HEADER + build.field(2, 1))
    elif content is not None:
        (tmp_path / "ckpt.index").write_bytes(content)

    found = shown(capsys, str(tmp_path / "ckpt"))
    as_json = document(capsys, str(tmp_path / "ckpt"))

    assert found[:2] == (status, "")
    assert found[2].startswith(f"lastgood: {reason}: ")
    assert found[2].endswith(f"(docs/reasons.md#{reason.lower()})\n")
    assert as_json[0] == status
    assert as_json[1]["problem"]["reason"] == reason


def test_keys_that_could_steer_a_terminal_are_escaped(capsys, tmp_path):
    prefix = build.write_bundle(tmp_path / "ckpt", [build.Tensor(b"\x1b[2J\xff\xc2\x9b/w", bytes(4), (1,))])

    _, out, _ = shown(capsys, prefix)

    assert "\x1b" not in out
    assert "\\x1b[2J\\xff\\x9b/w" in out
    assert document(capsys, prefix)[1]["tensors"][0]["key"] == "%1B%5B2J%FF%C2%9B/w"


@pytest.mark.parametrize("columns", [30, 60, 200])
def test_a_terminal_gets_colour_and_lines_that_fit_it(monkeypatch, tmp_path, columns):
    # given
    prefix = build.write_bundle(tmp_path / "c", [variable("a_long_name/" * 9 + name) for name in "ab"])
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)

    # when
    assert main(["show", prefix]) == 0
    colourful = terminal.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    main(["show", prefix])

    # then
    plain = terminal.getvalue()[len(colourful) :]
    assert "\x1b[1m" in colourful
    assert "\x1b" not in plain
    tree_lines = plain.splitlines()[1:-1]
    assert len(tree_lines) == 3
    assert ("…" in tree_lines[0]) == (columns < 200)
    assert max(map(len, tree_lines)) <= max(columns, 45)


def test_a_pipe_gets_whole_names_and_no_colour(capsys, tmp_path):
    name = "a_long_name/" * 30 + "w"
    prefix = build.write_bundle(tmp_path / "c", [variable(name)])

    out = shown(capsys, prefix)[1]

    assert "\x1b" not in out


def test_the_steps_of_an_optimizer_are_the_step_of_a_keras_file(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "m.weights.h5", "w") as file:
        file["optimizer/vars/0"] = 41
        file["layers/dense/vars/0"] = [1.0, 2.0]

    with open_checkpoint(str(tmp_path / "m.weights.h5")) as checkpoint:
        assert read_progress(checkpoint) == Progress(41, None)


def test_a_wrong_number_is_wrong_usage(capsys):
    assert shown(capsys, ADAM, "--max-values", "-1")[0] == 2


def test_the_lines_grow_with_the_tensors_and_no_faster():
    # given: what a quadratic step would take minutes for
    tensors = [tensor(f"m/block_{place // 10:05}/w{place % 10}") for place in range(50_000)]

    # when
    rows = tree(tensors)

    # then
    assert len(rows) == 1 + 5_000 + 50_000
    assert (rows[0].tensors, rows[0].size_bytes) == (50_000, 200_000)
