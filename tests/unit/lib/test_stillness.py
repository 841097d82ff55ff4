"""When a checkpoint's files are at rest, and what is said when they are not."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import bundle_builder as build
import pytest

from lastgood.bundle.open_file import FileStatus
from lastgood.reasons import Reason
from lastgood.stillness import what_changed, what_is_young
from lastgood.verify import verify

SHARDED = build.real_prefixes("tf-2.21.0", "sharded")[0]
THEN = FileStatus(size_bytes=100, mtime_ns=1_000_000_000_000, identity="1:2")


def copy_of(prefix, directory):
    source = Path(prefix)
    for path in source.parent.glob(source.name + ".*"):
        shutil.copy(path, directory / path.name)
    return str(directory / source.name)


def written_at(prefix, seconds, *suffixes):
    """Makes all files of a checkpoint, or some, look as if they had been written then."""
    for path in Path(prefix).parent.glob(Path(prefix).name + ".*"):
        if not suffixes or path.name.endswith(suffixes):
            os.utime(path, (seconds, seconds))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (THEN, THEN, None),
        (None, None, None),
        (None, THEN, "f appeared"),
        (THEN, None, "f was removed"),
        (THEN, THEN._replace(identity="1:3"), "f was replaced by another file"),
        (THEN, THEN._replace(size_bytes=50), "f had 100 bytes and then 50"),
        (THEN, THEN._replace(mtime_ns=THEN.mtime_ns + 1), "f was written to"),
    ],
)
def test_a_file_has_changed_when_anything_about_it_has(before, after, expected):
    assert what_changed({"f": before}, {"f": after}) == expected


@pytest.mark.parametrize(
    ("now_s", "settle_s", "is_young"),
    [(1000.0, 5, True), (1004.9, 5, True), (1005.0, 5, False), (995.1, 5, True), (900.0, 5, False), (1000.0, 0, False)],
)
def test_age_counts_in_both_directions(now_s, settle_s, is_young):
    assert (what_is_young({"f": THEN}, now_s, settle_s) is not None) is is_young


def test_a_file_without_a_known_age_is_not_young():
    assert what_is_young({"f": THEN._replace(mtime_ns=None), "g": None}, 1000.0, 60) is None


@pytest.mark.parametrize("missing", [".index", ".data-00003-of-00005"])
def test_a_file_that_is_still_to_appear_condemns_nothing_before_its_neighbours_have_settled(tmp_path, missing):
    # given: a checkpoint whose files were written at second 5000, as far as they have come
    prefix = copy_of(SHARDED, tmp_path)
    os.unlink(prefix + missing)
    written_at(prefix, 5000)

    # when
    early = verify(prefix, settle_s=10, now_s=5009)
    late = verify(prefix, settle_s=10, now_s=5010)

    # then
    assert ([fault.reason for fault in early.faults], early.is_pending) == ([Reason.STILL_CHANGING], True)
    assert "was written 9.0 s ago, less than 10 s; so far: Incomplete, expected" in early.faults[0].detail
    assert ([fault.reason for fault in late.faults], late.is_pending) == ([Reason.INCOMPLETE], False)


def test_a_file_that_is_still_short_or_has_parts_still_to_come_condemns_nothing_before_it_has_settled(tmp_path):
    prefix = copy_of(SHARDED, tmp_path)
    data = Path(prefix + ".data-00002-of-00005")
    whole = data.read_bytes()
    found = []
    for content in (whole[:-1], bytes(len(whole))):
        data.write_bytes(content)
        written_at(prefix, 5000)
        found += [verify(prefix, settle_s=10, now_s=now_s).faults[0].reason for now_s in (5005, 5015)]

    assert found == [Reason.STILL_CHANGING, Reason.TORN, Reason.STILL_CHANGING, Reason.CORRUPT]


def test_one_young_file_is_enough(tmp_path):
    prefix = copy_of(SHARDED, tmp_path)
    os.truncate(prefix + ".data-00002-of-00005", 1)
    written_at(prefix, 5000)
    written_at(prefix, 6000, ".data-00004-of-00005")

    assert verify(prefix, settle_s=10, now_s=6001).is_pending


def test_without_damage_youth_does_not_matter(tmp_path):
    prefix = copy_of(SHARDED, tmp_path)
    written_at(prefix, 5000)

    assert verify(prefix, settle_s=10, now_s=5001).faults == ()


def test_nan_is_what_was_saved_however_young_the_file(tmp_path):
    prefix = build.write_bundle(tmp_path / "ckpt-1", [build.Tensor(b"t", b"\0\0\xc0\x7f", (1,))])
    written_at(prefix, 5000)

    assert [fault.reason for fault in verify(prefix, settle_s=10, now_s=5001).faults] == [Reason.NOT_FINITE]


def test_where_nothing_lies_nothing_is_awaited(tmp_path):
    verification = verify(str(tmp_path / "ckpt-1"), settle_s=10, now_s=5001)

    assert [fault.reason for fault in verification.faults] == [Reason.INCOMPLETE]


def test_whoever_expects_a_digest_is_told_of_damage_at_once(tmp_path):
    prefix = copy_of(SHARDED, tmp_path)
    digest = verify(prefix).digest
    os.truncate(prefix + ".data-00002-of-00005", 1)
    written_at(prefix, 5000)

    assert [fault.reason for fault in verify(prefix, digest, settle_s=10, now_s=5001).faults] == [Reason.TORN]


@pytest.mark.parametrize("threads", [1, 3])
def test_a_data_file_that_appears_or_grows_while_others_are_read_leaves_all_open(tmp_path, threads):
    # given: two tensors, of which the second one's data file is one byte short
    tensors = [build.Tensor(b"a", bytes(40), (10,)), build.Tensor(b"b", bytes(40), (10,))]
    prefix = build.write_bundle(tmp_path / "ckpt-1", [tensors[0], replace(tensors[1], data=bytes(39), size=40, crc=0)])

    def grow(*_):
        with open(prefix + ".data-00000-of-00001", "ab") as file:
            file.write(b"\0")

    # when
    verification = verify(prefix, threads=threads, on_progress=grow)

    # then
    assert [fault.reason for fault in verification.faults] == [Reason.STILL_CHANGING]
    assert "had 79 bytes and then" in verification.faults[0].detail
