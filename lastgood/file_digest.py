"""What identifies a file as a whole: its size and two checksums. For formats that keep none of their own.

HDF5 carries no checksum of what it stores, so a `.weights.h5` file is proven whole only by what somebody noted about it
when it was written. This takes the note; keeping it and comparing it is done elsewhere.
"""

import hashlib
from typing import NamedTuple

from lastgood.checksum import crc32c
from lastgood.window import Window

_PIECE_BYTES = 1 << 20


class FileDigest(NamedTuple):
    """crc32c: unmasked. sha256: lower-case hex."""

    size_bytes: int
    crc32c: int
    sha256: str


def digest_file(path: str) -> FileDigest:
    """Reads the file. Raises BundleError: INCOMPLETE (missing) or UNREADABLE."""
    size_bytes = crc = 0
    sha256 = hashlib.sha256()
    buffer = bytearray(_PIECE_BYTES)
    with Window(path, "a file") as file:
        while True:
            count = file.readinto(memoryview(buffer))
            if not count:
                return FileDigest(size_bytes, crc, sha256.hexdigest())
            piece = memoryview(buffer)[:count]
            crc = crc32c(piece, crc)
            sha256.update(piece)
            size_bytes += count
