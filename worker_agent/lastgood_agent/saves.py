"""Facts about saves, one after the other: a slow disk delays these and nothing else.

Decides that a save is told once its files are synced and its index is a manifest. What was removed is told after what
was saved before it.
"""

from __future__ import annotations

import asyncio

from lastgood.manifest import Manifest
from lastgood_agent import duties, facts
from lastgood_agent.facts import Fact, FactError
from lastgood_agent.outbox import Outbox
from lastgood_agent.pools import Pools
from lastgood_agent.spool import Spool


class Saves:
    """The saves of one worker that are not told yet."""

    def __init__(self, worker: str, spool: Spool, outbox: Outbox, pools: Pools) -> None:
        self._worker = worker
        self._spool = spool
        self._outbox = outbox
        self._pools = pools
        self._waiting: asyncio.Queue[Fact] = asyncio.Queue()
        self._in_work = 0

    @property
    def are_done(self) -> bool:
        return not self._in_work

    def add(self, fact: Fact) -> None:
        """Takes a fact of one of `facts.SAVE_TYPES`."""
        self._in_work += 1
        self._waiting.put_nowait(fact)

    async def work(self) -> None:
        """Does the next one, once there is one."""
        fact = await self._waiting.get()
        try:
            if fact.type == "saved":
                await self._tell_save(fact)
            else:
                self._outbox.tell_as_it_is(fact)
        except FactError as error:
            self._outbox.reject(fact.name, str(error))
        finally:
            self._in_work -= 1

    async def _tell_save(self, fact: Fact) -> None:
        facts.save_of(fact)
        try:
            manifest, is_durable = await self._pools.save(self._read, fact)
        except FactError as error:
            self._outbox.tell(facts.unreadable_save_report(self._worker, fact, str(error)), fact)
            return
        self._spool.remember_kinds(fact.series, duties.kinds_of_save(fact))
        self._spool.keep_manifest(manifest)
        self._outbox.tell(facts.saved_report(self._worker, fact, manifest.digest, is_durable), fact)

    def _read(self, fact: Fact) -> tuple[Manifest, bool]:
        manifest = duties.manifest_of_save(fact, self._spool.read_index_copy(fact))
        prefix = facts.bounded(fact.body.get("prefix"))
        return manifest, duties.make_durable(prefix, len(manifest.shard_sizes_bytes), facts.save_of(fact))
