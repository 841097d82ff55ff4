"""Writes tables and bundles byte by byte, as no TensorFlow would: for tests of what must be refused."""

import struct
from dataclasses import dataclass
from pathlib import Path

from lastgood.checksum import crc32c, mask

MAGIC = 0xDB4775248B80FB57
DATA = Path(__file__).parents[2] / "data" / "checkpoints"
VERSIONS = ("tf-2.4.4", "tf-2.15.1", "tf-2.21.0")


def real_prefixes(version="*", name="*"):
    """Prefixes of the real checkpoints."""
    found = sorted(DATA.glob(f"{version}/{name}/**/*.index"))
    assert found, (version, name)
    return [str(path)[: -len(".index")] for path in found]


def varint(number):
    number &= (1 << 64) - 1
    result = b""
    while number >= 0x80:
        result += bytes([number & 0x7F | 0x80])
        number >>= 7
    return result + bytes([number])


def field(number, value):
    """One protobuf field: int as a varint, bytes as length-delimited."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def fixed32(number, value):
    return varint(number << 3 | 5) + struct.pack("<I", value)


def block(entries, restarts=1):
    """A block's content; keys are stored whole."""
    body = b"".join(b"\0" + varint(len(key)) + varint(len(value)) + key + value for key, value in entries)
    return body + struct.pack("<I", 0) * restarts + struct.pack("<I", restarts)


def with_trailer(content, compression=0):
    kind = bytes([compression])
    return content + kind + struct.pack("<I", mask(crc32c(content + kind)))


def table(*blocks, compression=0):
    """A table of these blocks' contents (already compressed where `compression` says so)."""
    data, handles = b"", []
    for content in blocks:
        handles.append(varint(len(data)) + varint(len(content)))
        data += with_trailer(content, compression)
    return table_of(data, handles)


def table_of(data, handles):
    """A table whose index block holds these handles, whatever they say."""
    meta = varint(len(data)) + varint(len(block([])))
    data += with_trailer(block([]))
    index = block([(b"k%06d" % place, handle) for place, handle in enumerate(handles)])
    footer = meta + varint(len(data)) + varint(len(index))
    data += with_trailer(index)
    return data + footer.ljust(40, b"\0") + struct.pack("<Q", MAGIC)


HEADER = field(1, 1) + field(3, field(1, 1))


@dataclass
class Tensor:
    """One numeric tensor to be written; float32 unless told otherwise."""

    key: bytes
    data: bytes
    shape: tuple
    dtype: int = 1
    crc: int | None = None
    offset: int | None = None
    size: int | None = None
    shard: int = 0


def entry(tensor, offset):
    shape = b"".join(field(2, field(1, size)) for size in tensor.shape)
    crc = crc32c(tensor.data) if tensor.crc is None else tensor.crc
    return (
        field(1, tensor.dtype)
        + field(2, shape)
        + field(3, tensor.shard)
        + field(4, offset if tensor.offset is None else tensor.offset)
        + field(5, len(tensor.data) if tensor.size is None else tensor.size)
        + fixed32(6, mask(crc))
    )


def index_of(tensors, header=HEADER):
    entries, offset = [(b"", header)], 0
    for tensor in tensors:
        entries.append((tensor.key, entry(tensor, offset)))
        offset += len(tensor.data)
    return table(block(entries))


def write_bundle(prefix, tensors, header=HEADER):
    """A bundle of one data file at `prefix`; returns the prefix as text."""
    Path(f"{prefix}.index").write_bytes(index_of(tensors, header))
    Path(f"{prefix}.data-00000-of-00001").write_bytes(b"".join(tensor.data for tensor in tensors))
    return str(prefix)
