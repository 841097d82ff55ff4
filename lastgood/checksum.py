"""crc32c (Castagnoli), as LevelDB and TensorFlow use it, and their masking of it.

The C implementation of the `crc32c` distribution is used where it can be imported and gives the known answer; otherwise
tables in pure Python, some hundred times slower but right. Refuses nothing: any bytes have a checksum.
"""

import struct
from typing import Callable, List, Optional, Union

Bytes = Union[bytes, bytearray, memoryview]

_POLYNOMIAL = 0x82F63B78
_MASK_DELTA = 0xA282EAD8
_KNOWN_INPUT, _KNOWN_CHECKSUM = b"123456789", 0xE3069283


def mask(crc: int) -> int:
    """The form in which LevelDB stores a checksum, so that a checksum over checksums stays a good one."""
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def unmask(masked: int) -> int:
    """The inverse of `mask`."""
    rotated = (masked - _MASK_DELTA) & 0xFFFFFFFF
    return ((rotated >> 17) | (rotated << 15)) & 0xFFFFFFFF


def _make_tables() -> List[List[int]]:
    """Eight tables: table k gives the effect of a byte that is followed by k more bytes."""
    first = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (_POLYNOMIAL if crc & 1 else 0)
        first.append(crc)
    tables = [first]
    for _ in range(7):
        tables.append([(crc >> 8) ^ first[crc & 0xFF] for crc in tables[-1]])
    return tables


_tables: List[List[int]] = []


def crc32c_in_python(data: Bytes, value: int = 0) -> int:
    """crc32c without C: eight bytes at a time, 0.05 to 0.1 s per MB."""
    if not _tables:
        _tables.extend(_make_tables())
    t0, t1, t2, t3, t4, t5, t6, t7 = _tables
    view = memoryview(data).cast("B")
    whole = len(view) & ~7
    crc = value ^ 0xFFFFFFFF
    for low, high in struct.iter_unpack("<II", view[:whole]):
        low ^= crc
        crc = (
            t7[low & 0xFF]
            ^ t6[(low >> 8) & 0xFF]
            ^ t5[(low >> 16) & 0xFF]
            ^ t4[low >> 24]
            ^ t3[high & 0xFF]
            ^ t2[(high >> 8) & 0xFF]
            ^ t1[(high >> 16) & 0xFF]
            ^ t0[high >> 24]
        )
    for byte in view[whole:]:
        crc = (crc >> 8) ^ t0[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _import_c() -> Optional[Callable[[Bytes, int], int]]:
    try:
        from crc32c import crc32c as in_c
    except Exception:  # a broken C extension raises what it likes at import; pure Python always works
        return None
    return in_c if in_c(_KNOWN_INPUT, 0) == _KNOWN_CHECKSUM else None


_in_c = _import_c()

#: True where the C implementation is used: gigabytes per second instead of megabytes.
IS_FAST = _in_c is not None


def crc32c(data: Bytes, value: int = 0) -> int:
    """crc32c of `data`, going on from `value`, the checksum of what came before (0: nothing)."""
    return _in_c(data, value) if _in_c is not None else crc32c_in_python(data, value)
