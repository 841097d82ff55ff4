"""A client of JobService for tools: documents in, one sentence out when something is wrong."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from types import TracebackType
from typing import Any, NoReturn

import grpc
from google.protobuf.duration_pb2 import Duration

from lastgood.v1 import job_service_pb2 as job_pb
from lastgood.v1 import job_service_pb2_grpc

Document = dict[str, Any]

#: The longest that one question may take. A watch lasts as long as the run.
TIMEOUT_S = 10.0
MAX_MESSAGE_BYTES = 64 * 1024 * 1024

EXIT_MISUSED, EXIT_UNREACHABLE = 2, 3


def who_asks() -> str:
    """The person at this terminal, for the journal."""
    return os.environ.get("USER") or f"uid {os.getuid()}"


class ClientError(Exception):
    """A question was not answered. exit_status: 2 when it was a wrong one, 3 when nobody could tell."""

    def __init__(self, message: str, exit_status: int = EXIT_UNREACHABLE) -> None:
        super().__init__(message)
        self.message = message
        self.exit_status = exit_status


class JobClient:
    """Asks one controller. Usable from several threads."""

    def __init__(self, address: str, timeout_s: float = TIMEOUT_S) -> None:
        host, _, port = address.rpartition(":")
        if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65_536:
            raise ClientError(f"expected a controller's address as HOST:PORT, found {address!r}", EXIT_MISUSED)
        self._address = address
        self._timeout_s = timeout_s
        options = (
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.enable_http_proxy", 0),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1_000),
            ("grpc.keepalive_time_ms", 10_000),
            ("grpc.keepalive_timeout_ms", 5_000),
        )
        self._channel = grpc.insecure_channel(address, options=options)
        self._stub = job_service_pb2_grpc.JobServiceStub(self._channel)

    def __enter__(self) -> JobClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._channel.close()

    def list_jobs(self) -> list[Document]:
        """Every run, as job-summary documents. Raises ClientError, as all of these do."""
        try:
            response = self._stub.ListJobs(job_pb.ListJobsRequest(), timeout=self._timeout_s)
        except grpc.RpcError as error:
            self._fail(error)
        return [json.loads(job) for job in response.jobs_json]

    def get_job(self, name: str) -> Document:
        """One run, by its id, job or name, as a job document."""
        try:
            response = self._stub.GetJob(job_pb.GetJobRequest(name=name), timeout=self._timeout_s)
        except grpc.RpcError as error:
            self._fail(error)
        document: Document = json.loads(response.job_json)
        return document

    def watch(self, name: str, after_sequence: int = 0, follow: bool = True) -> Iterator[Document]:
        """journal-entry documents: what is recorded and, if asked to follow, what happens until the run has ended."""
        request = job_pb.WatchJobRequest(name=name, after_sequence=after_sequence, no_follow=not follow)
        call = self._stub.WatchJob(request, timeout=None if follow else self._timeout_s)
        try:
            for response in call:
                yield json.loads(response.entry_json)
        except grpc.RpcError as error:
            self._fail(error)
        finally:
            call.cancel()

    def stop_job(self, name: str, who: str, why: str, grace_s: float = 0.0) -> None:
        """Asks that a run ends: its gang is stopped, after at most `grace_s`, and no new attempt is made."""
        grace = Duration()
        grace.FromNanoseconds(int(grace_s * 1e9))
        request = job_pb.StopJobRequest(name=name, who=who, why=why, grace=grace if grace_s > 0 else None)
        try:
            self._stub.StopJob(request, timeout=self._timeout_s)
        except grpc.RpcError as error:
            self._fail(error)

    def open_job(self, name: str, who: str) -> None:
        """Makes a run that has ended, or is being stopped, go on with a fresh budget. Does nothing to another one."""
        try:
            self._stub.OpenJob(job_pb.OpenJobRequest(name=name, who=who), timeout=self._timeout_s)
        except grpc.RpcError as error:
            self._fail(error)

    def _fail(self, error: grpc.RpcError) -> NoReturn:
        code, details = error.code(), error.details() or "no details"
        if code in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT):
            raise ClientError(details, EXIT_MISUSED) from error
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            raise ClientError(f"the controller at {self._address} did not answer in {self._timeout_s:g} s") from error
        if code is grpc.StatusCode.UNAVAILABLE:
            raise ClientError(f"no controller can be reached at {self._address}: {details[:200]}") from error
        raise ClientError(f"the controller at {self._address} failed ({code.name}): {details}") from error
