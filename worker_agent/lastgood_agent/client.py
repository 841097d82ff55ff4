"""The agent's line to the controller: one subscription, one sender of reports, both for as long as the agent lives.

Decides when to try again (at once, then 0.05 s doubled up to 2 s, with jitter) and what a refusal means. Loses nothing:
what was not acknowledged is sent again, in order, after every kind of break. gRPC's errors end here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import grpc
import grpc.aio

from lastgood.manifest import Manifest
from lastgood.v1 import agent_service_pb2 as pb
from lastgood.v1 import agent_service_pb2_grpc
from lastgood_agent.facts import manifest_message
from lastgood_agent.outgoing import Outgoing

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.05
LAST_PAUSE_S = 2.0
RPC_TIMEOUT_S = 10.0
FIRST_HEARTBEAT_S = 1.0
LONGEST_HEARTBEAT_S = 10.0
MAX_MESSAGE_BYTES = 64 << 20

CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_http_proxy", 0),
)

#: The controller understood the report and will never take it.
REFUSALS = frozenset(
    {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.RESOURCE_EXHAUSTED}
)
#: FAILED_PRECONDITION may mean our session, which a new subscription mends. After this many in a row it means the
#: report, or, of a subscription, that a newer launcher speaks for this worker: no session of ours will be heard again.
MAX_FENCES = 4


class RefusedError(Exception):
    """The controller will never accept this worker; the message is its own."""


class UnreachableError(Exception):
    """The controller has not answered once within the time that was given."""


@dataclass(frozen=True)
class Callbacks:
    """What the client asks its owner.

    hello: the subscription to make now. on_fenced: the controller knows a newer session than ours, so that another
    number is needed. on_desired: takes each desired state. progress: where training stands. manifest: the manifest of
    a digest, None when it is not kept here.
    on_stored, on_unwanted: a manifest need not be kept any longer.
    """

    hello: Callable[[], pb.SubscribeRequest]
    on_fenced: Callable[[], None]
    on_desired: Callable[[pb.DesiredState], Awaitable[None]]
    progress: Callable[[], pb.Progress]
    manifest: Callable[[str], Manifest | None]
    on_stored: Callable[[str], None]
    on_unwanted: Callable[[str], None]


class BackOff:
    """Pauses between tries."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._pause_s = FIRST_PAUSE_S

    def next_pause_s(self) -> float:
        """The pause before the next try: between half of it and all of it."""
        pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, LAST_PAUSE_S)
        return pause_s * self._chance.uniform(0.5, 1.0)

    def reset(self) -> None:
        """It worked."""
        self._pause_s = FIRST_PAUSE_S


class Client:
    """Both directions of one worker's talk with the controller. Add to `outgoing`, then call `wake`."""

    def __init__(self, address: str, callbacks: Callbacks, connect_s: float) -> None:
        self._address = address
        self._callbacks = callbacks
        self._connect_s = connect_s
        self._chance = random.Random()
        self._work = asyncio.Event()
        self._connected = asyncio.Event()
        self._sender: pb.Sender | None = None
        self._subscription: grpc.aio.UnaryStreamCall[pb.SubscribeRequest, pb.SubscribeResponse] | None = None
        self._heartbeat_s = FIRST_HEARTBEAT_S
        self._owed: set[str] = set()
        self._fences = 0
        self._is_dropped = False
        self.outgoing = Outgoing()
        self.is_idle = True

    @property
    def is_connected(self) -> bool:
        return self._connected.is_set()

    def wake(self) -> None:
        """There is something to send."""
        self._work.set()

    def owe(self, digest: str) -> None:
        """A manifest that may never have arrived: deliver it."""
        self._owed.add(digest)

    @property
    def has_everything_arrived(self) -> bool:
        return not len(self.outgoing) and not self._owed and self.is_idle

    async def run(self) -> None:
        """Talks until cancelled. Raises RefusedError or UnreachableError when it is of no use to go on."""
        async with grpc.aio.insecure_channel(self._address, options=list(CHANNEL_OPTIONS)) as channel:
            stub = agent_service_pb2_grpc.AgentServiceStub(channel)
            reporting = asyncio.ensure_future(self._report(stub))
            try:
                await self._subscribe(stub)
            finally:
                reporting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await reporting

    # -- orders

    async def _subscribe(self, stub: agent_service_pb2_grpc.AgentServiceStub) -> None:
        back_off, fences = BackOff(self._chance), 0
        deadline_s: float | None = time.monotonic() + self._connect_s
        while True:
            problem = "the stream ended"
            try:
                async for desired in self._states(stub):
                    back_off.reset()
                    deadline_s, fences = None, 0
                    await self._callbacks.on_desired(desired)
            except grpc.aio.AioRpcError as error:
                problem = f"{error.code().name}: {error.details()}"
                if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                    raise RefusedError(error.details() or "the controller refuses this worker") from error
                if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
                    fences += 1
                    if fences >= MAX_FENCES:
                        raise RefusedError(error.details() or "another launcher speaks for this worker") from error
                    self._callbacks.on_fenced()
            except asyncio.CancelledError:
                if not self._is_dropped:
                    raise
                problem = "the connection was given up"
            finally:
                self._is_dropped = False
                self._connected.clear()
            if deadline_s is not None and time.monotonic() >= deadline_s:
                raise UnreachableError(
                    f"the controller at {self._address} did not answer within {self._connect_s:.0f} s: {problem}"
                )
            pause_s = back_off.next_pause_s()
            log.info("no subscription at %s (%s): next try in %.2f s", self._address, problem, pause_s)
            await asyncio.sleep(pause_s)

    async def _states(self, stub: agent_service_pb2_grpc.AgentServiceStub) -> AsyncIterator[pb.DesiredState]:
        request = self._callbacks.hello()
        self._subscription = stub.Subscribe(request)
        try:
            async for response in self._subscription:
                if not self.is_connected:
                    log.info("subscribed at %s as session %d", self._address, request.sender.agent_session)
                    self._sender = request.sender
                    self._connected.set()
                yield response.desired
        finally:
            self._subscription.cancel()
            self._subscription = None

    def _drop_subscription(self) -> None:
        """A call has shown that the connection is dead: don't wait until the stream notices."""
        if self._subscription is not None:
            self._is_dropped = True
            self._subscription.cancel()

    # -- reports

    async def _report(self, stub: agent_service_pb2_grpc.AgentServiceStub) -> None:
        back_off = BackOff(self._chance)
        heartbeat_at_s = 0.0
        while True:
            await self._connected.wait()
            if not (len(self.outgoing) or self._owed):
                # Not wait_for: before Python 3.12 it forgets that it was cancelled when the event is set just then.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, heartbeat_at_s - time.monotonic())):
                        await self._work.wait()
            self._work.clear()
            if self._sender is None or not self.is_connected:
                continue
            self.is_idle = False
            try:
                is_progress = await self._report_once(stub, self._sender)
                await self._upload(stub, self._sender)
                heartbeat_at_s = time.monotonic() + self._heartbeat_s
            except grpc.aio.AioRpcError as error:
                log.info("a report did not arrive (%s: %s)", error.code().name, error.details())
                is_progress = False
                if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                    self._drop_subscription()
            finally:
                self.is_idle = True
            if is_progress:
                back_off.reset()
            else:
                await asyncio.sleep(back_off.next_pause_s())

    async def _report_once(self, stub: agent_service_pb2_grpc.AgentServiceStub, sender: pb.Sender) -> bool:
        """Sends what is next, or a heartbeat. True unless it is to be tried again after a pause."""
        batch = self.outgoing.batch()
        request = pb.ReportRequest(sender=sender, reports=batch, progress=self._callbacks.progress())
        try:
            response = await stub.Report(request, timeout=RPC_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            if not self._is_refusal(error.code()) or not batch:
                raise
            given_up = self.outgoing.refuse(batch)
            if given_up is not None:
                log.warning("the controller refused %s and it is given up: %s", given_up.report_id, error.details())
            return True
        self._fences = 0
        if response.HasField("heartbeat_interval"):
            interval_s = response.heartbeat_interval.ToTimedelta().total_seconds()
            self._heartbeat_s = min(max(interval_s, 0.1), LONGEST_HEARTBEAT_S)
        wanted = set(response.wanted_manifests)
        self._owed |= {digest for digest in wanted if self._callbacks.manifest(digest) is not None}
        self.outgoing.acknowledge(response.acknowledged)
        for report in batch:
            digest = report.save_reported.manifest_digest
            if digest and digest not in self._owed and report.report_id not in self.outgoing:
                self._callbacks.on_unwanted(digest)
        return all(report.report_id not in self.outgoing for report in batch)

    def _is_refusal(self, code: grpc.StatusCode) -> bool:
        """The report itself is at fault, and not our session: that is renewed a few times first."""
        if code is not grpc.StatusCode.FAILED_PRECONDITION:
            return code in REFUSALS
        self._fences += 1
        if self._fences < MAX_FENCES:
            self._drop_subscription()
        return self._fences >= MAX_FENCES

    async def _upload(self, stub: agent_service_pb2_grpc.AgentServiceStub, sender: pb.Sender) -> None:
        for digest in sorted(self._owed):
            manifest = self._callbacks.manifest(digest)
            is_needed = manifest is not None and await self._upload_one(stub, sender, manifest)
            self._owed.discard(digest)
            if not is_needed:
                self._callbacks.on_stored(digest)

    async def _upload_one(
        self, stub: agent_service_pb2_grpc.AgentServiceStub, sender: pb.Sender, manifest: Manifest
    ) -> bool:
        """True when the controller does not want it yet: the report of its save may still be on its way."""
        request = pb.UploadManifestsRequest(sender=sender, manifests=[manifest_message(manifest)])
        try:
            response = await stub.UploadManifests(request, timeout=RPC_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            if error.code() not in REFUSALS:
                raise
            log.warning("the controller refused the manifest %s: %s", manifest.digest, error.details())
            return False
        return manifest.digest not in response.stored
