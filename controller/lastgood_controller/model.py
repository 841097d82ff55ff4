"""The words of lastgood as types: what a run is, what can happen to it, and what that makes of it.

A run is the fold of its journal: `apply(run, event, at_s)` is the only way in which a `Run` changes, it is pure, and
whatever was decided can therefore be decided again from the journal. Nothing here knows the clock, the network or a
database; `at_s` is the controller's own receipt time in seconds since the epoch.

Two sorts of events, one journal:
- *facts*, which agents report (`TrainerChanged`, `SaveReported`, `Verified`, `ReceiptGiven`, ...);
- *decisions*, which judge and planner make (`AttemptOpened`, `VerdictReached`, `PlanDecided`, `GateOpened`, ...),
  recorded before anybody is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Union, assert_never

from lastgood.reasons import Reason

# --------------------------------------------------------------------------------------------------------- identities


@dataclass(frozen=True, order=True)
class WorkerId:
    """One worker of a gang, by TensorFlow's names."""

    task_type: str
    task_id: int

    def __str__(self) -> str:
        return f"{self.task_type}/{self.task_id}"

    @classmethod
    def parse(cls, text: str) -> WorkerId:
        """The worker that `task_type/task_id` names. Raises ValueError on anything else."""
        task_type, separator, task_id = text.rpartition("/")
        if not separator or not task_type or not task_id.isdigit():
            raise ValueError(f"expected a worker as task_type/task_id, such as worker/1, found {text!r}")
        return cls(task_type, int(task_id))


@dataclass(frozen=True, order=True)
class SeriesId:
    """One stream of checkpoints of a job.

    signature: digest of the sorted names of the root object's children.
    ordinal: rank among the directories that this signature was used with, in order of first use.
    """

    signature: str
    ordinal: int

    def __str__(self) -> str:
        return f"{self.signature[:8]}.{self.ordinal}"


@dataclass(frozen=True, order=True)
class SaveId:
    """One save by the whole gang: the `ordinal`-th (from 1) of its series in its attempt. Never a prefix."""

    series: SeriesId
    attempt: int
    ordinal: int

    def __str__(self) -> str:
        return f"{self.series}/{self.attempt}.{self.ordinal}"


# ------------------------------------------------------------------------------------------------------------- policy


@dataclass(frozen=True)
class Policy:
    """What an operator may set. Every time is in seconds.

    steering: False observes only: nothing is steered, gated or planned, and every attempt is marked unsteered.
    gather_s: how long to wait for every member of the gang before the first attempt.
    start_s: from the opening of an attempt until every trainer runs.
    listing_s: from the first worker's listing until the last one's.
    verify_s: how long an agent may take over one task before another one gets it.
    gate_s: from the first receipt, or call, until the last receipt.
    report_s: from the first report of a save until the last one; afterwards the save is Incomplete.
    settle_s: the same, once the attempt's trainers have all ended: what is still on its way arrives soon or never.
    stop_s: how long a gang may take to be proven dead before the run is stopped with a reason.
    lost_s: silence after which a worker counts as lost.
    max_restarts: restarts in a row without a Good checkpoint of a new step before the run is stopped.
    back_off_s: pause before the second restart without progress; doubles each time. The first restart never waits.
    """

    steering: bool = True
    gather_s: float = 120.0
    start_s: float = 120.0
    listing_s: float = 60.0
    verify_s: float = 120.0
    gate_s: float = 60.0
    report_s: float = 60.0
    settle_s: float = 3.0
    stop_s: float = 30.0
    lost_s: float = 15.0
    max_restarts: int = 3
    back_off_s: float = 1.0


# -------------------------------------------------------------------------------------------------- checkpoints


class Standing(str, Enum):
    """The three things a checkpoint can be."""

    GOOD = "Good"
    PENDING = "Pending"
    BAD = "Bad"


@dataclass(frozen=True)
class Cause:
    """A reason, and the sentence that says what was expected, what was found, and where."""

    reason: Reason
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason.value}: {self.detail}" if self.detail else self.reason.value


class Medium(str, Enum):
    """Where the bytes that were checked came from."""

    PEER = "peer"  # another host than the writer's
    DISK = "disk"  # the writer's host, past the page cache
    CACHE = "cache"  # the writer's host, from the page cache


@dataclass(frozen=True)
class Verdict:
    """What is to be thought of one checkpoint, and why.

    causes: why it is not Good; empty for Good.
    witnesses: workers whose report agrees.
    medium: who read the bytes; None when nobody did.
    """

    standing: Standing
    causes: tuple[Cause, ...] = ()
    witnesses: int = 0
    medium: Medium | None = None

    def __str__(self) -> str:
        return self.standing.value + "".join(f" ({cause})" for cause in self.causes)


@dataclass(frozen=True)
class SaveReport:
    """One worker's word that its save returned.

    prefix: where the files lay. directory: its directory.
    step: None when the checkpoint has no step variable.
    durable: shards, index and directory were fsynced.
    """

    worker: WorkerId
    prefix: str
    manifest_digest: str
    step: int | None = None
    save_counter: int | None = None
    durable: bool = False
    save_duration_s: float = 0.0
    unsaved_variables: tuple[str, ...] = ()
    at_s: float = 0.0


@dataclass(frozen=True)
class Verification:
    """What one reading of a checkpoint's bytes found. No faults: whole."""

    task_id: str
    reader: WorkerId
    prefix: str
    manifest_digest: str
    faults: tuple[Cause, ...]
    medium: Medium
    bytes_read: int = 0
    duration_s: float = 0.0
    at_s: float = 0.0


@dataclass(frozen=True)
class Checkpoint:
    """One save and all that is known of it. An adopted one has attempt 0 and one report, by its finder."""

    save: SaveId
    reports: Mapping[WorkerId, SaveReport]
    first_report_s: float
    failed: Mapping[WorkerId, str] = field(default_factory=dict)
    verification: Verification | None = None
    verdict: Verdict = Verdict(Standing.PENDING, (Cause(Reason.AWAITING_REPORTS),))
    quarantine: Cause | None = None
    removed: bool = False

    def primary(self, members: tuple[WorkerId, ...]) -> SaveReport | None:
        """The report of the files that a gang restores from: the chief's, or the only one there is."""
        for worker in members:
            if worker in self.reports:
                return self.reports[worker]
        return next(iter(self.reports.values()), None)


# ------------------------------------------------------------------------------------------------------------- plans


class PlanKind(str, Enum):
    """What an attempt starts from."""

    RESTORE = "restore"
    ADOPT = "adopt"
    FRESH = "fresh"


@dataclass(frozen=True)
class PlannedSeries:
    """What one series starts from: for every member a prefix, and the digest that it must find there."""

    save: SaveId
    manifest_digest: str
    step: int | None
    prefixes: Mapping[WorkerId, str]
    directories: tuple[str, ...]

    @property
    def series(self) -> SeriesId:
        return self.save.series


@dataclass(frozen=True)
class Plan:
    """What one attempt starts from: decided once, never changed. `series` is empty exactly when it is fresh."""

    kind: PlanKind
    series: tuple[PlannedSeries, ...] = ()
    why: str = ""

    @property
    def step(self) -> int | None:
        """The step that training goes on from: 0 for a fresh plan, None when no checkpoint tells."""
        if self.kind is PlanKind.FRESH:
            return 0
        steps = [planned.step for planned in self.series if planned.step is not None]
        return max(steps) if steps else None


# ----------------------------------------------------------------------------------------------------------- attempts


class TrainerPhase(str, Enum):
    """The launcher's word about its trainer."""

    NONE = "none"
    RUNNING = "running"
    EXITED = "exited"


@dataclass(frozen=True)
class Trainer:
    """One worker's training process in one attempt.

    reached_step: the last step it completed, None when unknown. last_lines: what it printed last, oldest first.
    was_stopped: it ended because it was told to.
    """

    phase: TrainerPhase = TrainerPhase.NONE
    attempt: int = 0
    pid: int = 0
    exit_code: int | None = None
    signal: int | None = None
    last_lines: tuple[str, ...] = ()
    was_stopped: bool = False
    reached_step: int | None = None
    completed_calls: int = 0
    started_s: float | None = None
    exited_s: float | None = None

    @property
    def is_running(self) -> bool:
        return self.phase is TrainerPhase.RUNNING

    @property
    def has_succeeded(self) -> bool:
        return self.phase is TrainerPhase.EXITED and self.exit_code == 0

    @property
    def has_failed(self) -> bool:
        return self.phase is TrainerPhase.EXITED and self.exit_code != 0


@dataclass(frozen=True)
class FoundCheckpoint:
    """A checkpoint that a worker found in the directory its script asked for. No faults: whole."""

    prefix: str
    manifest_digest: str
    step: int | None = None
    faults: tuple[Cause, ...] = ()


@dataclass(frozen=True)
class Listing:
    """What one worker found in one directory that its script asks for; checkpoints newest first.

    Once there is a plan nobody looks any more: then it says what is asked for, and no checkpoints.
    """

    series: SeriesId
    directory: str
    checkpoints: tuple[FoundCheckpoint, ...]
    at_s: float = 0.0


@dataclass(frozen=True)
class Receipt:
    """A worker's proof after restoring. It is good when nothing is wrong, missing or raised."""

    worker: WorkerId
    series: SeriesId
    prefix: str
    manifest_digest: str
    restored: int = 0
    left_at_initial: tuple[str, ...] = ()
    wrong_value: tuple[str, ...] = ()
    deferred: int = 0
    taken_from_chief: tuple[str, ...] = ()
    error: str = ""
    asked_prefix: str = ""
    duration_s: float = 0.0
    at_s: float = 0.0

    @property
    def is_good(self) -> bool:
        return not (self.left_at_initial or self.wrong_value or self.error)


@dataclass(frozen=True)
class Failure:
    """Why an attempt was stopped: the first thing that went wrong, and on whom. worker is None for the gang as one."""

    worker: WorkerId | None
    cause: Cause
    at_s: float


@dataclass(frozen=True)
class Attempt:
    """One life of the gang, from the opening until every trainer is proven dead."""

    number: int
    opened_s: float
    addresses: Mapping[WorkerId, str]
    steering: bool = True
    plan: Plan | None = None
    planned_s: float | None = None
    trainers: Mapping[WorkerId, Trainer] = field(default_factory=dict)
    listings: Mapping[WorkerId, tuple[Listing, ...]] = field(default_factory=dict)
    receipts: Mapping[tuple[WorkerId, SeriesId], Receipt] = field(default_factory=dict)
    entered: Mapping[WorkerId, float] = field(default_factory=dict)
    first_steps: Mapping[WorkerId, float] = field(default_factory=dict)
    gate_opened_s: float | None = None
    unsteered: Cause | None = None
    hook_failures: Mapping[tuple[WorkerId, str], int] = field(default_factory=dict)
    left_alone: tuple[str, ...] = ()
    failure: Failure | None = None
    failed_s: float | None = None
    ended_s: float | None = None

    @property
    def is_live(self) -> bool:
        return self.ended_s is None

    @property
    def is_steered(self) -> bool:
        return self.steering and self.unsteered is None


@dataclass(frozen=True)
class Session:
    """One worker's connection. launcher_session grows when its launcher, and so its trainer, died.

    connected: its agent's stream is open; connected_s: since when, or when it last was opened.
    next_address: where its next trainer would listen; "" when none is offered, and while one runs.
    trainer: the launcher's newest word about its trainer, of whatever attempt, also of one that this run does not know.
    """

    agent_session: int
    launcher_session: int
    host: str = ""
    connected: bool = True
    next_address: str = ""
    last_heard_s: float = 0.0
    connected_s: float = 0.0
    trainer: Trainer = Trainer()

    @property
    def known_since_s(self) -> float:
        """Since when it is what it is: connected, or away."""
        return self.connected_s if self.connected else self.last_heard_s


class Purpose(str, Enum):
    """Why bytes are to be read."""

    JUDGE = "judge"  # after a save returned
    REREAD = "reread"  # before a plan names it


@dataclass(frozen=True)
class Task:
    """Bytes that one worker's agent was asked to read. `attempt`: the attempt whose plan waits for it (REREAD)."""

    task_id: str
    save: SaveId
    purpose: Purpose
    attempt: int
    reader: WorkerId
    prefix: str
    manifest_digest: str
    asked_s: float
    is_done: bool = False


@dataclass(frozen=True)
class End:
    """Why a run ended, and what `lastgood run` and `launch` exit with."""

    cause: Cause
    exit_status: int
    at_s: float


@dataclass(frozen=True)
class Run:
    """One run, as its journal tells it.

    members: the gang in TF_CONFIG's order, the chief first; empty until the first worker has said hello.
    highest_attempt: no attempt at or below it may ever be opened again.
    failures_in_a_row: attempts that failed since the last Good checkpoint of a new step, or since the run was opened.
    restarts: attempts that were opened because an earlier one had failed, over the whole life of the run.
    """

    run_id: str
    job: str
    policy: Policy = Policy()
    members: tuple[WorkerId, ...] = ()
    opened_s: float = 0.0
    sessions: Mapping[WorkerId, Session] = field(default_factory=dict)
    attempts: tuple[Attempt, ...] = ()
    checkpoints: Mapping[SaveId, Checkpoint] = field(default_factory=dict)
    tasks: Mapping[str, Task] = field(default_factory=dict)
    highest_attempt: int = 0
    failures_in_a_row: int = 0
    restarts: int = 0
    stop_asked: Cause | None = None
    end: End | None = None

    @property
    def attempt(self) -> Attempt | None:
        """The newest attempt, live or ended."""
        return self.attempts[-1] if self.attempts else None

    def back_since_s(self, workers: Iterable[WorkerId], at_s: float) -> float:
        """From when to count the patience with these workers: `at_s`, or later, when one of their agents came or went.

        What an agent has kept while it, or the controller, was away arrives only then.
        """
        return max([at_s, *(self.sessions[worker].known_since_s for worker in workers if worker in self.sessions)])

    def attempt_numbered(self, number: int) -> Attempt | None:
        """The attempt of that number, or None."""
        return next((attempt for attempt in reversed(self.attempts) if attempt.number == number), None)

    @property
    def chief(self) -> WorkerId | None:
        return self.members[0] if self.members else None


# ------------------------------------------------------------------------------------------------------------- events


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
    worker: WorkerId
    attempt: int
    listing: Listing


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
class AttemptFailed:
    """A decision: the attempt is over; every trainer of it is to be stopped."""

    number: int
    failure: Failure


@dataclass(frozen=True)
class AttemptEnded:
    """A decision: every trainer of the attempt is proven dead."""

    number: int


@dataclass(frozen=True)
class StopAsked:
    """A person or the launcher wants the run to end."""

    who: str
    why: str


@dataclass(frozen=True)
class RunEnded:
    """A decision: no further attempt is made."""

    cause: Cause
    exit_status: int


Fact = Union[
    WorkerConnected, WorkerDisconnected, TrainerChanged, StrategyMade, SaveReported, SaveFailed, Verified,
    CheckpointsRemoved, DirectoryListed, ReceiptGiven, CallEntered, FirstStepDone, HookFailed, SteeringLost,
    RestoreLeftAlone, StopAsked, RunOpened,
]  # fmt: skip
Decision = Union[
    WorkerLost, VerifyAsked, VerdictReached, Quarantined, AttemptOpened, PlanDecided, GateOpened, AttemptFailed,
    AttemptEnded, RunEnded,
]  # fmt: skip
Event = Union[Fact, Decision]


# --------------------------------------------------------------------------------------------------------------- fold


def opened(event: RunOpened, at_s: float) -> Run:
    """The run that a first `RunOpened` makes."""
    return Run(run_id=event.run_id, job=event.job, policy=event.policy, opened_s=at_s)


def apply(run: Run, event: Event, at_s: float) -> Run:
    """The run after one more event of its journal.

    Never refuses: whether an event may be recorded is decided before it is (`ingest` for facts, `plan` and `judge` for
    decisions). An event about an attempt that is no longer the newest changes evidence, never the newest attempt.
    """
    match event:
        case RunOpened():
            return replace(run, policy=event.policy, opened_s=at_s, failures_in_a_row=0, stop_asked=None, end=None)
        case WorkerConnected():
            return _with_connection(run, event, at_s)
        case WorkerDisconnected():
            session = run.sessions.get(event.worker)
            if session is None or session.agent_session != event.agent_session:
                return run
            return _with_session(run, event.worker, replace(session, connected=False, last_heard_s=at_s))
        case WorkerLost():
            session = run.sessions.get(event.worker)
            return run if session is None else _with_session(run, event.worker, replace(session, connected=False))
        case TrainerChanged():
            return _with_trainer(run, event.worker, event.trainer, event.next_address, at_s)
        case StrategyMade():
            return run
        case SaveReported():
            return _with_save_report(run, event, at_s)
        case SaveFailed():
            return _with_save_failure(run, event, at_s)
        case VerifyAsked():
            return replace(run, tasks={**run.tasks, event.task.task_id: event.task})
        case Verified():
            return _with_verification(run, event.verification, at_s)
        case VerdictReached():
            return _with_verdict(run, event)
        case Quarantined():
            return _with_quarantine(run, event)
        case CheckpointsRemoved():
            return _with_removal(run, event)
        case DirectoryListed():
            attempt = run.attempt_numbered(event.attempt)
            if attempt is None:
                return run
            return _with_attempt(run, _with_listing(attempt, event.worker, replace(event.listing, at_s=at_s)))
        case AttemptOpened():
            number = event.number
            attempt = Attempt(number=number, opened_s=at_s, addresses=event.addresses, steering=event.steering)
            is_restart = any(_has_failed(earlier) for earlier in run.attempts[-1:])
            return replace(
                run,
                attempts=(*run.attempts, attempt),
                highest_attempt=max(run.highest_attempt, number),
                restarts=run.restarts + is_restart,
            )
        case PlanDecided():
            return _with_plan(run, event, at_s)
        case ReceiptGiven():
            attempt = run.attempt_numbered(event.attempt)
            if attempt is None:
                return run
            receipt = replace(event.receipt, at_s=at_s)
            receipts = {**attempt.receipts, (receipt.worker, receipt.series): receipt}
            return _with_attempt(run, replace(attempt, receipts=receipts))
        case CallEntered():
            attempt = run.attempt_numbered(event.attempt)
            if attempt is None or event.worker in attempt.entered:
                return run
            return _with_attempt(run, replace(attempt, entered={**attempt.entered, event.worker: at_s}))
        case GateOpened():
            attempt = run.attempt_numbered(event.attempt)
            return run if attempt is None else _with_attempt(run, replace(attempt, gate_opened_s=at_s))
        case FirstStepDone():
            attempt = run.attempt_numbered(event.attempt)
            if attempt is None or event.worker in attempt.first_steps:
                return run
            return _with_attempt(run, replace(attempt, first_steps={**attempt.first_steps, event.worker: at_s}))
        case HookFailed():
            attempt = run.attempt_numbered(event.attempt)
            if attempt is None:
                return run
            failures = {**attempt.hook_failures, (event.worker, event.hook): event.count}
            return _with_attempt(run, replace(attempt, hook_failures=failures))
        case SteeringLost():
            attempt = run.attempt_numbered(event.attempt)
            if attempt is None or attempt.unsteered is not None:
                return run
            detail = f"hook {event.hook} failed on {event.worker}: {event.error}"
            return _with_attempt(run, replace(attempt, unsteered=Cause(Reason.UNSTEERED, detail)))
        case RestoreLeftAlone():
            attempt = run.attempt_numbered(event.attempt)
            if attempt is None:
                return run
            return _with_attempt(run, replace(attempt, left_alone=(*attempt.left_alone, event.prefix)))
        case AttemptFailed():
            attempt = run.attempt_numbered(event.number)
            if attempt is None:
                return run
            attempt = replace(attempt, failure=event.failure, failed_s=at_s)
            run = replace(run, failures_in_a_row=run.failures_in_a_row + _has_failed(attempt))
            return _with_attempt(run, attempt)
        case AttemptEnded():
            attempt = run.attempt_numbered(event.number)
            return run if attempt is None else _with_attempt(run, replace(attempt, ended_s=at_s))
        case StopAsked():
            detail = f"{event.why} (asked by {event.who})" if event.who else event.why
            return replace(run, stop_asked=Cause(Reason.INTERRUPTED, detail))
        case RunEnded():
            return replace(run, end=End(event.cause, event.exit_status, at_s))
        case _:
            assert_never(event)


def _has_failed(attempt: Attempt) -> bool:
    """It ended by a failure: that somebody asked for its end is none."""
    return attempt.failure is not None and attempt.failure.cause.reason is not Reason.INTERRUPTED


def _with_session(run: Run, worker: WorkerId, session: Session) -> Run:
    return replace(run, sessions={**run.sessions, worker: session})


def _with_attempt(run: Run, attempt: Attempt) -> Run:
    attempts = tuple(attempt if old.number == attempt.number else old for old in run.attempts)
    return replace(run, attempts=attempts)


def _with_checkpoint(run: Run, checkpoint: Checkpoint) -> Run:
    return replace(run, checkpoints={**run.checkpoints, checkpoint.save: checkpoint})


def _with_connection(run: Run, event: WorkerConnected, at_s: float) -> Run:
    """A new launcher means that the former one died, its trainer too: before its hello it kills what was left."""
    former = run.sessions.get(event.worker)
    session = replace(
        event.session,
        connected=True,
        last_heard_s=at_s,
        connected_s=at_s,
        trainer=event.trainer,
        next_address="" if event.trainer.is_running else event.session.next_address,
    )
    run = replace(
        run,
        members=run.members or event.members,
        highest_attempt=max(run.highest_attempt, event.highest_attempt),
    )
    run = _with_session(run, event.worker, session)
    attempt = run.attempt
    if former is not None and session.launcher_session > former.launcher_session and attempt and attempt.is_live:
        gone = Trainer(phase=TrainerPhase.EXITED, attempt=attempt.number)
        run = _with_trainer_record(run, event.worker, gone, at_s)
    return _with_trainer_record(run, event.worker, event.trainer, at_s)


def _with_listing(attempt: Attempt, worker: WorkerId, listing: Listing) -> Attempt:
    known = attempt.listings.get(worker, ())
    if attempt.plan is None:
        kept = tuple(old for old in known if old.directory != listing.directory)
    elif any((old.series, old.directory) == (listing.series, listing.directory) for old in known):
        return attempt
    else:
        kept = known
    return replace(attempt, listings={**attempt.listings, worker: (*kept, listing)})


def _with_trainer(run: Run, worker: WorkerId, trainer: Trainer, next_address: str, at_s: float) -> Run:
    session = run.sessions.get(worker)
    if session is not None:
        run = _with_session(run, worker, _with_word(replace(session, last_heard_s=at_s), trainer, next_address))
    return _with_trainer_record(run, worker, trainer, at_s)


def _with_word(session: Session, trainer: Trainer, next_address: str) -> Session:
    """The session after its launcher's word; an address is used up by the trainer that listens on it."""
    known = session.trainer
    is_older = trainer.attempt < known.attempt
    has_ended = trainer.attempt == known.attempt and known.phase is TrainerPhase.EXITED
    if is_older or (has_ended and trainer.phase is not TrainerPhase.EXITED):
        return session
    offer = "" if trainer.is_running else next_address or session.next_address
    return replace(session, trainer=trainer, next_address=offer)


def _with_trainer_record(run: Run, worker: WorkerId, trainer: Trainer, at_s: float) -> Run:
    attempt = run.attempt_numbered(trainer.attempt)
    if attempt is None or trainer.phase is TrainerPhase.NONE:
        return run
    old = attempt.trainers.get(worker, Trainer())
    if old.phase is TrainerPhase.EXITED:
        return run
    trainer = replace(
        trainer,
        pid=trainer.pid or old.pid,
        started_s=old.started_s if old.started_s is not None else at_s,
        exited_s=at_s if trainer.phase is TrainerPhase.EXITED else None,
    )
    return _with_attempt(run, replace(attempt, trainers={**attempt.trainers, worker: trainer}))


def _with_save_report(run: Run, event: SaveReported, at_s: float) -> Run:
    report = replace(event.report, at_s=at_s)
    known = run.checkpoints.get(event.save)
    if known is None:
        return _with_checkpoint(run, Checkpoint(event.save, {report.worker: report}, first_report_s=at_s))
    if report.worker in known.reports:
        return run
    return _with_checkpoint(run, replace(known, reports={**known.reports, report.worker: report}))


def _with_save_failure(run: Run, event: SaveFailed, at_s: float) -> Run:
    known = run.checkpoints.get(event.save) or Checkpoint(event.save, {}, first_report_s=at_s)
    return _with_checkpoint(run, replace(known, failed={**known.failed, event.worker: event.error}))


def _with_verification(run: Run, verification: Verification, at_s: float) -> Run:
    """The answer to the task that was asked last counts: a late answer to an earlier one does not hide it."""
    task = run.tasks.get(verification.task_id)
    if task is None or task.is_done:
        return run
    run = replace(run, tasks={**run.tasks, task.task_id: replace(task, is_done=True)})
    checkpoint = run.checkpoints.get(task.save)
    if checkpoint is None:
        return run
    known = run.tasks.get(checkpoint.verification.task_id) if checkpoint.verification is not None else None
    if known is not None and known.asked_s > task.asked_s:
        return run
    return _with_checkpoint(run, replace(checkpoint, verification=replace(verification, at_s=at_s)))


def _with_verdict(run: Run, event: VerdictReached) -> Run:
    """A new Good checkpoint is progress, also when it is proven only while the next attempt starts.

    One of the step that its attempt started from is none: a script may save before it trains, and fail each time.
    """
    checkpoint = run.checkpoints.get(event.save)
    if checkpoint is None:
        return run
    run = _with_checkpoint(run, replace(checkpoint, verdict=event.verdict))
    is_new = event.verdict.standing is Standing.GOOD and checkpoint.verdict.standing is not Standing.GOOD
    newest = run.attempts[-1:] if not run.attempts or run.attempts[-1].plan is not None else run.attempts[-2:]
    own = next((attempt for attempt in newest if attempt.number == event.save.attempt), None)
    is_progress = is_new and own is not None and _went_beyond(checkpoint.primary(run.members), own.plan)
    return replace(run, failures_in_a_row=0) if is_progress else run


def _went_beyond(report: SaveReport | None, plan: Plan | None) -> bool:
    """Whether a save is of a later step than its attempt started from, as far as steps are known."""
    started = plan.step if plan is not None else None
    return report is None or report.step is None or started is None or report.step > started


def _with_quarantine(run: Run, event: Quarantined) -> Run:
    for checkpoint in tuple(run.checkpoints.values()):
        if any(report.manifest_digest == event.manifest_digest for report in checkpoint.reports.values()):
            run = _with_checkpoint(run, replace(checkpoint, quarantine=event.cause))
    return run


def _with_removal(run: Run, event: CheckpointsRemoved) -> Run:
    """Marks what lay at the removed prefixes: the newest checkpoint that was saved there, of the primary's files."""
    for prefix in event.prefixes:
        there = [c for c in run.checkpoints.values() if (p := c.primary(run.members)) and p.prefix == prefix]
        there = [c for c in there if not c.removed and c.save.attempt <= event.attempt]
        if there:
            newest = max(there, key=lambda c: (c.save.attempt, c.save.ordinal))
            run = _with_checkpoint(run, replace(newest, removed=True))
    return run


def _with_plan(run: Run, event: PlanDecided, at_s: float) -> Run:
    attempt = run.attempt_numbered(event.attempt)
    if attempt is None or attempt.plan is not None:
        return run
    run = _with_attempt(run, replace(attempt, plan=event.plan, planned_s=at_s))
    for planned, report in zip(event.plan.series, event.adopted):
        run = _with_checkpoint(run, Checkpoint(planned.save, {report.worker: report}, first_report_s=at_s))
    return run
