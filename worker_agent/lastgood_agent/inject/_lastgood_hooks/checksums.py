"""crc32c of what lies in memory, at the speed of TensorFlow's own code.

Decides which routine to trust: one that gives the known answers. Refuses to hash much in pure Python, which takes a
third of a second per MB: such data counts as unchecked.
"""

import ctypes
import mmap
import os
import re
import struct
from typing import Callable, List, Optional, Sequence

#: (crc of what came before, address, size in bytes) -> crc.
Extend = Callable[[int, int, int], int]

#: Without a fast routine, no more than this is hashed at once.
LARGEST_SLOW_BYTES = 64 << 10
_MASK_DELTA = 0xA282EAD8
#: Up to TensorFlow 2.15: Extend(uint32 crc, const char* data, size_t size).
_EARLY_SYMBOLS = ("_ZN3tsl6crc32c6ExtendEjPKcm", "_ZN10tensorflow6crc32c6ExtendEjPKcm")
#: Later ones: absl's, whose namespace carries its release; a string_view travels as (size, data).
_LATE_SYMBOL = re.compile(rb"_ZN4absl\d+lts_\d+12crc_internal20ExtendCrc32cInternalE\w+")
_KNOWN = ((b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA), (bytes(range(256)) * 9, 0x29DEF29C))


class Checksums:
    """crc32c by the fastest trustworthy means. `extend` None: pure Python, for little data only."""

    def __init__(self, extend: Optional[Extend]) -> None:
        self._extend = extend

    @property
    def is_fast(self) -> bool:
        return self._extend is not None

    def of_memory(self, address: int, size_bytes: int) -> Optional[int]:
        """crc32c of a piece of memory; None where that would take too long."""
        if self._extend is not None:
            return self._extend(0, address, size_bytes)
        if size_bytes > LARGEST_SLOW_BYTES:
            return None
        return extend_slowly(0, ctypes.string_at(address, size_bytes))

    def of_strings(self, values: Sequence[bytes]) -> Optional[int]:
        """The crc of a string tensor as a bundle records it: lengths, their masked crc, and the bytes."""
        lengths = [len(value) for value in values]
        packed = struct.pack(
            "<{}{}".format(len(lengths), "Q" if max(lengths, default=0) > 0xFFFFFFFF else "I"), *lengths
        )
        crc = self._of_bytes(0, packed)
        if crc is None:
            return None
        return self._of_bytes(crc, struct.pack("<I", mask(crc)) + b"".join(values))

    def _of_bytes(self, crc: int, content: bytes) -> Optional[int]:
        if self._extend is not None:
            buffer = ctypes.c_char_p(content)
            return self._extend(crc, ctypes.cast(buffer, ctypes.c_void_p).value or 0, len(content))
        return extend_slowly(crc, content) if len(content) <= LARGEST_SLOW_BYTES else None


def find_checksums(library: str) -> Checksums:
    """The routine in TensorFlow's library, which this process has loaded; pure Python where it is not to be had."""
    try:
        handle = ctypes.CDLL(library, mode=os.RTLD_NOLOAD | os.RTLD_NOW)
        candidates = _early(handle) + _late(handle, library)
    except OSError:
        return Checksums(None)
    return Checksums(next((extend for extend in candidates if _is_right(extend)), None))


def _early(handle: ctypes.CDLL) -> List[Extend]:
    found: List[Extend] = []
    for name in _EARLY_SYMBOLS:
        routine = getattr(handle, name, None)
        if routine is not None:
            routine.restype = ctypes.c_uint32
            routine.argtypes = (ctypes.c_uint32, ctypes.c_void_p, ctypes.c_size_t)
            found.append(routine)
    return found


def _late(handle: ctypes.CDLL, library: str) -> List[Extend]:
    with open(library, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        match = _LATE_SYMBOL.search(content)
        name = match.group().decode("ascii") if match else ""
    routine = getattr(handle, name, None) if name else None
    if routine is None:
        return []
    routine.restype = ctypes.c_uint32
    routine.argtypes = (ctypes.c_uint32, ctypes.c_size_t, ctypes.c_void_p)
    return [lambda crc, address, size: int(routine(crc, size, address))]


def _is_right(extend: Extend) -> bool:
    buffers = [(ctypes.create_string_buffer(content, len(content)), crc) for content, crc in _KNOWN]
    return all(extend(0, ctypes.addressof(buffer), len(buffer)) == crc for buffer, crc in buffers)


def mask(crc: int) -> int:
    """The form in which a crc is stored beside the data that it covers."""
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def _make_table() -> List[int]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table


_TABLE: List[int] = []


def extend_slowly(crc: int, content: bytes) -> int:
    """crc32c in pure Python."""
    if not _TABLE:
        _TABLE.extend(_make_table())
    crc ^= 0xFFFFFFFF
    for byte in content:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF
