"""Checkpoints that the controller wants read.

Decides that this agent does each task once. An answer is kept until it has been told.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial

from lastgood.v1 import agent_service_pb2 as pb
from lastgood_agent import duties, facts
from lastgood_agent.background import Background
from lastgood_agent.pools import Pools
from lastgood_agent.reporting import Reporting


class Readings:
    """The tasks of one worker."""

    def __init__(self, worker: str, reporting: Reporting, pools: Pools, background: Background) -> None:
        self._worker = worker
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
        report.verified.CopyFrom(answer)
        self._reporting.keep_and_send(report)
