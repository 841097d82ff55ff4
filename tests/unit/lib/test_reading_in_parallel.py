"""Several threads find what one finds, in the same order, and stop when they are told to."""

import os
import random
import threading

import bundle_builder as build
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood import reading
from lastgood.bundle.reader import Entry
from lastgood.checksum import crc32c
from lastgood.reading import plan_jobs
from lastgood.reasons import Reason
from lastgood.shift import after_zeros, combine
from lastgood.verify import MAX_NAMED_FAULTS, default_threads, verify

MWMS = str(build.DATA / "tf-2.21.0" / "mwms" / "ckpt-1")
NAN = b"\0\0\xc0\x7f"


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_checksums_of_neighbours_combine_to_that_of_both(first, second):
    assert combine(crc32c(first), crc32c(second), len(second)) == crc32c(first + second)


def test_a_distance_of_terabytes_is_no_further():
    assert after_zeros(after_zeros(0xDEADBEEF, 1 << 42), 5) == after_zeros(0xDEADBEEF, (1 << 42) + 5)


SIZES = st.one_of(st.just(0), st.integers(0, 70))
DRAWN = st.tuples(st.integers(0, 2), SIZES, st.sampled_from(["float32", "string"]), st.binary(max_size=2))


@given(st.lists(DRAWN, max_size=30))
def test_jobs_cover_every_byte_once_and_in_order(drawn):
    entries, ends = [], [0, 0, 0]
    for shard, size, dtype, key in drawn:
        entries.append(Entry(key, dtype, (size,), shard, ends[shard], size, 0))
        ends[shard] += size
    entries.sort(key=lambda entry: (entry.shard_id, entry.offset, entry.key))

    jobs = list(plan_jobs(entries, 16))

    spans = [span for job in jobs for span in job.spans]
    covered = [(span.place, byte) for span in spans for byte in range(span.start, span.stop)]
    assert covered == [(place, byte) for place, entry in enumerate(entries) for byte in range(entry.size_bytes)]
    assert {span.place for span in spans} == set(range(len(entries)))
    for job in jobs:
        assert {entries[span.place].shard_id for span in job.spans} == {job.shard_id}
        assert job.end == max(entries[span.place].offset + span.stop for span in job.spans)
        if sum(span.stop > span.start for span in job.spans) > 1:
            assert sum(span.stop - span.start for span in job.spans) <= 16
        for span in job.spans:
            is_part = span.stop - span.start < entries[span.place].size_bytes
            assert not (is_part and entries[span.place].dtype == "string")


def test_an_empty_tensor_may_lie_where_one_that_is_not_begins(tmp_path):
    tensors = [build.Tensor(b"a", bytes(4), (1,)), build.Tensor(b"b", b"", (0,), offset=0)]

    found = verify(build.write_bundle(tmp_path / "ckpt-1", tensors))

    assert (found.is_whole, found.tensors, found.faults) == (True, 2, ())


@pytest.fixture
def damaged(tmp_path):
    """A prefix with a tensor of many jobs, small ones, strings, damage and NaN all over it."""
    chance = random.Random(1)
    tensors = [build.Tensor(b"a/huge", chance.randbytes(40 << 18), (40 << 16,), dtype=3)]
    tensors += [build.Tensor(b"b/%04d" % number, chance.randbytes(400), (100,), dtype=3) for number in range(2000)]
    tensors += [build.Tensor(b"c/%04d" % number, NAN * (number + 1), (number + 1,)) for number in range(20)]
    tensors += [build.Tensor(b"d/huge", NAN + bytes(20 << 18), (1 + (20 << 16),))]
    for number in range(0, 2000, 150):
        tensors[1 + number].crc = number
    return build.write_bundle(tmp_path / "ckpt-1", tensors)


@pytest.fixture
def small_jobs(monkeypatch):
    monkeypatch.setattr(reading, "JOB_BYTES", 1 << 18)


@pytest.mark.usefixtures("small_jobs")
@pytest.mark.parametrize("threads", [2, 3, 8])
def test_the_number_of_threads_changes_neither_the_faults_nor_their_order(damaged, threads):
    alone = verify(damaged, threads=1)
    for _ in range(3):
        together = verify(damaged, threads=threads)

        assert together.faults == alone.faults
        assert (together.tensors, together.bytes_read) == (alone.tensors, alone.bytes_read)
    assert [fault.reason for fault in alone.faults] == [Reason.CORRUPT] * (MAX_NAMED_FAULTS + 1) + [Reason.NOT_FINITE]
    assert (alone.faults[-2].detail, alone.faults[-1].detail) == ("and 6 more", "and 21 more")


def test_threads_that_would_have_nothing_to_read_are_not_started(damaged):
    alone = verify(damaged, threads=1)
    before = threading.active_count()
    most = []

    together = verify(damaged, threads=10**30, on_progress=lambda *_: most.append(threading.active_count()))

    assert (together.faults, together.bytes_read) == (alone.faults, alone.bytes_read)
    assert set(most) == {before}  # all of it is one piece


@pytest.mark.usefixtures("small_jobs")
@pytest.mark.parametrize("threads", [1, 3])
def test_reading_past_the_cache_in_parallel_finds_the_same(damaged, threads):
    through = verify(damaged)

    past = verify(damaged, threads=threads, bypass_cache=True)

    assert (past.faults, past.tensors, past.bytes_read) == (through.faults, through.tensors, through.bytes_read)
    assert (through.medium, past.medium) == ("cache", "disk")


@pytest.mark.usefixtures("small_jobs")
@pytest.mark.parametrize("threads", [1, 4])
def test_one_flipped_bit_in_a_tensor_of_many_jobs_is_found(damaged, threads):
    path = damaged + ".data-00000-of-00001"
    for position in (0, (1 << 18) - 1, 1 << 18, (40 << 18) - 1):
        with open(path, "r+b", buffering=0) as file:
            byte = os.pread(file.fileno(), 1, position)[0]
            os.pwrite(file.fileno(), bytes([byte ^ 8]), position)
            first = verify(damaged, threads=threads).faults[0]
            os.pwrite(file.fileno(), bytes([byte]), position)

        assert first.reason is Reason.CORRUPT
        assert first.detail.startswith("a/huge (10485760 bytes at 0 in ")


@pytest.mark.parametrize("prefix", build.real_prefixes())
def test_every_real_checkpoint_is_whole_to_several_threads(prefix):
    assert verify(prefix, threads=3).faults == verify(prefix).faults == ()


@pytest.mark.usefixtures("small_jobs")
@pytest.mark.parametrize("threads", [1, 4])
def test_nan_and_inf_are_named_and_counted(tmp_path, threads):
    size = 1 << 20
    inf = b"\0\0\x80\xff"
    values = NAN + bytes(size - 12) + inf + NAN
    tensors = [build.Tensor(b"model/kernel/.ATTRIBUTES/VARIABLE_VALUE", values, (size // 4,))]
    tensors += [build.Tensor(b"scale", b"\0\x7c", (), dtype=19), build.Tensor(b"step", b"\xff" * 8, (), dtype=9)]
    prefix = build.write_bundle(tmp_path / "ckpt-1", tensors)

    verification = verify(prefix, threads=threads)

    path = prefix + ".data-00000-of-00001"
    assert verification.faults == (
        (
            Reason.NOT_FINITE,
            f"model/kernel (1048576 bytes at 0 in {path}): 2 NaN and 1 Inf among its 262144 float32 values",
        ),
        (Reason.NOT_FINITE, f"scale (2 bytes at 1048576 in {path}): 1 Inf among its 1 float16 values"),
    )
    assert (verification.is_whole, verification.tensors) == (True, 3)
    assert verify(prefix, threads=threads, finite=False).faults == ()


def test_large_data_are_counted_by_numpy_and_small_ones_without(tmp_path, monkeypatch):
    prefix = build.write_bundle(
        tmp_path / "ckpt-1", [build.Tensor(b"t", b"".join([NAN] * 3 + [bytes(4)] * 97), (100,))]
    )
    expected = verify(prefix).faults
    asked = []
    monkeypatch.setattr(reading.finite, "import_numpy", lambda: asked.append(1) or __import__("numpy"))

    assert (verify(prefix).faults, asked) == (expected, [])
    monkeypatch.setattr(reading.finite, "WORTH_NUMPY_BYTES", 1)
    assert (verify(prefix).faults, asked) == (expected, [1])


def test_what_progress_raises_ends_every_thread(damaged):
    before = threading.active_count()

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify(damaged, threads=4, on_progress=stop)
    assert threading.active_count() == before


def test_progress_of_several_threads_is_told_in_the_callers_thread_and_ends_with_all(damaged):
    told = []

    verify(damaged, threads=4, on_progress=lambda done, whole: told.append((threading.get_ident(), done, whole)))

    size = os.path.getsize(damaged + ".data-00000-of-00001")
    assert {thread for thread, _, _ in told} == {threading.get_ident()}
    assert told[-1][1:] == (size, size)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


def test_an_error_of_a_thread_reaches_the_caller(damaged, monkeypatch):
    def fail(*_):
        raise MemoryError("none left")

    monkeypatch.setattr(reading, "what_differs", fail)

    with pytest.raises(MemoryError, match="none left"):
        verify(damaged, threads=4)


def test_less_than_one_thread_is_refused():
    with pytest.raises(ValueError, match="expected at least one thread, found 0"):
        verify(MWMS, threads=0)


def test_whoever_waits_gets_a_thread_for_each_core_but_not_endlessly_many():
    assert 1 <= default_threads("/a") <= 8
    assert default_threads("s3://bucket/a") == 8
