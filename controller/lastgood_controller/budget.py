"""Which failures count against a run's restart budget, and which one ends it whatever the budget.

Pure. A preemption counts not at all: nothing is wrong with the job. One that only the exit status tells of, and that
comes again where the last one came, may be the script's own doing, and counts. A script that raises the same exception
at the same place and the same step twice in a row is not tried for ever.
"""

from __future__ import annotations

from lastgood.reasons import Reason
from lastgood_controller.endings import who_raised
from lastgood_controller.first_cause import refined
from lastgood_controller.model import (
    Attempt,
    Cause,
    Failure,
    Run,
    Trainer,
)

#: How many lines of a traceback the end of a run quotes.
LINES_SHOWN = 10


def is_spent_by(run: Run, attempt: Attempt, failure: Failure) -> bool:
    """Whether this failure of the newest attempt is one of the restarts without progress."""
    reason = failure.cause.reason
    if reason is not Reason.PREEMPTED:
        return reason is not Reason.INTERRUPTED
    is_announced = attempt.leaving or any(each.asked_signal is not None for each in attempt.trainers.values())
    if is_announced:
        return False
    earlier = _before(run, attempt)
    if earlier is None or earlier.failure is None or earlier.failure.cause.reason is not Reason.PREEMPTED:
        return False
    return _reached(earlier) == _reached(attempt)


def script_fails(run: Run) -> Cause | None:
    """That the script raises the same again and again; None when that is not known of the last two attempts."""
    last = run.attempt
    earlier = _before(run, last) if last is not None else None
    if last is None or earlier is None:
        return None
    raised, before = _raised(last), _raised(earlier)
    if raised is None or before is None or raised.error is None or before.error is None:
        return None
    is_same = (raised.error.type, raised.error.place) == (before.error.type, before.error.place)
    if not is_same or not _is_same_step(last, raised, earlier, before):
        return None
    where = f" at step {raised.reached_step}" if raised.reached_step is not None else ", before its first step"
    told = (
        f"the script raised {raised.error.type} at {raised.error.place}{where} in attempts {earlier.number} and"
        f" {last.number}, and would do so again. Mend it, then let the run go on. The traceback ends with:"
    )
    return Cause(Reason.SCRIPT_FAILS, "\n".join([told, *(f"  {line}" for line in raised.error.lines[-LINES_SHOWN:])]))


def _before(run: Run, attempt: Attempt) -> Attempt | None:
    """The attempt before this one, unless the run was opened again since: then everything is counted afresh."""
    earlier = [each for each in run.attempts if each.number < attempt.number]
    newest = earlier[-1] if earlier else None
    return newest if newest is not None and (newest.failed_s or 0.0) >= run.opened_s else None


def _raised(attempt: Attempt) -> Trainer | None:
    """The trainer whose exception, the script's own fault, ended an attempt; None when something else did."""
    failure, worker = refined(attempt), who_raised(attempt)
    if failure is None or worker is None or failure.cause.reason is not Reason.WORKER_EXITED:
        return None
    return attempt.trainers[worker]


def _is_same_step(last: Attempt, raised: Trainer, earlier: Attempt, before: Trainer) -> bool:
    """By the step, or, where it is not read at every call, by the calls since the same start."""
    if raised.reached_step == before.reached_step:
        return True
    started = (
        last.plan.step if last.plan is not None else None,
        earlier.plan.step if earlier.plan is not None else None,
    )
    return started[0] == started[1] and raised.completed_calls == before.completed_calls


def _reached(attempt: Attempt) -> int | None:
    return max((t.reached_step for t in attempt.trainers.values() if t.reached_step is not None), default=None)
