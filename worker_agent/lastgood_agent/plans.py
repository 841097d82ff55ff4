"""Plans, made ready for the hooks: the manifests of what is to be restored are on disk before a hook hears of it.

Decides that a plan whose files are not what it names can't be followed: that is told like a failed restore.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from lastgood.v1 import agent_service_pb2 as pb
from lastgood.v1 import common_pb2
from lastgood_agent import duties, facts, orders
from lastgood_agent.agent_config import Config
from lastgood_agent.background import Background
from lastgood_agent.pools import Pools
from lastgood_agent.reporting import Reporting
from lastgood_agent.spool import Spool

log = logging.getLogger(__name__)


class Plans:
    """The newest plan of one worker. on_ready: called when a plan can be given to the hooks."""

    def __init__(
        self,
        config: Config,
        spool: Spool,
        reporting: Reporting,
        pools: Pools,
        background: Background,
        on_ready: Callable[[], None],
    ) -> None:
        self._config = config
        self._spool = spool
        self._reporting = reporting
        self._pools = pools
        self._background = background
        self._on_ready = on_ready
        self._ready: tuple[int, dict[str, Any]] | None = None
        self._begun_for = 0

    def ready_for(self, attempt: int) -> dict[str, Any] | None:
        """The plan of that attempt as the hooks get it; None: there is none, or not yet."""
        return self._ready[1] if self._ready is not None and self._ready[0] == attempt else None

    def begin(self, attempt: int, plan: common_pb2.Plan) -> None:
        """Makes the plan of an attempt ready, once."""
        if self._begun_for != attempt:
            self._begun_for = attempt
            self._background.start(self._prepare(attempt, plan))

    async def _prepare(self, attempt: int, plan: common_pb2.Plan) -> None:
        directory, series = self._config.worker_directory, list(plan.series)
        kinds = [self._spool.known_kinds(orders.series_of(planned)) for planned in series]
        may_put_back = self._config.worker == self._config.gang.members[0]
        try:
            ready = await self._pools.plan(duties.prepare_plan, directory, attempt, series, kinds, may_put_back)
        except (duties.PlanError, OSError) as error:
            log.error("attempt %d: the plan can't be followed: %s", attempt, error)
            self._tell_broken(attempt, plan, error)
            return
        self._ready = (attempt, orders.plan_message(plan, ready))
        self._on_ready()

    def _tell_broken(self, attempt: int, plan: common_pb2.Plan, error: Exception) -> None:
        planned, digest = plan.series[0], ""
        if isinstance(error, duties.PlanError):
            planned, digest = error.planned, error.digest
        report = pb.Report(report_id=f"{self._config.worker}/{attempt}/plan", attempt=attempt)
        report.happened_at.CopyFrom(facts.time_at(time.time()))
        report.receipt.CopyFrom(
            pb.Receipt(
                series=planned.series,
                prefix=planned.prefix,
                manifest_digest=digest,
                error=facts.bounded(str(error)),
            )
        )
        self._reporting.keep_and_send(report)
