"""The data files of a bundle: opened by the names that the prefix gives, read in pieces of bounded size.

By `preadv` into one buffer, never by mmap: TensorFlow truncates files in place, and a mapped file that becomes shorter
kills the process that reads it. A read that ends too early is a fault of the file (Torn), not an exception of ours.
"""

import errno
import mmap
import os
from typing import Callable, Iterator, Optional, Tuple

from lastgood.bundle.files import bypass_cache, drop_cached_pages, open_file
from lastgood.bundle.reader import Entry, shard_path
from lastgood.bundle.wire import WireError
from lastgood.errors import BundleError
from lastgood.reasons import Reason

#: Large enough to make system calls cheap, small enough to stay in a processor's cache.
PIECE_BYTES = 1 << 20

#: Reads past the cache begin at a multiple of this: no device has larger blocks.
BLOCK_BYTES = 4096

#: What is expected where a data file should lie, for errors.
DATA_FILE = "a data file"

#: Which file it is, whatever its name: (device, inode).
Identity = Tuple[int, int]


class Shard:
    """One open data file.

    bytes_read: by all reads so far.
    is_from_disk: reads go past what the kernel has cached of the file, or it was told to forget that (dirty pages
        stay).
    """

    def __init__(
        self, prefix: str, shard_id: int, num_shards: int, drop_cache: bool = False, bypass: bool = False
    ) -> None:
        """Opens it. Raises BundleError: INCOMPLETE (missing) or UNREADABLE.

        bypass: read past the cache and leave it as it is; where that is not possible, drop it.
        """
        self.path = shard_path(prefix, shard_id, num_shards)
        self.bytes_read = 0
        self.on_read: Optional[Callable[[int], None]] = None
        self._buffer = mmap.mmap(-1, PIECE_BYTES)  # anonymous memory: reads past the cache need it aligned
        self._at = self._filled = 0
        self._descriptor = open_file(self.path, DATA_FILE)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        self._is_bypassing = bypass and bypass_cache(self._descriptor, True)
        is_to_be_dropped = drop_cache or (bypass and not self._is_bypassing)
        self.is_from_disk = self._is_bypassing or (is_to_be_dropped and drop_cached_pages(self._descriptor))

    def close(self) -> None:
        os.close(self._descriptor)

    def __enter__(self) -> "Shard":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def pieces(self, offset: int, size_bytes: int) -> Iterator[memoryview]:
        """The bytes from `offset` on, in pieces that are valid until the next one is asked for.

        Small neighbours cost one system call together. Raises BundleError: TORN or UNREADABLE.
        """
        end = offset + size_bytes
        while offset < end:
            if not self._at <= offset < self._at + self._filled:
                self._fill(offset)
            start = offset - self._at
            stop = min(self._filled, end - self._at)
            yield memoryview(self._buffer)[start:stop]
            offset = self._at + stop

    def read(self, offset: int, size_bytes: int) -> bytes:
        """The bytes themselves; the caller has made sure that they are few."""
        return b"".join(bytes(piece) for piece in self.pieces(offset, size_bytes))

    def _fill(self, offset: int) -> None:
        self._filled = 0
        start = offset - offset % BLOCK_BYTES if self._is_bypassing else offset
        try:
            count = _read_into(self._descriptor, self._buffer, start)
        except OSError as error:
            if self._is_bypassing and error.errno == errno.EINVAL:
                self._stop_bypassing()
                self._fill(offset)
                return
            raise BundleError.from_os(error, DATA_FILE, self.path) from error
        fresh = count - (offset - start)
        if fresh <= 0:
            raise BundleError(
                Reason.TORN, "{} ends at byte {} while more is expected: it was cut off".format(self.path, offset)
            )
        self._at, self._filled = start, count
        self.bytes_read += fresh
        if self.on_read is not None:
            self.on_read(fresh)

    def _stop_bypassing(self) -> None:
        """The file system agreed to it at first, and not to this read."""
        self._is_bypassing = False
        bypass_cache(self._descriptor, False)
        self.is_from_disk = drop_cached_pages(self._descriptor)


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


def _read_into(descriptor: int, buffer: mmap.mmap, offset: int) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [buffer], offset)
    data = os.pread(descriptor, len(buffer), offset)
    buffer[: len(data)] = data
    return len(data)
