"""A TensorBundle as a `Checkpoint`: parts of sliced tensors are joined, every value is checked while it is read.

Holds a bounded number of files open, and never more of a tensor than a few pieces. Whether the checkpoint is whole is
not decided here: what nobody reads is not checked.
"""

from collections import OrderedDict
from functools import cached_property
from typing import Dict, Iterator, List, Mapping, Sequence, Tuple

from lastgood.bundle import dtypes, slices
from lastgood.bundle.contents import read_elements, read_stored, verify_entry
from lastgood.bundle.graph import ObjectGraph
from lastgood.bundle.reader import Entry, part_box, part_key, read_bundle
from lastgood.bundle.shards import Shard
from lastgood.inspect import read_graph
from lastgood.manifest import OBJECT_GRAPH_KEY
from lastgood.opened import BUNDLE, Checkpoint, TensorInfo

#: Data files that stay open between reads.
_MAX_OPEN = 16

#: Tensors whose parts lie side by side are put together so much at a time.
_BAND_BYTES = 1 << 18

#: Tensors up to this size are copied: their pieces stay valid and two of them can be read at once.
_SMALL_BYTES = 1 << 16


class BundleCheckpoint(Checkpoint):
    """An open bundle."""

    def __init__(self, path: str, prefix: str) -> None:
        """Reads the index. Raises BundleError."""
        super().__init__(path, prefix, BUNDLE)
        self._bundle = read_bundle(prefix)
        self._shards: OrderedDict[int, Shard] = OrderedDict()

    @cached_property
    def _entries(self) -> Mapping[bytes, Entry]:
        return self._bundle.by_key()

    @cached_property
    def tensors(self) -> Mapping[bytes, TensorInfo]:
        parts = {part_key(entry.key, part) for entry in self._bundle.entries if entry.slices for part in entry.slices}
        names = self._full_names
        found: Dict[bytes, TensorInfo] = {}
        for entry in self._bundle.entries:
            key, dtype, shape, _, _, size_bytes, crc, slices_of_it = entry
            if slices_of_it:
                size_bytes = sum(part.size_bytes for part in self._parts(entry))
                found[key] = TensorInfo(key, dtype, shape, None, size_bytes, True, names)
            elif key not in parts:
                found[key] = TensorInfo(key, dtype, shape, crc, size_bytes, False, names)
        found.pop(OBJECT_GRAPH_KEY, None)
        return found

    def _parts(self, whole: Entry) -> List[Entry]:
        return [self._entries[part_key(whole.key, part)] for part in whole.slices]

    @cached_property
    def graph(self) -> ObjectGraph:
        return read_graph(self.prefix, self._bundle)

    @cached_property
    def _names_by_key(self) -> Mapping[bytes, str]:
        return self.graph.full_names()

    def _full_names(self) -> Mapping[bytes, str]:
        return self._names_by_key

    def raw(self, key: bytes) -> Iterator[memoryview]:
        entry = self._entries[self.tensors[key].key]
        if not entry.slices:
            return self._stored(entry)
        if dtypes.is_opaque(entry.dtype):
            return (piece for part in self._parts(entry) for piece in self._stored(part))
        boxes = [part_box(entry, part) for part in entry.slices]
        parts = self._parts(entry)
        order = slices.in_row_order(entry.shape, boxes)
        if order is not None:
            return (piece for place in order for piece in self._stored(parts[place]))
        return self._interleaved(entry, list(zip(boxes, parts)))

    def elements(self, key: bytes) -> List[bytes]:
        entry = self._entries[self.tensors[key].key]
        if not dtypes.is_opaque(entry.dtype):
            raise ValueError("expected strings or variants, and {} is {}".format(entry.label, entry.dtype))
        if not entry.slices:
            return self._elements_of(entry)
        # Read before anything of the stated size is made: what was read has that many elements, or is refused.
        parts = [
            (part_box(entry, part), self._elements_of(self._entries[part_key(key, part)])) for part in entry.slices
        ]
        joined = [b""] * entry.elements
        whole = slices.Box((0,) * len(entry.shape), entry.shape)
        for box, found in parts:
            for run in slices.runs(box, whole, box):
                joined[run.at_in_whole : run.at_in_whole + run.length] = found[
                    run.at_in_part : run.at_in_part + run.length
                ]
        return joined

    def close(self) -> None:
        while self._shards:
            self._shards.popitem()[1].close()

    def _elements_of(self, stored: Entry) -> List[bytes]:
        return read_elements(self._shard(stored.shard_id), stored)

    def _stored(self, entry: Entry) -> Iterator[memoryview]:
        """A stored tensor's bytes. A large one is read through a buffer of its own, so that two can be read at once."""
        if entry.size_bytes <= _SMALL_BYTES:
            yield memoryview(b"".join(map(bytes, read_stored(self._shard(entry.shard_id), entry))))
            return
        with self._open(entry.shard_id) as shard:
            yield from read_stored(shard, entry)

    def _interleaved(self, whole: Entry, parts: Sequence[Tuple[slices.Box, Entry]]) -> Iterator[memoryview]:
        """The bytes of a tensor whose parts lie side by side, put together band by band."""
        width = dtypes.BY_NAME[whole.dtype].size_bytes
        for _, stored in parts:
            verify_entry(self._shard(stored.shard_id), stored)
        for band in slices.bands(whole.shape, _BAND_BYTES // width):
            joined = memoryview(bytearray(band.volume * width))
            for box, stored in parts:
                self._copy(joined, band, box, stored)
            yield joined

    def _copy(self, joined: memoryview, band: slices.Box, box: slices.Box, stored: Entry) -> None:
        """Copies what the part at `box` has of a band; one read gets all of it."""
        shared = slices.intersection(band, box)
        if shared is None:
            return
        width = dtypes.BY_NAME[stored.dtype].size_bytes
        span = slices.span(shared, box)
        shard = self._shard(stored.shard_id)
        data = shard.read(stored.offset + span.at_in_part * width, span.length * width)
        for run in slices.runs(shared, band, box):
            source, target, size = (
                (run.at_in_part - span.at_in_part) * width,
                run.at_in_whole * width,
                run.length * width,
            )
            joined[target : target + size] = data[source : source + size]

    def _shard(self, shard_id: int) -> Shard:
        """The data file, open; of those that were open the one that was used last the longest ago gives way."""
        shard = self._shards.pop(shard_id, None)
        if shard is None:
            shard = self._open(shard_id)
            if len(self._shards) >= _MAX_OPEN:
                self._shards.popitem(last=False)[1].close()
        self._shards[shard_id] = shard
        return shard

    def _open(self, shard_id: int) -> Shard:
        return Shard(self.prefix, shard_id, self._bundle.num_shards)
