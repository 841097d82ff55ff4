"""Where everything lies in an undamaged bundle, by the format's description, without the library that is on trial.

Says only where bytes are and what they are called, so that damage of every kind can be aimed. Whether damage matters
is said by TensorFlow alone.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

FOOTER_BYTES = 48
TRAILER_BYTES = 5
STRING, VARIANT = 7, 21


@dataclass(frozen=True)
class Region:
    """Bytes of one file with one meaning. suffix: of the file, behind the prefix."""

    suffix: str
    start: int
    end: int


@dataclass
class Layout:
    """regions: by name, such as "footer padding".

    boundaries: by suffix, every byte at which something begins or ends.
    """

    regions: dict[str, list[Region]] = field(default_factory=dict)
    boundaries: dict[str, set[int]] = field(default_factory=dict)

    def add(self, name: str, suffix: str, start: int, end: int) -> None:
        self.boundaries.setdefault(suffix, set()).update((start, end))
        if start < end:
            self.regions.setdefault(name, []).append(Region(suffix, start, end))


def layout_of(files: Mapping[str, bytes]) -> Layout:
    """The layout of a checkpoint's files, {suffix: bytes}."""
    layout = Layout()
    entries = list(_add_index(layout, files[".index"]))
    num_shards = _fields(entries[0][1]).get(1, [0])[0]
    for key, message in entries[1:]:
        fields = _fields(message)
        if 7 in fields:
            continue
        suffix = f".data-{fields.get(3, [0])[0]:05d}-of-{num_shards:05d}"
        start, size = fields.get(4, [0])[0], fields.get(5, [0])[0]
        _add_tensor(layout, files[suffix], suffix, start, start + size, fields.get(1, [0])[0], key, _elements(fields))
    return layout


def _add_index(layout: Layout, index: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Adds all of the index file; gives the entries of its data blocks."""
    footer = len(index) - FOOTER_BYTES
    position, handles = footer, []
    for _ in range(4):
        number, position = read_varint(index, position)
        handles.append(number)
    meta_end = footer
    for _ in range(2):
        meta_end = read_varint(index, meta_end)[1]
    layout.add("metaindex handle", ".index", footer, meta_end)
    layout.add("index handle", ".index", meta_end, position)
    layout.add("footer padding", ".index", position, len(index) - 8)
    layout.add("magic", ".index", len(index) - 8, len(index))
    _add_trailer(layout, "metaindex", handles[0], handles[1])
    layout.add("metaindex", ".index", handles[0], handles[0] + handles[1])
    _add_trailer(layout, "index", handles[2], handles[3])
    layout.add("index block", ".index", handles[2], handles[2] + handles[3])
    for _, _, value_at, value_end in _block(index, handles[2], handles[3]):
        offset, position = read_varint(index, value_at)
        size, position = read_varint(index, position)
        assert position == value_end
        yield from _add_data_block(layout, index, offset, size)


def _add_trailer(layout: Layout, block: str, offset: int, size: int) -> None:
    end = offset + size
    name = "metaindex" if block == "metaindex" else None
    layout.add(name or "compression byte", ".index", end, end + 1)
    layout.add(name or "block checksum", ".index", end + 1, end + TRAILER_BYTES)


def _add_data_block(layout: Layout, index: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    _add_trailer(layout, "data", offset, size)
    end = offset
    for key, entry_at, value_at, value_end in _block(index, offset, size):
        layout.add("entry keys", ".index", entry_at, value_at)
        layout.add("entry proto" if key else "header proto", ".index", value_at, value_end)
        yield key, index[value_at:value_end]
        end = value_end
    layout.add("restart points", ".index", end, offset + size)


def _block(index: bytes, offset: int, size: int) -> Iterator[tuple[bytes, int, int, int]]:
    """(key, where the entry begins, where its value begins, and ends)."""
    restarts = struct.unpack_from("<I", index, offset + size - 4)[0]
    end = offset + size - 4 - 4 * restarts
    position, key = offset, b""
    while position < end:
        entry_at = position
        shared, position = read_varint(index, position)
        added, position = read_varint(index, position)
        value_size, position = read_varint(index, position)
        key = key[:shared] + index[position : position + added]
        value_at = position + added
        position = value_at + value_size
        yield key, entry_at, value_at, position


def _add_tensor(
    layout: Layout, data: bytes, suffix: str, start: int, end: int, dtype: int, key: bytes, elements: int
) -> None:
    if dtype == STRING:
        position, sizes = start, []
        for _ in range(elements):
            size, position = read_varint(data, position)
            sizes.append(size)
        is_graph = key == b"_CHECKPOINTABLE_OBJECT_GRAPH"
        layout.add("string lengths", suffix, start, position)
        layout.add("checksum of string lengths", suffix, position, position + 4)
        position += 4
        for size in sizes:
            layout.add("object graph" if is_graph else "strings", suffix, position, position + size)
            position += size
        assert position == end
    else:
        layout.add("iterator state" if dtype == VARIANT else "numbers", suffix, start, end)


def _elements(fields: Mapping[int, list]) -> int:
    count = 1
    for dimension in _fields(fields.get(2, [b""])[0]).get(2, []):
        count *= _fields(dimension).get(1, [0])[0]
    return count


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return result, position


def _fields(message: bytes) -> dict[int, list]:
    """A message's fields by number: varints as numbers, the rest as bytes."""
    fields: dict[int, list] = {}
    position = 0
    while position < len(message):
        tag, position = read_varint(message, position)
        if tag & 7 == 0:
            value, position = read_varint(message, position)
        else:
            size = 4 if tag & 7 == 5 else 0
            if not size:
                size, position = read_varint(message, position)
            value = message[position : position + size]
            position += size
        fields.setdefault(tag >> 3, []).append(value)
    return fields
