"""The whole controller on a real journal: a gang gathers, saves, loses a worker, restores, and is stopped."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from controller_harness import DEADLINE_S, ControllerProcess, Worker, a_manifest, next_reader

from lastgood.v1 import agent_service_pb2 as pb
from lastgood.v1 import common_pb2
from lastgood_controller.client import ClientError, JobClient
from lastgood_controller.reading import ReadingError, read_job, read_jobs, read_journal

RUN = "run-1"

Start = Callable[..., ControllerProcess]


def train(workers: list[Worker], attempt: int) -> None:
    """Both are told to run the attempt, and do."""
    for worker in workers:
        state = worker.until(lambda each: each.action == pb.TRAINER_ACTION_RUN and each.attempt == attempt)
        assert [member.task_id for member in state.members] == [0, 1]
        assert len(state.addresses) == 2
        worker.starts(attempt)


def test_a_gang_gathers_saves_fails_restores_and_is_stopped(state_dir: Path, start: Start) -> None:
    controller = start(state_dir)
    workers = [Worker(controller.address, RUN, index).hello() for index in (0, 1)]
    client = JobClient(controller.address)

    # When the directory is empty for both, Then they start fresh and the gate is open
    train(workers, 1)
    for worker in workers:
        worker.until(lambda each: each.listing_wanted)
        worker.lists(1)
    for worker in workers:
        state = worker.until(lambda each: each.gate_open)
        assert state.plan.kind == common_pb2.PLAN_KIND_FRESH

    # When both save the same, and one reads it again, Then it is Good
    for worker in workers:
        worker.saves(1, ordinal=1, step=10)
    reader = next_reader(workers)
    watched = follow_until(client, "VerdictReached", "Good")
    assert watched["text"].startswith("ckpt-1 (step 10) Good: 2 workers agree, read by ")
    assert reader in watched["text"]

    # When worker 1 is killed, Then worker 0 is stopped
    workers[1].exits(1, signal=9, reached_step=13)
    for worker in workers:
        worker.until(lambda each: each.action == pb.TRAINER_ACTION_STOP and each.attempt == 1)
    workers[0].exits(1, signal=9, was_stopped=True, reached_step=13)

    # Then the next attempt restores what was saved, after its bytes were read once more
    train(workers, 2)
    next_reader(workers)
    for worker in workers:
        state = worker.until(lambda each: each.HasField("plan") and each.attempt == 2)
        assert state.plan.kind == common_pb2.PLAN_KIND_RESTORE
        assert [(s.prefix, s.step, s.manifest_digest) for s in state.plan.series] == [
            ("/ckpt/ckpt-1", 10, a_manifest(10).digest)
        ]
        assert not state.gate_open
        worker.restored(2, state.plan)
    for worker in workers:
        worker.until(lambda each: each.gate_open)
        worker.report(2, first_step=pb.FirstStep(step=11))

    # When somebody asks it to stop, Then it ends, and whoever watches is let go
    client.stop_job("digits", "ada", "enough")
    for worker in workers:
        worker.until(lambda each: each.action == pb.TRAINER_ACTION_STOP and each.attempt == 2)
        worker.exits(2, signal=15, was_stopped=True, reached_step=11)
    for worker in workers:
        state = worker.until(lambda each: each.HasField("end"))
        assert (state.end.reason.reason, state.end.exit_status) == ("Interrupted", 1)
    entries = list(client.watch("digits"))
    job = client.get_job("digits")
    assert [job["phase"], job["restarts"], job["end"]["reason"]] == ["Ended", 1, "Interrupted"]
    assert [(each["verdict"], each["step"]) for each in job["checkpoints"]] == [("Good", 10)]
    assert [(each["attempt"], each["reason"], each["lost_steps"]) for each in job["incidents"]] == [
        (1, "WorkerKilled", 3)
    ]
    assert "worker/1 killed by SIGKILL at step 13" in [entry["text"] for entry in entries]
    assert "plan: attempt 2 restores ckpt-1 (step 10)" in "\n".join(entry["text"] for entry in entries)

    # When the controller is gone, Then its directory says the same
    for worker in workers:
        worker.leave()
    summaries = client.list_jobs()
    client.close()
    assert controller.stop() == 0
    stored = read_job(state_dir, "digits")
    for changing in ("waiting", "workers"):
        stored.pop(changing), job.pop(changing)
    assert stored == job
    assert [each["run_id"] for each in read_jobs(state_dir)] == [each["run_id"] for each in summaries] == [RUN]
    assert read_journal(state_dir)[: len(entries)] == entries

    # When it serves again and the run is opened, Then it goes on with a fresh budget
    again = start(state_dir)
    with JobClient(again.address) as reopened:
        assert reopened.get_job(RUN)["phase"] == "Ended"
        reopened.open_job(RUN, "ada")
        reopened.open_job(RUN, "ada")
        kinds = [entry["kind"] for entry in reopened.watch(RUN, follow=False)]
        assert kinds.count("RunOpened") == 2
        assert reopened.get_job(RUN)["end"] is None
    assert again.stop() == 0


def test_a_run_that_was_interrupted_goes_on_when_its_workers_are_started_anew(state_dir: Path, start: Start) -> None:
    # Given a run that somebody stopped, and a launcher that is told so
    controller = start(state_dir)
    with JobClient(controller.address) as client:
        workers = [Worker(controller.address, RUN, index).hello(may_reopen=True) for index in (0, 1)]
        train(workers, 1)
        client.stop_job("digits", "ada", "maintenance")
        for worker in workers:
            worker.until(lambda each: each.action == pb.TRAINER_ACTION_STOP)
            worker.exits(1, signal=15, was_stopped=True)
        for worker in workers:
            worker.until(lambda each: each.HasField("end"))

        # When the same launchers' agents come again, Then it stays ended
        workers += [Worker(controller.address, RUN, index, agent=2).hello(may_reopen=True) for index in (0, 1)]
        for worker in workers[2:]:
            assert worker.until(lambda each: each.HasField("end")).end.reason.reason == "Interrupted"

        # When they are gone and both are started anew, Then the next attempt is opened
        for worker in workers:
            worker.leave()
        wait_until_all_have_left(client)
        anew = [Worker(controller.address, RUN, index, launcher=2).hello(may_reopen=True) for index in (0, 1)]
        train(anew, 2)
        opened = [entry["text"] for entry in client.watch(RUN, follow=False) if entry["kind"] == "RunOpened"]
    for worker in anew:
        worker.leave()

    assert len(opened) == 2
    assert opened[1].startswith("run of local/d/p/digits opened again by worker/0: ")


def wait_until_all_have_left(client: JobClient) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while any(worker["connected"] for worker in client.get_job(RUN)["workers"].values()):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def follow_until(client: JobClient, kind: str, word: str) -> dict[str, object]:
    for entry in client.watch(RUN):
        if entry["kind"] == kind and word in str(entry["text"]):
            return entry
    raise AssertionError(f"the run ended without a {kind} that says {word}")


def test_names_that_nobody_knows_are_answered_with_a_sentence(controller: ControllerProcess, tmp_path: Path) -> None:
    with JobClient(controller.address) as client:
        for ask in (client.get_job, lambda name: list(client.watch(name)), lambda name: client.open_job(name, "me")):
            with pytest.raises(ClientError) as refused:
                ask("nothing")
            assert refused.value.exit_status == 2
            assert refused.value.message == "no job and no run is called 'nothing' here; `lastgood jobs` lists them"
    with pytest.raises(ReadingError, match="found none: is this the state directory"):
        read_jobs(tmp_path)


def test_a_controller_that_is_not_there_cannot_be_reached() -> None:
    with JobClient("127.0.0.1:1", timeout_s=5) as client, pytest.raises(ClientError) as failed:
        client.list_jobs()
    assert failed.value.exit_status == 3
    assert failed.value.message.startswith("no controller can be reached at 127.0.0.1:1")
