"""TensorFlow's state file: what TensorFlow understands of it, what is left of a damaged one, and how one is written.

That TensorFlow itself agrees is shown with TensorFlow, in tests/integration/library.
"""

import math
from contextlib import suppress

import bundle_builder as build
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood.latest.state_file import Fault, State, StateFileError, parse, render, salvage

PATHS = st.text(st.characters(codec="utf-8"), min_size=1)
TIMES = st.floats(min_value=0, max_value=4e9)


@pytest.mark.parametrize("path", sorted(build.DATA.rglob("checkpoint")), ids=lambda path: "/".join(path.parts[-3:-1]))
def test_what_tensorflow_wrote_is_written_again_byte_for_byte(path):
    content = path.read_bytes()

    state = parse(content)

    assert state.latest == state.all_paths[-1]
    assert render(state) == content


@given(st.builds(State, PATHS, st.lists(PATHS).map(tuple), st.lists(TIMES).map(tuple), TIMES))
def test_what_is_written_is_understood(state):
    assert parse(render(state)) == state


def test_a_name_that_is_not_utf8_cannot_be_written():
    with pytest.raises(ValueError, match="surrogates not allowed"):
        render(State("ckpt-\udcff"))


@pytest.mark.parametrize(
    ("content", "fault", "detail"),
    [
        (b"", Fault.EMPTY, "it is empty"),
        (b"# nothing\n", Fault.EMPTY, "it names no model_checkpoint_path"),
        (b'model_checkpoint_path: ""\n', Fault.EMPTY, "it names no model_checkpoint_path"),
        (b'all_model_checkpoint_paths: "ckpt-1"\n', Fault.EMPTY, "it names no model_checkpoint_path"),
        (b'model_checkpoint_path: "ckpt-\xff"', Fault.NOT_TEXT, "byte 29 is not UTF-8"),
        (b'model_checkpoint_path: "ckpt-1', Fault.UNPARSABLE, "line 1: something that is neither a name, a text nor"),
        (b'model_checkpoint_path: "a"\nall_model_check', Fault.UNPARSABLE, "line 2: there is no field"),
        (
            b'model_checkpoint_path: "a"\nall_model_checkpoint_paths:',
            Fault.UNPARSABLE,
            "expected a text, found its end",
        ),
        (b'model_checkpoint_path "a"', Fault.UNPARSABLE, "line 1: expected ':', found '\"a\"'"),
        (b'model_checkpoint_path: "\\377"', Fault.UNPARSABLE, "a text that is not UTF-8"),
        (b'model_checkpoint_path: "\\400"', Fault.UNPARSABLE, "the escape"),
        (b'model_checkpoint_path: "\\U00110000"', Fault.UNPARSABLE, "the escape"),
        (
            b'model_checkpoint_path: "a" last_preserved_timestamp: 010',
            Fault.UNPARSABLE,
            "expected a number, found '010'",
        ),
        (b'model_checkpoint_path: "a" last_preserved_timestamp: "1"', Fault.UNPARSABLE, "expected a number"),
        (bytes(300), Fault.UNPARSABLE, "line 1: something"),
    ],
)
def test_what_tensorflow_cannot_use_is_refused_with_what_it_makes_of_it(content, fault, detail):
    with pytest.raises(StateFileError) as raised:
        parse(content)

    assert raised.value.fault is fault
    assert detail in raised.value.detail


def test_every_way_to_write_the_same_is_understood():
    content = b"""
    # a comment
    all_model_checkpoint_paths: ["a", 'b',
      "c" "\\x64"] ; model_checkpoint_path: "old", model_checkpoint_path: 'n\\145w'
    last_preserved_timestamp: 1.5f all_model_checkpoint_timestamps: [1, 2e3, -INF]
    """

    assert parse(content) == State("new", ("a", "b", "cd"), (1.0, 2000.0, -math.inf), 1.5)


@pytest.mark.parametrize(
    ("content", "latest"),
    [
        (b"#" + b" #" * 2000 + b"\n\0", ""),
        (b'model_checkpoint_path: "' + b"\\101" * 500_000 + b'"', "A" * 500_000),
        (b"model_checkpoint_path: " + b'"a"' * 500_000, "a" * 500_000),
    ],
    ids=["many comments in one line", "many escapes", "many texts side by side"],
)
def test_a_state_file_is_read_in_a_time_that_grows_with_its_size_and_no_faster(content, latest):
    assert salvage(content).latest == latest


def test_of_a_damaged_file_there_is_left_what_came_before_the_damage():
    whole = render(State("ckpt-2", ("ckpt-1", "ckpt-2"), (1.5, 2.5), 0.5))

    assert salvage(whole) == parse(whole)
    assert salvage(whole[: whole.index(b"all_model_checkpoint_timestamps") + 4]) == State(
        "ckpt-2", ("ckpt-1", "ckpt-2")
    )
    assert salvage(whole[:40]) == State("ckpt-2")
    assert salvage(b"") == salvage(b"\0" * 100) == salvage(b"\xff\xfe") == State("")


@given(
    st.one_of(st.binary(), st.text().map(str.encode), st.text('model_checkpoint_path:"\\x[],;#0123.').map(str.encode))
)
def test_any_bytes_are_a_state_or_a_refusal(content):
    salvage(content)
    with suppress(StateFileError):
        assert parse(content).latest
