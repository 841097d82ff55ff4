"""Protobuf's wire format, as much of it as checkpoints need: fields of one message, one after the other.

Decides nothing about meaning. Refuses truncated messages, over-long varints, groups and field number 0.
"""

import struct
from typing import Iterator, Tuple, Union

Value = Union[int, bytes]

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5


class WireError(ValueError):
    """The bytes are not a protobuf message. Translated by whoever knows which message was expected."""


def read_varint(data: bytes, position: int) -> Tuple[int, int]:
    """The unsigned varint at `position`, and the position behind it. At most 64 bits."""
    result = shift = 0
    for byte in data[position : position + 10]:
        result |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            position += shift // 7
            if result >= 1 << 64:
                raise WireError("a varint before byte {} has more than 64 bits".format(position))
            return result, position
    if shift == 70:
        raise WireError("a varint before byte {} has more than 10 bytes".format(position + 10))
    raise WireError("a varint is cut off at byte {}".format(max(position, len(data))))


def encode_varint(number: int) -> bytes:
    """The varint of a number that is not negative, in as few bytes as it needs."""
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def read_fields(message: bytes) -> Iterator[Tuple[int, int, Value]]:
    """Each field as (number, wire type, value): varints unsigned, fixed32/64 as ints, the rest as bytes."""
    position, end = 0, len(message)
    while position < end:
        tag = message[position]
        if tag < 0x80:  # nearly all tags and most numbers are one byte; an index of 100,000 entries has a million
            position += 1
        else:
            tag, position = read_varint(message, position)
        number, wire_type = tag >> 3, tag & 7
        if number == 0:
            raise WireError("field number 0 before byte {}".format(position))
        value: Value
        if wire_type == VARINT:
            if position < end and message[position] < 0x80:
                value = message[position]
                position += 1
            else:
                value, position = read_varint(message, position)
        elif wire_type == LENGTH:
            if position < end and message[position] < 0x80:
                size = message[position]
                position += 1
            else:
                size, position = read_varint(message, position)
            value, position = _take(message, position, size)
        elif wire_type == FIXED32:
            raw, position = _take(message, position, 4)
            value = struct.unpack("<I", raw)[0]
        elif wire_type == FIXED64:
            raw, position = _take(message, position, 8)
            value = struct.unpack("<Q", raw)[0]
        else:
            raise WireError("wire type {} before byte {}".format(wire_type, position))
        yield number, wire_type, value


def _take(message: bytes, position: int, size: int) -> Tuple[bytes, int]:
    end = position + size
    if end > len(message):
        raise WireError("a field of {} bytes is cut off at byte {}".format(size, len(message)))
    return message[position:end], end


def as_int(wire_type: int, value: Value) -> int:
    """The value of a field that must be a varint, signed: an int64, or an int32, which is stored the same way."""
    if wire_type != VARINT or not isinstance(value, int):
        raise WireError("expected a varint, found wire type {}".format(wire_type))
    return value if value < 1 << 63 else value - (1 << 64)


def as_fixed32(wire_type: int, value: Value) -> int:
    """The value of a field that must be a fixed32."""
    if wire_type != FIXED32 or not isinstance(value, int):
        raise WireError("expected a fixed32, found wire type {}".format(wire_type))
    return value


def as_bytes(wire_type: int, value: Value) -> bytes:
    """The value of a field that must be bytes, a string or a message."""
    if wire_type != LENGTH or not isinstance(value, bytes):
        raise WireError("expected bytes, found wire type {}".format(wire_type))
    return value


def as_text(wire_type: int, value: Value) -> str:
    """The value of a field that must be a string. What is not UTF-8 stays readable, escaped."""
    return as_bytes(wire_type, value).decode("utf-8", "backslashreplace")
