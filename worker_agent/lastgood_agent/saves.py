"""Facts about saves, one after the other: a slow disk delays these and nothing else.

Decides that a save is told once its files are synced and its index is a manifest. What was removed is told after what
was saved before it.
"""

from __future__ import annotations

from lastgood.manifest import Manifest
from lastgood_agent import duties, facts
from lastgood_agent.fact_queue import FactQueue
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
        #: The facts of `facts.SAVE_TYPES` that are not told yet.
        self.queue = FactQueue(outbox, {"saved": self._tell_save})

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
