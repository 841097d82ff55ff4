"""A run's failures and recoveries as people and tables want them: spans in seconds, and what each one cost in steps.

Reads what has been decided; decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lastgood.reasons import Reason
from lastgood_controller.first_cause import refined
from lastgood_controller.model import (
    Attempt,
    PlanKind,
    Run,
    TrainerPhase,
    WorkerId,
)


@dataclass(frozen=True)
class Spans:
    """Seconds from the report of the failure to each stage of the recovery; None while it has not been reached."""

    detected_s: float | None = None
    decided_s: float | None = None
    stopped_s: float | None = None
    started_s: float | None = None
    restored_s: float | None = None
    first_step_s: float | None = None


@dataclass(frozen=True)
class Incident:
    """One failure and its recovery; the fields of docs/json.md#incident.

    lost_steps: steps that the worker that was furthest has to do again; None while it is not known.
    lost_steps_by_worker: the same for each worker whose last step is known.
    """

    attempt: int
    next_attempt: int | None
    worker: WorkerId | None
    reason: Reason
    detail: str
    at_s: float
    spans: Spans
    lost_steps: int | None = None
    lost_steps_by_worker: Mapping[WorkerId, int] = field(default_factory=dict)
    plan_step: int | None = None


def incidents(run: Run) -> tuple[Incident, ...]:
    """Every failure of the run, oldest first. That somebody stopped the run is none."""
    return tuple(
        _incident(run, attempt, run.attempts[index + 1 :])
        for index, attempt in enumerate(run.attempts)
        if attempt.failure is not None and attempt.failure.cause.reason is not Reason.INTERRUPTED
    )


def phase(run: Run) -> str:
    """Where a run stands, in one word of docs/json.md."""
    attempt = run.attempt
    if run.end is not None:
        return "Ended"
    if attempt is None:
        return "Gathering"
    if attempt.failure is not None or not attempt.is_live:
        return "Recovering"
    if attempt.gate_opened_s is not None:
        return "Training"
    return "Starting" if attempt.plan is None else "Restoring"


def _incident(run: Run, failed: Attempt, later: tuple[Attempt, ...]) -> Incident:
    failure = refined(failed)
    if failure is None:
        raise ValueError(f"attempt {failed.number} has not failed")
    following = later[0] if later else None
    planned = next((attempt for attempt in later if attempt.plan is not None), None)
    plan_step = planned.plan.step if planned is not None and planned.plan is not None else None
    lost = _lost_steps(failed, plan_step)
    return Incident(
        attempt=failed.number,
        next_attempt=following.number if following is not None else None,
        worker=failure.worker,
        reason=failure.cause.reason,
        detail=failure.cause.detail,
        at_s=failure.at_s,
        spans=_spans(run, failed, failure.at_s, following),
        lost_steps=max(lost.values(), default=None),
        lost_steps_by_worker=lost,
        plan_step=plan_step,
    )


def _spans(run: Run, failed: Attempt, at_s: float, following: Attempt | None) -> Spans:
    def since(time_s: float | None) -> float | None:
        return max(0.0, time_s - at_s) if time_s is not None else None

    return Spans(
        detected_s=since(failed.failed_s),
        decided_s=since(following.planned_s) if following is not None else None,
        stopped_s=since(failed.ended_s),
        started_s=since(_started_s(run, following)) if following is not None else None,
        restored_s=since(_restored_s(following)) if following is not None else None,
        first_step_s=since(_last(run, following.first_steps)) if following is not None else None,
    )


def _started_s(run: Run, attempt: Attempt) -> float | None:
    """When the last trainer was running; None when one of them never was."""
    times = {
        worker: trainer.started_s
        for worker, trainer in attempt.trainers.items()
        if trainer.started_s is not None and trainer.phase is not TrainerPhase.NONE
    }
    return _last(run, times)


def _restored_s(attempt: Attempt) -> float | None:
    """When the last receipt came; for a fresh start, when the gate was opened."""
    if attempt.gate_opened_s is None:
        return None
    if attempt.plan is None or attempt.plan.kind is PlanKind.FRESH or not attempt.receipts:
        return attempt.gate_opened_s
    times = [receipt.at_s for receipt in attempt.receipts.values() if receipt.at_s <= attempt.gate_opened_s]
    return max(times, default=attempt.gate_opened_s)


def _last(run: Run, times: Mapping[WorkerId, float]) -> float | None:
    if not run.members or any(member not in times for member in run.members):
        return None
    return max(times[member] for member in run.members)


def _lost_steps(failed: Attempt, plan_step: int | None) -> dict[WorkerId, int]:
    if plan_step is None:
        return {}
    return {
        worker: max(0, trainer.reached_step - plan_step)
        for worker, trainer in sorted(failed.trainers.items())
        if trainer.reached_step is not None
    }
