"""Who saves, whose report is missing, and whose files count. Judges nothing.

Saving by the chief alone is common, so a worker that never reported a save may be one that never saves. That is only
believed when it provably went on: it works while others have saved again, it ended with status 0, or its last step lies
behind the save. A worker that has saved once is waited for from then on, and the chief, whose files count, always is.
"""

from __future__ import annotations

from lastgood_controller.model import (
    Attempt,
    Checkpoint,
    Run,
    SaveReport,
    SeriesId,
    WorkerId,
)


def saving_over_s(run: Run, attempt: Attempt | None) -> float | None:
    """Since when no trainer of the attempt can save any more; None while one can."""
    if attempt is None or attempt.ended_s is not None:
        return attempt.ended_s if attempt is not None else None
    exits = [attempt.trainers[m].exited_s for m in run.members if m in attempt.trainers]
    times = [time for time in exits if time is not None]
    return max(times) if run.members and len(times) == len(run.members) else None


def savers(run: Run, series: SeriesId) -> frozenset[WorkerId]:
    """Workers that have saved this series at least once, or were about to, in any attempt."""
    saved = frozenset(
        worker
        for save, checkpoint in run.checkpoints.items()
        if save.series == series and save.attempt > 0
        for worker in (*checkpoint.reports, *checkpoint.failed)
    )
    met = (shared for attempt in run.attempts for shared in attempt.shared_writes if shared.series == series)
    return saved.union(*({shared.worker, shared.other} for shared in met))


def missing(run: Run, checkpoint: Checkpoint, now_s: float) -> tuple[WorkerId, ...]:
    """Members whose report of this save is still waited for, or will never come: everybody but proven non-savers."""
    silent = [m for m in run.members if m not in checkpoint.reports and m not in checkpoint.failed]
    if not silent:
        return ()
    known = savers(run, checkpoint.save.series)
    is_due = now_s >= reports_due_s(run, checkpoint, tuple(silent))
    return tuple(m for m in silent if m in known or not _went_on(run, checkpoint, m, is_due))


def reports_due_s(run: Run, checkpoint: Checkpoint, silent: tuple[WorkerId, ...]) -> float:
    """Until when the reports of these workers are waited for.

    Counted anew from the moment at which a worker's agent came back: it delivers what it has kept.
    """
    policy = run.policy
    over_s = saving_over_s(run, run.attempt_numbered(checkpoint.save.attempt))
    start_s = max(checkpoint.first_report_s, over_s or 0.0)
    due_s = start_s
    for worker in silent:
        session = run.sessions.get(worker)
        since_s = max(start_s, session.known_since_s if session is not None else 0.0)
        if over_s is None:
            patience_s = policy.report_s
        elif session is not None and not session.connected:
            patience_s = max(policy.settle_s, policy.lost_s)
        else:
            patience_s = policy.settle_s
        due_s = max(due_s, since_s + patience_s)
    return due_s


def primary(run: Run, checkpoint: Checkpoint, missed: tuple[WorkerId, ...]) -> SaveReport | None:
    """The report of the files that a gang would restore from; None while the chief may still report its own.

    A worker's own copy lies in a temporary directory and is gone a moment later: it is never taken for the chief's.
    """
    if run.members and run.members[0] in missed:
        return None
    return checkpoint.primary(run.members)


def _went_on(run: Run, checkpoint: Checkpoint, worker: WorkerId, is_due: bool) -> bool:
    """Whether a worker that has never saved has provably gone past this save."""
    attempt = run.attempt_numbered(checkpoint.save.attempt)
    if attempt is None:
        return False
    trainer = attempt.trainers.get(worker)
    steps = [report.step for report in checkpoint.reports.values() if report.step is not None]
    session = run.sessions.get(worker)
    is_connected = session is not None and session.connected
    if is_connected and worker != run.members[0] and _was_repeated(run, checkpoint.save.series):
        return True
    if not is_due or trainer is None:
        return False
    if trainer.is_running:
        return is_connected and attempt.is_live
    is_behind = trainer.reached_step is not None and bool(steps) and trainer.reached_step > max(steps)
    return is_behind or (trainer.has_succeeded and not trainer.was_stopped)


def _was_repeated(run: Run, series: SeriesId) -> bool:
    """Whether some attempt has made two saves of this series: whoever reported neither does not save."""
    seen: set[int] = set()
    for save, checkpoint in run.checkpoints.items():
        if save.series != series or save.attempt == 0 or not checkpoint.reports:
            continue
        if save.attempt in seen:
            return True
        seen.add(save.attempt)
    return False
