"""The data files of a bundle: opened by the names that the prefix gives, read in pieces of bounded size.

Each piece lies in one buffer that the next one overwrites, so memory does not depend on the checkpoint. A read that
ends too early is a fault of the file (Torn), not an exception of ours.
"""

import mmap
import re
from typing import Callable, Iterator, Optional

from lastgood.bundle.files import is_url, open_file
from lastgood.bundle.open_file import FileStatus
from lastgood.bundle.reader import Entry, shard_path
from lastgood.bundle.wire import WireError
from lastgood.errors import BundleError
from lastgood.reasons import Reason

#: Large enough to make system calls cheap, small enough to stay in a processor's cache.
PIECE_BYTES = 1 << 20

#: Large enough that a request to an object store is worth its while; several are under way at the same time.
REMOTE_PIECE_BYTES = 2 << 20

#: What is expected where a data file should lie, for errors.
DATA_FILE = "a data file"

_SMALL_VARINTS = re.compile(rb"[\x00-\x7f]*")


class Shard:
    """One open data file, for one thread.

    bytes_read: by all reads so far.
    reads_end: no read goes further than this byte, though it could for little; None: as far as a piece reaches.
    """

    def __init__(
        self,
        prefix: str,
        shard_id: int,
        num_shards: int,
        status: Optional[FileStatus] = None,
        bypass_cache: bool = False,
    ) -> None:
        """Opens it. Raises BundleError: INCOMPLETE (missing) or UNREADABLE.

        status: what `stat_file` has said of it. bypass_cache: read past the cache; where that cannot be, drop it.
        """
        self.path = shard_path(prefix, shard_id, num_shards)
        self.bytes_read = 0
        self.on_read: Optional[Callable[[int], None]] = None
        self.reads_end: Optional[int] = None
        self._buffer: Optional[memoryview] = None
        self._at = self._filled = 0
        self._file = open_file(self.path, DATA_FILE, status)
        if bypass_cache:
            self._file.bypass_cache()

    @property
    def is_from_disk(self) -> bool:
        """So far, reads have gone past the cache, or it was dropped."""
        return self._file.is_from_disk

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> "Shard":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def pieces(self, offset: int, size_bytes: int, unit_bytes: int = 1) -> Iterator[memoryview]:
        """The bytes from `offset` on, in pieces that are valid until the next one is asked for.

        Small neighbours cost one system call together. No piece cuts a unit in two, counted from `offset`.
        Raises BundleError: TORN or UNREADABLE.
        """
        end = offset + size_bytes
        while offset < end:
            least = min(unit_bytes, end - offset)
            if not self._at <= offset <= self._at + self._filled - least:
                self._fill(offset, least)
            start = offset - self._at
            stop = min(self._filled, end - self._at)
            if stop + self._at < end:
                stop -= (stop - start) % unit_bytes
            assert self._buffer is not None  # filled above
            yield self._buffer[start:stop]
            offset = self._at + stop

    def read(self, offset: int, size_bytes: int) -> bytes:
        """The bytes themselves; the caller has made sure that they are few."""
        return b"".join(bytes(piece) for piece in self.pieces(offset, size_bytes))

    def _fill(self, offset: int, least_bytes: int) -> None:
        """Reads a piece that has at least so many bytes from `offset` on, and what lies before them in their block."""
        self._filled = filled = 0
        block = self._file.block_bytes
        start = offset - offset % block
        room = self._room(start, offset + least_bytes, block)
        while start + filled < offset + least_bytes:
            count = self._file.read_into(room[filled:] if filled else room, start + filled)
            if count == 0:
                raise BundleError(
                    Reason.TORN,
                    "{} ends at byte {} while more is expected: it was cut off".format(
                        self.path, max(offset, start + filled)
                    ),
                )
            filled += count
        end = start + filled
        if self.reads_end is not None:
            end = min(end, max(self.reads_end, offset + least_bytes))
        self._at, self._filled = start, end - start
        fresh = end - offset
        self.bytes_read += fresh
        if self.on_read is not None:
            self.on_read(fresh)

    def _room(self, start: int, least_end: int, block: int) -> memoryview:
        """The part of the buffer that a read from `start` on may fill."""
        if self._buffer is None:
            # Anonymous memory begins at a page, as reads past the cache want it.
            self._buffer = memoryview(mmap.mmap(-1, REMOTE_PIECE_BYTES if is_url(self.path) else PIECE_BYTES))
        if self.reads_end is None:
            return self._buffer
        wanted = max(self.reads_end, least_end) - start
        return self._buffer[: wanted + -wanted % block]


class Stream:
    """The bytes of one entry, one after the other. Raises WireError when its content asks for more than it has."""

    def __init__(self, shard: Shard, entry: Entry) -> None:
        self._pieces = shard.pieces(entry.offset, entry.size_bytes)
        self._piece = memoryview(b"")
        self.left_bytes = entry.size_bytes

    def varint(self) -> int:
        """One unsigned varint of at most 64 bits."""
        result = 0
        for shift in range(0, 70, 7):
            byte = self._next_byte()
            result |= (byte & 0x7F) << shift
            if byte < 0x80:
                if result >= 1 << 64:
                    break
                return result
        raise WireError("a varint of more than 64 bits")

    def small_varints(self, limit: int) -> bytes:
        """At most `limit` varints of one byte each, as many as follow each other; b"" where a longer one is next."""
        if not self.left_bytes:
            return b""
        self._refill()
        found = _SMALL_VARINTS.match(self._piece[:limit])
        run = found.group() if found else b""
        self._piece = self._piece[len(run) :]
        self.left_bytes -= len(run)
        return run

    def exactly(self, size_bytes: int) -> bytes:
        """That many bytes; the caller has made sure that they are few."""
        return b"".join(bytes(piece) for piece in self.take(size_bytes))

    def take(self, size_bytes: int) -> Iterator[memoryview]:
        """That many bytes in pieces."""
        if size_bytes > self.left_bytes:
            raise WireError("{} bytes expected where {} are left".format(size_bytes, self.left_bytes))
        while size_bytes:
            self._refill()
            piece, self._piece = self._piece[:size_bytes], self._piece[size_bytes:]
            self.left_bytes -= len(piece)
            size_bytes -= len(piece)
            yield piece

    def _next_byte(self) -> int:
        if not self.left_bytes:
            raise WireError("a number is cut off")
        self._refill()
        byte = self._piece[0]
        self._piece = self._piece[1:]
        self.left_bytes -= 1
        return byte

    def _refill(self) -> None:
        if not len(self._piece):
            self._piece = next(self._pieces)
