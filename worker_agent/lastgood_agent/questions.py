"""What the script asks to restore, answered with what lies in its directory, for as long as the controller wants that.

Decides that one directory is listed once for an attempt, and that nobody looks where the controller has its plan
already: what the script asks for is told all the same.
"""

from __future__ import annotations

import asyncio

from lastgood.v1 import agent_service_pb2 as pb
from lastgood_agent import duties, facts
from lastgood_agent.background import Background
from lastgood_agent.facts import Fact
from lastgood_agent.outbox import Outbox
from lastgood_agent.pools import Pools


class Questions:
    """The questions of one worker's script that are not told yet."""

    def __init__(self, worker: str, outbox: Outbox, pools: Pools, background: Background) -> None:
        self._worker = worker
        self._outbox = outbox
        self._pools = pools
        self._background = background
        self._asked: dict[str, Fact] = {}
        self._listing_now: set[str] = set()
        self._listings: dict[tuple[int, str, str], asyncio.Future[duties.Listing]] = {}

    def __contains__(self, fact_name: object) -> bool:
        return fact_name in self._asked

    def add(self, fact: Fact) -> None:
        """Takes a fact of the type `asked`. Raises FactError."""
        fact.series  # noqa: B018 - raises FactError now, not later
        self._asked[fact.name] = fact

    def answer(self, desired: pb.DesiredState | None) -> None:
        """Tells, or looks, as far as the controller wants to know it now."""
        if desired is None:
            return
        for fact in tuple(self._asked.values()):
            if fact.attempt < desired.attempt or (fact.attempt == desired.attempt and desired.HasField("plan")):
                if fact.name not in self._listing_now:
                    del self._asked[fact.name]
                    self._tell(fact, duties.Listing())
            elif fact.attempt == desired.attempt and desired.listing_wanted and fact.name not in self._listing_now:
                self._listing_now.add(fact.name)
                self._background.start(self._list(fact))

    async def _list(self, fact: Fact) -> None:
        key = (fact.attempt, _directory_of(fact), facts.bounded(fact.body.get("prefix")))
        if key not in self._listings:
            listing = self._pools.read(duties.list_directory, key[1], key[2])
            self._listings = {key: listing, **{k: v for k, v in self._listings.items() if k[0] == fact.attempt}}
        try:
            found = await self._listings[key]
        finally:
            self._asked.pop(fact.name, None)
            self._listing_now.discard(fact.name)
        self._tell(fact, found)

    def _tell(self, fact: Fact, found: duties.Listing) -> None:
        report = facts.new_report(self._worker, fact)
        listed = pb.DirectoryListed(
            series=fact.series.to_proto(),
            directory=_directory_of(fact),
            checkpoints=found.checkpoints,
            other_entries=found.other_entries,
            highest_attempt=found.highest_attempt,
        )
        report.directory_listed.CopyFrom(listed)
        self._outbox.tell(report, fact)


def _directory_of(fact: Fact) -> str:
    return fact.series.directory or facts.bounded(fact.body.get("directory"))
