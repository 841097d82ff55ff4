"""What arrives for one pass of a run's loop: who wants what recorded, what of it is new, and what each is answered.

Knows neither store nor loop. Nobody is answered before the pass is on disk: a refusal, too, may rest on a fact that
came a moment earlier.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from lastgood.manifest import Manifest
from lastgood_controller.events import (
    Event,
)
from lastgood_controller.model import (
    Run,
)

#: An event and its report's id, or None.
Fact = tuple[Event, str | None]
#: What a submission records, given the run as it is when its turn comes.
Prepare = Callable[[Run], Sequence[Fact]]


@dataclass(frozen=True)
class Recorded:
    """Where an event stands in the journal. is_new: False when its report had been recorded before."""

    sequence: int
    is_new: bool


def _future() -> asyncio.Future[tuple[Recorded, ...]]:
    done: asyncio.Future[tuple[Recorded, ...]] = asyncio.get_running_loop().create_future()
    done.add_done_callback(_mark_seen)
    return done


def _mark_seen(done: asyncio.Future[tuple[Recorded, ...]]) -> None:
    """A dropped future's exception was somebody's answer that nobody waits for any more: not worth a warning."""
    if not done.cancelled():
        done.exception()


@dataclass
class Submission:
    """What somebody wants recorded, and waits for.

    done: the answer, which may be dropped.
    facts, refusal: what it comes to in the pass that takes it.
    """

    prepare: Prepare
    manifests: tuple[Manifest, ...]
    done: asyncio.Future[tuple[Recorded, ...]] = field(default_factory=_future)
    facts: Sequence[Fact] = ()
    refusal: Exception | None = None

    def answer(self, recorded: tuple[Recorded, ...]) -> None:
        if self.refusal is not None:
            self.refuse(self.refusal)
        elif not self.done.done():
            self.done.set_result(recorded)

    def refuse(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


@dataclass(frozen=True)
class Arrived:
    """What the submissions of one pass say.

    known: the places in the journal of those reports that are recorded already; None while nobody has looked. A report
    comes a second time so rarely that this is done only when the store refuses it.
    """

    submissions: Sequence[Submission]
    known: Mapping[str, int] | None = None

    @property
    def facts(self) -> Iterator[Fact]:
        return (fact for submission in self.submissions for fact in submission.facts)

    @cached_property
    def new(self) -> tuple[Fact, ...]:
        """The facts that are to be recorded. Of a report that comes twice, the first."""
        seen, new = set(self.known or ()), list[Fact]()
        for event, report_id in self.facts:
            if report_id is None or report_id not in seen:
                new.append((event, report_id))
            if report_id is not None:
                seen.add(report_id)
        return tuple(new)

    @cached_property
    def manifests(self) -> tuple[Manifest, ...]:
        return tuple(manifest for submission in self.submissions for manifest in submission.manifests)

    def answer(self, sequences: Sequence[int]) -> None:
        """Tells every sender; `sequences` are the places of what was new."""
        places, free = dict(self.known or {}), iter(sequences)
        for submission in self.submissions:
            recorded = []
            for _, report_id in submission.facts:
                if report_id is not None and report_id in places:
                    recorded.append(Recorded(places[report_id], is_new=False))
                    continue
                sequence = next(free)
                if report_id is not None:
                    places[report_id] = sequence
                recorded.append(Recorded(sequence, is_new=True))
            submission.answer(tuple(recorded))
