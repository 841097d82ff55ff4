"""The CPU that lastgood takes beside a training: agent, controller and launchers, as a share of what the trainer takes.

Beside the times of `throughput` and `save` a figure that another process on the machine hardly moves. It counts from
the first step to the last, with ten saves: what starting and ending take is not in it, nor what the hooks take within
the trainer (`step_cost`, and `save`).
"""

from __future__ import annotations

import time

from benchmarks.gangs import LOOK_S, BenchmarkError, Place, fresh_place, running, with_lastgood
from benchmarks.results import Result
from benchmarks.throughput import ARGUMENTS
from lastgood_agent import processes

STEPS = int(ARGUMENTS[ARGUMENTS.index("--steps") + 1])


def measure(trainer_python: str, pairs: int = 5) -> Result:
    """The benchmark. Without lastgood nothing runs beside the trainer: the baseline is 0."""
    samples = [cpu_s(trainer_python) for _ in range(pairs)]
    return Result(
        name="beside",
        what="CPU of agent, controller and launchers in 600 steps with 10 saves, as a share of the trainer's",
        baseline_is="nothing beside the trainer",
        unit="s",
        baseline=(0.0,) * pairs,
        ours=tuple(ours for ours, _ in samples),
        whole=tuple(trainer for _, trainer in samples),
        aim=0.02,
    )


def cpu_s(trainer_python: str) -> tuple[float, float]:
    """(lastgood's, the trainer's) CPU of one run, from the first step that is seen to the last."""
    with fresh_place(trainer_python) as place:
        # More steps than are counted: what is to be counted must still live when the last one is done.
        script = place.script("train.py", *ARGUMENTS, "--steps", str(10 * STEPS))
        with running(place, with_lastgood(place, 1, script)) as run:
            run.until(lambda: bool(place.log()), "a first step")
            trainer = int(place.log()[0][0])
            before = used_s(run.process.pid)
            await_step(place, STEPS)
            after = used_s(run.process.pid)
    grown = {pid: used - before.get(pid, 0.0) for pid, used in after.items()}
    if trainer not in grown:
        raise BenchmarkError(f"expected the trainer {trainer} among {sorted(grown)}")
    return sum(grown.values()) - grown[trainer], grown[trainer]


def await_step(place: Place, step: int, limit_s: float = 300.0) -> None:
    """Waits until the trainer has made that step."""
    deadline_s = time.monotonic() + limit_s
    while int(place.log()[-1][1]) < step:
        if time.monotonic() > deadline_s:
            raise BenchmarkError(f"expected step {step} within {limit_s:.0f} s, found {place.log()[-1]}")
        time.sleep(LOOK_S)


def used_s(root: int) -> dict[int, float]:
    """By pid: the CPU that a process, and each one below it, has used so far; also by threads that have ended."""
    return {pid: time.clock_gettime(_cpu_clock_of(pid)) for pid in (root, *processes.descendants(root))}


def _cpu_clock_of(pid: int) -> int:
    """The clock that clock_getcpuclockid(3) names, which Python does not offer: the kernel's layout of such numbers."""
    return (~pid << 3) | 2
