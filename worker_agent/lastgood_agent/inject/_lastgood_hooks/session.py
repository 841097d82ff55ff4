"""One attempt as this process sees it: who it is, whether it steers, and the parts that the hooks share.

Decides that exactly one process of an attempt is the gang's: the one that creates the claim. In a gang of several, one
that the script has started, such as an evaluator, may do so only by making the strategy: it asks for checkpoints, too,
and often first. Every other Python that the script starts, by fork or by exec, has the hooks and does nothing with
them. Refuses to steer once steering has
failed: what one worker can't do, none may do.
"""

import json
import os
import threading
from dataclasses import replace
from typing import Any, Mapping, Optional, Set

from .channel import Channel
from .facts import Outbox
from .guard import Guard
from .keeping import Word
from .orders import Plan, State
from .progress import Progress
from .series import Series, SeriesBook
from .settings import Settings

#: A process tells no more than so many notices: a script may read checkpoints for weeks.
MAX_NOTICES = 200


#: Tells a process that one with TensorFlow has started in which attempt that was, and by whom: CLAIM:PID.
STARTER = "LASTGOOD_HOOKS_STARTER"


class NoPlanError(Exception):
    """No plan came in time."""


class Session:
    """The shared state of the hooks of one process.

    is_claimed: this is the gang's process. is_lost: steering has failed here, nothing is steered any more.
    restored: how many restores were steered, restored_step: the plan's step of the last one. has_called: a tf.function
    call has returned since. has_asked: what to restore; has_saved: by what is steered. replicas, is_chief: set when the
    strategy is made. gang_size: by the launcher's word, or else workers in TF_CONFIG, 1 where there is none.
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
        self.has_asked = self.has_saved = False
        self.replicas = 1
        self.is_chief = settings.worker.startswith("chief/")
        self.has_strategy = False
        self.last_asked_directory = ""
        config = _tf_config()
        self.gang_size = settings.workers or _gang_size(config)
        is_trainer = not _is_started_by_another(settings.claim) and _task(config) == settings.worker
        self._may_ask = is_trainer or self.gang_size == 1
        self._is_refused = _task_type(config) == "evaluator"
        self._noticed: Set[str] = set()
        self._lock = threading.Lock()
        os.register_at_fork(after_in_child=self._forget)

    def claim(self, has_strategy: bool = False) -> bool:
        """True when this is the gang's process; the first one to ask is, if it may be.

        has_strategy: it makes the gang's strategy, so it is, whoever has started it.
        """
        if self.is_claimed or self._is_refused or not (self._may_ask or has_strategy):
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

    def claim_alone(self) -> bool:
        """True when this is the gang's process. One that only saves is, where the gang has one worker.

        In a larger gang the one that trains makes a strategy; others may save beside it. Not for bodies of hooks.
        """
        if self.is_claimed or self.gang_size > 1 or self._is_refused:
            return self.is_claimed
        return bool(self.guard.run("claim", self.claim).value)

    def notice(self, kind: str, path: str, detail: str = "") -> None:
        """Tells something that an operator should know, once for each kind and path. Any process may."""
        key = kind + " " + path
        with self._lock:
            if key in self._noticed or len(self._noticed) >= MAX_NOTICES:
                return
            self._noticed.add(key)
        self.outbox.write("noticed", kind=kind, path=path, detail=detail)

    @property
    def state(self) -> State:
        """The newest state; before the first one: nothing is known."""
        return self.channel.state or State()

    @property
    def pin_word(self) -> Word:
        """The agent's last word about what was saved; where there is no agent now, nobody judges."""
        word = self.state.pins
        return word if self.channel.is_connected else replace(word, is_live=False)

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

    def plan(self, asked: Series, directory: str, via: str, prefix: str = "") -> Optional[Plan]:
        """The plan. Says that the script asks, and waits where none is known yet; None: steering was switched off.

        prefix: what the script itself names. Raises NoPlanError after plan_s.
        """
        self.has_asked = True
        if self.book.is_asked_first(asked):
            self.outbox.write("asked", series=asked.to_json(), directory=directory, via=via, prefix=prefix)
        if self.state.plan is None:
            self.channel.wait_for(_has_answer, self.settings.plan_s)
        state = self.state
        if state.plan is None and state.steering:
            raise self._no_plan()
        return state.plan if state.steering else None

    def plan_if_any(self) -> Optional[Plan]:
        """The plan, where the controller knows a checkpoint to make one of; without asking for one.

        None: it knows none, or steering was switched off. Raises NoPlanError after plan_s.
        """
        if self.state.plan is None:
            self.channel.wait_for(_has_word, self.settings.plan_s)
        state = self.state
        if state.plan is None and state.steering and not state.nothing_known:
            raise self._no_plan()
        return state.plan if state.steering else None

    def _no_plan(self) -> NoPlanError:
        waited = "no plan came within {:g} s of asking".format(self.settings.plan_s)
        return NoPlanError(waited + "; is the agent alive and the controller reachable?")

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


def _has_word(state: Optional[State]) -> bool:
    return state is not None and (state.nothing_known or _has_answer(state))


def _tf_config() -> Mapping[str, Any]:
    """TF_CONFIG as it is; empty for what is none, which TensorFlow will say by itself."""
    try:
        found = json.loads(os.environ.get("TF_CONFIG", "") or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _gang_size(config: Mapping[str, Any]) -> int:
    cluster = config.get("cluster")
    if not isinstance(cluster, dict):
        return 1
    addresses = [cluster.get(kind) for kind in ("chief", "worker")]
    return max(1, sum(len(each) for each in addresses if isinstance(each, list)))


def _task_type(config: Mapping[str, Any]) -> str:
    task = config.get("task")
    return str(task.get("type", "")) if isinstance(task, dict) else ""


def _task(config: Mapping[str, Any]) -> str:
    task = config.get("task")
    return "{}/{}".format(_task_type(config), task.get("index")) if isinstance(task, dict) else ""


def _is_started_by_another(claim: str) -> bool:
    """Whether an ancestor in this attempt has TensorFlow: then that one trains. If not, our own children are marked."""
    ours = "{}:{}".format(claim, os.getpid())
    known = os.environ.get(STARTER, "")
    if known.rpartition(":")[0] == claim:
        return known != ours
    os.environ[STARTER] = ours
    return False


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
