"""The words of lastgood as types: what a run is, and everything in it.

Decides nothing, and knows neither the clock nor the network nor a database. What can happen to a run stands in
`events`, what that makes of it in `fold`. Every time is in seconds since the epoch, on the controller's clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

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


class ReceiptPolicy(str, Enum):
    """What becomes of a restore that put other values into the variables than the checkpoint holds."""

    ENFORCE = "enforce"  # it fails the attempt
    WARN = "warn"  # it is told, and training goes on
    OFF = "off"  # nothing is compared


class SharedWritePolicy(str, Enum):
    """What is done about two workers that save to one prefix."""

    WARN = "warn"  # they are told
    REDIRECT = "redirect"  # the later member's saves go to a directory of its own from then on
    STOP = "stop"  # the run ends


@dataclass(frozen=True)
class Policy:
    """What an operator may set. Every time is in seconds.

    steering: False observes only: nothing is steered, gated or planned, and every attempt is marked unsteered.
    receipts, shared_write: see there. Where nothing is steered, nothing is redirected either.
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
    first_step_s: from the plan until every worker's first step; 0 for no limit.
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
    first_step_s: float = 600.0
    receipts: ReceiptPolicy = ReceiptPolicy.ENFORCE
    shared_write: SharedWritePolicy = SharedWritePolicy.REDIRECT


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
    held: the saves of this series that its hooks held against rotation when this one returned.
    observed: its restores cannot be steered, so that it is judged and kept and never planned.
    unsaved_variables: what the save left out, and where it is held; told at the first save and at changes.
    redirected_from: the prefix that the script named, where the save was sent elsewhere.
    """

    worker: WorkerId
    prefix: str
    manifest_digest: str
    step: int | None = None
    save_counter: int | None = None
    durable: bool = False
    save_duration_s: float = 0.0
    unsaved_variables: tuple[str, ...] = ()
    held: tuple[SaveId, ...] = ()
    redirected_from: str = ""
    at_s: float = 0.0
    observed: bool = False


@dataclass(frozen=True)
class Verification:
    """What one reading of a checkpoint's bytes found. No faults: whole. from_pin: they are those of its pin."""

    task_id: str
    reader: WorkerId
    prefix: str
    manifest_digest: str
    faults: tuple[Cause, ...]
    medium: Medium
    bytes_read: int = 0
    duration_s: float = 0.0
    from_pin: bool = False
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
class ScriptError:
    """An exception that nobody caught, as Python printed it.

    place: the innermost line of the script's own, as `FILE:LINE in FUNCTION`. lines: the end of the traceback.
    """

    type: str
    message: str = ""
    place: str = ""
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trainer:
    """One worker's training process in one attempt.

    reached_step: the last step it completed, None when unknown. last_lines: what it printed last, oldest first.
    was_stopped: it ended because it was told to. asked_signal: what its launcher, or the gang, was told to end by.
    error: the exception that ended it. oom_kills: how many processes of its cgroup the kernel killed for want of memory
    meanwhile. kernel_word: what the kernel's log says when it was one of them.
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
    asked_signal: int | None = None
    error: ScriptError | None = None
    oom_kills: int = 0
    kernel_word: str = ""

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
    other_entries: how many entries of the directory belong to no checkpoint.
    """

    series: SeriesId
    directory: str
    checkpoints: tuple[FoundCheckpoint, ...]
    at_s: float = 0.0
    other_entries: int = 0


@dataclass(frozen=True)
class Explained:
    """What became of one value in a restore, in the words of docs/explain.md."""

    key: str
    outcome: str
    reason: str
    fix: str = ""
    is_suspected: bool = False


@dataclass(frozen=True)
class Receipt:
    """A worker's proof after restoring. It is good when nothing is wrong, missing or raised.

    explained: why values are wrong or were left. model_change: why it is the script's fault; "" where it is not.
    unmatched: values that met nothing on the other side, for which nobody is blamed.
    found_instead: where else the wrong values are. is_uncompared: receipts are switched off.
    """

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
    explained: tuple[Explained, ...] = ()
    model_change: str = ""
    unmatched: tuple[Explained, ...] = ()
    found_instead: str = ""
    is_uncompared: bool = False
    at_s: float = 0.0

    @property
    def is_good(self) -> bool:
        return not (self.left_at_initial or self.wrong_value or self.error or self.model_change)


@dataclass(frozen=True)
class SharedWrite:
    """Two workers that save to one prefix, as one of them says. directory: as that one calls it."""

    worker: WorkerId
    other: WorkerId
    directory: str
    prefix: str
    series: SeriesId
    is_redirected: bool = False
    at_s: float = 0.0


class ExportKind(str, Enum):
    """What a script wrote that is not for going on from."""

    SAVED_MODEL = "saved_model"
    HDF5 = "hdf5"
    KERAS = "keras"


@dataclass(frozen=True)
class Export:
    """Something that a script wrote for others to use: it was read once, and is never planned.

    path: the file, or the SavedModel's directory. No faults: whole, as far as its format tells. error: what saving it
    raised, "" when it returned.
    """

    worker: WorkerId
    kind: ExportKind
    path: str
    step: int | None = None
    faults: tuple[Cause, ...] = ()
    bytes_read: int = 0
    duration_s: float = 0.0
    error: str = ""
    at_s: float = 0.0


class NoticeKind(str, Enum):
    """What an operator should know of a script."""

    READ = "read"  # a process that trains in no gang read a checkpoint
    STATE_FILE = "state_file"  # a state file that TensorFlow cannot read was taken for a missing one
    NEVER_ASKED = "never_asked"  # it trains, and never asked what to restore, though checkpoints lie where it saves
    UNSUPPORTED = "unsupported"  # it does what lastgood or TensorFlow cannot do in this job


@dataclass(frozen=True)
class Notice:
    """Something that was noticed of one worker's script. path: what it is about; of UNSUPPORTED, its name."""

    worker: WorkerId
    kind: NoticeKind
    path: str
    detail: str = ""
    at_s: float = 0.0


@dataclass(frozen=True)
class Failure:
    """Why an attempt was stopped: the first thing that went wrong, and on whom. worker is None for the gang as one."""

    worker: WorkerId | None
    cause: Cause
    at_s: float


@dataclass(frozen=True)
class EndNotice:
    """Somebody was told to end, and has until then to do so by itself. who: a signal's name, or a person."""

    who: str
    at_s: float
    until_s: float


@dataclass(frozen=True)
class Attempt:
    """One life of the gang, from the opening until every trainer is proven dead.

    strategies: when each worker made its strategy. leaving: workers whose launchers were told to end. sigterm_handlers:
    what handles SIGTERM in the script, by workers where something does.
    """

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
    exports: tuple[Export, ...] = ()
    notices: tuple[Notice, ...] = ()
    shared_writes: tuple[SharedWrite, ...] = ()
    failure: Failure | None = None
    failed_s: float | None = None
    ended_s: float | None = None
    strategies: Mapping[WorkerId, float] = field(default_factory=dict)
    leaving: Mapping[WorkerId, EndNotice] = field(default_factory=dict)
    sigterm_handlers: Mapping[WorkerId, str] = field(default_factory=dict)

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
    failures_in_a_row: attempts that failed since the last Good checkpoint of a new step, or since the run was opened,
        those left out that spend no budget.
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
    stop_notice: EndNotice | None = None
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
