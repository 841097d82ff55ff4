"""What must outlive rotation, as the chief's hooks are told: they let go everything else that is decided. Pure.

What may be restored next is pinned, and what the present plan names until its attempt has a good save of its own, since
a variable that is born late takes its value from those files. Where several series are restored together, that is the
newest good one of each and those of the newest step that all have.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lastgood_controller import choice
from lastgood_controller.holding import held, newest_saves
from lastgood_controller.lineage import planned_for, streams, walk
from lastgood_controller.model import (
    Checkpoint,
    Run,
    SaveId,
    SeriesId,
    Standing,
)


@dataclass(frozen=True)
class PinnedSave:
    """A save that must outlive rotation. prefix: where its own files lie, or lay."""

    save: SaveId
    prefix: str
    manifest_digest: str


@dataclass(frozen=True)
class Word:
    """good: what must outlive rotation. undecided: held saves without a verdict. through: of each series the newest
    save that the chief has reported: what it has saved since is known to itself alone."""

    good: tuple[PinnedSave, ...] = ()
    undecided: tuple[SaveId, ...] = ()
    through: tuple[SaveId, ...] = ()


def word(run: Run) -> Word:
    """What the chief is told."""
    undecided = [
        save
        for save in held(run)
        if save in run.checkpoints and run.checkpoints[save].verdict.standing is Standing.PENDING
    ]
    return Word(tuple(_good(run)), tuple(sorted(undecided)), tuple(sorted(newest_saves(run).values())))


def _good(run: Run) -> Iterator[PinnedSave]:
    told: set[SaveId] = set()
    for checkpoint in _needed(run):
        report = checkpoint.primary(run.members)
        if report is not None and checkpoint.save not in told:
            told.add(checkpoint.save)
            yield PinnedSave(checkpoint.save, report.prefix, report.manifest_digest)


def _needed(run: Run) -> Iterator[Checkpoint]:
    known = streams(run)
    newest = {series: good for series in known if (good := _newest_good(run, series)) is not None}
    yield from newest.values()
    if len(newest) > 1:
        yield from choice.targets_to_restore(run)
    attempt = run.attempt
    if attempt is None or attempt.plan is None or not attempt.is_live:
        return
    for series in known:
        planned = planned_for(attempt, series)
        has_own = series in newest and newest[series].save.attempt == attempt.number
        if planned is not None and not has_own and planned.save in run.checkpoints:
            yield run.checkpoints[planned.save]


def _newest_good(run: Run, series: SeriesId) -> Checkpoint | None:
    return next((each for each in walk(run, series) if each.verdict.standing is Standing.GOOD), None)
