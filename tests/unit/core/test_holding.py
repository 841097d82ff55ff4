"""What the chief's hooks hold: it is not gone, it is read first, and they are told what is decided."""

from __future__ import annotations

from scene import CHIEF, EMA, OTHER, SERIES, Scene, found

from lastgood.reasons import Reason
from lastgood_controller.desired import desired_state
from lastgood_controller.events import CheckpointsRemoved, DirectoryListed
from lastgood_controller.model import (
    Listing,
    PlanKind,
    SaveId,
    SeriesId,
)
from lastgood_controller.pins import PinnedSave, Word


def trained(workers: int = 2) -> Scene:
    scene = Scene(workers)
    scene.train_afresh()
    return scene


def word(scene: Scene) -> Word:
    """What the chief is told; nobody else is told anything."""
    assert desired_state(scene.run, OTHER).pins is None
    said = desired_state(scene.run, CHIEF).pins
    assert said is not None
    return said


def good(scene: Scene) -> list[SaveId]:
    return [each.save for each in word(scene).good]


def reads(scene: Scene) -> list[int]:
    """The ordinals of the saves that are being read."""
    return [task.save.ordinal for task in scene.open_tasks()]


def test_what_rotation_removed_and_the_hooks_hold_stays_good_and_is_restored() -> None:
    # given a good one that was rotated away and is held, and a later one that is damaged
    scene = trained()
    first = scene.good_save(1, held=[1])
    scene.save(2, held=[1, 2])
    scene.remove("/d/ckpt-1")
    scene.read(fault=Reason.CORRUPT)
    assert scene.told(first) == "Good"

    # when a worker is killed
    scene.fail()
    scene.read()

    # then
    assert scene.run.attempt is not None
    assert scene.run.attempt.plan is not None
    assert scene.run.attempt.plan.kind is PlanKind.RESTORE
    assert [planned.save for planned in scene.run.attempt.plan.series] == [first]


def test_what_is_held_no_longer_has_vanished_once_rotation_removed_it() -> None:
    scene = trained()
    first = scene.good_save(1, held=[1])
    scene.save(2, held=[1, 2])
    scene.remove("/d/ckpt-1")
    scene.read()

    scene.save(3, held=[2, 3])

    assert scene.told(first) == "Bad Vanished"


def test_a_held_one_whose_name_was_used_again_has_not_vanished() -> None:
    scene = trained()
    first = scene.good_save(1, prefix="/d/ckpt-1", workers=[CHIEF], held=[1])

    scene.good_save(2, prefix="/d/ckpt-1", workers=[CHIEF], held=[1, 2])
    assert scene.told(first) == "Good"

    scene.good_save(3, prefix="/d/ckpt-3", workers=[CHIEF], held=[3])
    assert scene.told(first) == "Bad Vanished"


def test_the_removal_of_a_workers_own_copy_condemns_no_save_whose_report_the_chief_still_owes() -> None:
    # given
    scene = trained()
    save = scene.save(1, workers=[OTHER])

    # when the other worker has removed its copy before the chief's report comes
    scene.fact(CheckpointsRemoved(OTHER, scene.number, ("/t1/ckpt-1",)))
    scene.save(1, workers=[CHIEF], held=[1])
    scene.read()

    # then
    assert scene.told(save) == "Good"
    scene.remove("/d/ckpt-1")
    scene.save(2, held=[2])
    assert scene.told(save) == "Bad Vanished"


def test_one_save_of_a_series_is_read_at_a_time_first_the_one_that_is_held_and_then_the_newest() -> None:
    # given three saves while the first is read
    scene = trained()
    scene.save(1, held=[1])
    assert reads(scene) == [1]
    for ordinal, held in ((2, [1, 2]), (3, [1, 3]), (4, [1, 4])):
        scene.save(ordinal, held=held)
    assert reads(scene) == [1]

    # when, then
    scene.read()
    assert reads(scene) == [4]
    scene.save(5, held=[1, 4, 5])
    scene.save(6, held=[1, 4, 6])
    scene.read(fault=Reason.CORRUPT)
    assert reads(scene) == [6]
    scene.read()
    assert reads(scene) == [5]  # nobody holds it; when there is nothing else to read it is looked for


def test_a_candidate_that_the_hooks_hold_is_read_before_newer_ones_that_they_may_let_go() -> None:
    scene = trained()
    scene.save(1, held=[1])
    scene.save(2, held=[1, 2])
    scene.save(3, held=[1, 2, 3])

    scene.read()

    assert reads(scene) == [2]


def test_series_are_read_beside_each_other() -> None:
    scene = trained()

    scene.save(1, held=[1])
    scene.save(1, series=EMA, prefix="/e/ckpt-1", held=[1])

    assert sorted(str(task.save.series) for task in scene.open_tasks()) == sorted([str(SERIES), str(EMA)])


def test_an_older_pending_save_is_not_waited_for_when_a_newer_one_is_good() -> None:
    # given an old save that nobody has read yet, and a newer good one
    scene = trained()
    scene.save(1)
    for ordinal in (2, 3):
        scene.save(ordinal)
    scene.read(task=scene.open_tasks()[0])
    newest = SaveId(SERIES, 1, 3)
    scene.read(task=scene.open_tasks()[0])
    assert (scene.told(newest), scene.told(SaveId(SERIES, 1, 2))) == ("Good", "Pending AwaitingVerification")

    # when
    scene.fail()
    for task in scene.open_tasks():
        if task.save == newest:
            scene.read(task=task)

    # then
    assert scene.run.attempt is not None
    assert scene.run.attempt.plan is not None
    assert [planned.save for planned in scene.run.attempt.plan.series] == [newest]


def test_the_chief_is_told_what_must_stay_what_is_undecided_and_what_is_known() -> None:
    # given
    scene = trained()
    assert word(scene) == Word()
    first = scene.good_save(1, held=[1])
    second = scene.save(2, held=[1, 2])
    digest = scene.run.checkpoints[first].reports[CHIEF].manifest_digest

    # then
    assert word(scene) == Word((PinnedSave(first, "/d/ckpt-1", digest),), (second,), (second,))
    scene.read()
    assert (good(scene), word(scene).undecided) == ([second], ())


def test_the_plans_checkpoint_must_stay_until_its_attempt_has_a_good_one_of_its_own() -> None:
    # given two good ones, the newer of which fails on everybody
    scene = trained()
    first, second = scene.good_save(1, held=[1]), scene.good_save(2, held=[1, 2])
    scene.fail()
    scene.read()
    assert good(scene) == [second]
    scene.start()
    for worker in (CHIEF, OTHER):
        scene.receipt(worker, restored=0, error="DataLossError")
    scene.exit(OTHER, code=1)
    scene.stop_rest()
    scene.wait(5.0)
    scene.read()

    # then it is the older one, until the new attempt has saved
    assert good(scene) == [first]
    scene.start()
    scene.receipts()
    third = scene.save(1, held=[1])
    assert good(scene) == [first]
    scene.read()
    assert good(scene) == [third]


def test_what_was_adopted_must_stay_until_a_save_of_the_run_is_good() -> None:
    # given a checkpoint that was there before, asked for by a script that had made no objects yet
    scene = Scene()
    scene.start()
    scene.list_directory(found(7), series=SeriesId("", 0))
    scene.receipts()
    adopted = SaveId(SeriesId("", 0), 0, 1)
    assert good(scene) == [adopted]

    # when
    first = scene.save(1, held=[1])
    assert (good(scene), scene.told(adopted)) == ([adopted], "Good")
    scene.read()

    # then
    assert good(scene) == [first]


def test_new_attempts_are_numbered_above_what_manifests_beside_the_checkpoints_tell() -> None:
    scene = Scene()
    scene.start()

    for worker in scene.members:
        listing = Listing(SERIES, "/d", (found(1),))
        scene.fact(DirectoryListed(worker, scene.number, listing, highest_attempt=7))
    scene.fail()

    assert scene.number == 8
