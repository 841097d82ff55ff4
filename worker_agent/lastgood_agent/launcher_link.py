"""The agent's end of the socket pair to its launcher: lines both ways, and a sign of life.

Decides nothing. A message that can't be followed is a fault of ours, counted, and the next one is taken all the same.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from typing import Any

from lastgood_agent.background import Background
from lastgood_agent.lines import LineDecoder, Message, encode_line

ALIVE_INTERVAL_S = 2.0


class LauncherLink:
    """One agent's talk with its launcher. obey: takes each message."""

    def __init__(self, connected: socket.socket, obey: Callable[[Message], None], background: Background) -> None:
        self._socket = connected
        self._obey = obey
        self._background = background
        self._writer: asyncio.StreamWriter | None = None

    async def open(self) -> asyncio.Task[None]:
        """Begins to listen, and to say that we are alive; what is returned is done once the launcher has gone."""
        reader, self._writer = await asyncio.open_connection(sock=self._socket)
        listening = asyncio.create_task(self._listen(reader))
        self._background.repeat("alive", self._say_alive)
        return listening

    def tell(self, message: Mapping[str, Any]) -> None:
        """Sends a message, unless the launcher has gone."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(encode_line(message))

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        decoder = LineDecoder()
        while True:
            try:
                received = await reader.read(1 << 16)
            except OSError:
                return
            if not received:
                return
            for message in decoder.feed(received):
                try:
                    self._obey(message)
                except (TypeError, ValueError, KeyError, OSError) as error:
                    self._background.note_fault("a message of the launcher", error)

    async def _say_alive(self) -> None:
        self.tell({"type": "alive"})
        await asyncio.sleep(ALIVE_INTERVAL_S)
