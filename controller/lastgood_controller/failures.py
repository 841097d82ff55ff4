"""The first thing that went wrong in a live attempt, and until when the rest of it may take. Decides nothing else.

Each check is one small function: it yields failures that have happened, with the time of the fact that shows them, and
times at which it wants to look again. The earliest failure is the one that stopped the attempt; what follows from it
(the other workers' broken connections) comes later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lastgood.reasons import Reason
from lastgood_controller.advice import shared_write_cause
from lastgood_controller.endings import who_raised
from lastgood_controller.finding import Finding, Look
from lastgood_controller.first_cause import ends
from lastgood_controller.model import (
    Attempt,
    Cause,
    Failure,
    Notice,
    NoticeKind,
    PlanKind,
    Run,
    SharedWritePolicy,
    TrainerPhase,
    WorkerId,
)
from lastgood_controller.receipts import held_against, lacking, receipt_for
from lastgood_controller.refusals import sentence
from lastgood_controller.starting import late_starts
from lastgood_controller.step import named

#: How long the other receipts are waited for after a bad one: they tell a bad worker from a bad checkpoint.
RECEIPT_GRACE_S = 2.0
#: How long a worker that went on without a restore may still restore, once all others have.
ENTERED_GRACE_S = 5.0
#: What an attempt ends with where one worker restores, and another one meets it in a collective of the training.
_COLLECTIVES_CROSSED = frozenset({Reason.WORKER_EXITED, Reason.PEER_LOST})


def findings(run: Run, attempt: Attempt, now_s: float) -> tuple[Finding, ...]:
    """Everything that is wrong with a live attempt now, and what may become so."""
    return tuple(finding for check in _CHECKS for finding in check(run, attempt, now_s))


def first_failure(run: Run, found: tuple[Finding, ...]) -> Failure | None:
    """The failure to record: the earliest, and of several at one time the one that explains most.

    What the script cannot do here comes before everything: its trainer's end is told first, and only follows from it.
    """
    failures = [each for each in found if isinstance(each, Failure)]
    order = {member: rank for rank, member in enumerate(run.members)}

    def rank(failure: Failure) -> tuple[bool, float, int, int]:
        position = order.get(failure.worker, -1) if failure.worker is not None else -1
        is_other = failure.cause.reason is not Reason.REFUSED
        return (is_other, failure.at_s, _EXPLAINS.get(failure.cause.reason, 2), position)

    return min(failures, key=rank, default=None)


_EXPLAINS = {
    Reason.RESTORE_FAILED: 0,
    Reason.RESTORED_WRONG: 0,
    Reason.MODEL_CHANGED: 0,
    Reason.LAUNCHER_LOST: 1,
    Reason.WORKER_KILLED: 1,
    Reason.OUT_OF_MEMORY: 1,
    Reason.WORKER_EXITED: 3,
    Reason.PEER_LOST: 4,
}


# ---------------------------------------------------------------------------------------------------------- the workers


def _refusals(run: Run, attempt: Attempt, now_s: float) -> Iterator[Finding]:
    """What the script does and cannot do here explains whatever comes of it."""
    for notice in attempt.notices:
        if notice.kind is NoticeKind.UNSUPPORTED:
            yield Failure(notice.worker, _refused(notice), notice.at_s)


def refusal(attempt: Attempt) -> Cause | None:
    """Why no attempt of this job can go well, also where a trainer's end was told before its script's mistake."""
    found = (notice for notice in attempt.notices if notice.kind is NoticeKind.UNSUPPORTED)
    return next(map(_refused, found), None)


def _refused(notice: Notice) -> Cause:
    return Cause(Reason.REFUSED, sentence(notice.path, notice.detail))


def _starts(run: Run, attempt: Attempt, now_s: float) -> Iterator[Finding]:
    late = [worker for worker in run.members if worker not in attempt.trainers]
    if not late:
        return
    due_s = run.back_since_s(late, attempt.opened_s) + run.policy.start_s
    if now_s < due_s:
        yield Look(due_s, f"for the trainer of {named(late)} to start")
        return
    detail = f"{named(late)} did not start a trainer within {run.policy.start_s:g} s"
    yield Failure(late[0] if len(late) == 1 else None, Cause(Reason.START_TIMEOUT, detail), now_s)


def _silence(run: Run, attempt: Attempt, now_s: float) -> Iterator[Finding]:
    for worker in run.members:
        session = run.sessions.get(worker)
        trainer = attempt.trainers.get(worker)
        if session is None or session.connected or (trainer is not None and trainer.phase is TrainerPhase.EXITED):
            continue
        due_s = session.last_heard_s + run.policy.lost_s
        if now_s < due_s:
            yield Look(due_s, f"for the agent of {worker} to come back")
            continue
        detail = f"nothing has been heard of it for {run.policy.lost_s:g} s"
        yield Failure(worker, Cause(Reason.WORKER_LOST, detail), now_s)


# --------------------------------------------------------------------------------------------------------- the restores


def _restores(attempt: Attempt) -> bool:
    return attempt.is_steered and attempt.plan is not None and attempt.plan.kind is not PlanKind.FRESH


def _bad_receipts(run: Run, attempt: Attempt, now_s: float) -> Iterator[Finding]:
    """A bad receipt counts once all are there, or a trainer has ended, or the grace is over."""
    if not _restores(attempt) or attempt.plan is None:
        return
    bad: list[Failure] = []
    for planned in attempt.plan.series:
        for worker in run.members:
            receipt = receipt_for(attempt, worker, planned)
            cause = held_against(run, receipt, planned) if receipt is not None else None
            if receipt is not None and cause is not None:
                bad.append(Failure(worker, cause, receipt.at_s))
    if not bad:
        return
    due_s = run.back_since_s(lacking(run, attempt), min(failure.at_s for failure in bad)) + RECEIPT_GRACE_S
    has_ended = any(trainer.phase is TrainerPhase.EXITED for trainer in attempt.trainers.values())
    if lacking(run, attempt) and now_s < due_s and not has_ended:
        yield Look(due_s, f"for the receipts of {named(lacking(run, attempt))}, to know whose fault a bad one is")
        return
    yield from bad


def _missing_receipts(run: Run, attempt: Attempt, now_s: float) -> Iterator[Finding]:
    """Members that do not restore, although others do, or although they or others have begun to train."""
    if not _restores(attempt) or attempt.gate_opened_s is not None:
        return
    late = lacking(run, attempt)
    stepped = [worker for worker in late if worker in attempt.first_steps]
    if stepped:
        detail = "it made its first step without having restored the plan's checkpoint"
        yield Failure(stepped[0], Cause(Reason.NOT_RESTORED, detail), attempt.first_steps[stepped[0]])
    for worker in late:
        at_s = _trained_anyway_s(run, attempt, worker)
        if at_s is not None:
            detail = "it has trained and saved, or ended, without having restored the plan's checkpoint"
            yield Failure(worker, Cause(Reason.NOT_RESTORED, detail), at_s)
    times = [receipt.at_s for receipt in attempt.receipts.values()] + list(attempt.entered.values())
    if not late or not times:
        return
    due_s, limit_s = run.back_since_s(late, min(times)) + run.policy.gate_s, run.policy.gate_s
    if set(late) <= set(attempt.entered) and len(late) < len(run.members):
        due_s, limit_s = run.back_since_s(late, max(times)) + ENTERED_GRACE_S, ENTERED_GRACE_S
    if now_s < due_s:
        yield Look(due_s, f"for {named(late)} to restore the plan's checkpoint")
        return
    went = [worker for worker in late if worker in attempt.entered]
    who = f"{named(went)} began to train and" if went else named(late)
    detail = f"{who} did not prove within {limit_s:g} s to have restored the plan's checkpoint"
    yield Failure(late[0] if len(late) == 1 else None, Cause(Reason.NOT_RESTORED, detail), now_s)


def _went_past(run: Run, attempt: Attempt, now_s: float) -> Iterator[Finding]:
    """A worker that trains while others restore: a restore is a collective, and the two that cross end one of them."""
    if not _restores(attempt) or attempt.gate_opened_s is not None or who_raised(attempt) is not None:
        return
    late = lacking(run, attempt)
    went = [worker for worker in late if worker in attempt.entered]
    raised = {worker for (worker, _), receipt in attempt.receipts.items() if receipt.error}
    others = [worker for worker in run.members if worker not in late and worker not in raised]
    broken = [each for each in ends(run, attempt, now_s) if isinstance(each, Failure)]
    if not went or not others or not broken or any(each.cause.reason not in _COLLECTIVES_CROSSED for each in broken):
        return
    first = min(broken, key=lambda each: each.at_s)
    detail = f"it began to train without having restored the plan's checkpoint, which {named(others)} did restore"
    came_of_it = first.cause.detail if first.cause.reason is Reason.PEER_LOST else describe(first.worker, first.cause)
    cause = Cause(Reason.NOT_RESTORED, f"{detail}; what came of it: {came_of_it}")
    yield Failure(went[0], cause, min(first.at_s, attempt.entered[went[0]]))


def _trained_anyway_s(run: Run, attempt: Attempt, worker: WorkerId) -> float | None:
    """When it was plain that a worker which entered a call without a restore has no restore to come.

    A call alone says little: many scripts make one to create their variables, and restore then.
    """
    entered_s, trainer = attempt.entered.get(worker), attempt.trainers.get(worker)
    if entered_s is None:
        return None
    own = [
        c.reports[worker] for c in run.checkpoints.values() if c.save.attempt == attempt.number and worker in c.reports
    ]
    saved = [report.at_s for report in own if report.at_s >= entered_s]
    if trainer is not None and trainer.has_succeeded and not trainer.was_stopped and trainer.exited_s is not None:
        saved.append(trainer.exited_s)
    return min(saved, default=None)


# ------------------------------------------------------------------------------------------------------------ the saves


def _shared_writes(run: Run, attempt: Attempt, now_s: float) -> Iterator[Finding]:
    """Two workers that save to one prefix end the attempt only where the policy wants that."""
    if run.policy.shared_write is SharedWritePolicy.STOP:
        yield from (Failure(each.worker, shared_write_cause(each), each.at_s) for each in attempt.shared_writes)


_CHECKS: tuple[Callable[[Run, Attempt, float], Iterator[Finding]], ...] = (
    _refusals,
    ends,
    _starts,
    late_starts,
    _silence,
    _bad_receipts,
    _missing_receipts,
    _went_past,
    _shared_writes,
)


def describe(worker: WorkerId | None, cause: Cause) -> str:
    """A failure as one sentence."""
    return f"{worker}: {cause.detail}" if worker is not None else cause.detail
