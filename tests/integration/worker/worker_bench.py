"""A bench for one real launcher: a controller that says what the test wants, and trainers that do what they are told.

The controller is a real gRPC server on loopback that records what agents send. The trainers are small Python scripts
without TensorFlow. Every wait has a deadline and watches for the outcome itself.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import TypeVar

import grpc

from lastgood.v1 import agent_service_pb2 as pb
from lastgood.v1 import agent_service_pb2_grpc, common_pb2
from lastgood_agent import processes

REPOSITORY = Path(__file__).resolve().parents[3]
DEADLINE_S = 20.0

T = TypeVar("T")

#: What every trainer script starts with: a way to write facts as the hooks do.
PREAMBLE = """
import json, os, signal, subprocess, sys, time
HOOKS = json.loads(os.environ["LASTGOOD_HOOKS"])
def fact(type, **fields):
    fact.count = getattr(fact, "count", 0) + 1
    name = "{:06d}-{:020d}-{}-{}.json".format(HOOKS["attempt"], time.monotonic_ns(), os.getpid(), fact.count)
    document = dict(fields, type=type, attempt=HOOKS["attempt"], pid=os.getpid(), at_s=time.time())
    hidden = os.path.join(HOOKS["outbox"], "." + name)
    with open(hidden, "w") as file:
        json.dump(document, file)
    os.rename(hidden, os.path.join(HOOKS["outbox"], name))
def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.005)
"""


def wait_until(claim: Callable[[], T | None], what: str, timeout_s: float = DEADLINE_S) -> T:
    """What `claim` gives once that is true; fails with `what` at the deadline."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        found = claim()
        if found:
            return found
        time.sleep(0.005)
    raise AssertionError(f"not within {timeout_s} s: {what}")


class Controller(agent_service_pb2_grpc.AgentServiceServicer):
    """A real server that records, acknowledges, and streams what the test desires."""

    def __init__(self) -> None:
        self.hellos: list[pb.SubscribeRequest] = []
        self.reports: list[pb.Report] = []
        self.heard_s: dict[str, float] = {}
        self.manifests: dict[str, common_pb2.Manifest] = {}
        self.wanted: set[str] = set()
        self.heartbeats: list[pb.Progress] = []
        self.refuses: Callable[[pb.Report], bool] = lambda report: False
        self.stores: Callable[[str], bool] = lambda digest: True
        self.offered: list[str] = []
        self.has_a_newer: Callable[[pb.SubscribeRequest], bool] = lambda hello: False
        self._desired = pb.DesiredState(action=pb.TRAINER_ACTION_HOLD)
        self._streams: list[queue.Queue[pb.DesiredState | None]] = []
        self._lock = threading.Lock()
        self._server: grpc.Server | None = None
        self.address = ""

    def start(self) -> None:
        """Serves, on the address that it had before."""
        self._server = grpc.server(futures.ThreadPoolExecutor(16))
        agent_service_pb2_grpc.add_AgentServiceServicer_to_server(self, self._server)
        port = self._server.add_insecure_port(self.address or "127.0.0.1:0")
        self.address = f"127.0.0.1:{port}"
        self._server.start()

    def stop(self) -> None:
        """Goes away without a word."""
        if self._server is not None:
            for stream in self._streams:
                stream.put(None)
            self._server.stop(grace=None).wait(5)
            self._server = None

    def desire(self, **fields: object) -> None:
        """What every worker should do from now on."""
        with self._lock:
            self._desired = pb.DesiredState(**fields)  # type: ignore[arg-type]
            for stream in self._streams:
                stream.put(self._desired)

    def desire_run(self, attempt: int, **fields: object) -> None:
        """The trainer of that attempt should run, in a gang of this worker alone."""
        member = common_pb2.Worker(task_type="worker", task_id=0)
        self.desire(
            attempt=attempt,
            action=pb.TRAINER_ACTION_RUN,
            members=[member],
            addresses=["127.0.0.1:12345"],
            steering=True,
            **fields,
        )

    def desire_stop(self, attempt: int) -> None:
        """No trainer of that attempt should live."""
        self.desire(attempt=attempt, action=pb.TRAINER_ACTION_STOP, steering=True)

    def desire_end(self, exit_status: int) -> None:
        """The run has ended."""
        reason = common_pb2.ReasonDetail(reason="Finished", detail="by the test")
        self.desire(action=pb.TRAINER_ACTION_STOP, end=pb.RunEnd(reason=reason, exit_status=exit_status))

    def Subscribe(self, request: pb.SubscribeRequest, context: grpc.ServicerContext) -> Iterator[pb.SubscribeResponse]:  # noqa: N802
        stream: queue.Queue[pb.DesiredState | None] = queue.Queue()
        if self.has_a_newer(request):
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "a newer session speaks for worker/0")
        with self._lock:
            self.hellos.append(request)
            self._streams.append(stream)
            stream.put(self._desired)
        while context.is_active():
            try:
                desired = stream.get(timeout=0.2)
            except queue.Empty:
                continue
            if desired is None:
                return
            yield pb.SubscribeResponse(desired=desired)

    def Report(self, request: pb.ReportRequest, context: grpc.ServicerContext) -> pb.ReportResponse:  # noqa: N802
        with self._lock:
            for report in request.reports:
                if self.refuses(report):
                    context.abort(grpc.StatusCode.INVALID_ARGUMENT, "refused by the test")
            for report in request.reports:
                self.heard_s.setdefault(report.report_id, time.time())
                self.reports.append(report)
            self.heartbeats.append(request.progress)
            response = pb.ReportResponse(acknowledged=[r.report_id for r in request.reports])
            response.wanted_manifests.extend(self.wanted - set(self.manifests))
            return response

    def UploadManifests(  # noqa: N802
        self, request: pb.UploadManifestsRequest, context: grpc.ServicerContext
    ) -> pb.UploadManifestsResponse:
        with self._lock:
            self.offered += [manifest.digest for manifest in request.manifests]
            taken = {manifest.digest: manifest for manifest in request.manifests if self.stores(manifest.digest)}
            self.manifests.update(taken)
            return pb.UploadManifestsResponse(stored=list(taken))

    def of(self, kind: str) -> list[pb.Report]:
        """The reports of one sort, in the order of their arrival, repeated ones included."""
        with self._lock:
            return [report for report in self.reports if report.WhichOneof("fact") == kind]

    def trainers(self, phase: int, attempt: int) -> list[pb.Report]:
        """What was reported of an attempt's trainer in a phase."""
        states = [(report, report.trainer_changed.trainer) for report in self.of("trainer_changed")]
        return [report for report, state in states if state.phase == phase and state.attempt == attempt]

    def running(self, attempt: int) -> pb.TrainerState:
        """The attempt's trainer, once it was reported as running."""
        reports = wait_until(
            lambda: self.trainers(pb.TRAINER_PHASE_RUNNING, attempt), f"attempt {attempt} is reported as running"
        )
        return reports[0].trainer_changed.trainer

    def exited(self, attempt: int, timeout_s: float = DEADLINE_S) -> pb.TrainerState:
        """The attempt's trainer, once it was reported as ended."""
        reports = wait_until(
            lambda: self.trainers(pb.TRAINER_PHASE_EXITED, attempt),
            f"attempt {attempt} is reported as ended",
            timeout_s,
        )
        return reports[0].trainer_changed.trainer


class Bench:
    """One worker's state directory, its controller, and the launchers that were started on it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.state = directory / "state"
        self.runtime = tempfile.mkdtemp(prefix="bench-")  # short, for the sockets' sake
        self.controller = Controller()
        self.controller.start()
        self.launchers: list[subprocess.Popen[str]] = []

    @property
    def worker(self) -> Path:
        """The worker's directory."""
        return self.state / "workers" / "worker-0"

    def script(self, body: str, name: str = "trainer.py") -> list[str]:
        """The command of a trainer that does this."""
        path = self.directory / name
        path.write_text(PREAMBLE + body)
        return [sys.executable, str(path)]

    def launch(self, command: list[str], *options: str) -> subprocess.Popen[str]:
        """Starts `lastgood run` for worker/0 of a gang of one."""
        launcher = subprocess.Popen(
            [
                *(sys.executable, "-m", "lastgood_agent.run_command", "--controller", self.controller.address),
                *("--job", "bench", "--run-id", "run-1", "--state-dir", str(self.state)),
                *("--worker", "worker/0", "--workers", "1", *options, "--", *command),
            ],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.launchers.append(launcher)
        return launcher

    @property
    def environment(self) -> dict[str, str]:
        """A launcher's environment."""
        return {**environment_for_tests(), "XDG_RUNTIME_DIR": self.runtime}

    def agents(self, launcher: subprocess.Popen[str]) -> list[int]:
        """The living agents of a launcher."""
        return [pid for pid in processes.children(launcher.pid) if "lastgood_agent.agent" in command_line(pid)]

    def spooled(self) -> list[str]:
        """The facts that are still in the outbox."""
        return sorted(name for name in os.listdir(self.worker / "outbox") if name.endswith(".json") and name[0] != ".")

    def close(self) -> None:
        """Ends whatever a test left."""
        for launcher in self.launchers:
            if launcher.poll() is None:
                for pid in [*processes.descendants(launcher.pid), launcher.pid]:
                    processes.send_signal(pid, signal.SIGCONT)
                    processes.send_signal(pid, signal.SIGKILL)
            launcher.communicate(timeout=10)
        processes.kill_left_over(processes.mark_of(str(self.worker / "outbox")), 0, 0, None, 5)
        self.controller.stop()
        shutil.rmtree(self.runtime, ignore_errors=True)


def environment_for_tests() -> dict[str, str]:
    """Ours, with a way to the sources and without a gang of somebody else."""
    environment = {name: value for name, value in os.environ.items() if name not in ("TF_CONFIG", "LASTGOOD_HOOKS")}
    environment["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "worker_agent")])
    return environment


def command_line(pid: int) -> str:
    """What a process was started with; "" when it has gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def is_cached(path: Path) -> bool:
    """Whether the kernel holds the first page of a file in memory. Does not touch it."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as pages:
        start = ctypes.c_char.from_buffer(pages)
        resident = ctypes.create_string_buffer(1)
        address = ctypes.c_void_p(ctypes.addressof(start))
        failed = ctypes.CDLL(None, use_errno=True).mincore(address, ctypes.c_size_t(1), resident)
        del start  # or the file can't be let go
        if failed:
            raise OSError(ctypes.get_errno(), "mincore", str(path))
        return bool(resident.raw[0] & 1)


def drop_from_cache(path: Path) -> None:
    """Lets the kernel forget what it holds of a file."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_lines(path: Path) -> list[str]:
    """The lines of a file that a trainer writes; none while it is not there."""
    return path.read_text().splitlines() if path.exists() else []


def saved_fact(prefix: str, outbox: Path, ordinal: int) -> dict[str, object]:
    """The body of a `saved` fact about a checkpoint, with its index copied into the outbox."""
    copy = f"index-{ordinal}"
    (outbox / copy).write_bytes(Path(prefix + ".index").read_bytes())
    return {
        "series": {"signature": "0123456789abcdef", "ordinal": 0, "directory": os.path.dirname(prefix)},
        "ordinal": ordinal,
        "prefix": prefix,
        "index_copy": copy,
        "shard_sizes_bytes": [os.stat(prefix + ".data-00000-of-00001").st_size],
        "step": 10 * ordinal,
        "save_counter": ordinal,
        "kinds": {},
        "unsaved": [],
        "seconds": 0.25,
    }


def write_fact(outbox: Path, attempt: int, number: int, body: dict[str, object]) -> str:
    """Writes a fact as the hooks do; its name."""
    name = f"{attempt:06d}-{number:020d}-1-1.json"
    hidden = outbox / f".{name}"
    hidden.write_text(json.dumps({**body, "attempt": attempt, "pid": 1, "at_s": time.time()}))
    hidden.rename(outbox / name)
    return name
