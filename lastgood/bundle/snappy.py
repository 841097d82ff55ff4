"""Snappy's raw format, decoding only: TensorFlow writes raw blocks, but other writers of the same table compress them.

Refuses whatever would not end at exactly the stated length; memory is bounded by that length, which is bounded in
turn by what the input can expand to at most.
"""

from typing import Tuple

from lastgood.bundle.wire import WireError, read_varint

#: A copy of 64 bytes takes 3 bytes of input: nothing expands further.
_MAX_EXPANSION = 22


def decompress(data: bytes) -> bytes:
    """The bytes that were compressed. Raises WireError when `data` is not snappy's raw format."""
    expected, position = read_varint(data, 0)
    if expected > _MAX_EXPANSION * len(data):
        raise WireError("{} bytes of snappy cannot hold {} bytes".format(len(data), expected))
    output = bytearray()
    while position < len(data):
        tag = data[position]
        position += 1
        if tag & 3 == 0:
            size, position = _literal_size(data, position, tag)
            if position + size > len(data):
                raise WireError("a snappy literal is cut off")
            output += data[position : position + size]
            position += size
        else:
            size, offset, position = _copy(data, position, tag)
            _repeat(output, offset, size)
        if len(output) > expected:
            raise WireError("snappy data is longer than the {} bytes it states".format(expected))
    if len(output) != expected:
        raise WireError("snappy data holds {} bytes and states {}".format(len(output), expected))
    return bytes(output)


def _literal_size(data: bytes, position: int, tag: int) -> Tuple[int, int]:
    size = tag >> 2
    if size < 60:
        return size + 1, position
    extra = size - 59
    if position + extra > len(data):
        raise WireError("a snappy literal's length is cut off")
    return int.from_bytes(data[position : position + extra], "little") + 1, position + extra


def _copy(data: bytes, position: int, tag: int) -> Tuple[int, int, int]:
    kind = tag & 3
    width = (1, 2, 4)[kind - 1]
    if position + width > len(data):
        raise WireError("a snappy copy is cut off")
    offset = int.from_bytes(data[position : position + width], "little")
    if kind == 1:
        return 4 + ((tag >> 2) & 7), ((tag >> 5) << 8) | offset, position + width
    return (tag >> 2) + 1, offset, position + width


def _repeat(output: bytearray, offset: int, size: int) -> None:
    if offset == 0 or offset > len(output):
        raise WireError("a snappy copy reaches {} bytes back after {} bytes".format(offset, len(output)))
    start = len(output) - offset
    pattern = bytes(output[start : start + size])
    output += (pattern * (size // len(pattern) + 1))[:size]
