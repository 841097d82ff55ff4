"""Gives damaged files their right checksums again, so that what comes behind the checksums is tried too.

Goes as far as the bytes make sense, and leaves the rest as it is.
"""

from __future__ import annotations

import struct

from lastgood.checksum import crc32c, mask

FOOTER_BYTES, TRAILER_BYTES = 48, 5
STRING, VARIANT = 7, 21
MAX_VARINT_BYTES = 10


class NonsenseError(Exception):
    """The bytes are nothing that could be given a checksum."""


def seal_index(index: bytes) -> bytes:
    """The index with the checksum of every block that its footer leads to."""
    sealed = bytearray(index)
    try:
        _, position = _handle(index, len(index) - FOOTER_BYTES)
        handle, _ = _handle(index, position)
        _seal_block(sealed, *handle)
        for _, value_at, _ in _entries(sealed, *handle):
            block, _ = _handle(sealed, value_at)
            _seal_block(sealed, *block)
    except NonsenseError:
        pass
    return bytes(sealed)


def seal_checkpoint(index: bytes, data: bytes) -> tuple[bytes, bytes]:
    """Index and data file with the checksums of the tensors that the index places there, and then of its blocks."""
    sealed, sealed_data = bytearray(index), bytearray(data)
    try:
        _, position = _handle(index, len(index) - FOOTER_BYTES)
        handle, _ = _handle(index, position)
        for _, value_at, _ in _entries(sealed, *handle):
            block, _ = _handle(sealed, value_at)
            for key, at, end in _entries(sealed, *block):
                if key:
                    _seal_entry(sealed, at, end, sealed_data)
    except NonsenseError:
        pass
    return seal_index(bytes(sealed)), bytes(sealed_data)


def _seal_block(index: bytearray, offset: int, size: int) -> None:
    end = offset + size
    if end + TRAILER_BYTES > len(index):
        raise NonsenseError
    struct.pack_into("<I", index, end + 1, mask(crc32c(bytes(index[offset : end + 1]))))


def _seal_entry(index: bytearray, position: int, end: int, data: bytearray) -> None:
    """The entry's own checksum, where it has a place for one, and those inside its tensor."""
    numbers = {1: 0, 4: 0, 5: 0}
    crc_at = 0
    while position < end:
        tag, position = _varint(index, position)
        if tag & 7 == 0:
            numbers[tag >> 3], position = _varint(index, position)
        elif tag & 7 == 5:
            crc_at = position if tag >> 3 == 6 else crc_at
            position += 4
        elif tag & 7 == 2:
            size, position = _varint(index, position)
            position += size
        else:
            raise NonsenseError
    start, size = numbers[4], numbers[5]
    if crc_at and crc_at + 4 <= len(index) and start + size <= len(data):
        crc = _SEAL.get(numbers[1], _seal_numbers)(data, start, start + size)
        struct.pack_into("<I", index, crc_at, mask(crc))


def _seal_numbers(data: bytearray, start: int, end: int) -> int:
    return crc32c(bytes(data[start:end]))


def _seal_string(data: bytearray, start: int, end: int) -> int:
    """Of strings only a scalar's checksum of lengths is found: that of its one length, which goes before the rest."""
    size, position = _varint(data, start)
    crc = crc32c(struct.pack("<I", size & 0xFFFFFFFF))
    if position + 4 > end:
        raise NonsenseError
    struct.pack_into("<I", data, position, mask(crc))
    return crc32c(bytes(data[position:end]), crc)


def _seal_variants(data: bytearray, position: int, end: int) -> int:
    crc = 0
    while position < end:
        size, position = _varint(data, position)
        crc = crc32c(bytes(data[position : position + size]), crc32c(struct.pack("<Q", size), crc))
        position += size
        if position + 4 > end:
            raise NonsenseError
        struct.pack_into("<I", data, position, mask(crc))
        crc = crc32c(bytes(data[position : position + 4]), crc)
        position += 4
    return crc


_SEAL = {STRING: _seal_string, VARIANT: _seal_variants}


def _entries(index: bytes, offset: int, size: int) -> list[tuple[bytes, int, int]]:
    """(what the entry adds to the key before it, where its value begins, and ends)."""
    if size < 4 or offset + size > len(index):
        raise NonsenseError
    restarts = struct.unpack_from("<I", index, offset + size - 4)[0]
    end, position, found = offset + size - 4 - 4 * restarts, offset, []
    while position < end:
        _, position = _varint(index, position)
        added, position = _varint(index, position)
        value_size, position = _varint(index, position)
        value_at = position + added
        found.append((bytes(index[position:value_at]), value_at, value_at + value_size))
        position = value_at + value_size
    return found


def _handle(index: bytes, position: int) -> tuple[tuple[int, int], int]:
    if position < 0:
        raise NonsenseError
    offset, position = _varint(index, position)
    size, position = _varint(index, position)
    return (offset, size), position


def _varint(data: bytes, position: int) -> tuple[int, int]:
    result = 0
    for shift in range(0, 7 * MAX_VARINT_BYTES, 7):
        if position >= len(data):
            raise NonsenseError
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
    raise NonsenseError
