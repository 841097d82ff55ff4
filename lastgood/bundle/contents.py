"""The stored bytes of one tensor: their checksum, and the few values that lastgood looks at.

How the checksum is taken depends on the type. Numbers: over the bytes as they lie. Strings lie as varint lengths, a
masked checksum of the lengths, and the strings; the entry's checksum takes each length as a uint32 (uint64 where it
does not fit) instead of the varint. Variants lie one behind the other, each a varint length, its bytes, and the
masked checksum so far; lengths count as uint64. Memory is bounded whatever the tensor's size.
"""

import struct
from typing import Callable, Dict, Iterator, List, Optional, Tuple

from lastgood.bundle import dtypes
from lastgood.bundle.reader import Entry
from lastgood.bundle.shards import Shard, Stream
from lastgood.bundle.wire import WireError
from lastgood.checksum import crc32c, mask
from lastgood.errors import BundleError
from lastgood.reasons import Reason

_BATCH_ELEMENTS = 1 << 16
_CHECKSUM_BYTES = 4


def verify_entry(shard: Shard, entry: Entry) -> None:
    """Reads the tensor and compares its checksum. Raises BundleError: CORRUPT, TORN or UNREADABLE."""
    what = what_is_wrong(shard, entry)
    if what is not None:
        raise BundleError(Reason.CORRUPT, describe_damage(shard.path, entry, what))


def what_is_wrong(shard: Shard, entry: Entry) -> Optional[str]:
    """Reads the tensor: what does not match, in words, or None. Raises BundleError: TORN or UNREADABLE."""
    compute = _COMPUTE.get(entry.dtype, _crc_of_numbers)
    try:
        found = compute(shard, entry)
    except WireError as error:
        return "its content is damaged: {}".format(error)
    return what_differs(entry, found)


def what_differs(entry: Entry, crc: int) -> Optional[str]:
    """What does not match where the bytes have the checksum `crc`, in words, or None."""
    if crc == entry.crc32c:
        return None
    return "its bytes have the crc32c {:#010x}, expected {:#010x}".format(crc, entry.crc32c)


def describe_damage(path: str, entry: Entry, what: str) -> str:
    """The sentence that says which tensor of which file it is that something is wrong with."""
    return "{} ({} bytes at {} in {}): {}".format(entry.label, entry.size_bytes, entry.offset, path, what)


def is_numeric(entry: Entry) -> bool:
    """Its checksum is over the bytes as they lie, so that parts of it can be read by different people."""
    return entry.dtype not in _COMPUTE


def read_stored(shard: Shard, entry: Entry) -> Iterator[memoryview]:
    """The bytes as they lie, checked: each piece is valid until the next one is asked for.

    Those of numbers are checked on the way and proven right when the iterator ends; those of strings and variants are
    read twice. Raises BundleError: CORRUPT, TORN or UNREADABLE.
    """
    if entry.dtype in _COMPUTE:
        verify_entry(shard, entry)
        yield from shard.pieces(entry.offset, entry.size_bytes)
        return
    crc = 0
    for piece in shard.pieces(entry.offset, entry.size_bytes):
        crc = crc32c(piece, crc)
        yield piece
    _refuse_other_crc(shard, entry, crc)


def read_elements(shard: Shard, entry: Entry) -> List[bytes]:
    """The elements of a tensor of strings or variants, row by row, checked. Raises BundleError."""
    verify_entry(shard, entry)
    stream = Stream(shard, entry)
    try:
        if entry.dtype == dtypes.VARIANT:
            return [_read_variant(stream) for _ in range(entry.elements)]
        lengths = [stream.varint() for _ in range(entry.elements)]
        stream.exactly(_CHECKSUM_BYTES)
        return [stream.exactly(length) for length in lengths]
    except WireError as error:  # the file changed after it was verified
        raise _corrupt(shard, entry, str(error)) from error


def _read_variant(stream: Stream) -> bytes:
    element = stream.exactly(stream.varint())
    stream.exactly(_CHECKSUM_BYTES)
    return element


def _refuse_other_crc(shard: Shard, entry: Entry, found: int) -> None:
    what = what_differs(entry, found)
    if what is not None:
        raise _corrupt(shard, entry, what)


def read_string_scalar(shard: Shard, entry: Entry, max_bytes: int) -> bytes:
    """The value of a scalar of type string, checked. Raises BundleError."""
    if entry.dtype != dtypes.STRING or entry.elements != 1:
        raise _corrupt(shard, entry, "expected a string, found {} {}".format(entry.dtype, list(entry.shape)))
    if entry.size_bytes > max_bytes:
        raise BundleError(
            Reason.UNSUPPORTED,
            "{} has {} bytes; more than {} are not read".format(entry.label, entry.size_bytes, max_bytes),
        )
    verify_entry(shard, entry)
    try:
        stream = Stream(shard, entry)
        size = stream.varint()
        stream.exactly(_CHECKSUM_BYTES)
        return stream.exactly(size)
    except WireError as error:  # the file changed after it was verified
        raise _corrupt(shard, entry, str(error)) from error


def read_integer(shard: Shard, entry: Entry) -> int:
    """The value of a scalar of an integer type, checked. Raises BundleError."""
    if entry.dtype not in dtypes.INTEGERS or entry.elements != 1:
        raise _corrupt(shard, entry, "expected one integer, found {} {}".format(entry.dtype, list(entry.shape)))
    verify_entry(shard, entry)
    return int.from_bytes(shard.read(entry.offset, entry.size_bytes), "little", signed=dtypes.INTEGERS[entry.dtype])


def _corrupt(shard: Shard, entry: Entry, what: str) -> BundleError:
    return BundleError(Reason.CORRUPT, describe_damage(shard.path, entry, what))


def _crc_of_numbers(shard: Shard, entry: Entry) -> int:
    crc = 0
    for piece in shard.pieces(entry.offset, entry.size_bytes):
        crc = crc32c(piece, crc)
    return crc


def _crc_of_strings(shard: Shard, entry: Entry) -> int:
    stream = Stream(shard, entry)
    crc, text_bytes = _crc_of_lengths(stream, entry.elements)
    stored = stream.exactly(_CHECKSUM_BYTES)
    if stored != struct.pack("<I", mask(crc)):
        raise WireError("the checksum of its lengths does not match them")
    if text_bytes != stream.left_bytes:
        raise WireError("its strings have {} bytes, expected {}".format(stream.left_bytes, text_bytes))
    crc = crc32c(stored, crc)
    for piece in stream.take(text_bytes):
        crc = crc32c(piece, crc)
    return crc


def _crc_of_lengths(stream: Stream, elements: int) -> Tuple[int, int]:
    """The checksum over the lengths of all strings, and their sum."""
    crc = text_bytes = 0
    if elements > stream.left_bytes:
        raise WireError("{} strings in {} bytes".format(elements, stream.left_bytes))
    while elements:
        short = stream.small_varints(min(elements, _BATCH_ELEMENTS))
        if short:
            widened = bytearray(4 * len(short))
            widened[::4] = short
            text_bytes += sum(short)
            elements -= len(short)
        else:
            length = stream.varint()
            widened = bytearray(struct.pack("<I" if length <= 0xFFFFFFFF else "<Q", length))
            text_bytes += length
            elements -= 1
        crc = crc32c(widened, crc)
    return crc, text_bytes


def _crc_of_variants(shard: Shard, entry: Entry) -> int:
    stream = Stream(shard, entry)
    crc = 0
    if entry.elements > stream.left_bytes:
        raise WireError("{} variants in {} bytes".format(entry.elements, stream.left_bytes))
    for _ in range(entry.elements):
        length = stream.varint()
        crc = crc32c(struct.pack("<Q", length), crc)
        for piece in stream.take(length):
            crc = crc32c(piece, crc)
        stored = stream.exactly(_CHECKSUM_BYTES)
        if stored != struct.pack("<I", mask(crc)):
            raise WireError("the checksum of one of its elements does not match it")
        crc = crc32c(stored, crc)
    if stream.left_bytes:
        raise WireError("{} bytes are left behind its last element".format(stream.left_bytes))
    return crc


_COMPUTE: Dict[str, Callable[[Shard, Entry], int]] = {dtypes.STRING: _crc_of_strings, dtypes.VARIANT: _crc_of_variants}
