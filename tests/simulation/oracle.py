"""What must hold after each event of a simulated run. The numbers are those of docs/failure-model.md#invariants.

The oracle keeps its own books: it never asks the modules that it checks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from lastgood.reasons import Reason
from lastgood_controller import plan
from lastgood_controller.desired import desired_state
from lastgood_controller.events import (
    AttemptFailed,
    Event,
    PlanDecided,
    ReceiptGiven,
    SaveReported,
    TrainerChanged,
    WorkerLeaving,
)
from lastgood_controller.model import (
    PlanKind,
    Purpose,
    Run,
    SaveId,
    Standing,
)
from lastgood_controller.pins import Word
from lastgood_controller.step import Step

if TYPE_CHECKING:
    from tests.simulation.world import World


class Oracle:
    """The invariants, and the books that they need."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.parents: dict[SaveId, SaveId | None] = {}
        self.abandoned: set[SaveId] = set()
        self.starts: dict[int, SaveId | None] = {}
        self.newest_of: dict[int, SaveId] = {}

    def check(self, before: Run, event: Event, after: Run) -> None:
        """Called after each event that was applied."""
        match event:
            case SaveReported():
                self._note_save(event.save)
                self._nothing_old_changes_the_newest(before, event.save.attempt, after)
            case TrainerChanged():
                self._nothing_old_changes_the_newest(before, event.trainer.attempt, after)
            case ReceiptGiven():
                self._nothing_old_changes_the_newest(before, event.attempt, after)
            case WorkerLeaving():
                self._nothing_old_changes_the_newest(before, event.attempt, after)
            case AttemptFailed():
                self._check_budget(before, event, after)
            case PlanDecided():
                self._check_plan(before, event)
            case _:
                pass

    def check_step(self, step: Step) -> None:
        """9: every wait has a finite deadline ahead, and deciding is a function."""
        now_s = self.world.now_s
        assert step.deadline_s is None or (step.deadline_s > now_s and math.isfinite(step.deadline_s)), step
        assert plan.decide(self.world.run, now_s) == step

    def check_start(self, attempt: int) -> None:
        """8: no trainer starts beside one of an older attempt."""
        others = [w.trainer for w in self.world.workers.values() if w.trainer is not None]
        assert all(other.attempt >= attempt for other in others), f"attempt {attempt} starts beside {others}"

    def check_rotation(self, word: Word | None, rotate: Callable[[], None]) -> None:
        """14: what the hooks were told to be good, and was there, is there after rotation."""
        good = [(each.prefix, each.manifest_digest) for each in (word.good if word is not None else ())]
        there = [each for each in good if self._is_there(*each)]
        rotate()
        gone = [prefix for prefix, digest in there if not self._is_there(prefix, digest)]
        assert gone == [], "14: a good checkpoint was rotated away"

    def _is_there(self, prefix: str, digest: str) -> bool:
        found = self.world.find(prefix, digest)
        return found is not None and found.manifest.digest == digest

    def check_end(self) -> None:
        """After a run: no Good checkpoint whose workers' values are known to differ."""
        for checkpoint in self.world.run.checkpoints.values():
            if checkpoint.verdict.standing is Standing.GOOD:
                assert len({report.manifest_digest for report in checkpoint.reports.values()}) == 1, checkpoint

    def _note_save(self, save: SaveId) -> None:
        if save in self.parents:
            return
        newest = self.newest_of.get(save.attempt)
        self.parents[save] = newest if newest is not None else self.starts.get(save.attempt)
        self.newest_of[save.attempt] = save
        if any(planned > save.attempt for planned in self.starts):
            self.abandoned.add(save)

    def _nothing_old_changes_the_newest(self, before: Run, number: int, after: Run) -> None:
        """7: what is told about an older attempt changes nothing of the newest."""
        if before.attempt is not None and number < before.attempt.number:
            assert after.attempt == before.attempt

    def _check_budget(self, before: Run, event: AttemptFailed, after: Run) -> None:
        """13: a preemption that was announced spends no budget, and everything else but a person's wish does."""
        is_free = event.failure.cause.reason in (Reason.PREEMPTED, Reason.INTERRUPTED)
        assert after.failures_in_a_row - before.failures_in_a_row == (0 if is_free else 1), event

    def _check_plan(self, before: Run, event: PlanDecided) -> None:
        attempt = before.attempt_numbered(event.attempt)
        assert attempt is not None, "1: a plan is of an attempt"
        assert attempt is before.attempt, "1: a plan is of the newest attempt"
        assert attempt.plan is None, "1: one plan per attempt"
        orders = {str(desired_state(self.world.run, member).plan) for member in self.world.members}
        assert len(orders) == 1, "6: every worker has the same plan"
        if event.plan.kind is PlanKind.FRESH:
            self._check_fresh(before, event)
        for planned in event.plan.series:
            if event.plan.kind is PlanKind.RESTORE:
                self._check_restore(before, planned.save, event.attempt, attempt.opened_s)
            assert not [
                each.save
                for each in before.checkpoints.values()
                if each.quarantine is not None
                and planned.manifest_digest in {report.manifest_digest for report in each.reports.values()}
            ], "4: no quarantined digest is planned"
            start = planned.save
            if event.plan.kind is PlanKind.ADOPT:
                self._check_adopted(before, planned.manifest_digest)
                self.parents[start] = None
            self._note_start(event.attempt, start)
        if event.plan.kind is PlanKind.FRESH:
            self._note_start(event.attempt, None)

    def _check_restore(self, before: Run, save: SaveId, attempt: int, opened_s: float) -> None:
        checkpoint = before.checkpoints[save]
        assert checkpoint.verdict.standing is Standing.GOOD, "2: a plan names a Good checkpoint"
        assert checkpoint.verification is not None, "2: a plan names a checkpoint that was read"
        task = before.tasks[checkpoint.verification.task_id]
        assert (task.purpose, task.attempt) == (Purpose.REREAD, attempt), "2: read once more for this attempt"
        assert checkpoint.verification.at_s >= opened_s, "2: read after the failure"
        assert not checkpoint.verification.faults, "2: found whole"
        assert save not in self.abandoned, "3: no abandoned branch is planned"

    def _check_adopted(self, before: Run, digest: str) -> None:
        known = [
            save
            for save, each in before.checkpoints.items()
            if digest in {report.manifest_digest for report in each.reports.values()}
        ]
        assert not known or any(save not in self.abandoned for save in known), "3: no abandoned branch is adopted"

    def _check_fresh(self, before: Run, event: PlanDecided) -> None:
        attempt = before.attempt_numbered(event.attempt)
        assert attempt is not None
        if attempt.listings:
            whole = [file for file in (*self.world.disk.values(), *self.world.pinned.values()) if file.is_whole]
            assert whole == [], "5: never fresh beside a whole one"

    def _note_start(self, attempt: int, start: SaveId | None) -> None:
        self.starts[attempt] = start
        ancestors: set[SaveId] = set()
        at = start
        while at is not None and at not in ancestors:
            ancestors.add(at)
            at = self.parents.get(at)
        self.abandoned |= {save for save in self.parents if save not in ancestors and save.attempt < attempt}
