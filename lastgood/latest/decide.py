"""What TensorFlow would take for the latest checkpoint of a directory, which one really is, and why the two differ.

Decides only; `examine` reads the directory and the checkpoints' bytes. TensorFlow believes its state file and verifies
nothing. Here a checkpoint counts when every byte of it was read and found right; whether its values are finite is not
asked. The newest is the one that was saved last, not the one with the highest number: after a rollback `ckpt-3` is
saved again, and is newer than `ckpt-5`.
"""

import posixpath
import re
from dataclasses import dataclass, replace
from enum import Enum
from typing import Callable, Dict, List, Optional, Sequence, Set, Tuple

from lastgood.latest.state_file import Fault, State, StateFileError, parse, salvage

#: Between the writing of an index and the time in the state file lies the rest of a save, and two clocks' difference.
CLOCK_SLACK_S = 600.0

_SERIES = re.compile(r"-\d{1,18}\Z")
_INDEX = ".index"


class Outcome(str, Enum):
    """How `tf.train.latest_checkpoint` ends."""

    PREFIX = "Prefix"
    NONE = "None"
    RAISES = "Raises"


@dataclass(frozen=True)
class TensorFlowSays:
    """TensorFlow's answer.

    prefix: what it returns; None where it returns None or raises.
    error: the name of the exception; "" unless it raises one.
    why: what led to None or to the exception; "" for a prefix.
    manager_prefix: what a CheckpointManager takes for the latest: it does not look whether anything lies there.
    has_state_file: there is one that can be read, of use or not.
    state: what the state file says; None where TensorFlow cannot use it.
    """

    outcome: Outcome
    prefix: Optional[str] = None
    error: str = ""
    why: str = ""
    manager_prefix: Optional[str] = None
    has_state_file: bool = True
    state: Optional[State] = None


def tensorflow_says(
    directory: str, content: Optional[bytes], finds: Callable[[str], bool], hindrance: str = ""
) -> TensorFlowSays:
    """The answer of `tf.train.latest_checkpoint(directory)`.

    content: of the state file; None where there is none that can be read. finds: whether TensorFlow finds something at
    a path (`lastgood.latest.path_patterns.finds`). hindrance: why the state file cannot be read, where one is there.
    """
    if content is None:
        return TensorFlowSays(Outcome.NONE, why=hindrance or "there is no state file", has_state_file=False)
    try:
        state = parse(content)
    except StateFileError as error:
        if error.fault is Fault.UNPARSABLE:
            return TensorFlowSays(Outcome.NONE, why="the state file is damaged ({})".format(error.detail))
        why = "the state file is of no use ({})".format(error.detail)
        return TensorFlowSays(Outcome.RAISES, error=error.fault.value, why=why)
    prefix = posixpath.join(directory, state.latest)
    if finds(prefix + _INDEX) or finds(prefix):
        return TensorFlowSays(Outcome.PREFIX, prefix, manager_prefix=prefix, state=state)
    return TensorFlowSays(Outcome.NONE, why=_why_not_found(directory, state.latest), manager_prefix=prefix, state=state)


def _why_not_found(directory: str, latest: str) -> str:
    why = "the state file names {}, and nothing lies there".format(latest)
    if any(character in directory for character in "[\\"):
        return why + " for TensorFlow, which takes brackets and backslashes in a path for a pattern"
    if posixpath.isabs(latest) and not is_same_path(posixpath.dirname(latest), directory):
        return why + ": the directory was moved or copied, and that path is absolute"
    return why


def is_same_path(one: str, other: str) -> bool:
    """Whether two paths are spelled alike but for redundant separators and dots."""
    return posixpath.normpath(one) == posixpath.normpath(other)


# ------------------------------------------------------------------------------------------------------- which is newer


@dataclass(frozen=True)
class Candidate:
    """A checkpoint that may be the newest.

    time_s: when its index was last written. position: its place in the state file's list, None if it is not there.
    saved_s: when the state file says that it was saved, if it does.
    """

    prefix: str
    time_s: float
    save_number: Optional[int] = None
    position: Optional[int] = None
    saved_s: Optional[float] = None


def series_of(prefix: str) -> str:
    """The name that the checkpoints of one series share: `ckpt` of `/dir/ckpt-7`."""
    return _SERIES.sub("", posixpath.basename(prefix))


def listed_paths(directory: str, says: TensorFlowSays, content: Optional[bytes], names: Set[str]) -> Tuple[str, ...]:
    """The prefixes that the state file lists, oldest first, the latest one among them; of a damaged one what is left.

    names: of the checkpoints that lie in the directory. A path into a directory that is gone means the checkpoint of
    that name here: the directory was moved.
    """
    state = says.state or salvage(content or b"")
    found: List[str] = []
    for path in (*state.all_paths, *([state.latest] if state.latest and state.latest not in state.all_paths else [])):
        name = posixpath.basename(path)
        is_elsewhere = posixpath.isabs(path) and not is_same_path(posixpath.dirname(path), directory)
        moved = is_elsewhere and name in names and not is_same_path(path, says.prefix or "")
        found.append(posixpath.join(directory, name if moved else path))
    return tuple(found)


def are_times_right(candidates: Sequence[Candidate], latest: Optional[str]) -> bool:
    """Whether the index files' times are those of the saves; a copy that does not keep times makes them worthless.

    The state file tells: by the time that it notes for its latest checkpoint, or else by the order of its list, from
    which the very newest file may differ, since it may have been saved again and not been noted yet.
    """
    noted = [candidate for candidate in candidates if candidate.prefix == latest and candidate.saved_s is not None]
    if noted:
        return abs(noted[0].time_s - (noted[0].saved_s or 0.0)) <= CLOCK_SLACK_S
    listed = sorted((c for c in candidates if c.position is not None), key=lambda c: c.position or 0)
    newest_s = max((c.time_s for c in listed), default=0.0)
    others = [c.time_s for c in listed if c.time_s != newest_s]
    return others == sorted(others)


def newest_first(candidates: Sequence[Candidate], latest: Optional[str]) -> Tuple[Candidate, ...]:
    """The candidates in the order of their saves, by the files' times where these are right.

    Where they are not: in the order of the state file's list, and what it does not list by its number.
    """
    if are_times_right(candidates, latest):
        return tuple(sorted(candidates, key=_by_time, reverse=True))
    numbers = [c.save_number for c in candidates if c.position is not None and c.save_number is not None]
    highest = max(numbers, default=-1)

    def by_list(candidate: Candidate) -> Tuple[int, int]:
        number = -1 if candidate.save_number is None else candidate.save_number
        if candidate.position is not None:
            return 1, candidate.position
        return (2 if number > highest else 0), number

    return tuple(sorted(candidates, key=by_list, reverse=True))


def _by_time(candidate: Candidate) -> Tuple[float, int, int]:
    number = -1 if candidate.save_number is None else candidate.save_number
    return candidate.time_s, -1 if candidate.position is None else candidate.position, number


# --------------------------------------------------------------------------------------------------------- the verdict


class Standing(str, Enum):
    """What is known about a checkpoint's bytes."""

    WHOLE = "Whole"
    BAD = "Bad"
    UNKNOWN = "Unknown"
    UNREAD = "Unread"


class Verdict(str, Enum):
    """Whether TensorFlow's answer is the newest whole checkpoint."""

    AGREES = "Agrees"
    DIFFERS = "Differs"
    UNKNOWN = "Unknown"


@dataclass(frozen=True)
class Judged:
    """A candidate and what reading it found. detail: of the first fault; "" for a whole or unread one."""

    candidate: Candidate
    standing: Standing = Standing.UNREAD
    reason: str = ""
    detail: str = ""

    @property
    def prefix(self) -> str:
        return self.candidate.prefix


@dataclass(frozen=True)
class Answer:
    """verdict: is TensorFlow right. newest: the newest whole checkpoint, if any. why: sentences for people."""

    verdict: Verdict
    newest: Optional[Judged]
    why: Tuple[str, ...]


def answer(says: TensorFlowSays, judged: Sequence[Judged]) -> Answer:
    """What is to be thought of TensorFlow's answer.

    judged: all candidates, newest first, TensorFlow's own among them; read at least up to the first whole one.
    """
    newest = next((row for row in judged if row.standing is Standing.WHOLE), None)
    newer = list(judged[: judged.index(newest)] if newest else judged)
    is_open = any(row.standing is Standing.UNKNOWN for row in newer)
    taken = next((row for row in judged if row.prefix == says.prefix), None)
    why = _of_none(says) + [_why_not_it(row, row is taken) for row in newer]
    if newest is None:
        why.append("no whole checkpoint lies there" if judged else "no checkpoint lies there")
    if taken is not None and taken.standing is Standing.BAD:
        return Answer(Verdict.DIFFERS, newest, tuple(why))
    if newest is None:
        nothing_is_known = is_open or not (judged or says.has_state_file)
        return Answer(Verdict.UNKNOWN if nothing_is_known else Verdict.DIFFERS, None, tuple(why))
    if taken is newest:
        return Answer(Verdict.UNKNOWN if is_open else Verdict.AGREES, newest, tuple(why))
    if taken is not None and taken.standing is Standing.UNKNOWN:
        return Answer(Verdict.UNKNOWN, newest, tuple(why))
    return Answer(Verdict.DIFFERS, newest, (*why, *_why_not_taken(says, newest)))


def _why_not_it(row: Judged, is_taken: bool) -> str:
    if row.standing is Standing.UNKNOWN:
        return "{} cannot be judged ({}: {})".format(row.prefix, row.reason, row.detail)
    consequence = ": restoring it raises, at every start" if is_taken else ""
    return "{} is damaged ({}: {}){}".format(row.prefix, row.reason, row.detail, consequence)


def _of_none(says: TensorFlowSays) -> List[str]:
    """Why TensorFlow names nothing, and what a script makes of it."""
    if says.outcome is Outcome.PREFIX:
        return []
    consequence = "a crash at every start" if says.outcome is Outcome.RAISES else "training starts afresh, in silence"
    sentences = ["{}: {}".format(says.why, consequence)]
    if says.manager_prefix is not None:
        sentences.append("a CheckpointManager takes {} all the same, and fails".format(says.manager_prefix))
    return sentences


def _why_not_taken(says: TensorFlowSays, newest: Judged) -> List[str]:
    if newest.candidate.position is not None:
        if says.outcome is not Outcome.PREFIX:
            return []
        return ["{} is whole and was saved after {}".format(newest.prefix, says.prefix)]
    return ["{} is whole, and no state file points to it".format(newest.prefix)]


# -------------------------------------------------------------------------------------------------------------- repair


def repaired_state(
    directory: str, old: State, had_state: bool, judged: Sequence[Judged], newest: Judged, times_are_right: bool = True
) -> State:
    """The state file that names the newest whole checkpoint, so that a CheckpointManager goes on well.

    Its list holds what the old one listed and is not damaged, and the newest one, last. Nothing else: what is not
    listed is never rotated away. Times stay as they were noted; where the old file was damaged or missing, they are
    those of the index files; where a writer noted none, there are none, and a CheckpointManager then deletes none.

    judged: every listed candidate, read. old: what was parsed or salvaged. had_state: TensorFlow could use it.
    """
    listed = sorted(
        (row for row in judged if row.candidate.position is not None and row.standing is not Standing.BAD),
        key=lambda row: row.candidate.position or 0,
    )
    rows = [row for row in listed if row.prefix != newest.prefix] + [newest]
    keeps_times = bool(old.timestamps_s) or not had_state
    return State(
        latest=relative_path(directory, newest.prefix),
        all_paths=tuple(relative_path(directory, row.prefix) for row in rows),
        timestamps_s=tuple(_time_of(row, row is newest and times_are_right) for row in rows) if keeps_times else (),
        last_preserved_s=old.last_preserved_s,
    )


def _time_of(row: Judged, may_be_later: bool) -> float:
    """When it was saved. The newest one may have been saved again since its time was noted."""
    noted_s = row.candidate.saved_s
    if noted_s is None:
        return row.candidate.time_s
    is_later = may_be_later and row.candidate.time_s > noted_s + CLOCK_SLACK_S
    return row.candidate.time_s if is_later else noted_s


def relative_path(directory: str, prefix: str) -> str:
    """The prefix as a state file says it: by its name where it lies in the directory, else as it is."""
    if is_same_path(posixpath.dirname(prefix) or ".", directory or "."):
        return posixpath.basename(prefix)
    return prefix


def with_list(candidates: Sequence[Candidate], listed: Sequence[str], timestamps_s: Sequence[float]) -> List[Candidate]:
    """The candidates, each with its place in the state file's list and the time noted there."""
    places: Dict[str, int] = {}
    for place, path in enumerate(listed):
        places.setdefault(posixpath.normpath(path), place)

    def placed(candidate: Candidate) -> Candidate:
        place = places.get(posixpath.normpath(candidate.prefix))
        if place is None:
            return candidate
        return replace(candidate, position=place, saved_s=timestamps_s[place] if place < len(timestamps_s) else None)

    return [placed(candidate) for candidate in candidates]
