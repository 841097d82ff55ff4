"""Which of a gang's ends is the one that the others follow from.

A worker that goes takes the whole gang along: within a second its peers raise UnavailableError and end with status 1,
and their word may come first. Decides that such an end never names itself as long as another one explains it, and how
long that other one is waited for. Also that a gang which saves and leaves together is not cut off in the middle of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lastgood.reasons import Reason
from lastgood_controller.endings import Ending, Sort, lost_peers, may_have_finished, read_ending, who_raised
from lastgood_controller.finding import Finding, Look
from lastgood_controller.model import (
    Attempt,
    Cause,
    Failure,
    Run,
    Trainer,
    WorkerId,
)
from lastgood_controller.step import named

#: How long the word of the peer that went is waited for, once somebody has ended because it had lost one.
PEER_GRACE_S = 1.0
#: How long the others may take to save and leave, once one has: PreemptionCheckpointHandler makes all do it alike, and
#: the chief, whose files count, may be the last.
LEAVE_S = 20.0


@dataclass(frozen=True)
class End:
    """One worker's trainer that has ended, and what that says."""

    worker: WorkerId
    trainer: Trainer
    ending: Ending
    at_s: float


def ends(run: Run, attempt: Attempt, now_s: float) -> Iterator[Finding]:
    """What the trainers that have ended say about the attempt."""
    ended = _ended(run, attempt, now_s)
    running = [worker for worker in run.members if worker not in {end.worker for end in ended}]
    own = [end for end in ended if end.ending.sort not in (Sort.FINISHED, Sort.PEER)]
    for end in own:
        due_s = _patience_s(end)
        if due_s is not None and running and now_s < due_s:
            yield Look(due_s, f"for {named(running)} to end as well, now that {end.worker} has left")
        elif not (may_have_finished(end.trainer) and _finished_with_others(ended, running)):
            yield _told_or_itself(attempt, end)
    if not own:
        yield from _lost_peer(run, attempt, [end for end in ended if end.ending.sort is Sort.PEER], now_s)


def has_finished(run: Run, attempt: Attempt) -> bool:
    """Every trainer ended with status 0, and not because all were told to end: then nobody knows."""
    ended = _ended(run, attempt, 0.0)
    return len(ended) == len(run.members) and _finished_with_others(ended, [])


def refined(attempt: Attempt) -> Failure | None:
    """The attempt's failure, as it is known by now.

    A trainer that raised may still be printing, or leaving, when its peers' end has been told: the gang is then stopped
    for a lost peer, and the log of the one that raised tells why.
    """
    failure = attempt.failure
    if failure is None or failure.cause.reason is not Reason.PEER_LOST:
        return failure
    worker = who_raised(attempt)
    error = attempt.trainers[worker].error if worker is not None else None
    if error is None:
        return failure
    detail = f"its trainer had raised {error.type}: {error.message} ({error.place}), and its peers lost it"
    return Failure(worker, Cause(Reason.WORKER_EXITED, detail), failure.at_s)


def _ended(run: Run, attempt: Attempt, now_s: float) -> list[End]:
    found = []
    for worker in run.members:
        trainer = attempt.trainers.get(worker)
        ending = read_ending(trainer) if trainer is not None else None
        if trainer is not None and ending is not None:
            found.append(End(worker, trainer, ending, trainer.exited_s if trainer.exited_s is not None else now_s))
    return found


def _told_or_itself(attempt: Attempt, end: End) -> Failure:
    """Who saved and left without having been told to did so for a peer that was: it may be gone before that one is."""
    if end.ending.saved_and_left and end.trainer.asked_signal is None and attempt.leaving:
        told = min(attempt.leaving, key=lambda worker: (attempt.leaving[worker].at_s, worker))
        detail = f"its launcher was told to end by {attempt.leaving[told].who}; the gang had saved and left"
        return Failure(told, Cause(Reason.PREEMPTED, detail), end.at_s)
    return Failure(end.worker, end.ending.cause, end.at_s)


def _patience_s(end: End) -> float | None:
    """Until when the others may end by themselves; None: at once."""
    if end.ending.saved_and_left or may_have_finished(end.trainer):
        return end.at_s + LEAVE_S
    return None


def _finished_with_others(ended: list[End], running: list[WorkerId]) -> bool:
    """Everybody ended with status 0, one at least without having been told to: the work was done."""
    statuses = [end.ending.sort is Sort.FINISHED or may_have_finished(end.trainer) for end in ended]
    return not running and all(statuses) and any(end.ending.sort is Sort.FINISHED for end in ended)


def _lost_peer(run: Run, attempt: Attempt, lost: list[End], now_s: float) -> Iterator[Finding]:
    """Somebody has lost a peer, and no end that is known explains it."""
    if not lost:
        return
    first = min(lost, key=lambda end: end.at_s)
    others = [worker for worker in run.members if worker not in {end.worker for end in lost}]
    leaving = [worker for worker in others if worker in attempt.leaving]
    if leaving:
        signal = attempt.leaving[leaving[0]].who
        detail = f"its launcher was told to end by {signal}, and {first.worker} lost it"
        yield Failure(leaving[0], Cause(Reason.PREEMPTED, detail), first.at_s)
        return
    finished = [worker for worker in others if _has_finished(attempt.trainers, worker)]
    if finished:
        yield Failure(finished[0], Cause(Reason.PEER_LOST, _ended_early(attempt, finished, first)), first.at_s)
        return
    unheard = [worker for worker in others if not _has_ended(attempt.trainers, worker)]
    due_s = first.at_s + PEER_GRACE_S
    if unheard and now_s < due_s:
        yield Look(due_s, f"for word of {named(unheard)}, whom {first.worker} has lost")
        return
    yield _unexplained(run, first, others)


def _unexplained(run: Run, first: End, others: list[WorkerId]) -> Failure:
    """Nobody says why the peer went: it is named where there is but one that it can be."""
    told = [worker for worker in others if (worker.task_type, worker.task_id) in lost_peers(first.trainer)]
    away = [worker for worker in others if worker in run.sessions and not run.sessions[worker].connected]
    suspects = next((each for each in (away, told, others) if len(each) == 1), [])
    detail = f"{first.worker}: {first.ending.cause.detail}"
    if not suspects:
        return Failure(None, Cause(Reason.PEER_LOST, f"{detail}; nobody can say which peer went, or why"), first.at_s)
    where = "nothing is heard of its agent" if suspects[0] in away else "its own trainer has not said why"
    return Failure(suspects[0], Cause(Reason.PEER_LOST, f"{detail}; {where}"), first.at_s)


def _ended_early(attempt: Attempt, finished: list[WorkerId], first: End) -> str:
    step = attempt.trainers[finished[0]].reached_step
    at = f" at step {step}" if step is not None else ""
    return (
        f"{named(finished)} had ended with status 0{at} while others trained on: {first.worker}: "
        f"{first.ending.cause.detail}. All workers of a gang have to make the same number of steps"
    )


def _has_finished(trainers: Mapping[WorkerId, Trainer], worker: WorkerId) -> bool:
    trainer = trainers.get(worker)
    return trainer is not None and trainer.has_succeeded


def _has_ended(trainers: Mapping[WorkerId, Trainer], worker: WorkerId) -> bool:
    trainer = trainers.get(worker)
    return trainer is not None and read_ending(trainer) is not None
