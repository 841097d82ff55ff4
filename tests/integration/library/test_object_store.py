"""Checkpoints in an object store, over S3's own protocol."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bundle_builder as build
import fsspec
import pytest

from lastgood.directory import list_checkpoints
from lastgood.inspect import read_manifest, read_step
from lastgood.reasons import Reason
from lastgood.verify import verify

DATA = Path(__file__).parents[2] / "data" / "checkpoints"
SHARDED = DATA / "tf-2.21.0" / "sharded" / "ckpt-1"
ADAM = DATA / "tf-2.21.0" / "keras_adam" / "ckpt-3"


@pytest.fixture
def store(s3_endpoint: str) -> Iterator[Any]:
    """The store, with the bucket `bucket`, empty."""
    s3 = fsspec.filesystem("s3", use_listings_cache=False)
    s3.mkdir("bucket")
    yield s3
    s3.rm("bucket", recursive=True)


def upload(store: Any, prefix: Path) -> str:
    """The files beside a local prefix, in the bucket; the prefix of the copy."""
    for path in prefix.parent.iterdir():
        if path.is_file():
            store.put_file(str(path), f"bucket/ckpts/{path.name}")
    return f"s3://bucket/ckpts/{prefix.name}"


def reasons(prefix: str, **options: Any) -> list[Reason]:
    return [fault.reason for fault in verify(prefix, **options).faults]


@pytest.mark.parametrize("local", [SHARDED, ADAM])
def test_a_checkpoint_in_a_bucket_is_the_one_that_was_uploaded(store: Any, local: Path) -> None:
    prefix = upload(store, local)

    here, there = verify(str(local)), verify(prefix)

    assert (there.faults, there.digest) == ((), here.digest)
    assert (there.tensors, there.bytes_read) == (here.tensors, here.bytes_read)
    assert read_manifest(prefix, full_names=True) == read_manifest(str(local), full_names=True)
    assert read_step(prefix) == read_step(str(local))
    assert reasons(prefix, expected_digest=here.digest) == []


def test_a_bucket_is_listed(store: Any) -> None:
    upload(store, ADAM)

    listed = [found.prefix for found in list_checkpoints("s3://bucket/ckpts")]

    assert sorted(listed) == ["s3://bucket/ckpts/ckpt-2", "s3://bucket/ckpts/ckpt-3"]
    assert list_checkpoints("s3://bucket/nothing") == ()
    assert list_checkpoints("s3://no-such-bucket/ckpts") == ()


def test_damage_in_a_bucket_is_found_and_named(store: Any) -> None:
    prefix = upload(store, SHARDED)
    name = prefix + ".data-00002-of-00005"
    whole = store.cat_file(name)
    found = []
    for content in (whole[:-1], bytes([whole[0] ^ 1]) + whole[1:], whole):
        store.pipe_file(name, content)
        found.append(reasons(prefix))
    store.rm_file(name)
    found.append(reasons(prefix))

    assert found == [[Reason.TORN], [Reason.CORRUPT], [], [Reason.INCOMPLETE]]
    assert name in verify(prefix).faults[0].detail


def test_an_object_that_is_replaced_while_it_is_read_leaves_all_open(store: Any) -> None:
    prefix = upload(store, SHARDED)
    name = prefix + ".data-00002-of-00005"

    def replace(*_: int) -> None:
        store.pipe_file(name, bytes(10))

    assert reasons(prefix, on_progress=replace) == [Reason.STILL_CHANGING]
    assert reasons(prefix) == [Reason.TORN]


def test_an_object_that_is_still_to_come_is_awaited(store: Any) -> None:
    prefix = upload(store, SHARDED)
    store.rm_file(prefix + ".index")

    assert reasons(prefix, settle_s=600) == [Reason.STILL_CHANGING]
    assert reasons(prefix) == [Reason.INCOMPLETE]


def test_a_store_that_does_not_answer_condemns_nothing(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # given: nobody listens on port 1
    prefix = upload(store, SHARDED)
    program = (
        "import sys; from lastgood.verify import verify; print(*[f.reason.value for f in verify(sys.argv[1]).faults])"
    )
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")

    # when
    done = subprocess.run([sys.executable, "-c", program, prefix], capture_output=True, text=True, timeout=110)

    # then
    assert done.stdout == "Unreadable\n", done.stderr


#: Verifies the first prefix, then the second; prints what the second one gave and how much more memory that took.
IN_TURN = """
import sys
from lastgood.verify import verify

def peak_kb():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

small = verify(sys.argv[1])
before = peak_kb()
large = verify(sys.argv[2])
print(len(small.faults), len(large.faults), large.bytes_read, before, peak_kb() - before)
"""


def test_a_large_object_is_read_by_ranges_in_bounded_memory(store: Any, tmp_path: Path) -> None:
    # given: one tensor of 64 MB
    content = os.urandom(1 << 20) * 64
    prefix = build.write_bundle(tmp_path / "large", [build.Tensor(b"t", content, (len(content) // 4,), dtype=3)])
    large, small = upload(store, Path(prefix)), upload(store, SHARDED)
    shutil.rmtree(tmp_path)

    # when
    done = subprocess.run([sys.executable, "-c", IN_TURN, small, large], capture_output=True, text=True, timeout=110)

    # then: eight readers with a piece of 2 MiB each, and what the store's client keeps of each
    assert done.stderr == ""
    faults_of_small, faults, bytes_read, before_kb, more_kb = map(int, done.stdout.split())
    assert (faults_of_small, faults, bytes_read) == (0, 0, len(content))
    assert more_kb < 64_000
    assert before_kb + more_kb < 200_000
