"""What a receipt adds to a restore of 300 MB, as the script sees it: from the call until the script goes on.

One process saves, and others restore what it left, each once: a second restore in one process is not what scripts do.
With the hooks the restore is steered, and the live variables are looked up while the script waits; their checksums are
computed behind its back, while it goes on to the gate, and are not a part of this.
"""

from __future__ import annotations

import shutil
from statistics import median

from benchmarks.gangs import fresh_place, run_alone
from benchmarks.results import Result, interleaved

#: Restores of one place, each in a process of its own; the first one warms the page cache and is not counted.
RESTORES = 4


def measure(trainer_python: str, pairs: int = 5) -> Result:
    """The benchmark."""
    baseline, ours = interleaved(
        pairs, lambda: restore_s(trainer_python, guarded=False), lambda: restore_s(trainer_python, guarded=True)
    )
    return Result(
        name="receipts",
        what="one restore of 300 MB in 120 variables, as the script sees it",
        baseline_is="the same script without lastgood",
        unit="s",
        baseline=tuple(baseline),
        ours=tuple(ours),
        aim=1.15,
    )


def restore_s(trainer_python: str, *, guarded: bool) -> float:
    """The median restore of one place."""
    with fresh_place(trainer_python) as place:
        script = place.script("restore.py")
        run_alone(place, script, guarded=False)
        for _ in range(RESTORES):
            run_alone(place, script, guarded=guarded)
            shutil.rmtree(place.folder / "state", ignore_errors=True)  # each run finds the checkpoint anew
        return median([float(seconds) for (seconds,) in place.log()][1:])
