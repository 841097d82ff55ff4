"""From the kill of a worker to the first step of the next attempt, on the last worker to make it.

The baseline is the best that a shell can do: a loop that waits for the first worker to end, kills the other, and starts
both at once, on fresh ports, from TensorFlow's own latest checkpoint, whatever that is.
"""

from __future__ import annotations

import os
import signal
import time

from benchmarks.gangs import SCRIPTS, Place, Running, free_port, fresh_place, running, with_lastgood
from benchmarks.results import Result, interleaved

#: Both workers have made this step before one is killed: two saves are behind them.
KILL_AFTER_STEP = 25
ARGUMENTS = ("--steps", "1000000", "--save-every", "10")


def measure(trainer_python: str, pairs: int = 5) -> Result:
    """The benchmark."""
    baseline, ours = interleaved(
        pairs, lambda: recovery_s(trainer_python, guarded=False), lambda: recovery_s(trainer_python, guarded=True)
    )
    return Result(
        name="recovery",
        what="kill of a worker → first step of the next attempt, small model, 2 workers",
        baseline_is="shell loop that reacts at once",
        unit="s",
        baseline=tuple(baseline),
        ours=tuple(ours),
        aim=1.0,
    )


def recovery_s(trainer_python: str, *, guarded: bool) -> float:
    """One gang, one kill, one recovery."""
    with fresh_place(trainer_python) as place:
        script = place.script("train.py", *ARGUMENTS)
        loop = ["bash", str(SCRIPTS / "restart_loop.sh"), str(free_port()), *script]
        with running(place, with_lastgood(place, 2, script) if guarded else loop) as run:
            return kill_and_watch(place, run)


def kill_and_watch(place: Place, run: Running) -> float:
    """Kills worker 1 in the middle and waits until both workers step again."""
    run.until(lambda: all(reached(place, w) >= KILL_AFTER_STEP for w in (0, 1)), "both workers to train")
    former = {pid for w in (0, 1) for pid, _, _ in place.log(w)}
    victim = int(place.log(1)[-1][0])
    killed_s = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    run.until(lambda: all(first_step_s(place, w, former) for w in (0, 1)), "both workers to step again")
    return max(first_step_s(place, w, former) or 0.0 for w in (0, 1)) - killed_s


def reached(place: Place, worker: int) -> int:
    """The last step that a worker logged."""
    log = place.log(worker)
    return int(log[-1][1]) if log else 0


def first_step_s(place: Place, worker: int, former: set[str]) -> float | None:
    """When a process that is none of the former ones made its first step."""
    return next((float(at_s) for pid, _, at_s in place.log(worker) if pid not in former), None)
