"""A script that no longer builds what was saved: the run ends, and no checkpoint is blamed. And what only warns."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lastgood.reasons import Reason
from lastgood_controller.advice import advice
from lastgood_controller.codec import decode_event, encode_event
from lastgood_controller.desired import desired_state
from lastgood_controller.events import ReceiptGiven, RunOpened
from lastgood_controller.model import Explained, Policy, Receipt, ReceiptPolicy, SharedWritePolicy, WorkerId
from tests.unit.core.scene import CHIEF, OTHER, THIRD, Scene

COUNT = "`model` was saved with 2 layers, the program builds 3"


def restoring(policy: Policy | None = None, workers: int = 2) -> Scene:
    """Attempt 2 has its plan: ckpt-2, with ckpt-1 behind it."""
    scene = Scene(workers, policy)
    scene.train_afresh()
    scene.good_save(1)
    scene.good_save(2)
    scene.fail()
    scene.read()
    scene.start()
    return scene


def end_reason(scene: Scene) -> Reason | None:
    return scene.run.end.cause.reason if scene.run.end is not None else None


def verdicts(scene: Scene) -> list[str]:
    return [scene.told(save) for save in scene.run.checkpoints]


@pytest.mark.parametrize("wrong", [(), ("model/0",)])
def test_a_model_that_has_changed_ends_the_run_with_the_words_and_quarantines_nothing(wrong: tuple[str, ...]) -> None:
    # given
    scene = restoring()

    # when every member says that the script builds something else
    for worker in scene.members:
        scene.receipt(worker, model_change=COUNT, left_at_initial=wrong)
    scene.stop_rest()

    # then
    assert end_reason(scene) is Reason.MODEL_CHANGED
    assert scene.run.end is not None
    assert scene.run.end.exit_status == 1
    assert f"/d/ckpt-2 does not fit what the script builds: {COUNT}" in scene.run.end.cause.detail
    assert "--receipts=warn" in scene.run.end.cause.detail
    assert len(scene.run.attempts) == 2
    assert verdicts(scene) == ["Good", "Good"]


def test_one_member_whose_script_has_changed_is_named() -> None:
    # given
    scene = restoring(workers=3)

    # when
    for worker in (CHIEF, OTHER):
        scene.receipt(worker)
    scene.receipt(THIRD, model_change=COUNT)
    scene.stop_rest()

    # then
    assert end_reason(scene) is Reason.MODEL_CHANGED
    assert scene.run.end is not None
    assert f"in attempt 2, {THIRD}: " in scene.run.end.cause.detail
    assert verdicts(scene) == ["Good", "Good"]


def test_the_error_that_a_changed_shape_raises_is_no_fault_of_the_checkpoint_even_if_its_receipts_come_late() -> None:
    # given trainers that have died of the error, before anybody has told it
    scene = restoring()
    scene.exit(CHIEF, code=1)
    scene.stop_rest()
    assert scene.run.attempts[1].failure is not None
    assert scene.run.attempts[1].failure.cause.reason is Reason.WORKER_EXITED

    # when the receipts of that attempt arrive, and the next attempt ends too
    for worker in scene.members:
        scene.fact(receipt_of_attempt_2(scene, worker, "ValueError: shapes", "the shape [4] was saved"))
    if scene.number == 3:
        scene.start()
        scene.exit(CHIEF, code=1)
        scene.stop_rest()

    # then
    assert end_reason(scene) is Reason.MODEL_CHANGED
    assert verdicts(scene) == ["Good", "Good"]


def receipt_of_attempt_2(scene: Scene, worker: WorkerId, error: str, model_change: str) -> ReceiptGiven:
    """A receipt of attempt 2, whichever attempt is the newest."""
    plan = scene.run.attempts[1].plan
    assert plan is not None
    planned = plan.series[0]
    receipt = Receipt(worker, planned.series, planned.prefixes[worker], planned.manifest_digest, 0)
    return ReceiptGiven(2, replace(receipt, error=error, model_change=model_change))


def test_a_person_who_opens_the_run_again_is_not_told_of_the_change_that_was() -> None:
    # given a run that ended so
    scene = restoring()
    for worker in scene.members:
        scene.receipt(worker, model_change=COUNT)
    scene.stop_rest()

    # when the script was mended and the run opened again
    scene.now_s += 10.0
    scene.fact(RunOpened("run", "a/b/c/d", scene.run.policy, "ann"))
    scene.read()
    scene.start()
    scene.receipts()

    # then it trains
    assert scene.run.end is None
    assert scene.run.attempt is not None
    assert scene.run.attempt.gate_opened_s is not None


@pytest.mark.parametrize(
    "bad",
    [
        {"wrong_value": ("a",)},
        {"left_at_initial": ("a",)},
        {"model_change": COUNT},
    ],
)
def test_where_receipts_only_warn_training_goes_on_and_its_saves_may_be_good(bad: dict[str, object]) -> None:
    # given
    scene = restoring(Policy(receipts=ReceiptPolicy.WARN))

    # when every member restores wrongly, alike
    for worker in scene.members:
        scene.receipt(worker, **bad)
    save = scene.good_save(1)

    # then
    assert scene.run.attempts[1].failure is None
    assert scene.run.attempts[1].gate_opened_s is not None
    assert scene.told(save) == "Good"
    assert verdicts(scene)[:2] == ["Good", "Good"]
    (one,) = advice(scene.run)
    word = Reason.MODEL_CHANGED if "model_change" in bad else Reason.RESTORED_WRONG
    assert (one.about, one.workers, one.attempt) == (word.value, (CHIEF, OTHER), 2)


def test_a_restore_that_raises_fails_the_attempt_whatever_the_policy() -> None:
    # given
    scene = restoring(Policy(receipts=ReceiptPolicy.OFF))

    # when
    for worker in scene.members:
        scene.receipt(worker, error="DataLossError", restored=0, is_uncompared=True)

    # then
    assert scene.run.attempts[1].failure is not None
    assert scene.run.attempts[1].failure.cause.reason is Reason.RESTORE_FAILED


def test_every_worker_is_told_the_policy() -> None:
    scene = restoring(Policy(receipts=ReceiptPolicy.WARN, shared_write=SharedWritePolicy.STOP))

    for worker in scene.members:
        desired = desired_state(scene.run, worker)
        assert (desired.receipts, desired.shared_write) == (ReceiptPolicy.WARN, SharedWritePolicy.STOP)


def test_a_wrong_value_is_told_with_what_explains_it() -> None:
    # given
    scene = restoring()
    reason = "two values change places: the value saved here is the one that `b` holds now"

    # when
    scene.receipt(CHIEF)
    scene.receipt(
        OTHER,
        wrong_value=("a", "b"),
        found_instead="it holds what /d/ckpt-1 holds",
        explained=(Explained("a", "wrong_value", reason), Explained("b", "wrong_value", reason)),
    )

    # then
    failure = scene.run.attempts[1].failure
    assert failure is not None
    assert failure.cause.detail == (
        "after restoring /d/ckpt-2, variables differ: 2 with a wrong value: a, b; it holds what /d/ckpt-1 holds;"
        f" a: {reason}"
    )


def test_a_policy_of_an_older_journal_is_read_with_the_defaults() -> None:
    body = encode_event(RunOpened("run", "job", Policy()))
    older = body.replace(',"receipts":"enforce","shared_write":"redirect"', "")

    assert older != body
    assert decode_event("RunOpened", older) == RunOpened("run", "job", Policy())
