"""Work of the agent that goes on by itself. A fault of ours in it is counted and logged; it ends nothing else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

log = logging.getLogger(__name__)

#: Before a loop that failed goes on.
PAUSE_S = 0.5


class Background:
    """The tasks of one agent. faults: how many of them, or of their steps, failed by a fault of ours."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self.faults = 0

    def start(self, work: Coroutine[Any, Any, None], on_fault: Callable[[], None] = lambda: None) -> None:
        """Lets the work go on by itself."""

        def note_end(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                self.note_fault("a task", error)
                on_fault()

        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(note_end)

    def repeat(self, name: str, step: Callable[[], Awaitable[None]]) -> None:
        """Repeats one step for ever, after a pause when it failed."""
        self.start(self._repeat(name, step))

    async def _repeat(self, name: str, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await step()
            except Exception as error:
                self.note_fault(name, error)
                await asyncio.sleep(PAUSE_S)

    def note_fault(self, where: str, error: BaseException) -> None:
        """Counts and logs a fault of ours."""
        self.faults += 1
        log.error("internal error %d in %s", self.faults, where, exc_info=error)

    def cancel_all(self) -> None:
        """Ends everything."""
        for task in tuple(self._tasks):
            task.cancel()
