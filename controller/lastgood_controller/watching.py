"""Following one run's journal: what is recorded, then what happens, without polling.

Reads from the store, never from memory, so that a follower sees exactly what a later reader of the journal sees.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from lastgood_controller.documents import Document, journal_entry
from lastgood_controller.journal import advance
from lastgood_controller.model import (
    Run,
)
from lastgood_controller.reconciler import RunLoop
from lastgood_controller.store import StoreReader

#: Entries that are read from the store at once.
PAGE = 500

#: One thing that happens brings several facts within milliseconds: what is new is read this much later, all at once.
GATHER_S = 0.05


async def follow(
    store: StoreReader,
    loop: RunLoop,
    after_sequence: int,
    *,
    is_following: bool,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncIterator[Document]:
    """The entries after a sequence number, as documents; ends once the run has ended, or has no more for now.

    Entries up to that number are read too, since the texts of later ones name what earlier ones said.
    Raises StoreError.
    """
    run: Run | None = None
    last_sequence = 0
    while True:
        recorded = loop.recorded
        entries = await asyncio.to_thread(store.load, loop.run.run_id, last_sequence, PAGE)
        for entry in entries:
            before, run, last_sequence = run, advance(run, entry), entry.sequence
            if entry.sequence > after_sequence:
                yield journal_entry(entry.sequence, entry.at_s, entry.event, before)
        if len(entries) == PAGE:
            continue
        if not is_following or loop.is_stopping or (run is not None and run.end is not None):
            return
        await recorded.wait()  # set already when something was recorded while we read
        await sleep(GATHER_S)
