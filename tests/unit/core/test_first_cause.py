"""Which of a gang's ends is named, who pays for it, and when a gang is told to end: rule by rule, in virtual time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lastgood.reasons import Reason
from lastgood_controller.desired import TrainerAction, desired_state
from lastgood_controller.events import (
    AttemptFailed,
    RunOpened,
    SigtermHandled,
    StopAsked,
    StrategyMade,
    WorkerLeaving,
)
from lastgood_controller.incidents import incidents
from lastgood_controller.model import Policy, ScriptError, Trainer, WorkerId
from tests.unit.core.scene import CHIEF, OTHER, THIRD, Scene

UNAVAILABLE = ScriptError(
    "tensorflow.python.framework.errors_impl.UnavailableError",
    "Collective ops is aborted by: Socket closed",
    "/job/train.py:80 in main",
    ("UnavailableError: Collective ops is aborted by: Socket closed from remote target /job:worker/replica:0/task:1",),
)
BROKEN = ScriptError("ValueError", "no such layer", "/job/train.py:12 in main", ("  File train.py", "ValueError: no"))


def failed(scene: Scene, number: int = 1) -> tuple[WorkerId | None, Reason] | None:
    attempt = scene.run.attempt_numbered(number)
    if attempt is None or attempt.failure is None:
        return None
    return attempt.failure.worker, attempt.failure.cause.reason


def detail(scene: Scene, number: int = 1) -> str:
    attempt = scene.run.attempt_numbered(number)
    assert attempt is not None
    assert attempt.failure is not None
    return attempt.failure.cause.detail


def training(workers: int = 2, policy: Policy | None = None) -> Scene:
    """A gang that has made its first steps."""
    scene = Scene(workers, policy)
    scene.train_afresh()
    for worker in scene.members:
        scene.fact(StrategyMade(worker, 1, "MultiWorkerMirroredStrategy", workers))
        scene.first_step(worker)
    return scene


def leave(scene: Scene, worker: WorkerId = OTHER, grace_s: float = 28.0) -> None:
    scene.fact(WorkerLeaving(worker, scene.number, "SIGTERM", grace_s))


def handle_sigterm(scene: Scene) -> None:
    for worker in scene.members:
        scene.fact(SigtermHandled(worker, scene.number, "PreemptionCheckpointHandler._sigterm_handler_fn"))


def next_attempt(scene: Scene) -> None:
    """The rest is stopped, the next attempt runs."""
    scene.stop_rest()
    scene.wait(5.0)
    scene.start()
    scene.list_directory()


def ended(scene: Scene) -> tuple[Reason, int] | None:
    return (scene.run.end.cause.reason, scene.run.end.exit_status) if scene.run.end is not None else None


# ----------------------------------------------------------------------------------------------------- the first cause


def test_the_peer_that_went_is_named_although_the_survivors_word_came_first() -> None:
    scene = training()

    scene.exit(CHIEF, 1, error=UNAVAILABLE)
    before = failed(scene)
    scene.wait(0.3)
    scene.exit(OTHER, signal=9)

    assert (before, failed(scene)) == (None, (OTHER, Reason.WORKER_KILLED))


def test_the_peer_that_went_is_named_when_its_word_came_first() -> None:
    scene = training()

    scene.exit(OTHER, signal=11)
    scene.exit(CHIEF, 1, error=UNAVAILABLE)

    assert failed(scene) == (OTHER, Reason.WORKER_KILLED)


def test_a_lost_peer_of_whom_nothing_is_heard_fails_the_attempt_after_a_second() -> None:
    scene = training(3)
    scene.disconnect(OTHER)

    scene.exit(CHIEF, 1, error=UNAVAILABLE)
    scene.wait(0.9)
    before = failed(scene)
    scene.wait(0.2)

    assert (before, failed(scene)) == (None, (OTHER, Reason.PEER_LOST))
    assert "nothing is heard of its agent" in detail(scene)


def test_a_lost_peer_that_the_last_words_name_is_named() -> None:
    scene = training(3)

    scene.exit(CHIEF, 1, error=UNAVAILABLE)
    scene.wait(1.1)

    assert failed(scene) == (OTHER, Reason.PEER_LOST)


def test_a_worker_that_had_finished_before_the_others_is_named_with_what_to_do() -> None:
    """Input that is shared out unevenly: one worker's ends first, and the others wait for it in a collective."""
    scene = training(3)

    scene.exit(OTHER, 0, reached_step=7)
    scene.wait(10.0)
    before = failed(scene)
    scene.exit(CHIEF, 1, error=UNAVAILABLE)

    assert (before, failed(scene)) == (None, (OTHER, Reason.PEER_LOST))
    assert detail(scene).startswith(f"{OTHER} had ended with status 0 at step 7 while others trained on: {CHIEF}: ")
    assert detail(scene).endswith("All workers of a gang have to make the same number of steps")


def test_a_gang_that_all_lost_each_other_names_nobody_and_waits_for_nobody() -> None:
    scene = training()

    scene.exit(CHIEF, 1, error=UNAVAILABLE)
    scene.exit(OTHER, 1, error=UNAVAILABLE)

    assert failed(scene) == (None, Reason.PEER_LOST)


def test_a_peer_that_was_still_leaving_with_its_own_exception_is_the_incidents_cause() -> None:
    """TensorFlow's threads and exit hooks may keep a process for longer than its peers need to be told."""
    scene = training()

    scene.exit(CHIEF, 1, error=UNAVAILABLE)
    scene.wait(1.1)
    scene.exit(OTHER, signal=9, was_stopped=True, error=BROKEN)

    (incident,) = incidents(scene.run)
    assert failed(scene) == (OTHER, Reason.PEER_LOST)
    assert (incident.worker, incident.reason) == (OTHER, Reason.WORKER_EXITED)
    assert "ValueError: no such layer (/job/train.py:12 in main)" in incident.detail


# ------------------------------------------------------------------------------------------------------ the same again


def fail_twice(first: Trainer, second: Trainer, policy: Policy | None = None) -> Scene:
    """Two attempts, each ended by the chief as told."""
    scene = training(policy=policy)
    for trainer in (first, second):
        more = {name: getattr(trainer, name) for name in ("error", "reached_step", "completed_calls")}
        scene.exit(CHIEF, trainer.exit_code, trainer.signal, **more)
        next_attempt(scene)
    return scene


RAISED = Trainer(exit_code=1, error=BROKEN, reached_step=30)


def test_the_same_exception_at_the_same_place_and_step_twice_in_a_row_ends_the_run_with_its_traceback() -> None:
    scene = fail_twice(RAISED, RAISED)

    assert ended(scene) == (Reason.SCRIPT_FAILS, 1)
    assert scene.run.end is not None
    told, *traceback = scene.run.end.cause.detail.splitlines()
    assert "raised ValueError at /job/train.py:12 in main at step 30 in attempts 1 and 2" in told
    assert traceback == ["    File train.py", "  ValueError: no"]


@pytest.mark.parametrize(
    "second",
    [
        replace(RAISED, error=replace(BROKEN, type="KeyError")),
        replace(RAISED, error=replace(BROKEN, place="/job/train.py:13 in main")),
        replace(RAISED, reached_step=31, completed_calls=1),
        replace(RAISED, error=None),
        Trainer(signal=9, reached_step=30),
    ],
    ids=["another exception", "another place", "another step", "no traceback", "killed"],
)
def test_anything_else_is_tried_again(second: Trainer) -> None:
    scene = fail_twice(RAISED, second)

    assert (ended(scene), scene.number) == (None, 3)


def test_a_step_that_was_not_read_at_every_call_is_the_same_after_as_many_calls() -> None:
    first, second = (replace(RAISED, reached_step=step, completed_calls=30) for step in (28, 30))

    assert ended(fail_twice(first, second)) == (Reason.SCRIPT_FAILS, 1)


def test_an_exception_from_outside_the_script_spends_the_budget_like_any_failure() -> None:
    disk = replace(RAISED, error=replace(BROKEN, type="OSError"))

    scene = fail_twice(disk, disk)

    assert (ended(scene), scene.run.failures_in_a_row) == (None, 2)


def test_two_failures_around_a_person_who_opened_the_run_again_are_not_in_a_row() -> None:
    scene = fail_twice(RAISED, RAISED)
    scene.wait(1.0)

    scene.fact(RunOpened("run", "a/b/c/d", Policy(), "ann"))
    scene.wait(1.0)
    scene.start()
    scene.exit(CHIEF, 1, error=BROKEN, reached_step=30)
    scene.stop_rest()
    scene.wait(1.0)

    assert (ended(scene), scene.number) == (None, 4)


# ---------------------------------------------------------------------------------------------------------- preemption


def test_preemptions_spend_no_budget_however_many_come_in_a_row() -> None:
    scene = training(policy=Policy(max_restarts=1))

    for _ in range(6):
        leave(scene)
        scene.exit(OTHER, signal=9, asked_signal=15, was_stopped=True)
        next_attempt(scene)

    reasons = {attempt.failure.cause.reason for attempt in scene.run.attempts[:-1] if attempt.failure}
    assert (reasons, scene.number, scene.run.failures_in_a_row, ended(scene)) == ({Reason.PREEMPTED}, 7, 0, None)
    assert scene.run.restarts == 6


def test_an_end_that_only_the_status_calls_a_preemption_counts_when_it_comes_again_at_the_same_step() -> None:
    """A script that exits with 42 or 143 at each start must not be started for ever."""
    scene = training(policy=Policy(max_restarts=2))

    for _ in range(4):
        scene.exit(CHIEF, 143, reached_step=7)
        next_attempt(scene)

    assert ended(scene) == (Reason.BUDGET_SPENT, 1)
    spent = [event.spends_budget for event in scene.events if isinstance(event, AttemptFailed)]
    assert spent == [False, True, True, True]


def test_a_gang_with_nothing_to_win_is_stopped_at_once_when_a_worker_is_told_to_end() -> None:
    scene = training()

    leave(scene)

    assert failed(scene) == (OTHER, Reason.PREEMPTED)
    assert detail(scene) == "its launcher was told to end by SIGTERM; no save was due in the time it had left"
    assert {desired_state(scene.run, worker).action for worker in scene.members} == {TrainerAction.STOP}


def test_a_save_that_is_due_in_time_is_waited_for_and_the_gang_is_stopped_once_it_is_good() -> None:
    scene = training()
    for ordinal in (1, 2):
        scene.wait(10.0)
        scene.good_save(ordinal)
    scene.wait(4.0)

    leave(scene)
    scene.wait(6.0)
    save = scene.save(3)
    before = failed(scene)
    scene.read()

    assert (before, scene.told(save), failed(scene)) == (None, "Good", (OTHER, Reason.PREEMPTED))
    assert detail(scene) == "its launcher was told to end by SIGTERM; what it had trained is saved"


def test_a_save_that_would_come_too_late_is_not_waited_for() -> None:
    scene = training()
    for ordinal in (1, 2):
        scene.wait(10.0)
        scene.good_save(ordinal)
    scene.wait(1.0)

    leave(scene, grace_s=8.0)

    assert failed(scene) == (OTHER, Reason.PREEMPTED)


def test_a_save_that_was_due_and_does_not_come_is_waited_for_half_its_time_more() -> None:
    scene = training()
    for ordinal in (1, 2):
        scene.wait(10.0)
        scene.good_save(ordinal)
    scene.wait(1.0)

    leave(scene)
    scene.wait(14.9)
    before = failed(scene)
    scene.wait(0.2)

    assert (before, failed(scene)) == (None, (OTHER, Reason.PREEMPTED))


def test_a_save_that_is_being_judged_is_waited_for_to_the_end_of_the_grace_period() -> None:
    scene = training()
    scene.save(1)

    leave(scene)
    scene.wait(27.9)
    before = failed(scene)
    scene.wait(0.2)

    assert (before, failed(scene)) == (None, (OTHER, Reason.PREEMPTED))


def test_a_script_that_handles_sigterm_gets_the_whole_grace_period() -> None:
    scene = training()
    handle_sigterm(scene)

    leave(scene)
    scene.wait(27.9)
    before = failed(scene)
    scene.wait(0.2)

    assert (before, failed(scene)) == (None, (OTHER, Reason.PREEMPTED))


def test_a_gang_that_saves_and_leaves_together_is_not_cut_off_in_the_middle_of_it() -> None:
    """The preempted worker may be gone while the chief, whose files count, is still writing."""
    scene = training(3)
    handle_sigterm(scene)
    leave(scene)

    scene.exit(OTHER, 42, asked_signal=15)
    scene.exit(THIRD, 42)
    scene.wait(5.0)
    before = (failed(scene), desired_state(scene.run, CHIEF).action)
    scene.exit(CHIEF, 42)

    assert before == (None, TrainerAction.RUN)
    assert failed(scene) == (OTHER, Reason.PREEMPTED)


def test_the_worker_that_was_told_to_end_is_named_although_another_one_had_saved_and_left_first() -> None:
    scene = training()
    handle_sigterm(scene)
    leave(scene)

    scene.exit(CHIEF, 42)
    scene.wait(0.1)
    scene.exit(OTHER, 42, asked_signal=15)

    assert failed(scene) == (OTHER, Reason.PREEMPTED)
    assert detail(scene) == "its launcher was told to end by SIGTERM; the gang had saved and left"


def test_one_that_does_not_leave_with_the_others_is_stopped_after_20_s() -> None:
    scene = training()

    scene.exit(OTHER, 42)
    scene.wait(19.9)
    before = failed(scene)
    scene.wait(0.2)

    assert (before, failed(scene)) == (None, (OTHER, Reason.PREEMPTED))


def test_the_preempted_worker_is_named_although_only_its_peer_has_ended() -> None:
    scene = training()
    handle_sigterm(scene)
    leave(scene)

    scene.exit(CHIEF, 1, error=UNAVAILABLE)

    assert failed(scene) == (OTHER, Reason.PREEMPTED)


def test_status_0_after_a_notice_is_the_end_of_the_work_where_another_one_ended_so_without_a_notice() -> None:
    scene = training()
    handle_sigterm(scene)
    leave(scene)

    scene.exit(OTHER, 0, asked_signal=15)
    before = (failed(scene), ended(scene))
    scene.exit(CHIEF, 0)

    assert (before, failed(scene), ended(scene)) == ((None, None), None, (Reason.FINISHED, 0))


def test_status_0_after_a_notice_to_all_is_a_preemption_and_the_run_goes_on() -> None:
    """Many scripts save and exit with 0 when they are told to end: that says nothing of their work."""
    scene = training()
    handle_sigterm(scene)
    for worker in scene.members:
        leave(scene, worker)

    for worker in scene.members:
        scene.exit(worker, 0, asked_signal=15)
    scene.wait(1.0)

    assert (failed(scene), ended(scene), scene.number) == ((CHIEF, Reason.PREEMPTED), None, 2)


# --------------------------------------------------------------------------------------------------------- a run's end


def test_a_wish_to_end_that_leaves_time_is_announced_and_met_once_the_script_has_left() -> None:
    scene = training()
    handle_sigterm(scene)

    scene.fact(StopAsked("ann", "SIGTERM", 22.0))
    announced = {(d.action, d.end_announced) for d in (desired_state(scene.run, w) for w in scene.members)}
    before = failed(scene)
    for worker in scene.members:
        scene.exit(worker, 42, asked_signal=15)
    scene.wait(5.0)

    assert (announced, before) == ({(TrainerAction.RUN, True)}, None)
    assert (failed(scene), ended(scene)) == ((None, Reason.INTERRUPTED), (Reason.INTERRUPTED, 1))


def test_a_wish_to_end_that_leaves_time_is_met_at_once_where_there_is_nothing_to_win() -> None:
    scene = training()

    scene.fact(StopAsked("ann", "SIGTERM", 22.0))

    assert failed(scene) == (None, Reason.INTERRUPTED)


def test_a_wish_to_end_is_met_when_its_time_is_over() -> None:
    scene = training()
    handle_sigterm(scene)

    scene.fact(StopAsked("ann", "SIGTERM", 22.0))
    scene.wait(21.9)
    before = failed(scene)
    scene.wait(0.2)

    assert (before, failed(scene)) == (None, (None, Reason.INTERRUPTED))


# --------------------------------------------------------------------------------------------------------- late starts


def test_a_gang_without_a_first_step_is_stopped_and_each_late_worker_is_told_with_where_it_stands() -> None:
    scene = Scene(3)
    scene.train_afresh()
    for worker in (CHIEF, OTHER):
        scene.fact(StrategyMade(worker, 1, "MultiWorkerMirroredStrategy", 3))
    scene.first_step(CHIEF)

    scene.wait(599.0)
    before = failed(scene)
    scene.wait(1.1)

    where = "worker/1 (past the gate, in its first call or before it: tracing takes long), worker/2 (no strategy yet)"
    assert (before, failed(scene)) == (None, (None, Reason.START_TIMEOUT))
    assert f"no first step within 600 s of the plan: {where}." in detail(scene)


def test_who_is_awaited_is_told_meanwhile() -> None:
    scene = Scene()
    scene.train_afresh()

    assert scene.step.waiting == "for the first step of worker/0 (no strategy yet), worker/1 (no strategy yet)"


def test_a_gang_that_needs_longer_gets_twice_the_time_after_each_time_it_missed() -> None:
    scene = Scene(policy=Policy(first_step_s=10.0))
    scene.train_afresh()

    limits = []
    for _ in range(3):
        began_s = scene.now_s
        while scene.run.attempt is not None and scene.run.attempt.failure is None:
            scene.wait(1.0)
        limits.append(round(scene.now_s - began_s))
        scene.stop_rest()
        scene.wait(5.0)
        scene.start()
        scene.list_directory()

    assert limits == [10, 20, 40]


@pytest.mark.parametrize("policy", [Policy(first_step_s=0.0), Policy()])
def test_no_limit_and_a_script_that_shows_no_steps_are_left_alone(policy: Policy) -> None:
    """A loop without any tf.function of its own trains, and has no first step that anybody sees."""
    scene = Scene(policy=policy)
    scene.train_afresh()
    if policy.first_step_s:
        for worker in scene.members:
            scene.fact(StrategyMade(worker, 1, "MultiWorkerMirroredStrategy", 2))

    scene.wait(100_000.0)

    assert failed(scene) is None


def test_a_worker_that_has_saved_is_not_waited_for_to_make_its_first_step() -> None:
    scene = Scene()
    scene.train_afresh()
    scene.good_save(1)

    scene.wait(100_000.0)

    assert failed(scene) is None


def test_one_alone_needs_no_strategy() -> None:
    scene = Scene(1)
    scene.train_afresh()

    scene.wait(100_000.0)

    assert failed(scene) is None
