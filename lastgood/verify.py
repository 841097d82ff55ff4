"""Is a checkpoint whole? Answered by reading every byte of it that TensorFlow would read.

Whole: the index parses and its blocks match their checksums, every data file is there and long enough, and every
tensor's crc32c, computed again from its bytes, is the one in the index. Whether it is also *good* (agreed between
workers, complete, trusted) takes more than its files, and is not decided here.

Expected bad outcomes are values: `verify` raises nothing for a checkpoint that is damaged, missing or unreadable.
"""

import os
import time
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

from lastgood.bundle import ignored
from lastgood.bundle.files import is_url, join, list_files, open_file, stat_file
from lastgood.bundle.open_file import FileStatus
from lastgood.bundle.reader import INDEX_FILE, Bundle, index_path, parse_bundle, read_index_bytes, shard_paths
from lastgood.bundle.shards import DATA_FILE
from lastgood.errors import BundleError, MissingFileError
from lastgood.inspect import manifest_of_bundle
from lastgood.notes import Note
from lastgood.reading import Reader, describe, in_parallel
from lastgood.reasons import Reason
from lastgood.stillness import Sight, what_changed, what_is_young

#: How many damaged tensors are named one by one; the others are counted.
MAX_NAMED_FAULTS = 8

#: Of how many data files it is said that they are too long; more say nothing more.
MAX_NAMED_NOTES = 8

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
    tensors: how many were read and found right; 0 for Keras files, whose tensors are not looked at one by one.
    bytes_read: of the data files.
    medium: "disk" when the bytes were read past the kernel's cache, or it was told to forget its cached pages first;
        else "cache". The latter is advice: pages that were not yet written back stay, so fsync the files first.
    notes: what is worth knowing and is no fault: damage in bytes that nobody reads.
    manifest: the path of the manifest that describes just what lies there (`lastgood.attest`); "" without one.
    """

    prefix: str
    digest: str
    faults: Tuple[Fault, ...]
    tensors: int
    bytes_read: int
    duration_s: float
    medium: str
    notes: Tuple[Note, ...] = ()
    manifest: str = ""

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
    threads: Optional[int] = None,
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
    threads: how many read at the same time; None: one, and several where it is a URL. The faults and their order do
        not depend on it.
    settle_s, now_s: what is wrong with files that were written less than `settle_s` before `now_s` (seconds since the
        epoch, by default the clock's) is STILL_CHANGING; so is, always, what is wrong with files that change while
        they are read. Neither applies where a digest was expected: who knows the digest knows that the save is over.
    on_progress: called in the caller's thread after pieces were read; what it raises ends the verification.
    """
    if threads is None:
        threads = REMOTE_THREADS if is_url(prefix) else 1
    if threads < 1:
        raise ValueError("expected at least one thread, found {}".format(threads))
    options = _Options(drop_cache, bypass_cache, finite, threads, settle_s, now_s, on_progress)
    return _Reading(prefix, expected_digest, options).verification()


#: How many threads read an object store unless somebody says otherwise: they mostly wait.
REMOTE_THREADS = 8

#: More threads than this find no more bandwidth.
MAX_LOCAL_THREADS = 8

#: What is damage, and may be the look of a file that has not arrived yet.
_DAMAGE = (Reason.INCOMPLETE, Reason.TORN, Reason.CORRUPT)


def default_threads(prefix: str) -> int:
    """As many as are of use to somebody who waits for the answer."""
    return REMOTE_THREADS if is_url(prefix) else min(os.cpu_count() or 1, MAX_LOCAL_THREADS)


def unrest(
    before: Sight,
    after: Sight,
    faults: Sequence[Fault],
    settle_s: float,
    now_s: Optional[float],
    look_around: Optional[Callable[[], Sight]] = None,
) -> Optional[Fault]:
    """The rules of `lastgood.stillness`. What was found goes along, for whoever knows better.

    look_around: gives the files whose age counts, if there are others than those that were seen before.
    """
    why = what_changed(before, after)
    if why is not None:
        why += " while it was being read"
    elif settle_s > 0 and any(fault.reason in _DAMAGE for fault in faults):
        sight = before if look_around is None else look_around()
        why = what_is_young(sight, time.time() if now_s is None else now_s, settle_s)
    if why is None:
        return None
    so_far = "; so far: {}, {}".format(faults[0].reason.value, faults[0].detail) if faults else ""
    return Fault(Reason.STILL_CHANGING, why + so_far)


class _Reading:
    """One verification in progress."""

    def __init__(self, prefix: str, expected: Optional[str], options: "_Options") -> None:
        self._prefix = prefix
        self._expected = expected
        self._options = options
        self._index = b""
        self._digest = ""
        self._faults: List[Fault] = []
        self._notes: List[Note] = []
        self._unnamed: Counter[Reason] = Counter()
        self._sight: Dict[str, Optional[FileStatus]] = {}
        self._tensors = self._bytes_read = 0
        self._is_from_disk = options.drop_cache or options.bypass_cache

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
            notes=tuple(self._notes),
        )

    def _read(self) -> None:
        path = index_path(self._prefix)
        self._sight[path] = None
        self._sight[path] = stat_file(path, INDEX_FILE)
        self._index = read_index_bytes(self._prefix, self._is_from_disk)
        bundle = parse_bundle(self._index, path)
        statuses = self._stat_shards(bundle)
        if len(statuses) < bundle.num_shards:
            return  # what is missing is said already, and the rest cannot make the checkpoint whole
        sizes = [status.size_bytes for status in statuses]
        self._digest = manifest_of_bundle(bundle, sizes).digest
        self._find_short_shards(bundle, sizes)
        self._take_notes(bundle, sizes)
        if not self._faults and self._expected and self._digest != self._expected:
            raise BundleError(
                Reason.VANISHED,
                "expected the checkpoint {} at {}, found {}: the prefix was written again".format(
                    self._expected, self._prefix, self._digest
                ),
            )
        self._read_shards(bundle, statuses)

    def _stat_shards(self, bundle: Bundle) -> List[FileStatus]:
        """Those data files that are there. Nobody needs their pages in the cache any more where that was asked."""
        paths = shard_paths(self._prefix, bundle.num_shards)
        found = []
        for path, status in zip(paths, in_parallel(_stat_data_file, paths, self._stat_threads())):
            if isinstance(status, BundleError):
                self._sight[path] = None
                self._add(status)
                continue
            self._sight[path] = status
            found.append(status)
            if self._options.drop_cache:
                self._drop_cache(path, status)
        return found

    def _stat_threads(self) -> int:
        return self._options.threads if is_url(self._prefix) else 1

    def _drop_cache(self, path: str, status: FileStatus) -> None:
        try:
            with open_file(path, DATA_FILE, status) as file:
                self._is_from_disk = file.drop_cached_pages() and self._is_from_disk
        except BundleError:
            self._is_from_disk = False  # its reader will say why

    def _find_short_shards(self, bundle: Bundle, sizes: Sequence[int]) -> None:
        paths = shard_paths(self._prefix, bundle.num_shards)
        for path, needed, found in zip(paths, bundle.needed_shard_sizes(), sizes):
            if found < needed:
                self._add(BundleError(Reason.TORN, "{} has {} bytes, expected {}".format(path, found, needed)))

    def _take_notes(self, bundle: Bundle, sizes: Sequence[int]) -> None:
        paths = shard_paths(self._prefix, bundle.num_shards)
        self._notes += ignored.notes_on_index(self._index, index_path(self._prefix))
        self._notes += islice(ignored.notes_on_sizes(paths, bundle.needed_shard_sizes(), sizes), MAX_NAMED_NOTES)

    def _read_shards(self, bundle: Bundle, statuses: Sequence[FileStatus]) -> None:
        """Every tensor in the order in which it lies, so that neighbours are read together.

        Left out: sliced tensors, whose parts are entries of their own, and what lies behind the end of a short shard,
        which was said already.
        """
        entries = [e for e in bundle.entries if not e.slices and e.end <= statuses[e.shard_id].size_bytes]
        entries.sort(key=lambda entry: (entry.shard_id, entry.offset, entry.key))
        bytes_in_all = sum(entry.size_bytes for entry in entries)

        def on_read(bytes_read: int) -> None:
            self._bytes_read = bytes_read
            if self._options.on_progress is not None:
                self._options.on_progress(min(bytes_read, bytes_in_all), bytes_in_all)

        options = self._options
        reader = Reader(
            self._prefix,
            statuses,
            entries,
            threads=options.threads,
            look_for_nan=options.finite,
            bypass_cache=options.bypass_cache,
            on_read=on_read,
        )
        readings = reader.read()
        if options.bypass_cache:
            self._is_from_disk = readings.is_from_disk
        self._tensors, self._bytes_read = readings.tensors, readings.bytes_read
        for finding in readings.findings:
            if self._has_room():
                sentence = describe(self._prefix, bundle.num_shards, entries, finding)
                self._faults.append(Fault(finding.reason, sentence))
            else:
                self._unnamed[finding.reason] += 1

    def _has_room(self) -> bool:
        return len(self._faults) < MAX_NAMED_FAULTS

    def _add(self, error: BundleError) -> None:
        is_gone = bool(self._expected) and isinstance(error, MissingFileError)
        reason = Reason.VANISHED if is_gone else error.reason
        if self._has_room():
            self._faults.append(Fault(reason, error.detail))
        else:
            self._unnamed[reason] += 1

    # -- files that are not at rest

    def _settled_faults(self) -> Tuple[Fault, ...]:
        """The faults; or only that the files are not at rest, which leaves no other a meaning."""
        unrest = self._unrest_of_expected() if self._expected else self._unrest()
        if unrest is not None:
            return (unrest,)
        more = (Fault(reason, "and {} more".format(count)) for reason, count in sorted(self._unnamed.items()))
        return (*self._faults, *more)

    def _unrest_of_expected(self) -> Optional[Fault]:
        """Whether another save took the place of the expected checkpoint meanwhile, so that parts of two were read."""
        if self._index and self._were_files_replaced():
            detail = "the files at {} were written again while they were being read".format(self._prefix)
            return Fault(Reason.VANISHED, detail)
        return None

    def _were_files_replaced(self) -> bool:
        try:
            if read_index_bytes(self._prefix) != self._index:
                return True
        except MissingFileError:
            return True
        except BundleError:
            return False  # nothing can be said; what was found before stands
        then = {path: status for path, status in self._sight.items() if path != index_path(self._prefix)}
        now = self._look_again(then)
        return any(
            status is not None and (now[path] is None or now[path].identity != status.identity)  # type: ignore[union-attr]
            for path, status in then.items()
        )

    def _unrest(self) -> Optional[Fault]:
        after = self._look_again(self._sight)
        options = self._options
        return unrest(self._sight, after, self._faults, options.settle_s, options.now_s, self._with_neighbours)

    def _look_again(self, sight: Sight) -> Dict[str, Optional[FileStatus]]:
        paths = tuple(sight)
        found = in_parallel(_stat_data_file, paths, self._stat_threads())
        return {path: status if isinstance(status, FileStatus) else None for path, status in zip(paths, found)}

    def _with_neighbours(self) -> Sight:
        """What was seen; and where there is no index yet, the data files that are there before it."""
        if self._index:
            return self._sight
        directory, name = os.path.split(self._prefix)
        try:
            files = list_files(directory or os.curdir)
        except BundleError:
            return self._sight
        ours = [file for file in files if file.name.startswith(name + ".data-")]
        return {**self._sight, **{join(directory, file.name): FileStatus(0, file.mtime_ns, "") for file in ours}}


class _Options(NamedTuple):
    drop_cache: bool
    bypass_cache: bool
    finite: bool
    threads: int
    settle_s: float
    now_s: Optional[float]
    on_progress: Optional[Progress]


def _stat_data_file(path: str) -> Union[FileStatus, BundleError]:
    try:
        return stat_file(path, DATA_FILE)
    except BundleError as error:
        return error
