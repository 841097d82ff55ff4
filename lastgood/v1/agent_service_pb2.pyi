import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from lastgood.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReceiptPolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RECEIPT_POLICY_UNSPECIFIED: _ClassVar[ReceiptPolicy]
    RECEIPT_POLICY_ENFORCE: _ClassVar[ReceiptPolicy]
    RECEIPT_POLICY_WARN: _ClassVar[ReceiptPolicy]
    RECEIPT_POLICY_OFF: _ClassVar[ReceiptPolicy]

class SharedWritePolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SHARED_WRITE_POLICY_UNSPECIFIED: _ClassVar[SharedWritePolicy]
    SHARED_WRITE_POLICY_WARN: _ClassVar[SharedWritePolicy]
    SHARED_WRITE_POLICY_REDIRECT: _ClassVar[SharedWritePolicy]
    SHARED_WRITE_POLICY_STOP: _ClassVar[SharedWritePolicy]

class TrainerAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TRAINER_ACTION_UNSPECIFIED: _ClassVar[TrainerAction]
    TRAINER_ACTION_HOLD: _ClassVar[TrainerAction]
    TRAINER_ACTION_RUN: _ClassVar[TrainerAction]
    TRAINER_ACTION_STOP: _ClassVar[TrainerAction]

class TrainerPhase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TRAINER_PHASE_UNSPECIFIED: _ClassVar[TrainerPhase]
    TRAINER_PHASE_NONE: _ClassVar[TrainerPhase]
    TRAINER_PHASE_RUNNING: _ClassVar[TrainerPhase]
    TRAINER_PHASE_EXITED: _ClassVar[TrainerPhase]

class ExportKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EXPORT_KIND_UNSPECIFIED: _ClassVar[ExportKind]
    EXPORT_KIND_SAVED_MODEL: _ClassVar[ExportKind]
    EXPORT_KIND_HDF5: _ClassVar[ExportKind]
    EXPORT_KIND_KERAS: _ClassVar[ExportKind]

class NoticeKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NOTICE_KIND_UNSPECIFIED: _ClassVar[NoticeKind]
    NOTICE_KIND_READ: _ClassVar[NoticeKind]
    NOTICE_KIND_STATE_FILE: _ClassVar[NoticeKind]
    NOTICE_KIND_NEVER_ASKED: _ClassVar[NoticeKind]
    NOTICE_KIND_UNSUPPORTED: _ClassVar[NoticeKind]

class Medium(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MEDIUM_UNSPECIFIED: _ClassVar[Medium]
    MEDIUM_PEER: _ClassVar[Medium]
    MEDIUM_DISK: _ClassVar[Medium]
    MEDIUM_CACHE: _ClassVar[Medium]
RECEIPT_POLICY_UNSPECIFIED: ReceiptPolicy
RECEIPT_POLICY_ENFORCE: ReceiptPolicy
RECEIPT_POLICY_WARN: ReceiptPolicy
RECEIPT_POLICY_OFF: ReceiptPolicy
SHARED_WRITE_POLICY_UNSPECIFIED: SharedWritePolicy
SHARED_WRITE_POLICY_WARN: SharedWritePolicy
SHARED_WRITE_POLICY_REDIRECT: SharedWritePolicy
SHARED_WRITE_POLICY_STOP: SharedWritePolicy
TRAINER_ACTION_UNSPECIFIED: TrainerAction
TRAINER_ACTION_HOLD: TrainerAction
TRAINER_ACTION_RUN: TrainerAction
TRAINER_ACTION_STOP: TrainerAction
TRAINER_PHASE_UNSPECIFIED: TrainerPhase
TRAINER_PHASE_NONE: TrainerPhase
TRAINER_PHASE_RUNNING: TrainerPhase
TRAINER_PHASE_EXITED: TrainerPhase
EXPORT_KIND_UNSPECIFIED: ExportKind
EXPORT_KIND_SAVED_MODEL: ExportKind
EXPORT_KIND_HDF5: ExportKind
EXPORT_KIND_KERAS: ExportKind
NOTICE_KIND_UNSPECIFIED: NoticeKind
NOTICE_KIND_READ: NoticeKind
NOTICE_KIND_STATE_FILE: NoticeKind
NOTICE_KIND_NEVER_ASKED: NoticeKind
NOTICE_KIND_UNSUPPORTED: NoticeKind
MEDIUM_UNSPECIFIED: Medium
MEDIUM_PEER: Medium
MEDIUM_DISK: Medium
MEDIUM_CACHE: Medium

class Sender(_message.Message):
    __slots__ = ("run_id", "worker", "agent_session", "launcher_session")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    AGENT_SESSION_FIELD_NUMBER: _ClassVar[int]
    LAUNCHER_SESSION_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    worker: _common_pb2.Worker
    agent_session: int
    launcher_session: int
    def __init__(self, run_id: _Optional[str] = ..., worker: _Optional[_Union[_common_pb2.Worker, _Mapping]] = ..., agent_session: _Optional[int] = ..., launcher_session: _Optional[int] = ...) -> None: ...

class SubscribeRequest(_message.Message):
    __slots__ = ("sender", "job", "members", "highest_attempt", "next_address", "trainer", "host", "may_reopen")
    SENDER_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    HIGHEST_ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    NEXT_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    TRAINER_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    MAY_REOPEN_FIELD_NUMBER: _ClassVar[int]
    sender: Sender
    job: str
    members: _containers.RepeatedCompositeFieldContainer[_common_pb2.Worker]
    highest_attempt: int
    next_address: str
    trainer: TrainerState
    host: str
    may_reopen: bool
    def __init__(self, sender: _Optional[_Union[Sender, _Mapping]] = ..., job: _Optional[str] = ..., members: _Optional[_Iterable[_Union[_common_pb2.Worker, _Mapping]]] = ..., highest_attempt: _Optional[int] = ..., next_address: _Optional[str] = ..., trainer: _Optional[_Union[TrainerState, _Mapping]] = ..., host: _Optional[str] = ..., may_reopen: _Optional[bool] = ...) -> None: ...

class SubscribeResponse(_message.Message):
    __slots__ = ("desired",)
    DESIRED_FIELD_NUMBER: _ClassVar[int]
    desired: DesiredState
    def __init__(self, desired: _Optional[_Union[DesiredState, _Mapping]] = ...) -> None: ...

class DesiredState(_message.Message):
    __slots__ = ("attempt", "action", "addresses", "members", "plan", "listing_wanted", "gate_open", "steering", "verify_tasks", "end", "pins", "end_announced", "guards", "nothing_known")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    LISTING_WANTED_FIELD_NUMBER: _ClassVar[int]
    GATE_OPEN_FIELD_NUMBER: _ClassVar[int]
    STEERING_FIELD_NUMBER: _ClassVar[int]
    VERIFY_TASKS_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    PINS_FIELD_NUMBER: _ClassVar[int]
    END_ANNOUNCED_FIELD_NUMBER: _ClassVar[int]
    GUARDS_FIELD_NUMBER: _ClassVar[int]
    NOTHING_KNOWN_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    action: TrainerAction
    addresses: _containers.RepeatedScalarFieldContainer[str]
    members: _containers.RepeatedCompositeFieldContainer[_common_pb2.Worker]
    plan: _common_pb2.Plan
    listing_wanted: bool
    gate_open: bool
    steering: bool
    verify_tasks: _containers.RepeatedCompositeFieldContainer[VerifyTask]
    end: RunEnd
    pins: Pins
    end_announced: bool
    guards: Guards
    nothing_known: bool
    def __init__(self, attempt: _Optional[int] = ..., action: _Optional[_Union[TrainerAction, str]] = ..., addresses: _Optional[_Iterable[str]] = ..., members: _Optional[_Iterable[_Union[_common_pb2.Worker, _Mapping]]] = ..., plan: _Optional[_Union[_common_pb2.Plan, _Mapping]] = ..., listing_wanted: _Optional[bool] = ..., gate_open: _Optional[bool] = ..., steering: _Optional[bool] = ..., verify_tasks: _Optional[_Iterable[_Union[VerifyTask, _Mapping]]] = ..., end: _Optional[_Union[RunEnd, _Mapping]] = ..., pins: _Optional[_Union[Pins, _Mapping]] = ..., end_announced: _Optional[bool] = ..., guards: _Optional[_Union[Guards, _Mapping]] = ..., nothing_known: _Optional[bool] = ...) -> None: ...

class Pins(_message.Message):
    __slots__ = ("good", "undecided", "through")
    GOOD_FIELD_NUMBER: _ClassVar[int]
    UNDECIDED_FIELD_NUMBER: _ClassVar[int]
    THROUGH_FIELD_NUMBER: _ClassVar[int]
    good: _containers.RepeatedCompositeFieldContainer[PinnedSave]
    undecided: _containers.RepeatedCompositeFieldContainer[_common_pb2.Save]
    through: _containers.RepeatedCompositeFieldContainer[_common_pb2.Save]
    def __init__(self, good: _Optional[_Iterable[_Union[PinnedSave, _Mapping]]] = ..., undecided: _Optional[_Iterable[_Union[_common_pb2.Save, _Mapping]]] = ..., through: _Optional[_Iterable[_Union[_common_pb2.Save, _Mapping]]] = ...) -> None: ...

class PinnedSave(_message.Message):
    __slots__ = ("save", "prefix", "manifest_digest")
    SAVE_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_DIGEST_FIELD_NUMBER: _ClassVar[int]
    save: _common_pb2.Save
    prefix: str
    manifest_digest: str
    def __init__(self, save: _Optional[_Union[_common_pb2.Save, _Mapping]] = ..., prefix: _Optional[str] = ..., manifest_digest: _Optional[str] = ...) -> None: ...

class Guards(_message.Message):
    __slots__ = ("receipts", "shared_write")
    RECEIPTS_FIELD_NUMBER: _ClassVar[int]
    SHARED_WRITE_FIELD_NUMBER: _ClassVar[int]
    receipts: ReceiptPolicy
    shared_write: SharedWritePolicy
    def __init__(self, receipts: _Optional[_Union[ReceiptPolicy, str]] = ..., shared_write: _Optional[_Union[SharedWritePolicy, str]] = ...) -> None: ...

class RunEnd(_message.Message):
    __slots__ = ("reason", "exit_status")
    REASON_FIELD_NUMBER: _ClassVar[int]
    EXIT_STATUS_FIELD_NUMBER: _ClassVar[int]
    reason: _common_pb2.ReasonDetail
    exit_status: int
    def __init__(self, reason: _Optional[_Union[_common_pb2.ReasonDetail, _Mapping]] = ..., exit_status: _Optional[int] = ...) -> None: ...

class VerifyTask(_message.Message):
    __slots__ = ("task_id", "prefix", "manifest_digest", "save")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_DIGEST_FIELD_NUMBER: _ClassVar[int]
    SAVE_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    prefix: str
    manifest_digest: str
    save: _common_pb2.Save
    def __init__(self, task_id: _Optional[str] = ..., prefix: _Optional[str] = ..., manifest_digest: _Optional[str] = ..., save: _Optional[_Union[_common_pb2.Save, _Mapping]] = ...) -> None: ...

class TrainerState(_message.Message):
    __slots__ = ("phase", "attempt", "pid", "exit_code", "signal", "last_lines", "was_stopped", "reached_step", "completed_calls", "error", "oom_kills", "kernel_word", "asked_signal")
    PHASE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    LAST_LINES_FIELD_NUMBER: _ClassVar[int]
    WAS_STOPPED_FIELD_NUMBER: _ClassVar[int]
    REACHED_STEP_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_CALLS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    OOM_KILLS_FIELD_NUMBER: _ClassVar[int]
    KERNEL_WORD_FIELD_NUMBER: _ClassVar[int]
    ASKED_SIGNAL_FIELD_NUMBER: _ClassVar[int]
    phase: TrainerPhase
    attempt: int
    pid: int
    exit_code: int
    signal: int
    last_lines: _containers.RepeatedScalarFieldContainer[str]
    was_stopped: bool
    reached_step: int
    completed_calls: int
    error: ScriptError
    oom_kills: int
    kernel_word: str
    asked_signal: int
    def __init__(self, phase: _Optional[_Union[TrainerPhase, str]] = ..., attempt: _Optional[int] = ..., pid: _Optional[int] = ..., exit_code: _Optional[int] = ..., signal: _Optional[int] = ..., last_lines: _Optional[_Iterable[str]] = ..., was_stopped: _Optional[bool] = ..., reached_step: _Optional[int] = ..., completed_calls: _Optional[int] = ..., error: _Optional[_Union[ScriptError, _Mapping]] = ..., oom_kills: _Optional[int] = ..., kernel_word: _Optional[str] = ..., asked_signal: _Optional[int] = ...) -> None: ...

class ScriptError(_message.Message):
    __slots__ = ("type", "message", "place", "lines")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    type: str
    message: str
    place: str
    lines: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, type: _Optional[str] = ..., message: _Optional[str] = ..., place: _Optional[str] = ..., lines: _Optional[_Iterable[str]] = ...) -> None: ...

class ReportRequest(_message.Message):
    __slots__ = ("sender", "reports", "progress")
    SENDER_FIELD_NUMBER: _ClassVar[int]
    REPORTS_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    sender: Sender
    reports: _containers.RepeatedCompositeFieldContainer[Report]
    progress: Progress
    def __init__(self, sender: _Optional[_Union[Sender, _Mapping]] = ..., reports: _Optional[_Iterable[_Union[Report, _Mapping]]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ...) -> None: ...

class ReportResponse(_message.Message):
    __slots__ = ("acknowledged", "wanted_manifests", "heartbeat_interval")
    ACKNOWLEDGED_FIELD_NUMBER: _ClassVar[int]
    WANTED_MANIFESTS_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    acknowledged: _containers.RepeatedScalarFieldContainer[str]
    wanted_manifests: _containers.RepeatedScalarFieldContainer[str]
    heartbeat_interval: _duration_pb2.Duration
    def __init__(self, acknowledged: _Optional[_Iterable[str]] = ..., wanted_manifests: _Optional[_Iterable[str]] = ..., heartbeat_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("step", "completed_calls")
    STEP_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_CALLS_FIELD_NUMBER: _ClassVar[int]
    step: int
    completed_calls: int
    def __init__(self, step: _Optional[int] = ..., completed_calls: _Optional[int] = ...) -> None: ...

class Report(_message.Message):
    __slots__ = ("report_id", "attempt", "happened_at", "trainer_changed", "save_reported", "save_failed", "verified", "directory_listed", "receipt", "call_entered", "first_step", "hook_failed", "steering_lost", "restore_left_alone", "checkpoints_removed", "strategy_made", "worker_leaving", "sigterm_handled", "exported", "noticed", "shared_write")
    REPORT_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    HAPPENED_AT_FIELD_NUMBER: _ClassVar[int]
    TRAINER_CHANGED_FIELD_NUMBER: _ClassVar[int]
    SAVE_REPORTED_FIELD_NUMBER: _ClassVar[int]
    SAVE_FAILED_FIELD_NUMBER: _ClassVar[int]
    VERIFIED_FIELD_NUMBER: _ClassVar[int]
    DIRECTORY_LISTED_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    CALL_ENTERED_FIELD_NUMBER: _ClassVar[int]
    FIRST_STEP_FIELD_NUMBER: _ClassVar[int]
    HOOK_FAILED_FIELD_NUMBER: _ClassVar[int]
    STEERING_LOST_FIELD_NUMBER: _ClassVar[int]
    RESTORE_LEFT_ALONE_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINTS_REMOVED_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_MADE_FIELD_NUMBER: _ClassVar[int]
    WORKER_LEAVING_FIELD_NUMBER: _ClassVar[int]
    SIGTERM_HANDLED_FIELD_NUMBER: _ClassVar[int]
    EXPORTED_FIELD_NUMBER: _ClassVar[int]
    NOTICED_FIELD_NUMBER: _ClassVar[int]
    SHARED_WRITE_FIELD_NUMBER: _ClassVar[int]
    report_id: str
    attempt: int
    happened_at: _timestamp_pb2.Timestamp
    trainer_changed: TrainerChanged
    save_reported: SaveReported
    save_failed: SaveFailed
    verified: Verified
    directory_listed: DirectoryListed
    receipt: Receipt
    call_entered: CallEntered
    first_step: FirstStep
    hook_failed: HookFailed
    steering_lost: SteeringLost
    restore_left_alone: RestoreLeftAlone
    checkpoints_removed: CheckpointsRemoved
    strategy_made: StrategyMade
    worker_leaving: WorkerLeaving
    sigterm_handled: SigtermHandled
    exported: Exported
    noticed: Noticed
    shared_write: SharedWrite
    def __init__(self, report_id: _Optional[str] = ..., attempt: _Optional[int] = ..., happened_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., trainer_changed: _Optional[_Union[TrainerChanged, _Mapping]] = ..., save_reported: _Optional[_Union[SaveReported, _Mapping]] = ..., save_failed: _Optional[_Union[SaveFailed, _Mapping]] = ..., verified: _Optional[_Union[Verified, _Mapping]] = ..., directory_listed: _Optional[_Union[DirectoryListed, _Mapping]] = ..., receipt: _Optional[_Union[Receipt, _Mapping]] = ..., call_entered: _Optional[_Union[CallEntered, _Mapping]] = ..., first_step: _Optional[_Union[FirstStep, _Mapping]] = ..., hook_failed: _Optional[_Union[HookFailed, _Mapping]] = ..., steering_lost: _Optional[_Union[SteeringLost, _Mapping]] = ..., restore_left_alone: _Optional[_Union[RestoreLeftAlone, _Mapping]] = ..., checkpoints_removed: _Optional[_Union[CheckpointsRemoved, _Mapping]] = ..., strategy_made: _Optional[_Union[StrategyMade, _Mapping]] = ..., worker_leaving: _Optional[_Union[WorkerLeaving, _Mapping]] = ..., sigterm_handled: _Optional[_Union[SigtermHandled, _Mapping]] = ..., exported: _Optional[_Union[Exported, _Mapping]] = ..., noticed: _Optional[_Union[Noticed, _Mapping]] = ..., shared_write: _Optional[_Union[SharedWrite, _Mapping]] = ...) -> None: ...

class TrainerChanged(_message.Message):
    __slots__ = ("trainer", "next_address")
    TRAINER_FIELD_NUMBER: _ClassVar[int]
    NEXT_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    trainer: TrainerState
    next_address: str
    def __init__(self, trainer: _Optional[_Union[TrainerState, _Mapping]] = ..., next_address: _Optional[str] = ...) -> None: ...

class StrategyMade(_message.Message):
    __slots__ = ("strategy", "replicas")
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    strategy: str
    replicas: int
    def __init__(self, strategy: _Optional[str] = ..., replicas: _Optional[int] = ...) -> None: ...

class WorkerLeaving(_message.Message):
    __slots__ = ("signal", "grace")
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    GRACE_FIELD_NUMBER: _ClassVar[int]
    signal: str
    grace: _duration_pb2.Duration
    def __init__(self, signal: _Optional[str] = ..., grace: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class SigtermHandled(_message.Message):
    __slots__ = ("handler",)
    HANDLER_FIELD_NUMBER: _ClassVar[int]
    handler: str
    def __init__(self, handler: _Optional[str] = ...) -> None: ...

class Exported(_message.Message):
    __slots__ = ("kind", "path", "step", "faults", "bytes_read", "duration", "error")
    KIND_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    FAULTS_FIELD_NUMBER: _ClassVar[int]
    BYTES_READ_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    kind: ExportKind
    path: str
    step: int
    faults: _containers.RepeatedCompositeFieldContainer[_common_pb2.ReasonDetail]
    bytes_read: int
    duration: _duration_pb2.Duration
    error: str
    def __init__(self, kind: _Optional[_Union[ExportKind, str]] = ..., path: _Optional[str] = ..., step: _Optional[int] = ..., faults: _Optional[_Iterable[_Union[_common_pb2.ReasonDetail, _Mapping]]] = ..., bytes_read: _Optional[int] = ..., duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., error: _Optional[str] = ...) -> None: ...

class Noticed(_message.Message):
    __slots__ = ("kind", "path", "detail")
    KIND_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    kind: NoticeKind
    path: str
    detail: str
    def __init__(self, kind: _Optional[_Union[NoticeKind, str]] = ..., path: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...

class SaveReported(_message.Message):
    __slots__ = ("save", "prefix", "manifest_digest", "step", "save_counter", "durable", "save_duration", "unsaved_variables", "held", "observed", "redirected_from")
    SAVE_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_DIGEST_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    SAVE_COUNTER_FIELD_NUMBER: _ClassVar[int]
    DURABLE_FIELD_NUMBER: _ClassVar[int]
    SAVE_DURATION_FIELD_NUMBER: _ClassVar[int]
    UNSAVED_VARIABLES_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_FIELD_NUMBER: _ClassVar[int]
    REDIRECTED_FROM_FIELD_NUMBER: _ClassVar[int]
    save: _common_pb2.Save
    prefix: str
    manifest_digest: str
    step: int
    save_counter: int
    durable: bool
    save_duration: _duration_pb2.Duration
    unsaved_variables: _containers.RepeatedScalarFieldContainer[str]
    held: _containers.RepeatedCompositeFieldContainer[_common_pb2.Save]
    observed: bool
    redirected_from: str
    def __init__(self, save: _Optional[_Union[_common_pb2.Save, _Mapping]] = ..., prefix: _Optional[str] = ..., manifest_digest: _Optional[str] = ..., step: _Optional[int] = ..., save_counter: _Optional[int] = ..., durable: _Optional[bool] = ..., save_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., unsaved_variables: _Optional[_Iterable[str]] = ..., held: _Optional[_Iterable[_Union[_common_pb2.Save, _Mapping]]] = ..., observed: _Optional[bool] = ..., redirected_from: _Optional[str] = ...) -> None: ...

class SharedWrite(_message.Message):
    __slots__ = ("directory", "prefix", "other", "is_redirected", "series")
    DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    OTHER_FIELD_NUMBER: _ClassVar[int]
    IS_REDIRECTED_FIELD_NUMBER: _ClassVar[int]
    SERIES_FIELD_NUMBER: _ClassVar[int]
    directory: str
    prefix: str
    other: _common_pb2.Worker
    is_redirected: bool
    series: _common_pb2.Series
    def __init__(self, directory: _Optional[str] = ..., prefix: _Optional[str] = ..., other: _Optional[_Union[_common_pb2.Worker, _Mapping]] = ..., is_redirected: _Optional[bool] = ..., series: _Optional[_Union[_common_pb2.Series, _Mapping]] = ...) -> None: ...

class SaveFailed(_message.Message):
    __slots__ = ("save", "prefix", "error")
    SAVE_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    save: _common_pb2.Save
    prefix: str
    error: str
    def __init__(self, save: _Optional[_Union[_common_pb2.Save, _Mapping]] = ..., prefix: _Optional[str] = ..., error: _Optional[str] = ...) -> None: ...

class Verified(_message.Message):
    __slots__ = ("task_id", "prefix", "manifest_digest", "faults", "medium", "bytes_read", "duration", "from_pin")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_DIGEST_FIELD_NUMBER: _ClassVar[int]
    FAULTS_FIELD_NUMBER: _ClassVar[int]
    MEDIUM_FIELD_NUMBER: _ClassVar[int]
    BYTES_READ_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    FROM_PIN_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    prefix: str
    manifest_digest: str
    faults: _containers.RepeatedCompositeFieldContainer[_common_pb2.ReasonDetail]
    medium: Medium
    bytes_read: int
    duration: _duration_pb2.Duration
    from_pin: bool
    def __init__(self, task_id: _Optional[str] = ..., prefix: _Optional[str] = ..., manifest_digest: _Optional[str] = ..., faults: _Optional[_Iterable[_Union[_common_pb2.ReasonDetail, _Mapping]]] = ..., medium: _Optional[_Union[Medium, str]] = ..., bytes_read: _Optional[int] = ..., duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., from_pin: _Optional[bool] = ...) -> None: ...

class DirectoryListed(_message.Message):
    __slots__ = ("series", "directory", "checkpoints", "highest_attempt", "other_entries")
    SERIES_FIELD_NUMBER: _ClassVar[int]
    DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINTS_FIELD_NUMBER: _ClassVar[int]
    HIGHEST_ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    OTHER_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    series: _common_pb2.Series
    directory: str
    checkpoints: _containers.RepeatedCompositeFieldContainer[FoundCheckpoint]
    highest_attempt: int
    other_entries: int
    def __init__(self, series: _Optional[_Union[_common_pb2.Series, _Mapping]] = ..., directory: _Optional[str] = ..., checkpoints: _Optional[_Iterable[_Union[FoundCheckpoint, _Mapping]]] = ..., highest_attempt: _Optional[int] = ..., other_entries: _Optional[int] = ...) -> None: ...

class FoundCheckpoint(_message.Message):
    __slots__ = ("prefix", "manifest_digest", "step", "faults")
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_DIGEST_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    FAULTS_FIELD_NUMBER: _ClassVar[int]
    prefix: str
    manifest_digest: str
    step: int
    faults: _containers.RepeatedCompositeFieldContainer[_common_pb2.ReasonDetail]
    def __init__(self, prefix: _Optional[str] = ..., manifest_digest: _Optional[str] = ..., step: _Optional[int] = ..., faults: _Optional[_Iterable[_Union[_common_pb2.ReasonDetail, _Mapping]]] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("series", "asked_prefix", "prefix", "manifest_digest", "restored", "left_at_initial", "wrong_value", "deferred", "taken_from_chief", "error", "duration", "explained", "model_change", "unmatched", "is_uncompared", "found_instead")
    SERIES_FIELD_NUMBER: _ClassVar[int]
    ASKED_PREFIX_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_DIGEST_FIELD_NUMBER: _ClassVar[int]
    RESTORED_FIELD_NUMBER: _ClassVar[int]
    LEFT_AT_INITIAL_FIELD_NUMBER: _ClassVar[int]
    WRONG_VALUE_FIELD_NUMBER: _ClassVar[int]
    DEFERRED_FIELD_NUMBER: _ClassVar[int]
    TAKEN_FROM_CHIEF_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    EXPLAINED_FIELD_NUMBER: _ClassVar[int]
    MODEL_CHANGE_FIELD_NUMBER: _ClassVar[int]
    UNMATCHED_FIELD_NUMBER: _ClassVar[int]
    IS_UNCOMPARED_FIELD_NUMBER: _ClassVar[int]
    FOUND_INSTEAD_FIELD_NUMBER: _ClassVar[int]
    series: _common_pb2.Series
    asked_prefix: str
    prefix: str
    manifest_digest: str
    restored: int
    left_at_initial: _containers.RepeatedScalarFieldContainer[str]
    wrong_value: _containers.RepeatedScalarFieldContainer[str]
    deferred: int
    taken_from_chief: _containers.RepeatedScalarFieldContainer[str]
    error: str
    duration: _duration_pb2.Duration
    explained: _containers.RepeatedCompositeFieldContainer[Explained]
    model_change: str
    unmatched: _containers.RepeatedCompositeFieldContainer[Explained]
    is_uncompared: bool
    found_instead: str
    def __init__(self, series: _Optional[_Union[_common_pb2.Series, _Mapping]] = ..., asked_prefix: _Optional[str] = ..., prefix: _Optional[str] = ..., manifest_digest: _Optional[str] = ..., restored: _Optional[int] = ..., left_at_initial: _Optional[_Iterable[str]] = ..., wrong_value: _Optional[_Iterable[str]] = ..., deferred: _Optional[int] = ..., taken_from_chief: _Optional[_Iterable[str]] = ..., error: _Optional[str] = ..., duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., explained: _Optional[_Iterable[_Union[Explained, _Mapping]]] = ..., model_change: _Optional[str] = ..., unmatched: _Optional[_Iterable[_Union[Explained, _Mapping]]] = ..., is_uncompared: _Optional[bool] = ..., found_instead: _Optional[str] = ...) -> None: ...

class Explained(_message.Message):
    __slots__ = ("key", "outcome", "reason", "fix", "is_suspected")
    KEY_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FIX_FIELD_NUMBER: _ClassVar[int]
    IS_SUSPECTED_FIELD_NUMBER: _ClassVar[int]
    key: str
    outcome: str
    reason: str
    fix: str
    is_suspected: bool
    def __init__(self, key: _Optional[str] = ..., outcome: _Optional[str] = ..., reason: _Optional[str] = ..., fix: _Optional[str] = ..., is_suspected: _Optional[bool] = ...) -> None: ...

class CallEntered(_message.Message):
    __slots__ = ("function",)
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    function: str
    def __init__(self, function: _Optional[str] = ...) -> None: ...

class FirstStep(_message.Message):
    __slots__ = ("step",)
    STEP_FIELD_NUMBER: _ClassVar[int]
    step: int
    def __init__(self, step: _Optional[int] = ...) -> None: ...

class HookFailed(_message.Message):
    __slots__ = ("hook", "error", "count")
    HOOK_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    hook: str
    error: str
    count: int
    def __init__(self, hook: _Optional[str] = ..., error: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class SteeringLost(_message.Message):
    __slots__ = ("hook", "error")
    HOOK_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    hook: str
    error: str
    def __init__(self, hook: _Optional[str] = ..., error: _Optional[str] = ...) -> None: ...

class RestoreLeftAlone(_message.Message):
    __slots__ = ("prefix",)
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    prefix: str
    def __init__(self, prefix: _Optional[str] = ...) -> None: ...

class CheckpointsRemoved(_message.Message):
    __slots__ = ("prefixes",)
    PREFIXES_FIELD_NUMBER: _ClassVar[int]
    prefixes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, prefixes: _Optional[_Iterable[str]] = ...) -> None: ...

class UploadManifestsRequest(_message.Message):
    __slots__ = ("sender", "manifests")
    SENDER_FIELD_NUMBER: _ClassVar[int]
    MANIFESTS_FIELD_NUMBER: _ClassVar[int]
    sender: Sender
    manifests: _containers.RepeatedCompositeFieldContainer[_common_pb2.Manifest]
    def __init__(self, sender: _Optional[_Union[Sender, _Mapping]] = ..., manifests: _Optional[_Iterable[_Union[_common_pb2.Manifest, _Mapping]]] = ...) -> None: ...

class UploadManifestsResponse(_message.Message):
    __slots__ = ("stored",)
    STORED_FIELD_NUMBER: _ClassVar[int]
    stored: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, stored: _Optional[_Iterable[str]] = ...) -> None: ...
