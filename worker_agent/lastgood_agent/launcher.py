"""The launcher: the parent of one worker's trainer and agent, from its start to its exit status.

One loop over the agent's socket, the wake-up pipe of the signals, and timers. Decides what a signal, an order and a
child's end mean, and leaves the rest to `attempts` (the trainers) and `agent_keeper` (the agents). Needs nothing but
Python's standard library: any image that trains can run it.
"""

import contextlib
import os
import selectors
import shutil
import signal
import socket
import sys
import time
from typing import Any, Dict, Optional

from lastgood_agent import processes
from lastgood_agent.agent_keeper import AgentKeeper
from lastgood_agent.attempts import Attempts
from lastgood_agent.lines import Message
from lastgood_agent.run_options import Settings
from lastgood_agent.trainer import reap
from lastgood_agent.worker_directory import WorkerRecord, clear_left_over, take_over

EXIT_COULD_NOT_TELL = 3

#: The agent's exit status when it can't work here at all, however often it is started.
AGENT_CANNOT_WORK = 78

#: SIGTERM to SIGKILL, when the run has ended, or a person or a terminal asked the launcher to end.
END_GRACE_S = 3.0
#: The trainer is killed so long before the launcher would be: what is left to say takes its time.
KILL_MARGIN_S = 2.0

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def launch(settings: Settings) -> int:
    """Works until the run has ended or a signal asks to end; the exit status. The worker's directory is ours."""
    left = clear_left_over(settings)
    if left:
        listed = ", ".join(map(str, left))
        say(settings, "processes of an earlier trainer can't be killed: {}. End them, then start again".format(listed))
        return EXIT_COULD_NOT_TELL
    processes.adopt_orphans()
    wake = _take_signals()
    try:
        return Launcher(settings, take_over(settings), wake).run()
    finally:
        signal.set_wakeup_fd(-1)


def _take_signals() -> int:
    """From now on signals do nothing but write their number into a pipe; the end from which it is read."""
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    for number in (*SIGNALS, signal.SIGCHLD):
        if number == signal.SIGCHLD or signal.getsignal(number) is not signal.SIG_IGN:  # as nohup asks
            signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    return wake_read


def say(settings: Settings, text: str) -> None:
    """One line for whoever watches."""
    with contextlib.suppress(OSError):  # nobody may be watching any more
        print("lastgood run: {}: {}".format(settings.gang.worker, text), file=sys.stderr, flush=True)


class Launcher:
    """One worker's launcher. wake: where the numbers of signals are read."""

    def __init__(self, settings: Settings, record: WorkerRecord, wake: int) -> None:
        self._settings = settings
        self._record = record
        self._wake = wake
        self._exit_status: Optional[int] = None
        self._interruption: Optional[Dict[str, Any]] = None
        self._selector = selectors.DefaultSelector()
        self._selector.register(wake, selectors.EVENT_READ)
        self._agents = AgentKeeper(settings, record.hooks_socket, self._selector, self._hello, self._say)
        self._attempts = Attempts(settings, record, self._agents.send, self._say)

    def run(self) -> int:
        """Works until the run has ended or a signal asks to end; the exit status."""
        try:
            return self._loop()
        finally:
            self._tear_down()

    def _tear_down(self) -> None:
        """Whatever happened: nothing of ours is left running."""
        self._attempts.kill()
        self._agents.kill()
        for pid in processes.descendants(os.getpid()):
            processes.send_signal(pid, signal.SIGKILL)
        shutil.rmtree(self._record.socket_directory, ignore_errors=True)

    def _loop(self) -> int:
        while True:
            self._do_what_is_due(time.monotonic())
            if self._exit_status is not None and not self._attempts.has_trainer and not self._agents.pids:
                return self._exit_status
            self._agents.watch()
            ready = {key.fd for key, _ in self._selector.select(self._timeout_s(time.monotonic()))}
            if self._wake in ready:
                self._heed_signals(os.read(self._wake, 4096))
            for message in self._agents.receive(ready):
                self._obey(message)

    def _timeout_s(self, now_s: float) -> Optional[float]:
        times = [*self._attempts.due_times(now_s), *self._agents.due_times()]
        return max(0.0, min(times) - now_s) if times else None

    def _do_what_is_due(self, now_s: float) -> None:
        self._attempts.kill_when_due(now_s)
        self._finish_trainer()
        if self._exit_status is None or self._attempts.has_trainer:
            self._agents.do_what_is_due(now_s)
        else:
            self._agents.retire()
            self._agents.take_leave(now_s)

    # -- signals and children

    def _heed_signals(self, received: bytes) -> None:
        for number in SIGNALS:
            if number in received:
                self._interrupt(number)
        if signal.SIGCHLD in received:
            self._reap()
            self._finish_trainer()

    def _interrupt(self, number: int) -> None:
        name = signal.Signals(number).name
        if self._exit_status is not None:
            self._attempts.end(0.0)
            return
        grace_s = max(0.0, self._settings.grace_s - KILL_MARGIN_S)
        if number != signal.SIGTERM:
            grace_s = min(grace_s, END_GRACE_S)
        told = ", the trainer has {:g} s to end".format(grace_s) if self._attempts.has_trainer else ""
        self._say("{}: stopping{}".format(name, told))
        self._interruption = {"type": "interrupted", "signal": name, "grace_s": grace_s}
        self._agents.send(self._interruption)
        self._exit_status = 128 + number
        self._attempts.end(grace_s, number)

    def _reap(self) -> None:
        for pid, status in reap():
            self._attempts.note_reaped(pid, status)
            agent_status = self._agents.note_reaped(pid, status)
            if agent_status is not None and self._exit_status is None:
                self._mourn_agent(agent_status)

    def _mourn_agent(self, status: int) -> None:
        if status == AGENT_CANNOT_WORK and not self._attempts.has_trainer:
            self._exit_status = EXIT_COULD_NOT_TELL
            self._attempts.end(END_GRACE_S)
            return
        self._say("the agent ended ({}): another one is started".format(status))

    def _finish_trainer(self) -> None:
        if not self._attempts.finish(self._agents.pids):
            self._reap()

    # -- the agent

    def _hello(self) -> Dict[str, Any]:
        return {
            "type": "hello",
            "launcher_session": self._record.launcher_session,
            "highest_attempt": self._attempts.highest,
            "host": socket.gethostname(),
            "interrupted": self._interruption,
            **self._attempts.message(),
        }

    def _obey(self, message: Message) -> None:
        """Follows one order; an unknown or malformed one changes nothing, and whoever is ending starts nothing."""
        kind, attempt, exit_status = (message.get(name) for name in ("type", "attempt", "exit_status"))
        if kind == "end" and isinstance(exit_status, int):
            self._obey_end(exit_status, str(message.get("message") or ""))
        elif kind == "run" and isinstance(attempt, int) and self._exit_status is None:
            self._attempts.run(message)
        elif kind == "stop" and isinstance(attempt, int):
            self._attempts.stop(attempt, float(message.get("grace_s") or 0.0))
        elif kind == "announce_end" and isinstance(attempt, int):
            self._attempts.announce_end(attempt)

    def _obey_end(self, exit_status: int, message: str) -> None:
        """The run has ended. A signal's status stays, except where the run had finished when it came."""
        if self._exit_status is None or (exit_status == 0 and self._exit_status != 0):
            if message:
                self._say(message)
            self._exit_status = exit_status
        self._attempts.end(END_GRACE_S)

    def _say(self, text: str) -> None:
        say(self._settings, text)
