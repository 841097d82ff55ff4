"""The controller's gRPC face: AgentService for agents, JobService for people and tools, and grpc's health service.

Understands a message (`wire`), submits what it says to its run (`reconciler`, by the rules of `ingest`), and answers.
Decides nothing. Every refusal is a status with a sentence:

    FAILED_PRECONDITION  a newer session speaks for this worker, or Subscribe comes first
    INVALID_ARGUMENT     no sender may ever send this; what else the request held has been recorded
    NOT_FOUND            there is no such job
    UNAVAILABLE          nothing was recorded: the same again later
    INTERNAL             a fault of lastgood, counted and logged
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from lastgood.v1 import agent_service_pb2 as agent_pb
from lastgood.v1 import agent_service_pb2_grpc, job_service_pb2_grpc
from lastgood.v1 import job_service_pb2 as job_pb
from lastgood_controller import ingest, wire
from lastgood_controller.actuators.local import Superseded, WorkerStream
from lastgood_controller.documents import job_document, job_summary
from lastgood_controller.events import (
    Event,
    WorkerDisconnected,
)
from lastgood_controller.ingest import (
    Admitted,
    Refusal,
    Rejected,
    Sender,
    admit_hello,
    admit_reopening,
    admit_report,
    admit_return,
    admit_stop,
    refuse_sender,
)
from lastgood_controller.model import (
    Run,
)
from lastgood_controller.reconciler import Reconciler, RefusedError, RunLoop, StoppingError
from lastgood_controller.store import StoreError
from lastgood_controller.watching import follow
from lastgood_controller.wire import WireError

log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
#: Reports in one request; an agent that has spooled for hours sends several requests.
MAX_REPORTS = 10_000
#: A heartbeat at least this often; sooner where a worker is lost sooner.
HEARTBEAT_S = 5.0
#: How long open calls may take to end when the controller stops.
STOP_GRACE_S = 1.0

Context = grpc.aio.ServicerContext[Any, Any]
Facts = list[tuple[Event, str | None]]

_SERVICES = ("", "lastgood.v1.AgentService", "lastgood.v1.JobService")

_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),
    # A host that vanished is noticed by its silence, well before its worker counts as lost.
    ("grpc.keepalive_time_ms", 5_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # A process that stands still is noticed by the ping that it does not answer: its kernel goes on taking bytes, and
    # gRPC's own patience with it is a minute.
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
)


class AgentServicer(agent_service_pb2_grpc.AgentServiceServicer):
    """What agents call."""

    def __init__(self, reconciler: Reconciler) -> None:
        self._reconciler = reconciler

    async def Subscribe(  # noqa: N802 - the name in the proto
        self, request: agent_pb.SubscribeRequest, context: Context
    ) -> AsyncIterator[agent_pb.SubscribeResponse]:
        opened: list[WorkerStream] = []
        async with _answering(self._reconciler, context):
            hello = wire.hello_from_proto(request)
            sender, loop = hello.sender, await self._reconciler.opened_by(hello)

            def connect(run: Run) -> Facts:
                admitted = _admitted(admit_hello(run, hello))
                loop.heard(sender.worker)  # before it is recorded: a full disk is not the worker's silence
                opened.append(self._reconciler.actuator.open_stream(sender.run_id, sender.worker))
                events = (admit_return(run, hello, self._reconciler.policy), admitted.event)
                return [(event, None) for event in events if event is not None]

            try:
                await loop.submit(connect)
                async for desired, planned_s in opened[0].states():
                    yield agent_pb.SubscribeResponse(desired=wire.desired_to_proto(desired, sender.worker, planned_s))
            finally:
                self._disconnect(loop, sender, opened)

    def _disconnect(self, loop: RunLoop, sender: Sender, opened: Sequence[WorkerStream]) -> None:
        """Takes note that a stream has ended, unless another one of its worker has taken its place."""
        actuator = self._reconciler.actuator

        def disconnect(run: Run) -> Facts:
            if not opened or not actuator.is_current(opened[0]):
                return []
            actuator.close_stream(opened[0])
            session = run.sessions.get(sender.worker)
            if session is None or not session.connected or session.agent_session != sender.agent_session:
                return []
            return [(WorkerDisconnected(sender.worker, sender.agent_session), None)]

        loop.post(disconnect)

    async def Report(  # noqa: N802
        self, request: agent_pb.ReportRequest, context: Context
    ) -> agent_pb.ReportResponse:
        async with _answering(self._reconciler, context):
            sender = wire.sender_from_proto(request.sender)
            loop = await self._loop_of(sender)
            _check(refuse_sender(loop.run, sender))
            loop.heard(sender.worker, request.progress.step if request.progress.HasField("step") else None)
            taken = await self._record(loop, sender, _understood(sender, request.reports))
            if taken.refused:
                log.warning("a report was refused: %s", taken.refused[0].message, extra={"worker": str(sender.worker)})
                raise RefusedError(taken.refused[0])
            heartbeat_s = min(HEARTBEAT_S, loop.run.policy.lost_s / 3)
            return agent_pb.ReportResponse(
                acknowledged=taken.acknowledged,
                wanted_manifests=loop.wanted.ask(sender.worker, self._reconciler.now_s()),
                heartbeat_interval=wire.duration_to_proto(heartbeat_s),
            )

    async def _record(self, loop: RunLoop, sender: Sender, understood: Iterable[ingest.Report | Rejected]) -> _Taken:
        """Records what may be recorded of a request's reports, and says what was refused."""
        reports, acknowledged, refused = list(understood), list[str](), list[Rejected]()
        if not reports:
            return _Taken(acknowledged, refused)

        def record(run: Run) -> Facts:
            facts: Facts = []
            for report in reports:
                admission = report if isinstance(report, Rejected) else admit_report(run, sender, report)
                if isinstance(admission, Rejected):
                    refused.append(admission)
                elif admission.event is not None and isinstance(report, ingest.Report):
                    acknowledged.append(report.report_id)
                    facts.append((admission.event, report.report_id))
            return facts

        await loop.submit(record)
        return _Taken(acknowledged, refused)

    async def UploadManifests(  # noqa: N802
        self, request: agent_pb.UploadManifestsRequest, context: Context
    ) -> agent_pb.UploadManifestsResponse:
        async with _answering(self._reconciler, context):
            sender = wire.sender_from_proto(request.sender)
            loop = await self._loop_of(sender)
            _check(refuse_sender(loop.run, sender))
            manifests, stored = [], []
            for message in request.manifests:
                if message.digest in self._reconciler.shelf:
                    stored.append(message.digest)
                    continue
                try:
                    manifest = wire.manifest_from_proto(message)
                except WireError as error:
                    log.warning("a manifest was refused: %s", error, extra={"worker": str(sender.worker)})
                    continue
                if loop.wanted.is_wanted(manifest.digest):
                    manifests.append(manifest)
            await self._reconciler.keep_manifests(loop, manifests)
            return agent_pb.UploadManifestsResponse(stored=[*stored, *(each.digest for each in manifests)])

    async def _loop_of(self, sender: Sender) -> RunLoop:
        loop = await self._reconciler.get(sender.run_id)
        if loop is None:
            message = f"run {sender.run_id[:100]!r} is not known here: open Subscribe first"
            raise RefusedError(Rejected(Refusal.STALE, message))
        return loop


class JobServicer(job_service_pb2_grpc.JobServiceServicer):
    """What people and their tools call."""

    def __init__(self, reconciler: Reconciler) -> None:
        self._reconciler = reconciler

    async def ListJobs(  # noqa: N802
        self, request: job_pb.ListJobsRequest, context: Context
    ) -> job_pb.ListJobsResponse:
        async with _answering(self._reconciler, context):
            loops = await self._reconciler.all()
            return job_pb.ListJobsResponse(jobs_json=[json.dumps(job_summary(loop.run, loop.steps)) for loop in loops])

    async def GetJob(self, request: job_pb.GetJobRequest, context: Context) -> job_pb.GetJobResponse:  # noqa: N802
        async with _answering(self._reconciler, context):
            loop = await self._found(request.name)
            document = job_document(loop.run, loop.steps, loop.waiting, loop.trouble)
            return job_pb.GetJobResponse(job_json=json.dumps(document))

    async def WatchJob(  # noqa: N802
        self, request: job_pb.WatchJobRequest, context: Context
    ) -> AsyncIterator[job_pb.WatchJobResponse]:
        async with _answering(self._reconciler, context):
            loop = await self._found(request.name)
            store, after = self._reconciler.store, request.after_sequence
            async for document in follow(store, loop, after, is_following=not request.no_follow):
                yield job_pb.WatchJobResponse(entry_json=json.dumps(document))

    async def StopJob(  # noqa: N802
        self, request: job_pb.StopJobRequest, context: Context
    ) -> job_pb.StopJobResponse:
        async with _answering(self._reconciler, context):
            loop = await self._found(request.name)
            grace_s = request.grace.ToNanoseconds() / 1e9
            await loop.submit(lambda run: _facts(admit_stop(run, request.who, request.why, grace_s)))
            return job_pb.StopJobResponse()

    async def OpenJob(  # noqa: N802
        self, request: job_pb.OpenJobRequest, context: Context
    ) -> job_pb.OpenJobResponse:
        async with _answering(self._reconciler, context):
            loop = await self._found(request.name)
            policy = self._reconciler.policy
            await loop.submit(lambda run: _facts(admit_reopening(run, policy, request.who)))
            return job_pb.OpenJobResponse()

    async def _found(self, name: str) -> RunLoop:
        loop = await self._reconciler.find(name)
        if loop is None:
            raise JobNotFoundError(f"no job and no run is called {name[:100]!r} here; `lastgood jobs` lists them")
        return loop


class JobNotFoundError(Exception):
    """Nobody has heard of this job."""


@dataclass(frozen=True)
class _Taken:
    acknowledged: Sequence[str]
    refused: Sequence[Rejected]


def _understood(sender: Sender, messages: Sequence[agent_pb.Report]) -> Iterable[ingest.Report | Rejected]:
    if len(messages) > MAX_REPORTS:
        raise WireError(f"expected at most {MAX_REPORTS} reports in one request, found {len(messages)}")
    for message in messages:
        try:
            yield wire.report_from_proto(sender.worker, message)
        except WireError as error:
            yield Rejected(Refusal.INVALID, str(error))


def _admitted(admission: Admitted | Rejected) -> Admitted:
    if isinstance(admission, Rejected):
        raise RefusedError(admission)
    return admission


def _facts(admission: Admitted | Rejected) -> Facts:
    event = _admitted(admission).event
    return [(event, None)] if event is not None else []


def _check(rejected: Rejected | None) -> None:
    if rejected is not None:
        raise RefusedError(rejected)


# ------------------------------------------------------------------------------------------------------------- errors

_CODES = {Refusal.STALE: grpc.StatusCode.FAILED_PRECONDITION, Refusal.INVALID: grpc.StatusCode.INVALID_ARGUMENT}


@asynccontextmanager
async def _answering(reconciler: Reconciler, context: Context) -> AsyncIterator[None]:
    """Every way in which a call can fail, as a status with a sentence."""
    try:
        yield
    except (grpc.aio.AbortError, asyncio.CancelledError, GeneratorExit):
        raise
    except RefusedError as error:
        await _abort(context, _CODES[error.rejected.refusal], error.rejected.message)
    except WireError as error:
        await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
    except Superseded:
        message = "a newer session of this worker has taken over: this one should end"
        await _abort(context, grpc.StatusCode.FAILED_PRECONDITION, message)
    except JobNotFoundError as error:
        await _abort(context, grpc.StatusCode.NOT_FOUND, str(error))
    except StoppingError as error:
        await _abort(context, grpc.StatusCode.UNAVAILABLE, str(error))
    except StoreError as error:
        code = grpc.StatusCode.UNAVAILABLE if error.is_retryable else grpc.StatusCode.INTERNAL
        await _abort(context, code, f"nothing was recorded: {error.message}")
    except Exception as error:
        reconciler.metrics.internal_error("request")
        log.exception("a call failed by a fault of lastgood")
        await _abort(context, grpc.StatusCode.INTERNAL, f"a fault of lastgood, see the controller's log: {error!r}")


async def _abort(context: Context, code: grpc.StatusCode, message: str) -> NoReturn:
    await context.abort(code, message[:2_000])
    raise AssertionError("abort raises")


# ------------------------------------------------------------------------------------------------------------- serving


class GrpcServer:
    """The three services on one port."""

    def __init__(self, reconciler: Reconciler) -> None:
        self._reconciler = reconciler
        self._server = grpc.aio.server(options=_OPTIONS)
        self._health = health.aio.HealthServicer()
        agent_service_pb2_grpc.add_AgentServiceServicer_to_server(AgentServicer(reconciler), self._server)
        job_service_pb2_grpc.add_JobServiceServicer_to_server(JobServicer(reconciler), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)

    async def start(self, host: str, port: int) -> str:
        """Serves on host:port, port 0 for a free one; returns the address. Raises OSError when it cannot."""
        try:
            bound = self._server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as error:
            raise OSError(str(error)) from error
        await self._server.start()
        for service in _SERVICES:
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        return f"{host}:{bound}"

    async def stop(self) -> None:
        """Ends every stream in order, then every call that is left."""
        await self._health.enter_graceful_shutdown()
        self._reconciler.actuator.end_all()
        await self._reconciler.stop()
        await self._server.stop(STOP_GRACE_S)
