"""The line to the agent: one daemon thread that keeps a connection and holds the newest state.

Decides when to connect again. Refuses to let anybody wait for the socket: waiting is done on a condition, always with
a deadline, and the bell is rung with MSG_DONTWAIT or not at all.
"""

import json
import socket
import threading
import time
from typing import Callable, Optional

from .orders import State, read_state

#: A line longer than this is not one of ours: the connection is closed and made again.
LONGEST_LINE_BYTES = 4 << 20
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0
_BELL = b'{"type":"outbox"}\n'


class Channel:
    """The newest state of one attempt, and the bell. `on_garbage` is told of every line that makes no sense."""

    def __init__(self, path: str, attempt: int, on_garbage: Callable[[Exception], None]) -> None:
        self._path = path
        self._attempt = attempt
        self._on_garbage = on_garbage
        self._changed = threading.Condition()
        self._state: Optional[State] = None
        self._connection: Optional[socket.socket] = None
        self._bell = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="lastgood-channel", daemon=True)

    def start(self) -> None:
        """Starts to connect, and goes on for as long as the process lives."""
        self._thread.start()

    @property
    def state(self) -> Optional[State]:
        """The newest state; None before the first one. Costs nothing."""
        return self._state

    @property
    def is_connected(self) -> bool:
        """True while there is an agent to hear from."""
        return self._connection is not None

    def wait_for(self, is_enough: Callable[[Optional[State]], bool], timeout_s: float) -> Optional[State]:
        """Waits until a state is enough, or the time is over; returns the newest state either way."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not is_enough(self._state):
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    break
                self._changed.wait(left_s)
            return self._state

    def ring(self) -> None:
        """Tells the agent to look into the outbox; silently nothing when it can't be told at once."""
        if not self._bell.acquire(blocking=False):
            return
        try:
            connection = self._connection
            if connection is None:
                return
            sent = connection.send(_BELL, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            if sent != len(_BELL):  # half a line: nothing that follows on this connection would be understood
                self._connection = None
                connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        finally:
            self._bell.release()

    def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                    connection.connect(self._path)
                    self._connection = connection
                    pause_s = FIRST_PAUSE_S
                    self._receive(connection)
            except OSError:
                pass
            finally:
                self._connection = None
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _receive(self, connection: socket.socket) -> None:
        received = bytearray()
        while True:
            part = connection.recv(1 << 16)
            if not part:
                return
            received += part
            *lines, rest = received.split(b"\n")
            for line in lines:
                self._take(bytes(line))
            if len(rest) > LONGEST_LINE_BYTES:
                self._on_garbage(ValueError("expected lines of at most {} bytes".format(LONGEST_LINE_BYTES)))
                return
            received = bytearray(rest)

    def _take(self, line: bytes) -> None:
        try:
            message = json.loads(line.decode("utf-8"))
            if not isinstance(message, dict):
                raise ValueError("expected a JSON object, found {!r}".format(line[:80]))
            state = read_state(message, self._attempt)
        except ValueError as error:
            self._on_garbage(error)
            return
        if state is None:
            return
        with self._changed:
            self._state = state
            self._changed.notify_all()
