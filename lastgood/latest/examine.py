"""Reads a directory of checkpoints for `decide` to judge: names, state file, and the checkpoints' bytes.

Reads no more checkpoints than needed: the newest first, until one is whole. Changes nothing; `repair` does.
"""

import os
import posixpath
from dataclasses import dataclass, replace
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from lastgood.bundle.files import is_url, local_path, read_whole
from lastgood.directory import list_checkpoints
from lastgood.errors import BundleError, MissingFileError, describe
from lastgood.latest import decide
from lastgood.latest.decide import Answer, Candidate, Judged, Standing, TensorFlowSays, Verdict
from lastgood.latest.leftovers import Left, Seen, leftovers
from lastgood.latest.path_patterns import finds
from lastgood.latest.state_file import MAX_STATE_FILE_BYTES, STATE_FILE, State, salvage
from lastgood.pins import Pin, list_pins
from lastgood.reasons import UNDECIDED, Reason
from lastgood.verify import Verification

#: How many series a sentence names.
_NAMED_SERIES = 8

#: Reads one checkpoint's bytes.
Verify = Callable[[str], Verification]


@dataclass(frozen=True)
class Examination:
    """What was found in a directory.

    content: of the state file; None where there is none that can be read.
    judged: the checkpoints that may be the newest, newest first, TensorFlow's answer among them.
    times_are_right: False where the order is that of the state file, since the files' times are not those of the saves.
    series: the names (`ckpt`) that the candidates share. digest: of the newest whole one, "" where there is none.
    """

    directory: str
    content: Optional[bytes]
    says: TensorFlowSays
    judged: Tuple[Judged, ...]
    answer: Answer
    left: Tuple[Left, ...]
    times_are_right: bool
    series: Tuple[str, ...]
    digest: str = ""

    @property
    def state(self) -> State:
        """What the state file says, or what is left of a damaged one."""
        return self.says.state or salvage(self.content or b"")


def examine(
    directory: str, verify: Verify, series: Optional[str] = None, reads_all_listed: bool = False
) -> Examination:
    """Looks at a directory and reads its checkpoints, newest first, until one is whole.

    series: look at the checkpoints of that name alone; by default at those that the state file names.
    reads_all_listed: also read every checkpoint that the state file lists.
    Raises BundleError: UNREADABLE when the directory cannot be read, INCOMPLETE when nothing of `series` lies there and
    something else does, UNSUPPORTED for a URL and for a state file that is too large.
    """
    directory = local_path(directory)
    if is_url(directory):
        detail = "{} is not a local directory; `lastgood verify` reads what is in an object store".format(directory)
        raise BundleError(Reason.UNSUPPORTED, detail)
    seen = _see(directory)
    content, hindrance = _read_state(directory)
    says = decide.tensorflow_says(directory, content, finds, hindrance)
    candidates, listed = _candidates(directory, content, says, series)
    noted = _same(candidates, says.prefix or (listed[-1] if listed else None))
    ordered = decide.newest_first(candidates, noted.prefix if noted else None)
    judged, digest = _read(ordered, verify, says.prefix, reads_all_listed)
    answer = decide.answer(says, judged)
    if answer.verdict is not Verdict.AGREES:
        answer = replace(answer, why=(*answer.why, *_of_pins(directory, answer.newest, verify, series)))
    return Examination(
        directory=directory,
        content=content,
        says=says,
        judged=judged,
        answer=answer,
        left=leftovers(seen, {posixpath.basename(path) for path in listed}),
        times_are_right=decide.are_times_right(candidates, noted.prefix if noted else None),
        series=tuple(sorted({decide.series_of(candidate.prefix) for candidate in candidates})),
        digest=digest,
    )


def read_state_bytes(directory: str) -> Optional[bytes]:
    """What the state file holds; None where TensorFlow reads nothing either (missing, a directory, no permission).

    Raises BundleError(UNSUPPORTED) for one that is too large to be read whole, as TensorFlow would.
    """
    return _read_state(directory)[0]


def _read_state(directory: str) -> Tuple[Optional[bytes], str]:
    """What the state file holds; or why it cannot be read, "" where there is none."""
    path = os.path.join(directory, STATE_FILE)
    try:
        content = read_whole(path, "the state file", MAX_STATE_FILE_BYTES + 1)
    except MissingFileError:
        return None, ""
    except BundleError as error:
        return None, error.detail
    if len(content) > MAX_STATE_FILE_BYTES:
        detail = "{} has more than {} bytes, and no more are read".format(path, MAX_STATE_FILE_BYTES)
        raise BundleError(Reason.UNSUPPORTED, detail)
    return content, ""


def _see(directory: str) -> List[Seen]:
    """Everything in the directory. Raises BundleError(UNREADABLE), for a missing one too."""
    try:
        with os.scandir(directory) as entries:
            return [Seen(entry.name, *_kind_and_size(entry)) for entry in entries]
    except (OSError, ValueError) as error:
        raise BundleError(Reason.UNREADABLE, "{} cannot be read: {}".format(directory, describe(error))) from error


def _kind_and_size(entry: "os.DirEntry[str]") -> Tuple[bool, int]:
    try:
        if not entry.is_dir():
            return False, entry.stat().st_size
        with os.scandir(entry.path) as inside:
            return True, sum(file.stat().st_size for file in inside if file.is_file())
    except OSError:  # gone meanwhile, or not ours to read
        return entry.is_dir(follow_symlinks=False), 0


def _candidates(
    directory: str, content: Optional[bytes], says: TensorFlowSays, series: Optional[str]
) -> Tuple[List[Candidate], Tuple[str, ...]]:
    """The checkpoints that may be the newest, and the paths that the state file lists."""
    here = {c.prefix: Candidate(c.prefix, c.mtime_s, c.save_number) for c in list_checkpoints(directory, False)}
    names = {posixpath.basename(prefix) for prefix in here}
    listed = decide.listed_paths(directory, says, content, names)
    series_here = {decide.series_of(prefix) for prefix in here}
    if series and here and series not in series_here:
        raise BundleError(Reason.INCOMPLETE, _no_such_series(directory, series, sorted(series_here)))
    named = {decide.series_of(path) for path in listed} & series_here
    names_of_series = {series} if series else named  # none: what the state file says names nothing here
    found: Dict[str, Candidate] = {
        prefix: candidate
        for prefix, candidate in here.items()
        if candidate.save_number is not None and (not names_of_series or decide.series_of(prefix) in names_of_series)
    }
    by_path = {posixpath.normpath(prefix): candidate for prefix, candidate in here.items()}
    for path in listed if not series else ():
        known = by_path.get(posixpath.normpath(path)) or _elsewhere(path, path == says.prefix)
        if known is not None:
            found[known.prefix] = known
    if says.prefix is not None and _same(list(found.values()), says.prefix) is None:
        found[says.prefix] = _elsewhere(says.prefix, True) or Candidate(says.prefix, 0.0)
    spelled = [
        Candidate(says.prefix or "", c.time_s, c.save_number) if _is_same(c.prefix, says.prefix) else c
        for c in found.values()
    ]
    timestamps_s = (says.state or salvage(content or b"")).timestamps_s
    return decide.with_list(spelled, listed, timestamps_s), listed


def _no_such_series(directory: str, series: str, names: Sequence[str]) -> str:
    return "no checkpoint of the series {} lies in {}; those there are called {}".format(
        series, directory, ", ".join(names[:_NAMED_SERIES]) + (", ..." if len(names) > _NAMED_SERIES else "")
    )


def _elsewhere(prefix: str, is_answer: bool) -> Optional[Candidate]:
    """A checkpoint in another directory, by its index's time; TensorFlow's answer by that of whatever lies there."""
    for path in (prefix + ".index", prefix) if is_answer else (prefix + ".index",):
        try:
            return Candidate(prefix, os.stat(path).st_mtime)
        except (OSError, ValueError):
            continue
    return None


def _is_same(prefix: str, other: Optional[str]) -> bool:
    return other is not None and decide.is_same_path(prefix, other)


def _same(candidates: Sequence[Candidate], prefix: Optional[str]) -> Optional[Candidate]:
    return next((candidate for candidate in candidates if _is_same(candidate.prefix, prefix)), None)


def _read(
    ordered: Sequence[Candidate], verify: Verify, answer: Optional[str], reads_all_listed: bool
) -> Tuple[Tuple[Judged, ...], str]:
    """Each candidate with what is known about it, and the digest of the newest whole one."""
    judged: List[Judged] = []
    digest = ""
    for candidate in ordered:
        if digest and not (reads_all_listed and candidate.position is not None):
            judged.append(Judged(candidate))
            continue
        found = verify(candidate.prefix)
        judged.append(_judged(candidate, found))
        if not digest and judged[-1].standing is Standing.WHOLE:
            digest = found.digest
    return tuple(judged), digest


def _judged(candidate: Candidate, found: Verification) -> Judged:
    if found.is_whole:
        return Judged(candidate, Standing.WHOLE)
    first = found.faults[0]
    is_open = all(fault.reason in UNDECIDED for fault in found.faults)
    return Judged(candidate, Standing.UNKNOWN if is_open else Standing.BAD, first.reason.value, first.detail)


def _of_pins(directory: str, newest: Optional[Judged], verify: Verify, series: Optional[str]) -> Tuple[str, ...]:
    """What to do where a checkpoint that was saved after the newest whole one is whole in its pin alone."""
    try:
        pins = [pin for pin in list_pins(directory) if series in (None, decide.series_of(pin.own_prefix))]
        found = sorted(((_saved_s(pin), pin) for pin in pins), key=lambda timed: timed[0], reverse=True)
    except OSError:  # let go meanwhile, or not ours to read
        return ()
    for saved_s, pin in found:
        if newest is not None and (saved_s <= newest.candidate.time_s or _is_same(pin.own_prefix, newest.prefix)):
            continue
        if verify(pin.prefix).is_whole:
            taken = " in the place of the files that have its name" if os.path.exists(pin.own_prefix + ".index") else ""
            sentence = (
                "{} is whole in its pin, {}: start the training with lastgood, which goes on from it; or copy the "
                "pin's files to {}{}, then `lastgood latest --repair`"
            )
            return (sentence.format(pin.own_prefix, os.path.dirname(pin.prefix), directory, taken),)
    return ()


def _saved_s(pin: Pin) -> float:
    """When it was saved, by its data files, which are the checkpoint's own. Raises OSError."""
    place = os.path.dirname(pin.prefix)
    return max([0.0, *(os.stat(os.path.join(place, name)).st_mtime for name in os.listdir(place) if ".data-" in name)])
