"""The current lineage, newest first; and what an incident's spans and lost steps are counted from."""

from __future__ import annotations

from lastgood.reasons import Reason
from lastgood_controller.incidents import Incident, Spans, incidents, phase
from lastgood_controller.lineage import candidates, line
from lastgood_controller.model import (
    Policy,
    SaveId,
    SeriesId,
)
from tests.unit.core.scene import OTHER, SERIES, Scene, found


def saves(scene: Scene) -> list[str]:
    return [f"{c.save.attempt}.{c.save.ordinal}" for c in candidates(scene.run)]


def test_the_lineage_goes_through_what_each_attempt_started_from_and_leaves_abandoned_saves_out() -> None:
    scene = Scene()
    scene.train_afresh()
    for ordinal in (1, 2, 3):
        scene.good_save(ordinal)
    scene.fail()
    scene.read(Reason.CORRUPT)
    scene.read()
    scene.start()
    scene.receipts()

    scene.good_save(1, prefix="/d/ckpt-3", step=30)

    assert saves(scene) == ["2.1", "1.2", "1.1"]


def test_an_attempt_that_failed_before_it_was_planned_is_passed_through() -> None:
    scene = Scene()
    scene.train_afresh()
    scene.good_save(1)
    scene.fail()
    scene.start()
    scene.fail()
    scene.wait(1.0)

    assert [attempt.plan is None for attempt in scene.run.attempts] == [False, True, True]
    assert saves(scene) == ["1.1"]


def test_an_adopted_checkpoint_is_the_root_of_its_lineage_also_when_no_object_had_asked() -> None:
    scene = Scene()
    scene.start()
    scene.list_directory(found(4))
    scene.receipts()
    scene.good_save(1, prefix="/d/ckpt-5", step=50)

    assert saves(scene) == ["1.1", "0.1"]
    assert [c.save for c in line(scene.run, SeriesId("", 0))][-1:] == [SaveId(SERIES, 0, 1)]


def test_a_late_report_of_an_older_attempt_is_recorded_and_never_on_the_lineage_once_the_next_is_planned() -> None:
    scene = Scene()
    scene.train_afresh()
    scene.good_save(1)
    scene.fail()
    scene.read()
    before = scene.run.attempt

    late = scene.save(2, attempt=1)

    assert late in scene.run.checkpoints
    assert saves(scene) == ["1.1"]
    assert scene.run.attempt == before


def test_an_incident_counts_its_spans_from_the_failures_report_and_its_loss_from_the_plans_step() -> None:
    scene = Scene(policy=Policy(settle_s=3.0))
    scene.train_afresh()
    scene.good_save(1)

    phases = [phase(scene.run)]
    scene.exit(OTHER, signal=9, reached_step=17)
    phases.append(phase(scene.run))
    scene.now_s += 1.0
    scene.stop_rest()
    scene.now_s += 1.0
    phases.append(phase(scene.run))
    scene.read()
    scene.start()
    phases.append(phase(scene.run))
    scene.now_s += 1.0
    scene.receipts()
    scene.now_s += 1.0
    for member in scene.members:
        scene.first_step(member, 11)
    phases.append(phase(scene.run))

    assert phases == ["Training", "Recovering", "Starting", "Restoring", "Training"]
    assert incidents(scene.run) == (
        Incident(
            attempt=1,
            next_attempt=2,
            worker=OTHER,
            reason=Reason.WORKER_KILLED,
            detail="its trainer was killed by SIGKILL at step 17",
            at_s=100.0,
            spans=Spans(0.0, decided_s=2.0, stopped_s=1.0, started_s=2.0, restored_s=3.0, first_step_s=4.0),
            lost_steps=7,
            lost_steps_by_worker={OTHER: 7},
            plan_step=10,
        ),
    )


def test_before_and_after_everything_there_is_a_phase_too() -> None:
    scene = Scene(connect=False)
    gathering = phase(scene.run)

    scene.ask_stop()

    assert (gathering, phase(scene.run)) == ("Gathering", "Ended")
    assert incidents(scene.run) == ()
