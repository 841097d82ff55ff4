"""crc32c in the training process, and the counters that survive it."""

from __future__ import annotations

import gc
import mmap
import struct
from pathlib import Path

import crc32c as reference

from _lastgood_hooks.checksums import LARGEST_SLOW_BYTES, Checksums, extend_slowly, find_checksums, mask
from _lastgood_hooks.progress import Progress


def test_the_slow_crc_is_right_and_is_not_asked_for_much() -> None:
    content = bytes(range(256)) * 5
    checksums = Checksums(None)

    assert extend_slowly(0, content) == reference.crc32c(content)
    assert extend_slowly(extend_slowly(0, content[:77]), content[77:]) == reference.crc32c(content)
    assert checksums.of_strings([b"x" * (LARGEST_SLOW_BYTES + 1)]) is None
    assert checksums.of_memory(0, LARGEST_SLOW_BYTES + 1) is None


def test_a_library_without_a_crc_that_can_be_trusted_gives_the_slow_one(tmp_path: Path) -> None:
    assert not find_checksums(str(tmp_path / "missing.so")).is_fast
    assert not find_checksums("libc.so.6").is_fast


def test_string_tensors_are_hashed_as_a_bundle_does() -> None:
    lengths = struct.pack("<II", 5, 0)
    expected = reference.crc32c(lengths + struct.pack("<I", mask(reference.crc32c(lengths))) + b"first")

    assert Checksums(None).of_strings([b"first", b""]) == expected


class Variable:
    def __init__(self) -> None:
        self.value = 0


def test_every_completed_call_is_in_the_file_the_moment_it_returns(tmp_path: Path) -> None:
    progress, variable, path = Progress(), Variable(), tmp_path / "progress"
    progress.open(str(path))
    progress.read_steps_from(variable, lambda variable: variable.value)

    seen = []
    for step in (1, 2, 3):
        progress.enter()
        variable.value = step
        progress.complete(must_read=True)
        seen.append(struct.unpack("<QqQQ", path.read_bytes()))
    progress.enter()

    assert seen == [(1, 1, 1, 0), (2, 2, 2, 0), (3, 3, 3, 0)]
    assert struct.unpack("<QqQQ", path.read_bytes()) == (3, 3, 4, 0)
    assert len(path.read_bytes()) == 32 <= mmap.PAGESIZE


def test_a_step_that_is_dear_to_read_is_read_seldom(tmp_path: Path) -> None:
    progress, variable, readings = Progress(), Variable(), []
    progress.open(str(tmp_path / "progress"))
    progress.read_steps_from(variable, lambda variable: readings.append(sum(range(100_000))) or len(readings))

    for _ in range(200):
        progress.complete()

    assert progress.completed == 200
    assert 0 < len(readings) < 20


def test_a_variable_that_is_gone_is_read_no_more(tmp_path: Path) -> None:
    progress, variable = Progress(), Variable()
    progress.open(str(tmp_path / "progress"))
    progress.read_steps_from(variable, lambda variable: variable.value)
    progress.complete(must_read=True)

    del variable
    gc.collect()
    progress.complete(must_read=True)

    assert (progress.completed, progress.step, progress.knows_step_variable) == (2, 0, False)
