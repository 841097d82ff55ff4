"""One line for people about each event of a journal: what the live display and `lastgood watch` print.

Pure. A line says who, what, and at which step, in the words of `model`; a checkpoint is called by the last part of its
prefix and its step, since that is what an operator sees in the directory. The run before the event gives the names that
an event itself does not carry.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from typing import assert_never

from lastgood.notes import Remark
from lastgood.reasons import Reason
from lastgood_controller import advice
from lastgood_controller.events import (
    AttemptEnded,
    AttemptFailed,
    AttemptOpened,
    CallEntered,
    CheckpointsRemoved,
    DirectoryListed,
    Event,
    Exported,
    FirstStepDone,
    GateOpened,
    HookFailed,
    Noticed,
    PlanDecided,
    Quarantined,
    ReceiptGiven,
    RestoreLeftAlone,
    RunEnded,
    RunOpened,
    SaveFailed,
    SaveReported,
    SharedWriteSeen,
    SigtermHandled,
    SteeringLost,
    StopAsked,
    StrategyMade,
    TrainerChanged,
    VerdictReached,
    Verified,
    VerifyAsked,
    WorkerConnected,
    WorkerDisconnected,
    WorkerLeaving,
    WorkerLost,
)
from lastgood_controller.fold import (
    apply,
)
from lastgood_controller.model import (
    Cause,
    Export,
    ExportKind,
    Medium,
    Notice,
    NoticeKind,
    Plan,
    PlanKind,
    PlannedSeries,
    Policy,
    Purpose,
    Receipt,
    ReceiptPolicy,
    Run,
    SaveId,
    SaveReport,
    Standing,
    Trainer,
    TrainerPhase,
    Verdict,
    Verification,
    WorkerId,
)
from lastgood_controller.refusals import sentence

_MAX_LINE_CHARS = 600
_SHOWN = 3

_EXPORT_WORDS = {
    ExportKind.SAVED_MODEL: "the SavedModel",
    ExportKind.HDF5: "the HDF5 file",
    ExportKind.KERAS: "the Keras archive",
}
_HOW_READ = {
    Medium.PEER: "from another host",
    Medium.DISK: "past the page cache",
    Medium.CACHE: "from the page cache",
}


def narrate(before: Run | None, event: Event) -> str:
    """One line about an event; before: the run that it happened to, None for a run's first event."""
    text = " ".join(_narrate(before or Run(run_id="", job=""), event).split())
    return text if len(text) <= _MAX_LINE_CHARS else text[: _MAX_LINE_CHARS - 1] + "…"


def _narrate(run: Run, event: Event) -> str:
    match event:
        case RunOpened():
            return _run_opened(run, event)
        case WorkerConnected():
            return _connected(run, event)
        case WorkerDisconnected():
            session = run.sessions.get(event.worker)
            is_training = session is None or session.trainer.is_running
            return f"agent of {event.worker} is away{'; its trainer trains on' if is_training else ''}"
        case WorkerLost():
            return f"{event.worker} lost: {event.detail}"
        case TrainerChanged():
            return _trainer_changed(run, event)
        case StrategyMade():
            return f"{event.worker} made a {event.strategy} ({_count(event.replicas, 'replica')})"
        case WorkerLeaving():
            return f"{event.worker} was told to end ({event.signal}): its trainer has {event.grace_s:g} s"
        case SigtermHandled():
            return f"{event.worker} handles SIGTERM itself ({event.handler}): it may save and end when told to"
        case SaveReported():
            return _save_reported(run, event)
        case SaveFailed():
            return f"{event.worker} could not save {_base(event.prefix)}: {event.error}"
        case VerifyAsked():
            task = event.task
            what = f"{_named_by(run, task.save, task.prefix)}: {task.reader} is asked to read its bytes"
            return f"{what} once more for attempt {task.attempt}" if task.purpose is Purpose.REREAD else what
        case Verified():
            return _verified(run, event.verification)
        case VerdictReached():
            return _verdict(run, event)
        case Quarantined():
            return f"{_of_digest(run, event.manifest_digest)} quarantined, it is never planned again: {event.cause}"
        case CheckpointsRemoved():
            return f"{event.worker} removed {_listed(map(_base, event.prefixes))}"
        case DirectoryListed():
            return _listed_directory(run, event)
        case AttemptOpened():
            return _attempt_opened(run, event)
        case PlanDecided():
            return _plan(event.attempt, event.plan)
        case ReceiptGiven():
            return _receipt(run, event)
        case CallEntered():
            return _call_entered(run, event)
        case GateOpened():
            return f"gate of attempt {event.attempt} open: {_proof(run, event.attempt)}"
        case FirstStepDone():
            at = "" if event.step is None else f" (step {event.step})"
            return f"{event.worker} did the first step of attempt {event.attempt}{at}"
        case HookFailed():
            times = "" if event.count <= 1 else f" ({event.count} times in this attempt)"
            return f"hook {event.hook} failed on {event.worker}{times}: {event.error}; training goes on"
        case SteeringLost():
            failed = f"hook {event.hook} failed on {event.worker}" if event.hook else str(event.worker)
            what = f"{failed}: {event.error}"
            return f"attempt {event.attempt} is Unsteered, nobody is steered in it: {what}"
        case RestoreLeftAlone():
            return f"{event.worker} restored {event.prefix} on its own account: left alone"
        case Exported():
            return _exported(event.export)
        case Noticed():
            return _noticed(event.notice)
        case SharedWriteSeen():
            return str(advice.shared_write_cause(event.shared))
        case AttemptFailed():
            failure = event.failure
            who = "" if failure.worker is None or str(failure.worker) in failure.cause.detail else f"{failure.worker} "
            is_free = not event.spends_budget and failure.cause.reason is not Reason.INTERRUPTED
            free = ", which spends no restart" if is_free else ""
            return f"attempt {event.number} failed: {who}{failure.cause}; the gang is stopped{free}"
        case AttemptEnded():
            return f"attempt {event.number} ended: every trainer is gone"
        case StopAsked():
            within = f" within {event.grace_s:g} s" if event.grace_s > 0 else ""
            return f"{event.who or 'somebody'} asked the run to stop{within}: {event.why or 'no reason given'}"
        case RunEnded():
            return f"run ended ({event.cause})"
        case _:
            assert_never(event)


# ------------------------------------------------------------------------------------------------------------- workers


def _run_opened(run: Run, event: RunOpened) -> str:
    policy = event.policy
    steering = "steering" if policy.steering else "observing only"
    if policy.steering and policy.receipts is not ReceiptPolicy.ENFORCE:
        steering += f", receipts={policy.receipts.value}"
    if policy.shared_write is not Policy().shared_write:
        steering += f", shared-write={policy.shared_write.value}"
    budget = f"at most {_count(policy.max_restarts, 'restart')} without progress"
    by = f" by {event.who}" if event.who else ""
    if not run.run_id:
        return f"run of {event.job} opened{by}: {steering}, {budget}"
    return f"run of {event.job} opened again{by}: {steering}, {budget}, counted afresh"


def _connected(run: Run, event: WorkerConnected) -> str:
    known = run.sessions.get(event.worker)
    host = f" on {event.session.host}" if event.session.host else ""
    has = {
        TrainerPhase.NONE: "no trainer yet",
        TrainerPhase.RUNNING: f"its trainer runs attempt {event.trainer.attempt}",
        TrainerPhase.EXITED: f"its trainer of attempt {event.trainer.attempt} has ended",
    }[event.trainer.phase]
    if known is None:
        return f"{event.worker} connected{host}: {has}"
    if event.session.launcher_session > known.launcher_session:
        return f"{event.worker} has a new launcher{host}: {has}"
    if event.session.agent_session > known.agent_session:
        return f"{event.worker} has a new agent{host}: {has}"
    return f"agent of {event.worker} is back: {has}"


def _trainer_changed(run: Run, event: TrainerChanged) -> str:
    trainer, worker = event.trainer, event.worker
    if trainer.phase is TrainerPhase.RUNNING:
        return f"{worker} started attempt {trainer.attempt} (pid {trainer.pid})"
    if trainer.phase is TrainerPhase.NONE:
        return f"{worker} has no trainer"
    at = _at_step(trainer)
    if trainer.was_stopped:
        return f"{worker} stopped{at}"
    if trainer.signal is not None:
        return f"{worker} killed by {_signal_name(trainer.signal)}{at}"
    if trainer.exit_code == 0:
        return f"{worker} finished{at}"
    last = next((line for line in reversed(trainer.last_lines) if line.strip()), "")
    return f"{worker} exited with status {trainer.exit_code}{at}" + (f": {last.strip()[:200]}" if last else "")


def _at_step(trainer: Trainer) -> str:
    return "" if trainer.reached_step is None else f" at step {trainer.reached_step}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


# --------------------------------------------------------------------------------------------------------- checkpoints


def _save_reported(run: Run, event: SaveReported) -> str:
    report = event.report
    synced = "" if report.durable else ", not yet on disk"
    elsewhere = f", away from {report.redirected_from}" if report.redirected_from else ""
    saved = f"{report.worker} saved {_named(report)} in {report.save_duration_s:.2f} s{elsewhere}{synced}"
    if not advice.is_news_of_save(run, event.save.series, report):
        return saved
    return f"{saved}; {Remark.NOT_SAVED.value}: {advice.not_saved(report)}; {advice.NOT_SAVED_CURE}"


def _verified(run: Run, verification: Verification) -> str:
    task = run.tasks.get(verification.task_id)
    name = _base(verification.prefix) if task is None else _named_by(run, task.save, verification.prefix)
    how = f"read by {verification.reader} {_HOW_READ[verification.medium]}"
    if verification.faults:
        return f"{name} is damaged, {how}: {_causes(verification.faults)}"
    size, duration = _size(verification.bytes_read), f"{verification.duration_s:.2f} s"
    return f"{name} is whole: {size} {how} in {duration}"


def _exported(export: Export) -> str:
    step = f" at step {export.step}" if export.step is not None else ""
    if export.error:
        return f"{export.worker} could not save {_base(export.path)}: {export.error}"
    what = f"{export.worker} saved {_EXPORT_WORDS[export.kind]} {export.path}{step}, to be used elsewhere"
    if [cause.reason for cause in export.faults] == [Reason.NO_CHECKSUM]:
        return f"{what}: its format has no checksum"
    if export.faults:
        return f"{what}: it is damaged: {_causes(export.faults)}"
    return f"{what}: {_size(export.bytes_read)} read again, whole"


def _noticed(notice: Notice) -> str:
    who, path, more = notice.worker, notice.path, f": {notice.detail}" if notice.detail else ""
    match notice.kind:
        case NoticeKind.READ:
            return f"{who}: a process that does not train read {path}, observed only{more}"
        case NoticeKind.STATE_FILE:
            return f"{who}: the state file in {path} is taken for a missing one, TensorFlow cannot read it{more}"
        case NoticeKind.NEVER_ASKED:
            return f"{who} trains and never asked what to restore, although checkpoints lie in {path}{more}"
        case NoticeKind.UNSUPPORTED:
            return f"{who}: {sentence(path, notice.detail)}"
        case _:
            assert_never(notice.kind)


def _verdict(run: Run, event: VerdictReached) -> str:
    name, verdict = _named_by(run, event.save), event.verdict
    checkpoint = run.checkpoints.get(event.save)
    if checkpoint is not None and checkpoint.removed and _is_gone(verdict):
        return f"{name} rotated away: it was {checkpoint.verdict.standing.value} until then"
    if verdict.standing is not Standing.GOOD:
        return f"{name} {verdict.standing.value}: {_causes(verdict.causes)}"
    verification = None if checkpoint is None else checkpoint.verification
    agree = f"{_count(verdict.witnesses, 'worker')} {'agrees' if verdict.witnesses == 1 else 'agree'}"
    if verdict.medium is None:
        return f"{name} Good: {agree}"
    reader = "" if verification is None else f" by {verification.reader}"
    return f"{name} Good: {agree}, read{reader} {_HOW_READ[verdict.medium]}"


def _is_gone(verdict: Verdict) -> bool:
    """Nothing is wrong with it but that it is no longer there."""
    return bool(verdict.causes) and all(cause.reason is Reason.VANISHED for cause in verdict.causes)


def _call_entered(run: Run, event: CallEntered) -> str:
    attempt = run.attempt_numbered(event.attempt)
    has_restored = attempt is not None and any(worker == event.worker for worker, _ in attempt.receipts)
    if has_restored:
        return f"{event.worker} stands at the gate, about to enter {event.function}"
    return f"{event.worker} entered {event.function} without having restored"


def _listed_directory(run: Run, event: DirectoryListed) -> str:
    found = event.listing.checkpoints
    attempt = run.attempt_numbered(event.attempt)
    if attempt is not None and attempt.plan is not None and not found:
        return f"{event.worker} asks for what is newest in {event.listing.directory}"
    where = f"{event.worker} looked into {event.listing.directory}"
    if not found:
        others = event.listing.other_entries
        return f"{where}: no checkpoint there" + (
            f", {_count(others, 'other entry', 'other entries')}" if others else ""
        )
    whole = [each for each in found if not each.faults]
    damaged = [f"{_base(each.prefix)} {_causes(each.faults)}" for each in found if each.faults]
    parts = [f"{_base(each.prefix)}{_step(each.step)} is whole" for each in whole[:_SHOWN]]
    return f"{where}: {_listed([*parts, *damaged], 2 * _SHOWN)}"


def _named(report: SaveReport) -> str:
    return f"{_base(report.prefix)}{_step(report.step)}"


def _named_by(run: Run, save: SaveId, prefix: str = "") -> str:
    """What people call a save: the last part of its prefix, and its step."""
    checkpoint = run.checkpoints.get(save)
    report = None if checkpoint is None else checkpoint.primary(run.members)
    if report is not None:
        return _named(report)
    return _base(prefix) if prefix else f"save {save.ordinal} of attempt {save.attempt}"


def _of_digest(run: Run, digest: str) -> str:
    reports = (report for checkpoint in run.checkpoints.values() for report in checkpoint.reports.values())
    report = next((report for report in reports if report.manifest_digest == digest), None)
    return f"checkpoint {digest[:12]}" if report is None else _named(report)


# ------------------------------------------------------------------------------------------------------------ attempts


def _attempt_opened(run: Run, event: AttemptOpened) -> str:
    gang = _count(len(event.addresses), "worker")
    restarts = apply(run, event, run.opened_s).restarts
    which = f" (restart {restarts})" if restarts > run.restarts else ""
    return f"attempt {event.number} opened{which}: {gang} to start" + ("" if event.steering else ", observed only")


def _plan(attempt: int, plan: Plan) -> str:
    why = f": {plan.why}" if plan.why else ""
    if plan.kind is PlanKind.FRESH:
        return f"plan: attempt {attempt} starts fresh{why}"
    verb = "restores" if plan.kind is PlanKind.RESTORE else "adopts"
    return f"plan: attempt {attempt} {verb} {_listed(map(_planned, plan.series))}{why}"


def _planned(planned: PlannedSeries) -> str:
    prefix = next(iter(planned.prefixes.values()), "")
    return (_base(prefix) if prefix else f"save {planned.save}") + _step(planned.step)


def _receipt(run: Run, event: ReceiptGiven) -> str:
    receipt = event.receipt
    name = f"{_base(receipt.prefix)}{_planned_step(run, event)}" if receipt.prefix else "nothing"
    if receipt.error:
        return f"{receipt.worker} could not restore {name}: {receipt.error}"
    if not receipt.is_good:
        lets_pass = "" if run.policy.receipts is ReceiptPolicy.ENFORCE else "; receipts only warn, so training goes on"
        return f"{receipt.worker} restored {name} wrongly: {_what_is_wrong(receipt)}{lets_pass}"
    if not receipt.prefix:
        return f"{receipt.worker} restored nothing"
    if receipt.is_uncompared:
        return f"{receipt.worker} restored {name}: nothing was compared, receipts are off"
    later = f", {receipt.deferred} to be compared when they are made" if receipt.deferred else ""
    restored = f"{receipt.worker} restored {name}: {_count(receipt.restored, 'value')} as in the manifest{later}"
    return restored + "".join(f"; {each}" for each in _news_beside(run, receipt))


def _news_beside(run: Run, receipt: Receipt) -> Iterator[str]:
    """What is worth knowing of a good restore, once."""
    for remark in advice.news_of_receipt(run, receipt):
        is_own = remark is Remark.TAKEN_FROM_CHIEF
        told = f"{advice.from_chief(receipt)}; {advice.FROM_CHIEF_CURE}" if is_own else advice.unmatched(receipt)
        yield f"{remark.value}: {told}"


def _what_is_wrong(receipt: Receipt) -> str:
    parts = [receipt.model_change] if receipt.model_change else []
    if receipt.wrong_value:
        parts.append(f"{len(receipt.wrong_value)} with another value ({_listed(receipt.wrong_value)})")
    if receipt.left_at_initial:
        parts.append(f"{len(receipt.left_at_initial)} left at the initial value ({_listed(receipt.left_at_initial)})")
    if receipt.found_instead:
        parts.append(receipt.found_instead)
    return "; ".join(parts)


def _planned_step(run: Run, event: ReceiptGiven) -> str:
    attempt = run.attempt_numbered(event.attempt)
    planned = attempt.plan.series if attempt is not None and attempt.plan is not None else ()
    steps = (each.step for each in planned if each.manifest_digest == event.receipt.manifest_digest)
    return _step(next(steps, None))


def _proof(run: Run, number: int) -> str:
    attempt = run.attempt_numbered(number)
    plan = None if attempt is None else attempt.plan
    if attempt is None or plan is None or not attempt.is_steered:
        return "nobody is steered, training goes on"
    if plan.kind is PlanKind.FRESH:
        return "nothing was to be restored, training begins"
    step = "" if plan.step is None else f", training goes on from step {plan.step}"
    return f"{_count(len(run.members), 'worker')} proved what they restored{step}"


# --------------------------------------------------------------------------------------------------------------- words


def _base(prefix: str) -> str:
    return prefix.rstrip("/").rpartition("/")[2] or prefix


def _step(step: int | None) -> str:
    return "" if step is None else f" (step {step})"


def _causes(causes: Iterable[Cause]) -> str:
    return "; ".join(map(str, causes)) or "no reason given"


def _listed(items: Iterable[str | WorkerId], shown: int = _SHOWN) -> str:
    names = [str(item) for item in items]
    rest = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {rest} more" if rest > 0 else "")


def _count(number: int, noun: str, nouns: str = "") -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {nouns or noun + 's'}"


def _size(size_bytes: int) -> str:
    if size_bytes < 1_000_000:
        return f"{size_bytes / 1e3:.1f} kB"
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes < 1e9 else f"{size_bytes / 1e9:.2f} GB"
