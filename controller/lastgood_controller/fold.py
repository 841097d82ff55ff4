"""What an event makes of a run: `apply` is the only way in which a `Run` changes, and it is pure.

A run is the fold of its journal, so whatever was decided can be decided again from the journal alone. Refuses nothing:
whether an event may be recorded is decided before it is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from lastgood.reasons import Reason
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
from lastgood_controller.model import (
    Attempt,
    Cause,
    Checkpoint,
    End,
    EndNotice,
    Listing,
    Notice,
    NoticeKind,
    Plan,
    Run,
    SaveReport,
    Session,
    Standing,
    Trainer,
    TrainerPhase,
    Verification,
    WorkerId,
)

#: Exports and notices of one attempt that are kept; the journal has them all. A job may export for weeks.
MAX_KEPT = 50


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
            fresh = replace(run, policy=event.policy, opened_s=at_s, failures_in_a_row=0, end=None)
            return replace(fresh, stop_asked=None, stop_notice=None)
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
            attempt = run.attempt_numbered(event.attempt)
            if attempt is None or event.worker in attempt.strategies:
                return run
            return _with_attempt(run, replace(attempt, strategies={**attempt.strategies, event.worker: at_s}))
        case WorkerLeaving():
            attempt = run.attempt_numbered(event.attempt)
            if attempt is None or event.worker in attempt.leaving:
                return run
            notice = EndNotice(event.signal, at_s, at_s + event.grace_s)
            return _with_attempt(run, replace(attempt, leaving={**attempt.leaving, event.worker: notice}))
        case SigtermHandled():
            attempt = run.attempt_numbered(event.attempt)
            if attempt is None:
                return run
            handlers = {**attempt.sigterm_handlers, event.worker: event.handler}
            return _with_attempt(run, replace(attempt, sigterm_handlers=handlers))
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
            run = replace(run, highest_attempt=max(run.highest_attempt, event.highest_attempt))
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
            failed = f"hook {event.hook} failed on {event.worker}" if event.hook else str(event.worker)
            detail = f"{failed}: {event.error}"
            return _with_attempt(run, replace(attempt, unsteered=Cause(Reason.UNSTEERED, detail)))
        case RestoreLeftAlone():
            attempt = run.attempt_numbered(event.attempt)
            if attempt is None:
                return run
            return _with_attempt(run, replace(attempt, left_alone=(*attempt.left_alone, event.prefix)))
        case Exported():
            attempt = run.attempt_numbered(event.attempt)
            if attempt is None:
                return run
            exports = (*attempt.exports, replace(event.export, at_s=at_s))
            return _with_attempt(run, replace(attempt, exports=exports[-MAX_KEPT:]))
        case Noticed():
            attempt = run.attempt_numbered(event.attempt)
            if attempt is None:
                return run
            return _with_attempt(run, _with_notice(attempt, replace(event.notice, at_s=at_s)))
        case SharedWriteSeen():
            attempt = run.attempt_numbered(event.attempt)
            if attempt is None:
                return run
            shared = replace(event.shared, at_s=at_s)
            return _with_attempt(run, replace(attempt, shared_writes=(*attempt.shared_writes, shared)))
        case AttemptFailed():
            attempt = run.attempt_numbered(event.number)
            if attempt is None:
                return run
            attempt = replace(attempt, failure=event.failure, failed_s=at_s)
            spent = event.spends_budget and _has_failed(attempt)
            run = replace(run, failures_in_a_row=run.failures_in_a_row + spent)
            return _with_attempt(run, attempt)
        case AttemptEnded():
            attempt = run.attempt_numbered(event.number)
            return run if attempt is None else _with_attempt(run, replace(attempt, ended_s=at_s))
        case StopAsked():
            detail = f"{event.why} (asked by {event.who})" if event.who else event.why
            grace = EndNotice(event.who, at_s, at_s + event.grace_s) if event.grace_s > 0 else None
            return replace(run, stop_asked=Cause(Reason.INTERRUPTED, detail), stop_notice=grace)
        case RunEnded():
            return replace(run, end=End(event.cause, event.exit_status, at_s))
        case _:
            assert_never(event)


def _has_failed(attempt: Attempt) -> bool:
    """It ended by a failure: that somebody asked for its end is none."""
    return attempt.failure is not None and attempt.failure.cause.reason is not Reason.INTERRUPTED


def _with_notice(attempt: Attempt, notice: Notice) -> Attempt:
    """What ends a run is never pushed out by what does not."""
    kept = [each for each in attempt.notices if each.kind is NoticeKind.UNSUPPORTED][:MAX_KEPT]
    others = [each for each in attempt.notices if each.kind is not NoticeKind.UNSUPPORTED]
    return replace(attempt, notices=(*kept, *others[-MAX_KEPT:], notice))


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
    former = known.primary(run.members)
    known = replace(known, reports={**known.reports, report.worker: report})
    is_of_other_files = former is not None and known.primary(run.members) is report and former.prefix != report.prefix
    return _with_checkpoint(run, replace(known, removed=known.removed and not is_of_other_files))


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
