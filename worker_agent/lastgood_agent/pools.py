"""The threads on which the agent reads and writes files, and which work waits for which.

Saves wait for each other only, readings do not wait for saves, and a plan waits for neither. Saves and readings let
training go first.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

WORK_NICENESS = 5

P = ParamSpec("P")
T = TypeVar("T")


class Pools:
    """The threads of one agent."""

    def __init__(self) -> None:
        self._saving = ThreadPoolExecutor(1, "save", initializer=_be_nice)
        self._reading = ThreadPoolExecutor(2, "verify", initializer=_be_nice)
        self._planning = ThreadPoolExecutor(1, "plan")

    def save(self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> asyncio.Future[T]:
        """Work on a file that was saved: one after the other."""
        return _submit(self._saving, work, *arguments, **named)

    def read(self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> asyncio.Future[T]:
        """Reading every byte of a checkpoint, or of a directory's newest."""
        return _submit(self._reading, work, *arguments, **named)

    def plan(self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> asyncio.Future[T]:
        """What the gang waits for."""
        return _submit(self._planning, work, *arguments, **named)

    def close(self) -> None:
        """Waits for nothing: a thread may be inside a slow read."""
        for pool in (self._saving, self._reading, self._planning):
            pool.shutdown(wait=False, cancel_futures=True)


def _submit(pool: ThreadPoolExecutor, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> asyncio.Future[T]:
    return asyncio.wrap_future(pool.submit(work, *arguments, **named))


def _be_nice() -> None:
    """Lets training go first: only this thread, since what the agent says must not wait."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), WORK_NICENESS)
