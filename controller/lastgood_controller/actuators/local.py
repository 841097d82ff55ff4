"""The local actuator: every worker's agent is told over its own open stream what its worker should be doing.

Each stream holds one desired state at most, the newest: a slow agent misses what has been overtaken, and nothing else.
A worker has one stream, its newest session's; an older one is ended when a newer takes its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from lastgood_controller.desired import Desired, desired_state
from lastgood_controller.model import (
    Run,
    WorkerId,
)


class Superseded(Exception):  # noqa: N818 - not a fault: somebody newer has taken over
    """A newer session of the same worker has opened its stream."""


class WorkerStream:
    """One worker's open stream: an asynchronous iterator over what it should be doing, newest first and only.

    For use on one event loop.
    """

    def __init__(self, run_id: str, worker: WorkerId) -> None:
        self.run_id = run_id
        self.worker = worker
        self._changed = asyncio.Event()
        self._next: tuple[Desired, float | None] | None = None
        self._last: tuple[Desired, float | None] | None = None
        self._is_superseded = False
        self._is_ended = False

    def offer(self, desired: Desired, planned_s: float | None) -> None:
        """Replaces what the stream says next; the same as it said last is not said again."""
        offered = (desired, planned_s)
        self._next = None if offered == self._last else offered
        if self._next is not None:
            self._changed.set()

    def supersede(self) -> None:
        self._is_superseded = True
        self._changed.set()

    def end(self) -> None:
        """Ends the iteration after what is waiting: the controller is going away."""
        self._is_ended = True
        self._changed.set()

    async def states(self) -> AsyncIterator[tuple[Desired, float | None]]:
        """Desired states with the time of the plan's decision. Raises Superseded once a newer session took over."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._is_superseded:
                raise Superseded
            if self._next is not None:
                self._last, self._next = self._next, None
                yield self._last
            if self._is_ended:
                return


class LocalActuator:
    """Publishes desired states to the open streams of workers."""

    def __init__(self) -> None:
        self._streams: dict[str, dict[WorkerId, WorkerStream]] = {}

    def open_stream(self, run_id: str, worker: WorkerId) -> WorkerStream:
        """The worker's stream from now on; its former one ends."""
        streams = self._streams.setdefault(run_id, {})
        if worker in streams:
            streams[worker].supersede()
        stream = WorkerStream(run_id, worker)
        streams[worker] = stream
        return stream

    def is_current(self, stream: WorkerStream) -> bool:
        """Whether this is the stream on which its worker is told things now."""
        return self._streams.get(stream.run_id, {}).get(stream.worker) is stream

    def close_stream(self, stream: WorkerStream) -> None:
        if self.is_current(stream):
            del self._streams[stream.run_id][stream.worker]

    def bring_about(self, run: Run) -> None:
        for worker, stream in self._streams.get(run.run_id, {}).items():
            planned_s = run.attempt.planned_s if run.attempt else None
            stream.offer(desired_state(run, worker), planned_s)

    def end_all(self) -> None:
        """Ends every stream: the controller is going away."""
        for streams in self._streams.values():
            for stream in streams.values():
                stream.end()
