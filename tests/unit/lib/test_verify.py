"""Wholeness of real checkpoints, and every way in which one can lose it."""

import errno
import fcntl
import os
import shutil
import tracemalloc
from contextlib import suppress
from dataclasses import replace
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import bundle_builder as build
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood.bundle.table import FOOTER_BYTES, TRAILER_BYTES, read_footer
from lastgood.bundle.wire import WireError
from lastgood.errors import BundleError
from lastgood.inspect import read_manifest
from lastgood.notes import Remark
from lastgood.reasons import Reason
from lastgood.verify import MAX_NAMED_FAULTS, verify

STRING, VARIANT = 7, 21
MWMS = str(build.DATA / "tf-2.21.0" / "mwms" / "ckpt-1")


def copy_of(prefix, directory):
    """The files of a checkpoint, copied; the prefix of the copy."""
    source = Path(prefix)
    for path in source.parent.glob(source.name + ".*"):
        shutil.copy(path, directory / path.name)
    return str(directory / source.name)


def reasons(verification):
    return {fault.reason for fault in verification.faults}


def survivors_of_flips(path, prefix, bits_of):
    """The (byte, bit) pairs of one file whose flip nothing complains of. The file is left as it was."""
    survived = []
    with open(path, "r+b", buffering=0) as file:
        data = file.read()
        for position, byte in enumerate(data):
            for bit in bits_of(position):
                os.pwrite(file.fileno(), bytes([byte ^ (1 << bit)]), position)
                if verify(prefix).is_whole:
                    survived.append((position, bit))
            os.pwrite(file.fileno(), bytes([byte]), position)
    return survived


def every_bit(_):
    return range(8)


def one_bit_in_three_bytes(position):
    return () if position % 3 else (position // 3 % 8,)


def bits_of_index_that_nobody_reads(path):
    """(byte, bit) pairs in an index that change nothing TensorFlow or lastgood looks at, by the format.

    The metaindex block with its trailer: bundles have no meta information. In the footer, whatever leaves the index
    block's handle the same: the metaindex block's handle, the padding before the magic number, and the bit that makes
    the handle's last number one byte longer without changing it.
    """
    data = Path(path).read_bytes()
    metaindex, index = read_footer(data)
    unread = set(product(range(metaindex.offset, metaindex.offset + metaindex.size_bytes + TRAILER_BYTES), range(8)))
    for position, bit in product(range(len(data) - FOOTER_BYTES, len(data)), range(8)):
        flipped = data[:position] + bytes([data[position] ^ 1 << bit]) + data[position + 1 :]
        with suppress(BundleError, WireError):
            if read_footer(flipped)[1] == index:
                unread.add((position, bit))
    return unread


@pytest.mark.parametrize("prefix", build.real_prefixes())
def test_every_real_checkpoint_is_whole(prefix):
    manifest = read_manifest(prefix)

    verification = verify(prefix, manifest.digest)

    assert verification.faults == ()
    assert verification.digest == manifest.digest
    assert verification.bytes_read == sum(manifest.shard_sizes_bytes)
    stored = [entry for entry in manifest.entries if not (entry.size_bytes == 0 and entry.shape == (64, 64))]
    assert verification.tensors == len(stored)
    assert verification.medium == "cache"
    assert verification.notes == ()


def test_a_checkpoint_is_read_past_the_page_cache_when_asked(tmp_path):
    verification = verify(copy_of(MWMS, tmp_path), drop_cache=True)

    assert (verification.is_whole, verification.medium) == (True, "disk")


@pytest.mark.parametrize("data_bytes", [1, 4095, 4096, 4097, (2 << 20) + 1234])
def test_reading_past_the_page_cache_finds_what_any_other_reading_finds(tmp_path, data_bytes):
    # Given: tensors that begin and end anywhere, whatever the blocks of the disk
    contents = {b"a": b"x" * 7, b"b": os.urandom(data_bytes), b"c": b"y" * 3}
    tensors = [build.Tensor(key, data, (len(data),), dtype=4) for key, data in contents.items()]
    prefix = build.write_bundle(tmp_path / "ckpt-1", tensors)

    # When
    through, past = verify(prefix), verify(prefix, bypass_cache=True)

    # Then
    assert (past.is_whole, past.medium) == (True, "disk")
    assert (past.digest, past.tensors, past.bytes_read) == (through.digest, through.tensors, through.bytes_read)


def test_reading_past_the_page_cache_sees_what_is_not_on_the_disk_yet_and_what_is_cut_off(tmp_path):
    # Given: nothing was synced
    prefix = copy_of(MWMS, tmp_path)
    data = prefix + ".data-00000-of-00001"
    content = bytearray(Path(data).read_bytes())

    # When: a bit flips
    content[0] ^= 1
    Path(data).write_bytes(content)
    flipped = verify(prefix, bypass_cache=True)

    # When: the file ends too early
    content[0] ^= 1
    Path(data).write_bytes(content)
    os.truncate(data, 100)
    torn = verify(prefix, bypass_cache=True)

    # Then
    assert (reasons(flipped), reasons(torn)) == ({Reason.CORRUPT}, {Reason.TORN})


def test_where_the_cache_cannot_be_passed_by_it_is_dropped(tmp_path, monkeypatch):
    # Given: a file system that agrees to direct reads and then refuses each
    prefix = copy_of(MWMS, tmp_path)
    read = os.preadv

    def refuse_direct(descriptor, buffers, offset):
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return read(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", refuse_direct)

    # When
    verification = verify(prefix, bypass_cache=True)

    # Then
    assert (verification.is_whole, verification.medium) == (True, "disk")


def test_every_flipped_bit_in_the_data_is_found(tmp_path):
    prefix = copy_of(MWMS, tmp_path)

    assert survivors_of_flips(prefix + ".data-00000-of-00001", prefix, every_bit) == []


def test_every_flipped_bit_in_an_index_is_found_except_where_nobody_reads(tmp_path):
    prefix = copy_of(MWMS, tmp_path)
    unread = bits_of_index_that_nobody_reads(prefix + ".index")

    survived = survivors_of_flips(prefix + ".index", prefix, every_bit)

    assert set(survived) == unread
    assert len({position for position, _ in unread}) == 13 + 37 + 1
    assert (13 + 36) * 8 < len(unread) < (13 + 37) * 8


def test_every_flipped_bit_where_nobody_reads_is_noted(tmp_path):
    prefix = copy_of(MWMS, tmp_path)
    index = Path(prefix + ".index")
    whole = index.read_bytes()

    for position, bit in sorted(bits_of_index_that_nobody_reads(index)):
        index.write_bytes(whole[:position] + bytes([whole[position] ^ 1 << bit]) + whole[position + 1 :])
        found = verify(prefix)
        remarks = {note.remark for note in found.notes}
        of_footer = {Remark.FOOTER_PADDING, Remark.METAINDEX}  # the footer says where the metaindex block lies
        assert found.faults == ()
        assert remarks
        assert remarks <= (of_footer if position >= len(whole) - FOOTER_BYTES else {Remark.METAINDEX}), position


@pytest.mark.parametrize("name", ["variables", "iterator", "sharded"])
def test_a_flipped_bit_in_strings_iterators_and_slices_is_found(tmp_path, name):
    prefix = copy_of(build.real_prefixes("tf-2.21.0", name)[0], tmp_path)
    data_files = sorted(tmp_path.glob("*.data-*"))[-2:]

    for path in data_files:  # of the sharded one, a part and the rest
        assert survivors_of_flips(path, prefix, one_bit_in_three_bytes) == []


def test_a_flipped_bit_in_the_data_is_corrupt_and_leaves_the_digest(tmp_path):
    prefix = copy_of(MWMS, tmp_path)
    digest = read_manifest(prefix).digest
    data = Path(prefix + ".data-00000-of-00001")
    data.write_bytes(bytes([data.read_bytes()[0] ^ 1]) + data.read_bytes()[1:])

    verification = verify(prefix, digest)

    assert reasons(verification) == {Reason.CORRUPT}
    assert verification.digest == digest
    assert len(verification.faults) == 1
    assert "expected 0x" in verification.faults[0].detail
    assert str(data) in verification.faults[0].detail


def test_data_cut_off_anywhere_is_torn(tmp_path):
    prefix = copy_of(MWMS, tmp_path)
    digest = read_manifest(prefix).digest
    data = Path(prefix + ".data-00000-of-00001")

    found = set()
    for size in reversed(range(data.stat().st_size)):
        os.truncate(data, size)
        found |= {frozenset(reasons(verify(prefix))), frozenset(reasons(verify(prefix, digest)))}

    assert found == {frozenset({Reason.TORN})}


def test_bytes_behind_the_last_tensor_do_no_harm(tmp_path):
    prefix = copy_of(MWMS, tmp_path)
    with open(prefix + ".data-00000-of-00001", "ab") as file:
        file.write(b"left over")

    found = verify(prefix)
    assert (found.faults, [note.remark for note in found.notes]) == ((), [Remark.TRAILING_BYTES])
    assert found.notes[0].detail == f"{prefix}.data-00000-of-00001 has 555 bytes, and its tensors end after 546"


@pytest.mark.parametrize("missing", [".index", ".data-00000-of-00005", ".data-00003-of-00005"])
def test_a_missing_file_is_incomplete_or_vanished_where_a_digest_was_expected(tmp_path, missing):
    prefix = copy_of(build.real_prefixes("tf-2.21.0", "sharded")[0], tmp_path)
    digest = read_manifest(prefix).digest
    os.unlink(prefix + missing)

    assert (reasons(verify(prefix)), verify(prefix).digest) == ({Reason.INCOMPLETE}, "")
    assert reasons(verify(prefix, digest)) == {Reason.VANISHED}
    assert prefix + missing in verify(prefix).faults[0].detail


def test_an_empty_index_is_incomplete(tmp_path):
    prefix = copy_of(MWMS, tmp_path)
    os.truncate(prefix + ".index", 0)

    assert reasons(verify(prefix)) == {Reason.INCOMPLETE}
    assert reasons(verify(prefix, "0" * 64)) == {Reason.INCOMPLETE}


def test_another_checkpoint_at_the_prefix_means_that_the_expected_one_vanished(tmp_path):
    prefix = copy_of(MWMS, tmp_path)
    other = read_manifest(MWMS.replace("ckpt-1", "ckpt-2")).digest

    verification = verify(prefix, other)

    assert reasons(verification) == {Reason.VANISHED}
    assert other in verification.faults[0].detail
    assert verification.digest in verification.faults[0].detail
    assert verification.bytes_read == 0


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
@pytest.mark.parametrize("kind", ["directory", "fifo", "loop"])
def test_what_cannot_be_read_is_unreadable_and_nothing_hangs(tmp_path, suffix, kind):
    prefix = copy_of(MWMS, tmp_path)
    os.unlink(prefix + suffix)
    make = {"directory": os.mkdir, "fifo": os.mkfifo, "loop": lambda path: os.symlink(path, path)}
    make[kind](prefix + suffix)

    assert reasons(verify(prefix, drop_cache=True)) == {Reason.UNREADABLE}


@pytest.mark.parametrize("prefix", ["", "nul\0byte", "/", "/dev/null", "x" * 5000])
def test_a_prefix_that_names_nothing_is_a_verdict_and_no_exception(prefix):
    assert reasons(verify(prefix)) <= {Reason.INCOMPLETE, Reason.UNREADABLE}
    assert not verify(prefix).is_whole


def test_many_damaged_tensors_are_named_up_to_a_limit_and_counted(tmp_path):
    tensors = [build.Tensor(b"t%03d" % number, bytes(4), (1,), crc=1) for number in range(40)]
    prefix = build.write_bundle(tmp_path / "ckpt-1", tensors)

    faults = verify(prefix).faults

    assert len(faults) == MAX_NAMED_FAULTS + 1
    assert faults[-1] == (Reason.CORRUPT, "and {} more".format(40 - MAX_NAMED_FAULTS))


@given(st.binary(max_size=40), st.sampled_from([STRING, VARIANT]), st.integers(0, 5))
def test_any_bytes_of_strings_and_variants_give_a_verdict(data, dtype, elements):
    with TemporaryDirectory() as directory:
        prefix = build.write_bundle(Path(directory) / "ckpt-1", [build.Tensor(b"s", data, (elements,), dtype)])

        assert reasons(verify(prefix)) <= {Reason.CORRUPT}


def test_more_strings_than_bytes_are_refused_at_once(tmp_path):
    tensor = build.Tensor(b"s", bytes(100), (1 << 40,), STRING)

    for dtype in (STRING, VARIANT):
        prefix = build.write_bundle(tmp_path / "ckpt-1", [replace(tensor, dtype=dtype)])
        assert reasons(verify(prefix)) == {Reason.CORRUPT}


def test_memory_stays_bounded_whatever_a_tensor_holds(tmp_path):
    size = 64 << 20
    tensor = build.Tensor(b"big", b"", (size // 4,), dtype=3, size=size, crc=0)  # for floats numpy is imported, too
    prefix = build.write_bundle(tmp_path / "ckpt-1", [tensor])
    os.truncate(prefix + ".data-00000-of-00001", size)
    tracemalloc.start()

    verification = verify(prefix)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert reasons(verification) == {Reason.CORRUPT}
    assert verification.bytes_read == size
    assert peak < 4 << 20


@pytest.mark.parametrize("is_expected", [False, True])
def test_a_file_cut_off_while_it_is_read_kills_nobody(tmp_path, is_expected):
    size = 4 << 20
    tensor = build.Tensor(b"big", bytes(size), (size // 4,))
    prefix = build.write_bundle(tmp_path / "ckpt-1", [tensor])
    digest = read_manifest(prefix).digest if is_expected else None
    progress = []

    def cut(done, whole):
        progress.append((done, whole))
        os.truncate(prefix + ".data-00000-of-00001", 2 << 20)

    verification = verify(prefix, digest, on_progress=cut)

    assert reasons(verification) == {Reason.TORN if is_expected else Reason.STILL_CHANGING}
    assert "ends at byte 2097152 while more is expected" in verification.faults[0].detail
    assert verification.is_pending is not is_expected
    assert progress == [(1 << 20, size), (2 << 20, size)]


def test_files_written_again_while_they_are_read_have_vanished_not_torn(tmp_path):
    size = 4 << 20
    prefix = build.write_bundle(tmp_path / "ckpt-1", [build.Tensor(b"big", bytes(size), (size // 4,))])
    digest = read_manifest(prefix).digest
    other = build.write_bundle(tmp_path / "other", [build.Tensor(b"small", bytes(4), (1,))])

    def write_again(*_):
        os.truncate(prefix + ".data-00000-of-00001", 0)
        for suffix in (".index", ".data-00000-of-00001"):
            shutil.copy(other + suffix, prefix + suffix)

    verification = verify(prefix, digest, on_progress=write_again)

    assert reasons(verification) == {Reason.VANISHED}


def test_a_whole_checkpoint_that_is_replaced_while_it_is_read_is_neither_good_nor_bad(tmp_path):
    prefix = copy_of(MWMS, tmp_path)
    other = copy_of(MWMS.replace("ckpt-1", "ckpt-2"), tmp_path)

    def rename_over(*_):
        for suffix in (".data-00000-of-00001", ".index"):
            shutil.copy(other + suffix, tmp_path / "new")
            os.replace(tmp_path / "new", prefix + suffix)

    assert reasons(verify(prefix, on_progress=rename_over)) == {Reason.STILL_CHANGING}
    assert verify(prefix).faults == ()


def test_an_expected_checkpoint_that_is_replaced_while_it_is_read_has_vanished(tmp_path):
    prefix = copy_of(MWMS, tmp_path)
    other = copy_of(MWMS.replace("ckpt-1", "ckpt-2"), tmp_path)

    def rename_over(*_):
        for suffix in (".data-00000-of-00001", ".index"):
            os.replace(other + suffix, prefix + suffix)

    assert reasons(verify(prefix, read_manifest(prefix).digest, on_progress=rename_over)) == {Reason.VANISHED}


def test_what_progress_raises_ends_the_verification():
    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify(MWMS, on_progress=stop)
