"""What a gang's receipts prove about an attempt's plan: who restored it, who did not, who restored otherwise.

Values whose variables did not exist yet count as restored until a later receipt says otherwise. Where the policy only
warns, an objection is known and held against nobody, unless the restore raised or was of something else.
"""

from __future__ import annotations

from lastgood.reasons import Reason
from lastgood_controller.lineage import is_same_stream
from lastgood_controller.model import (
    Attempt,
    Cause,
    PlannedSeries,
    Receipt,
    ReceiptPolicy,
    Run,
    SeriesId,
    WorkerId,
)
from lastgood_controller.step import named

#: An attempt with such a receipt holds other values than its plan says.
OTHERWISE = frozenset({Reason.RESTORED_WRONG, Reason.MODEL_CHANGED})

#: So many reasons are quoted.
_QUOTED = 2


def receipt_for(attempt: Attempt, worker: WorkerId, planned: PlannedSeries) -> Receipt | None:
    """The worker's receipt for one planned series; a plan made before any object was known matches any series."""
    exact = attempt.receipts.get((worker, planned.series))
    if exact is not None:
        return exact
    others = [
        receipt
        for (who, series), receipt in attempt.receipts.items()
        if who == worker and is_same_stream(series, planned.series)
    ]
    fitting = [receipt for receipt in others if receipt.manifest_digest == planned.manifest_digest]
    return next(iter(fitting or others), None)


def lacking(run: Run, attempt: Attempt) -> tuple[WorkerId, ...]:
    """Members that owe a receipt for some planned series."""
    planned = attempt.plan.series if attempt.plan is not None else ()
    return tuple(m for m in run.members if any(receipt_for(attempt, m, each) is None for each in planned))


def is_proven(run: Run, attempt: Attempt) -> bool:
    """Whether every member has proven what the attempt's plan says; a fresh plan leaves nothing to prove."""
    if attempt.plan is None or lacking(run, attempt):
        return False
    own = [(receipt_for(attempt, m, planned), planned) for planned in attempt.plan.series for m in run.members]
    return all(receipt is not None and held_against(run, receipt, planned) is None for receipt, planned in own)


def restored_otherwise(run: Run, attempt: Attempt) -> Cause | None:
    """That some member holds other values than the attempt's plan says, by its own newest receipt."""
    for planned in attempt.plan.series if attempt.plan is not None else ():
        for worker in run.members:
            receipt = receipt_for(attempt, worker, planned)
            cause = held_against(run, receipt, planned) if receipt is not None else None
            if cause is not None and cause.reason in OTHERWISE:
                return Cause(cause.reason, f"in attempt {attempt.number}, {worker}: {cause.detail}")
    return None


def stand_alike(run: Run, attempt: Attempt) -> bool:
    """Whether every member has proven the same part of the plan, and stands at its first call since.

    The rest is then of series that the script restores later, or not at all: nobody can wait for their receipts, since
    the script does not go on until the gate is open.
    """
    planned = attempt.plan.series if attempt.plan is not None else ()
    proven: set[frozenset[SeriesId]] = set()
    for member in run.members:
        found = [(each, receipt_for(attempt, member, each)) for each in planned]
        given = [(each, receipt) for each, receipt in found if receipt is not None]
        if not given or any(held_against(run, receipt, each) is not None for each, receipt in given):
            return False
        if attempt.entered.get(member, 0.0) < max(receipt.at_s for _, receipt in given):
            return False
        proven.add(frozenset(each.series for each, _ in given))
    return len(proven) == 1


def held_against(run: Run, receipt: Receipt, planned: PlannedSeries) -> Cause | None:
    """What is wrong with a receipt, as far as the policy lets it count."""
    is_waived = run.policy.receipts is not ReceiptPolicy.ENFORCE and not receipt.error
    if is_waived and receipt.manifest_digest == planned.manifest_digest:
        return None
    return objection(receipt, planned)


def model_change(run: Run) -> Cause | None:
    """That the script's objects are not those that were saved, by the receipts since the last restore that was proven.

    A late receipt may show it when the attempt has failed for another reason, such as the error that it raised.
    """
    for attempt in reversed(run.attempts):
        if attempt.opened_s < run.opened_s:
            return None
        for planned in attempt.plan.series if attempt.plan is not None else ():
            for worker in run.members:
                receipt = receipt_for(attempt, worker, planned)
                cause = held_against(run, receipt, planned) if receipt is not None else None
                if cause is not None and cause.reason is Reason.MODEL_CHANGED:
                    return Cause(cause.reason, f"in attempt {attempt.number}, {worker}: {cause.detail}")
        if attempt.gate_opened_s is not None:
            return None
    return None


def objection(receipt: Receipt, planned: PlannedSeries) -> Cause | None:
    """What is wrong with a receipt; None when it proves what the plan says."""
    if receipt.model_change:
        prefix = receipt.prefix or planned.save
        return Cause(Reason.MODEL_CHANGED, f"{prefix} does not fit what the script builds: {receipt.model_change}")
    if receipt.error:
        return Cause(Reason.RESTORE_FAILED, f"restoring {receipt.prefix or planned.save} raised: {receipt.error}")
    if receipt.manifest_digest != planned.manifest_digest:
        wanted = planned.prefixes.get(receipt.worker, str(planned.save))
        found = receipt.prefix or "something that is not known"
        return Cause(
            Reason.RESTORED_WRONG,
            f"it restored {found} ({receipt.manifest_digest[:12]}); the plan says {wanted}"
            f" ({planned.manifest_digest[:12]})",
        )
    parts = []
    if receipt.wrong_value:
        parts.append(f"{len(receipt.wrong_value)} with a wrong value: {named(receipt.wrong_value)}")
    if receipt.left_at_initial:
        parts.append(f"{len(receipt.left_at_initial)} left at the initial value: {named(receipt.left_at_initial)}")
    if not parts:
        return None
    parts += [receipt.found_instead] if receipt.found_instead else []
    parts += _quoted(receipt)
    return Cause(Reason.RESTORED_WRONG, f"after restoring {receipt.prefix}, variables differ: {'; '.join(parts)}")


def _quoted(receipt: Receipt) -> list[str]:
    """Why, for the first few values that have a reason."""
    reasons = {one.reason: one.key for one in reversed(receipt.explained)}
    return [f"{key}: {reason}" for reason, key in list(reasons.items())[::-1][:_QUOTED]]
