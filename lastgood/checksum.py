"""crc32c (Castagnoli), as LevelDB and TensorFlow use it, and their masking of it.

The C implementation of the `crc32c` distribution is used where it can be imported and gives the known answer. Otherwise
large pieces go through numpy, where there is one, and small ones through tables in pure Python: some hundred times
slower, and right. Refuses nothing: any bytes have a checksum.
"""

import struct
import sys
from functools import lru_cache
from importlib.machinery import PathFinder
from typing import Callable, List, Optional, Tuple, Union

Bytes = Union[bytes, bytearray, memoryview]
_Function = Callable[[Bytes, int], int]

_POLYNOMIAL = 0x82F63B78
_MASK_DELTA = 0xA282EAD8
_WORTH_NUMPY_BYTES = 1 << 18
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


def crc32c_without_c(data: Bytes, value: int = 0) -> int:
    """crc32c by numpy for what is large enough and by pure Python for the rest, a few ms per MB."""
    view = memoryview(data).cast("B")
    if len(view) >= _WORTH_NUMPY_BYTES:
        advance = _advance_in_numpy()
        if advance is not None:
            state, used = advance(view, value ^ 0xFFFFFFFF)
            return crc32c_in_python(view[used:], state ^ 0xFFFFFFFF)
    return crc32c_in_python(view, value)


@lru_cache(maxsize=1)
def _advance_in_numpy() -> Optional[Callable[[memoryview, int], Tuple[int, int]]]:
    """None where there is no numpy. Importing it takes 0.1 s, so only large data asks for it."""
    try:
        from lastgood.lanes import make_advance
    except Exception:  # a numpy that does not fit this interpreter raises what it likes at import
        return None
    return make_advance(_make_tables()[0])


def _import_c() -> Optional[_Function]:
    """The C implementation, if it is there and gives the known answer."""
    for load in (_extension_alone, _whole_package):
        try:
            in_c = load()
            if in_c(_KNOWN_INPUT, 0) == _KNOWN_CHECKSUM:
                return in_c
        except Exception:  # a broken C extension raises what it likes at import; pure Python always works
            continue
    return None


def _extension_alone() -> _Function:
    """The package asks importlib.metadata for its own version, which takes longer than a small checkpoint."""
    if "crc32c" in sys.modules:
        return _whole_package()
    package = PathFinder.find_spec("crc32c")
    folders = package.submodule_search_locations if package is not None else None
    spec = PathFinder.find_spec("crc32c._crc32c", folders) if folders else None
    if spec is None:
        raise ImportError("crc32c is not installed, or is built in another way")
    from importlib.util import module_from_spec

    module = module_from_spec(spec)
    assert spec.loader is not None  # a spec that was found by its file has one
    spec.loader.exec_module(module)
    function: _Function = module.crc32c
    return function


def _whole_package() -> _Function:
    from crc32c import crc32c as in_c

    return in_c


_in_c = _import_c()

#: True where the C implementation is used: gigabytes per second instead of megabytes.
IS_FAST = _in_c is not None


def crc32c(data: Bytes, value: int = 0) -> int:
    """crc32c of `data`, going on from `value`, the checksum of what came before (0: nothing)."""
    return _in_c(data, value) if _in_c is not None else crc32c_without_c(data, value)
