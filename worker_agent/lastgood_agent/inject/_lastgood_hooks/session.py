"""One attempt as this process sees it: who it is, whether it steers, and the parts that the hooks share.

Decides that exactly one process of an attempt is the gang's: the one that creates the claim. Every other Python that
the script starts, by fork or by exec, has the hooks and does nothing with them. Refuses to steer once steering has
failed: what one worker can't do, none may do.
"""

import os
import threading
from typing import Optional

from .channel import Channel
from .facts import Outbox
from .guard import Guard
from .orders import Plan, State
from .progress import Progress
from .series import Series, SeriesBook
from .settings import Settings


class NoPlanError(Exception):
    """No plan came in time."""


class Session:
    """The shared state of the hooks of one process.

    is_claimed: this is the gang's process. is_lost: steering has failed here, nothing is steered any more.
    restored: how many restores were steered, restored_step: the plan's step of the last one. has_called: a tf.function
    call has returned since. replicas, is_chief: set when the strategy is made.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.channel = Channel(settings.socket, settings.attempt, self._on_garbage)
        self.outbox = Outbox(settings.outbox, settings.attempt, self.channel.ring)
        self.guard = Guard(self._on_failure, settings.body_s)
        self.book = SeriesBook()
        self.progress = Progress()
        self.is_claimed = False
        self.is_lost = False
        self.restored = 0
        self.restored_step: Optional[int] = None
        self.has_called = False
        self.replicas = 1
        self.is_chief = settings.worker.startswith("chief/")
        self.has_strategy = False
        self.last_asked_directory = ""
        self._is_refused = False
        self._lock = threading.Lock()
        os.register_at_fork(after_in_child=self._forget)

    def claim(self) -> bool:
        """True when this is the gang's process; the first one to ask is."""
        if self.is_claimed or self._is_refused:
            return self.is_claimed
        with self._lock:
            if not self.is_claimed and not self._is_refused:
                if _create_claim(self.settings.claim):
                    self.progress.open(self.settings.progress)
                    self.channel.start()
                    self.is_claimed = True
                else:
                    self._is_refused = True
        return self.is_claimed

    @property
    def state(self) -> State:
        """The newest state; before the first one: nothing is known."""
        return self.channel.state or State()

    @property
    def is_steering(self) -> bool:
        return self.is_claimed and self.settings.steering and not self.is_lost and self.state.steering

    @property
    def has_moved_on(self) -> bool:
        """True once training has left the restored step behind: what it asks for from then on is its own affair.

        Every worker of a gang is past that point at the same place of the script, whether it saves or not.
        """
        if not self.has_called:
            return False
        step = self.progress.read()
        return step is None or step != self.restored_step

    def plan(self, asked: Series, directory: str, via: str) -> Optional[Plan]:
        """The plan. Says that the script asks, and waits where none is known yet; None: steering was switched off.

        Raises NoPlanError after plan_s.
        """
        if self.book.is_asked_first(asked):
            self.outbox.write("asked", series=asked.to_json(), directory=directory, via=via)
        if self.state.plan is None:
            self.channel.wait_for(_has_answer, self.settings.plan_s)
        state = self.state
        if state.plan is None and state.steering:
            waited = "no plan came within {:g} s of asking".format(self.settings.plan_s)
            raise NoPlanError(waited + "; is the agent alive and the controller reachable?")
        return state.plan if state.steering else None

    def lose_steering(self, hook: str, error: str) -> None:
        """Steers nothing from here on, and says so. Once."""
        with self._lock:
            if self.is_lost:
                return
            self.is_lost = True
        self.guard.run("steering_lost", lambda: self.outbox.write("steering_lost", hook=hook, error=error))

    def _on_failure(self, hook: str, error: str, count: int) -> None:
        self.outbox.write("hook_failed", hook=hook, error=error, count=count)

    def _on_garbage(self, error: Exception) -> None:
        self.guard.count("channel", str(error)[:500])

    def _forget(self) -> None:
        """In a forked child: its threads are gone, and it is not the gang's process."""
        self.is_claimed = False
        self._is_refused = True
        self.progress.close()


def _has_answer(state: Optional[State]) -> bool:
    return state is not None and (state.plan is not None or not state.steering)


def _create_claim(path: str) -> bool:
    try:
        claim = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        return _read_pid(path) == os.getpid()
    with os.fdopen(claim, "w", encoding="ascii") as file:
        file.write(str(os.getpid()))
    return True


def _read_pid(path: str) -> Optional[int]:
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None
