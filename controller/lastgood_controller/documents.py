"""The documents that `--json` prints and JobService carries (docs/json.md), from a run.

Pure, and the only place that gives them their shape, so that a live controller and a state directory without one answer
alike. What a journal cannot know, the step that training has reached this second, comes in as `steps`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lastgood_controller import advice, choice, holding, incidents, lineage
from lastgood_controller.codec import kind_of, to_document
from lastgood_controller.events import (
    Event,
)
from lastgood_controller.journal import Entry, advance, attempt_of
from lastgood_controller.model import (
    Attempt,
    Cause,
    Checkpoint,
    EndNotice,
    Explained,
    Export,
    Failure,
    Notice,
    Plan,
    Receipt,
    Run,
    SaveReport,
    ScriptError,
    Standing,
    Trainer,
    WorkerId,
)
from lastgood_controller.narration import narrate

Document = dict[str, Any]

_NO_STEPS: Mapping[WorkerId, int] = {}


def job_summary(run: Run, steps: Mapping[WorkerId, int] = _NO_STEPS) -> Document:
    """Schema job-summary. steps: the last step that each worker's heartbeat told."""
    return {
        "run_id": run.run_id,
        "job": run.job,
        "name": run.job.rpartition("/")[2],
        "phase": str(incidents.phase(run)),
        "attempt": run.attempt.number if run.attempt else None,
        "workers": len(run.members),
        "step": reached_step(run, steps),
        "last_good": _last_good_document(run),
        "restarts": run.restarts,
        "end": None if run.end is None else {**_cause(run.end.cause), "exit_status": run.end.exit_status},
        "opened_s": run.opened_s,
    }


def job_document(run: Run, steps: Mapping[WorkerId, int] = _NO_STEPS, waiting: str = "", trouble: str = "") -> Document:
    """Schema job. waiting, trouble: what the controller waits for now, and why it can record nothing, in words."""
    return {
        **job_summary(run, steps),
        "members": [str(member) for member in run.members],
        "workers": {str(worker): _worker(run, worker) for worker in run.members},
        "waiting": waiting or None,
        "trouble": trouble or None,
        "policy": {
            "steering": run.policy.steering,
            "receipts": run.policy.receipts.value,
            "shared_write": run.policy.shared_write.value,
        },
        "advice": [_advice(each) for each in advice.advice(run)],
        "checkpoints": _checkpoints(run),
        "attempts": [_attempt(attempt) for attempt in run.attempts],
        "incidents": [incident_document(incident) for incident in incidents.incidents(run)],
    }


def incident_document(incident: incidents.Incident) -> Document:
    """Schema incident."""
    document: Document = to_document(incident)
    return document


def journal_entry(sequence: int, at_s: float, event: Event, before: Run | None = None) -> Document:
    """Schema journal-entry. before: the run that the event happened to, for the names in its text."""
    return {
        "sequence": sequence,
        "at_s": at_s,
        "kind": kind_of(event),
        "attempt": attempt_of(event),
        "text": narrate(before, event),
        "event": to_document(event),
    }


def journal_entries(entries: Iterable[Entry]) -> Iterator[Document]:
    """A journal from its beginning, as documents."""
    run: Run | None = None
    for entry in entries:
        yield journal_entry(entry.sequence, entry.at_s, entry.event, run)
        run = advance(run, entry)


def last_good(run: Run) -> Checkpoint | None:
    """The newest checkpoint of the current lineage that is Good and still there; of those that the script restores."""
    targets = choice.targets_to_restore(run)
    good = (each for each in lineage.candidates(run) if each.verdict.standing is Standing.GOOD)
    return targets[0] if targets else next(good, None)


def reached_step(run: Run, steps: Mapping[WorkerId, int] = _NO_STEPS) -> int | None:
    """The last step that the newest attempt is known to have completed, by whoever says most."""
    attempt = run.attempt
    if attempt is None:
        return None
    known = [trainer.reached_step for trainer in attempt.trainers.values()]
    known += [report.step for each in run.checkpoints.values() if each.save.attempt == attempt.number
              for report in each.reports.values()]  # fmt: skip
    if attempt.is_live:
        known += steps.values()
    if attempt.plan is not None:
        known.append(attempt.plan.step)
    return max((step for step in known if step is not None), default=None)


# --------------------------------------------------------------------------------------------------------------- parts


def _last_good_document(run: Run) -> Document | None:
    checkpoint = last_good(run)
    report = None if checkpoint is None else checkpoint.primary(run.members)
    if checkpoint is None or report is None:
        return None
    return {"prefix": report.prefix, "step": report.step, "at_s": checkpoint.first_report_s}


def _worker(run: Run, worker: WorkerId) -> Document:
    session = run.sessions.get(worker)
    newest = next((a.trainers[worker] for a in reversed(run.attempts) if worker in a.trainers), None)
    return {
        "connected": session is not None and session.connected,
        "host": None if session is None else session.host or None,
        "trainer": _trainer(newest or Trainer()),
    }


def _trainer(trainer: Trainer) -> Document:
    return {
        "phase": trainer.phase.value,
        "attempt": trainer.attempt,
        "pid": trainer.pid,
        "exit_code": trainer.exit_code,
        "signal": trainer.signal,
        "was_stopped": trainer.was_stopped,
        "reached_step": trainer.reached_step,
        "last_lines": list(trainer.last_lines),
        "asked_signal": trainer.asked_signal,
        "error": None if trainer.error is None else _script_error(trainer.error),
        "oom_kills": trainer.oom_kills,
    }


def _script_error(error: ScriptError) -> Document:
    return {"type": error.type, "message": error.message, "place": error.place, "lines": list(error.lines)}


def _oldest_first(run: Run) -> list[Checkpoint]:
    return sorted(run.checkpoints.values(), key=lambda each: (each.first_report_s, each.save))


def _checkpoints(run: Run) -> list[Document]:
    held = holding.held(run)
    return [_checkpoint(run, checkpoint, checkpoint.save in held) for checkpoint in _oldest_first(run)]


def _checkpoint(run: Run, checkpoint: Checkpoint, is_held: bool) -> Document:
    report, verdict = checkpoint.primary(run.members), checkpoint.verdict
    return {
        "save": str(checkpoint.save),
        "attempt": checkpoint.save.attempt,
        "ordinal": checkpoint.save.ordinal,
        "prefix": None if report is None else report.prefix,
        "digest": None if report is None else report.manifest_digest,
        "step": None if report is None else report.step,
        "save_counter": None if report is None else report.save_counter,
        "verdict": verdict.standing.value,
        "causes": [_cause(cause) for cause in verdict.causes],
        "witnesses": verdict.witnesses,
        "medium": None if verdict.medium is None else verdict.medium.value,
        "removed": checkpoint.removed,
        "held": is_held,
        "observed": report is not None and report.observed,
        "first_report_s": checkpoint.first_report_s,
        "reports": {str(worker): _report(each) for worker, each in checkpoint.reports.items()},
    }


def _report(report: SaveReport) -> Document:
    return {
        "prefix": report.prefix,
        "digest": report.manifest_digest,
        "step": report.step,
        "durable": report.durable,
        "save_duration_s": report.save_duration_s,
        "unsaved": list(report.unsaved_variables),
        "redirected_from": report.redirected_from or None,
    }


def _attempt(attempt: Attempt) -> Document:
    hook_failures = {f"{worker} {hook}": count for (worker, hook), count in attempt.hook_failures.items()}
    return {
        "number": attempt.number,
        "opened_s": attempt.opened_s,
        "steered": attempt.is_steered,
        "unsteered": None if attempt.unsteered is None else _cause(attempt.unsteered),
        "plan": None if attempt.plan is None else _plan(attempt.plan, attempt.planned_s),
        "receipts": [_receipt(receipt) for receipt in attempt.receipts.values()],
        "gate_opened_s": attempt.gate_opened_s,
        "hook_failures": hook_failures,
        "left_alone": list(attempt.left_alone),
        "leaving": {str(worker): _end_notice(notice) for worker, notice in attempt.leaving.items()},
        "exports": [_export(export) for export in attempt.exports],
        "notices": [_notice(notice) for notice in attempt.notices],
        "failure": None if attempt.failure is None else _failure(attempt.failure),
        "trainers": {str(worker): _trainer(trainer) for worker, trainer in attempt.trainers.items()},
        "ended_s": attempt.ended_s,
    }


def _plan(plan: Plan, planned_s: float | None) -> Document:
    return {
        "kind": plan.kind.value,
        "why": plan.why,
        "step": plan.step,
        "decided_s": planned_s,
        "series": [
            {
                "save": str(planned.save),
                "digest": planned.manifest_digest,
                "step": planned.step,
                "prefixes": {str(worker): prefix for worker, prefix in planned.prefixes.items()},
            }
            for planned in plan.series
        ],
    }


def _receipt(receipt: Receipt) -> Document:
    return {
        "worker": str(receipt.worker),
        "prefix": receipt.prefix,
        "digest": receipt.manifest_digest,
        "restored": receipt.restored,
        "left_at_initial": list(receipt.left_at_initial),
        "wrong_value": list(receipt.wrong_value),
        "deferred": receipt.deferred,
        "taken_from_chief": list(receipt.taken_from_chief),
        "error": receipt.error,
        "good": receipt.is_good,
        "compared": not receipt.is_uncompared,
        "model_change": receipt.model_change or None,
        "found_instead": receipt.found_instead or None,
        "explained": [_explained(one) for one in receipt.explained],
        "unmatched": [_explained(one) for one in receipt.unmatched],
    }


def _explained(one: Explained) -> Document:
    return {
        "key": one.key,
        "outcome": one.outcome,
        "is_suspected": one.is_suspected,
        "reason": one.reason,
        "fix": one.fix or None,
    }


def _advice(one: advice.Advice) -> Document:
    return {
        "about": one.about,
        "workers": [str(worker) for worker in one.workers],
        "attempt": one.attempt,
        "detail": one.detail,
        "cure": one.cure,
    }


def _export(export: Export) -> Document:
    return {
        "worker": str(export.worker),
        "kind": export.kind.value,
        "path": export.path,
        "step": export.step,
        "faults": [_cause(cause) for cause in export.faults],
        "bytes_read": export.bytes_read,
        "save_duration_s": export.duration_s,
        "error": export.error,
        "at_s": export.at_s,
    }


def _notice(notice: Notice) -> Document:
    return {
        "worker": str(notice.worker),
        "kind": notice.kind.value,
        "path": notice.path,
        "detail": notice.detail,
        "at_s": notice.at_s,
    }


def _failure(failure: Failure) -> Document:
    worker = None if failure.worker is None else str(failure.worker)
    return {"worker": worker, **_cause(failure.cause), "at_s": failure.at_s}


def _end_notice(notice: EndNotice) -> Document:
    return {"who": notice.who, "at_s": notice.at_s, "until_s": notice.until_s}


def _cause(cause: Cause) -> Document:
    return {"reason": cause.reason.value, "detail": cause.detail}
