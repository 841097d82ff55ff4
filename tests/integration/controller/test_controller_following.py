"""What launch asks of a real controller while it follows a run."""

import queue
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from controller_harness import DEADLINE_S, ControllerProcess, Worker

from lastgood.v1 import agent_service_pb2 as pb
from lastgood_controller.client import JobClient
from lastgood_controller.following import Entry, Following, JobNow


@pytest.fixture
def worker(controller: ControllerProcess, request: pytest.FixtureRequest) -> Iterator[Worker]:
    """One of a gang in attempt 1, of a run of its own."""
    run_id = request.node.name[:60]
    gang = [Worker(controller.address, run_id, index, job=f"local/d/p/{run_id}").hello() for index in (0, 1)]
    for each in gang:
        each.until(lambda state: state.action == pb.TRAINER_ACTION_RUN)
    yield gang[0]
    for each in gang:
        each.leave()


@contextmanager
def followed(controller: ControllerProcess, worker: Worker, refresh_s: float) -> Iterator[Following]:
    following = Following(controller.address, worker.sender.run_id, 0, lambda: None, refresh_s)
    yield following
    following.stop()


def arrivals(following: Following) -> Iterator[Entry | JobNow]:
    """What arrives, one by one; fails when nothing does."""
    deadline_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline_s:
        try:
            yield following.arrived.get(timeout=DEADLINE_S)
        except queue.Empty:
            break
    raise AssertionError("nothing arrives any more")


def test_the_job_is_fetched_as_often_as_it_is_shown_however_much_is_journalled(
    controller: ControllerProcess, worker: Worker
) -> None:
    # Given: a display that shows the job every hour
    with followed(controller, worker, refresh_s=3600.0) as following:
        arriving, jobs, told = arrivals(following), 0, list[str]()

        # When: one fact after the other, each once the one before has been told
        for number in range(10):
            worker.report(1, restore_left_alone=pb.RestoreLeftAlone(prefix=f"/elsewhere/{number}"))
            while len(told) <= number:
                match next(arriving):
                    case Entry(document) if document["kind"] == "RestoreLeftAlone":
                        told.append(document["event"]["prefix"])
                    case JobNow():
                        jobs += 1
                    case _:
                        pass

        # Then
        assert told == [f"/elsewhere/{number}" for number in range(10)]
        assert jobs <= 1


def test_the_job_is_fetched_again_and_again_while_nothing_is_journalled(
    controller: ControllerProcess, worker: Worker
) -> None:
    with followed(controller, worker, refresh_s=0.01) as following:
        # When
        jobs: list[JobNow] = []
        for arrived in arrivals(following):
            if isinstance(arrived, JobNow):
                jobs.append(arrived)
            if len(jobs) == 5:
                break

        # Then
        with JobClient(controller.address) as client:
            assert [job.document for job in jobs] == [client.get_job(worker.sender.run_id)] * 5
