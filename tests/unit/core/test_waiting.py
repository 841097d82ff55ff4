"""Until when somebody is waited for, from when that counts, and whose failure is told in the end."""

from __future__ import annotations

from lastgood.reasons import Reason
from lastgood_controller.desired import TrainerAction, desired_state
from lastgood_controller.events import (
    PlanDecided,
    TrainerChanged,
)
from lastgood_controller.fold import (
    apply,
)
from lastgood_controller.model import (
    Plan,
    PlanKind,
    Policy,
    Trainer,
    TrainerPhase,
    WorkerId,
)
from tests.unit.core.scene import CHIEF, OTHER, SERIES, THIRD, Scene
from tests.unit.core.test_evidence import end_reason, restoring, training, why_attempt_failed


def failed(scene: Scene, number: int = 1) -> tuple[WorkerId | None, Reason] | None:
    attempt = scene.run.attempt_numbered(number)
    failure = attempt.failure if attempt is not None else None
    return (failure.worker, failure.cause.reason) if failure is not None else None


def come_back(scene: Scene, worker: WorkerId, phase: TrainerPhase = TrainerPhase.RUNNING) -> None:
    """The worker's agent is replaced by another one."""
    scene.disconnect(worker)
    scene.connect(worker, trainer=Trainer(phase, scene.number if phase is TrainerPhase.RUNNING else 0, 7))


# ------------------------------------------------------------------------------------------------------------ patience


def test_a_start_is_waited_for_anew_when_its_agent_came_back() -> None:
    scene = Scene()
    scene.start([CHIEF])
    scene.wait(100.0)
    come_back(scene, OTHER, TrainerPhase.NONE)

    scene.wait(119.0)
    before = failed(scene)
    scene.wait(2.0)

    assert (before, failed(scene)) == (None, (OTHER, Reason.START_TIMEOUT))


def test_a_listing_is_waited_for_anew_when_its_agent_came_back() -> None:
    scene = Scene()
    scene.start()
    scene.list_directory(workers=[CHIEF])
    scene.wait(50.0)
    come_back(scene, OTHER)

    scene.wait(59.0)
    before = failed(scene)
    scene.wait(2.0)

    assert (before, failed(scene)) == (None, (OTHER, Reason.NOT_RESTORED))


def test_the_gates_deadline_counts_from_the_first_receipt() -> None:
    scene = restoring(workers=3)
    scene.receipt(CHIEF)
    scene.wait(50.0)
    scene.receipt(OTHER)

    scene.wait(9.0)
    before = failed(scene, 2)
    scene.wait(1.1)

    assert (before, failed(scene, 2)) == (None, (THIRD, Reason.NOT_RESTORED))


def test_a_gang_of_which_nobody_has_restored_yet_has_until_the_gates_deadline() -> None:
    scene = restoring()
    for worker in scene.members:
        scene.enter(worker)

    scene.wait(59.0)
    before = failed(scene, 2)
    scene.wait(1.1)

    assert (before, failed(scene, 2)) == (None, (None, Reason.NOT_RESTORED))


def test_a_bad_receipt_waits_a_moment_for_the_others_to_tell_whose_fault_it_is() -> None:
    scene = restoring()
    scene.receipt(CHIEF, wrong_value=("a",))

    before = failed(scene, 2)
    scene.wait(2.1)

    assert (before, failed(scene, 2)) == (None, (CHIEF, Reason.RESTORED_WRONG))


def test_a_bad_receipt_is_told_at_once_when_a_trainer_has_ended() -> None:
    scene = restoring()
    scene.receipt(CHIEF, error="DataLossError: checksum does not match")

    scene.exit(OTHER, 1)

    assert failed(scene, 2) == (CHIEF, Reason.RESTORE_FAILED)


def test_a_worker_that_is_done_may_go_away() -> None:
    scene = training()
    scene.exit(OTHER, 0)
    scene.disconnect(OTHER)

    scene.wait(100.0)

    assert failed(scene) is None


def test_a_worker_that_is_away_has_longer_until_its_death_must_be_proven() -> None:
    scene = training()
    scene.disconnect(OTHER)
    scene.exit(CHIEF, 1)

    scene.wait(44.0)
    before = end_reason(scene)
    scene.wait(2.0)

    assert (before, end_reason(scene)) == (None, Reason.WORKER_LOST)


def test_the_last_verdict_is_waited_for_before_the_budget_counts_as_spent() -> None:
    scene = training(policy=Policy(max_restarts=0))
    scene.save(1)
    scene.fail()
    before = (end_reason(scene), scene.step.waiting)

    scene.read()

    assert before == (None, "for the verdict on the last saves of attempt 1")
    assert (end_reason(scene), scene.number) == (None, 2)


def test_whoever_wants_a_run_to_end_does_not_wait_for_its_last_verdict() -> None:
    scene = training()
    scene.save(1)
    for worker in scene.members:
        scene.exit(worker, 0)
    before = end_reason(scene)

    scene.ask_stop()

    assert (before, end_reason(scene)) == (None, Reason.FINISHED)


# ------------------------------------------------------------------------------------------------------- what is told


def test_a_stop_before_the_first_attempt_ends_the_run_and_tells_whoever_has_come() -> None:
    scene = Scene(connect=False)
    scene.connect(CHIEF)

    scene.ask_stop()

    order = desired_state(scene.run, CHIEF)
    assert (end_reason(scene), order.action, order.end) == (Reason.INTERRUPTED, TrainerAction.STOP, scene.run.end)


def test_nobody_lists_for_an_attempt_that_has_failed() -> None:
    scene = Scene()
    scene.start()
    before = desired_state(scene.run, CHIEF)

    scene.exit(OTHER, 1)

    after = desired_state(scene.run, CHIEF)
    assert (before.listing_wanted, after.listing_wanted) == (True, False)
    assert (before.action, after.action) == (TrainerAction.RUN, TrainerAction.STOP)


# ------------------------------------------------------------------------------------------------------------- whose


def ended(worker: WorkerId, code: int | None = None, signal: int | None = None) -> TrainerChanged:
    return TrainerChanged(worker, Trainer(TrainerPhase.EXITED, 1, 7, exit_code=code, signal=signal))


def test_of_two_that_ended_at_once_the_one_that_was_killed_explains_the_other() -> None:
    scene = training()

    for fact in (ended(CHIEF, code=1), ended(OTHER, signal=9)):
        scene.run = apply(scene.run, fact, scene.now_s)
    scene.settle()

    assert failed(scene) == (OTHER, Reason.WORKER_KILLED)


def test_of_two_that_ended_one_after_the_other_the_first_is_the_failure() -> None:
    scene = training()

    for delay_s, fact in ((0.0, ended(CHIEF, code=1)), (0.1, ended(OTHER, signal=9))):
        scene.run = apply(scene.run, fact, scene.now_s + delay_s)
    scene.now_s += 0.2
    scene.settle()

    assert failed(scene) == (CHIEF, Reason.WORKER_EXITED)


def test_receipts_are_no_failure_once_steering_is_lost() -> None:
    scene = restoring()
    scene.lose_steering(OTHER)

    for worker in scene.members:
        scene.receipt(worker, wrong_value=("a",))
    scene.wait(100.0)

    assert why_attempt_failed(scene, 2) is None


# ------------------------------------------------------------------------------------------------------------ the fold


def test_a_trainer_that_has_ended_never_runs_again_whatever_comes_late() -> None:
    scene = training()
    scene.exit(OTHER, signal=9)
    address = scene.run.sessions[OTHER].next_address

    scene.fact(TrainerChanged(OTHER, Trainer(TrainerPhase.RUNNING, 1, 7)))
    scene.fact(TrainerChanged(OTHER, Trainer(TrainerPhase.EXITED, 1, 7, exit_code=0)))

    assert scene.run.attempts[0].trainers[OTHER].signal == 9
    assert (scene.run.sessions[OTHER].trainer.is_running, scene.run.sessions[OTHER].next_address) == (False, address)


def test_an_address_is_used_up_by_the_trainer_that_listens_on_it() -> None:
    scene = Scene()

    scene.start()

    assert [scene.run.sessions[worker].next_address for worker in scene.members] == ["", ""]


def test_a_plan_is_never_changed() -> None:
    scene = restoring()
    before = scene.run

    after = apply(before, PlanDecided(2, Plan(PlanKind.FRESH)), scene.now_s)

    assert after == before
    assert before.attempts[1].plan is not None
    assert before.attempts[1].plan.series[0].series == SERIES
