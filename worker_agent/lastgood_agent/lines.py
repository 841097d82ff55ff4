"""JSON lines over a stream socket, the way launcher, agent and hooks talk (docs/wire.md).

Decides what is a message: one JSON object a line, at most `MAX_LINE_BYTES` long. Whatever else arrives is dropped and
counted, never raised: a garbled line of one part must not end another. Sending never blocks: what the socket does not
take now waits in memory, and the owner's loop goes on with it once the socket can be written.
"""

import json
import select
import socket
import time
from typing import Any, Dict, List, Mapping, Tuple

#: No message of ours comes near it; it bounds what a broken peer can make us hold.
MAX_LINE_BYTES = 1 << 20

#: What may wait for a peer that does not read. A peer this far behind is as good as dead.
MAX_WAITING_BYTES = 8 << 20

Message = Dict[str, Any]


def encode_line(message: Mapping[str, Any]) -> bytes:
    """One message as one line, newline included."""
    return json.dumps(message, separators=(",", ":"), ensure_ascii=True).encode("ascii") + b"\n"


class LineDecoder:
    """Bytes in as they come, messages out.

    dropped: lines that were too long, or that were no JSON objects.
    """

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._max_line_bytes = max_line_bytes
        self._rest = bytearray()
        self._is_skipping = False
        self.dropped = 0

    def feed(self, received: bytes) -> List[Message]:
        """The messages that are complete with these bytes."""
        *complete, rest = received.split(b"\n")
        messages = []
        for piece in complete:
            line, is_skipped = bytes(self._rest) + piece, self._is_skipping
            self._rest.clear()
            self._is_skipping = False
            messages.extend([] if is_skipped else self._decode(line))
        self._keep(rest)
        return messages

    def _keep(self, rest: bytes) -> None:
        if self._is_skipping:
            return
        self._rest += rest
        if len(self._rest) > self._max_line_bytes:
            self._rest.clear()
            self._is_skipping = True
            self.dropped += 1

    def _decode(self, line: bytes) -> List[Message]:
        if not line.strip():
            return []
        try:
            if len(line) > self._max_line_bytes:
                raise ValueError("line too long")
            message = json.loads(line.decode("utf-8"))
        except (ValueError, RecursionError):
            message = None
        if isinstance(message, dict):
            return [message]
        self.dropped += 1
        return []


class LineSocket:
    """One end of a connected stream socket that never blocks.

    is_open: False once the peer has gone, or has stopped reading for so long that we gave it up.
    """

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        self._socket = connected
        self._decoder = LineDecoder()
        self._waiting = bytearray()
        self.is_open = True

    def fileno(self) -> int:
        """The file descriptor, for a selector."""
        return self._socket.fileno()

    @property
    def wants_to_write(self) -> bool:
        """Something waits until the socket can be written."""
        return self.is_open and bool(self._waiting)

    def send(self, message: Mapping[str, Any]) -> None:
        """Sends now what the socket takes now; the rest waits for `flush`."""
        self._waiting += encode_line(message)
        if len(self._waiting) > MAX_WAITING_BYTES:
            self.is_open = False
            return
        self.flush()

    def flush(self) -> None:
        """Sends what waits, as far as the socket takes it now."""
        while self.is_open and self._waiting:
            try:
                sent = self._socket.send(self._waiting)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self.is_open = False
                return
            del self._waiting[:sent]

    def flush_within(self, timeout_s: float) -> bool:
        """Sends what waits; True when all of it went out before the deadline."""
        deadline_s = time.monotonic() + timeout_s
        self.flush()
        while self.wants_to_write:
            remaining_s = deadline_s - time.monotonic()
            if remaining_s <= 0:
                return False
            select.select([], [self._socket], [], remaining_s)
            self.flush()
        return self.is_open

    def receive(self) -> Tuple[List[Message], bool]:
        """The messages that have arrived, and whether more may come."""
        messages: List[Message] = []
        while True:
            try:
                received = self._socket.recv(1 << 16)
            except (BlockingIOError, InterruptedError):
                return messages, True
            except OSError:
                received = b""
            if not received:
                self.is_open = False
                return messages, False
            messages.extend(self._decoder.feed(received))

    def finish_sending(self) -> None:
        """Tells the peer that nothing more will come; what it sends can still be received."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.is_open = False

    def close(self) -> None:
        """Gives the socket back."""
        self.is_open = False
        self._socket.close()
