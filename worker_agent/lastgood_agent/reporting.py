"""What becomes of a report that the agent makes: on its way until the controller has it, on disk where nothing else is.

A report that a fact of the outbox makes again at any time needs no copy; every other one is kept in the spool.
"""

from __future__ import annotations

from collections.abc import Callable

from lastgood.v1 import agent_service_pb2 as pb
from lastgood_agent.client import Client
from lastgood_agent.spool import Spool


class Reporting:
    """The reports of one worker."""

    def __init__(self, spool: Spool, client: Client) -> None:
        self._spool = spool
        self._client = client

    def send(self, report: pb.Report, on_done: Callable[[], None] = lambda: None, is_urgent: bool = False) -> None:
        """Sends a report again until it has arrived. on_done: called then."""
        self._client.outgoing.add(report, on_done, is_urgent)
        self._client.wake()

    def keep_and_send(self, report: pb.Report, is_urgent: bool = False) -> None:
        """The same for a report that no fact makes: it outlives this process."""
        self._spool.keep_report(report)
        self.send_kept(report, is_urgent)

    def send_kept(self, report: pb.Report, is_urgent: bool = False) -> None:
        """The same for one that is in the spool already."""
        self.send(report, lambda: self._spool.forget_report(report.report_id), is_urgent)

    def is_on_its_way(self, report_id: str) -> bool:
        """A report of that id waits."""
        return report_id in self._client.outgoing
