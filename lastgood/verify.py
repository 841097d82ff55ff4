"""Is a checkpoint whole? Answered by reading every byte of it that TensorFlow would read.

Whole: the index parses and its blocks match their checksums, every data file is there and long enough, and every
tensor's crc32c, computed again from its bytes, is the one in the index. Whether it is also *good* (agreed between
workers, complete, trusted) takes more than its files, and is not decided here.

Expected bad outcomes are values: `verify` raises nothing for a checkpoint that is damaged, missing or unreadable.
"""

import time
from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from lastgood.bundle.contents import verify_entry
from lastgood.bundle.files import stat_file
from lastgood.bundle.reader import Bundle, Entry, index_path, parse_bundle, read_index_bytes, shard_paths
from lastgood.bundle.shards import DATA_FILE, Identity, Shard
from lastgood.errors import BundleError, MissingFileError
from lastgood.inspect import manifest_of_bundle
from lastgood.reasons import Reason

#: How many damaged tensors are named one by one; the others are counted.
MAX_NAMED_FAULTS = 8

#: Called with (bytes read so far, bytes to read).
Progress = Callable[[int, int], None]


class Fault(NamedTuple):
    """One thing that is wrong: why, and what was expected, found, and where."""

    reason: Reason
    detail: str


@dataclass(frozen=True)
class Verification:
    """What one reading of a checkpoint's bytes found.

    digest: of the manifest that lies there; "" when that cannot be said.
    faults: empty when the checkpoint is whole (and is the expected one, where one was expected).
    tensors: how many were read and found right.
    bytes_read: of the data files.
    medium: "disk" when the bytes were read past the kernel's cache, or it was told to forget its cached pages first;
        else "cache". The latter is advice: pages that were not yet written back stay, so fsync the files first.
    """

    prefix: str
    digest: str
    faults: Tuple[Fault, ...]
    tensors: int
    bytes_read: int
    duration_s: float
    medium: str

    @property
    def is_whole(self) -> bool:
        """Its bytes are those that were saved. They may still be NaN: that is a fault, and no damage."""
        return all(fault.reason is Reason.NOT_FINITE for fault in self.faults)

    @property
    def is_pending(self) -> bool:
        """Its files are not at rest: nothing is said against it, and nothing for it. Look again later."""
        return any(fault.reason is Reason.STILL_CHANGING for fault in self.faults)


def verify(
    prefix: str,
    expected_digest: Optional[str] = None,
    *,
    drop_cache: bool = False,
    bypass_cache: bool = False,
    finite: bool = True,
    threads: int = 1,
    settle_s: float = 0.0,
    now_s: Optional[float] = None,
    on_progress: Optional[Progress] = None,
) -> Verification:
    """Reads the checkpoint at `prefix` and says what is wrong with it.

    prefix: a path, or a URL such as s3://bucket/ckpts/ckpt-7 where fsspec is installed.
    expected_digest: the manifest digest that should lie there. Where something else lies, or nothing, the fault is
        VANISHED, and the bytes of that other checkpoint are not read.
    drop_cache: ask the kernel to forget what it has cached of the files, so that the disk is read.
    bypass_cache: read the disk and leave the cache as it is: half the work, and nobody else's pages are pushed out.
        Where the file system can't, as drop_cache.
    finite: tensors with NaN or Inf are faults (NOT_FINITE).
    threads: how many read at the same time. The faults and their order do not depend on it.
    settle_s, now_s: what is wrong with files that were written less than `settle_s` before `now_s` (seconds since the
        epoch, by default the clock's) is STILL_CHANGING; so is, always, what is wrong with files that change while
        they are read. Neither applies where a digest was expected: who knows the digest knows that the save is over.
    on_progress: called in the caller's thread after pieces were read; what it raises ends the verification.
    """
    return _Reading(prefix, expected_digest, drop_cache, bypass_cache, on_progress).verification()


class _Reading:
    """One verification in progress. At most one data file is open at a time, so their number does not matter."""

    def __init__(
        self, prefix: str, expected: Optional[str], drop: bool, bypass: bool, on_progress: Optional[Progress]
    ) -> None:
        self._prefix = prefix
        self._expected = expected
        self._drop_cache, self._bypass_cache = drop, bypass
        self._on_progress = on_progress
        self._index = b""
        self._digest = ""
        self._faults: List[Fault] = []
        self._unnamed: Counter[Reason] = Counter()
        self._files: Dict[str, Identity] = {}
        self._tensors = self._bytes_read = self._bytes_in_all = 0
        self._is_from_disk = drop or bypass

    def verification(self) -> Verification:
        started_s = time.monotonic()
        try:
            self._read()
        except BundleError as error:
            self._add(error)
        return Verification(
            prefix=self._prefix,
            digest=self._digest,
            faults=self._settled_faults(),
            tensors=self._tensors,
            bytes_read=self._bytes_read,
            duration_s=time.monotonic() - started_s,
            medium="disk" if self._is_from_disk and self._bytes_read else "cache",
        )

    def _read(self) -> None:
        self._index = read_index_bytes(self._prefix, self._drop_cache or self._bypass_cache)
        bundle = parse_bundle(self._index, index_path(self._prefix))
        sizes = self._stat_shards(bundle)
        if len(sizes) < bundle.num_shards:
            return  # what is missing is said already, and the rest cannot make the checkpoint whole
        self._digest = manifest_of_bundle(bundle, sizes).digest
        self._find_short_shards(bundle, sizes)
        if not self._faults and self._expected and self._digest != self._expected:
            raise BundleError(
                Reason.VANISHED,
                "expected the checkpoint {} at {}, found {}: the prefix was written again".format(
                    self._expected, self._prefix, self._digest
                ),
            )
        self._read_shards(bundle, sizes)

    def _stat_shards(self, bundle: Bundle) -> List[int]:
        """The sizes of those data files that are there."""
        sizes = []
        for path in shard_paths(self._prefix, bundle.num_shards):
            try:
                status = stat_file(path, DATA_FILE)
            except BundleError as error:
                self._add(error)
            else:
                sizes.append(status.st_size)
                self._files[path] = (status.st_dev, status.st_ino)
        return sizes

    def _find_short_shards(self, bundle: Bundle, sizes: Sequence[int]) -> None:
        paths = shard_paths(self._prefix, bundle.num_shards)
        for path, needed, found in zip(paths, bundle.needed_shard_sizes(), sizes):
            if found < needed:
                self._add(BundleError(Reason.TORN, "{} has {} bytes, expected {}".format(path, found, needed)))

    def _read_shards(self, bundle: Bundle, sizes: Sequence[int]) -> None:
        """Every tensor in the order in which it lies, so that neighbours are read together.

        Left out: sliced tensors, whose parts are entries of their own, and what lies behind the end of a short shard,
        which was said already.
        """
        readable = [entry for entry in bundle.entries if not entry.slices and entry.end <= sizes[entry.shard_id]]
        readable.sort(key=lambda entry: (entry.shard_id, entry.offset))
        self._bytes_in_all = sum(entry.size_bytes for entry in readable)
        for shard_id, entries in groupby(readable, key=lambda entry: entry.shard_id):
            try:
                with Shard(self._prefix, shard_id, bundle.num_shards, self._drop_cache, self._bypass_cache) as shard:
                    shard.on_read = self._count
                    for entry in entries:
                        self._read_tensor(shard, entry)
                    self._is_from_disk = self._is_from_disk and shard.is_from_disk
            except BundleError as error:
                self._add(error)

    def _read_tensor(self, shard: Shard, entry: Entry) -> None:
        try:
            verify_entry(shard, entry)
        except BundleError as error:
            if error.reason is not Reason.CORRUPT:
                raise  # the file itself has a fault: the tensors behind this one would only say so again
            self._add(error)
        else:
            self._tensors += 1

    def _count(self, bytes_read: int) -> None:
        self._bytes_read += bytes_read
        if self._on_progress is not None:
            self._on_progress(min(self._bytes_read, self._bytes_in_all), self._bytes_in_all)

    def _add(self, error: BundleError) -> None:
        is_gone = bool(self._expected) and isinstance(error, MissingFileError)
        reason = Reason.VANISHED if is_gone else error.reason
        if len(self._faults) < MAX_NAMED_FAULTS:
            self._faults.append(Fault(reason, error.detail))
        else:
            self._unnamed[reason] += 1

    def _settled_faults(self) -> Tuple[Fault, ...]:
        """The faults; or only that the files were replaced while they were read, which leaves no other a meaning."""
        if self._index and self._were_files_replaced():
            detail = "the files at {} were written again while they were being read".format(self._prefix)
            return (Fault(Reason.VANISHED, detail),)
        more = (Fault(reason, "and {} more".format(count)) for reason, count in sorted(self._unnamed.items()))
        return (*self._faults, *more)

    def _were_files_replaced(self) -> bool:
        """Whether another save took the place of this checkpoint meanwhile, so that parts of two were read."""
        try:
            if read_index_bytes(self._prefix) != self._index:
                return True
            now = {path: stat_file(path, DATA_FILE) for path in self._files}
        except MissingFileError:
            return True
        except BundleError:
            return False  # nothing can be said; what was found before stands
        return any((now[path].st_dev, now[path].st_ino) != identity for path, identity in self._files.items())
