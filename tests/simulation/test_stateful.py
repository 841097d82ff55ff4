"""The same world, driven by hypothesis: it looks for the shortest run that breaks an invariant."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.breadth import IS_FULL
from tests.simulation.world import Break, SimWorker, World

workers = st.integers(0, 2)


class Gang(RuleBasedStateMachine):
    """Rules are faults and the passing of time; the oracle asserts as events are applied."""

    world: World

    @initialize(seed=st.integers(0, 50), size=st.integers(1, 3), keep=st.integers(1, 3))
    def open(self, seed: int, size: int, keep: int) -> None:
        self.world = World(seed, size, keep=keep)
        self.world.advance(6.0)

    def _worker(self, index: int) -> SimWorker:
        return self.world.workers[self.world.members[index % len(self.world.members)]]

    @rule(duration_s=st.sampled_from([0.01, 0.2, 1.0, 5.0, 20.0]))
    def let_time_pass(self, duration_s: float) -> None:
        self.world.advance(duration_s)

    @rule(index=workers)
    def kill_a_trainer(self, index: int) -> None:
        worker = self._worker(index)
        self.world.end_trainer(worker, worker.trainer, signal=9)

    @rule(index=workers)
    def kill_a_launcher(self, index: int) -> None:
        self.world.kill_launcher(self._worker(index))

    @rule(index=workers, away_s=st.sampled_from([0.5, 10.0, 60.0]))
    def cut_an_agent_off(self, index: int, away_s: float) -> None:
        self.world.disconnect(self._worker(index), away_s)

    @rule(away_s=st.sampled_from([0.0, 1.0, 3600.0]))
    def restart_the_controller(self, away_s: float) -> None:
        self.world.restart_controller(away_s)

    @rule(how=st.sampled_from(Break))
    def break_the_next_pass_of_the_controller_off(self, how: Break) -> None:
        self.world.break_next(how)

    @rule(grace_s=st.sampled_from([0.0, 10.0]))
    def stop_the_run(self, grace_s: float) -> None:
        self.world.ask_to_stop(grace_s)

    @rule(index=workers, grace_s=st.sampled_from([0.5, 5.0, 28.0]))
    def tell_a_launcher_to_end(self, index: int, grace_s: float) -> None:
        self.world.preempt(self._worker(index), grace_s)

    @precondition(lambda self: self.world.run.end is not None)
    @rule()
    def open_the_run_again(self) -> None:
        self.world.open_again()

    @precondition(lambda self: self.world.disk)
    @rule()
    def flip_a_bit(self) -> None:
        self.world.flip_newest()

    @precondition(lambda self: self.world.disk)
    @rule()
    def lose_every_file(self) -> None:
        self.world.disk.clear()

    @rule(index=workers, delay_s=st.sampled_from([4.0, 30.0]))
    def delay_the_hooks(self, index: int, delay_s: float) -> None:
        self.world.delay_hooks(self._worker(index), delay_s)

    @rule(index=workers)
    def lose_a_machine(self, index: int) -> None:
        self.world.lose_machine(self._worker(index))

    @rule(index=workers)
    def let_weights_diverge(self, index: int) -> None:
        self.world.diverge(self._worker(index))

    @rule(index=workers)
    def restore_wrong(self, index: int) -> None:
        self._worker(index).restores_wrong = True

    @rule(index=workers)
    def lose_steering(self, index: int) -> None:
        self.world.lose_steering(self._worker(index))

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.advance(8000.0)
            assert self.world.is_over, f"still waiting {self.world.waiting or 'for a fact'}"
            self.world.oracle.check_end()


#: The same runs at each `make test`, so that what passes goes on passing; others at each `make test-full`.
Gang.TestCase.settings = settings(
    max_examples=1500 if IS_FULL else 60,
    stateful_step_count=40 if IS_FULL else 25,
    deadline=None,
    derandomize=not IS_FULL,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestGang = pytest.mark.timeout(3600 if IS_FULL else 300)(Gang.TestCase)
