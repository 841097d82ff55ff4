"""What follows from a run as it is: judge and planner by turns, until neither has more to say.

Pure, like the two, which are given to it. Nothing is recorded and nothing told here; and a fault of either is a value:
what was decided before it stands, and what it was about to say is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from lastgood.manifest import Manifest
from lastgood_controller.events import (
    Event,
    Quarantined,
    VerdictReached,
)
from lastgood_controller.fold import (
    apply,
)
from lastgood_controller.model import (
    Run,
)
from lastgood_controller.step import Step

Judge = Callable[[Run, Mapping[str, Manifest], float], "tuple[VerdictReached | Quarantined, ...]"]
Decide = Callable[[Run, float], Step]

#: Rounds of judging and planning after which they count as never ending.
MAX_ROUNDS = 200


class CoreError(Exception):
    """Judge or planner did what they must not."""


@dataclass(frozen=True)
class Fault:
    """Who of the two failed, `judge` or `decide`, and how."""

    where: str
    error: Exception


@dataclass(frozen=True)
class Decided:
    """events: all that follows, in this order. outcome: what is waited for then, or why deciding broke off."""

    events: tuple[Event, ...]
    outcome: Step | Fault


def decide_all(run: Run, manifests: Mapping[str, Manifest], now_s: float, judge: Judge, decide: Decide) -> Decided:
    """Everything that follows from a run at one time. A round in which one of the two raises leaves nothing behind."""
    decided: list[Event] = []
    for _ in range(MAX_ROUNDS):
        where = "judge"
        try:
            judged = judge(run, manifests, now_s)
            judged_run = applied(run, judged, now_s)
            where = "decide"
            step = decide(judged_run, now_s)
            run = applied(judged_run, step.decisions, now_s)
        except Exception as error:
            return Decided(tuple(decided), Fault(where, error))
        decided += [*judged, *step.decisions]
        if not judged and not step.decisions:
            return Decided(tuple(decided), step)
    endless = CoreError(f"judge and planner do not come to an end within {MAX_ROUNDS} rounds")
    return Decided((), Fault("decide", endless))


def applied(run: Run, events: Iterable[Event], at_s: float) -> Run:
    """The run after these events."""
    for event in events:
        run = apply(run, event, at_s)
    return run


def each_applied(run: Run, events: Iterable[Event], at_s: float) -> Iterator[tuple[Run, Event, Run]]:
    """Each event with the run before and after it."""
    for event in events:
        before, run = run, apply(run, event, at_s)
        yield before, event, run
