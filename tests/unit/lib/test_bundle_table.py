"""The LevelDB table: what is read, and that any bytes give an answer or an error of ours."""

import struct

import bundle_builder as build
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood.bundle import table
from lastgood.bundle.snappy import decompress
from lastgood.bundle.table import read_table
from lastgood.bundle.wire import WireError
from lastgood.errors import BundleError
from lastgood.reasons import Reason


def reason_of(data):
    """Why the table is refused; None when it is read."""
    try:
        list(read_table(data))
    except BundleError as error:
        return error.reason if error.detail else "no detail"
    return None


def snappy_literal(data):
    """One literal of snappy, up to 256 bytes."""
    return build.varint(len(data)) + bytes([60 << 2, len(data) - 1]) + data


def test_entries_of_several_blocks_come_in_order():
    data = build.table(build.block([(b"", b"head"), (b"a", b"1")]), build.block([(b"b", b""), (b"c", b"3")]))

    assert list(read_table(data)) == [(b"", b"head"), (b"a", b"1"), (b"b", b""), (b"c", b"3")]


def test_keys_stored_as_differences_are_put_together():
    body = b"\0\3\1" + b"abc" + b"1" + b"\2\2\1" + b"de" + b"2" + b"\0\0\0\0\1\0\0\0"

    assert list(read_table(build.table(body))) == [(b"abc", b"1"), (b"abde", b"2")]


def test_blocks_compressed_with_snappy_are_read():
    content = build.block([(b"key", b"value" * 20)])

    data = build.table(snappy_literal(content), compression=1)

    assert list(read_table(data)) == [(b"key", b"value" * 20)]


@pytest.mark.parametrize(
    ("compressed", "expected"),
    [
        (b"", b""),
        (b"\x08abc" + b"\x08abc", b"abcabc"),
        (b"\x04ab" + b"\x11\x02", b"ab" * 5),
        (b"\x08abc" + b"\xfe\x03\x00", b"abc" * 22 + b"a"),
        (b"\x08abc" + b"\x0f\x03\x00\x00\x00", b"abcabca"),
    ],
)
def test_snappy_literals_and_copies(compressed, expected):
    assert decompress(build.varint(len(expected)) + compressed) == expected


@pytest.mark.parametrize(
    "data", [b"", b"\x05", b"\x05\x10abc", b"\x04\x01\x00", b"\x04\x00a\x01\x05", b"\xff\xff\xff\x0f\x00a"]
)
def test_damaged_snappy_is_refused(data):
    with pytest.raises(WireError):
        decompress(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.INCOMPLETE),
        (b"short", Reason.TORN),
        (b"\0\0" + bytes(100), Reason.TORN),
        (b"PK\3\4" + bytes(100), Reason.CORRUPT),
        (bytes(40) + struct.pack("<Q", build.MAGIC), Reason.CORRUPT),
        (b"\xff" * 40 + struct.pack("<Q", build.MAGIC), Reason.CORRUPT),
        (build.table(build.block([]))[:-8] + struct.pack("<Q", build.MAGIC ^ 4), Reason.CORRUPT),
        (build.table(build.block([(b"a", b"1")]), compression=7), Reason.UNSUPPORTED),
        (build.table(build.block([(b"b", b"1"), (b"a", b"1")])), Reason.CORRUPT),
        (build.table(build.block([(b"a", b"1"), (b"a", b"1")])), Reason.CORRUPT),
        (build.table(build.block([(b"b", b"1")]), build.block([(b"a", b"1")])), Reason.CORRUPT),
        (build.table(b"abc"), Reason.CORRUPT),
        (build.table(b"\xff\xff\xff\xff"), Reason.CORRUPT),
        (build.table(b"\5\1\1ab" + b"\0\0\0\0\1\0\0\0"), Reason.CORRUPT),
        (build.table(b"\0\1\x7fab" + b"\0\0\0\0\1\0\0\0"), Reason.CORRUPT),
        (build.table_of(b"", [b"\x00"]), Reason.CORRUPT),
        (build.table_of(b"", [b"\x00\x08\x00"]), Reason.CORRUPT),
        (build.table_of(b"", [build.varint(1 << 62) + b"\x08"]), Reason.CORRUPT),
        (build.table_of(build.with_trailer(build.block([])), [b"\x00\x08", b"\x00\x08"]), Reason.CORRUPT),
    ],
)
def test_what_no_writer_makes_is_refused_with_a_reason(data, reason):
    assert reason_of(data) == reason


def test_keys_that_would_take_too_much_memory_are_unsupported(monkeypatch):
    monkeypatch.setattr(table, "MAX_KEY_BYTES", 100)
    entries = [(b"%050d" % number, b"") for number in range(3)]

    assert reason_of(build.table(build.block(entries))) == Reason.UNSUPPORTED
    assert reason_of(build.table(*(build.block([entry]) for entry in entries))) == Reason.UNSUPPORTED


@pytest.mark.parametrize("prefix", build.real_prefixes("tf-2.21.0"))
def test_an_index_cut_off_anywhere_is_refused_as_torn_or_incomplete(prefix):
    with open(prefix + ".index", "rb") as file:
        data = file.read()

    reasons = {reason_of(data[:size]) for size in range(len(data))}

    assert reasons == {Reason.INCOMPLETE, Reason.TORN}
    assert reason_of(data) is None


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_with_a_reason(data):
    assert reason_of(data) is not None
    assert reason_of(data + struct.pack("<Q", build.MAGIC)) is not None


@given(st.binary(max_size=120))
def test_any_block_gives_entries_or_an_error_of_ours(content):
    reason_of(build.table(content))
    reason_of(build.table(content, compression=1))


@given(st.lists(st.binary(max_size=12), max_size=4), st.binary(max_size=60))
def test_any_handles_give_entries_or_an_error_of_ours(handles, data):
    reason_of(build.table_of(data, handles))


@given(st.data())
def test_any_splice_of_a_real_index_gives_entries_or_an_error_of_ours(data):
    prefix = build.real_prefixes("tf-2.21.0", "mwms")[0]
    with open(prefix + ".index", "rb") as file:
        index = file.read()
    start = data.draw(st.integers(0, len(index)))
    end = data.draw(st.integers(start, len(index)))

    reason = reason_of(index[:start] + data.draw(st.binary(max_size=30)) + index[end:])

    assert reason in {None, Reason.CORRUPT, Reason.TORN, Reason.INCOMPLETE, Reason.UNSUPPORTED}
