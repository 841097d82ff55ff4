"""Which checkpoints the gang's present weights descend from: the current lineage, newest first.

Each attempt records what it started from. Walking back from the newest attempt, through its saves, to the checkpoint
that it started from, to the saves that were made before that one, and so on, meets every checkpoint that may be planned
again, and none of an abandoned branch. Nothing here judges a checkpoint.

An attempt without a plan is passed through: it failed before it was told what to restore, or it was observed only.
"""

from __future__ import annotations

from collections.abc import Iterator

from lastgood_controller.model import (
    Attempt,
    Checkpoint,
    PlanKind,
    PlannedSeries,
    Run,
    SaveId,
    SeriesId,
)

#: The attempt number of checkpoints that no attempt of this run has written.
ADOPTED = 0


def is_same_stream(one: SeriesId, other: SeriesId) -> bool:
    """An empty signature is a directory that was asked for before any object was: it stands for every series."""
    return one == other or not one.signature or not other.signature


def planned_for(attempt: Attempt, series: SeriesId) -> PlannedSeries | None:
    """What the attempt's plan says for a series; an exact match before a wildcard."""
    planned = attempt.plan.series if attempt.plan is not None else ()
    exact = next((each for each in planned if each.series == series), None)
    return exact or next((each for each in planned if is_same_stream(each.series, series)), None)


def directory_of(prefix: str) -> str:
    """The directory of a prefix; "" when it names none."""
    return prefix.rpartition("/")[0]


def saved_directories(run: Run, series: SeriesId) -> set[str]:
    """Every directory into which a member has saved this series, in any attempt."""
    return {
        directory_of(report.prefix)
        for save, checkpoint in run.checkpoints.items()
        if save.series == series
        for report in checkpoint.reports.values()
    }


def streams(run: Run) -> tuple[SeriesId, ...]:
    """Every series that attempts of this run have saved or were planned for, in a stable order."""
    numbers = {attempt.number for attempt in run.attempts}
    found = {save.series for save in run.checkpoints if save.attempt in numbers}
    found |= {each.series for attempt in run.attempts if attempt.plan for each in attempt.plan.series}
    named = sorted(series for series in found if series.signature)
    return tuple(named or sorted(found))


def is_observed(run: Run, series: SeriesId) -> bool:
    """Whether a series is saved by means whose restores cannot be steered."""
    return any(
        report.observed
        for save, checkpoint in run.checkpoints.items()
        if save.series == series
        for report in checkpoint.reports.values()
    )


def line(run: Run, series: SeriesId) -> tuple[Checkpoint, ...]:
    """The current lineage of one series, newest first, whatever the verdicts."""
    return tuple(walk(run, series))


def walk(run: Run, series: SeriesId) -> Iterator[Checkpoint]:
    """The same, as far as somebody asks."""
    attempts = {attempt.number: attempt for attempt in run.attempts}
    numbers = sorted(attempts, reverse=True)
    below: int | None = None
    while numbers:
        number = numbers.pop(0)
        yield from _saves(run, series, number, below)
        below = None
        plan = attempts[number].plan
        if plan is None:
            continue
        start = _start(run, attempts[number], series)
        if plan.kind is PlanKind.FRESH or start is None:
            break
        if start.save in run.checkpoints:
            yield run.checkpoints[start.save]
        if start.save.attempt == ADOPTED:
            break
        numbers = [earlier for earlier in numbers if earlier < start.save.attempt]
        numbers.insert(0, start.save.attempt)
        below = start.save.ordinal
        if start.save.attempt not in attempts:
            break


def _start(run: Run, attempt: Attempt, series: SeriesId) -> PlannedSeries | None:
    """What the attempt's plan says for a series. A wildcard is meant for what lies in its directories."""
    start = planned_for(attempt, series)
    if start is None or start.series == series:
        return start
    own = saved_directories(run, series)
    return start if not own or own & set(start.directories) else None


def candidates(run: Run) -> tuple[Checkpoint, ...]:
    """Every checkpoint on the current lineage, newest first, one series after the other."""
    return tuple(checkpoint for series in streams(run) for checkpoint in line(run, series))


def predecessors(run: Run, save: SaveId) -> tuple[Checkpoint, ...]:
    """What the weights of one save descend from, newest first: also for a save that has been abandoned since."""
    earlier = [attempt for attempt in run.attempts if attempt.number <= save.attempt]
    history = Run(run.run_id, run.job, attempts=tuple(earlier), checkpoints=run.checkpoints)
    found = line(history, save.series)
    return tuple(c for c in found if c.save.attempt != save.attempt or c.save.ordinal < save.ordinal)


def _saves(run: Run, series: SeriesId, attempt: int, below: int | None) -> list[Checkpoint]:
    saves = [
        checkpoint
        for save, checkpoint in run.checkpoints.items()
        if save.attempt == attempt and save.series == series and (below is None or save.ordinal < below)
    ]
    return sorted(saves, key=lambda checkpoint: checkpoint.save.ordinal, reverse=True)
