"""A checkpoint of any size is verified in 200 MB."""

import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import bundle_builder as build
import pytest

from lastgood.checksum import crc32c, mask
from lastgood.shift import after_zeros

STRING, COMPLEX64, INT32 = 7, 8, 3
LIMIT_KB = 200_000
GIB = 1 << 30
SMALL, SMALL_BYTES = 100_000, 400

#: VmHWM and not getrusage: the latter remembers what the process was a copy of before it became this one.
CHILD = """
import sys
from lastgood.verify import verify
found = verify(sys.argv[1], threads=int(sys.argv[2]))
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(len(found.faults), found.tensors, found.bytes_read, "numpy" in sys.modules, peak)
"""


def crc_of_zeros(size_bytes: int) -> int:
    return after_zeros(0xFFFFFFFF, size_bytes) ^ 0xFFFFFFFF


@pytest.fixture
def huge(tmp_path: Path) -> Iterator[str]:
    """A checkpoint of 5.4 GB, nearly all of it a hole: 100,000 small tensors, two huge ones, many strings."""
    strings = GIB
    of_lengths = struct.pack("<I", mask(crc_of_zeros(4 * strings)))
    whole = [
        (b"a/float", build.Tensor(b"", b"", (3 * GIB // 4,), size=3 * GIB, crc=crc_of_zeros(3 * GIB))),
        (b"b/complex", build.Tensor(b"", b"", (GIB // 8,), COMPLEX64, size=GIB, crc=crc_of_zeros(GIB))),
    ]
    small = build.Tensor(b"", b"", (SMALL_BYTES // 4,), INT32, size=SMALL_BYTES, crc=crc_of_zeros(SMALL_BYTES))
    whole += [(b"c/layer_%06d/kernel/.ATTRIBUTES/VARIABLE_VALUE" % number, small) for number in range(SMALL)]
    crc = crc32c(of_lengths, crc_of_zeros(4 * strings))
    whole += [(b"d/strings", build.Tensor(b"", b"", (strings,), STRING, size=strings + 4, crc=crc))]
    entries, offset = [(b"", build.HEADER)], 0
    for key, tensor in whole:
        entries.append((key, build.entry(tensor, offset)))
        offset += tensor.size or 0
    blocks = [build.block(entries[start : start + 100]) for start in range(0, len(entries), 100)]
    (tmp_path / "ckpt-1.index").write_bytes(build.table(*blocks))
    data = tmp_path / "ckpt-1.data-00000-of-00001"
    with data.open("wb") as file:
        file.seek(offset - len(of_lengths))
        file.write(of_lengths)
    yield str(tmp_path / "ckpt-1")
    data.unlink()


@pytest.mark.breadth
@pytest.mark.timeout(600)
@pytest.mark.parametrize("threads", [1, 4])
def test_five_gigabytes_are_verified_in_200_mb(huge: str, threads: int) -> None:
    size = Path(huge + ".data-00000-of-00001").stat().st_size

    done = subprocess.run(
        [sys.executable, "-c", CHILD, huge, str(threads)], capture_output=True, text=True, timeout=590
    )

    assert done.stderr == ""
    faults, tensors, bytes_read, with_numpy, peak_kb = done.stdout.split()
    assert (int(faults), int(tensors), int(bytes_read)) == (0, SMALL + 3, size)
    assert size > 5_000_000_000
    assert with_numpy == "True"
    assert int(peak_kb) < LIMIT_KB
