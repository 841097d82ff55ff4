"""Protobuf messages as the domain's types, and back. Besides the servers, the only module that knows protobuf.

Decides nothing. A message that cannot be understood is a `WireError` that says which field was expected to hold what;
whether an understood one may be recorded is `ingest`'s to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from lastgood.manifest import Kind, Manifest, ManifestEntry
from lastgood.reasons import Reason
from lastgood.v1 import agent_service_pb2 as agent_pb
from lastgood.v1 import common_pb2 as common_pb
from lastgood_controller.desired import Desired, TrainerAction
from lastgood_controller.events import (
    CallEntered,
    CheckpointsRemoved,
    DirectoryListed,
    Exported,
    Fact,
    FirstStepDone,
    HookFailed,
    Noticed,
    ReceiptGiven,
    RestoreLeftAlone,
    SaveFailed,
    SaveReported,
    SharedWriteSeen,
    SigtermHandled,
    SteeringLost,
    StrategyMade,
    TrainerChanged,
    Verified,
    WorkerLeaving,
)
from lastgood_controller.ingest import Hello, Report, Sender
from lastgood_controller.model import (
    Cause,
    End,
    Explained,
    Export,
    ExportKind,
    FoundCheckpoint,
    Listing,
    Medium,
    Notice,
    NoticeKind,
    Plan,
    PlanKind,
    PlannedSeries,
    Receipt,
    ReceiptPolicy,
    SaveId,
    SaveReport,
    ScriptError,
    SeriesId,
    SharedWrite,
    SharedWritePolicy,
    Task,
    Trainer,
    TrainerPhase,
    Verification,
    WorkerId,
)
from lastgood_controller.pins import Word

Value = TypeVar("Value")

_PHASES: Mapping[int, TrainerPhase] = {
    agent_pb.TRAINER_PHASE_NONE: TrainerPhase.NONE,
    agent_pb.TRAINER_PHASE_RUNNING: TrainerPhase.RUNNING,
    agent_pb.TRAINER_PHASE_EXITED: TrainerPhase.EXITED,
}
_MEDIA: Mapping[int, Medium] = {
    agent_pb.MEDIUM_PEER: Medium.PEER,
    agent_pb.MEDIUM_DISK: Medium.DISK,
    agent_pb.MEDIUM_CACHE: Medium.CACHE,
}
_KINDS: Mapping[int, Kind] = {
    common_pb.VARIABLE_KIND_UNSPECIFIED: Kind.UNKNOWN,
    common_pb.VARIABLE_KIND_MIRRORED: Kind.MIRRORED,
    common_pb.VARIABLE_KIND_AGGREGATED_SUM: Kind.AGGREGATED_SUM,
    common_pb.VARIABLE_KIND_AGGREGATED_MEAN: Kind.AGGREGATED_MEAN,
    common_pb.VARIABLE_KIND_PER_WORKER: Kind.PER_WORKER,
}
_EXPORTS: Mapping[int, ExportKind] = {
    agent_pb.EXPORT_KIND_SAVED_MODEL: ExportKind.SAVED_MODEL,
    agent_pb.EXPORT_KIND_HDF5: ExportKind.HDF5,
    agent_pb.EXPORT_KIND_KERAS: ExportKind.KERAS,
}
_NOTICES: Mapping[int, NoticeKind] = {
    agent_pb.NOTICE_KIND_READ: NoticeKind.READ,
    agent_pb.NOTICE_KIND_STATE_FILE: NoticeKind.STATE_FILE,
    agent_pb.NOTICE_KIND_NEVER_ASKED: NoticeKind.NEVER_ASKED,
    agent_pb.NOTICE_KIND_UNSUPPORTED: NoticeKind.UNSUPPORTED,
}
_ACTIONS: Mapping[TrainerAction, agent_pb.TrainerAction] = {
    TrainerAction.HOLD: agent_pb.TRAINER_ACTION_HOLD,
    TrainerAction.RUN: agent_pb.TRAINER_ACTION_RUN,
    TrainerAction.STOP: agent_pb.TRAINER_ACTION_STOP,
}
_PLAN_KINDS: Mapping[PlanKind, common_pb.PlanKind] = {
    PlanKind.RESTORE: common_pb.PLAN_KIND_RESTORE,
    PlanKind.ADOPT: common_pb.PLAN_KIND_ADOPT,
    PlanKind.FRESH: common_pb.PLAN_KIND_FRESH,
}
_RECEIPT_POLICIES: Mapping[ReceiptPolicy, agent_pb.ReceiptPolicy] = {
    ReceiptPolicy.ENFORCE: agent_pb.RECEIPT_POLICY_ENFORCE,
    ReceiptPolicy.WARN: agent_pb.RECEIPT_POLICY_WARN,
    ReceiptPolicy.OFF: agent_pb.RECEIPT_POLICY_OFF,
}
_SHARED_WRITE_POLICIES: Mapping[SharedWritePolicy, agent_pb.SharedWritePolicy] = {
    SharedWritePolicy.WARN: agent_pb.SHARED_WRITE_POLICY_WARN,
    SharedWritePolicy.REDIRECT: agent_pb.SHARED_WRITE_POLICY_REDIRECT,
    SharedWritePolicy.STOP: agent_pb.SHARED_WRITE_POLICY_STOP,
}


class WireError(ValueError):
    """A message that no version of lastgood sends."""


# ------------------------------------------------------------------------------------------------ from agents: senders


def sender_from_proto(message: agent_pb.Sender) -> Sender:
    """Who is speaking. Raises WireError when the message does not say."""
    if not message.run_id:
        raise WireError("expected sender.run_id to name a run, found nothing")
    return Sender(
        run_id=message.run_id,
        worker=worker_from_proto(message.worker),
        agent_session=message.agent_session,
        launcher_session=message.launcher_session,
    )


def hello_from_proto(message: agent_pb.SubscribeRequest) -> Hello:
    """What an agent says when it opens a session. Raises WireError."""
    has_trainer = message.HasField("trainer")
    return Hello(
        sender=sender_from_proto(message.sender),
        job=message.job,
        members=tuple(worker_from_proto(member) for member in message.members),
        trainer=trainer_from_proto(message.trainer) if has_trainer else Trainer(),
        highest_attempt=message.highest_attempt,
        next_address=message.next_address,
        host=message.host,
        may_reopen=message.may_reopen,
    )


def worker_from_proto(message: common_pb.Worker) -> WorkerId:
    if not message.task_type or "/" in message.task_type or message.task_id < 0:
        raise WireError(
            f"expected a worker with a task_type and a task_id from 0, found {message.task_type!r}, {message.task_id}"
        )
    return WorkerId(message.task_type, message.task_id)


def trainer_from_proto(message: agent_pb.TrainerState) -> Trainer:
    return Trainer(
        phase=_known(_PHASES, message.phase, "trainer.phase"),
        attempt=message.attempt,
        pid=message.pid,
        exit_code=message.exit_code if message.HasField("exit_code") else None,
        signal=message.signal if message.HasField("signal") else None,
        last_lines=tuple(message.last_lines),
        was_stopped=message.was_stopped,
        reached_step=message.reached_step if message.HasField("reached_step") else None,
        completed_calls=message.completed_calls,
        asked_signal=message.asked_signal if message.HasField("asked_signal") else None,
        error=_script_error(message.error) if message.HasField("error") else None,
        oom_kills=message.oom_kills,
        kernel_word=message.kernel_word,
    )


def _script_error(message: agent_pb.ScriptError) -> ScriptError:
    return ScriptError(message.type, message.message, message.place, tuple(message.lines))


# ------------------------------------------------------------------------------------------------- from agents: facts


def report_from_proto(worker: WorkerId, message: agent_pb.Report) -> Report:
    """One fact that `worker` reports. Raises WireError when it holds none that this version knows."""
    return Report(message.report_id, message.attempt, _fact(worker, message))


def _fact(worker: WorkerId, message: agent_pb.Report) -> Fact:
    attempt = message.attempt
    match message.WhichOneof("fact"):
        case "trainer_changed":
            changed = message.trainer_changed
            return TrainerChanged(worker, trainer_from_proto(changed.trainer), changed.next_address)
        case "strategy_made":
            return StrategyMade(worker, attempt, message.strategy_made.strategy, message.strategy_made.replicas)
        case "worker_leaving":
            leaving = message.worker_leaving
            return WorkerLeaving(worker, attempt, leaving.signal, _seconds(leaving.grace))
        case "sigterm_handled":
            return SigtermHandled(worker, attempt, message.sigterm_handled.handler)
        case "save_reported":
            return _save_reported(worker, message.save_reported)
        case "save_failed":
            failed = message.save_failed
            return SaveFailed(save_from_proto(failed.save), worker, failed.prefix, failed.error)
        case "verified":
            return _verified(worker, message.verified)
        case "directory_listed":
            listed = message.directory_listed
            return DirectoryListed(worker, attempt, _listing(listed), listed.highest_attempt)
        case "receipt":
            return ReceiptGiven(attempt, _receipt(worker, message.receipt))
        case "call_entered":
            return CallEntered(worker, attempt, message.call_entered.function)
        case "first_step":
            first = message.first_step
            return FirstStepDone(worker, attempt, first.step if first.HasField("step") else None)
        case "hook_failed":
            hook = message.hook_failed
            return HookFailed(worker, attempt, hook.hook, hook.error, hook.count)
        case "steering_lost":
            return SteeringLost(worker, attempt, message.steering_lost.hook, message.steering_lost.error)
        case "restore_left_alone":
            return RestoreLeftAlone(worker, attempt, message.restore_left_alone.prefix)
        case "checkpoints_removed":
            return CheckpointsRemoved(worker, attempt, tuple(message.checkpoints_removed.prefixes))
        case "exported":
            return Exported(attempt, _export(worker, message.exported))
        case "noticed":
            noticed = message.noticed
            kind = _known(_NOTICES, noticed.kind, "noticed.kind")
            return Noticed(attempt, Notice(worker, kind, noticed.path, noticed.detail))
        case "shared_write":
            return SharedWriteSeen(attempt, _shared_write(worker, message.shared_write))
        case _:
            raise WireError(f"report {message.report_id!r} holds no fact that this version of lastgood knows")


def _save_reported(worker: WorkerId, message: agent_pb.SaveReported) -> SaveReported:
    report = SaveReport(
        worker=worker,
        prefix=message.prefix,
        manifest_digest=message.manifest_digest,
        step=message.step if message.HasField("step") else None,
        save_counter=message.save_counter if message.HasField("save_counter") else None,
        durable=message.durable,
        save_duration_s=_seconds(message.save_duration),
        unsaved_variables=tuple(message.unsaved_variables),
        held=tuple(save_from_proto(save) for save in message.held),
        observed=message.observed,
        redirected_from=message.redirected_from,
    )
    return SaveReported(save_from_proto(message.save), report)


def _verified(worker: WorkerId, message: agent_pb.Verified) -> Verified:
    verification = Verification(
        task_id=message.task_id,
        reader=worker,
        prefix=message.prefix,
        manifest_digest=message.manifest_digest,
        faults=_causes(message.faults),
        medium=_known(_MEDIA, message.medium, "verified.medium"),
        bytes_read=message.bytes_read,
        duration_s=_seconds(message.duration),
        from_pin=message.from_pin,
    )
    return Verified(verification)


def _listing(message: agent_pb.DirectoryListed) -> Listing:
    found = tuple(
        FoundCheckpoint(
            prefix=each.prefix,
            manifest_digest=each.manifest_digest,
            step=each.step if each.HasField("step") else None,
            faults=_causes(each.faults),
        )
        for each in message.checkpoints
    )
    series = series_from_proto(message.series)
    return Listing(series, message.directory, found, other_entries=message.other_entries)


def _export(worker: WorkerId, message: agent_pb.Exported) -> Export:
    return Export(
        worker=worker,
        kind=_known(_EXPORTS, message.kind, "exported.kind"),
        path=message.path,
        step=message.step if message.HasField("step") else None,
        faults=_causes(message.faults),
        bytes_read=message.bytes_read,
        duration_s=_seconds(message.duration),
        error=message.error,
    )


def _receipt(worker: WorkerId, message: agent_pb.Receipt) -> Receipt:
    return Receipt(
        worker=worker,
        series=series_from_proto(message.series),
        prefix=message.prefix,
        manifest_digest=message.manifest_digest,
        restored=message.restored,
        left_at_initial=tuple(message.left_at_initial),
        wrong_value=tuple(message.wrong_value),
        deferred=message.deferred,
        taken_from_chief=tuple(message.taken_from_chief),
        error=message.error,
        asked_prefix=message.asked_prefix,
        duration_s=_seconds(message.duration),
        explained=_explained(message.explained),
        model_change=message.model_change,
        unmatched=_explained(message.unmatched),
        found_instead=message.found_instead,
        is_uncompared=message.is_uncompared,
    )


def _explained(messages: Iterable[agent_pb.Explained]) -> tuple[Explained, ...]:
    return tuple(Explained(one.key, one.outcome, one.reason, one.fix, one.is_suspected) for one in messages)


def _shared_write(worker: WorkerId, message: agent_pb.SharedWrite) -> SharedWrite:
    return SharedWrite(
        worker=worker,
        other=worker_from_proto(message.other),
        directory=message.directory,
        prefix=message.prefix,
        series=series_from_proto(message.series),
        is_redirected=message.is_redirected,
    )


def series_from_proto(message: common_pb.Series) -> SeriesId:
    if message.ordinal < 0:
        raise WireError(f"expected the ordinal of a series to be 0 or more, found {message.ordinal}")
    return SeriesId(message.signature, message.ordinal)


def save_from_proto(message: common_pb.Save) -> SaveId:
    return SaveId(series_from_proto(message.series), message.attempt, message.ordinal)


def _causes(messages: Iterable[common_pb.ReasonDetail]) -> tuple[Cause, ...]:
    return tuple(Cause(_reason(message.reason), message.detail) for message in messages)


def _reason(text: str) -> Reason:
    try:
        return Reason(text)
    except ValueError as error:
        raise WireError(f"expected a reason that this version of lastgood knows, found {text[:64]!r}") from error


# ------------------------------------------------------------------------------------------------------------ manifests


def manifest_from_proto(message: common_pb.Manifest) -> Manifest:
    """The manifest, with the digest that its content has. Raises WireError when that is not the digest it states."""
    try:
        manifest = Manifest(
            entries=tuple(
                ManifestEntry(
                    key=entry.key,
                    dtype=entry.dtype,
                    shape=tuple(entry.shape),
                    crc32c=entry.crc32c,
                    size_bytes=entry.size_bytes,
                    full_name=entry.full_name,
                    kind=_known(_KINDS, entry.kind, "entry.kind"),
                )
                for entry in message.entries
            ),
            shard_sizes_bytes=tuple(message.shard_sizes_bytes),
        )
    except WireError:
        raise
    except ValueError as error:
        raise WireError(f"a manifest cannot be understood: {error}") from error
    if manifest.digest != message.digest:
        raise WireError(f"a manifest states digest {message.digest[:64]!r}, and its content has {manifest.digest}")
    return manifest


def manifest_to_proto(manifest: Manifest) -> common_pb.Manifest:
    kinds = {kind: number for number, kind in _KINDS.items()}
    return common_pb.Manifest(
        digest=manifest.digest,
        shard_sizes_bytes=manifest.shard_sizes_bytes,
        entries=[
            common_pb.ManifestEntry(
                key=entry.key,
                dtype=entry.dtype,
                shape=entry.shape,
                crc32c=entry.crc32c,
                size_bytes=entry.size_bytes,
                full_name=entry.full_name,
                kind=common_pb.VariableKind.Name(kinds[entry.kind]),
            )
            for entry in manifest.entries
        ],
    )


# ------------------------------------------------------------------------------------------------------------ to agents


def desired_to_proto(desired: Desired, worker: WorkerId, planned_s: float | None = None) -> agent_pb.DesiredState:
    """What `worker` should be doing now. planned_s: when the plan was decided."""
    return agent_pb.DesiredState(
        attempt=desired.attempt,
        action=_ACTIONS[desired.action],
        addresses=desired.addresses,
        members=[worker_to_proto(member) for member in desired.members],
        plan=None if desired.plan is None else _plan(desired.plan, worker, planned_s),
        listing_wanted=desired.listing_wanted,
        gate_open=desired.gate_open,
        steering=desired.steering,
        verify_tasks=[_task(task) for task in desired.tasks],
        end=None if desired.end is None else _end(desired.end),
        pins=None if desired.pins is None else _pins(desired.pins),
        end_announced=desired.end_announced,
        nothing_known=desired.nothing_known,
        guards=agent_pb.Guards(
            receipts=_RECEIPT_POLICIES[desired.receipts],
            shared_write=_SHARED_WRITE_POLICIES[desired.shared_write],
        ),
    )


def save_to_proto(save: SaveId) -> common_pb.Save:
    return common_pb.Save(series=series_to_proto(save.series), attempt=save.attempt, ordinal=save.ordinal)


def worker_to_proto(worker: WorkerId) -> common_pb.Worker:
    return common_pb.Worker(task_type=worker.task_type, task_id=worker.task_id)


def series_to_proto(series: SeriesId) -> common_pb.Series:
    return common_pb.Series(signature=series.signature, ordinal=series.ordinal)


def duration_to_proto(duration_s: float) -> Duration:
    message = Duration()
    message.FromNanoseconds(round(duration_s * 1e9))
    return message


def _plan(plan: Plan, worker: WorkerId, planned_s: float | None) -> common_pb.Plan:
    decided_at = Timestamp()
    if planned_s is not None:
        decided_at.FromNanoseconds(round(planned_s * 1e9))
    return common_pb.Plan(
        kind=_PLAN_KINDS[plan.kind],
        series=[_planned_series(planned, worker) for planned in plan.series],
        decided_at=decided_at if planned_s is not None else None,
    )


def _planned_series(planned: PlannedSeries, worker: WorkerId) -> common_pb.PlannedSeries:
    return common_pb.PlannedSeries(
        series=series_to_proto(planned.series),
        directories=planned.directories,
        prefix=planned.prefixes.get(worker, ""),
        manifest_digest=planned.manifest_digest,
        step=planned.step,
        save=save_to_proto(planned.save),
    )


def _task(task: Task) -> agent_pb.VerifyTask:
    return agent_pb.VerifyTask(
        task_id=task.task_id,
        prefix=task.prefix,
        manifest_digest=task.manifest_digest,
        save=save_to_proto(task.save),
    )


def _pins(word: Word) -> agent_pb.Pins:
    good = [
        agent_pb.PinnedSave(save=save_to_proto(each.save), prefix=each.prefix, manifest_digest=each.manifest_digest)
        for each in word.good
    ]
    return agent_pb.Pins(
        good=good,
        undecided=[save_to_proto(save) for save in word.undecided],
        through=[save_to_proto(save) for save in word.through],
    )


def _end(end: End) -> agent_pb.RunEnd:
    reason = common_pb.ReasonDetail(reason=end.cause.reason.value, detail=end.cause.detail)
    return agent_pb.RunEnd(reason=reason, exit_status=end.exit_status)


def _known(table: Mapping[int, Value], number: int, field: str) -> Value:
    if number not in table:
        raise WireError(f"expected {field} to be one of {sorted(table)}, found {number}")
    return table[number]


def _seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / 1e9
