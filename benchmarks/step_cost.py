"""What the hooks cost at each step: CPU of the calling thread, as a share of an ordinary training step.

The cost is found on a function that does next to nothing, thousands of times, where it can be seen; the step that it is
a share of comes from the same processes.
"""

from __future__ import annotations

from benchmarks.gangs import fresh_place, run_alone
from benchmarks.results import Result, interleaved


def measure(trainer_python: str, pairs: int = 5) -> Result:
    """The benchmark."""
    steps_s: list[float] = []
    baseline, ours = interleaved(
        pairs,
        lambda: cpu_per_call_s(trainer_python, steps_s, guarded=False),
        lambda: cpu_per_call_s(trainer_python, [], guarded=True),
    )
    return Result(
        name="step cost",
        what="CPU of the calling thread per call of a tf.function, as a share of a training step",
        baseline_is="the same script without lastgood",
        unit="µs",
        baseline=tuple(1e6 * s for s in baseline),
        ours=tuple(1e6 * s for s in ours),
        aim=0.01,
        whole=tuple(1e6 * s for s in steps_s),
    )


def cpu_per_call_s(trainer_python: str, steps_s: list[float], *, guarded: bool) -> float:
    """One process: CPU per call. Its training step's time is added to `steps_s`."""
    with fresh_place(trainer_python) as place:
        run_alone(place, place.script("calls.py"), guarded=guarded)
        cpu, step = place.log()[-1]
        steps_s.append(float(step))
        return float(cpu)
