"""What the controller does with senders that are old, wrong or huge, and when it is killed itself."""

import json
import random
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from controller_harness import (
    DEADLINE_S,
    ControllerProcess,
    Worker,
    a_manifest,
    controller_command,
    environment,
)
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from lastgood.v1 import agent_service_pb2 as pb
from lastgood.v1 import job_service_pb2 as job_pb
from lastgood.v1 import job_service_pb2_grpc
from lastgood_controller.client import JobClient
from lastgood_controller.reading import read_journal

Start = Callable[..., ControllerProcess]


def a_gang(address: str, run_id: str, **kept: int) -> list[Worker]:
    """Two workers that run attempt 1."""
    workers = [Worker(address, run_id, index, job=f"local/d/p/{run_id}", **kept).hello() for index in (0, 1)]
    for worker in workers:
        worker.until(lambda each: each.action == pb.TRAINER_ACTION_RUN)
    return workers


@pytest.fixture
def gang(controller: ControllerProcess, request: pytest.FixtureRequest) -> Iterator[list[Worker]]:
    """A gang of a run of its own."""
    workers = a_gang(controller.address, request.node.name[:60])
    yield workers
    for worker in workers:
        worker.leave()


def journal(controller: ControllerProcess, worker: Worker) -> list[dict[str, object]]:
    with JobClient(controller.address) as client:
        return list(client.watch(worker.sender.run_id, follow=False))


def left_alone(number: int, report_id: str = "", attempt: int = 1) -> pb.Report:
    """A fact that leaves a trace in its order and changes nothing."""
    fact = pb.RestoreLeftAlone(prefix=f"/elsewhere/{number}")
    return pb.Report(report_id=report_id or f"id-{number}", attempt=attempt, restore_left_alone=fact)


# -------------------------------------------------------------------------------------------------------------- senders


def test_a_report_that_comes_twice_is_acknowledged_twice_and_recorded_once(
    controller: ControllerProcess, gang: list[Worker]
) -> None:
    # When
    first, second = gang[0].send(left_alone(1), left_alone(2)), gang[0].send(left_alone(2), left_alone(1))

    # Then
    assert (list(first.acknowledged), list(second.acknowledged)) == (["id-1", "id-2"], ["id-2", "id-1"])
    assert first.heartbeat_interval == Duration(seconds=5)
    kinds = [entry["kind"] for entry in journal(controller, gang[0])]
    assert kinds.count("RestoreLeftAlone") == 2


def test_a_heartbeat_tells_the_step_and_leaves_no_entry(controller: ControllerProcess, gang: list[Worker]) -> None:
    # Given
    before = journal(controller, gang[0])

    # When
    request = pb.ReportRequest(sender=gang[0].sender, progress=pb.Progress(step=123, completed_calls=124))
    gang[0].stub.Report(request, timeout=DEADLINE_S)

    # Then
    with JobClient(controller.address) as client:
        assert client.get_job(gang[0].sender.run_id)["step"] == 123
    assert journal(controller, gang[0]) == before


def test_a_replaced_agent_is_told_to_end_and_its_reports_are_refused(
    controller: ControllerProcess, gang: list[Worker]
) -> None:
    # When
    newer = Worker(controller.address, gang[0].sender.run_id, 0, agent=2, job=gang[0].job).hello()
    newer.until(lambda each: each.action == pb.TRAINER_ACTION_RUN)

    # Then
    ended = gang[0].until_ended()
    assert isinstance(ended, grpc.RpcError)
    assert ended.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert ended.details() == "a newer session of this worker has taken over: this one should end"
    with pytest.raises(grpc.RpcError) as refused:
        gang[0].send(left_alone(1))
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "this process has been replaced and should end" in refused.value.details()
    assert list(newer.send(left_alone(2)).acknowledged) == ["id-2"]

    # When the old one says hello again, Then it stays out, and the newer one is not disturbed
    old = Worker(controller.address, gang[0].sender.run_id, 0, agent=1, job=gang[0].job).hello()
    again = old.until_ended()
    assert isinstance(again, grpc.RpcError)
    assert again.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert newer.end is None
    texts = [entry["text"] for entry in journal(controller, newer)]
    assert "worker/0 has a new agent on here: no trainer yet" in texts
    assert not any("is away" in str(text) for text in texts)
    for worker in (newer, old):
        worker.leave()


def test_whoever_has_not_said_hello_is_asked_to(controller: ControllerProcess) -> None:
    stranger = Worker(controller.address, "unheard-of", 0)
    with pytest.raises(grpc.RpcError) as refused:
        stranger.send(left_alone(1))
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert refused.value.details() == "run 'unheard-of' is not known here: open Subscribe first"
    stranger.leave()


def test_one_bad_report_is_refused_and_the_others_are_kept(controller: ControllerProcess, gang: list[Worker]) -> None:
    # When
    with pytest.raises(grpc.RpcError) as refused:
        gang[0].send(left_alone(1), left_alone(2, attempt=9), pb.Report(report_id="id-3"), left_alone(4))

    # Then
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "attempt 9 of run" in refused.value.details()
    texts = [entry["text"] for entry in journal(controller, gang[0])]
    assert [text for text in texts if "left alone" in str(text)] == [
        "worker/0 restored /elsewhere/1 on its own account: left alone",
        "worker/0 restored /elsewhere/4 on its own account: left alone",
    ]
    assert list(gang[0].send(left_alone(1)).acknowledged) == ["id-1"]


def test_a_text_that_is_too_long_is_refused_with_its_length(gang: list[Worker]) -> None:
    report = pb.Report(report_id="id", attempt=1, restore_left_alone=pb.RestoreLeftAlone(prefix="p" * 20_000))
    with pytest.raises(grpc.RpcError) as refused:
        gang[0].send(report)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.details() == "expected at most 16384 characters in prefix, found 20000"


def test_a_message_that_is_too_big_is_refused_and_the_stream_lives(gang: list[Worker]) -> None:
    huge = pb.RestoreLeftAlone(prefix="p" * (65 * 1024 * 1024))
    with pytest.raises(grpc.RpcError) as refused:
        gang[0].send(pb.Report(report_id="id", attempt=1, restore_left_alone=huge))
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert list(gang[0].send(left_alone(1)).acknowledged) == ["id-1"]


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff\xff", b"GET / HTTP/1.1\r\n\r\n", bytes(1_000), b""])
def test_garbage_harms_nobody(controller: ControllerProcess, gang: list[Worker], garbage: bytes) -> None:
    # When: as a message
    with grpc.insecure_channel(controller.address) as channel:
        for method in ("Report", "UploadManifests"):
            call = channel.unary_unary(f"/lastgood.v1.AgentService/{method}")
            with pytest.raises(grpc.RpcError):
                call(garbage, timeout=DEADLINE_S)

    # When: as bytes on the port
    host, _, port = controller.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=DEADLINE_S) as connection:
        connection.sendall(garbage or b"\x00")

    # Then
    assert list(gang[0].send(left_alone(1)).acknowledged) == ["id-1"]


def test_a_worker_that_describes_another_gang_is_refused(controller: ControllerProcess, gang: list[Worker]) -> None:
    other = Worker(controller.address, gang[0].sender.run_id, 1, agent=2, job="another").hello()
    ended = other.until_ended()
    assert isinstance(ended, grpc.RpcError)
    assert ended.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "and worker/1 says it is another" in ended.details()
    other.leave()


def test_a_manifest_is_kept_when_it_is_wanted_and_what_its_digest_says(gang: list[Worker]) -> None:
    # Given: a save whose manifest nobody has
    save = pb.SaveReported(prefix="/ckpt/ckpt-1", manifest_digest=a_manifest(7).digest, step=7, durable=True)
    save.save.series.signature, save.save.attempt, save.save.ordinal = "s", 1, 1
    response = gang[0].send(pb.Report(report_id="save", attempt=1, save_reported=save))
    assert list(response.wanted_manifests) == [a_manifest(7).digest]

    # When, Then: the heartbeat asks again until it is there
    assert list(gang[0].send().wanted_manifests) == [a_manifest(7).digest]
    assert gang[0].upload(a_manifest(8)) == []
    assert gang[0].upload(a_manifest(7)) == [a_manifest(7).digest]
    assert gang[0].upload(a_manifest(7)) == [a_manifest(7).digest]
    assert list(gang[0].send().wanted_manifests) == []


# -------------------------------------------------------------------------------------------------------- being killed


class Reporter(threading.Thread):
    """Sends numbered facts, one after the other, each again until it is acknowledged, as a spool does."""

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self._address = address
        self._chance = random.Random(7)
        self._changed = threading.Condition()
        self._is_done = False
        self.acknowledged = 0

    def run(self) -> None:
        number, session = 0, 1
        while not self._is_done:
            session += 1
            worker = Worker(self._address, "killed", 0, agent=session, job="local/d/p/killed").hello()
            try:
                worker.until(lambda each: each.action == pb.TRAINER_ACTION_RUN)
                while not self._is_done:
                    batch = [left_alone(number + offset) for offset in range(self._chance.randint(1, 4))]
                    acknowledged = worker.send(*batch).acknowledged
                    assert list(acknowledged) == [report.report_id for report in batch]
                    number += len(batch)
                    with self._changed:
                        self.acknowledged = number
                        self._changed.notify_all()
            except (grpc.RpcError, AssertionError):
                threading.Event().wait(0.02)
            finally:
                worker.leave()

    def until_acknowledged(self, more: int) -> None:
        """Waits for so many more acknowledgements."""
        with self._changed:
            aim = self.acknowledged + more
            assert self._changed.wait_for(lambda: self.acknowledged >= aim, DEADLINE_S)

    def finish(self) -> None:
        self._is_done = True
        self.join(DEADLINE_S)


def test_nothing_that_was_acknowledged_is_lost_when_the_controller_is_killed(state_dir: Path, start: Start) -> None:
    # Given: a gang of which one worker reports without pause
    controller = start(state_dir, "--lost-s", "600", "--start-s", "600", "--listing-s", "600")
    first = a_gang(controller.address, "killed")
    reporter = Reporter(controller.address)
    reporter.start()

    # When: the controller is killed a dozen times between two reports, wherever it is
    chance = random.Random(3)
    for _ in range(12):
        reporter.until_acknowledged(chance.randint(1, 20))
        controller.kill()
        controller = start(state_dir, "--listen", controller.address, "--metrics-listen", controller.metrics_address)
    reporter.until_acknowledged(5)
    reporter.finish()
    for worker in first:
        worker.leave()

    # Then: every fact is there once, in its order
    with JobClient(controller.address) as client:
        job = client.get_job("killed")
    left = job["attempts"][0]["left_alone"]
    assert len(left) >= reporter.acknowledged >= 12
    assert left == [f"/elsewhere/{number}" for number in range(len(left))]
    assert len(job["attempts"]) == 1
    assert controller.stop() == 0
    assert sum(entry["kind"] == "RestoreLeftAlone" for entry in read_journal(state_dir)) == len(left)


# --------------------------------------------------------------------------------------------------- starting, stopping


def refused_start(state_dir: Path, *flags: str) -> tuple[int, str]:
    """The exit status, and the one line that is said."""
    ended = subprocess.run(
        controller_command(state_dir, *flags), capture_output=True, text=True, timeout=DEADLINE_S, env=environment()
    )
    assert ended.stdout == ""
    (line,) = ended.stderr.strip().splitlines()
    return ended.returncode, line.removeprefix("lastgood controller: ")


def test_misuse_is_answered_with_one_sentence_and_status_2(controller: ControllerProcess, tmp_path: Path) -> None:
    taken = controller.address
    (tmp_path / "file").write_text("")
    assert refused_start(controller.state_dir) == (
        2,
        (
            f"the state directory {controller.state_dir} belongs to a live controller (pid {controller.pid}): "
            "use that one, stop it, or give another directory by --state-dir"
        ),
    )
    assert refused_start(tmp_path / "new", "--listen", taken) == (
        2,
        f"cannot listen on {taken} (Address already in use): give another address by --listen, port 0 takes a free one",
    )
    assert not (tmp_path / "new").exists()
    assert refused_start(tmp_path / "file" / "state") == (
        2,
        (
            f"the state directory {tmp_path}/file/state cannot be written (Not a directory): "
            "give one that can, by --state-dir"
        ),
    )
    assert refused_start(tmp_path / "new", "--listen", "here") == (
        2,
        "expected --listen as HOST:PORT, such as 127.0.0.1:0, found 'here'",
    )
    assert refused_start(tmp_path / "new", "--gate-s", "-1") == (
        2,
        "expected 0 or more, and a number that ends, for --gate-s",
    )


def test_a_journal_that_cannot_be_read_is_status_3(state_dir: Path) -> None:
    state_dir.mkdir()
    (state_dir / "controller.db").write_bytes(b"something else" * 1_000)
    status, line = refused_start(state_dir)
    assert (status, line) == (
        3,
        (
            f"could not open the journal at {state_dir}/controller.db: file is not a database; "
            "move it away with its -wal, and the run begins with the checkpoints that the script finds"
        ),
    )


def test_it_says_where_it_serves_and_stops_in_order_while_streams_are_open(state_dir: Path, start: Start) -> None:
    # Given
    controller = start(state_dir, "--max-restarts", "1")
    assert controller.first_line == (
        f"lastgood controller: serving on {controller.address}, "
        f"metrics on http://{controller.metrics_address}/metrics, state in {state_dir}\n"
    )
    assert (controller.told["pid"], controller.told["started_s"] > 1.7e9) == (controller.pid, True)
    workers = a_gang(controller.address, "open")
    watching = grpc.insecure_channel(controller.address)
    watch = job_service_pb2_grpc.JobServiceStub(watching).WatchJob(job_pb.WatchJobRequest(name="open"))
    assert json.loads(next(watch).entry_json)["event"]["policy"]["max_restarts"] == 1

    # When
    status = controller.stop()

    # Then
    assert status == 0
    assert [worker.until_ended() for worker in workers] == ["the controller ended the stream"] * 2
    for _ in watch:
        pass
    watching.close()
    for worker in workers:
        worker.leave()


def test_the_health_service_says_that_it_serves(controller: ControllerProcess) -> None:
    with grpc.insecure_channel(controller.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", "lastgood.v1.AgentService", "lastgood.v1.JobService"):
            response = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=DEADLINE_S)
            assert response.status == health_pb2.HealthCheckResponse.SERVING


def test_metrics_are_scraped_over_http(controller: ControllerProcess, gang: list[Worker]) -> None:
    # Given
    failed = pb.HookFailed(hook="save", error="boom", count=3)
    gang[0].send(pb.Report(report_id="h", attempt=1, hook_failed=failed))

    # When
    with urllib.request.urlopen(f"http://{controller.metrics_address}/metrics", timeout=DEADLINE_S) as response:
        text = response.read().decode()

    # Then
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["lastgood_hook_failures_total", (("hook", "save"),)] == 3
    assert samples["lastgood_saves_total", (("verdict", "Corrupt"),)] == 0
    assert samples["lastgood_restores_total", (("outcome", "Failed"), ("reason", "RestoredWrong"))] == 0
    assert samples["lastgood_internal_errors_total", (("where", "judge"),)] == 0
    assert 0 <= samples["lastgood_seconds_since_last_good", (("job", gang[0].job),)] < 60
