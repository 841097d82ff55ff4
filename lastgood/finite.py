"""NaN and Inf in the stored bytes of a tensor: how many of each, for every floating type that TensorFlow has.

Looks at bit patterns and converts nothing. In most types a magnitude above Inf's is NaN; the narrow ones differ:
float8_e4m3fn has no Inf and one NaN of either sign, the fnuz types have the single NaN that minus zero would be, and
float4_e2m1fn has neither. A complex element counts as NaN, as Inf, or as both, by its parts, as in numpy.

numpy is used where the caller says that it is worth importing. Its common case is two maxima over one piece that the
checksum has just brought into the processor's cache: the largest positive and the largest negative code. Without numpy
the same question is put to the codes' highest bytes. Only a piece that has something is counted.
"""

import re
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, NamedTuple, Optional, Protocol

if TYPE_CHECKING:
    from types import ModuleType

#: Counts (NaN, Inf) in a piece that holds whole elements.
Count = Callable[[memoryview], "Counts"]


class Counts(NamedTuple):
    """How many elements are NaN, and how many are Inf of either sign."""

    nan: int
    inf: int


NONE = Counts(0, 0)


class Stored(Protocol):
    """A tensor as far as it matters here, whatever format it lies in."""

    @property
    def dtype(self) -> str:
        """TensorFlow's name of the type."""

    @property
    def size_bytes(self) -> int:
        """Of the stored bytes."""


#: Less than this is looked at without numpy, whose import takes longer.
WORTH_NUMPY_BYTES = 32 << 20


class _Codes(NamedTuple):
    """The codes of one type that are not finite.

    size_bytes: of one code. first: the lowest magnitude (a code without its sign) that is not finite.
    has_inf: `first` is Inf and what lies above it NaN; otherwise all of it is NaN.
    parts: codes per element, 2 for complex numbers.
    """

    size_bytes: int
    first: int
    has_inf: bool = True
    parts: int = 1


_CODES: Dict[str, _Codes] = {
    "float16": _Codes(2, 0x7C00),
    "bfloat16": _Codes(2, 0x7F80),
    "float32": _Codes(4, 0x7F800000),
    "float64": _Codes(8, 0x7FF0000000000000),
    "complex64": _Codes(4, 0x7F800000, parts=2),
    "complex128": _Codes(8, 0x7FF0000000000000, parts=2),
    "float8_e5m2": _Codes(1, 0x7C),
    "float8_e4m3fn": _Codes(1, 0x7F, has_inf=False),
}

#: Types whose only code that is not finite is NaN, where minus zero would be.
_ONLY_MINUS_ZERO = frozenset({"float8_e4m3fnuz", "float8_e4m3b11fnuz", "float8_e5m2fnuz"})
_MINUS_ZERO = 0x80

_HIGHEST_BYTE = re.compile(rb"[\x7f\xff]")
_HIGHEST_BYTE_OF_HALF = re.compile(rb"[\x7c-\x7f\xfc-\xff]")


def has_non_finite(dtype: str) -> bool:
    """Whether the type has any value that is NaN or Inf."""
    return dtype in _CODES or dtype in _ONLY_MINUS_ZERO


def counter(dtype: str, numpy: "Optional[ModuleType]" = None) -> Optional[Count]:
    """What counts NaN and Inf in pieces of a tensor of that type; None for a type that has neither.

    numpy: the module, where it is there and large data make it worth while.
    """
    if dtype in _ONLY_MINUS_ZERO:
        return _count_minus_zeros
    codes = _CODES.get(dtype)
    if codes is None:
        return None
    return _count_by_bytes(codes) if numpy is None else _count_by_numpy(codes, numpy)


def counters(tensors: Iterable[Stored]) -> Dict[str, Count]:
    """What counts NaN and Inf in all of these, by type; types that have neither are left out."""
    sizes_bytes: Dict[str, int] = {}
    for tensor in tensors:
        if has_non_finite(tensor.dtype):
            sizes_bytes[tensor.dtype] = sizes_bytes.get(tensor.dtype, 0) + tensor.size_bytes
    numpy = import_numpy() if sum(sizes_bytes.values()) >= WORTH_NUMPY_BYTES else None
    found = {dtype: counter(dtype, numpy) for dtype in sizes_bytes}
    return {dtype: count for dtype, count in found.items() if count is not None}


def in_words(found: Counts, elements: int, dtype: str) -> str:
    """What was found, as a part of a sentence: "1 NaN and 2 Inf among its 64 float32 values"."""
    named = " and ".join(
        "{} {}".format(count, name) for count, name in ((found.nan, "NaN"), (found.inf, "Inf")) if count
    )
    return "{} among its {} {} values".format(named, elements, dtype)


def import_numpy() -> "Optional[ModuleType]":
    """numpy, or None where it is missing or does not fit this interpreter."""
    try:
        import numpy
    except Exception:  # a numpy of another build raises what it likes at import
        return None
    return numpy


def _count_minus_zeros(piece: memoryview) -> Counts:
    return Counts(bytes(piece).count(_MINUS_ZERO), 0)


# ------------------------------------------------------------------------------------------------------------- numpy


def _count_by_numpy(codes: _Codes, numpy: Any) -> Count:
    unsigned = numpy.dtype("<u{}".format(codes.size_bytes))
    signed = numpy.dtype("<i{}".format(codes.size_bytes))
    sign = 1 << (8 * codes.size_bytes - 1)

    def count(piece: memoryview) -> Counts:
        if not len(piece):
            return NONE
        found = numpy.frombuffer(piece, dtype=unsigned)
        if not found.flags.aligned:
            found = found.copy()
        # The largest signed code is the largest positive value, the largest unsigned one the most negative.
        if found.view(signed).max() < codes.first and found.max() < sign + codes.first:
            return NONE
        magnitudes = found & unsigned.type(sign - 1)
        first = unsigned.type(codes.first)
        nan = magnitudes > first if codes.has_inf else magnitudes >= first
        inf = magnitudes == first if codes.has_inf else numpy.zeros_like(nan)
        if codes.parts > 1:
            nan, inf = (each.reshape(-1, codes.parts).any(axis=1) for each in (nan, inf))
        return Counts(int(numpy.count_nonzero(nan)), int(numpy.count_nonzero(inf)))

    return count


# ------------------------------------------------------------------------------------------------------- pure Python


def _count_by_bytes(codes: _Codes) -> Count:
    """Codes lie with their lowest byte first: only those with a suspicious highest byte are looked at."""
    size_bytes = codes.size_bytes
    # The exponent of a float16 and of a float8_e5m2 ends within the highest byte.
    is_narrow = codes.first >> (8 * size_bytes - 8) == 0x7C
    suspicious = _HIGHEST_BYTE_OF_HALF if is_narrow else _HIGHEST_BYTE
    mask = (1 << (8 * size_bytes - 1)) - 1

    def count(piece: memoryview) -> Counts:
        data = bytes(piece)
        nan, inf = set(), set()
        for found in suspicious.finditer(data[size_bytes - 1 :: size_bytes]):
            place = found.start()
            magnitude = mask & int.from_bytes(data[place * size_bytes : (place + 1) * size_bytes], "little")
            if magnitude == codes.first and codes.has_inf:
                inf.add(place // codes.parts)
            elif magnitude >= codes.first:
                nan.add(place // codes.parts)
        return Counts(len(nan), len(inf))

    return count
