"""The processes below `lastgood launch`: starts them, reaps them, and leaves none behind.

Each child has a process group of its own (so that a terminal's Ctrl-C reaches only launch), its output in a log file,
and dies when launch does (`tether`). What a dying child leaves behind is adopted by launch and killed in the end.
Decides nothing about when to start or to stop: that is `launch`.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lastgood_controller import tether

PR_SET_CHILD_SUBREAPER = 36
#: Pause between two looks at processes that were told to die: reaping is the only way to see that they are gone.
_LOOK_S = 0.02
#: How much of a log's end is read for its last lines.
_TAIL_BYTES = 16_384


@dataclass(frozen=True)
class Child:
    """A process that runs. started_s: on the monotonic clock."""

    name: str
    pid: int
    started_s: float


@dataclass(frozen=True)
class Death:
    """A child that ended. Exactly one of exit_code and signal is set."""

    name: str
    pid: int
    lived_s: float
    exit_code: int | None = None
    signal: int | None = None

    def __str__(self) -> str:
        if self.signal is not None:
            return f"{self.name} (pid {self.pid}) was ended by {signal_name(self.signal)}"
        return f"{self.name} (pid {self.pid}) ended with status {self.exit_code}"


def signal_name(number: int) -> str:
    """`SIGKILL` for 9; the number itself where it has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def adopt_orphans() -> None:
    """Makes this process the parent of whatever its children leave behind."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Children:
    """All child processes of this one, by name. Used from the main thread only: a tether holds to the thread."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: dict[int, Child] = {}
        self._log_starts: dict[str, int] = {}

    def log_path(self, name: str) -> Path:
        """Where the child of that name writes what it prints."""
        return self._logs / f"{name}.log"

    def start(self, name: str, argv: Sequence[str], environment: dict[str, str]) -> Child:
        """Starts a child. argv[0] is an absolute path. Raises OSError when the log can't be written."""
        tied = [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), *argv]
        log = os.open(self.log_path(name), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._log_starts[name] = os.fstat(log).st_size
        try:
            pid = os.posix_spawn(
                sys.executable,
                tied,
                environment,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, log, 1),
                    (os.POSIX_SPAWN_DUP2, log, 2),
                ],
                setpgroup=0,
                setsigmask=(),
                setsigdef=(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD),
            )
        finally:
            os.close(log)
        child = Child(name, pid, time.monotonic())
        self._running[pid] = child
        return child

    def running(self, prefix: str = "") -> list[Child]:
        """The children that were not yet seen to end and whose name begins with `prefix`."""
        return [child for child in self._running.values() if child.name.startswith(prefix)]

    def reap(self) -> list[Death]:
        """The children that ended since the last call. Adopted orphans are reaped in silence. Never waits."""
        deaths: list[Death] = []
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return deaths
            if pid == 0:
                return deaths
            child = self._running.pop(pid, None)
            if child is None:
                continue
            lived_s = time.monotonic() - child.started_s
            code = os.waitstatus_to_exitcode(status)
            if code < 0:
                deaths.append(Death(child.name, pid, lived_s, signal=-code))
            else:
                deaths.append(Death(child.name, pid, lived_s, exit_code=code))

    def send(self, signal_number: int, prefix: str = "") -> None:
        """Sends a signal to each running child whose name begins with `prefix`; not to their groups."""
        for child in self.running(prefix):
            _send(child.pid, signal_number)

    def kill_all(self, within_s: float) -> list[int]:
        """SIGKILLs every descendant until none is left, and returns the pids of those that would not go in time."""
        deadline_s = time.monotonic() + within_s
        while True:
            self.reap()
            left = descendants(os.getpid())
            if not left or time.monotonic() > deadline_s:
                return left
            for pid in left:
                _send(pid, signal.SIGKILL)
            time.sleep(_LOOK_S)

    def last_lines(self, name: str, count: int = 10) -> list[str]:
        """What the child of that name printed last since its start, oldest first; nothing when it has no log."""
        try:
            with self.log_path(name).open("rb") as log:
                log.seek(max(self._log_starts.get(name, 0), log.seek(0, os.SEEK_END) - _TAIL_BYTES))
                return log.read().decode("utf-8", "replace").splitlines()[-count:]
        except OSError:
            return []


def descendants(root: int) -> list[int]:
    """Every process below `root`, zombies left out, by /proc."""
    children: dict[int, list[int]] = {}
    zombies = set()
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = Path("/proc", entry, "stat").read_bytes()
        except OSError:
            continue
        state, parent = stat[stat.rindex(b")") + 2 :].split()[:2]
        children.setdefault(int(parent), []).append(int(entry))
        if state in (b"Z", b"X"):
            zombies.add(int(entry))
    found, open_ends = [], [root]
    while open_ends:
        below = children.get(open_ends.pop(), [])
        found += below
        open_ends += below
    return [pid for pid in found if pid not in zombies]


def _send(pid: int, signal_number: int) -> None:
    try:
        os.kill(pid, signal_number)
    except ProcessLookupError:
        return
