"""The rules of the judge, one by one."""

from __future__ import annotations

import pytest

from lastgood.reasons import Reason
from lastgood_controller.judge import judge
from lastgood_controller.model import (
    Cause,
    Policy,
    Purpose,
    Standing,
    Verdict,
)
from tests.unit.core.scene import CHIEF, OTHER, THIRD, Scene, found, manifest


def training(workers: int = 2, policy: Policy | None = None) -> Scene:
    scene = Scene(workers, policy)
    scene.train_afresh()
    return scene


def test_a_save_that_all_report_alike_and_one_read_whole_is_good() -> None:
    scene = training()

    save = scene.good_save()

    verdict = scene.verdict(save)
    assert (verdict.standing, verdict.causes, verdict.witnesses) == (Standing.GOOD, (), 2)
    assert judge(scene.run, scene.manifests, scene.now_s) == ()


def test_a_save_waits_for_reports_then_for_its_reading() -> None:
    scene = training()
    scene.good_save(1)

    save = scene.save(2, workers=[CHIEF])
    alone = scene.told(save)
    scene.save(2, workers=[OTHER])

    assert alone == "Pending AwaitingReports"
    assert scene.told(save) == "Pending AwaitingVerification"


def test_another_worker_than_the_writer_reads_a_save() -> None:
    scene = training(workers=3)

    scene.save()

    assert [(task.purpose, task.prefix) for task in scene.open_tasks()] == [(Purpose.JUDGE, "/d/ckpt-1")]
    assert scene.open_tasks()[0].reader != CHIEF


def test_a_manifest_that_was_not_delivered_keeps_a_save_pending() -> None:
    scene = training()

    save = scene.save(deliver=False)
    scene.read()
    before = scene.told(save)
    content = manifest({"a": 1, "b": 2})
    scene.manifests[content.digest] = content
    scene.settle()

    assert before == "Pending AwaitingManifest"
    assert scene.told(save) == "Good"


def test_two_workers_that_saved_different_values_are_both_named() -> None:
    scene = training()

    save = scene.save(workers=[CHIEF], content=manifest({"a": 1, "b": 2}))
    scene.save(workers=[OTHER], content=manifest({"a": 1, "b": 9}))

    cause = Cause(Reason.DIVERGED, "worker/0 and worker/1 differ in 1 of 2 variables: b")
    assert scene.verdict(save) == Verdict(Standing.BAD, (cause,), witnesses=2)


def test_of_three_workers_the_odd_one_out_is_named_with_five_variables_and_a_count() -> None:
    scene = training(workers=3)
    names = "abcdefg"

    save = scene.save(workers=[CHIEF, OTHER], content=manifest(dict.fromkeys(names, 1)))
    scene.save(workers=[THIRD], content=manifest(dict.fromkeys(names, 2)))

    detail = "worker/2 differs from the 2 others in 7 of 7 variables: a, b, c, d, e and 2 more"
    assert scene.verdict(save).causes == (Cause(Reason.DIVERGED, detail),)


@pytest.mark.parametrize(
    ("theirs", "told"),
    [
        (manifest({"a": 1}, own=8), "Good"),
        (manifest({"a": 1}, graph=9), "Good"),
        (manifest({"a": 1}), "Good"),
        (manifest({"a": 1, "c": 1}), "Bad Diverged"),
    ],
    ids=["a variable of each worker's own", "the object graph", "an own variable missing", "another key"],
)
def test_only_what_must_be_equal_is_compared(theirs: object, told: str) -> None:
    scene = training()

    save = scene.save(workers=[CHIEF], content=manifest({"a": 1}, graph=5, own=7))
    scene.save(workers=[OTHER], content=theirs)  # type: ignore[arg-type]
    scene.read()

    assert scene.told(save) == told


def test_workers_that_saved_different_steps_have_diverged() -> None:
    scene = training()

    save = scene.save(workers=[CHIEF], step=10)
    scene.save(workers=[OTHER], step=15)

    detail = "the workers saved different steps as one checkpoint: worker/0 at step 10, worker/1 at step 15"
    assert scene.verdict(save).causes == (Cause(Reason.DIVERGED, detail),)


def test_a_late_report_that_differs_makes_a_good_save_bad() -> None:
    scene = training()
    save = scene.save(1, workers=[CHIEF])
    scene.save(2, workers=[CHIEF])
    scene.read()
    before = scene.told(save)

    scene.save(1, workers=[OTHER], content=manifest({"a": 9, "b": 9}))

    assert (before, scene.told(save)) == ("Good", "Bad Diverged")


def test_a_worker_that_lets_the_chief_save_twice_is_no_saver() -> None:
    scene = training()

    first = scene.save(1, workers=[CHIEF])
    before = scene.told(first)
    scene.save(2, workers=[CHIEF])
    scene.read()

    assert (before, scene.told(first)) == ("Pending AwaitingReports", "Good")
    assert scene.verdict(first).witnesses == 1


def test_a_worker_that_has_saved_before_is_waited_for_and_then_missed() -> None:
    scene = training()
    scene.good_save(1)
    save = scene.save(2, workers=[CHIEF])
    scene.read()

    scene.wait(59.0)
    before = scene.told(save)
    scene.wait(2.0)

    assert (before, scene.told(save)) == ("Pending AwaitingReports", "Bad Incomplete")


def test_a_missing_report_that_comes_late_still_makes_the_save_good() -> None:
    scene = training()
    scene.good_save(1)
    save = scene.save(2, workers=[CHIEF])
    scene.read()
    scene.wait(61.0)

    scene.save(2, workers=[OTHER])

    assert scene.told(save) == "Good"


def test_the_chief_is_waited_for_and_nobodys_own_copy_is_read_for_it() -> None:
    scene = training()

    scene.save(1, workers=[OTHER])
    scene.save(2, workers=[OTHER])
    before = scene.open_tasks()
    scene.save(1, workers=[CHIEF])

    assert before == ()
    assert [task.prefix for task in scene.open_tasks()] == ["/d/ckpt-1"]


def test_when_the_attempt_has_ended_a_missing_report_is_not_waited_for_long() -> None:
    scene = training()
    scene.good_save(1)
    save = scene.save(2, workers=[CHIEF])
    scene.read()

    scene.fail()
    before = scene.told(save)
    scene.wait(3.1)

    assert (before, scene.told(save)) == ("Pending AwaitingReports", "Bad Incomplete")


def test_a_save_that_failed_on_one_worker_is_incomplete() -> None:
    scene = training()

    save = scene.save(workers=[CHIEF])
    scene.fail_save(save, OTHER)

    detail = "the save failed on worker/1: OSError: no space left"
    assert scene.verdict(save).causes == (Cause(Reason.INCOMPLETE, detail),)


def test_a_save_that_was_not_written_through_is_not_good() -> None:
    scene = training()

    save = scene.good_save(durable=False)

    assert scene.told(save) == "Bad Incomplete"


def test_a_variable_that_the_predecessor_had_is_missed_and_growth_is_fine() -> None:
    scene = training()
    scene.good_save(1, content=manifest({"a": 1, "b": 1}))

    lost = scene.good_save(2, content=manifest({"a": 2}))
    again = scene.good_save(3, content=manifest({"a": 3}))
    grown = scene.good_save(4, content=manifest({"a": 4, "b": 4, "c": 4}))

    detail = "it lacks 1 variable that /d/ckpt-1 before it had: b"
    assert scene.verdict(lost).causes == (Cause(Reason.VARIABLES_LOST, detail),)
    assert (scene.told(again), scene.told(grown)) == ("Bad VariablesLost", "Good")


def test_a_lost_variable_stays_lost_when_the_predecessor_is_rotated_away() -> None:
    scene = training()
    scene.good_save(1, content=manifest({"a": 1, "b": 1}))
    lost = scene.good_save(2, content=manifest({"a": 2}))

    scene.remove("/d/ckpt-1")

    assert scene.told(lost) == "Bad VariablesLost"


@pytest.mark.parametrize("fault", [Reason.TORN, Reason.CORRUPT])
def test_damage_is_believed_of_the_first_reader(fault: Reason) -> None:
    scene = training()

    save = scene.save()
    scene.read(fault)

    assert scene.verdict(save).causes == (Cause(fault, "as told"),)
    assert scene.open_tasks() == ()


def test_a_missing_file_is_only_believed_of_the_writer() -> None:
    scene = training()

    save = scene.save()
    scene.read(Reason.INCOMPLETE)
    between = scene.told(save)
    readers = [task.reader for task in scene.open_tasks()]
    scene.read(Reason.INCOMPLETE)

    assert between == "Pending AwaitingVerification"
    assert readers == [CHIEF]
    assert scene.told(save) == "Bad Incomplete"


def test_a_reader_that_does_not_answer_is_replaced_once_and_then_the_save_is_unreadable() -> None:
    scene = training()
    save = scene.save()

    scene.wait(121.0)
    second = [task.reader for task in scene.open_tasks()]
    between = scene.told(save)
    scene.wait(121.0)

    assert second == [OTHER, CHIEF]
    assert (between, scene.told(save)) == ("Pending AwaitingVerification", "Bad Unreadable")


def test_a_reader_that_goes_away_is_replaced_at_once() -> None:
    scene = training()
    scene.save()

    scene.disconnect(OTHER)

    assert [task.reader for task in scene.open_tasks()] == [OTHER, CHIEF]


def test_after_the_journal_was_lost_no_task_has_the_name_of_one_that_an_agent_has_done_before() -> None:
    names = []
    for highest in (0, 1):
        scene = Scene(connect=False)
        for worker in scene.members:
            scene.connect(worker, highest=highest)
        scene.train_afresh()
        scene.good_save()
        names.append(set(scene.run.tasks))

    assert all(names)
    assert not names[0] & names[1]


def test_a_prefix_that_holds_something_else_by_now_has_vanished() -> None:
    scene = training()

    save = scene.save()
    scene.read(digest="0" * 64)

    assert scene.told(save) == "Bad Vanished"


def test_what_was_rotated_away_or_written_over_has_vanished() -> None:
    scene = training()
    first, second = scene.good_save(1), scene.good_save(2)

    scene.remove("/d/ckpt-1")
    scene.good_save(3, prefix="/d/ckpt-2")

    assert (scene.told(first), scene.told(second)) == ("Bad Vanished", "Bad Vanished")


def test_what_was_written_again_with_the_same_bytes_is_still_there() -> None:
    scene = training()
    first = scene.good_save(1)

    scene.good_save(2, prefix="/d/ckpt-1", content=manifest({"a": 1, "b": 2}))

    assert scene.told(first) == "Good"


def test_no_save_is_good_before_its_attempt_has_proven_what_it_restored() -> None:
    scene = Scene()
    scene.start()
    scene.list_directory(found(1))
    save = scene.save(2)
    scene.read()
    before = scene.told(save)

    scene.receipts()

    assert (before, scene.told(save)) == ("Pending AwaitingReceipts", "Good")


def test_a_save_of_an_attempt_that_never_proved_anything_settles_when_it_ends() -> None:
    scene = Scene()
    scene.start()
    scene.list_directory(found(1))
    save = scene.save(2)
    scene.read()

    scene.fail()

    assert scene.told(save) == "Bad Incomplete"


def test_a_checkpoint_that_every_member_fails_to_restore_is_quarantined() -> None:
    scene = training()
    save = scene.good_save()
    scene.fail()
    scene.read()
    scene.start()

    for worker in scene.members:
        scene.receipt(worker, error="InvalidArgumentError: shape")

    assert scene.told(save) == "Bad Quarantined"
    assert scene.run.attempts[1].failure is not None
    assert scene.run.attempts[1].failure.cause.reason is Reason.RESTORE_FAILED


def test_one_member_that_fails_to_restore_is_that_members_failure() -> None:
    scene = training()
    save = scene.good_save()
    scene.fail()
    scene.read()
    scene.start()

    scene.receipt(CHIEF)
    scene.receipt(OTHER, wrong_value=("a",))

    assert scene.told(save) == "Good"
    failure = scene.run.attempts[1].failure
    assert failure is not None
    detail = "after restoring /d/ckpt-1, variables differ: 1 with a wrong value: a"
    assert (failure.worker, failure.cause) == (OTHER, Cause(Reason.RESTORED_WRONG, detail))


def test_a_second_reading_that_finds_damage_turns_a_good_one_bad() -> None:
    scene = training()
    older, newer = scene.good_save(1), scene.good_save(2)

    scene.fail()
    scene.read(Reason.CORRUPT)

    assert (scene.told(newer), scene.told(older)) == ("Bad Corrupt", "Good")
    assert [task.prefix for task in scene.open_tasks()] == ["/d/ckpt-1"]


def test_an_answer_to_an_older_question_does_not_hide_a_newer_one() -> None:
    scene = training()
    save = scene.save()
    scene.wait(1.0)
    scene.disconnect(OTHER)
    late, prompt = scene.open_tasks()

    scene.read(Reason.CORRUPT, task=prompt)
    scene.read(task=late)

    assert scene.told(save) == "Bad Corrupt"


def test_a_save_of_an_attempt_that_lost_its_steering_unproven_is_good_only_when_every_member_saved_it_alike() -> None:
    told = []
    for savers in ((CHIEF, OTHER, THIRD), (CHIEF,)):
        scene = Scene(workers=3)
        scene.start()
        scene.lose_steering(OTHER)
        save = scene.save(1, workers=savers)
        scene.wait(61.0)
        scene.read()
        told.append(scene.told(save))

    assert told == ["Good", "Bad Incomplete"]


def test_chief_only_saves_of_an_attempt_that_lost_its_steering_are_good_only_when_its_restores_were_proven() -> None:
    told = []
    for proven in (True, False):
        scene = training(workers=3)
        scene.good_save(1, workers=[CHIEF])
        scene.wait(61.0)
        scene.read()
        scene.fail()
        scene.read()
        scene.start()
        for worker in scene.members if proven else [CHIEF]:
            scene.receipt(worker)
        scene.lose_steering(OTHER)
        save = scene.save(1, workers=[CHIEF], prefix="/d/ckpt-2")
        scene.wait(61.0)
        scene.read()
        told.append(scene.told(save))

    assert told == ["Good", "Bad Incomplete"]
