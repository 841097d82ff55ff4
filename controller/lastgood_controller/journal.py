"""A run's journal: one recorded event, and the fold of many.

Pure. It decides nothing: what an event does to a run is `model.apply`'s, which event may be recorded is `ingest`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lastgood_controller.events import (
    AttemptEnded,
    AttemptFailed,
    AttemptOpened,
    Event,
    RunOpened,
    SaveFailed,
    SaveReported,
    TrainerChanged,
    VerdictReached,
    VerifyAsked,
)
from lastgood_controller.fold import (
    apply,
    opened,
)
from lastgood_controller.model import (
    Run,
)


class JournalError(ValueError):
    """A journal that no controller can have written: its first event does not open a run."""


@dataclass(frozen=True)
class Entry:
    """One event as it was recorded. sequence: grows through all runs of a store. at_s: when it was received."""

    sequence: int
    at_s: float
    event: Event


def advance(run: Run | None, entry: Entry) -> Run:
    """The run after one more entry; None stands for a run of which nothing is known yet.

    Raises JournalError when the first entry is not a `RunOpened`.
    """
    if run is not None:
        return apply(run, entry.event, entry.at_s)
    if not isinstance(entry.event, RunOpened):
        raise JournalError(f"expected a journal to begin with RunOpened, found {type(entry.event).__name__}")
    return opened(entry.event, entry.at_s)


def fold(entries: Iterable[Entry]) -> Run | None:
    """The run that a journal tells; None for an empty one."""
    run: Run | None = None
    for entry in entries:
        run = advance(run, entry)
    return run


def steps(entries: Iterable[Entry]) -> Iterator[tuple[Run | None, Entry, Run]]:
    """Each entry with the run before and after it."""
    run: Run | None = None
    for entry in entries:
        after = advance(run, entry)
        yield run, entry, after
        run = after


def attempt_of(event: Event) -> int | None:
    """The attempt that an event is about; None for one that is about the run."""
    match event:
        case AttemptOpened() | AttemptFailed() | AttemptEnded():
            return event.number
        case SaveReported() | SaveFailed() | VerdictReached():
            return event.save.attempt
        case TrainerChanged():
            return event.trainer.attempt or None
        case VerifyAsked():
            return event.task.attempt or event.task.save.attempt
        case _:
            return getattr(event, "attempt", None)
