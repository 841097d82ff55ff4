"""What every actuator promises: the newest level, once, and no fault for whoever is not there.

An actuator joins by a `Platform` that says what its workers have been told.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import pytest

from lastgood.reasons import Reason
from lastgood_controller.actuators.base import Actuator
from lastgood_controller.actuators.local import LocalActuator, Superseded, WorkerStream
from lastgood_controller.desired import Desired, TrainerAction, desired_state
from lastgood_controller.events import (
    AttemptFailed,
    AttemptOpened,
    Event,
    GateOpened,
    RunOpened,
    WorkerConnected,
)
from lastgood_controller.fold import (
    apply,
    opened,
)
from lastgood_controller.model import (
    Cause,
    Failure,
    Policy,
    Run,
    Session,
    Trainer,
    WorkerId,
)

W0, W1 = WorkerId("worker", 0), WorkerId("worker", 1)


def a_run(*events: Event, run_id: str = "r") -> Run:
    run = opened(RunOpened(run_id, "job", Policy()), 1.0)
    for worker in (W0, W1):
        run = apply(run, WorkerConnected(worker, (W0, W1), Session(1, 1, next_address="h:1"), Trainer(), 0), 1.0)
    for event in events:
        run = apply(run, event, 2.0)
    return run


OPENED = AttemptOpened(1, {W0: "h:1", W1: "h:2"}, steering=True)
FAILED = AttemptFailed(1, Failure(W0, Cause(Reason.WORKER_KILLED), 3.0))


class Platform(Protocol):
    """An actuator, and a way to see what its workers have been told since one last looked."""

    actuator: Actuator

    def join(self, run_id: str, worker: WorkerId) -> None: ...

    def leave(self, run_id: str, worker: WorkerId) -> None: ...

    async def told(self, run_id: str, worker: WorkerId) -> list[Desired]: ...


class LocalPlatform:
    """The local actuator with a reader at the end of each stream."""

    def __init__(self) -> None:
        self.actuator = LocalActuator()
        self._streams: dict[tuple[str, WorkerId], WorkerStream] = {}

    def join(self, run_id: str, worker: WorkerId) -> None:
        self._streams[run_id, worker] = self.actuator.open_stream(run_id, worker)

    def leave(self, run_id: str, worker: WorkerId) -> None:
        self.actuator.close_stream(self._streams.pop((run_id, worker)))

    async def told(self, run_id: str, worker: WorkerId) -> list[Desired]:
        return await everything_waiting(self._streams[run_id, worker])


async def everything_waiting(stream: WorkerStream) -> list[Desired]:
    """What the stream says until it has to wait; a stream is exhausted when it does not move in one turn."""
    found: list[Desired] = []
    states = stream.states()
    while True:
        step = asyncio.ensure_future(anext(states))
        for _ in range(5):
            await asyncio.sleep(0)
        if not step.done():
            step.cancel()
            await asyncio.gather(step, return_exceptions=True)
            return found
        found.append(step.result()[0])


PLATFORMS: list[Callable[[], Platform]] = [LocalPlatform]


@pytest.fixture(params=PLATFORMS, ids=lambda each: each.__name__)
def make(request: pytest.FixtureRequest) -> Callable[[], Platform]:
    made: Callable[[], Platform] = request.param
    return made


def test_every_worker_is_told_its_own_desired_state(make: Callable[[], Platform]) -> None:
    async def scenario() -> None:
        # Given
        platform, run = make(), a_run(OPENED)
        platform.join("r", W0)
        platform.join("r", W1)

        # When
        platform.actuator.bring_about(run)

        # Then
        assert await platform.told("r", W0) == [desired_state(run, W0)]
        assert await platform.told("r", W1) == [desired_state(run, W1)]

    asyncio.run(scenario())


def test_the_same_run_again_does_nothing(make: Callable[[], Platform]) -> None:
    async def scenario() -> None:
        # Given
        platform, run = make(), a_run(OPENED)
        platform.join("r", W0)
        platform.actuator.bring_about(run)
        await platform.told("r", W0)

        # When
        platform.actuator.bring_about(run)
        platform.actuator.bring_about(replace(run, restarts=run.restarts))

        # Then
        assert await platform.told("r", W0) == []

    asyncio.run(scenario())


def test_only_the_newest_of_several_changes_counts(make: Callable[[], Platform]) -> None:
    async def scenario() -> None:
        # Given
        platform = make()
        platform.join("r", W0)

        # When
        for events in ([], [OPENED], [OPENED, GateOpened(1)], [OPENED, GateOpened(1), FAILED]):
            platform.actuator.bring_about(a_run(*events))

        # Then
        told = await platform.told("r", W0)
        assert [each.action for each in told] == [TrainerAction.STOP]

    asyncio.run(scenario())


def test_a_change_that_is_taken_back_before_anybody_looked_is_not_told(make: Callable[[], Platform]) -> None:
    async def scenario() -> None:
        # Given
        platform = make()
        platform.join("r", W0)
        platform.actuator.bring_about(a_run())
        await platform.told("r", W0)

        # When
        platform.actuator.bring_about(a_run(OPENED))
        platform.actuator.bring_about(a_run())

        # Then
        assert await platform.told("r", W0) == []

    asyncio.run(scenario())


def test_a_worker_that_is_not_there_is_told_when_it_comes(make: Callable[[], Platform]) -> None:
    async def scenario() -> None:
        # Given
        platform, run = make(), a_run(OPENED)
        platform.actuator.bring_about(run)

        # When
        platform.join("r", W1)
        platform.actuator.bring_about(run)

        # Then
        assert await platform.told("r", W1) == [desired_state(run, W1)]

    asyncio.run(scenario())


def test_a_worker_that_left_and_came_back_is_told_again(make: Callable[[], Platform]) -> None:
    async def scenario() -> None:
        # Given
        platform, run = make(), a_run(OPENED)
        platform.join("r", W0)
        platform.actuator.bring_about(run)
        await platform.told("r", W0)

        # When
        platform.leave("r", W0)
        platform.actuator.bring_about(run)
        platform.join("r", W0)
        platform.actuator.bring_about(run)

        # Then
        assert await platform.told("r", W0) == [desired_state(run, W0)]

    asyncio.run(scenario())


def test_runs_do_not_hear_of_each_other(make: Callable[[], Platform]) -> None:
    async def scenario() -> None:
        # Given
        platform = make()
        platform.join("r", W0)
        platform.join("other", W0)

        # When
        platform.actuator.bring_about(a_run(OPENED))

        # Then
        assert await platform.told("other", W0) == []

    asyncio.run(scenario())


def test_a_newer_stream_of_a_worker_ends_the_older_one() -> None:
    async def scenario() -> None:
        # Given
        actuator = LocalActuator()
        older = actuator.open_stream("r", W0)

        # When
        newer = actuator.open_stream("r", W0)
        actuator.bring_about(a_run(OPENED))
        actuator.close_stream(older)

        # Then
        with pytest.raises(Superseded):
            await everything_waiting(older)
        assert await everything_waiting(newer) == [desired_state(a_run(OPENED), W0)]
        assert (actuator.is_current(older), actuator.is_current(newer)) == (False, True)

    asyncio.run(scenario())


def test_an_ended_stream_says_what_is_waiting_and_stops() -> None:
    async def scenario() -> None:
        # Given
        actuator = LocalActuator()
        stream = actuator.open_stream("r", W0)
        actuator.bring_about(a_run(OPENED))

        # When
        actuator.end_all()

        # Then
        assert [desired.action async for desired, _ in stream.states()] == [TrainerAction.RUN]

    asyncio.run(scenario())
