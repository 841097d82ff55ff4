"""Whether a gang that was started makes its first step in time, and where those stand that do not.

TensorFlow itself waits for ever: for a peer that never starts, in a strategy that never comes to be. Decides that the
deadline counts from the plan, that it doubles each time it was missed, so that a job which needs longer gets through,
and that it holds only where a first step would be seen: a script that calls no tf.function of its own shows none.
"""

from __future__ import annotations

from collections.abc import Iterator

from lastgood.reasons import Reason
from lastgood_controller.finding import Finding, Look
from lastgood_controller.model import (
    Attempt,
    Cause,
    Failure,
    PlanKind,
    Run,
    WorkerId,
)
from lastgood_controller.step import named


def late_starts(run: Run, attempt: Attempt, now_s: float) -> Iterator[Finding]:
    """The workers that have not made their first step, once all trainers run."""
    late = [worker for worker in run.members if _owes_a_step(run, attempt, worker)]
    running = [trainer for trainer in attempt.trainers.values() if trainer.is_running]
    if run.policy.first_step_s <= 0 or not late or len(running) < len(run.members):
        return
    started = [trainer.started_s for trainer in attempt.trainers.values() if trainer.started_s is not None]
    begun_s = max([attempt.planned_s or 0.0, *started])
    limit_s = patience_s(run)
    due_s = run.back_since_s(late, begun_s) + limit_s
    where = named(f"{worker} ({standing(attempt, worker)})" for worker in late)
    if now_s < due_s:
        yield Look(due_s, f"for the first step of {where}")
        return
    detail = (
        f"no first step within {limit_s:g} s of the plan: {where}. If that is how long it takes, allow more:"
        " --start-timeout of `lastgood launch`, --first-step-s of `lastgood controller`, 0 for no limit."
        f" The next attempt gets {2 * limit_s:g} s"
    )
    yield Failure(late[0] if len(late) == 1 else None, Cause(Reason.START_TIMEOUT, detail), now_s)


def patience_s(run: Run) -> float:
    """How long the newest attempt may take to its first step: twice as long after each one that took too long."""
    missed = 0
    for earlier in reversed(run.attempts[:-1]):
        is_recent = (earlier.failed_s or 0.0) >= run.opened_s
        if not is_recent or earlier.failure is None or earlier.failure.cause.reason is not Reason.START_TIMEOUT:
            break
        missed += 1
    return run.policy.first_step_s * 2.0 ** min(missed, 30)


def standing(attempt: Attempt, worker: WorkerId) -> str:
    """How far a worker has come that has not made its first step, in a few words."""
    restores = attempt.plan is not None and attempt.plan.kind is not PlanKind.FRESH and attempt.is_steered
    has_restored = any(who == worker for who, _ in attempt.receipts)
    if attempt.gate_opened_s is not None and (has_restored or not restores) and worker in attempt.strategies:
        return "past the gate, in its first call or before it: tracing takes long"
    if worker in attempt.entered and has_restored:
        return "at the gate"
    if has_restored:
        return "restored, no call yet"
    if worker in attempt.entered:
        return "in its first call, nothing restored"
    if worker in attempt.strategies:
        return "strategy made, nothing restored yet" if restores else "strategy made, no call yet"
    return "no strategy yet"


def _owes_a_step(run: Run, attempt: Attempt, worker: WorkerId) -> bool:
    """Whether a worker's first step is missing, and would have been seen."""
    trainer = attempt.trainers.get(worker)
    if trainer is None or not trainer.is_running or worker in attempt.first_steps or _has_saved(run, attempt, worker):
        return False
    if worker not in attempt.strategies:
        return len(run.members) > 1
    return any(each.first_steps for each in run.attempts) or bool(attempt.entered)


def _has_saved(run: Run, attempt: Attempt, worker: WorkerId) -> bool:
    return any(c.save.attempt == attempt.number and worker in c.reports for c in run.checkpoints.values())
