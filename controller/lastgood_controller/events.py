"""What can happen to a run: the events that its journal holds, and nothing else ever changes it.

Two sorts, one journal:
- *facts*, which agents and people report (`TrainerChanged`, `SaveReported`, `Verified`, `ReceiptGiven`, ...);
- *decisions*, which judge and planner make (`AttemptOpened`, `VerdictReached`, `PlanDecided`, `GateOpened`, ...),
  recorded before anybody is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Union

from lastgood_controller.model import (
    Cause,
    Export,
    Failure,
    Listing,
    Notice,
    Plan,
    Policy,
    Receipt,
    SaveId,
    SaveReport,
    Session,
    SharedWrite,
    Task,
    Trainer,
    Verdict,
    Verification,
    WorkerId,
)


@dataclass(frozen=True)
class RunOpened:
    """A run is known from here on, or goes on after it had ended; its restart budget is fresh."""

    run_id: str
    job: str
    policy: Policy
    who: str = ""


@dataclass(frozen=True)
class WorkerConnected:
    """A worker's agent opened a session."""

    worker: WorkerId
    members: tuple[WorkerId, ...]
    session: Session
    trainer: Trainer
    highest_attempt: int


@dataclass(frozen=True)
class WorkerDisconnected:
    """A worker's agent went away; alone it means nothing, its trainer may train on."""

    worker: WorkerId
    agent_session: int


@dataclass(frozen=True)
class WorkerLost:
    """A decision: a worker was silent for too long."""

    worker: WorkerId
    detail: str


@dataclass(frozen=True)
class TrainerChanged:
    """The launcher's word about its trainer. next_address is set once it has exited."""

    worker: WorkerId
    trainer: Trainer
    next_address: str = ""


@dataclass(frozen=True)
class StrategyMade:
    worker: WorkerId
    attempt: int
    strategy: str
    replicas: int


@dataclass(frozen=True)
class WorkerLeaving:
    """A worker's launcher was told to end by a signal; its trainer has `grace_s` to end by itself."""

    worker: WorkerId
    attempt: int
    signal: str
    grace_s: float


@dataclass(frozen=True)
class SigtermHandled:
    """The script handles SIGTERM itself, and may save and end when it is told to."""

    worker: WorkerId
    attempt: int
    handler: str


@dataclass(frozen=True)
class SaveReported:
    save: SaveId
    report: SaveReport


@dataclass(frozen=True)
class SaveFailed:
    save: SaveId
    worker: WorkerId
    prefix: str
    error: str


@dataclass(frozen=True)
class SharedWriteSeen:
    """A worker is about to save to a prefix to which another one of its attempt saves, too."""

    attempt: int
    shared: SharedWrite


@dataclass(frozen=True)
class VerifyAsked:
    """A decision: one worker's agent is to read one checkpoint's bytes."""

    task: Task


@dataclass(frozen=True)
class Verified:
    verification: Verification


@dataclass(frozen=True)
class VerdictReached:
    """A decision: what is to be thought of a checkpoint from now on."""

    save: SaveId
    verdict: Verdict


@dataclass(frozen=True)
class Quarantined:
    """A decision: no plan may name a checkpoint of this digest again."""

    manifest_digest: str
    cause: Cause


@dataclass(frozen=True)
class CheckpointsRemoved:
    worker: WorkerId
    attempt: int
    prefixes: tuple[str, ...]


@dataclass(frozen=True)
class DirectoryListed:
    """highest_attempt: noted beside the checkpoints there, by a run whose journal this one may not have."""

    worker: WorkerId
    attempt: int
    listing: Listing
    highest_attempt: int = 0


@dataclass(frozen=True)
class AttemptOpened:
    """A decision: the gang starts again. Trainers may be started; what they restore is decided while they import."""

    number: int
    addresses: Mapping[WorkerId, str]
    steering: bool


@dataclass(frozen=True)
class PlanDecided:
    """A decision: what the attempt starts from. Once per attempt.

    adopted: checkpoints that no attempt of this run has written, and that the plan makes known.
    """

    attempt: int
    plan: Plan
    adopted: tuple[SaveReport, ...] = ()


@dataclass(frozen=True)
class ReceiptGiven:
    attempt: int
    receipt: Receipt


@dataclass(frozen=True)
class CallEntered:
    """A worker entered a tf.function without having restored, although its attempt's plan has a checkpoint."""

    worker: WorkerId
    attempt: int
    function: str


@dataclass(frozen=True)
class GateOpened:
    """A decision: every worker has proven what it restored; training may go on."""

    attempt: int


@dataclass(frozen=True)
class FirstStepDone:
    worker: WorkerId
    attempt: int
    step: int | None


@dataclass(frozen=True)
class HookFailed:
    worker: WorkerId
    attempt: int
    hook: str
    error: str
    count: int


@dataclass(frozen=True)
class SteeringLost:
    """A steering hook failed on one worker: nobody is steered in this attempt."""

    worker: WorkerId
    attempt: int
    hook: str
    error: str


@dataclass(frozen=True)
class RestoreLeftAlone:
    worker: WorkerId
    attempt: int
    prefix: str


@dataclass(frozen=True)
class Exported:
    """A script wrote something that is not for going on from; its worker's agent has read it."""

    attempt: int
    export: Export


@dataclass(frozen=True)
class Noticed:
    """Something that an operator should know of a script."""

    attempt: int
    notice: Notice


@dataclass(frozen=True)
class AttemptFailed:
    """A decision: the attempt is over; every trainer of it is to be stopped.

    spends_budget: it counts among the restarts without progress; False where somebody outside wanted the end.
    """

    number: int
    failure: Failure
    spends_budget: bool = True


@dataclass(frozen=True)
class AttemptEnded:
    """A decision: every trainer of the attempt is proven dead."""

    number: int


@dataclass(frozen=True)
class StopAsked:
    """A person or the launcher wants the run to end, and leaves the gang `grace_s` to save and end by itself."""

    who: str
    why: str
    grace_s: float = 0.0


@dataclass(frozen=True)
class RunEnded:
    """A decision: no further attempt is made."""

    cause: Cause
    exit_status: int


Fact = Union[
    WorkerConnected, WorkerDisconnected, TrainerChanged, StrategyMade, SaveReported, SaveFailed, Verified,
    CheckpointsRemoved, DirectoryListed, ReceiptGiven, CallEntered, FirstStepDone, HookFailed, SteeringLost,
    RestoreLeftAlone, SharedWriteSeen, Exported, Noticed, StopAsked, RunOpened, WorkerLeaving, SigtermHandled,
]  # fmt: skip
Decision = Union[
    WorkerLost, VerifyAsked, VerdictReached, Quarantined, AttemptOpened, PlanDecided, GateOpened, AttemptFailed,
    AttemptEnded, RunEnded,
]  # fmt: skip
Event = Union[Fact, Decision]
