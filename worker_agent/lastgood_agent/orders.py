"""What the controller wants, as messages for launcher and hooks (docs/wire.md).

Pure: a desired state in, JSON messages out. The same desired state gives the same messages, however often it comes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lastgood.v1 import agent_service_pb2 as pb
from lastgood.v1 import common_pb2
from lastgood_agent.agent_config import Config
from lastgood_agent.duties import ReadySeries
from lastgood_agent.facts import Series
from lastgood_agent.gang import tf_config_for
from lastgood_agent.pin_names import pin_name, series_name

_PLAN_KINDS = {
    common_pb2.PLAN_KIND_RESTORE: "restore",
    common_pb2.PLAN_KIND_ADOPT: "adopt",
    common_pb2.PLAN_KIND_FRESH: "fresh",
}
_RECEIPTS = {
    pb.RECEIPT_POLICY_ENFORCE: "enforce",
    pb.RECEIPT_POLICY_WARN: "warn",
    pb.RECEIPT_POLICY_OFF: "off",
}
_SHARED_WRITES = {
    pb.SHARED_WRITE_POLICY_WARN: "warn",
    pb.SHARED_WRITE_POLICY_REDIRECT: "redirect",
    pb.SHARED_WRITE_POLICY_STOP: "stop",
}


def launcher_order(config: Config, desired: pb.DesiredState, is_newcomer: bool = False) -> dict[str, Any] | None:
    """What the launcher is to do now; None: nothing. is_newcomer: it was started after whatever is desired."""
    gang = config.gang
    if desired.HasField("end"):
        message = _newcomers_end(config, desired.end) if is_newcomer else _end(desired.end)
        return {"type": "end", "exit_status": desired.end.exit_status, "message": message}
    match desired.action:
        case pb.TRAINER_ACTION_RUN:
            members = [f"{member.task_type}/{member.task_id}" for member in desired.members]
            tf_config = tf_config_for(gang, members, list(desired.addresses))
            return {
                "type": "run",
                "attempt": desired.attempt,
                "steering": desired.steering,
                "environment": {"TF_CONFIG": tf_config},
            }
        case pb.TRAINER_ACTION_STOP:
            return {"type": "stop", "attempt": desired.attempt, "grace_s": 0}
        case _:
            return None


def _end(end: pb.RunEnd) -> str:
    return f"{end.reason.reason}: {end.reason.detail}" if end.reason.detail else end.reason.reason


def _newcomers_end(config: Config, end: pb.RunEnd) -> str:
    """What a worker is told that is started for a run which has ended: that nothing runs, why, and what to do."""
    reopen = f"`lastgood reopen {config.run_id} --controller {config.controller}`, then start the workers again"
    if end.exit_status == 0:
        return f"{config.job} has finished already ({_end(end)}). To train it further: {reopen}"
    return (
        f"{config.job} had ended before this worker was started, and nothing was trained. It ended with {_end(end)}\n"
        f"To let it go on, once the cause is gone: {reopen}"
    )


def hooks_state(desired: pb.DesiredState, plan: Mapping[str, Any] | None, is_live: bool) -> dict[str, Any]:
    """The whole state for the hooks.

    plan: as `plan_message` made it, once its files are written. is_live: the controller hears of saves now.
    """
    return {
        "type": "state",
        "attempt": desired.attempt,
        "steering": desired.steering,
        "gate_open": desired.gate_open,
        "plan": plan,
        "pins": pins_word(desired.pins, is_live) if desired.HasField("pins") else None,
        "nothing_known": desired.nothing_known,
        "receipts": _RECEIPTS.get(desired.guards.receipts, "enforce"),
        "shared_write": _SHARED_WRITES.get(desired.guards.shared_write, "warn"),
    }


def pins_word(pins: pb.Pins, is_live: bool) -> dict[str, Any]:
    """PINS: what of the saves that were made here must outlive rotation, and up to which they are decided."""
    return {
        "live": is_live,
        "good": [{"name": pin_name(each.save), "prefix": each.prefix} for each in pins.good],
        "undecided": [pin_name(save) for save in pins.undecided],
        "through": {series_name(save.series): [save.attempt, save.ordinal] for save in pins.through},
    }


def plan_message(plan: common_pb2.Plan, ready: Sequence[ReadySeries]) -> dict[str, Any]:
    """PLAN, with the files that hold the manifests of its series, and where these lie now."""
    return {
        "kind": _PLAN_KINDS.get(plan.kind, "fresh"),
        "series": [
            {
                "signature": planned.series.signature,
                "ordinal": planned.series.ordinal,
                "directories": list(planned.directories),
                "prefix": found.prefix,
                "digest": planned.manifest_digest,
                "step": planned.step if planned.HasField("step") else None,
                "manifest": found.manifest,
                "pin": pin_name(planned.save) if planned.HasField("save") else "",
                "put_back": found.was_put_back,
            }
            for planned, found in zip(plan.series, ready, strict=True)
        ],
    }


def series_of(planned: common_pb2.PlannedSeries) -> Series:
    """The series that a plan names."""
    return Series(planned.series.signature, planned.series.ordinal)
