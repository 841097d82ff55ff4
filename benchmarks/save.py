"""What a save of 300 MB takes in the training process, with the hooks and without.

Between two saves the script trains for a while, as scripts do: what the agent does with one save is then not a part of
the next one. The median of one process's saves is one sample.

The first saves of each process are not counted: on a virtual machine whose memory was never in use, they pay for each
new page of the page cache (up to 2 s for 300 MB were seen), with lastgood and without. Fsync and the reading that
follow a save are paid for in full; they run beside the training, on the same cores.
"""

from __future__ import annotations

from statistics import median

from benchmarks.gangs import fresh_place, run_alone
from benchmarks.results import Result, interleaved


def measure(trainer_python: str, pairs: int = 5) -> Result:
    """The benchmark."""
    baseline, ours = interleaved(
        pairs, lambda: save_s(trainer_python, guarded=False), lambda: save_s(trainer_python, guarded=True)
    )
    return Result(
        name="save",
        what="one save of 300 MB, as the script sees it",
        baseline_is="the same script without lastgood",
        unit="s",
        baseline=tuple(baseline),
        ours=tuple(ours),
        aim=1.02,
    )


def save_s(trainer_python: str, *, guarded: bool) -> float:
    """The median save of one process."""
    with fresh_place(trainer_python) as place:
        run_alone(place, place.script("save.py"), guarded=guarded)
        return median(float(seconds) for (seconds,) in place.log())
