"""What a whole run with saves takes, from its first step to its last, with lastgood and without.

Everything that lastgood does beside the training counts here: hooks, agent, controller, fsync and the reading of each
checkpoint, on the same cores.
"""

from __future__ import annotations

from benchmarks.gangs import fresh_place, run_alone
from benchmarks.results import Result, interleaved

ARGUMENTS = ("--steps", "600", "--save-every", "60", "--width", "1024", "--batch", "128")


def measure(trainer_python: str, pairs: int = 5) -> Result:
    """The benchmark."""
    baseline, ours = interleaved(
        pairs, lambda: training_s(trainer_python, guarded=False), lambda: training_s(trainer_python, guarded=True)
    )
    return Result(
        name="throughput",
        what="600 steps with 10 saves, first step to last, 1 worker",
        baseline_is="the same script without lastgood",
        unit="s",
        baseline=tuple(baseline),
        ours=tuple(ours),
        aim=1.02,
    )


def training_s(trainer_python: str, *, guarded: bool) -> float:
    """From the end of the first step to the end of the last."""
    with fresh_place(trainer_python) as place:
        run_alone(place, place.script("train.py", *ARGUMENTS), guarded=guarded)
        log = place.log()
        return float(log[-1][2]) - float(log[0][2])
