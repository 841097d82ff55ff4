"""What late, odd and contradicting evidence makes of a checkpoint, and which of them may be taken all the same."""

from __future__ import annotations

from lastgood.reasons import Reason
from lastgood_controller.lineage import candidates
from lastgood_controller.model import (
    PlanKind,
    Policy,
    SaveId,
)
from tests.unit.core.scene import CHIEF, EMA, OTHER, SERIES, THIRD, Scene, found, manifest


def training(workers: int = 2, policy: Policy | None = None) -> Scene:
    scene = Scene(workers, policy)
    scene.train_afresh()
    return scene


def restoring(workers: int = 2) -> Scene:
    """Attempt 2 runs, its plan restores ckpt-1, nobody has restored yet."""
    scene = training(workers)
    scene.good_save(1)
    scene.fail()
    scene.read()
    scene.start()
    return scene


def why_attempt_failed(scene: Scene, number: int) -> Reason | None:
    attempt = scene.run.attempt_numbered(number)
    return attempt.failure.cause.reason if attempt is not None and attempt.failure is not None else None


# ------------------------------------------------------------------------------------------------------ late evidence


def test_a_chief_that_reports_late_gets_its_files_read_and_the_save_becomes_good() -> None:
    scene = training()
    scene.good_save(1)
    save = scene.save(2, workers=[OTHER])
    scene.wait(61.0)
    before = scene.told(save)

    scene.save(2, workers=[CHIEF])
    meanwhile = scene.told(save)
    scene.read()

    assert (before, meanwhile, scene.told(save)) == ("Bad Incomplete", "Pending AwaitingVerification", "Good")


def test_a_manifest_that_never_comes_settles_its_save_when_the_attempt_has_been_over_for_long_enough() -> None:
    scene = training()
    save = scene.save(deliver=False)
    scene.read()
    scene.fail()

    scene.wait(50.0)
    scene.disconnect(CHIEF)
    scene.connect(CHIEF)
    scene.wait(59.0)
    before = scene.told(save)
    scene.wait(2.0)

    assert (before, scene.told(save)) == ("Pending AwaitingManifest", "Bad Incomplete")


def test_a_second_answer_that_finds_another_content_takes_a_good_one_back() -> None:
    scene = training()
    save = scene.save()
    scene.wait(1.0)
    scene.disconnect(OTHER)
    late, prompt = scene.open_tasks()

    scene.read(task=late)
    before = scene.told(save)
    scene.read(task=prompt, digest="0" * 64)

    assert (before, scene.told(save)) == ("Good", "Bad Vanished")


def test_a_good_one_that_nobody_reads_again_for_a_plan_is_unreadable_and_the_one_before_it_is_taken() -> None:
    scene = training()
    older, newer = scene.good_save(1), scene.good_save(2)
    scene.fail()
    scene.start()

    scene.wait(241.0)

    assert (scene.told(newer), scene.told(older)) == ("Bad Unreadable", "Good")
    assert [task.save for task in scene.open_tasks()][-1] == older


def test_what_both_readers_say_is_told_in_their_words() -> None:
    scene = training(workers=3)
    save = scene.save()

    scene.read(Reason.UNREADABLE)
    scene.read(Reason.UNREADABLE)

    assert str(scene.verdict(save)) == "Bad (Unreadable: as told)"


def test_a_removal_that_is_told_late_says_nothing_about_what_a_later_attempt_has_written_there() -> None:
    scene = restoring()
    scene.receipts()
    save = scene.good_save(1, prefix="/d/ckpt-2", step=20)

    late = scene.run.attempts[0].number
    scene.remove_as_of(late, "/d/ckpt-2")

    assert scene.told(save) == "Good"


def test_of_two_saves_at_one_prefix_the_newer_one_is_the_one_that_was_removed() -> None:
    scene = training()
    older = scene.good_save(1, prefix="/d/ckpt")
    newer = scene.good_save(2, prefix="/d/ckpt")

    scene.remove("/d/ckpt")

    assert [scene.run.checkpoints[save].removed for save in (older, newer)] == [False, True]
    assert scene.told(newer) == "Bad Vanished"


def test_a_workers_own_copy_that_was_written_over_says_nothing_about_the_save() -> None:
    scene = training()
    scene.good_save(1)
    save = scene.save(2, workers=[OTHER])
    scene.fail()
    scene.wait(4.0)
    scene.read()
    scene.start()
    scene.receipts()

    scene.save(1, workers=[OTHER], prefix="/t1/ckpt-2", content=manifest({"a": 9, "b": 2}), step=20)

    assert scene.told(save) == "Bad Incomplete"


# --------------------------------------------------------------------------------------------------------- quarantine


def test_a_checkpoint_is_not_blamed_when_the_members_disagree_on_what_is_wrong() -> None:
    scene = restoring()

    scene.receipt(CHIEF, wrong_value=("a",))
    scene.receipt(OTHER, wrong_value=("b",))

    assert scene.told(SaveId(SERIES, 1, 1)) == "Good"


def test_a_checkpoint_is_not_blamed_when_all_have_restored_another_one() -> None:
    scene = restoring()

    for worker in scene.members:
        scene.receipt(worker, manifest_digest="f" * 64, wrong_value=("a",))

    assert scene.told(SaveId(SERIES, 1, 1)) == "Good"
    assert why_attempt_failed(scene, 2) is Reason.RESTORED_WRONG


def test_a_checkpoint_is_not_blamed_for_an_attempt_without_steering() -> None:
    scene = restoring()
    scene.lose_steering(OTHER)

    for worker in scene.members:
        scene.receipt(worker, error="InvalidArgumentError: shape")

    assert scene.told(SaveId(SERIES, 1, 1)) == "Good"
    assert why_attempt_failed(scene, 2) is None


def test_a_checkpoint_that_vanishes_after_it_was_read_for_a_plan_costs_one_attempt_and_is_not_planned_again() -> None:
    scene = training()
    older, newer = scene.good_save(1), scene.good_save(2)
    scene.fail()
    scene.read()
    scene.start()

    scene.receipt(CHIEF, manifest_digest="", error="the plan's checkpoint /d/ckpt-2 cannot be read")
    scene.wait(2.1)
    scene.stop_rest()
    scene.wait(5.0)
    scene.read(Reason.CORRUPT)
    scene.read()

    attempt = scene.run.attempt
    assert attempt is not None
    assert attempt.plan is not None
    assert why_attempt_failed(scene, 2) is Reason.RESTORE_FAILED
    assert (attempt.number, [each.save for each in attempt.plan.series]) == (3, [older])
    assert scene.told(newer) == "Bad Corrupt"


# ------------------------------------------------------------------------------------------------ what lies on the disk


def plan_kind(scene: Scene) -> PlanKind | None:
    attempt = scene.run.attempt
    return attempt.plan.kind if attempt is not None and attempt.plan is not None else None


def end_reason(scene: Scene) -> Reason | None:
    return scene.run.end.cause.reason if scene.run.end is not None else None


def test_an_unfinished_save_of_an_abandoned_branch_is_not_adopted() -> None:
    scene = training()
    scene.good_save(1)
    scene.save(2, workers=[CHIEF])
    scene.fail(step=15)
    scene.wait(4.0)
    scene.read()
    scene.start()
    scene.receipts()
    scene.remove("/d/ckpt-1")
    scene.fail()
    scene.wait(1.1)
    scene.start()

    scene.list_directory(found(2))
    scene.stop_rest()

    assert end_reason(scene) is Reason.NO_GOOD_CHECKPOINT


def test_what_lies_at_a_known_prefix_and_is_not_known_is_not_adopted() -> None:
    scene = training()
    scene.good_save(1)
    scene.fail()
    scene.read(Reason.CORRUPT)
    scene.start()

    scene.list_directory(found(1, content=manifest({"a": 7, "b": 7})))
    scene.stop_rest()

    assert end_reason(scene) is Reason.NO_GOOD_CHECKPOINT


def test_a_save_that_failed_on_one_worker_is_not_adopted() -> None:
    scene = training()
    save = scene.save(1, workers=[CHIEF])
    scene.fail_save(save, OTHER)
    scene.fail()
    scene.wait(4.0)
    scene.start()

    scene.list_directory(found(1))
    scene.stop_rest()

    assert end_reason(scene) is Reason.NO_GOOD_CHECKPOINT


def test_a_second_adoption_does_not_take_the_place_of_the_first() -> None:
    scene = Scene()
    scene.start()
    scene.list_directory(found(2), found(1))
    scene.receipts()
    scene.fail()
    scene.read(Reason.CORRUPT)
    scene.start()

    scene.list_directory(found(2, Reason.CORRUPT), found(1))

    assert [scene.told(SaveId(SERIES, 0, ordinal)) for ordinal in (1, 2)] == ["Bad Corrupt", "Good"]


def test_a_script_that_saves_and_never_asked_has_started_afresh() -> None:
    scene = Scene()
    scene.start()

    scene.save(1)

    assert plan_kind(scene) is PlanKind.FRESH


def test_a_plan_knows_every_directory_that_a_member_has_used() -> None:
    scene = restoring()

    attempt = scene.run.attempt
    assert attempt is not None
    assert attempt.plan is not None
    assert attempt.plan.series[0].directories == ("/d", "/t1")


# ------------------------------------------------------------------------------------------------------ several series


def two_series() -> Scene:
    """Attempt 1 saves two series that its script asks for, both at the steps 10 and 20."""
    scene = training()
    scene.list_directory(series=EMA, directory="/e")
    for ordinal in (1, 2):
        scene.good_save(ordinal)
        scene.good_save(ordinal, series=EMA, prefix=f"/e/ema-{ordinal}", content=manifest({"e": ordinal}))
    return scene


def test_of_several_steps_that_all_series_have_the_newest_is_planned() -> None:
    scene = two_series()

    scene.fail()
    scene.read()
    scene.read()

    attempt = scene.run.attempt
    assert attempt is not None
    assert attempt.plan is not None
    assert [each.step for each in attempt.plan.series] == [20, 20]


def test_the_gate_waits_for_the_receipts_of_every_series() -> None:
    scene = two_series()
    scene.fail()
    scene.read()
    scene.read()
    scene.start()
    attempt = scene.run.attempt
    assert attempt is not None
    assert attempt.plan is not None

    gates = []
    for planned in attempt.plan.series:
        for worker in scene.members:
            scene.receipt(
                worker,
                series=planned.series,
                prefix=planned.prefixes[worker],
                manifest_digest=planned.manifest_digest,
            )
        gates.append(scene.run.attempts[1].gate_opened_s is not None)

    assert gates == [False, True]


def test_what_was_saved_of_a_series_before_a_plan_that_left_it_out_is_no_ancestor() -> None:
    scene = training()
    scene.good_save(1)
    left_out = scene.save(1, series=EMA, prefix="/e/ema-1", content=manifest({"e": 1}), durable=False)
    scene.fail()
    scene.read()
    scene.start()
    scene.receipts()

    after = scene.save(1, series=EMA, prefix="/e/ema-2", content=manifest({"e": 2}))

    saves = [checkpoint.save for checkpoint in candidates(scene.run)]
    assert (after in saves, left_out in saves) == (True, False)


# ------------------------------------------------------------------------------------------------------------ receipts


def test_a_variable_that_was_left_at_its_initial_value_fails_the_attempt() -> None:
    scene = restoring()

    scene.receipt(CHIEF)
    scene.receipt(OTHER, left_at_initial=("b",))

    assert why_attempt_failed(scene, 2) is Reason.RESTORED_WRONG


def test_what_an_attempt_saved_before_it_was_found_to_have_restored_wrongly_is_not_planned() -> None:
    scene = restoring()
    scene.receipts()
    save = scene.good_save(1, prefix="/d/ckpt-2", step=20)
    before = scene.told(save)

    scene.receipt(OTHER, left_at_initial=("slot",))
    at_once = scene.told(save)
    scene.stop_rest()
    scene.read()

    attempt = scene.run.attempt
    assert attempt is not None
    assert attempt.plan is not None
    assert (before, at_once, scene.told(save)) == ("Good", "Bad RestoredWrong", "Bad RestoredWrong")
    assert (attempt.number, [each.save for each in attempt.plan.series]) == (3, [SaveId(SERIES, 1, 1)])


def test_receipts_of_an_attempt_without_steering_do_not_speak_against_what_all_its_members_saved() -> None:
    scene = restoring()
    scene.lose_steering(OTHER)
    for worker in scene.members:
        scene.receipt(worker, left_at_initial=("slot",))

    save = scene.good_save(1, prefix="/d/ckpt-2", step=20)

    assert scene.told(save) == "Good"


def test_a_worker_that_saved_nothing_and_ended_well_is_no_saver() -> None:
    scene = training(workers=3)
    save = scene.save(1, workers=[CHIEF])

    for worker in (CHIEF, OTHER, THIRD):
        scene.exit(worker, 0)
    scene.wait(4.0)
    scene.read()

    assert (scene.told(save), scene.verdict(save).witnesses, end_reason(scene)) == ("Good", 1, Reason.FINISHED)
