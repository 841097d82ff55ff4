"""What a script's own ways make of a run: fresh starts that say why, saves that cannot be steered, what is refused."""

from __future__ import annotations

import pytest
from scene import CHIEF, OTHER, SERIES, Scene, manifest

from lastgood.reasons import Reason
from lastgood_controller import choice
from lastgood_controller.desired import desired_state
from lastgood_controller.events import DirectoryListed, Exported, Noticed, SaveReported
from lastgood_controller.fold import MAX_KEPT
from lastgood_controller.lineage import candidates
from lastgood_controller.model import (
    Attempt,
    Export,
    ExportKind,
    FoundCheckpoint,
    Listing,
    Notice,
    NoticeKind,
    PlanKind,
    SaveId,
    SaveReport,
    SeriesId,
    WorkerId,
)

V1 = SeriesId("51f5e6", 0)


def newest(scene: Scene) -> Attempt:
    assert scene.run.attempt is not None
    return scene.run.attempt


def why(scene: Scene) -> str:
    plan = newest(scene).plan
    assert plan is not None
    assert plan.kind is PlanKind.FRESH
    return plan.why


def look(scene: Scene, worker: WorkerId, directory: str, others: int = 0) -> None:
    scene.fact(DirectoryListed(worker, scene.number, Listing(SERIES, directory, (), other_entries=others)))


def notice(scene: Scene, kind: NoticeKind, path: str, detail: str = "", worker: WorkerId = CHIEF) -> None:
    scene.fact(Noticed(scene.number, Notice(worker, kind, path, detail)))


def observed_save(scene: Scene, ordinal: int) -> SaveId:
    """What tf.compat.v1.train.Saver of the chief saves."""
    content = manifest({"w": ordinal})
    save = SaveId(V1, scene.number, ordinal)
    scene.manifests[content.digest] = content
    report = SaveReport(CHIEF, f"/v1/model-{ordinal}", content.digest, ordinal * 10, durable=True, observed=True)
    scene.fact(SaveReported(save, report))
    return save


# --------------------------------------------------------------------------------------------------------- fresh starts


def test_a_fresh_start_says_who_looked_where_and_what_lay_there() -> None:
    scene = Scene()
    scene.start()

    look(scene, CHIEF, "/ckpt", others=3)
    look(scene, OTHER, "/tmp/own")

    assert why(scene) == (
        "no checkpoint to go on from: /ckpt has 3 entries that belong to no checkpoint (seen by worker/0),"
        " /tmp/own is empty, or not there (seen by worker/1)"
    )


def test_a_fresh_start_of_all_in_one_directory_names_it_once() -> None:
    scene = Scene()
    scene.start()

    look(scene, CHIEF, "/ckpt", others=1)
    look(scene, OTHER, "/ckpt", others=1)

    assert why(scene) == "no checkpoint to go on from: /ckpt has 1 entry that belongs to no checkpoint"


def test_a_script_that_names_no_directory_and_restores_nothing_is_told_so() -> None:
    scene = Scene(workers=1)
    scene.start()

    look(scene, CHIEF, "")

    assert why(scene) == "no checkpoint to go on from: the script restores nothing and has named no directory"


def test_a_script_that_never_asks_beside_checkpoints_is_told_where_they_lie() -> None:
    scene = Scene(workers=1)
    scene.start()

    notice(scene, NoticeKind.NEVER_ASKED, "/ckpt", "3 of them")
    scene.first_step(CHIEF)

    assert why(scene) == (
        "the script trains and never asked what to restore, although checkpoints lie in /ckpt (3 of them)"
    )


# ---------------------------------------------------------------------------------------------- what is known of before


def test_that_nothing_is_known_is_told_until_there_is_a_plan() -> None:
    scene = Scene()
    scene.start()
    before = desired_state(scene.run, CHIEF)
    scene.list_directory()
    fresh = desired_state(scene.run, CHIEF)
    scene.good_save()
    scene.fail()

    after = desired_state(scene.run, CHIEF)

    assert (before.nothing_known, fresh.nothing_known, after.nothing_known) == (True, False, False)
    assert (fresh.plan is None, after.plan is None) == (False, True)


def test_a_save_that_is_still_judged_may_yet_be_planned_so_something_is_known() -> None:
    scene = Scene()
    scene.train_afresh()
    scene.save()
    scene.fail()

    assert newest(scene).plan is None
    assert not choice.knows_nothing(scene.run, newest(scene))


# -------------------------------------------------------------------------------------------------- saves of graph mode


def test_what_cannot_be_steered_is_judged_and_never_planned() -> None:
    # Given a script in graph mode, which asks nothing and says so at its first save
    scene = Scene(workers=1)
    scene.start()
    save = observed_save(scene, 1)
    scene.lose_steering(CHIEF)
    scene.read()

    # When it fails and is started again
    scene.fail(CHIEF)
    scene.start()

    # Then its save is Good, and still on the lineage; the plan waits for a script that asks
    assert scene.told(save) == "Good"
    assert newest(scene).plan is None
    assert desired_state(scene.run, CHIEF).nothing_known
    assert [each.save for each in candidates(scene.run)] == [save]


def test_a_series_that_cannot_be_steered_holds_nothing_back_of_one_that_can() -> None:
    scene = Scene(workers=1)
    scene.train_afresh()
    observed_save(scene, 1)
    save = scene.good_save()
    scene.fail(CHIEF)
    scene.start()
    scene.read()

    plan = newest(scene).plan
    assert plan is not None
    assert [each.save for each in plan.series] == [save]


# ------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("ParameterServerStrategy", "the script makes a ParameterServerStrategy"),
        ("TPUStrategy", "the script makes a TPUStrategy"),
        ("Keras3Fit", "set TF_USE_LEGACY_KERAS=1"),
        ("SomethingOfTheFuture", "the script uses SomethingOfTheFuture, which lastgood does not steer"),
    ],
)
def test_what_the_script_cannot_do_here_ends_the_run_with_a_sentence(what: str, words: str) -> None:
    scene = Scene()
    scene.start()

    notice(scene, NoticeKind.UNSUPPORTED, what, worker=OTHER)
    scene.stop_rest()

    assert scene.run.end is not None
    assert (scene.run.end.cause.reason, scene.run.end.exit_status) == (Reason.REFUSED, 1)
    assert words in scene.run.end.cause.detail
    failure = newest(scene).failure
    assert failure is not None
    assert (failure.worker, failure.cause.reason) == (OTHER, Reason.REFUSED)
    assert scene.number == 1


def test_a_trainers_end_that_is_told_before_the_mistake_behind_it_starts_nothing_anew() -> None:
    scene = Scene()
    scene.start()

    scene.exit(OTHER, code=1)
    notice(scene, NoticeKind.UNSUPPORTED, "Keras3Fit", worker=OTHER)
    scene.stop_rest()

    assert scene.run.end is not None
    assert (scene.run.end.cause.reason, scene.number) == (Reason.REFUSED, 1)


# ----------------------------------------------------------------------------------------------------- what is observed


def test_exports_and_reads_of_others_change_nothing_and_only_the_newest_are_kept() -> None:
    scene = Scene(workers=1)
    scene.train_afresh()
    before = scene.step

    for number in range(MAX_KEPT + 5):
        scene.fact(Exported(1, Export(CHIEF, ExportKind.SAVED_MODEL, f"/export/{number}")))
        notice(scene, NoticeKind.READ, f"/ckpt/ckpt-{number}")

    attempt = newest(scene)
    assert [export.path for export in attempt.exports] == [f"/export/{n}" for n in range(5, MAX_KEPT + 5)]
    assert attempt.notices[-1].path == f"/ckpt/ckpt-{MAX_KEPT + 4}"
    assert len(attempt.notices) <= MAX_KEPT + 1
    assert (attempt.failure, scene.step, scene.run.end) == (None, before, None)


def test_the_own_directory_that_is_asked_for_after_a_pretrained_models_is_not_taken_for_that_models() -> None:
    # given a script whose first question is for the newest in a pretrained model's directory, before any object
    unsigned = SeriesId("", 0)
    content = manifest({"w": 1})
    found = FoundCheckpoint("/pretrained/ckpt-9", content.digest, 90)
    scene = Scene()
    scene.start()
    for worker in (CHIEF, OTHER):
        listing = Listing(unsigned, "/pretrained", (found,))
        scene.fact(DirectoryListed(worker, scene.number, listing))
    # and whose second one is for its own
    scene.wait(1.0)
    for worker in (CHIEF, OTHER):
        scene.fact(DirectoryListed(worker, scene.number, Listing(unsigned, "/own", ())))

    directories = choice.known_directories(scene.run, unsigned)

    assert directories == {"/pretrained"}
