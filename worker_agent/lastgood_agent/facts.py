"""What the hooks wrote into the outbox, and what of it the controller is told: JSON facts in, protobuf reports out.

Pure. Decides what a fact is (docs/wire.md) and bounds it, so that no script and no broken hook can make a report of any
size; refuses everything else with FactError. This and `orders` are the agent's only modules that build messages.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from lastgood.manifest import Kind, Manifest
from lastgood.v1 import agent_service_pb2 as pb
from lastgood.v1 import common_pb2
from lastgood_agent.pin_names import saves_named

FACT_NAME = re.compile(r"[0-9]{6}-[0-9]{20}-[0-9]+-[0-9]+\.json")

MAX_TEXT = 4000
MAX_LIST = 1000

#: Facts about saves keep their order among each other: what was removed must have been reported first.
SAVE_TYPES = frozenset({"saved", "save_failed", "removed"})
#: Facts about restores and what comes after them keep theirs: whoever goes on has proven before what it restored.
PROOF_TYPES = frozenset({"receipt", "call_entered", "first_step"})

_KINDS = {
    Kind.MIRRORED: common_pb2.VARIABLE_KIND_MIRRORED,
    Kind.AGGREGATED_SUM: common_pb2.VARIABLE_KIND_AGGREGATED_SUM,
    Kind.AGGREGATED_MEAN: common_pb2.VARIABLE_KIND_AGGREGATED_MEAN,
    Kind.PER_WORKER: common_pb2.VARIABLE_KIND_PER_WORKER,
    Kind.UNKNOWN: common_pb2.VARIABLE_KIND_UNSPECIFIED,
}
NOTICES = {
    "read": pb.NOTICE_KIND_READ,
    "state_file": pb.NOTICE_KIND_STATE_FILE,
    "never_asked": pb.NOTICE_KIND_NEVER_ASKED,
    "unsupported": pb.NOTICE_KIND_UNSUPPORTED,
}
_PHASES = {
    "none": pb.TRAINER_PHASE_NONE,
    "running": pb.TRAINER_PHASE_RUNNING,
    "exited": pb.TRAINER_PHASE_EXITED,
}


class FactError(ValueError):
    """A file in the outbox is no fact; the message says what was expected and found."""


@dataclass(frozen=True)
class Series:
    """SERIES of docs/wire.md. An empty signature stands for any."""

    signature: str = ""
    ordinal: int = 0
    directory: str = ""

    @property
    def key(self) -> str:
        return f"{self.signature}.{self.ordinal}"

    def to_proto(self) -> common_pb2.Series:
        """The series as it travels; its directory travels beside it."""
        return common_pb2.Series(signature=self.signature, ordinal=self.ordinal)


@dataclass(frozen=True)
class Fact:
    """One file of the outbox. name: its file name. body: all its fields, unchecked except for these."""

    name: str
    type: str
    attempt: int
    at_s: float
    body: Mapping[str, Any]

    @property
    def series(self) -> Series:
        """The fact's series; an empty one where it has none. Raises FactError."""
        found = self.body.get("series")
        if found is None:
            return Series()
        if not isinstance(found, Mapping):
            raise FactError(f"{self.name}: expected series as an object, found {found!r:.80}")
        ordinal = found.get("ordinal", 0)
        return Series(
            bounded(found.get("signature"), 64),
            whole_number(ordinal, "series.ordinal"),
            bounded(found.get("directory")),
        )


def parse_fact(name: str, document: Any) -> Fact:
    """The fact that a file holds. Raises FactError."""
    if not isinstance(document, Mapping):
        raise FactError(f"{name}: expected a JSON object, found {type(document).__name__}")
    kind, at_s = document.get("type"), document.get("at_s", 0)
    if not isinstance(kind, str):
        raise FactError(f"{name}: expected a type, found {kind!r:.80}")
    is_time = isinstance(at_s, (int, float)) and 0 <= at_s < 1e11
    return Fact(name, kind, whole_number(document.get("attempt"), "attempt"), float(at_s) if is_time else 0.0, document)


def bounded(found: Any, most: int = MAX_TEXT) -> str:
    """A text of at most `most` characters; "" for what is none."""
    text = found if isinstance(found, str) else ""
    text = text.encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= most else text[: most - 1] + "…"


def bounded_list(found: Any) -> list[str]:
    """The texts of a list, bounded in number and length."""
    texts = [bounded(each, 1000) for each in found if isinstance(each, str)] if isinstance(found, list) else []
    return texts if len(texts) <= MAX_LIST else [*texts[:MAX_LIST], f"and {len(texts) - MAX_LIST} more"]


def whole_number(found: Any, what: str, lowest: int = 0, most: int = 2**31 - 1) -> int:
    """A whole number within bounds. Raises FactError."""
    if isinstance(found, bool) or not isinstance(found, int) or not lowest <= found <= most:
        raise FactError(f"expected {what} to be a whole number from {lowest} to {most}, found {found!r:.80}")
    return found


def optional_number(found: Any) -> int | None:
    """A 64-bit number, or None for anything else."""
    is_number = isinstance(found, int) and not isinstance(found, bool) and -(2**63) <= found < 2**63
    return found if is_number else None


def seconds(found: Any) -> Duration:
    """A duration; zero for what is none."""
    is_span = isinstance(found, (int, float)) and not isinstance(found, bool) and 0 <= found < 1e9
    duration = Duration()
    duration.FromNanoseconds(int(found * 1e9) if is_span else 0)
    return duration


def time_at(at_s: float) -> Timestamp:
    """Seconds since the epoch as a timestamp."""
    stamp = Timestamp()
    stamp.FromNanoseconds(int(at_s * 1e9))
    return stamp


# -------------------------------------------------------------------------------------------------------------- facts


def report_of(worker: str, fact: Fact) -> pb.Report | None:
    """The report that a fact makes by itself; None for a type that is unknown, or that needs files to be read.

    Raises FactError when its fields are not those of its type.
    """
    body = fact.body
    report = new_report(worker, fact)
    match fact.type:
        case "strategy_made":
            report.strategy_made.CopyFrom(
                pb.StrategyMade(strategy=bounded(body.get("strategy"), 200), replicas=optional_int32(body, "replicas"))
            )
        case "receipt":
            report.receipt.CopyFrom(_receipt(fact))
        case "shared_write":
            report.shared_write.CopyFrom(_shared_write(fact))
        case "save_failed":
            report.save_failed.CopyFrom(
                pb.SaveFailed(save=save_of(fact), prefix=bounded(body.get("prefix")), error=bounded(body.get("error")))
            )
        case "removed":
            report.checkpoints_removed.CopyFrom(pb.CheckpointsRemoved(prefixes=bounded_list(body.get("prefixes"))))
        case "call_entered":
            report.call_entered.CopyFrom(pb.CallEntered(function=bounded(body.get("function"), 500)))
        case "first_step":
            report.first_step.CopyFrom(pb.FirstStep(step=optional_number(body.get("step"))))
        case "hook_failed":
            report.hook_failed.CopyFrom(
                pb.HookFailed(
                    hook=bounded(body.get("hook"), 200),
                    error=bounded(body.get("error")),
                    count=optional_int32(body, "count"),
                )
            )
        case "steering_lost":
            report.steering_lost.CopyFrom(
                pb.SteeringLost(hook=bounded(body.get("hook"), 200), error=bounded(body.get("error")))
            )
        case "sigterm_handled":
            report.sigterm_handled.CopyFrom(pb.SigtermHandled(handler=bounded(body.get("handler"), 200)))
        case "left_alone":
            report.restore_left_alone.CopyFrom(pb.RestoreLeftAlone(prefix=bounded(body.get("prefix"))))
        case "noticed":
            kind = NOTICES.get(str(body.get("kind")))
            if kind is None:
                return None
            noticed = pb.Noticed(kind=kind, path=bounded(body.get("path")), detail=bounded(body.get("detail"), 500))
            report.noticed.CopyFrom(noticed)
        case _:
            return None
    return report


def new_report(worker: str, fact: Fact) -> pb.Report:
    """A report of this fact, still without what it says. Its id is the same whenever it is made."""
    report_id = f"{worker}/{fact.attempt}/{fact.name}"
    return pb.Report(report_id=report_id, attempt=fact.attempt, happened_at=time_at(fact.at_s))


def save_of(fact: Fact) -> common_pb2.Save:
    """Which save a fact is about. Raises FactError."""
    ordinal = whole_number(fact.body.get("ordinal"), "ordinal", lowest=1)
    return common_pb2.Save(series=fact.series.to_proto(), attempt=fact.attempt, ordinal=ordinal)


def saved_report(worker: str, fact: Fact, digest: str, is_durable: bool) -> pb.Report:
    """The report of a save whose manifest has this digest. Raises FactError."""
    body = fact.body
    report = new_report(worker, fact)
    report.save_reported.CopyFrom(
        pb.SaveReported(
            save=save_of(fact),
            prefix=bounded(body.get("prefix")),
            manifest_digest=digest,
            step=optional_number(body.get("step")),
            save_counter=optional_number(body.get("save_counter")),
            durable=is_durable,
            save_duration=seconds(body.get("seconds")),
            unsaved_variables=bounded_list(body.get("unsaved")),
            held=saves_named(body.get("held")),
            observed=body.get("observed") is True,
            redirected_from=bounded(body.get("redirected_from")),
        )
    )
    return report


def unreadable_save_report(worker: str, fact: Fact, error: str) -> pb.Report:
    """The report of a save whose files could not be read. Raises FactError."""
    report = new_report(worker, fact)
    prefix = bounded(fact.body.get("prefix"))
    report.save_failed.CopyFrom(pb.SaveFailed(save=save_of(fact), prefix=prefix, error=bounded(error)))
    return report


def rejected_report(worker: str, attempt: int, name: str, error: str, count: int) -> pb.Report:
    """The report that something in the outbox was no fact."""
    report = pb.Report(report_id=f"{worker}/{attempt}/rejected-{bounded(name, 100)}", attempt=attempt)
    report.hook_failed.CopyFrom(pb.HookFailed(hook="outbox", error=bounded(error), count=count))
    return report


def optional_int32(body: Mapping[str, Any], name: str) -> int:
    """A count; 0 where it is missing. Raises FactError."""
    return whole_number(body.get(name, 0), name)


def _receipt(fact: Fact) -> pb.Receipt:
    body = fact.body
    return pb.Receipt(
        series=fact.series.to_proto(),
        asked_prefix=bounded(body.get("asked_prefix")),
        prefix=bounded(body.get("prefix")),
        manifest_digest=bounded(body.get("digest"), 128),
        restored=optional_int32(body, "restored"),
        left_at_initial=bounded_list(body.get("left_at_initial")),
        wrong_value=bounded_list(body.get("wrong_value")),
        deferred=optional_int32(body, "deferred"),
        taken_from_chief=bounded_list(body.get("taken_from_chief")),
        error=bounded(body.get("error")),
        duration=seconds(body.get("seconds")),
        is_uncompared=body.get("is_compared") is False,
    )


def _shared_write(fact: Fact) -> pb.SharedWrite:
    body = fact.body
    task_type, _, task_id = bounded(body.get("other"), 64).rpartition("/")
    if not task_type or not (task_id.isascii() and task_id.isdigit()) or len(task_id) > 9:
        raise FactError(f"{fact.name}: expected other as task_type/task_id, found {body.get('other')!r:.80}")
    return pb.SharedWrite(
        series=fact.series.to_proto(),
        directory=bounded(body.get("directory")),
        prefix=bounded(body.get("prefix")),
        other=common_pb2.Worker(task_type=task_type, task_id=int(task_id)),
        is_redirected=body.get("is_redirected") is True,
    )


# ------------------------------------------------------------------------------------------------------------ trainer


def trainer_state(
    trainer: Mapping[str, Any], reached_step: int | None = None, completed_calls: int = 0
) -> pb.TrainerState:
    """TRAINER of docs/wire.md as it travels."""
    lines = trainer.get("last_lines")
    return pb.TrainerState(
        phase=_PHASES.get(str(trainer.get("phase")), pb.TRAINER_PHASE_UNSPECIFIED),
        attempt=int(trainer.get("attempt") or 0),
        pid=int(trainer.get("pid") or 0),
        exit_code=optional_number(trainer.get("exit_code")),
        signal=optional_number(trainer.get("signal")),
        last_lines=[bounded(line, 500) for line in (lines if isinstance(lines, list) else [])][-20:],
        was_stopped=bool(trainer.get("was_stopped")),
        reached_step=reached_step,
        completed_calls=completed_calls,
        error=_script_error(trainer.get("error")),
        oom_kills=optional_number(trainer.get("oom_kills")) or 0,
        kernel_word=bounded(trainer.get("kernel_word"), 500),
        asked_signal=optional_number(trainer.get("asked_signal")),
    )


def _script_error(found: Any) -> pb.ScriptError | None:
    """ERROR of docs/wire.md as it travels."""
    if not isinstance(found, Mapping):
        return None
    lines = found.get("lines")
    return pb.ScriptError(
        type=bounded(found.get("type"), 200),
        message=bounded(found.get("message"), 500),
        place=bounded(found.get("place"), 500),
        lines=[bounded(line, 500) for line in (lines if isinstance(lines, list) else [])][:20],
    )


def trainer_report(worker: str, launcher_session: int, state: pb.TrainerState, address: str, at_s: float) -> pb.Report:
    """The report of a trainer's change. Its id is the same whenever the same launcher says the same again."""
    phase = pb.TrainerPhase.Name(state.phase).removeprefix("TRAINER_PHASE_").lower()
    report_id = f"{worker}/{state.attempt}/trainer-{launcher_session}-{phase}"
    report = pb.Report(report_id=report_id, attempt=state.attempt, happened_at=time_at(at_s))
    report.trainer_changed.CopyFrom(pb.TrainerChanged(trainer=state, next_address=address))
    return report


def leaving_report(
    worker: str, launcher_session: int, attempt: int, signal_name: str, grace_s: float, at_s: float
) -> pb.Report:
    """The report that a launcher was told to end by a signal, and when its trainer will be killed at the latest."""
    report_id = f"{worker}/{attempt}/leaving-{launcher_session}"
    report = pb.Report(report_id=report_id, attempt=attempt, happened_at=time_at(at_s))
    report.worker_leaving.CopyFrom(pb.WorkerLeaving(signal=bounded(signal_name, 20), grace=seconds(grace_s)))
    return report


# ---------------------------------------------------------------------------------------------------------- manifests


def manifest_message(manifest: Manifest) -> common_pb2.Manifest:
    """A manifest as it travels."""
    return common_pb2.Manifest(
        digest=manifest.digest,
        entries=[
            common_pb2.ManifestEntry(
                key=entry.key,
                dtype=entry.dtype,
                shape=entry.shape,
                crc32c=entry.crc32c,
                size_bytes=entry.size_bytes,
                full_name=entry.full_name,
                kind=_KINDS[entry.kind],
            )
            for entry in manifest.entries
        ],
        shard_sizes_bytes=manifest.shard_sizes_bytes,
    )


def reasons(faults: Iterable[tuple[Any, str]]) -> list[common_pb2.ReasonDetail]:
    """Faults as they travel."""
    return [common_pb2.ReasonDetail(reason=reason.value, detail=bounded(detail)) for reason, detail in faults]
