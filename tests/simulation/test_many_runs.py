"""Hundreds of short runs with faults by chance: whatever happens, the invariants hold and the run comes to an end."""

from __future__ import annotations

import pytest

from lastgood.reasons import Reason
from tests.simulation.world import World

ENDS = {Reason.FINISHED, Reason.BUDGET_SPENT, Reason.NO_GOOD_CHECKPOINT, Reason.WORKER_LOST, Reason.START_TIMEOUT}


def run_with_faults(seed: int, workers: int) -> World:
    world = World(seed, workers)
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


@pytest.mark.parametrize("block", range(10))
def test_runs_with_faults_keep_every_invariant_and_end_with_a_reason(block: int) -> None:
    for seed in range(block * 12, block * 12 + 12):
        world = run_with_faults(seed, workers=2 + seed % 2)

        assert world.is_over, f"seed {seed}: still waiting {world.waiting or 'for a fact'}"
        assert world.run.end is not None
        assert world.run.end.cause.reason in ENDS, f"seed {seed}: {world.run.end}"
