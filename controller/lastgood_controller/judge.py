"""What is to be thought of each checkpoint: an ordered chain of small rules, each of which may object.

The first objection that settles a checkpoint makes it Bad; otherwise the first thing that is still awaited keeps it
Pending; a checkpoint to which no rule objects is Good. Nothing is decided here about attempts, and nothing is guessed:
what is not known yet is Pending, and every Pending has a deadline.

A verdict that was settled does not become Pending again, except where a report that was missing came late. A Good one
becomes Bad by evidence about its bytes or its values only, never because somebody fell silent; one that was Incomplete
or Unreadable becomes Good when what it lacked comes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from lastgood.manifest import Manifest
from lastgood.reasons import Reason
from lastgood_controller import agreement, holding, readers, savers
from lastgood_controller.events import (
    Quarantined,
    VerdictReached,
)
from lastgood_controller.fold import (
    apply,
)
from lastgood_controller.lineage import ADOPTED, planned_for, predecessors
from lastgood_controller.model import (
    Attempt,
    Cause,
    Checkpoint,
    PlanKind,
    Purpose,
    Receipt,
    ReceiptPolicy,
    Run,
    SaveId,
    SaveReport,
    SeriesId,
    Standing,
    Verdict,
    Verification,
    WorkerId,
)
from lastgood_controller.receipts import OTHERWISE, is_proven, restored_otherwise
from lastgood_controller.step import named

#: Reasons that say nothing against the list of variables that a checkpoint's manifest gives.
_BYTES_ONLY = frozenset({Reason.CORRUPT, Reason.TORN, Reason.UNREADABLE, Reason.VANISHED})
#: What never changes again, so that a long run's history costs nothing to judge.
_FINAL = frozenset({Reason.VANISHED, Reason.QUARANTINED})


@dataclass(frozen=True)
class Case:
    """One checkpoint, and all that its rules look at. primary: the report of the files that count, where known."""

    run: Run
    checkpoint: Checkpoint
    attempt: Attempt | None
    manifests: Mapping[str, Manifest]
    missing: tuple[WorkerId, ...]
    primary: SaveReport | None
    is_gone: bool
    now_s: float

    @property
    def over_s(self) -> float | None:
        """Since when the attempt can't save any more."""
        return savers.saving_over_s(self.run, self.attempt)

    @property
    def was_good(self) -> bool:
        return self.checkpoint.verdict.standing is Standing.GOOD


def judge(run: Run, manifests: Mapping[str, Manifest], now_s: float) -> tuple[VerdictReached | Quarantined, ...]:
    """What differs from what is recorded; () once that has been applied.

    manifests: what each digest stands for, as far as it has been delivered.
    """
    reached: list[VerdictReached | Quarantined] = []
    for quarantine in _quarantines(run):
        reached.append(quarantine)
        run = apply(run, quarantine, now_s)
    held = holding.held(run)
    overwritten = {save: cause for save, cause in _overwritten(run).items() if save not in held}
    questioned = {task.save for task in run.tasks.values() if task.purpose is Purpose.REREAD} | set(overwritten)
    wrong = {a.number for a in run.attempts if a.failure and a.failure.cause.reason in OTHERWISE}
    questioned |= {save for save in run.checkpoints if save.attempt in wrong}
    for save in sorted(run.checkpoints, key=lambda each: (each.attempt, each.ordinal, each.series)):
        checkpoint = run.checkpoints[save]
        if _is_final(checkpoint) or (save not in questioned and _is_still_good(run, checkpoint, held)):
            continue
        verdict = _verdict(_case(run, checkpoint, manifests, held, now_s), overwritten.get(save))
        if verdict != checkpoint.verdict:
            event = VerdictReached(save, verdict)
            reached.append(event)
            run = apply(run, event, now_s)
    return tuple(reached)


def due_times(run: Run) -> Iterator[float]:
    """Times at which a Pending checkpoint may settle although no fact has come; some may have passed."""
    for checkpoint in run.checkpoints.values():
        if checkpoint.verdict.standing is not Standing.PENDING:
            continue
        silent = tuple(m for m in run.members if m not in checkpoint.reports)
        yield savers.reports_due_s(run, checkpoint, silent)
        yield _manifests_due_s(run, checkpoint)


# ----------------------------------------------------------------------------------------------------------- the chain


def _verdict(case: Case, overwritten: Cause | None) -> Verdict:
    checkpoint = case.checkpoint
    found = checkpoint.verification
    medium = checkpoint.verdict.medium or (found.medium if found is not None else None)
    witnesses = len(checkpoint.reports)
    for objection in _ADOPTED_RULES if checkpoint.save.attempt == ADOPTED else _BAD_RULES:
        cause = overwritten if objection is _is_gone and overwritten is not None else objection(case)
        if cause is not None:
            causes = found.faults if objection is _has_faults and found is not None and found.faults else (cause,)
            return Verdict(Standing.BAD, causes, witnesses, medium)
    for awaited in _PENDING_RULES if checkpoint.save.attempt != ADOPTED else (_awaits_reread,):
        cause = awaited(case)
        if cause is not None:
            if _is_settled(checkpoint.verdict, cause):
                return checkpoint.verdict
            return Verdict(Standing.PENDING, (cause,), witnesses, medium)
    return Verdict(Standing.GOOD, (), witnesses, medium)


def _is_settled(verdict: Verdict, awaited: Cause) -> bool:
    """Whether a recorded verdict outweighs what is awaited now. A late report is still worth reading the bytes for."""
    if verdict.standing is Standing.PENDING:
        return False
    was_incomplete = {cause.reason for cause in verdict.causes} == {Reason.INCOMPLETE}
    return not (was_incomplete and awaited.reason is Reason.AWAITING_VERIFICATION)


def _is_quarantined(case: Case) -> Cause | None:
    return case.checkpoint.quarantine


def _failed_somewhere(case: Case) -> Cause | None:
    if not case.checkpoint.failed:
        return None
    worker = min(case.checkpoint.failed)
    return Cause(Reason.INCOMPLETE, f"the save failed on {worker}: {case.checkpoint.failed[worker]}")


def _diverged(case: Case) -> Cause | None:
    reports = case.checkpoint.reports
    steps = {worker: report.step for worker, report in reports.items() if report.step is not None}
    if len(set(steps.values())) > 1:
        told = ", ".join(f"{worker} at step {step}" for worker, step in sorted(steps.items()))
        return Cause(Reason.DIVERGED, f"the workers saved different steps as one checkpoint: {told}")
    known = {w: case.manifests[r.manifest_digest] for w, r in reports.items() if r.manifest_digest in case.manifests}
    return agreement.disagreement(known)


def _lost_variables(case: Case) -> Cause | None:
    own = case.manifests.get(case.primary.manifest_digest) if case.primary is not None else None
    before = _predecessor(case)
    if own is None or before is None:
        return None
    report = before.primary(case.run.members)
    former = case.manifests.get(report.manifest_digest) if report is not None else None
    lost = agreement.lost_variables(former, own) if former is not None else ()
    if not lost or report is None:
        return None
    many = f"{len(lost)} variable{'s' if len(lost) > 1 else ''}"
    return Cause(Reason.VARIABLES_LOST, f"it lacks {many} that {report.prefix} before it had: {named(lost)}")


def _is_gone(case: Case) -> Cause | None:
    if not case.is_gone or case.primary is None:
        return None
    return Cause(Reason.VANISHED, f"it was removed from {case.primary.prefix}")


def _has_faults(case: Case) -> Cause | None:
    report = case.primary
    found = _believed_reading(case)
    if report is None or found is None:
        return None
    if found.faults:
        return found.faults[0]
    if found.manifest_digest == report.manifest_digest:
        return None
    return Cause(
        Reason.VANISHED,
        f"{report.prefix} should hold {report.manifest_digest[:12]} and holds {found.manifest_digest[:12]} now",
    )


def _is_unread(case: Case) -> Cause | None:
    """Nobody could read it: after the save, or, later on, for a plan."""
    checkpoint = case.checkpoint
    attempt = readers.newest_reread(case.run, checkpoint)
    if attempt is not None:
        is_spent = readers.reading(case.run, checkpoint, Purpose.REREAD, attempt, case.now_s).is_spent
    elif case.was_good or case.primary is None or checkpoint.save.attempt == ADOPTED:
        is_spent = False
    else:
        number = checkpoint.save.attempt
        is_spent = readers.reading(case.run, checkpoint, Purpose.JUDGE, number, case.now_s).is_spent
    if not is_spent:
        return None
    limit_s = case.run.policy.verify_s
    return Cause(Reason.UNREADABLE, f"nobody has read its bytes within {limit_s:g} s, in {readers.MAX_TRIES} tries")


def _is_incomplete(case: Case) -> Cause | None:
    if case.was_good or not case.missing:
        return None
    if case.now_s < savers.reports_due_s(case.run, case.checkpoint, case.missing):
        return None
    when = "its attempt ended before that" if case.over_s is not None else f"{case.run.policy.report_s:g} s have passed"
    return Cause(Reason.INCOMPLETE, f"{named(case.missing)} did not report this save; {when}")


def _lacks_manifest(case: Case) -> Cause | None:
    if case.was_good or case.over_s is None or case.now_s < _manifests_due_s(case.run, case.checkpoint):
        return None
    lacking = _undelivered(case)
    return Cause(Reason.INCOMPLETE, f"what {named(lacking)} saved was never told in full") if lacking else None


def _is_not_durable(case: Case) -> Cause | None:
    if case.primary is None or case.primary.durable:
        return None
    return Cause(Reason.INCOMPLETE, f"{case.primary.prefix} could not be written through to the disk")


def _is_unproven(case: Case) -> Cause | None:
    """Its attempt ended, or is unknown, and never proved what it had restored; or it was not steered, and few saved."""
    if not case.was_good and not case.missing and _is_vouched_for_by_few(case):
        silent = [member for member in case.run.members if member not in case.checkpoint.reports]
        return Cause(Reason.INCOMPLETE, f"its attempt was not steered, and nobody knows what {named(silent)} restored")
    if case.was_good or (case.attempt is not None and case.attempt.gate_opened_s is not None):
        return None
    if case.attempt is not None and case.over_s is None:
        return None
    return Cause(Reason.INCOMPLETE, "its attempt ended before every worker had proven what it restored")


def _descends_from_a_wrong_restore(case: Case) -> Cause | None:
    """A variable that was born late may show only after the gate, and after a save, that it was restored wrongly."""
    if case.attempt is None or not case.attempt.is_steered:
        return None
    return restored_otherwise(case.run, case.attempt)


def _is_vouched_for_by_few(case: Case) -> bool:
    """Whether steering was lost in its attempt before all had proven what they restored, and not all have saved it.

    Saves that every member made alike show that all hold the same; of one that did not save nobody knows.
    """
    attempt, run = case.attempt, case.run
    if attempt is None or attempt.unsteered is None or is_proven(run, attempt):
        return False
    return any(member not in case.checkpoint.reports for member in run.members)


def _awaits_reports(case: Case) -> Cause | None:
    if case.missing or case.primary is None:
        return Cause(Reason.AWAITING_REPORTS, f"of {named(case.missing)}")
    return None


def _awaits_manifest(case: Case) -> Cause | None:
    lacking = _undelivered(case)
    return Cause(Reason.AWAITING_MANIFEST, f"of {named(lacking)}") if lacking else None


def _awaits_verification(case: Case) -> Cause | None:
    if _believed_reading(case) is None:
        return Cause(Reason.AWAITING_VERIFICATION, "its bytes have not been read again yet")
    return None


def _awaits_reread(case: Case) -> Cause | None:
    attempt = readers.newest_reread(case.run, case.checkpoint)
    if attempt is None:
        return None
    if readers.reading(case.run, case.checkpoint, Purpose.REREAD, attempt, case.now_s).answer is None:
        return Cause(Reason.AWAITING_VERIFICATION, f"it is being read again for attempt {attempt}")
    return None


def _awaits_receipts(case: Case) -> Cause | None:
    if case.attempt is not None and case.attempt.gate_opened_s is None:
        return Cause(Reason.AWAITING_RECEIPTS, f"attempt {case.attempt.number} has not proven what it restored")
    return None


_BAD_RULES: tuple[Callable[[Case], Cause | None], ...] = (
    _is_quarantined,
    _failed_somewhere,
    _diverged,
    _lost_variables,
    _is_gone,
    _has_faults,
    _is_unread,
    _is_incomplete,
    _lacks_manifest,
    _is_not_durable,
    _descends_from_a_wrong_restore,
    _is_unproven,
)
_ADOPTED_RULES = (_is_quarantined, _is_gone, _has_faults, _is_unread)
_PENDING_RULES = (_awaits_reports, _awaits_manifest, _awaits_verification, _awaits_reread, _awaits_receipts)


# -------------------------------------------------------------------------------------------------------- what it needs


def _case(
    run: Run, checkpoint: Checkpoint, manifests: Mapping[str, Manifest], held: frozenset[SaveId], now_s: float
) -> Case:
    attempt = run.attempt_numbered(checkpoint.save.attempt)
    is_adopted = checkpoint.save.attempt == ADOPTED
    missed = () if is_adopted else savers.missing(run, checkpoint, now_s)
    report = savers.primary(run, checkpoint, missed)
    is_gone = holding.is_gone(checkpoint, held)
    return Case(run, checkpoint, attempt, manifests, missed, report, is_gone, now_s)


def _is_final(checkpoint: Checkpoint) -> bool:
    verdict = checkpoint.verdict
    is_kept = checkpoint.removed or checkpoint.quarantine is not None
    return is_kept and verdict.standing is Standing.BAD and verdict.causes[0].reason in _FINAL


def _is_still_good(run: Run, checkpoint: Checkpoint, held: frozenset[SaveId]) -> bool:
    """Whether nothing has come to light since it was judged Good: a long run keeps many such ones."""
    report, found = checkpoint.primary(run.members), checkpoint.verification
    return (
        checkpoint.verdict.standing is Standing.GOOD
        and checkpoint.verdict.witnesses == len(checkpoint.reports)
        and not (checkpoint.failed or holding.is_gone(checkpoint, held) or checkpoint.quarantine)
        and report is not None
        and found is not None
        and not found.faults
        and (found.prefix, found.manifest_digest) == (report.prefix, report.manifest_digest)
    )


def _believed_reading(case: Case) -> Verification | None:
    """The newest reading of the primary's files that counts, whatever it was made for."""
    found = case.checkpoint.verification
    task = case.run.tasks.get(found.task_id) if found is not None else None
    if found is None or task is None or case.primary is None or task.prefix != case.primary.prefix:
        return None
    return readers.reading(case.run, case.checkpoint, task.purpose, task.attempt, case.now_s).answer


def _undelivered(case: Case) -> tuple[WorkerId, ...]:
    reports = case.checkpoint.reports
    return tuple(sorted(w for w, report in reports.items() if report.manifest_digest not in case.manifests))


def _manifests_due_s(run: Run, checkpoint: Checkpoint) -> float:
    over_s = savers.saving_over_s(run, run.attempt_numbered(checkpoint.save.attempt)) or 0.0
    came_s = max([checkpoint.first_report_s, *(report.at_s for report in checkpoint.reports.values())])
    known = [run.sessions[w].known_since_s for w in checkpoint.reports if w in run.sessions]
    return max([over_s, came_s, *known]) + run.policy.report_s


def _predecessor(case: Case) -> Checkpoint | None:
    """The nearest checkpoint before it on its lineage whose list of variables can be trusted."""
    save = case.checkpoint.save
    former = case.run.checkpoints.get(replace(save, ordinal=save.ordinal - 1))
    if former is not None and _states_its_variables(former.verdict):
        return former
    found = (each for each in predecessors(case.run, save) if _states_its_variables(each.verdict))
    return next(found, None)


def _states_its_variables(verdict: Verdict) -> bool:
    reasons = {cause.reason for cause in verdict.causes}
    return verdict.standing is Standing.GOOD or (verdict.standing is Standing.BAD and reasons <= _BYTES_ONLY)


def _overwritten(run: Run) -> dict[SaveId, Cause]:
    """Checkpoints at whose prefix something else was saved later."""
    adopters = {
        planned.save: attempt.number
        for attempt in reversed(run.attempts)
        if attempt.plan is not None and attempt.plan.kind is PlanKind.ADOPT
        for planned in attempt.plan.series
    }
    newest: dict[str, tuple[Checkpoint, SaveReport]] = {}
    gone: dict[SaveId, Cause] = {}

    def age(checkpoint: Checkpoint) -> tuple[int, int, float]:
        save = checkpoint.save
        is_adopted = save.attempt == ADOPTED
        written = adopters.get(save, 0) if is_adopted else save.attempt
        return (written, 0 if is_adopted else save.ordinal, checkpoint.first_report_s)

    for checkpoint in sorted(run.checkpoints.values(), key=age):
        report = _own_files(run, checkpoint)
        if report is None:
            continue
        former = newest.get(report.prefix)
        if former is not None and former[1].manifest_digest != report.manifest_digest:
            gone[former[0].save] = Cause(
                Reason.VANISHED, f"{report.prefix} was written again by save {checkpoint.save}"
            )
        newest[report.prefix] = (checkpoint, report)
    return gone


def _own_files(run: Run, checkpoint: Checkpoint) -> SaveReport | None:
    """The report of the files that this save wrote, as far as it can be told without waiting."""
    if checkpoint.save.attempt == ADOPTED or not run.members or run.members[0] in checkpoint.reports:
        return checkpoint.primary(run.members)
    return None


# ---------------------------------------------------------------------------------------------------------- quarantine


def _quarantines(run: Run) -> Iterator[Quarantined]:
    """A planned checkpoint that every member failed to restore, in the same way: then it is the checkpoint's fault."""
    for attempt in run.attempts:
        if attempt.plan is None or not attempt.is_steered:
            continue
        for planned in attempt.plan.series:
            checkpoint = run.checkpoints.get(planned.save)
            cause = _shared_fault(run, attempt, planned.series, planned.manifest_digest)
            if cause is not None and checkpoint is not None and checkpoint.quarantine is None:
                yield Quarantined(planned.manifest_digest, cause)


def _shared_fault(run: Run, attempt: Attempt, series: SeriesId, digest: str) -> Cause | None:
    receipts: list[Receipt] = []
    for worker in run.members:
        own = [
            receipt
            for (who, asked), receipt in attempt.receipts.items()
            if who == worker and (planned := planned_for(attempt, asked)) is not None and planned.series == series
        ]
        receipts += own[-1:]
    if len(receipts) < len(run.members) or not receipts:
        return None
    if any(receipt.model_change for receipt in receipts):  # every other checkpoint would fare alike
        return None
    if all(receipt.error for receipt in receipts):
        detail = f"in attempt {attempt.number} no worker could restore it: {receipts[0].error}"
        return Cause(Reason.QUARANTINED, detail)
    if run.policy.receipts is not ReceiptPolicy.ENFORCE:
        return None
    if any(receipt.error or receipt.is_good or receipt.manifest_digest != digest for receipt in receipts):
        return None
    keys = {frozenset(receipt.left_at_initial + receipt.wrong_value) for receipt in receipts}
    if len(keys) > 1:
        return None
    detail = f"in attempt {attempt.number} every worker restored it with the same variables wrong or left out: "
    return Cause(Reason.QUARANTINED, detail + named(sorted(keys.pop())))
