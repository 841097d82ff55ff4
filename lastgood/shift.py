"""What zero bytes make of a crc32c: how the checksums of two neighbours become that of both together.

A checksum is linear in what came before it, so n zero bytes are a matrix over GF(2), kept as the image of each of the
32 bits. Matrices for powers of two are kept; any other length is a product of at most some forty of them. Pure Python:
`lastgood.lanes` builds numpy's tables from the same matrices.
"""

from functools import lru_cache
from typing import Sequence, Tuple

#: The image of each bit.
Matrix = Tuple[int, ...]

_POLYNOMIAL = 0x82F63B78


def combine(first: int, second: int, second_bytes: int) -> int:
    """The crc32c of two pieces one behind the other, from that of each and the length of the second."""
    return after_zeros(first, second_bytes) ^ second


def after_zeros(state: int, size_bytes: int) -> int:
    """The state after so many zero bytes."""
    place = 0
    while size_bytes:
        if size_bytes & 1:
            state = image(_power_of_two(place), state)
        size_bytes >>= 1
        place += 1
    return state


def matrix(size_bytes: int) -> Matrix:
    """So many zero bytes, as a matrix."""
    return tuple(after_zeros(1 << bit, size_bytes) for bit in range(32))


def image(matrix: Sequence[int], state: int) -> int:
    """The matrix, applied."""
    result = bit = 0
    while state:
        if state & 1:
            result ^= matrix[bit]
        state >>= 1
        bit += 1
    return result


@lru_cache(maxsize=64)
def _power_of_two(place: int) -> Matrix:
    if place == 0:
        return tuple(_after_zero_byte(1 << bit) for bit in range(32))
    half = _power_of_two(place - 1)
    return tuple(image(half, each) for each in half)


def _after_zero_byte(state: int) -> int:
    for _ in range(8):
        state = (state >> 1) ^ (_POLYNOMIAL if state & 1 else 0)
    return state
