"""Reports on their way: which go next, in which order, and what becomes of each.

Pure. Urgent ones (a trainer's end) go before the others; within each sort the order of adding is kept. A report stays
until it was acknowledged, or was refused for what it says: then it is given up, since it would be refused for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lastgood.v1 import agent_service_pb2 as pb

MAX_BATCH = 200
MAX_BATCH_BYTES = 2 << 20


@dataclass(frozen=True)
class Waiting:
    """One report. on_done: called once it needs no further sending."""

    report: pb.Report
    is_urgent: bool
    on_done: Callable[[], None]


class Outgoing:
    """The reports that the controller has not acknowledged."""

    def __init__(self) -> None:
        self._waiting: dict[str, Waiting] = {}
        self._one_by_one = 0

    def add(self, report: pb.Report, on_done: Callable[[], None], is_urgent: bool = False) -> None:
        """Adds a report; one whose id waits already changes nothing."""
        self._waiting.setdefault(report.report_id, Waiting(report, is_urgent, on_done))

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, report_id: object) -> bool:
        return report_id in self._waiting

    def batch(self) -> list[pb.Report]:
        """What to send next."""
        urgent = [each.report for each in self._waiting.values() if each.is_urgent]
        others = [each.report for each in self._waiting.values() if not each.is_urgent]
        chosen: list[pb.Report] = []
        size_bytes = 0
        for report in [*urgent, *others]:
            size_bytes += report.ByteSize()
            is_full = len(chosen) >= (1 if self._one_by_one else MAX_BATCH) or size_bytes > MAX_BATCH_BYTES
            if chosen and is_full:
                break
            chosen.append(report)
        return chosen

    def acknowledge(self, report_ids: Iterable[str]) -> None:
        """These are durable at the controller."""
        for report_id in report_ids:
            waiting = self._waiting.pop(report_id, None)
            if waiting is not None:
                self._one_by_one = max(0, self._one_by_one - 1)
                waiting.on_done()

    def refuse(self, batch: list[pb.Report]) -> pb.Report | None:
        """The controller refused this batch for what it says. The report that is given up, or None: it is now sent
        one by one, to find out which of them it was."""
        if len(batch) > 1:
            self._one_by_one = len(batch)
            return None
        self.acknowledge([batch[0].report_id])
        return batch[0]
