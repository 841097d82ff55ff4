"""Two workers of one gang that save to one prefix: who is named, when it ends a run, and what their saves are worth."""

from __future__ import annotations

from lastgood.reasons import Reason
from lastgood_controller.advice import advice
from lastgood_controller.events import SharedWriteSeen
from lastgood_controller.model import Policy, SharedWrite, SharedWritePolicy, WorkerId
from tests.unit.core.scene import CHIEF, OTHER, SERIES, Scene


def shared(worker: WorkerId = OTHER, other: WorkerId = CHIEF, is_redirected: bool = False) -> SharedWrite:
    return SharedWrite(worker, other, "/d", "/d/ckpt-1", SERIES, is_redirected)


def test_two_that_save_to_one_prefix_are_named_once_and_training_goes_on() -> None:
    # given
    scene = Scene()
    scene.train_afresh()

    # when both say so
    scene.fact(SharedWriteSeen(1, shared(OTHER, CHIEF, is_redirected=True)))
    scene.fact(SharedWriteSeen(1, shared(CHIEF, OTHER)))

    # then
    assert scene.run.attempts[0].failure is None
    (one,) = advice(scene.run)
    assert (one.about, one.workers) == ("SharedWrite", (CHIEF, OTHER))
    assert "/d/ckpt-1, in /d" in one.detail


def test_where_the_policy_wants_it_the_run_ends_for_a_shared_write() -> None:
    # given
    scene = Scene(policy=Policy(shared_write=SharedWritePolicy.STOP))
    scene.train_afresh()

    # when
    scene.fact(SharedWriteSeen(1, shared()))
    scene.stop_rest()

    # then
    assert scene.run.end is not None
    assert scene.run.end.cause.reason is Reason.SHARED_WRITE
    assert f"{CHIEF} and {OTHER} both save to /d/ckpt-1" in scene.run.end.cause.detail


def test_a_save_of_two_that_write_to_one_prefix_waits_for_both_before_its_bytes_are_read() -> None:
    # given a worker that the chief has met at its prefix, and that has not reported its first save yet
    scene = Scene(policy=Policy(shared_write=SharedWritePolicy.WARN))
    scene.train_afresh()
    scene.fact(SharedWriteSeen(1, shared(CHIEF, OTHER)))

    # when the chief has saved twice: another silent worker would count as one that never saves
    first = scene.save(1, workers=[CHIEF])
    scene.save(2, workers=[CHIEF])
    before = scene.told(first)
    scene.save(1, workers=[OTHER], prefix="/d/ckpt-1")
    after = scene.told(first)

    # then
    assert (before, after) == ("Pending AwaitingReports", "Pending AwaitingVerification")
