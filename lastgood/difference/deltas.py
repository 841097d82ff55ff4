"""How far the values of one tensor are from those of another of the same type and shape.

Counts what differs bit by bit, finds the largest difference and where it is, and counts NaN and Inf on both sides. Goes
through both in blocks, so that memory does not grow with the tensors; by numpy where there is one. Decides nothing
about which difference matters, but for the tolerance that it is given.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

from lastgood import values
from lastgood.bundle.dtypes import BY_NUMBER

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Flags = npt.NDArray[np.bool_]

#: A multiple of every element's size.
BLOCK_BYTES = 1 << 20

_SIZES = {dtype.name: dtype.size_bytes for dtype in BY_NUMBER.values()}
_UNSIGNED = {1: "<u1", 2: "<u2", 4: "<u4", 8: "<u8"}


class Tolerance(NamedTuple):
    """Close: |after - before| <= atol + rtol * |before|, as numpy.allclose has it; NaN is close to NaN, Inf to Inf."""

    rtol: float
    atol: float


#: What numpy.allclose takes.
USUAL = Tolerance(rtol=1e-5, atol=1e-8)


class NonFinite(NamedTuple):
    """How many elements are no finite numbers."""

    nan: int
    inf: int


ALL_FINITE = NonFinite(0, 0)


@dataclass(frozen=True)
class Delta:
    """What changed between two tensors of one type and shape.

    differing: elements whose bits differ, so that NaN equals itself and 0.0 is not -0.0. beyond: those that are not
        close; the same as `differing` for types without a distance.
    largest: the largest difference between two finite elements that differ, exact for integers; None where there is
        none.
    largest_at: its place, one number per dimension.
    """

    elements: int
    differing: int
    beyond: int
    largest: Union[int, float, None] = None
    largest_at: Tuple[int, ...] = ()
    before: NonFinite = ALL_FINITE
    after: NonFinite = ALL_FINITE


def compare_numbers(
    before: Iterable[memoryview],
    after: Iterable[memoryview],
    dtype: str,
    shape: Sequence[int],
    tolerance: Tolerance = USUAL,
) -> Delta:
    """The difference between two streams of little-endian elements, of equal length.

    dtype: TensorFlow's name of a type whose elements have a size (no string, no variant).
    """
    compare = _block_comparison()
    total = _Total()
    for one, other in zip(_blocks(before), _blocks(after)):
        total.add(compare(one, other, dtype, tolerance))
    return total.delta(shape)


def compare_elements(before: Sequence[bytes], after: Sequence[bytes]) -> Delta:
    """The difference between two lists of strings or variants, of equal length."""
    differing = sum(one != other for one, other in zip(before, after))
    return Delta(len(before), differing, differing)


class _Block(NamedTuple):
    """What was found in one block. largest_at: the element's place in the block."""

    elements: int
    differing: int
    beyond: int
    largest: Union[int, float, None]
    largest_at: int
    before: NonFinite
    after: NonFinite


class _Total:
    """The sum over all blocks so far."""

    def __init__(self) -> None:
        self._elements = self._differing = self._beyond = self._largest_at = 0
        self._largest: Union[int, float, None] = None
        self._before = self._after = ALL_FINITE

    def add(self, block: _Block) -> None:
        if block.largest is not None and (self._largest is None or block.largest > self._largest):
            self._largest, self._largest_at = block.largest, self._elements + block.largest_at
        self._elements += block.elements
        self._differing += block.differing
        self._beyond += block.beyond
        self._before = NonFinite(*(a + b for a, b in zip(self._before, block.before)))
        self._after = NonFinite(*(a + b for a, b in zip(self._after, block.after)))

    def delta(self, shape: Sequence[int]) -> Delta:
        at = () if self._largest is None else unravel(self._largest_at, shape)
        return Delta(self._elements, self._differing, self._beyond, self._largest, at, self._before, self._after)


def unravel(place: int, shape: Sequence[int]) -> Tuple[int, ...]:
    """The index, one number per dimension, of the element that is the `place`-th row by row."""
    index: List[int] = []
    for size in reversed(shape):
        place, rest = divmod(place, size)
        index.append(rest)
    return tuple(reversed(index))


def _blocks(pieces: Iterable[memoryview]) -> Iterator[bytes]:
    """The same bytes in blocks of BLOCK_BYTES; the last one is what is left."""
    block = bytearray()
    for piece in pieces:
        block += piece
        while len(block) >= BLOCK_BYTES:
            yield bytes(block[:BLOCK_BYTES])
            del block[:BLOCK_BYTES]
    if block:
        yield bytes(block)


def _block_comparison() -> "Any":
    try:
        import numpy  # noqa: F401
    except Exception:  # one that does not fit this interpreter raises what it likes at import
        return _compare_in_python
    return _compare_in_numpy


# -------------------------------------------------------------------------------------------------------- with numpy


def _compare_in_numpy(one: bytes, other: bytes, dtype: str, tolerance: Tolerance) -> _Block:
    import numpy as np

    differs = _differing_bits(one, other, _SIZES[dtype])
    a, b = (_numbers(block, dtype) for block in (one, other))
    if a.dtype.kind in "iub":
        found = int(differs.sum())
        if not found:
            return _Block(len(a), 0, 0, None, 0, ALL_FINITE, ALL_FINITE)
        distance = _distance_of_integers(a, b)
        at = int(distance.argmax())
        close = distance.astype(np.float64) <= tolerance.atol + tolerance.rtol * np.abs(a.astype(np.float64))
        beyond = int((differs & ~close).sum())
        return _Block(len(a), found, beyond, int(distance[at]), at, ALL_FINITE, ALL_FINITE)
    finite = np.isfinite(a) & np.isfinite(b)
    with np.errstate(all="ignore"):
        distance = np.abs(b - a)
        close = finite & (distance <= tolerance.atol + tolerance.rtol * np.abs(a))
        close |= (a == b) | (np.isnan(a) & np.isnan(b))
    largest, at = None, 0
    if (differs & finite).any():
        at = int(np.where(differs & finite, distance, -1.0).argmax())
        largest = float(distance[at])
    counts = [NonFinite(int(np.isnan(side).sum()), int(np.isinf(side).sum())) for side in (a, b)]
    return _Block(len(a), int(differs.sum()), int((differs & ~close).sum()), largest, at, counts[0], counts[1])


def _differing_bits(one: bytes, other: bytes, size_bytes: int) -> "Flags":
    import numpy as np

    width = min(size_bytes, 8)
    a, b = (np.frombuffer(block, dtype=_UNSIGNED[width]) for block in (one, other))
    differs: Flags = a != b
    return differs if size_bytes == width else np.logical_or.reduce(differs.reshape(-1, size_bytes // width), axis=1)


def _numbers(block: bytes, dtype: str) -> "Any":
    """The elements of one block; floats as float64, complex numbers as complex128."""
    import numpy as np

    array = values.to_numpy([memoryview(block)], dtype, (len(block) // _SIZES[dtype],))
    with np.errstate(all="ignore"):  # converting a signalling NaN raises a flag
        if dtype in values.BITS:
            array = values.to_float32(array, dtype)
        if array.dtype.kind == "f":
            return array.astype(np.float64)
        return array.astype(np.complex128) if array.dtype.kind == "c" else array


def _distance_of_integers(a: "Any", b: "Any") -> "Any":
    """|a - b| as uint64: two's complement makes the difference right, whatever the signs."""
    import numpy as np

    a, b = (side.astype(np.int64 if side.dtype.kind == "i" else np.uint64) for side in (a, b))
    bits_a, bits_b = a.view(np.uint64), b.view(np.uint64)
    return np.where(a > b, bits_a - bits_b, bits_b - bits_a)


# ----------------------------------------------------------------------------------------------------- without numpy


def _compare_in_python(one: bytes, other: bytes, dtype: str, tolerance: Tolerance) -> _Block:
    size = _SIZES[dtype]
    a, b = (values.to_list([memoryview(block)], dtype) for block in (one, other))
    differing = beyond = at = 0
    largest: Union[int, float, None] = None
    for place, (x, y) in enumerate(zip(a, b)):
        if one[place * size : (place + 1) * size] == other[place * size : (place + 1) * size]:
            continue
        distance = _distance(x, y)
        if distance is not None and (largest is None or distance > largest):
            largest, at = distance, place
        differing += 1
        beyond += not _is_close(x, y, distance, tolerance)
    return _Block(len(a), differing, beyond, largest, at, _count(a), _count(b))


def _distance(x: "Any", y: "Any") -> Union[int, float, None]:
    """|y - x|, None where one of them is not finite."""
    if isinstance(x, int):
        return abs(int(y) - int(x))
    if not (_is_finite(x) and _is_finite(y)):
        return None
    return math.hypot((y - x).real, (y - x).imag)


def _is_close(x: "Any", y: "Any", distance: Optional[float], tolerance: Tolerance) -> bool:
    if distance is None:
        return bool(x == y or (_is_nan(x) and _is_nan(y)))
    return bool(distance <= tolerance.atol + tolerance.rtol * abs(x))


def _is_finite(number: "Any") -> bool:
    return math.isfinite(number.real) and math.isfinite(number.imag)


def _is_nan(number: "Any") -> bool:
    return math.isnan(number.real) or math.isnan(number.imag)


def _count(numbers: Sequence["Any"]) -> NonFinite:
    odd = [number for number in numbers if not isinstance(number, int) and not _is_finite(number)]
    infinite = sum(math.isinf(number.real) or math.isinf(number.imag) for number in odd)
    return NonFinite(sum(map(_is_nan, odd)), infinite)
