"""JSON lines: what is a message, and that sending never blocks."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood_agent.lines import MAX_WAITING_BYTES, LineDecoder, LineSocket, encode_line


@pytest.fixture
def pair() -> Iterator[tuple[LineSocket, LineSocket]]:
    ours, theirs = socket.socketpair()
    made = LineSocket(ours), LineSocket(theirs)
    yield made
    for each in made:
        each.close()


messages = st.lists(st.dictionaries(st.text(), st.text() | st.integers() | st.none(), max_size=3), max_size=5)


@given(messages, st.integers(1, 7))
def test_messages_come_out_as_they_went_in_however_they_are_cut(sent: list[dict[str, object]], size: int):
    text = b"".join(encode_line(message) for message in sent)
    decoder = LineDecoder()
    received = [m for start in range(0, len(text), size) for m in decoder.feed(text[start : start + size])]
    assert (received, decoder.dropped) == (sent, 0)


@given(st.binary())
def test_no_bytes_raise_and_the_next_message_is_understood(garbage: bytes):
    decoder = LineDecoder(max_line_bytes=64)
    decoder.feed(garbage + b"\n")
    assert decoder.feed(b'{"type":"alive"}\n') == [{"type": "alive"}]


def test_a_line_that_is_too_long_is_dropped_and_counted_whole_or_in_pieces():
    decoder = LineDecoder(max_line_bytes=10)
    got = [decoder.feed(piece) for piece in (b'{"a":"' + b"x" * 20, b"y" * 20, b'"}\n{"b":1}\n' + b"z" * 11 + b"\n")]
    assert (got, decoder.dropped) == ([[], [], [{"b": 1}]], 2)


def test_what_is_no_object_is_dropped_and_counted():
    decoder = LineDecoder()
    assert decoder.feed(b'[1]\n7\nnot json\n\n\xff\n{"a":1}\n') == [{"a": 1}]
    assert decoder.dropped == 4


def test_a_peer_that_does_not_read_blocks_nobody_and_gets_everything_when_it_does(
    pair: tuple[LineSocket, LineSocket],
):
    ours, theirs = pair
    big = {"text": "x" * 300_000}
    for _ in range(4):
        ours.send(big)
    assert ours.wants_to_write
    assert not ours.flush_within(0.01)

    received: list[object] = []
    while ours.wants_to_write or len(received) < 4:
        received += theirs.receive()[0]
        ours.flush()
    assert received == [big] * 4


def test_a_peer_that_never_reads_is_given_up(pair: tuple[LineSocket, LineSocket]):
    ours, _ = pair
    line = {"text": "x" * (1 << 20)}
    for _ in range(2 + MAX_WAITING_BYTES // len(json.dumps(line))):
        ours.send(line)
    assert not ours.is_open


def test_the_end_of_a_peer_is_seen_after_its_last_message(pair: tuple[LineSocket, LineSocket]):
    ours, theirs = pair
    theirs.send({"last": 1})
    theirs.finish_sending()
    assert ours.receive() == ([{"last": 1}], False)
    ours.send({"to": "nobody"})
    assert not ours.is_open
