"""The agent's end of the hooks' socket: the newest state out to whoever is connected, door bells in.

Decides nothing. A connection that does not read is dropped, not waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Mapping
from typing import Any

from lastgood_agent.lines import LineDecoder, encode_line

log = logging.getLogger(__name__)

MAX_UNREAD_BYTES = 4 << 20


class HooksServer:
    """Serves the unix socket at `path`. on_door_bell: called whenever a hook says that it has written a fact."""

    def __init__(self, path: str, on_door_bell: Callable[[], None]) -> None:
        self._path = path
        self._on_door_bell = on_door_bell
        self._state: bytes | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Takes over the path, also from an agent that has died."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
        self._server = await asyncio.start_unix_server(self._serve, self._path)

    def publish(self, state: Mapping[str, Any]) -> None:
        """Sends the state to everybody, unless it is the one they have."""
        line = encode_line(state)
        if line == self._state:
            return
        self._state = line
        for writer in tuple(self._writers):
            self._send(writer, line)

    def close(self) -> None:
        """Serves nobody any more."""
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    def _send(self, writer: asyncio.StreamWriter, line: bytes) -> None:
        if writer.transport.get_write_buffer_size() > MAX_UNREAD_BYTES:
            log.warning("a hook does not read its socket: dropped")
            writer.transport.abort()
            return
        writer.write(line)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        decoder = LineDecoder()
        try:
            if self._state is not None:
                self._send(writer, self._state)
            while received := await reader.read(1 << 16):
                if any(message.get("type") == "outbox" for message in decoder.feed(received)):
                    self._on_door_bell()
        except OSError:
            return
        finally:
            self._writers.discard(writer)
            writer.transport.abort()
