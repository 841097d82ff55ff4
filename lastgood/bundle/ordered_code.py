"""The keys of the parts of sliced tensors, in the order-preserving encoding that TensorFlow gives them.

Encoding only: the full entry lists its slices, so nobody has to decode a key.
"""

import re
from typing import Sequence, Tuple

_ESCAPED = {b"\x00": b"\x00\xff", b"\xff": b"\xff\x00"}

#: What the first two bytes of a signed number of n bytes are XORed with, by n.
_LENGTH_MARKS = (
    (0x00, 0x00),
    (0x80, 0x00),
    (0xC0, 0x00),
    (0xE0, 0x00),
    (0xF0, 0x00),
    (0xF8, 0x00),
    (0xFC, 0x00),
    (0xFE, 0x00),
    (0xFF, 0x00),
    (0xFF, 0x80),
    (0xFF, 0xC0),
)


def encode_slice_key(name: bytes, extents: Sequence[Tuple[int, int]]) -> bytes:
    """The bundle key of the part of tensor `name` that lies at `extents`, (start, length) per dimension."""
    key = encode_unsigned(0) + encode_bytes(name) + encode_unsigned(len(extents))
    return key + b"".join(encode_signed(start) + encode_signed(length) for start, length in extents)


def encode_unsigned(number: int) -> bytes:
    """The number of bytes, then the bytes, big-endian, without leading zeros. Zero has none."""
    digits = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return bytes([len(digits)]) + digits


def encode_bytes(text: bytes) -> bytes:
    """The bytes with 0x00 and 0xff escaped, then a terminator."""
    return re.sub(rb"[\x00\xff]", lambda found: _ESCAPED[found.group()], text) + b"\x00\x01"


def encode_signed(number: int) -> bytes:
    """Seven bits in the first byte less one for each further byte; negative numbers sort before the others."""
    magnitude = ~number if number < 0 else number
    length = magnitude.bit_length() // 7 + 1
    raw = bytearray((number & ((1 << 80) - 1)).to_bytes(10, "big")[-length:])
    for place, bits in zip(range(length), _LENGTH_MARKS[length]):
        raw[place] ^= bits
    return bytes(raw)
