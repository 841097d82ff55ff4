"""What each worker should be doing now, as a pure function of the run: the level that actuators bring about.

Decides nothing: it reads what has been decided. The same run gives the same desired state, whoever asks and however
often, so that a lost message, a restarted agent and a restarted controller need no special case.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from lastgood_controller.choice import knows_nothing
from lastgood_controller.model import (
    Attempt,
    End,
    Plan,
    ReceiptPolicy,
    Run,
    SharedWritePolicy,
    Task,
    WorkerId,
)
from lastgood_controller.pins import Word, word


class TrainerAction(str, Enum):
    """What a launcher should do about its trainer."""

    HOLD = "hold"  # start nothing yet
    RUN = "run"  # the trainer of the attempt should be running, or have ended by itself
    STOP = "stop"  # no trainer of the attempt or of an older one may be running


@dataclass(frozen=True)
class Desired:
    """All that one worker should be doing now; the newest replaces every older one.

    attempt: what `action` is about; 0 while the gang is being gathered. Before the first attempt a trainer that still
        runs is of an attempt that this run does not know (its journal was lost): it is stopped.
    addresses: host:port of every member, in the order of `members`; empty unless `action` is RUN.
    plan: what the attempt starts from; None until that is decided.
    listing_wanted: no checkpoint is known; list each directory that the script asks for.
    nothing_known: no checkpoint is known that the attempt could start from, and there is no plan yet: what a script
        names by itself may be left to TensorFlow.
    steering: False: the hooks observe only. Equal for the whole gang.
    end_announced: the gang is about to be stopped; each trainer gets SIGTERM once, and may save and end by itself.
    pins: what must outlive rotation, for the chief alone.
    receipts, shared_write: what the hooks do about restores and saves that go wrong; equal for the whole gang.
    """

    attempt: int = 0
    action: TrainerAction = TrainerAction.HOLD
    members: tuple[WorkerId, ...] = ()
    addresses: tuple[str, ...] = ()
    plan: Plan | None = None
    listing_wanted: bool = False
    gate_open: bool = False
    steering: bool = True
    tasks: tuple[Task, ...] = ()
    end: End | None = None
    end_announced: bool = False
    nothing_known: bool = False
    pins: Word | None = None
    receipts: ReceiptPolicy = ReceiptPolicy.ENFORCE
    shared_write: SharedWritePolicy = SharedWritePolicy.REDIRECT


def desired_state(run: Run, worker: WorkerId) -> Desired:
    """What `worker` should be doing now."""
    tasks = tuple(task for task in run.tasks.values() if task.reader == worker and not task.is_done)
    attempt = run.attempt
    pins = word(run) if worker == run.chief else None
    if attempt is None:
        stranger = worker in run.sessions and run.sessions[worker].trainer.is_running
        action = TrainerAction.STOP if run.end or stranger else TrainerAction.HOLD
        stopped = run.highest_attempt if action is TrainerAction.STOP else 0
        return Desired(attempt=stopped, members=run.members, action=action, tasks=tasks, end=run.end, pins=pins)
    action = _action(run, attempt)
    return Desired(
        attempt=attempt.number,
        action=action,
        members=run.members,
        addresses=tuple(attempt.addresses[m] for m in run.members) if action is TrainerAction.RUN else (),
        plan=attempt.plan,
        listing_wanted=attempt.plan is None and attempt.is_steered and attempt.failure is None,
        gate_open=attempt.gate_opened_s is not None,
        steering=attempt.is_steered,
        tasks=tasks,
        end=run.end,
        end_announced=action is TrainerAction.RUN and run.stop_notice is not None,
        nothing_known=attempt.plan is None and attempt.is_steered and knows_nothing(run, attempt),
        pins=pins,
        receipts=run.policy.receipts,
        shared_write=run.policy.shared_write,
    )


def _action(run: Run, attempt: Attempt) -> TrainerAction:
    if run.end is not None or attempt.failure is not None or not attempt.is_live:
        return TrainerAction.STOP
    return TrainerAction.RUN
