"""A real controller in a process of its own, and workers that talk to it over real gRPC."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc

from lastgood.manifest import Manifest, ManifestEntry
from lastgood.v1 import agent_service_pb2 as pb
from lastgood.v1 import agent_service_pb2_grpc, common_pb2
from lastgood_controller.wire import manifest_to_proto

#: The longest that any single wait of these tests may take.
DEADLINE_S = 30.0

_MAIN = (
    "import sys; from argparse import ArgumentParser; from lastgood_controller.controller_command import CONTROLLER;"
    "p = ArgumentParser(); CONTROLLER.configure(p); sys.exit(CONTROLLER.run(p.parse_args()))"
)


def controller_command(state_dir: Path, *flags: str) -> list[str]:
    return [sys.executable, "-c", _MAIN, "--state-dir", str(state_dir), *flags]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


class ControllerProcess:
    """`lastgood controller`, serving."""

    def __init__(self, state_dir: Path, *flags: str) -> None:
        self.state_dir = state_dir
        self._process = subprocess.Popen(
            controller_command(state_dir, *flags), stdout=subprocess.PIPE, text=True, env=environment()
        )
        assert self._process.stdout is not None
        self.first_line = self._process.stdout.readline()
        assert self.first_line, f"the controller ended with {self._process.wait(DEADLINE_S)}"
        self.told = json.loads((state_dir / "controller.json").read_text())
        self.address: str = self.told["address"]
        self.metrics_address: str = self.told["metrics_address"]
        self.pid = self._process.pid

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Asks it to end; returns its exit status."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        if self._process.poll() is None:
            self._process.send_signal(number)
        status = self._process.wait(DEADLINE_S)
        if self._process.stdout is not None:
            self._process.stdout.close()
        return status


def a_worker(index: int) -> common_pb2.Worker:
    return common_pb2.Worker(task_type="worker", task_id=index)


SERIES = common_pb2.Series(signature="9f3c0011", ordinal=0)


def a_manifest(value: int) -> Manifest:
    entry = ManifestEntry(b"layer/.ATTRIBUTES/VARIABLE_VALUE", "float32", (2, 3), crc32c=value, size_bytes=24)
    return Manifest((entry,), (24,))


class Worker:
    """One worker's agent and launcher, as far as the controller can see them. Nothing moves unless it is told to."""

    def __init__(
        self, address: str, run_id: str, index: int, agent: int = 1, launcher: int = 1, job: str = "local/d/p/digits"
    ) -> None:
        self._channel = grpc.insecure_channel(address)
        self.stub = agent_service_pb2_grpc.AgentServiceStub(self._channel)
        self.name = f"worker/{index}"
        self.index = index
        self.job = job
        self.sender = pb.Sender(run_id=run_id, worker=a_worker(index), agent_session=agent, launcher_session=launcher)
        self.state = pb.DesiredState()
        self.end: grpc.RpcError | str | None = None
        self._changed = threading.Condition()
        self.wanted: list[str] = []
        self._numbers = iter(range(1, 1_000_000))
        self._stream: Any = None

    def hello(self, **fields: Any) -> Worker:
        """Opens the stream; the newest that it said is `state`."""
        request = pb.SubscribeRequest(
            sender=self.sender,
            job=self.job,
            members=[a_worker(0), a_worker(1)],
            next_address=f"127.0.0.1:{40_000 + self.index}",
            host="here",
        )
        for name, value in fields.items():
            if isinstance(value, (int, str)):
                setattr(request, name, value)
            else:
                getattr(request, name).CopyFrom(value)
        self._stream = self.stub.Subscribe(request)
        threading.Thread(target=self._read, args=(self._stream,), daemon=True).start()
        return self

    def _read(self, stream: Iterator[pb.SubscribeResponse]) -> None:
        try:
            for response in stream:
                self._note(state=response.desired)
            self._note(end="the controller ended the stream")
        except grpc.RpcError as error:
            self._note(end=error)

    def _note(self, state: pb.DesiredState | None = None, end: grpc.RpcError | str | None = None) -> None:
        with self._changed:
            self.state = state or self.state
            self.end = end or self.end
            self._changed.notify_all()

    def until(self, is_so: Callable[[pb.DesiredState], bool]) -> pb.DesiredState:
        """The newest desired state, as soon as it is so."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.end or is_so(self.state), DEADLINE_S), self.state
            assert is_so(self.state), self.end
            return self.state

    def until_ended(self) -> grpc.RpcError | str:
        """How the stream ended."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.end is not None, DEADLINE_S), self.state
            assert self.end is not None
            return self.end

    def report(self, attempt: int, **fact: Any) -> pb.ReportResponse:
        """One fact, under an id of its own."""
        report_id = f"{self.name}/{self.sender.agent_session}/{next(self._numbers)}"
        return self.send(pb.Report(report_id=report_id, attempt=attempt, **fact))

    def send(self, *reports: pb.Report) -> pb.ReportResponse:
        request = pb.ReportRequest(sender=self.sender, reports=reports)
        response = self.stub.Report(request, timeout=DEADLINE_S)
        self.wanted = list(response.wanted_manifests)
        return response

    def upload(self, *manifests: Manifest) -> list[str]:
        messages = [manifest_to_proto(manifest) for manifest in manifests]
        request = pb.UploadManifestsRequest(sender=self.sender, manifests=messages)
        return list(self.stub.UploadManifests(request, timeout=DEADLINE_S).stored)

    def starts(self, attempt: int) -> None:
        trainer = pb.TrainerState(phase=pb.TRAINER_PHASE_RUNNING, attempt=attempt, pid=1_000 + attempt)
        self.report(attempt, trainer_changed=pb.TrainerChanged(trainer=trainer))

    def exits(self, attempt: int, **how: Any) -> None:
        trainer = pb.TrainerState(phase=pb.TRAINER_PHASE_EXITED, attempt=attempt, pid=1_000 + attempt, **how)
        address = f"127.0.0.1:{41_000 + 10 * attempt + self.index}"
        self.report(attempt, trainer_changed=pb.TrainerChanged(trainer=trainer, next_address=address))

    def lists(self, attempt: int, *found: pb.FoundCheckpoint) -> None:
        self.report(
            attempt, directory_listed=pb.DirectoryListed(series=SERIES, directory="/ckpt", checkpoints=list(found))
        )

    def saves(self, attempt: int, ordinal: int, step: int) -> None:
        save = common_pb2.Save(series=SERIES, attempt=attempt, ordinal=ordinal)
        digest = a_manifest(step).digest
        self.report(
            attempt,
            save_reported=pb.SaveReported(
                save=save, prefix=f"/ckpt/ckpt-{ordinal}", manifest_digest=digest, step=step, durable=True
            ),
        )
        if digest in self.wanted:
            assert self.upload(a_manifest(step)) == [digest]

    def answers(self, task: pb.VerifyTask) -> None:
        self.report(
            0,
            verified=pb.Verified(
                task_id=task.task_id,
                prefix=task.prefix,
                manifest_digest=task.manifest_digest,
                medium=pb.MEDIUM_DISK,
                bytes_read=24,
            ),
        )

    def restored(self, attempt: int, plan: common_pb2.Plan) -> None:
        planned = plan.series[0]
        self.report(
            attempt,
            receipt=pb.Receipt(
                series=planned.series, prefix=planned.prefix, manifest_digest=planned.manifest_digest, restored=1
            ),
        )

    def leave(self) -> None:
        if self._stream is not None:
            self._stream.cancel()
        self._channel.close()


def next_reader(workers: list[Worker]) -> str:
    """Waits until one of them is asked to read bytes, and lets it answer that they are whole; returns its name."""
    deadline_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline_s:
        for worker in workers:
            if worker.state.verify_tasks:
                worker.answers(worker.state.verify_tasks[0])
                worker.until(lambda each: not each.verify_tasks)
                return worker.name
        time.sleep(0.005)
    raise AssertionError("nobody was asked to read anything")
