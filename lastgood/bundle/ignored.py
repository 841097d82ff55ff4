"""Damage in those bytes of a bundle that nobody reads: it harms no value, and is worth a note.

Some disk, copy or program changed them, and may change others. Looks at an index that was parsed already, and at sizes;
reads no tensor.
"""

from typing import Iterator, Sequence

from lastgood.bundle.table import FOOTER_BYTES, MAGIC, TRAILER_BYTES, Handle, is_block_whole, read_footer
from lastgood.bundle.wire import encode_varint
from lastgood.notes import Note, Remark


def notes_on_index(data: bytes, where: str) -> Iterator[Note]:
    """Notes on the footer's padding and on the metaindex block of an index that parses."""
    metaindex, index = read_footer(data, where)
    footer = _handle(metaindex) + _handle(index)
    expected = footer.ljust(FOOTER_BYTES - 8, b"\0") + MAGIC.to_bytes(8, "little")
    if data[-FOOTER_BYTES:] != expected:
        yield Note(Remark.FOOTER_PADDING, "the last {} bytes of {} were changed".format(FOOTER_BYTES, where))
    if not is_block_whole(data, metaindex) or metaindex.offset + metaindex.size_bytes + TRAILER_BYTES > index.offset:
        detail = "the metaindex block at byte {} of {} is damaged".format(metaindex.offset, where)
        yield Note(Remark.METAINDEX, detail)


def notes_on_sizes(paths: Sequence[str], needed: Sequence[int], sizes: Sequence[int]) -> Iterator[Note]:
    """Notes on data files that go on behind their last tensor."""
    for path, needed_bytes, size_bytes in zip(paths, needed, sizes):
        if size_bytes > needed_bytes:
            detail = "{} has {} bytes, and its tensors end after {}".format(path, size_bytes, needed_bytes)
            yield Note(Remark.TRAILING_BYTES, detail)


def _handle(handle: Handle) -> bytes:
    return encode_varint(handle.offset) + encode_varint(handle.size_bytes)
