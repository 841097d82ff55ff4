"""Which saves the chief's hooks hold against rotation, and which save is read next. Judges nothing.

The hooks hold by themselves, and tell with each save what they hold: nothing here waits for them. What is held is not
gone when rotation removes it.

One save of a series is read at a time: first the one that the hooks hold until it is decided, which is there for as
long as that takes; then the newest. One that nobody holds comes last, when there is nothing else to read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lastgood_controller.model import (
    Checkpoint,
    Run,
    SaveId,
    SaveReport,
    SeriesId,
)


def newest_saves(run: Run) -> Mapping[SeriesId, SaveId]:
    """Of each series the newest save that the chief has reported."""
    newest: dict[SeriesId, SaveId] = {}
    for save, checkpoint in run.checkpoints.items():
        if run.chief in checkpoint.reports and save.attempt > 0:
            former = newest.get(save.series)
            if former is None or _age(save) > _age(former):
                newest[save.series] = save
    return newest


def newest_reports(run: Run) -> Mapping[SeriesId, SaveReport]:
    """The chief's report of each of them."""
    chief = run.chief
    if chief is None:
        return {}
    return {series: run.checkpoints[save].reports[chief] for series, save in newest_saves(run).items()}


def held(run: Run) -> frozenset[SaveId]:
    """The saves that the chief holds, by its newest word on each series."""
    return frozenset(save for report in newest_reports(run).values() for save in report.held)


def is_gone(checkpoint: Checkpoint, held_now: frozenset[SaveId]) -> bool:
    """Its own files were removed, and nobody holds them."""
    return checkpoint.removed and checkpoint.save not in held_now


def reading_order(pending: Iterable[Checkpoint], held_now: frozenset[SaveId]) -> list[Checkpoint]:
    """Saves of one series that nobody reads yet, the next one first.

    The newest save is held as well, but only until the next one comes; what is held besides stays until it is decided.
    """
    newest_first = sorted(pending, key=lambda each: _age(each.save), reverse=True)
    kept = [each for each in newest_first[1:] if each.save in held_now]
    return [*kept, *(each for each in newest_first if each not in kept)]


def _age(save: SaveId) -> tuple[int, int]:
    return (save.attempt, save.ordinal)
