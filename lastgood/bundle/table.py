"""The LevelDB table that an index file is: its entries in order, every block checked against its checksum.

Refuses, with a reason: empty files (Incomplete), files that are cut off (Torn), wrong checksums and structures that no
writer makes (Corrupt), and sizes beyond what any checkpoint has (Unsupported). Two parts of the file are not read, as
TensorFlow does not read them either: the metaindex block and the footer's padding.
"""

import struct
from typing import Iterator, NamedTuple, Tuple

from lastgood.bundle.snappy import decompress
from lastgood.bundle.wire import WireError, read_varint
from lastgood.checksum import crc32c, mask
from lastgood.errors import BundleError
from lastgood.reasons import Reason

FOOTER_BYTES = 48
TRAILER_BYTES = 5  # one byte for the compression, four for the masked checksum
MAGIC = 0xDB4775248B80FB57

#: A million variables make an index of some 60 MB.
MAX_TABLE_BYTES = 256 << 20
#: Keys are stored as differences, so a small file can stand for large keys.
MAX_KEY_BYTES = 256 << 20

_RAW, _SNAPPY = 0, 1
#: Fewer different bits than this, and a wrong magic number is a damaged one, not another file's bytes.
_DAMAGED_MAGIC_BITS = 8


class Handle(NamedTuple):
    """Where a block lies. size_bytes does not count the trailer."""

    offset: int
    size_bytes: int


def read_table(data: bytes, where: str = "the index") -> Iterator[Tuple[bytes, bytes]]:
    """Each (key, value) of the table, keys strictly ascending. `where` names the file in errors.

    Raises BundleError: INCOMPLETE, TORN, CORRUPT or UNSUPPORTED.
    """
    try:
        yield from _read_entries(data, where)
    except WireError as error:
        raise BundleError(Reason.CORRUPT, "{} is damaged: {}".format(where, error)) from error


def read_footer(data: bytes, where: str = "the index") -> Tuple[Handle, Handle]:
    """Where the metaindex block and the index block lie. Raises BundleError or WireError."""
    _refuse_wrong_size(data, where)
    footer = data[-FOOTER_BYTES:]
    magic = struct.unpack_from("<Q", footer, FOOTER_BYTES - 8)[0]
    if magic != MAGIC:
        raise _wrong_magic(data, magic, where)
    metaindex, position = _read_handle(footer, 0)
    index, position = _read_handle(footer, position)
    if position > FOOTER_BYTES - 8:
        raise WireError("the footer's handles reach into its magic number")
    return metaindex, index


def _read_entries(data: bytes, where: str) -> Iterator[Tuple[bytes, bytes]]:
    index = read_footer(data, where)[1]
    last_key, key_bytes, end_of_last = None, 0, 0
    for handle in _read_block_handles(data, index):
        # Blocks lie one behind the other; were they allowed to overlap, a small file could cost hours.
        if handle.offset < end_of_last:
            raise WireError("the block at byte {} overlaps the one before it".format(handle.offset))
        end_of_last = handle.offset + handle.size_bytes + TRAILER_BYTES
        for key, value in _split_block(_read_block(data, handle)):
            if last_key is not None and key <= last_key:
                raise WireError("the keys {!r} and {!r} are not in order".format(last_key[-80:], key[-80:]))
            key_bytes += len(key)
            if key_bytes > MAX_KEY_BYTES:
                raise _too_many_key_bytes()
            last_key = key
            yield key, value


def _refuse_wrong_size(data: bytes, where: str) -> None:
    if not data:
        raise BundleError(Reason.INCOMPLETE, "{} is empty: its save was interrupted".format(where))
    if len(data) < FOOTER_BYTES:
        raise BundleError(
            Reason.TORN, "{} has {} bytes, and its footer alone has {}".format(where, len(data), FOOTER_BYTES)
        )
    if len(data) > MAX_TABLE_BYTES:
        raise BundleError(
            Reason.UNSUPPORTED, "{} has {} bytes; more than {} are not read".format(where, len(data), MAX_TABLE_BYTES)
        )


def _wrong_magic(data: bytes, magic: int, where: str) -> BundleError:
    if bin(magic ^ MAGIC).count("1") <= _DAMAGED_MAGIC_BITS:
        return BundleError(Reason.CORRUPT, "{} ends in a damaged magic number, {:#018x}".format(where, magic))
    if data[:2] == b"\0\0":  # the first entry, whose key is empty: how every bundle's index begins
        return BundleError(
            Reason.TORN, "{} begins as an index and does not end as one after {} bytes".format(where, len(data))
        )
    return BundleError(
        Reason.CORRUPT, "{} is not a checkpoint's index: it neither begins nor ends as one".format(where)
    )


def _read_handle(data: bytes, position: int) -> Tuple[Handle, int]:
    offset, position = read_varint(data, position)
    size, position = read_varint(data, position)
    return Handle(offset, size), position


def _read_block_handles(data: bytes, index: Handle) -> Iterator[Handle]:
    for _, value in _split_block(_read_block(data, index)):
        handle, end = _read_handle(value, 0)
        if end != len(value):
            raise WireError("a block's handle has {} bytes too many".format(len(value) - end))
        yield handle


def _read_block(data: bytes, handle: Handle) -> bytes:
    """The block's bytes, checked and decompressed."""
    end = handle.offset + handle.size_bytes
    if end + TRAILER_BYTES > len(data) - FOOTER_BYTES:
        raise WireError("a block at byte {} reaches behind the end of the file".format(handle.offset))
    compression, stored = struct.unpack_from("<BI", data, end)
    found = mask(crc32c(memoryview(data)[handle.offset : end + 1]))
    if stored != found:
        raise WireError(
            "the block at byte {} has the checksum {:#010x}, expected {:#010x}".format(handle.offset, found, stored)
        )
    block = data[handle.offset : end]
    if compression == _RAW:
        return block
    if compression == _SNAPPY:
        return decompress(block)
    raise BundleError(
        Reason.UNSUPPORTED,
        "the block at byte {} is compressed by the unknown method {}".format(handle.offset, compression),
    )


def is_block_whole(data: bytes, handle: Handle) -> bool:
    """Whether a block lies at `handle` that has its checksum; for the one block that nobody reads."""
    end = handle.offset + handle.size_bytes
    if end + TRAILER_BYTES > len(data) - FOOTER_BYTES:
        return False
    stored = struct.unpack_from("<I", data, end + 1)[0]
    return bool(stored == mask(crc32c(memoryview(data)[handle.offset : end + 1])))


def _split_block(block: bytes) -> Iterator[Tuple[bytes, bytes]]:
    """The entries of one block: each key is stored as what it adds to the one before it."""
    end = _end_of_entries(block)
    position, key, key_bytes = 0, b"", 0
    while position < end:
        if position + 3 <= end and block[position] | block[position + 1] | block[position + 2] < 0x80:
            shared, added, value_size = block[position : position + 3]
            position += 3
        else:
            shared, position = read_varint(block, position)
            added, position = read_varint(block, position)
            value_size, position = read_varint(block, position)
        value_at = position + added
        if shared > len(key) or value_at + value_size > end:
            raise WireError("an entry at byte {} of a block is larger than the block".format(position))
        key = key[:shared] + block[position:value_at]
        position = value_at + value_size
        key_bytes += len(key)
        if key_bytes > MAX_KEY_BYTES:
            raise _too_many_key_bytes()
        yield key, block[value_at:position]


def _too_many_key_bytes() -> BundleError:
    return BundleError(Reason.UNSUPPORTED, "the index has keys of more than {} bytes in all".format(MAX_KEY_BYTES))


def _end_of_entries(block: bytes) -> int:
    """Where the entries end and the array of restart points begins."""
    if len(block) < 4:
        raise WireError("a block of {} bytes".format(len(block)))
    restarts = struct.unpack_from("<I", block, len(block) - 4)[0]
    end = len(block) - 4 - 4 * restarts
    if end < 0:
        raise WireError("a block of {} bytes states {} restart points".format(len(block), restarts))
    return int(end)
