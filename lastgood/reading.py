"""Reads the bytes of many tensors, by one thread or several, and says which are not what the index says.

The work is cut into jobs of neighbouring bytes, which are handed out in the order in which they lie. A number's tensor
that is larger than a job is cut too, and the checksums of its parts are combined: one huge tensor keeps every thread
busy. Strings and variants have to be read from their start and stay whole. What is found, and in which order, does not
depend on the number of threads. Memory: one piece of a file per thread, whatever the checkpoint's size.

Decides nothing about a checkpoint as a whole, and nothing about files that change meanwhile.
"""

import threading
from contextlib import ExitStack
from itertools import chain, islice
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple, TypeVar

from lastgood import finite
from lastgood.bundle.contents import describe_damage, is_numeric, what_differs, what_is_wrong
from lastgood.bundle.files import is_url
from lastgood.bundle.open_file import FileStatus
from lastgood.bundle.reader import Entry, shard_path
from lastgood.bundle.shards import Shard
from lastgood.checksum import crc32c
from lastgood.errors import BundleError
from lastgood.reasons import Reason
from lastgood.shift import combine

#: Large enough that threads seldom ask for work, small enough that they end at the same time.
JOB_BYTES = 16 << 20
REMOTE_JOB_BYTES = 8 << 20

#: More threads find no more bandwidth anywhere.
MAX_THREADS = 256

#: How often the caller hears of the progress of several threads.
_REPORT_S = 0.05

#: In whose order findings are told: damage before what was saved like that.
_FILE, _BYTES, _VALUES = 0, 1, 2


_Question = TypeVar("_Question")
_Answer = TypeVar("_Answer")


class Span(NamedTuple):
    """A part of the entry at that place: bytes from `start` to `stop`, counted from its own first one."""

    place: int
    start: int
    stop: int


class Job(NamedTuple):
    """Neighbouring bytes of one shard. end: the first byte of the file that does not belong to it."""

    shard_id: int
    end: int
    spans: Tuple[Span, ...]


class Finding(NamedTuple):
    """Something that is wrong; sorted as it is told. place: of the entry.

    detail: about that entry, or a whole sentence about the file.
    """

    rank: int
    shard_id: int
    offset: int
    place: int
    reason: Reason
    detail: str


class Readings(NamedTuple):
    """What reading has found.

    tensors: how many have the bytes that the index says. is_from_disk: no byte came out of the kernel's cache.
    """

    findings: Sequence[Finding]
    tensors: int
    bytes_read: int
    is_from_disk: bool


class _Part(NamedTuple):
    start: int
    size_bytes: int
    crc: int
    counts: finite.Counts


class _StoppedError(Exception):
    """Another thread has ended the reading."""


def plan_jobs(entries: Sequence[Entry], job_bytes: int) -> Iterator[Job]:
    """The entries, which are sorted by where they lie, as jobs of about `job_bytes` each."""
    spans: List[Span] = []
    shard_id = begin = end = 0
    for index, entry in enumerate(entries):
        if spans and (entry.shard_id != shard_id or entry.end - begin > job_bytes):
            yield Job(shard_id, end, tuple(spans))
            spans = []
        if entry.size_bytes > job_bytes and is_numeric(entry):
            for start in range(0, entry.size_bytes, job_bytes):
                stop = min(start + job_bytes, entry.size_bytes)
                yield Job(entry.shard_id, entry.offset + stop, (Span(index, start, stop),))
            continue
        if not spans:
            shard_id, begin, end = entry.shard_id, entry.offset, entry.end
        spans.append(Span(index, 0, entry.size_bytes))
        end = max(end, entry.end)  # an empty tensor may lie where one that is not begins
    if spans:
        yield Job(shard_id, end, tuple(spans))


def describe(prefix: str, num_shards: int, entries: Sequence[Entry], finding: Finding) -> str:
    """The finding as a sentence."""
    if finding.rank == _FILE:
        return finding.detail
    path = shard_path(prefix, finding.shard_id, num_shards)
    return describe_damage(path, entries[finding.place], finding.detail)


class Reader:
    """One reading of the tensors of one checkpoint."""

    def __init__(
        self,
        prefix: str,
        statuses: Sequence[FileStatus],
        entries: Sequence[Entry],
        *,
        threads: int,
        look_for_nan: bool,
        bypass_cache: bool,
        on_read: Callable[[int], None],
    ) -> None:
        """statuses: of each data file. entries: sorted by where they lie. on_read: told of bytes read so far."""
        self._prefix = prefix
        self._statuses = statuses
        self._entries = entries
        jobs = plan_jobs(entries, REMOTE_JOB_BYTES if is_url(prefix) else JOB_BYTES)
        first = list(islice(jobs, min(threads, MAX_THREADS)))  # a thread without one of these would find no work
        self._jobs = chain(first, jobs)
        self._threads = max(1, len(first))
        self._bypass_cache = self._is_from_disk = bypass_cache
        self._on_read = on_read
        self._counters = finite.counters(entries) if look_for_nan else {}
        self._lock = threading.Lock()
        self._stop = False
        self._bytes_read = [0] * self._threads
        self._findings: List[Finding] = []
        self._parts: Dict[int, List[_Part]] = {}
        self._broken: Dict[int, Finding] = {}
        self._tensors = 0

    def read(self) -> Readings:
        """Reads everything once. Whatever `on_read` raises ends it."""
        if self._threads == 1:
            self._work(0)
        else:
            self._work_together()
        findings = [found for found in self._findings if not self._is_behind_fault(found)]
        return Readings(
            sorted([*findings, *self._broken.values()]), self._tensors, sum(self._bytes_read), self._is_from_disk
        )

    # -- threads

    def _work_together(self) -> None:
        failures: List[BaseException] = []
        ended = threading.Event()
        left = [self._threads]

        def work(number: int) -> None:
            try:
                self._work(number)
            except _StoppedError:
                pass
            except BaseException as error:  # raised again below, in the caller's thread
                failures.append(error)
                self._stop = True
            with self._lock:
                left[0] -= 1
                if not left[0]:
                    ended.set()

        threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(self._threads)]
        for thread in threads:
            thread.start()
        try:
            while not ended.wait(_REPORT_S):
                self._on_read(sum(self._bytes_read))
        finally:
            self._stop = True
            for thread in threads:
                thread.join()
        if failures:
            raise failures[0]
        self._on_read(sum(self._bytes_read))

    def _work(self, number: int) -> None:
        """Takes jobs until there are none. Keeps one data file open at a time."""
        count = self._count_alone if self._threads == 1 else self._count_together

        def on_read(bytes_read: int) -> None:
            self._bytes_read[number] += bytes_read
            count()

        with ExitStack() as stack:
            shard: Optional[Shard] = None
            shard_id = -1
            while True:
                with self._lock:
                    job = next(self._jobs, None)
                if job is None:
                    return
                if job.shard_id in self._broken:
                    continue
                try:
                    if shard is None or job.shard_id != shard_id:
                        stack.close()
                        shard = stack.enter_context(self._open(job.shard_id))
                        shard.on_read, shard_id = on_read, job.shard_id
                    shard.reads_end = job.end
                    self._do(job, shard)
                    if not shard.is_from_disk:
                        self._is_from_disk = False
                except BundleError as error:
                    self._break(job, error)

    def _open(self, shard_id: int) -> Shard:
        return Shard(
            self._prefix,
            shard_id,
            len(self._statuses),
            status=self._statuses[shard_id],
            bypass_cache=self._bypass_cache,
        )

    def _count_alone(self) -> None:
        self._on_read(self._bytes_read[0])

    def _count_together(self) -> None:
        if self._stop:
            raise _StoppedError

    # -- one job

    def _do(self, job: Job, shard: Shard) -> None:
        good = 0
        for span in job.spans:
            entry = self._entries[span.place]
            if is_numeric(entry):
                good += self._read_numbers(shard, entry, span)
                continue
            what = what_is_wrong(shard, entry)
            if what is None:
                good += 1
            else:
                self._found(_BYTES, span.place, Reason.CORRUPT, what)
        with self._lock:
            self._tensors += good

    def _read_numbers(self, shard: Shard, entry: Entry, span: Span) -> bool:
        """Reads numbers; whether a whole tensor was read and is right."""
        counter = self._counters.get(entry.dtype)
        size_bytes = span.stop - span.start
        crc = nan = inf = 0
        if counter is None:
            for piece in shard.pieces(entry.offset + span.start, size_bytes):
                crc = crc32c(piece, crc)
        else:
            for piece in shard.pieces(entry.offset + span.start, size_bytes, _MAX_ELEMENT_BYTES):
                crc = crc32c(piece, crc)
                found = counter(piece)
                if found is not finite.NONE:
                    nan, inf = nan + found.nan, inf + found.inf
        if size_bytes == entry.size_bytes:
            return self._judge(entry, span.place, crc, nan, inf)
        part = _Part(span.start, size_bytes, crc, finite.Counts(nan, inf))
        with self._lock:
            parts = self._parts.setdefault(span.place, [])
            parts.append(part)
            if sum(each.size_bytes for each in parts) < entry.size_bytes:
                return False
            del self._parts[span.place]
        return self._judge(entry, span.place, *_whole(parts))

    def _judge(self, entry: Entry, index: int, crc: int, nan: int, inf: int) -> bool:
        what = what_differs(entry, crc)
        if what is not None:
            self._found(_BYTES, index, Reason.CORRUPT, what)
            return False
        if nan or inf:
            detail = finite.in_words(finite.Counts(nan, inf), entry.elements, entry.dtype)
            self._found(_VALUES, index, Reason.NOT_FINITE, detail)
        return True

    def _found(self, rank: int, index: int, reason: Reason, detail: str) -> None:
        entry = self._entries[index]
        with self._lock:
            self._findings.append(Finding(rank, entry.shard_id, entry.offset, index, reason, detail))

    # -- files with a fault of their own

    def _break(self, job: Job, error: BundleError) -> None:
        """The file itself has a fault: the tensors behind this place would only say so again."""
        span = job.spans[0]
        offset = self._entries[span.place].offset + span.start
        fault = Finding(_FILE, job.shard_id, offset, span.place, error.reason, error.detail)
        with self._lock:
            self._broken[job.shard_id] = min(fault, self._broken.get(job.shard_id, fault))

    def _is_behind_fault(self, found: Finding) -> bool:
        """Whether it was found only because another thread was faster than the one that met the file's fault."""
        fault = self._broken.get(found.shard_id)
        return fault is not None and found.offset > fault.offset


def in_parallel(ask: Callable[[_Question], _Answer], questions: Sequence[_Question], threads: int) -> List[_Answer]:
    """The answers, in the order of the questions. `ask` raises nothing that is to be expected."""
    if threads == 1 or len(questions) < 2:
        return [ask(question) for question in questions]
    from concurrent.futures import ThreadPoolExecutor  # takes a while to import; only an object store needs it

    with ThreadPoolExecutor(min(threads, MAX_THREADS)) as pool:
        return list(pool.map(ask, questions))


#: Pieces hold whole elements of every type.
_MAX_ELEMENT_BYTES = 16


def _whole(parts: List[_Part]) -> Tuple[int, int, int]:
    """Checksum, NaN and Inf of a tensor that was read in parts."""
    crc = nan = inf = 0
    for part in sorted(parts):
        crc = combine(crc, part.crc, part.size_bytes)
        nan, inf = nan + part.counts.nan, inf + part.counts.inf
    return crc, nan, inf
