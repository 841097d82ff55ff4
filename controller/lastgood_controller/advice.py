"""What an operator should know about a run that goes on: nothing failed, and something will, or has been let pass.

Pure. Decides which of a run's facts are worth telling, and tells each thing once, however many workers and attempts
tell it. Fails no attempt and changes no verdict.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from lastgood.notes import Remark
from lastgood.reasons import Reason
from lastgood_controller.model import (
    Attempt,
    Cause,
    Receipt,
    Run,
    SaveReport,
    SeriesId,
    SharedWrite,
    WorkerId,
)
from lastgood_controller.step import named

NOT_SAVED_CURE = "keep each in an attribute of its own, or in a tuple"
FROM_CHIEF_CURE = "set it again after the restore, or save it per worker"
UNMATCHED_CURE = "none is needed if the change is wanted; else make the script's objects those that were saved"
WRONG_CURE = "see docs/reasons.md; --receipts=enforce would have stopped here"
SHARED_CURE = "let every worker but the chief save to a directory of its own"


@dataclass(frozen=True)
class Advice:
    """One thing worth knowing, and what to do. about: a Reason's or a Remark's word. workers: whom it is about."""

    about: str
    workers: tuple[WorkerId, ...]
    attempt: int
    detail: str
    cure: str


def advice(run: Run) -> tuple[Advice, ...]:
    """All advice about a run, oldest attempt first, each thing once."""
    found: dict[tuple[str, object], list[Advice]] = {}
    for key, one in (*_of_saves(run), *_of_attempts(run)):
        found.setdefault((one.about, key), []).append(one)
    merged = (_merged(several) for several in found.values())
    return tuple(sorted(merged, key=lambda each: (each.attempt, each.about)))


def _merged(several: list[Advice]) -> Advice:
    first = min(several, key=lambda each: each.attempt)
    return replace(first, workers=tuple(sorted({worker for each in several for worker in each.workers})))


def is_news_of_save(run: Run, series: SeriesId, report: SaveReport) -> bool:
    """Whether a save that is about to be recorded leaves out something that nobody has told before."""
    return bool(report.unsaved_variables) and not any(
        each.unsaved_variables == report.unsaved_variables
        for save, checkpoint in run.checkpoints.items()
        if save.series == series
        for each in checkpoint.reports.values()
    )


def news_of_receipt(run: Run, receipt: Receipt) -> tuple[Remark, ...]:
    """What a receipt that is about to be recorded tells, and this worker has not told before, of the same series."""
    key = (receipt.worker, receipt.series)
    known = [attempt.receipts[key] for attempt in run.attempts if key in attempt.receipts]
    news = []
    if receipt.taken_from_chief and all(each.taken_from_chief != receipt.taken_from_chief for each in known):
        news.append(Remark.TAKEN_FROM_CHIEF)
    if receipt.unmatched and all(each.unmatched != receipt.unmatched for each in known):
        news.append(Remark.UNMATCHED)
    return tuple(news)


def is_news_of_sharing(run: Run, attempt: int, shared: SharedWrite) -> bool:
    """Whether nobody has told in this attempt that these two save to one prefix."""
    pair = {shared.worker, shared.other}
    own = run.attempt_numbered(attempt)
    return own is None or all({each.worker, each.other} != pair for each in own.shared_writes)


Keyed = tuple[object, Advice]


def _of_saves(run: Run) -> Iterator[Keyed]:
    for save, checkpoint in run.checkpoints.items():
        for worker, report in checkpoint.reports.items():
            if report.unsaved_variables:
                one = Advice(Remark.NOT_SAVED.value, (worker,), save.attempt, not_saved(report), NOT_SAVED_CURE)
                yield (save.series, report.unsaved_variables), one


def _of_attempts(run: Run) -> Iterator[Keyed]:
    for attempt in run.attempts:
        for shared in attempt.shared_writes:
            pair = tuple(sorted((shared.worker, shared.other)))
            cause = shared_write_cause(shared)
            yield (pair, shared.series), Advice(cause.reason.value, pair, attempt.number, cause.detail, SHARED_CURE)
        for (worker, _), receipt in attempt.receipts.items():
            yield from _of_receipt(attempt, worker, receipt)


def _of_receipt(attempt: Attempt, worker: WorkerId, receipt: Receipt) -> Iterator[Keyed]:
    number = attempt.number
    if receipt.taken_from_chief:
        yield (
            receipt.taken_from_chief,
            Advice(Remark.TAKEN_FROM_CHIEF.value, (worker,), number, from_chief(receipt), FROM_CHIEF_CURE),
        )
    if receipt.unmatched:
        same = tuple((one.key, one.outcome) for one in receipt.unmatched)
        yield same, Advice(Remark.UNMATCHED.value, (worker,), number, unmatched(receipt), UNMATCHED_CURE)
    if not receipt.is_good and not receipt.error and attempt.gate_opened_s is not None and attempt.failure is None:
        word = Reason.MODEL_CHANGED if receipt.model_change else Reason.RESTORED_WRONG
        told = receipt.model_change or f"other values than were saved in {named(_wrong(receipt))}"
        yield told, Advice(word.value, (worker,), number, f"after restoring {receipt.prefix}: {told}", WRONG_CURE)


def _wrong(receipt: Receipt) -> tuple[str, ...]:
    return (*receipt.wrong_value, *receipt.left_at_initial)


# --------------------------------------------------------------------------------------------------------------- words


def not_saved(report: SaveReport) -> str:
    """What a save left out."""
    count = len(report.unsaved_variables)
    many = f"{count} variable{'s' if count > 1 else ''} of the model"
    return f"{many} {'are' if count > 1 else 'is'} not in the checkpoint: {named(report.unsaved_variables)}"


def from_chief(receipt: Receipt) -> str:
    """What came back as the chief's."""
    return f"what each worker has of its own came back as the chief's: {named(receipt.taken_from_chief)}"


def unmatched(receipt: Receipt) -> str:
    """What met nothing on the other side, and why, for the first few."""
    reasons = {one.reason: one.key for one in reversed(receipt.unmatched)}
    told = [f"{key} ({reason})" for reason, key in reversed(reasons.items())]
    many = f"{len(receipt.unmatched)} value{'s' if len(receipt.unmatched) > 1 else ''}"
    return f"in restoring {receipt.prefix}, {many} met nothing: {named(told, shown=3)}"


def shared_write_cause(shared: SharedWrite) -> Cause:
    """That two workers save to one prefix, and what to do."""
    first, second = sorted((shared.worker, shared.other))
    done = f"; {shared.worker}'s saves go elsewhere from now on" if shared.is_redirected else ""
    detail = f"{first} and {second} both save to {shared.prefix}, in {shared.directory}{done}"
    return Cause(Reason.SHARED_WRITE, f"{detail}. To be mended in the script: {SHARED_CURE}")
