"""Facts that are told one after the other, each after some work of its own: a slow one delays those behind it alone.

Decides the order, and what becomes of a fact that says nonsense: it is rejected, and the next one is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from lastgood_agent.facts import Fact, FactError
from lastgood_agent.outbox import Outbox


class FactQueue:
    """The facts of one sort that are not told yet. tellers: by the type of a fact; any other is told as it is."""

    def __init__(self, outbox: Outbox, tellers: Mapping[str, Callable[[Fact], Awaitable[None]]]) -> None:
        self._outbox = outbox
        self._tellers = tellers
        self._waiting: asyncio.Queue[Fact] = asyncio.Queue()
        self._in_work = 0

    @property
    def is_done(self) -> bool:
        return not self._in_work

    def add(self, fact: Fact) -> None:
        """Takes a fact."""
        self._in_work += 1
        self._waiting.put_nowait(fact)

    async def work(self) -> None:
        """Tells the next one, once there is one."""
        fact = await self._waiting.get()
        teller = self._tellers.get(fact.type)
        try:
            if teller is not None:
                await teller(fact)
            else:
                self._outbox.tell_as_it_is(fact)
        except FactError as error:
            self._outbox.reject(fact.name, str(error))
        finally:
            self._in_work -= 1
