"""How fast a checkpoint of 1.07 GB in the page cache is verified, and how soon a small one is.

Each side is timed where it works, without what its imports take, except where starting is what is measured. The
checkpoint is written by TensorFlow once, and removed when the last benchmark that uses it has ended.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from benchmarks.gangs import SCRIPTS, BenchmarkError
from benchmarks.results import Result, interleaved
from lastgood.bundle.shards import PIECE_BYTES
from lastgood.checksum import IS_FAST, crc32c
from lastgood.verify import verify

#: A small checkpoint that TensorFlow wrote.
SMALL = Path(__file__).resolve().parent.parent / "tests" / "data" / "checkpoints" / "tf-2.21.0" / "mwms" / "ckpt-1"

START_LIMIT_S, IMPORT_LIMIT_S, SHOW_LIMIT_S = 0.150, 0.050, 1.0

#: Writes an index as TensorFlow does; what writes one of 100,000 variables by itself takes minutes.
BUILDER = Path(__file__).resolve().parent.parent / "tests" / "unit" / "lib" / "bundle_builder.py"

WHAT = "verify 1.07 GB in page cache, one thread"


@dataclass(frozen=True)
class Large:
    """The checkpoint, and TensorFlow at its side."""

    prefix: str
    tensorflow: subprocess.Popen[str]

    def read_by_tensorflow_s(self) -> float:
        """Every tensor, by `tf.train.load_checkpoint`."""
        assert self.tensorflow.stdin is not None
        self.tensorflow.stdin.write("again\n")
        self.tensorflow.stdin.flush()
        return float(_line(self.tensorflow))

    def read_bare_s(self) -> float:
        """The same bytes by the same means: `preadv` into a buffer of the same size, and crc32c over it."""
        started_s = time.perf_counter()
        descriptor = os.open(self.prefix + ".data-00000-of-00001", os.O_RDONLY)
        buffer = bytearray(PIECE_BYTES)
        view, crc, offset = memoryview(buffer), 0, 0
        while count := os.preadv(descriptor, [buffer], offset):
            crc = crc32c(view[:count], crc)
            offset += count
        os.close(descriptor)
        return time.perf_counter() - started_s

    def verify_s(self, *, threads: int = 1, finite: bool = False) -> float:
        """lastgood, which must find the checkpoint whole."""
        started_s = time.perf_counter()
        found = verify(self.prefix, threads=threads, finite=finite)
        duration_s = time.perf_counter() - started_s
        if found.faults:
            raise BenchmarkError(f"expected the checkpoint to be whole, found {found.faults}")
        return duration_s


@contextmanager
def large_checkpoint(trainer_python: str) -> Iterator[Large]:
    """The checkpoint, read once by everybody, so that it is in the page cache and what is lazy is imported."""
    if not IS_FAST:
        raise BenchmarkError("expected the C implementation of crc32c, found none")
    with tempfile.TemporaryDirectory(prefix="lastgood-bench-") as folder:
        prefix = str(Path(folder) / "ckpt")
        quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
        command = [trainer_python, str(SCRIPTS / "read_all.py"), prefix]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=quiet
        ) as process:
            try:
                _line(process)
                large = Large(prefix, process)
                large.read_by_tensorflow_s()
                large.verify_s(finite=True)
                yield large
            finally:
                process.kill()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise BenchmarkError("expected a line of read_all.py, and it ended")
    return line


def against_tensorflow(trainer_python: str, pairs: int = 5) -> Result:
    """One thread against TensorFlow reading every tensor."""
    with large_checkpoint(trainer_python) as large:
        baseline, ours = interleaved(pairs, large.read_by_tensorflow_s, large.verify_s)
    return _result("verify", WHAT, "TensorFlow reading every tensor", baseline, ours, 1 / 3)


def against_bare_crc(trainer_python: str, pairs: int = 5) -> Result:
    """One thread against the checksum alone."""
    with large_checkpoint(trainer_python) as large:
        baseline, ours = interleaved(pairs, large.read_bare_s, large.verify_s)
    return _result("verify, bare", WHAT, "crc32c over the same bytes, read by preadv", baseline, ours, 1 / 0.8)


def two_threads(trainer_python: str, pairs: int = 5) -> Result:
    """Two threads against one."""
    with large_checkpoint(trainer_python) as large:
        baseline, ours = interleaved(pairs, large.verify_s, lambda: large.verify_s(threads=2))
    what = "verify 1.07 GB in page cache, two threads"
    return _result("verify, threads", what, "the same with one thread", baseline, ours, 1 / 1.7)


def finite(trainer_python: str, pairs: int = 5) -> Result:
    """Looking for NaN and Inf against not looking."""
    with large_checkpoint(trainer_python) as large:
        baseline, ours = interleaved(pairs, large.verify_s, lambda: large.verify_s(finite=True))
    return _result("verify, finite", WHAT + ", with NaN and Inf", "the same with --no-finite", baseline, ours, 1.5)


def start(_: str, pairs: int = 5) -> Result:
    """The command on a small checkpoint, from nothing to its exit."""
    return _within(
        "start",
        "`lastgood verify` of a small checkpoint",
        ["-m", "lastgood", "verify", str(SMALL)],
        pairs,
        START_LIMIT_S,
    )


def import_alone(_: str, pairs: int = 5) -> Result:
    """`import lastgood`, with the interpreter's own start."""
    return _within("import", "a Python that imports lastgood", ["-c", "import lastgood"], pairs, IMPORT_LIMIT_S)


def show(_: str, pairs: int = 5) -> Result:
    """`lastgood show` of 100,000 tensors, from nothing to its exit."""
    with tempfile.TemporaryDirectory(prefix="lastgood-bench-") as folder:
        prefix = write_many_tensors(Path(folder) / "ckpt", 100_000)
        what = "`lastgood show` of 100,000 tensors"
        return _within("show", what, ["-m", "lastgood", "show", prefix], pairs, SHOW_LIMIT_S)


def write_many_tensors(prefix: Path, count: int) -> str:
    """A checkpoint of so many equal small tensors; its prefix."""
    build = SimpleNamespace(**runpy.run_path(str(BUILDER)))
    data = bytes(400)
    tensor = build.Tensor(b"", data, (10, 10))
    entries = [(b"", build.HEADER)]
    for number in range(count):
        key = b"model/layer_%06d/kernel/.ATTRIBUTES/VARIABLE_VALUE" % number
        entries.append((key, build.entry(tensor, number * len(data))))
    blocks = [build.block(entries[start : start + 100]) for start in range(0, len(entries), 100)]
    Path(f"{prefix}.index").write_bytes(build.table(*blocks))
    Path(f"{prefix}.data-00000-of-00001").write_bytes(data * count)
    return str(prefix)


def _within(name: str, what: str, arguments: list[str], pairs: int, limit_s: float) -> Result:
    """A time against a limit, which is no measurement: the figure is the share of it that was needed."""
    command = [sys.executable, *arguments]

    def run_s() -> float:
        started_s = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        duration_s = time.perf_counter() - started_s
        if done.returncode:
            raise BenchmarkError(f"expected status 0 of {command}, found {done.returncode}: {done.stderr}")
        return duration_s

    run_s()
    ours = [run_s() for _ in range(2 * pairs)]
    return _result(name, what, f"a limit of {limit_s * 1000:.0f} ms", [limit_s] * len(ours), ours, 1.0)


def _result(name: str, what: str, baseline_is: str, baseline: list[float], ours: list[float], aim: float) -> Result:
    return Result(
        name=name,
        what=what,
        baseline_is=baseline_is,
        unit="s",
        baseline=tuple(baseline),
        ours=tuple(ours),
        aim=aim,
    )


BENCHMARKS: dict[str, Callable[[str, int], Result]] = {
    "verify": against_tensorflow,
    "verify_bare": against_bare_crc,
    "verify_threads": two_threads,
    "verify_finite": finite,
    "show": show,
    "start": start,
    "import": import_alone,
}
