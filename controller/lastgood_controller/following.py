"""Follows one run on a controller that may go away and come back: every journal entry once, and where the job stands.

Two threads that only ask and deliver; what to do about it is `launch`'s. They outlive any number of controllers on the
same address, and end when they are told to.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from lastgood_controller.client import ClientError, JobClient

#: Pause before a controller that did not answer is asked again.
_RETRY_S = 0.2


@dataclass(frozen=True)
class Entry:
    """One journal entry."""

    document: dict[str, Any]


@dataclass(frozen=True)
class JobNow:
    """Where the job stands."""

    document: dict[str, Any]


class Following:
    """What arrives lies in `arrived`; `wake` is called after each arrival, from another thread.

    refresh_s: how often the job's document is fetched, which costs the more the longer the run has been.
    """

    def __init__(
        self, address: str, run_id: str, after_sequence: int, wake: Callable[[], None], refresh_s: float
    ) -> None:
        self.arrived: queue.SimpleQueue[Entry | JobNow] = queue.SimpleQueue()
        self._address = address
        self._run_id = run_id
        self._after = after_sequence
        self._opened_s: float | None = None
        self._wake = wake
        self._refresh_s = refresh_s
        self._stopped = threading.Event()
        for target in (self._follow_journal, self._follow_job):
            threading.Thread(target=target, name=target.__name__, daemon=True).start()

    def stop(self) -> None:
        """Delivers no more. The threads are daemons: one that waits for an answer ends with the process."""
        self._stopped.set()

    def _deliver(self, item: Entry | JobNow) -> None:
        if not self._stopped.is_set():
            self.arrived.put(item)
            self._wake()

    def _follow_journal(self) -> None:
        client = JobClient(self._address)
        while not self._stopped.is_set():
            try:
                self._begin_anew_where_the_journal_does(client)
                for document in client.watch(self._run_id, self._after, True):
                    self._after = max(self._after, int(document["sequence"]))
                    self._deliver(Entry(document))
            except ClientError:
                pass  # away, or it does not know the run yet: ask again
            self._stopped.wait(_RETRY_S)

    def _begin_anew_where_the_journal_does(self, client: JobClient) -> None:
        """A controller whose journal was lost counts from 1 again; its run was opened at another time."""
        opened_s = client.get_job(self._run_id)["opened_s"]
        if self._opened_s not in (None, opened_s):
            self._after = 0
        self._opened_s = opened_s

    def _follow_job(self) -> None:
        client = JobClient(self._address)
        while not self._stopped.is_set():
            with suppress(ClientError):
                self._deliver(JobNow(client.get_job(self._run_id)))
            self._stopped.wait(self._refresh_s)
