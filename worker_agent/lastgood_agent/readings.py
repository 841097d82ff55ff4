"""Checkpoints that the controller wants read.

Decides that this agent does each task once, and that what it has found whole, under its own name, gets its manifest
beside it. An answer is kept until it has been told; the manifest comes after, and its lack is no fault.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from lastgood.manifest import Kind
from lastgood.v1 import agent_service_pb2 as pb
from lastgood_agent import duties, facts, manifests_beside
from lastgood_agent.background import Background
from lastgood_agent.facts import Series
from lastgood_agent.pools import Pools
from lastgood_agent.reporting import Reporting


class Readings:
    """The tasks of one worker. known_kinds: what its saves of a series have said of the variables."""

    def __init__(
        self,
        worker: str,
        reporting: Reporting,
        pools: Pools,
        background: Background,
        known_kinds: Callable[[Series], Mapping[bytes, Kind]],
    ) -> None:
        self._worker = worker
        self._known_kinds = known_kinds
        self._reporting = reporting
        self._pools = pools
        self._background = background
        self._begun: set[str] = set()

    def begin(self, tasks: Iterable[pb.VerifyTask], attempt: int, is_training: bool) -> None:
        """Begins what is new among the tasks; one that fails by a fault of ours may come again.

        is_training: the attempt has its plan, so no restore is about to read the same bytes.
        """
        for task in tasks:
            if task.task_id not in self._begun:
                self._begun.add(task.task_id)
                self._background.start(
                    self._read(task, attempt, is_training), partial(self._begun.discard, task.task_id)
                )

    async def _read(self, task: pb.VerifyTask, attempt: int, is_training: bool) -> None:
        report = pb.Report(report_id=f"{self._worker}/verified/{task.task_id}", attempt=attempt)
        if self._reporting.is_on_its_way(report.report_id):
            return
        answer = await self._pools.read(duties.verified, task, is_training)
        report.happened_at.CopyFrom(facts.time_at(time.time()))
        report.verified.CopyFrom(answer.report)
        self._reporting.keep_and_send(report)
        if not answer.found.faults and not answer.report.from_pin and task.manifest_digest:
            kinds = self._known_kinds(Series(task.save.series.signature, task.save.series.ordinal))
            await self._pools.read(manifests_beside.note, answer.found, task.save.attempt, kinds, is_training)
