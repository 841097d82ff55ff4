"""The trainer: the user's command as a process group of its own that ends with its launcher and leaves nothing behind.

Decides when a trainer has ended: once it is reaped and every process that it started is gone as well. Its output goes
straight into a file, never through a pipe, so that no reader of ours can block it.
"""

import contextlib
import errno
import os
import signal
import threading
from dataclasses import dataclass, replace
from typing import Any, Callable, Dict, List, Mapping, NoReturn, Optional, Sequence, Tuple

from lastgood_agent import out_of_memory, processes
from lastgood_agent.json_files import write_json
from lastgood_agent.python_error import PythonError, find_python_error

LAST_LINES = 20
LAST_LINE_CHARACTERS = 500
#: What the last lines are taken from.
TAIL_BYTES = 1 << 16
#: How often the log is looked at for new lines to show.
FOLLOW_INTERVAL_S = 0.1
#: The clock of the kernel's log and that of process times may differ by so much.
CLOCKS_DIFFER_S = 5.0


class StartError(Exception):
    """The command could not be executed; the message says why."""


@dataclass(frozen=True)
class TrainerState:
    """What the launcher says of its trainer. The fields are those of TRAINER in docs/wire.md.

    asked_signal: the launcher was told to end by this signal, and passed it on. error: the exception that ended it.
    oom_kills: how many processes of our cgroup the kernel killed for want of memory while it ran. kernel_word: what the
    kernel's log says when it was one of them.
    """

    phase: str = "none"
    attempt: int = 0
    pid: int = 0
    pgid: int = 0
    exit_code: Optional[int] = None
    signal: Optional[int] = None
    last_lines: Tuple[str, ...] = ()
    was_stopped: bool = False
    asked_signal: Optional[int] = None
    error: Optional[PythonError] = None
    oom_kills: int = 0
    kernel_word: str = ""

    def to_json(self) -> Dict[str, Any]:
        """The state as it travels."""
        error = self.error.to_json() if self.error is not None else None
        return {**self.__dict__, "last_lines": list(self.last_lines), "error": error}


def tail_of(path: str) -> str:
    """The end of a log; "" when it cannot be read."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            return file.read(TAIL_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def last_lines_of(text: str) -> Tuple[str, ...]:
    """The last lines of a log's end, oldest first, bounded in number and length."""
    lines = [line.rstrip() for line in text.splitlines()]
    return tuple(line[:LAST_LINE_CHARACTERS] for line in lines if line)[-LAST_LINES:]


class Trainer:
    """One started trainer, until it and all that it started are gone.

    record_path: trainer.json, which names it from before it executes until it has ended.
    """

    def __init__(self, attempt: int, log_path: str, record_path: str) -> None:
        self._log_path = log_path
        self._record_path = record_path
        self._status: Optional[int] = None
        self._started_since_boot_s = 0.0
        self._oom_kills_before = out_of_memory.count_oom_kills()
        self.state = TrainerState(phase="running", attempt=attempt)

    @property
    def pid(self) -> int:
        return self.state.pid

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Executes the command. Raises StartError, with nothing left running."""

        def record(pid: int) -> None:
            self.state = replace(self.state, pid=pid, pgid=pid)
            ticks = processes.start_ticks(pid)
            self._started_since_boot_s = (ticks or 0) / os.sysconf("SC_CLK_TCK")
            document = {"attempt": self.state.attempt, "pid": pid, "pgid": pid, "start_ticks": ticks}
            write_json(self._record_path, document)

        try:
            spawn(command, environment, self._log_path, record)
        except StartError:
            self._forget_record()
            raise

    def stop(self, number: int) -> None:
        """Sends the signal to the whole group, because somebody wants the trainer to end."""
        self.state = replace(self.state, was_stopped=True)
        processes.signal_group(self.state.pgid, number)

    def note_asked(self, number: int) -> None:
        """Its launcher, or the whole gang, was told to end by this signal."""
        self.state = replace(self.state, asked_signal=number)

    def note_reaped(self, status: int) -> None:
        """The trainer itself has been reaped with this wait status; what it started may still be there."""
        self._status = status

    @property
    def is_reaped(self) -> bool:
        return self._status is not None

    def sweep(self, without: Sequence[int], is_patient: bool = False) -> bool:
        """After the trainer was reaped: kills whatever it left behind. True once nothing is left, False: ask again.

        without: children of the launcher that are not the trainer's, such as the agent. is_patient: whatever is left of
        the group is still ending by itself, as behind a shell that a signal has ended before what it runs.
        """
        if self._status is None:
            return False
        if is_patient and processes.signal_group(self.state.pgid, 0):
            return False
        is_group_left = processes.signal_group(self.state.pgid, signal.SIGKILL)
        others = processes.descendants(os.getpid(), without)
        for pid in others:
            processes.send_signal(pid, signal.SIGKILL)
        if is_group_left or others:
            return False
        self._finish(self._status)
        return True

    def _finish(self, status: int) -> None:
        by_signal = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
        exit_code = os.WEXITSTATUS(status) if by_signal is None else None
        text = tail_of(self._log_path)
        self.state = replace(
            self.state,
            phase="exited",
            exit_code=exit_code,
            signal=by_signal,
            last_lines=last_lines_of(text),
            error=find_python_error(text, exit_code) if exit_code != 0 else None,
            oom_kills=self._count_oom_kills(),
            kernel_word=self._kernel_word(by_signal),
        )
        self._forget_record()

    def _count_oom_kills(self) -> int:
        before, now = self._oom_kills_before, out_of_memory.count_oom_kills()
        return max(0, now - before) if before is not None and now is not None else 0

    def _kernel_word(self, by_signal: Optional[int]) -> str:
        if by_signal != signal.SIGKILL or self.state.was_stopped:
            return ""
        return out_of_memory.kernel_word_on(self.state.pid, self._started_since_boot_s - CLOCKS_DIFFER_S)

    def _forget_record(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._record_path)


def reap() -> List[Tuple[int, int]]:
    """Every child that has ended since the last time, with its wait status."""
    reaped: List[Tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return reaped
        if pid == 0:
            return reaped
        reaped.append((pid, status))


def spawn(command: Sequence[str], environment: Mapping[str, str], log_path: str, record: Callable[[int], None]) -> None:
    """Starts `command` in a session of its own; `record(pid)` is done before the first instruction of it runs.

    The process is killed by the kernel when the calling thread ends: call it from the main thread only.
    Raises StartError when the command cannot be executed or `record` fails.
    """
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    go_read, go_write = os.pipe()
    failure_read, failure_write = os.pipe()
    parent = os.getpid()
    # No signal may reach our handlers in the child: they would write into the parent's wake-up pipe.
    old_mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            _become(command, environment, log, go_read, failure_write, parent, old_mask)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old_mask)
        os.close(log)
        os.close(go_read)
        os.close(failure_write)
    try:
        record(pid)
        os.write(go_write, b"g")
        failure = os.read(failure_read, 4096)
    except OSError as error:
        os.kill(pid, signal.SIGKILL)
        failure = "cannot write down the trainer's pid: {}".format(error).encode("utf-8")
    finally:
        os.close(go_write)
        os.close(failure_read)
    if failure:
        os.waitpid(pid, 0)
        raise StartError(failure.decode("utf-8", "replace"))


def _become(
    command: Sequence[str],
    environment: Mapping[str, str],
    log: int,
    go: int,
    failure: int,
    parent: int,
    mask: Any,
) -> NoReturn:
    """In the child, between fork and exec: takes no lock and returns to nobody."""
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        processes.prctl(processes.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent or os.read(go, 1) != b"g":
            os._exit(255)
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        _close_inherited(failure)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.execvpe(command[0], list(command), dict(environment))
    except OSError as error:
        reason = os.strerror(error.errno or errno.EIO)
        os.write(failure, "cannot execute {}: {}".format(command[0], reason).encode("utf-8", "replace"))
    finally:
        os._exit(127)


def _close_inherited(keep: int) -> None:
    """Closes what somebody let us inherit; what Python opened closes itself at exec."""
    for name in os.listdir("/proc/self/fd"):
        number = int(name)
        if number > 2 and number != keep:
            try:
                os.close(number)
            except OSError:
                continue


class LogFollower:
    """Copies a growing log to a file descriptor, each line with a prefix, on a thread of its own.

    It may fall behind or stand still when nobody reads the descriptor; the trainer never notices.
    """

    def __init__(self, path: str, prefix: str, target: int) -> None:
        self._path = path
        self._prefix = prefix.encode("utf-8")
        self._target = target
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="log-follower", daemon=True)
        self._thread.start()

    def finish(self, timeout_s: float) -> None:
        """Copies what is still missing, within the deadline."""
        self._is_stopping.set()
        self._thread.join(timeout_s)

    def _follow(self) -> None:
        rest = b""
        try:
            with open(self._path, "rb") as file:
                while True:
                    is_last = self._is_stopping.is_set()
                    received = file.read(1 << 20)
                    rest = self._copy(received, rest)
                    if received:
                        continue
                    if is_last:
                        self._copy(b"\n" if rest else b"", rest)
                        return
                    self._is_stopping.wait(FOLLOW_INTERVAL_S)
        except OSError:
            return  # nobody reads any more; the log itself is complete

    def _copy(self, received: bytes, rest: bytes) -> bytes:
        *lines, rest = (rest + received).split(b"\n")
        text = b"".join(self._prefix + line + b"\n" for line in lines)
        while text:
            text = text[os.write(self._target, text) :]
        return rest
