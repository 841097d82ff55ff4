"""What the demo does to a training job, and when: it kills trainers and damages files, each at a chosen moment.

It follows the journal like any other tool, and takes the pids from the job's document. Each act waits for a checkpoint
that has become Good in a new attempt, so that there is something to go back to; the one that damages a checkpoint, for
the newest one. The others wait for some more steps by the script's own log after the newest save, so that there is
something to lose and the next save is still far.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from verdict import Damage, save_name

from lastgood_agent import processes
from lastgood_controller.client import ClientError, JobClient

#: The acts by their letters, in the order in which they come.
ACTS: Mapping[str, str] = {
    "a": "kill worker 1",
    "b": "flip one bit in the newest checkpoint's data and kill the chief",
    "c": "kill worker 1 and delete the state file",
}
_RETRY_S = 0.1

#: Steps after the newest checkpoint before a worker is killed, as a part of the steps between two saves.
LOST_PART = 0.4


@dataclass(frozen=True)
class Done:
    """One act that was done."""

    act: str
    at_s: float
    what: str


class Saboteur(threading.Thread):
    """Does `acts`, one per attempt. done: what it did; damage: the checkpoint that it damaged.

    steps, save_every: how the script was called. reached: the last step in the script's own log.
    """

    def __init__(
        self,
        address: str,
        run_id: str,
        acts: str,
        steps: int,
        save_every: int,
        reached: Callable[[], int],
        say: Callable[[str], None],
    ) -> None:
        super().__init__(name="saboteur", daemon=True)
        self.done: list[Done] = []
        self.damage: Damage | None = None
        self.fault: str | None = None
        self._client = JobClient(address)
        self._run_id = run_id
        self._left = [act for act in ACTS if act in acts]
        # One act per equal part of the run, so that each has a Good checkpoint of its own attempt before it.
        self._steps = steps
        self._first_steps = [steps * (i + 1) // (len(self._left) + 2) for i in range(len(self._left))]
        self._steps_to_lose = max(1, int(save_every * LOST_PART))
        self._reached = reached
        self._say = say
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Does nothing more."""
        self._stopped.set()

    def run(self) -> None:
        attempt = 0
        for entry in self._entries():
            if not self._left or self._stopped.is_set():
                return
            if entry["kind"] != "VerdictReached" or entry["event"]["verdict"]["standing"] != "Good":
                continue
            save = entry["event"]["save"]
            if save["attempt"] <= attempt:
                continue
            job = self._client.get_job(self._run_id)
            last_step = self._steps - self._steps_to_lose
            if is_ripe(self._left[0], job, save, self._first_steps[0], last_step):
                attempt = save["attempt"]
                self._act(job, save, entry["sequence"])

    def _entries(self) -> Iterator[dict[str, Any]]:
        after = 0
        while not self._stopped.is_set():
            try:
                for entry in self._client.watch(self._run_id, after, True):
                    after = entry["sequence"]
                    yield entry
                    if entry["kind"] == "RunEnded":
                        return
            except ClientError:
                pass  # the run is not known yet
            self._stopped.wait(_RETRY_S)

    def _act(self, job: Mapping[str, Any], save: Mapping[str, Any], sequence: int) -> None:
        act = self._left.pop(0)
        self._first_steps.pop(0)
        prefix, step = job["checkpoints"][-1]["prefix"], job["checkpoints"][-1]["step"]
        while act != "b" and self._reached() < step + self._steps_to_lose and not self._stopped.wait(_RETRY_S / 10):
            pass
        try:
            what = {"a": self._kill, "b": self._flip_and_kill, "c": self._kill_and_delete}[act](job, prefix)
        except OSError as error:
            self.fault = f"could not {ACTS[act]}: {error}"
            return
        if act == "b":
            self.damage = Damage(save_name(save), prefix, int(step), sequence)
        self.done.append(Done(act, time.time(), what))
        self._say(f"SABOTAGE ({act}): {what}")

    def _kill(self, job: Mapping[str, Any], prefix: str) -> str:
        return _kill_trainer(job, -1)

    def _flip_and_kill(self, job: Mapping[str, Any], prefix: str) -> str:
        where = flip_bit(f"{prefix}.data-00000-of-00001")
        return f"flipped one bit at byte {where} of {os.path.basename(prefix)}'s data, and {_kill_trainer(job, 0)}"

    def _kill_and_delete(self, job: Mapping[str, Any], prefix: str) -> str:
        """In this order, and once the whole gang is dead: a save that is under way would write the state file anew."""
        killed = _kill_trainer(job, -1)
        pids = [pid for worker in job["workers"].values() if (pid := worker["trainer"]["pid"])]
        while any(map(processes.is_running, pids)) and not self._stopped.wait(_RETRY_S / 10):
            pass
        os.unlink(os.path.join(os.path.dirname(prefix), "checkpoint"))
        return f"{killed}, and deleted the state file `checkpoint`"


def is_ripe(act: str, job: Mapping[str, Any], save: Mapping[str, Any], first_step: int, last_step: int) -> bool:
    """Whether it is time for `act`, now that `save` is Good: its attempt trains and has come far enough, not too far.

    On a busy machine the verdict may come when the next save has begun; only a checkpoint to be damaged has to be the
    newest one all the same.
    """
    newest = job["checkpoints"][-1]
    trains = job["phase"] == "Training" and job["attempt"] == newest["attempt"] == save["attempt"]
    is_there = act != "b" or newest["save"] == save_name(save)
    return trains and is_there and first_step <= (newest["step"] or 0) < last_step


def flip_bit(path: str) -> int:
    """Flips one bit in the middle of a file, in place; returns where."""
    with open(path, "r+b") as file:
        where = os.fstat(file.fileno()).st_size // 2
        file.seek(where)
        byte = file.read(1)[0]
        file.seek(where)
        file.write(bytes([byte ^ 0x10]))
    return where


def _kill_trainer(job: Mapping[str, Any], member: int) -> str:
    worker = job["members"][member]
    pid = job["workers"][worker]["trainer"]["pid"]
    os.kill(pid, signal.SIGKILL)
    return f"killed {worker}'s trainer (pid {pid}) with SIGKILL"
