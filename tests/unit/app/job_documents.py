"""Documents as docs/json.md has them, with defaults for everything that a test does not speak of."""

from typing import Any

WORKERS = ("worker/0", "worker/1")


def trainer(pid: int = 100, **changes: Any) -> dict[str, Any]:
    document = {
        "phase": "running",
        "attempt": 1,
        "pid": pid,
        "exit_code": None,
        "signal": None,
        "was_stopped": False,
        "reached_step": None,
        "last_lines": [],
    }
    return {**document, **changes}


def worker(**changes: Any) -> dict[str, Any]:
    return {"connected": True, "host": "here", "trainer": trainer(), **changes}


def cause(reason: str = "WorkerKilled", detail: str = "SIGKILL") -> dict[str, Any]:
    return {"reason": reason, "detail": detail}


def plan(step: int | None = 20, kind: str = "restore", save: str = "9f3c1a2b.0/1.1") -> dict[str, Any]:
    prefixes = dict.fromkeys(WORKERS, "/data/ckpt-1")
    series = [] if kind == "fresh" else [{"save": save, "digest": "d1", "step": step, "prefixes": prefixes}]
    return {"kind": kind, "why": "", "step": step, "decided_s": 12.0, "series": series}


def receipt(of: str = "worker/0", **changes: Any) -> dict[str, Any]:
    document = {
        "worker": of,
        "prefix": "/data/ckpt-1",
        "digest": "d1",
        "restored": 20,
        "left_at_initial": [],
        "wrong_value": [],
        "deferred": 0,
        "taken_from_chief": [],
        "error": "",
        "good": True,
    }
    return {**document, **changes}


def attempt(number: int = 1, **changes: Any) -> dict[str, Any]:
    document = {
        "number": number,
        "opened_s": 10.0 * number,
        "steered": True,
        "unsteered": None,
        "plan": plan(0, "fresh"),
        "receipts": [],
        "gate_opened_s": None,
        "hook_failures": {},
        "left_alone": [],
        "exports": [],
        "notices": [],
        "failure": None,
        "trainers": {},
        "ended_s": None,
    }
    return {**document, **changes}


def checkpoint(number: int = 1, **changes: Any) -> dict[str, Any]:
    document = {
        "save": f"9f3c1a2b.0/1.{number}",
        "attempt": 1,
        "ordinal": number,
        "prefix": f"/data/ckpt-{number}",
        "digest": f"d{number}",
        "step": 20 * number,
        "save_counter": number,
        "verdict": "Good",
        "causes": [],
        "witnesses": 2,
        "medium": "disk",
        "removed": False,
        "held": False,
        "first_report_s": 11.0,
        "reports": {name: {} for name in WORKERS},
    }
    return {**document, **changes}


def incident(number: int = 1, **changes: Any) -> dict[str, Any]:
    spans = {
        "detected_s": 0.001,
        "decided_s": 1.5,
        "stopped_s": 0.02,
        "started_s": 0.05,
        "restored_s": 4.2,
        "first_step_s": 5.125,
    }
    document = {
        "attempt": number,
        "next_attempt": number + 1,
        "worker": "worker/1",
        "reason": "WorkerKilled",
        "detail": "SIGKILL at step 25",
        "at_s": 20.0,
        "spans": spans,
        "lost_steps": 5,
        "lost_steps_by_worker": dict.fromkeys(WORKERS, 5),
        "plan_step": 20,
    }
    return {**document, **changes}


def job(**changes: Any) -> dict[str, Any]:
    document = {
        "run_id": "11111111-2222-3333-4444-555555555555",
        "job": "digits",
        "name": "digits",
        "phase": "Training",
        "attempt": 1,
        "members": list(WORKERS),
        "workers": {name: worker() for name in WORKERS},
        "step": 25,
        "last_good": {"prefix": "/data/ckpt-1", "step": 20, "at_s": 100.0},
        "restarts": 0,
        "end": None,
        "opened_s": 5.0,
        "waiting": None,
        "checkpoints": [checkpoint()],
        "attempts": [attempt()],
        "incidents": [],
    }
    return {**document, **changes}


def entry(
    sequence: int = 1, kind: str = "GateOpened", text: str = "the gate is open", **changes: Any
) -> dict[str, Any]:
    document = {
        "sequence": sequence,
        "at_s": 10.0 + sequence,
        "kind": kind,
        "attempt": 1,
        "text": text,
        "event": {},
    }
    return {**document, **changes}


def verdict_entry(sequence: int, ordinal: int, standing: str, *reasons: str) -> dict[str, Any]:
    save = {"series": {"signature": "9f3c1a2b00000000", "ordinal": 0}, "attempt": 1, "ordinal": ordinal}
    verdict = {"standing": standing, "causes": [cause(reason, "block 3") for reason in reasons]}
    text = f"ckpt-{ordinal} {standing}"
    return entry(sequence, "VerdictReached", text, event={"save": save, "verdict": verdict})
