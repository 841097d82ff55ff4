"""The trainers of one worker, attempt by attempt, as the agent's orders want them.

Decides when a trainer is started, stopped, killed and told to have ended. Never starts an attempt twice, and never runs
two trainers at once: every order may come again, late, or out of turn.
"""

import json
import os
import signal
import time
from dataclasses import replace
from typing import Any, Callable, Collection, Dict, List, Optional

from lastgood_agent import processes
from lastgood_agent.lines import Message
from lastgood_agent.ports import HeldPort
from lastgood_agent.run_options import Settings
from lastgood_agent.trainer import LogFollower, StartError, Trainer, TrainerState, last_lines_of, tail_of
from lastgood_agent.worker_directory import WorkerRecord

#: How often what is left of a trainer is looked for, besides at each child's end.
SWEEP_INTERVAL_S = 0.02


class Attempts:
    """The trainer that runs, if one does, and the one that waits for its end.

    record: worker.json; it is written anew before each attempt. tell: takes each change, as a message for the agent.
    say: takes a line for whoever watches.
    """

    def __init__(
        self, settings: Settings, record: WorkerRecord, tell: Callable[[Message], None], say: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._record = record
        self._tell_agent = tell
        self._say = say
        self._state = TrainerState()
        self._trainer: Optional[Trainer] = None
        self._follower: Optional[LogFollower] = None
        self._next_run: Optional[Message] = None
        self._kill_at_s: Optional[float] = None
        self._port: Optional[HeldPort] = None
        self._is_ending = False
        self._hold_port()

    @property
    def has_trainer(self) -> bool:
        """A trainer runs, or something that it started."""
        return self._trainer is not None

    @property
    def highest(self) -> int:
        """The highest attempt that was started or stopped here."""
        return self._record.highest_attempt

    def due_times(self, now_s: float) -> List[float]:
        """When `kill_when_due` or `finish` has something to do, if nothing happens before."""
        due = [self._kill_at_s] if self._kill_at_s is not None else []
        return [*due, now_s + SWEEP_INTERVAL_S] if self._trainer is not None and self._trainer.is_reaped else due

    # -- orders

    def run(self, order: Message) -> None:
        """Idempotent: an attempt that was started, or stopped, before is not started again."""
        if order["attempt"] <= self.highest:
            return
        if self._trainer is not None:
            self._next_run = order
            self._stop_trainer(0.0)
            return
        self._start(order)

    def stop(self, attempt: int, grace_s: float) -> None:
        """Idempotent: afterwards no trainer of that attempt or an older one lives, or ever will."""
        if self._next_run is not None and self._next_run["attempt"] <= attempt:
            self._next_run = None
        if attempt > self.highest:
            self._note_highest(attempt)
        if self._trainer is not None:
            if self._state.attempt <= attempt:
                self._stop_trainer(grace_s)
            return
        if attempt > self._state.attempt:
            self._tell(TrainerState(phase="exited", attempt=attempt, was_stopped=True))

    def end(self, grace_s: float, asked_signal: Optional[int] = None) -> None:
        """Stops what runs, starts nothing any more that waits, and offers itself for no other attempt.

        asked_signal: what told us to end, when it was a signal.
        """
        self._is_ending = True
        self._next_run = None
        if asked_signal is not None and self._trainer is not None:
            self._trainer.note_asked(asked_signal)
        self._stop_trainer(grace_s)

    def announce_end(self, attempt: int) -> None:
        """Passes on that the gang is about to end, so that the script can save: SIGTERM, once, without a deadline."""
        trainer = self._trainer
        if trainer is None or trainer.is_reaped or trainer.state.attempt != attempt:
            return
        if trainer.state.asked_signal is None:
            trainer.note_asked(signal.SIGTERM)
            processes.signal_group(trainer.state.pgid, signal.SIGTERM)

    # -- the trainer

    def _start(self, order: Message) -> None:
        attempt = int(order["attempt"])
        settings = self._settings
        self._note_highest(attempt)
        if self._port is not None:
            self._port.release()
        log = settings.path("logs", "attempt-{}.log".format(attempt))
        self._trainer = Trainer(attempt, log, settings.path("trainer.json"))
        try:
            self._trainer.start(settings.command, self._environment(order, attempt))
        except (StartError, OSError) as error:
            self._trainer = None
            self._say("attempt {}: {}".format(attempt, error))
            lines = (*last_lines_of(tail_of(log)), str(error))[-20:]
            self._hold_port()
            self._tell(TrainerState(phase="exited", attempt=attempt, exit_code=127, last_lines=lines))
            return
        if settings.prefix:
            self._follower = LogFollower(log, "[{}] ".format(settings.gang.worker), 1)
        self._tell(self._trainer.state)
        self._hold_port()

    def _environment(self, order: Message, attempt: int) -> Dict[str, str]:
        settings = self._settings
        hooks = {
            "version": 1,
            "run_id": settings.run_id,
            "worker": settings.gang.worker,
            "workers": len(settings.gang.members),
            "attempt": attempt,
            "socket": self._record.hooks_socket,
            "outbox": settings.outbox,
            "progress": settings.path("progress-{}".format(attempt)),
            "steering": bool(order.get("steering", True)),
            "plan_s": settings.plan_s,
            "gate_s": settings.gate_s,
        }
        inject = os.path.join(os.path.dirname(os.path.abspath(__file__)), "inject")
        environment = dict(os.environ)
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [inject, environment.get("PYTHONPATH", "")]))
        environment[processes.MARK] = json.dumps(hooks)
        environment.update({str(name): str(value) for name, value in (order.get("environment") or {}).items()})
        return environment

    def _stop_trainer(self, grace_s: float) -> None:
        if self._trainer is None:
            return
        if self._trainer.is_reaped:
            self._kill_at_s = None if grace_s <= 0 else self._kill_at_s  # nor has what it left any more time
        elif grace_s <= 0:
            self._kill_at_s = None
            self._trainer.stop(signal.SIGKILL)
        elif self._kill_at_s is None:
            self._kill_at_s = time.monotonic() + grace_s
            self._trainer.stop(signal.SIGTERM)
        else:
            self._kill_at_s = min(self._kill_at_s, time.monotonic() + grace_s)

    def kill_when_due(self, now_s: float) -> None:
        """Kills the trainer whose time to end by itself is over."""
        if self._kill_at_s is not None and now_s >= self._kill_at_s:
            self._kill_at_s = None
            if self._trainer is not None and not self._trainer.is_reaped:
                self._trainer.stop(signal.SIGKILL)

    def note_reaped(self, pid: int, status: int) -> None:
        """This child has ended with this wait status; it may be the trainer."""
        if self._trainer is not None and pid == self._trainer.pid and not self._trainer.is_reaped:
            self._trainer.note_reaped(status)

    def finish(self, without: Collection[int]) -> bool:
        """Tells that the trainer has ended, once nothing of it is left; then does what waited for that.

        without: children of the launcher that are not the trainer's. False when something of a trainer that was reaped
        is still there: reap, and ask again.
        """
        trainer = self._trainer
        if trainer is None or not trainer.is_reaped:
            return True
        if not trainer.sweep(list(without), is_patient=self._kill_at_s is not None):
            return False
        self._trainer = None
        self._kill_at_s = None
        self._tell(trainer.state)
        if self._follower is not None:
            self._follower.finish(1.0)
            self._follower = None
        order, self._next_run = self._next_run, None
        if order is not None:
            self._start(order)
        elif self.highest > trainer.state.attempt:
            self._tell(TrainerState(phase="exited", attempt=self.highest, was_stopped=True))
        return True

    def kill(self) -> None:
        """Ends what runs at once, whatever becomes of us."""
        if self._trainer is not None:
            processes.signal_group(self._state.pgid, signal.SIGKILL)

    # -- telling

    def message(self) -> Dict[str, Any]:
        """The trainer's state and the next one's address, as they travel."""
        address = self._port.address if self._port is not None else ""
        is_offered = self._state.phase != "running" and not self._is_ending
        return {"trainer": self._state.to_json(), "next_address": address if is_offered else ""}

    def _tell(self, state: TrainerState) -> None:
        self._state = state
        self._tell_agent({"type": "trainer", **self.message()})

    def _hold_port(self) -> None:
        self._port = HeldPort(self._settings.gang.host)

    def _note_highest(self, attempt: int) -> None:
        self._record = replace(self._record, highest_attempt=attempt)
        self._record.write(self._settings)
