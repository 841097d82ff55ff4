"""What is decided next, rule by rule: gathering, planning, the gate, failures, stopping, the budget."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lastgood.manifest import Manifest
from lastgood.reasons import Reason
from lastgood_controller import plan
from lastgood_controller.desired import TrainerAction, desired_state
from lastgood_controller.events import (
    AttemptOpened,
    RunOpened,
    TrainerChanged,
    WorkerLost,
)
from lastgood_controller.model import (
    End,
    PlanKind,
    Policy,
    SaveId,
    SeriesId,
    Trainer,
    TrainerPhase,
    WorkerId,
)
from tests.unit.core.scene import CHIEF, EMA, OTHER, SERIES, THIRD, Scene, found, manifest


def planned(scene: Scene) -> tuple[str, list[str]]:
    """The kind of the newest attempt's plan, and the prefixes that it gives the chief."""
    attempt = scene.run.attempt
    if attempt is None or attempt.plan is None:
        return ("none", [])
    return (attempt.plan.kind.value, [each.prefixes[CHIEF] for each in attempt.plan.series])


def failure(scene: Scene, number: int = 1) -> tuple[object, Reason | None]:
    attempt = scene.run.attempt_numbered(number)
    if attempt is None or attempt.failure is None:
        return (None, None)
    return (attempt.failure.worker, attempt.failure.cause.reason)


def ended(scene: Scene) -> tuple[Reason, int] | None:
    end = scene.run.end
    return (end.cause.reason, end.exit_status) if isinstance(end, End) else None


# ----------------------------------------------------------------------------------------------------------- gathering


def test_the_first_attempt_is_opened_when_every_member_is_there_above_every_number_that_was_ever_used() -> None:
    scene = Scene(connect=False)

    scene.connect(CHIEF, highest=3)
    before = scene.run.attempt
    scene.connect(OTHER, highest=5)

    addresses = {member: scene.run.sessions[member].next_address for member in scene.members}
    assert before is None
    assert scene.events[-1] == AttemptOpened(6, addresses, True)


def test_a_gang_that_is_not_complete_in_time_ends_the_run_and_says_who_is_missing() -> None:
    scene = Scene(connect=False)
    scene.connect(CHIEF)

    scene.wait(121.0)

    assert ended(scene) == (Reason.START_TIMEOUT, 1)
    assert scene.run.end is not None
    assert "worker/1 has never come" in scene.run.end.cause.detail


def test_a_trainer_of_an_attempt_that_nobody_knows_is_stopped_before_the_first_one_is_opened() -> None:
    scene = Scene(connect=False)
    scene.connect(CHIEF)
    scene.connect(OTHER, trainer=Trainer(TrainerPhase.RUNNING, 4, 9), highest=4)

    order = desired_state(scene.run, OTHER)
    gone = Trainer(TrainerPhase.EXITED, 4, 9, signal=9, was_stopped=True)
    scene.fact(TrainerChanged(OTHER, gone, "h:77"))

    assert (order.action, order.attempt) == (TrainerAction.STOP, 4)
    assert scene.number == 5


# ------------------------------------------------------------------------------------------------------ fresh and adopt


def test_a_plan_is_fresh_once_every_member_found_nothing() -> None:
    scene = Scene()
    scene.start()

    scene.list_directory(workers=[CHIEF])
    before = planned(scene)
    scene.list_directory(workers=[OTHER], directory="/t1")

    assert (before, planned(scene)) == (("none", []), ("fresh", []))
    assert desired_state(scene.run, OTHER).gate_open


def test_a_script_that_trains_and_never_asks_starts_afresh() -> None:
    scene = Scene()
    scene.start()

    scene.first_step(OTHER)

    assert planned(scene) == ("fresh", [])


def test_the_newest_whole_checkpoint_that_all_see_is_adopted_and_good() -> None:
    scene = Scene()
    scene.start()

    scene.list_directory(found(3, Reason.CORRUPT), found(2), workers=[CHIEF])
    scene.list_directory(workers=[OTHER], directory="/t1")

    assert planned(scene) == ("adopt", ["/d/ckpt-2"])
    assert scene.told(SaveId(SERIES, 0, 1)) == "Good"
    attempt = scene.run.attempt
    assert attempt is not None
    assert attempt.plan is not None
    assert attempt.plan.series[0].directories == ("/d", "/t1")
    assert attempt.plan.step == 20
    assert attempt.gate_opened_s is None


def test_a_member_that_does_not_see_the_chiefs_checkpoint_in_the_same_directory_fails_the_attempt() -> None:
    scene = Scene()
    scene.start()

    scene.list_directory(found(2), workers=[CHIEF])
    scene.list_directory(workers=[OTHER])

    assert failure(scene) == (None, Reason.NOT_RESTORED)


def test_a_member_that_never_lists_is_named() -> None:
    scene = Scene()
    scene.start()

    scene.list_directory(found(2), workers=[CHIEF])
    scene.wait(61.0)

    assert failure(scene) == (OTHER, Reason.NOT_RESTORED)


def test_where_only_damaged_checkpoints_lie_the_run_ends_and_says_so() -> None:
    scene = Scene()
    scene.start()

    scene.list_directory(found(2, Reason.TORN))
    scene.stop_rest()

    assert ended(scene) == (Reason.NO_GOOD_CHECKPOINT, 1)
    assert scene.run.end is not None
    assert "/d/ckpt-2 is Torn: as told" in scene.run.end.cause.detail
    assert PlanKind.FRESH not in {attempt.plan.kind for attempt in scene.run.attempts if attempt.plan}


def test_a_checkpoint_in_another_members_directory_forbids_a_fresh_start_too() -> None:
    scene = Scene()
    scene.start()

    scene.list_directory(workers=[CHIEF])
    scene.list_directory(found(1), workers=[OTHER], directory="/t1")

    assert failure(scene) == (None, Reason.NO_GOOD_CHECKPOINT)


def test_the_only_save_of_a_run_that_a_killed_worker_could_not_report_is_adopted() -> None:
    scene = Scene()
    scene.train_afresh()
    save = scene.save(1, workers=[CHIEF])
    scene.read()
    scene.fail(step=10)
    scene.start()
    scene.wait(4.0)

    scene.list_directory(found(1), workers=[CHIEF])
    scene.list_directory(workers=[OTHER], directory="/t1")

    assert scene.told(save) == "Bad Incomplete"
    assert planned(scene) == ("adopt", ["/d/ckpt-1"])


@pytest.mark.parametrize(
    ("of_other", "outcome"),
    [(manifest({"a": 1, "b": 2}), "adopt /moved/ckpt-1"), (manifest({"a": 7, "b": 7}), Reason.NO_GOOD_CHECKPOINT)],
)
def test_a_checkpoint_whose_directory_was_moved_is_adopted_where_it_lies_now_if_the_workers_had_agreed(
    of_other: Manifest, outcome: str | Reason
) -> None:
    # given a checkpoint that was gone from its place before its verdict could be reached
    scene = Scene()
    scene.train_afresh()
    save = scene.save(1, workers=[CHIEF])
    scene.remove("/d/ckpt-1")
    scene.save(1, workers=[OTHER], content=of_other)
    scene.fail(step=10)
    scene.start()

    # when the script asks in the place that it was moved to
    scene.list_directory(replace(found(1), prefix="/moved/ckpt-1"), directory="/moved")

    failed = failure(scene, 2)[1]
    assert scene.told(save) == "Bad Vanished"
    assert (failed or f"{planned(scene)[0]} {planned(scene)[1][0]}") == outcome


def test_a_save_that_diverged_is_not_adopted_either() -> None:
    scene = Scene()
    scene.train_afresh()
    scene.save(1, workers=[CHIEF])
    scene.save(1, workers=[OTHER], content=manifest({"a": 7, "b": 7}))
    scene.fail()
    scene.start()

    scene.list_directory(found(1))

    assert failure(scene, 2) == (None, Reason.NO_GOOD_CHECKPOINT)


# ------------------------------------------------------------------------------------------------------------- restore


def test_after_a_failure_the_newest_good_one_is_read_again_and_planned_for_all() -> None:
    scene = Scene()
    scene.train_afresh()
    scene.good_save(1)
    scene.good_save(2)

    scene.fail()
    before = planned(scene)
    scene.read()

    assert before == ("none", [])
    assert planned(scene) == ("restore", ["/d/ckpt-2"])
    assert len({str(desired_state(scene.run, member).plan) for member in scene.members}) == 1


def test_an_abandoned_branch_is_not_planned_again() -> None:
    scene = Scene()
    scene.train_afresh()
    scene.good_save(1)
    scene.good_save(2)
    scene.fail()
    scene.read(Reason.UNREADABLE)
    scene.read(Reason.UNREADABLE)
    scene.read()
    first = planned(scene)
    scene.start()
    scene.receipts()

    scene.fail()
    scene.read()

    assert first == ("restore", ["/d/ckpt-1"])
    assert planned(scene) == ("restore", ["/d/ckpt-1"])


def test_a_plan_waits_for_the_verdict_on_the_last_save() -> None:
    scene = Scene()
    scene.train_afresh()
    scene.good_save(1)
    scene.save(2)

    scene.fail()
    before = (planned(scene), scene.step.waiting)
    scene.read()
    scene.read()

    assert before == (("none", []), "for the verdict on ckpt-2 (step 20)")
    assert planned(scene) == ("restore", ["/d/ckpt-2"])


def test_of_two_series_the_newest_step_that_both_have_is_planned() -> None:
    scene = Scene()
    scene.train_afresh()
    scene.list_directory(series=EMA, directory="/e")
    for ordinal in (1, 2):
        scene.good_save(ordinal)
    scene.good_save(1, series=EMA, prefix="/e/ema-1", content=manifest({"e": 1}))

    scene.fail()
    scene.read()
    scene.read()

    assert planned(scene) == ("restore", ["/d/ckpt-1", "/e/ema-1"])


BEST = SeriesId(SERIES.signature, 1)


@pytest.mark.parametrize("asks_by", [SERIES, SeriesId("", 0)], ids=["its checkpoint", "latest_checkpoint"])
def test_a_series_that_the_script_only_writes_is_not_planned_and_holds_nothing_back(asks_by: SeriesId) -> None:
    # given a script that keeps its best checkpoints elsewhere, and asks for the others only
    scene = Scene()
    scene.start()
    scene.list_directory(series=asks_by)
    for ordinal in (1, 2):
        scene.good_save(ordinal)
    scene.good_save(1, series=BEST, prefix="/best/ckpt-1")

    # when the gang is restarted
    scene.fail()
    scene.read()
    scene.read()

    # then it goes on from the newest of those, and owes no proof of the best one
    assert planned(scene) == ("restore", ["/d/ckpt-2"])
    scene.start()
    scene.receipts()
    assert desired_state(scene.run, CHIEF).gate_open


def test_a_series_without_a_step_does_not_keep_the_others_from_being_restored() -> None:
    # given pretrained weights, adopted since the script asks for them first, and checkpoints of the run's own
    scene = Scene()
    scene.start()
    scene.list_directory(replace(found(9), step=None, prefix="/p/model-9"), directory="/p", series=EMA)
    scene.receipts()
    scene.list_directory(series=SERIES)
    scene.good_save(1)

    # when the gang is restarted
    scene.fail()
    scene.read()
    scene.read()

    # then its own are what it goes on from
    assert planned(scene) == ("restore", ["/d/ckpt-1"])


def test_a_plan_for_whoever_asks_in_a_directory_is_no_start_of_what_is_saved_elsewhere() -> None:
    # given a plan for latest_checkpoint's directory
    scene = Scene()
    scene.start()
    content = manifest({"a": 1, "b": 2})
    scene.list_directory(found(1, content=content), series=SeriesId("", 0))
    scene.receipts()

    # when something smaller is exported to another directory
    export = scene.good_save(1, series=EMA, prefix="/export/variables", content=manifest({"e": 1}))

    # then it has lost nothing
    assert scene.told(export) == "Good"


# ------------------------------------------------------------------------------------------------ the gate and receipts


def restoring(workers: int = 2) -> Scene:
    """Attempt 2 runs, its plan restores ckpt-1, the gate is closed."""
    scene = Scene(workers)
    scene.train_afresh()
    scene.good_save(1)
    scene.fail()
    scene.read()
    scene.start()
    return scene


def test_the_gate_opens_with_the_last_good_receipt() -> None:
    scene = restoring()

    scene.receipt(CHIEF)
    before = desired_state(scene.run, CHIEF).gate_open
    scene.receipt(OTHER, restored=1, deferred=1)

    assert (before, desired_state(scene.run, CHIEF).gate_open) == (False, True)


def test_a_receipt_for_something_else_than_the_plan_names_worker_and_both() -> None:
    scene = restoring()

    scene.receipt(CHIEF)
    scene.receipt(OTHER, prefix="/d/ckpt-0", manifest_digest="f" * 64)

    attempt = scene.run.attempt_numbered(2)
    assert attempt is not None
    assert attempt.failure is not None
    assert attempt.failure.worker == OTHER
    assert attempt.failure.cause.reason is Reason.RESTORED_WRONG
    assert attempt.failure.cause.detail.startswith("it restored /d/ckpt-0 (ffffffffffff); the plan says /d/ckpt-1")


@pytest.mark.parametrize(("goes_on", "waits_s"), [(True, 5.1), (False, 60.1)], ids=["enters a call", "stays silent"])
def test_a_member_that_does_not_restore_is_named_within_a_deadline(goes_on: bool, waits_s: float) -> None:
    scene = restoring()

    scene.receipt(CHIEF)
    if goes_on:
        scene.enter(OTHER)
    scene.wait(waits_s - 0.2)
    before = failure(scene, 2)
    scene.wait(0.2)

    assert (before, failure(scene, 2)) == ((None, None), (OTHER, Reason.NOT_RESTORED))


@pytest.mark.parametrize("who", [CHIEF, OTHER])
def test_a_member_that_trains_while_the_others_restore_is_named_though_a_collective_ends_one_of_them_first(
    who: WorkerId,
) -> None:
    # given
    scene = restoring()
    scene.receipt(CHIEF)
    scene.enter(OTHER)

    # when
    scene.exit(who, code=1)
    scene.wait(1.1)

    # then
    assert failure(scene, 2) == (OTHER, Reason.NOT_RESTORED)
    attempt = scene.run.attempt_numbered(2)
    assert attempt is not None
    assert attempt.failure is not None
    assert attempt.failure.cause.detail == (
        f"it began to train without having restored the plan's checkpoint, which {CHIEF} did restore;"
        f" what came of it: {who}: its trainer ended with status 1"
    )


def test_a_member_that_is_killed_before_it_restores_is_named_as_killed() -> None:
    # given
    scene = restoring()
    scene.receipt(CHIEF)
    scene.enter(OTHER)

    # when
    scene.exit(OTHER, signal=9)

    # then
    assert failure(scene, 2) == (OTHER, Reason.WORKER_KILLED)


def test_a_first_step_without_a_restore_is_not_restored() -> None:
    scene = restoring()

    scene.first_step(CHIEF)

    assert failure(scene, 2) == (CHIEF, Reason.NOT_RESTORED)


def restoring_two() -> Scene:
    """Attempt 2 runs, its plan restores a checkpoint of each of two series, the gate is closed."""
    scene = Scene()
    scene.train_afresh()
    scene.list_directory(series=EMA, directory="/e")
    scene.good_save(1)
    scene.good_save(1, series=EMA, prefix="/e/ema-1", content=manifest({"e": 1}))
    scene.fail()
    scene.read()
    scene.read()
    scene.start()
    return scene


def test_the_gate_does_not_wait_for_a_restore_that_comes_after_it() -> None:
    # given a script that restores one series, makes a call, and restores the other one then
    scene = restoring_two()
    scene.receipts()
    before = desired_state(scene.run, CHIEF).gate_open

    # when every worker stands at that call
    scene.enter(CHIEF)
    one_stands = desired_state(scene.run, CHIEF).gate_open
    scene.enter(OTHER)

    # then the gate opens, and a wrong value in the other one still ends the attempt
    assert (before, one_stands, desired_state(scene.run, CHIEF).gate_open) == (False, False, True)
    attempt = scene.run.attempt
    assert attempt is not None
    assert attempt.plan is not None
    late = next(each for each in attempt.plan.series if each != attempt.plan.series[0])
    scene.receipt(
        OTHER,
        series=late.series,
        prefix=late.prefixes[OTHER],
        manifest_digest=late.manifest_digest,
        wrong_value=("e",),
    )
    scene.wait(3)
    assert failure(scene, 2) == (OTHER, Reason.RESTORED_WRONG)


def test_a_member_that_stands_at_the_gate_with_less_than_the_others_is_named() -> None:
    scene = restoring_two()
    scene.receipts()
    attempt = scene.run.attempt
    assert attempt is not None
    assert attempt.plan is not None
    late = attempt.plan.series[1]
    scene.receipt(CHIEF, series=late.series, prefix=late.prefixes[CHIEF], manifest_digest=late.manifest_digest)

    scene.enter(CHIEF)
    scene.enter(OTHER)
    scene.wait(5.1)

    assert failure(scene, 2) == (OTHER, Reason.NOT_RESTORED)


@pytest.mark.parametrize("sign", ["saves", "ends"])
def test_a_gang_that_trains_without_a_restore_does_not_go_on_to_overwrite_its_checkpoints(sign: str) -> None:
    # given a script that enters a call, and may restore afterwards
    scene = restoring()
    for worker in (CHIEF, OTHER):
        scene.enter(worker)
    before = failure(scene, 2)

    # when it saves, or has done all that it wanted to do
    if sign == "saves":
        scene.save(1)
    else:
        scene.exit(CHIEF, code=0)
        scene.exit(OTHER, code=0)

    # then it is plain that it restores nothing
    assert (before, failure(scene, 2)) == ((None, None), (CHIEF, Reason.NOT_RESTORED))
    assert ended(scene) is None


def test_a_script_that_saves_first_and_one_that_finds_nothing_left_to_do_are_well() -> None:
    scene = restoring()
    scene.save(1)
    for worker in (CHIEF, OTHER):
        scene.exit(worker, code=0)
    scene.read()

    assert failure(scene, 2) == (None, None)


def test_receipts_of_an_attempt_that_lost_its_steering_are_evidence_only() -> None:
    scene = restoring()

    scene.lose_steering(OTHER)
    scene.receipt(CHIEF, wrong_value=("a",))

    assert failure(scene, 2) == (None, None)
    order = desired_state(scene.run, CHIEF)
    assert (order.steering, order.gate_open) == (False, True)


def test_with_steering_off_nothing_is_planned_and_the_gate_stands_open() -> None:
    scene = Scene(policy=Policy(steering=False))

    scene.start()

    order = desired_state(scene.run, CHIEF)
    assert (order.steering, order.gate_open, order.plan, order.listing_wanted) == (False, True, None, False)


# ------------------------------------------------------------------------------------------------------------ failures


@pytest.mark.parametrize(
    ("code", "signal", "more", "reason"),
    [
        (1, None, {}, Reason.WORKER_EXITED),
        (None, 9, {}, Reason.WORKER_KILLED),
        (None, None, {}, Reason.LAUNCHER_LOST),
        (0, None, {"was_stopped": True}, Reason.LAUNCHER_LOST),
    ],
)
def test_a_trainer_that_ends_badly_fails_the_attempt(
    code: int | None, signal: int | None, more: dict[str, bool], reason: Reason
) -> None:
    scene = Scene()
    scene.train_afresh()

    scene.exit(OTHER, code, signal, **more)

    assert failure(scene) == (OTHER, reason)
    assert desired_state(scene.run, CHIEF).action is TrainerAction.STOP


def test_a_new_launcher_during_an_attempt_means_that_the_old_one_died_with_its_trainer() -> None:
    scene = Scene()
    scene.train_afresh()

    scene.disconnect(OTHER)
    scene.connect(OTHER, launcher=2)
    scene.stop_rest()

    assert failure(scene) == (OTHER, Reason.LAUNCHER_LOST)
    assert scene.number == 2


def test_a_new_agent_of_the_same_launcher_changes_nothing() -> None:
    scene = Scene()
    scene.train_afresh()
    before = scene.run.attempt

    scene.disconnect(OTHER)
    scene.connect(OTHER, trainer=scene.run.sessions[OTHER].trainer)
    scene.wait(100.0)

    assert scene.run.attempt == before


def test_a_worker_that_stays_away_is_lost_and_not_taken_for_dead() -> None:
    scene = Scene()
    scene.train_afresh()

    scene.disconnect(OTHER)
    scene.wait(15.1)
    scene.exit(CHIEF, signal=9, was_stopped=True)
    between = (failure(scene), scene.number, ended(scene))
    scene.wait(46.0)

    assert WorkerLost(OTHER, "nothing has been heard of it for 15 s") in scene.events
    assert between == ((OTHER, Reason.WORKER_LOST), 1, None)
    assert ended(scene) == (Reason.WORKER_LOST, 1)


def test_a_trainer_that_does_not_start_is_named_in_time() -> None:
    scene = Scene()
    scene.start([CHIEF])

    scene.wait(121.0)

    assert failure(scene) == (OTHER, Reason.START_TIMEOUT)


def test_when_all_end_with_0_the_last_save_is_judged_and_the_run_has_finished() -> None:
    scene = Scene()
    scene.train_afresh()
    save = scene.save(1)

    scene.exit(CHIEF, 0)
    scene.exit(OTHER, 0)
    before = ended(scene)
    scene.read()

    assert (before, scene.told(save), ended(scene)) == (None, "Good", (Reason.FINISHED, 0))


def test_one_worker_that_is_done_waits_for_the_others() -> None:
    scene = Scene()
    scene.train_afresh()

    scene.exit(CHIEF, 0)
    scene.wait(1000.0)

    assert (failure(scene), ended(scene)) == ((None, None), None)


# -------------------------------------------------------------------------------------------------- stopping and budget


def test_no_attempt_is_opened_before_every_trainer_is_proven_dead() -> None:
    scene = Scene(workers=3)
    scene.train_afresh()

    scene.exit(OTHER, signal=9)
    scene.exit(CHIEF, signal=9, was_stopped=True)
    before = (scene.number, scene.step.waiting)
    scene.exit(THIRD, signal=9, was_stopped=True)

    assert before == (1, "for the trainer of worker/2 to be proven dead")
    assert scene.number == 2


def test_a_worker_that_never_started_is_idle_after_a_short_silence() -> None:
    scene = Scene()
    scene.start([CHIEF])

    scene.exit(CHIEF, 1)
    before = scene.number
    scene.wait(3.1)

    assert (before, scene.number) == (1, 2)


def test_the_first_restart_is_immediate_and_later_ones_back_off_twice_as_long() -> None:
    scene = Scene(policy=Policy(max_restarts=4))
    pauses = []

    for _ in range(4):
        scene.start()
        scene.exit(OTHER, 1)
        scene.stop_rest()
        pauses.append(plan.back_off_s(scene.run))
        scene.wait(pauses[-1])

    assert pauses == [0.0, 1.0, 2.0, 4.0]
    assert scene.number == 5


def test_a_script_that_always_fails_spends_the_budget_and_its_last_words_are_told() -> None:
    scene = Scene(policy=Policy(max_restarts=2))

    for _ in range(3):
        scene.start()
        scene.exit(OTHER, 1, last_lines=("Traceback", "KeyError: 'w'"))
        scene.stop_rest()
        scene.wait(10.0)

    assert ended(scene) == (Reason.BUDGET_SPENT, 1)
    assert scene.run.end is not None
    assert scene.run.end.cause.detail == (
        "3 attempts in a row failed without a new good checkpoint (restarts allowed: 2)."
        " The last one: worker/1: its trainer ended with status 1\n"
        "last lines of worker/1:\n  Traceback\n  KeyError: 'w'"
    )


def test_a_new_good_checkpoint_refills_the_budget_also_when_it_is_proven_after_the_failure() -> None:
    scene = Scene()
    scene.train_afresh()
    scene.save(1)
    scene.fail()
    before = scene.run.failures_in_a_row

    scene.read()

    assert (before, scene.run.failures_in_a_row) == (1, 0)


def test_a_stop_ends_the_run_when_all_are_dead_and_a_reopened_run_goes_on() -> None:
    scene = Scene()
    scene.train_afresh()
    scene.good_save(1)

    scene.ask_stop()
    scene.stop_rest()
    first = ended(scene)
    scene.now_s += 100.0
    scene.fact(RunOpened("run", "a/b/c/d", Policy()))
    scene.read()

    assert first == (Reason.INTERRUPTED, 1)
    assert (scene.number, planned(scene)) == (2, ("restore", ["/d/ckpt-1"]))
    assert (scene.run.restarts, scene.run.failures_in_a_row) == (0, 0), "nothing failed: somebody asked for the end"


def test_a_save_at_the_step_that_an_attempt_started_from_is_no_progress() -> None:
    scene = Scene(policy=Policy(max_restarts=2))
    scene.train_afresh()
    scene.good_save(1, step=0)

    for _ in range(3):
        scene.fail()
        scene.wait(10.0)
        scene.read()
        scene.start()
        scene.receipts()
        scene.good_save(1, step=0, prefix=f"/d/ckpt-{scene.number}0")

    assert ended(scene) == (Reason.BUDGET_SPENT, 1)


def test_a_run_that_ended_before_all_were_proven_dead_waits_for_them_anew_when_it_is_opened_again() -> None:
    scene = Scene()
    scene.train_afresh()
    scene.good_save(1)
    scene.disconnect(OTHER)
    scene.ask_stop()
    scene.exit(CHIEF, signal=15, was_stopped=True)
    scene.wait(100.0)
    first = ended(scene)
    scene.now_s += 3600.0

    scene.fact(RunOpened("run", "a/b/c/d", Policy()))
    reopened = ended(scene)
    for worker in scene.members:
        scene.connect(worker, launcher=2)
    scene.read()

    assert (first, reopened) == ((Reason.INTERRUPTED, 1), None)
    assert (scene.number, planned(scene)) == (2, ("restore", ["/d/ckpt-1"]))


def test_what_an_attempt_failed_of_before_the_run_was_opened_again_does_not_end_it() -> None:
    scene = Scene()
    scene.start()
    scene.disconnect(OTHER)
    scene.connect(OTHER, trainer=Trainer(TrainerPhase.RUNNING, 1, 7))
    scene.list_directory(found(1, Reason.CORRUPT))
    scene.disconnect(OTHER)
    scene.exit(CHIEF, signal=9, was_stopped=True)
    scene.wait(200.0)
    first = (failure(scene), ended(scene))

    scene.now_s += 3600.0
    scene.fact(RunOpened("run", "a/b/c/d", Policy()))
    for worker in scene.members:
        scene.connect(worker, launcher=2)

    assert first == ((None, Reason.NO_GOOD_CHECKPOINT), (Reason.WORKER_LOST, 1))
    assert (ended(scene), scene.number) == (None, 2)


def test_after_the_controllers_own_restart_nobody_is_lost_before_a_full_time_out() -> None:
    scene = Scene()
    scene.train_afresh()
    scene.now_s += 1000.0

    for member in scene.members:
        scene.disconnect(member)
    scene.wait(14.0)
    early = failure(scene)
    for member in scene.members:
        scene.connect(member, trainer=Trainer(TrainerPhase.RUNNING, 1, 7))
    scene.wait(100.0)

    assert (early, failure(scene)) == ((None, None), (None, None))
