"""Hundreds of short runs with faults by chance: whatever happens, the invariants hold and the run comes to an end."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lastgood.reasons import Reason
from lastgood_controller.model import (
    PlanKind,
    Policy,
    SaveId,
    Standing,
)
from tests.breadth import IS_FULL
from tests.simulation.world import SERIES, Break, World

ENDS = {Reason.FINISHED, Reason.BUDGET_SPENT, Reason.NO_GOOD_CHECKPOINT, Reason.WORKER_LOST, Reason.START_TIMEOUT}


def run_with_faults(seed: int, workers: int) -> World:
    world = World(seed, workers, keep=1 + seed // 2 % 3)
    while not world.is_over and world.now_s < 1120.0:
        world.advance(world.random.uniform(0.2, 8.0))
        world.strike()
    world.advance(2000.0)
    world.oracle.check_end()
    return world


def test_a_run_without_faults_finishes_in_its_first_attempt() -> None:
    world = World(seed=1)

    world.advance(120.0)

    assert world.run.end is not None
    assert world.run.end.cause.reason is Reason.FINISHED
    assert [attempt.number for attempt in world.run.attempts] == [1]
    assert {str(c.verdict.standing.value) for c in world.run.checkpoints.values() if not c.removed} == {"Good"}


@pytest.mark.parametrize("block", range(500 if IS_FULL else 10))
def test_runs_with_faults_keep_every_invariant_and_end_with_a_reason(block: int) -> None:
    for seed in range(block * 12, block * 12 + 12):
        world = run_with_faults(seed, workers=2 + seed % 2)

        assert world.is_over, f"seed {seed}: still waiting {world.waiting or 'for a fact'}"
        assert world.run.end is not None
        assert world.run.end.cause.reason in ENDS, f"seed {seed}: {world.run.end}"


def a_run_with_a_failure(broken: int | None = None, how: Break = Break.NO_ROOM) -> World:
    """One of two workers is killed after a save was Good, and the newest one damaged. broken: the pass broken off."""
    world = World(seed=2, total_steps=30)
    if broken is not None:
        world.breaks[broken] = how
    advance_until(world, lambda: any(c.verdict.standing is Standing.GOOD for c in world.run.checkpoints.values()))
    victim = world.workers[world.members[1]]
    world.advance(1.5)
    world.flip_newest()
    world.end_trainer(victim, victim.trainer, signal=9)
    world.advance(200.0)
    world.oracle.check_end()
    return world


@pytest.mark.parametrize("how", Break)
def test_whichever_pass_of_the_controller_is_broken_off_the_run_finishes_as_it_does_undisturbed(how: Break) -> None:
    undisturbed = a_run_with_a_failure()
    assert undisturbed.passes > 40

    shift, stride = (0, 1) if IS_FULL else (tuple(Break).index(how), 2)
    for number in range(shift % stride, undisturbed.passes, stride):
        world = a_run_with_a_failure(number, how)

        assert world.run.end is not None, f"pass {number}: still waiting {world.waiting or 'for a fact'}"
        assert world.run.end.cause.reason is Reason.FINISHED, f"pass {number}: {world.run.end}"
        assert len(world.run.attempts) == 2, f"pass {number}"
        assert world.run.attempts[1].plan is not None
        assert world.run.attempts[1].plan.kind is PlanKind.RESTORE, f"pass {number}"


def test_a_gang_whose_workers_are_preempted_again_and_again_finishes_and_spends_no_budget() -> None:
    """Each time the next save is waited for, so each attempt goes on where the one before was stopped."""
    world = World(seed=5, workers=3, total_steps=60, policy=Policy(max_restarts=0))

    for number in range(6):
        advance_until(world, lambda: world.is_over or any(c.save.attempt == world.run.highest_attempt and
                      c.verdict.standing is Standing.GOOD for c in world.run.checkpoints.values()))  # fmt: skip
        world.preempt(world.workers[world.members[number % 3]], 28.0)
        advance_until(world, lambda number=number: world.is_over or world.run.highest_attempt > number + 1)
    world.advance(200.0)

    assert world.run.end is not None
    assert world.run.end.cause.reason is Reason.FINISHED
    reasons = {attempt.failure.cause.reason for attempt in world.run.attempts if attempt.failure is not None}
    assert reasons == {Reason.PREEMPTED}


def advance_until(world: World, holds: Callable[[], bool]) -> None:
    for _ in range(2000):
        if holds():
            return
        world.advance(0.02)
    raise AssertionError(f"it never came to that; waiting {world.waiting}")


def test_a_save_that_is_proven_only_after_its_branch_was_abandoned_is_never_planned() -> None:
    world = World(seed=3, workers=3, total_steps=100)
    late = SaveId(SERIES, 1, 3)
    slow = world.workers[world.members[2]]
    advance_until(world, lambda: SaveId(SERIES, 1, 2) in world.run.checkpoints and not slow.spools[1])
    world.delay_hooks(slow, 9.0)
    advance_until(world, lambda: late in world.run.checkpoints)
    world.advance(0.3)

    world.end_trainer(slow, slow.trainer, signal=9)
    advance_until(world, lambda: len(world.run.attempts) == 2 and world.run.attempts[1].plan is not None)
    advance_until(world, lambda: world.run.checkpoints[late].verdict.standing is Standing.GOOD)
    world.end_trainer(slow, slow.trainer, signal=9)
    advance_until(world, lambda: len(world.run.attempts) == 3 and world.run.attempts[2].plan is not None)

    plans = [attempt.plan.series[0].save for attempt in world.run.attempts[1:] if attempt.plan]
    assert plans == [SaveId(SERIES, 1, 2), SaveId(SERIES, 1, 2)]


def test_where_rotation_leaves_only_damaged_ones_the_last_good_one_is_restored_from_its_pin() -> None:
    # given a manager that keeps one checkpoint, and a save that is damaged before anybody has read it
    world = World(seed=5, total_steps=40, keep=1)
    first, second = (SaveId(SERIES, 1, ordinal) for ordinal in (1, 2))
    advance_until(world, lambda: first in world.run.checkpoints and is_good(world, first))
    for worker in world.workers.values():
        world.delay_hooks(worker, 2.0)
    chief = world.workers[world.members[0]]
    advance_until(world, lambda: chief.trainer is not None and chief.trainer.number == 2 and len(world.disk) == 1)
    advance_until(world, lambda: all(file.is_whole for file in world.disk.values()))
    world.flip_newest()

    # when a worker is killed
    world.end_trainer(chief, chief.trainer, signal=9)
    advance_until(world, lambda: len(world.run.attempts) == 2 and world.run.attempts[1].plan is not None)

    # then
    assert world.run.attempts[1].plan is not None
    assert [planned.save for planned in world.run.attempts[1].plan.series] == [first]
    assert world.run.checkpoints[second].verdict.standing is Standing.BAD
    world.advance(200.0)
    assert world.run.end is not None
    assert world.run.end.cause.reason is Reason.FINISHED


def is_good(world: World, save: SaveId) -> bool:
    return world.run.checkpoints[save].verdict.standing is Standing.GOOD
