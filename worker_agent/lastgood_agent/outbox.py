"""The facts that the hooks wrote, taken once each, in order, and removed once the controller has them.

Decides that what is no fact is moved aside and told. What a fact needs besides being told is `saves`' and `questions`'.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from lastgood.v1 import agent_service_pb2 as pb
from lastgood_agent import facts
from lastgood_agent.facts import Fact, FactError
from lastgood_agent.reporting import Reporting
from lastgood_agent.spool import Spool

log = logging.getLogger(__name__)


class Outbox:
    """The outbox of one worker. attempt: the one that now counts, for what is told of a file that names none."""

    def __init__(self, worker: str, spool: Spool, reporting: Reporting, attempt: Callable[[], int]) -> None:
        self._worker = worker
        self._spool = spool
        self._reporting = reporting
        self._attempt = attempt
        self._taken: set[str] = set()

    def take(self, use: Callable[[Fact], None]) -> None:
        """Uses every fact that is new, in order. use: raises FactError when its fields are not those of its type."""
        for name in self._spool.fact_names():
            if name in self._taken:
                continue
            self._taken.add(name)
            try:
                fact = self._spool.read_fact(name)
                if fact is not None:
                    use(fact)
            except FactError as error:
                self.reject(name, str(error))

    def names(self) -> list[str]:
        """What the controller does not have yet."""
        return self._spool.fact_names()

    def tell_as_it_is(self, fact: Fact) -> None:
        """Tells a fact that makes a report by itself. Raises FactError."""
        report = facts.report_of(self._worker, fact)
        if report is None:
            log.warning("outbox: %s has the unknown type %s and is left out", fact.name, fact.type)
            self._forget(fact)
            return
        self.tell(report, fact)

    def tell(self, report: pb.Report, fact: Fact) -> None:
        """Sends the report of a fact, which goes once that has arrived."""
        self._reporting.send(report, partial(self._forget, fact))

    def drop(self, fact: Fact) -> None:
        """Forgets a fact of which nothing is to be told."""
        self._forget(fact)

    def reject(self, name: str, why: str) -> None:
        """Moves a file aside, and tells."""
        self._spool.reject(name, why)
        self._reporting.send(
            facts.rejected_report(self._worker, self._attempt(), name, why, self._spool.rejected_count)
        )

    def _forget(self, fact: Fact) -> None:
        self._spool.forget_fact(fact)
        self._taken.discard(fact.name)
