"""How long a gang trains on once somebody was told to end: only while there is something to win by it.

A worker that is preempted, or a run that is stopped, has some seconds left. What is trained meanwhile is lost with the
attempt, unless it is saved, and so is what was trained since the last save. So the gang goes on where the script
handles SIGTERM itself, or a save is being judged, or one is due in time; it is stopped as soon as such a save is Good.
Decides nothing about who is told to end, and makes nobody save: only the script knows where in its loop a save is whole
(docs/decisions/0025-no-save-that-the-script-did-not-make.md).
"""

from __future__ import annotations

from itertools import pairwise

from lastgood.reasons import Reason
from lastgood_controller.choice import targets_to_restore
from lastgood_controller.finding import Look
from lastgood_controller.model import (
    Attempt,
    Cause,
    Checkpoint,
    EndNotice,
    Failure,
    Run,
    SeriesId,
    Standing,
    WorkerId,
)

#: A save is waited for so much longer than its rhythm says, and as a share of that rhythm.
LATE_S, LATE_SHARE = 1.0, 0.5
#: What a save that has just been reported still needs to be judged, at least.
JUDGED_S = 1.0
#: How long a script that handles SIGTERM may take to end, once it has saved.
LEAVE_S = 5.0


def first_to_leave(attempt: Attempt) -> WorkerId | None:
    """Of the workers that were told to end and still train, the one with the least time left."""
    leaving = [worker for worker in attempt.leaving if _is_running(attempt, worker)]
    return min(leaving, key=lambda worker: (attempt.leaving[worker].until_s, worker), default=None)


def _is_running(attempt: Attempt, worker: WorkerId) -> bool:
    trainer = attempt.trainers.get(worker)
    return trainer is not None and trainer.is_running


def preempted(run: Run, attempt: Attempt, worker: WorkerId, now_s: float) -> Failure:
    """That the gang is stopped because of this worker, now that there is nothing more to win."""
    notice = attempt.leaving[worker]
    is_saved = _saved_since_s(run, attempt, notice) is not None
    why = "what it had trained is saved" if is_saved else "no save was due in the time it had left"
    return Failure(worker, Cause(Reason.PREEMPTED, f"its launcher was told to end by {notice.who}; {why}"), now_s)


def wait_for_save(run: Run, attempt: Attempt, notice: EndNotice, now_s: float) -> Look | None:
    """Until when it is worth while to go on; None: stop now. Whatever happens meanwhile asks again."""
    if now_s >= notice.until_s:
        return None
    own = [c for c in run.checkpoints.values() if c.save.attempt == attempt.number]
    if any(checkpoint.verdict.standing is Standing.PENDING for checkpoint in own):
        return Look(notice.until_s, "for the verdict on the last save, before the gang is stopped")
    saved_s = _saved_since_s(run, attempt, notice)
    if attempt.sigterm_handlers:
        handler = next(iter(attempt.sigterm_handlers.values()))
        until_s = notice.until_s if saved_s is None else min(notice.until_s, saved_s + LEAVE_S)
        words = f"for the script to save and end: its own {handler} was told to"
        return Look(until_s, words) if now_s < until_s else None
    if saved_s is not None:
        return None
    due_s = _next_save_s(run, attempt, own)
    if due_s is None or due_s + JUDGED_S > notice.until_s:
        return None
    latest_s = min(due_s + LATE_S, notice.until_s)
    return (
        Look(latest_s, "for the script's next save, which is due before the gang must end")
        if now_s < latest_s
        else None
    )


def _saved_since_s(run: Run, attempt: Attempt, notice: EndNotice) -> float | None:
    """When what would be restored now was saved, if that was after the notice: then nothing is lost any more."""
    targets = targets_to_restore(run)
    if any(c.save.attempt != attempt.number or c.first_report_s < notice.at_s for c in targets):
        return None
    return max((c.first_report_s for c in targets), default=None)


def _next_save_s(run: Run, attempt: Attempt, own: list[Checkpoint]) -> float | None:
    """When the next save is due by the rhythm of the last ones; None where none is known."""
    rhythm_s = _rhythm_s(run)
    if rhythm_s is None or attempt.gate_opened_s is None:
        return None
    begun_s = max([attempt.gate_opened_s, *attempt.first_steps.values()])
    last_s = max((checkpoint.first_report_s for checkpoint in own), default=begun_s)
    return last_s + rhythm_s * (1 + LATE_SHARE)


def _rhythm_s(run: Run) -> float | None:
    """The time between the last two saves of the series that is saved most often, in the newest attempt that tells."""
    for attempt in reversed(run.attempts):
        by_series: dict[SeriesId, list[float]] = {}
        for checkpoint in run.checkpoints.values():
            if checkpoint.save.attempt == attempt.number:
                by_series.setdefault(checkpoint.save.series, []).append(checkpoint.first_report_s)
        gaps = [
            later - earlier for times in by_series.values() for earlier, later in list(pairwise(sorted(times)))[-1:]
        ]
        if gaps:
            return min(gaps)
    return None
