"""What a restore is answered with, as a pure function of the plan and of what the script asks.

Decides which planned series is meant, if any. Refuses to touch a restore of something else: a script that loads
pretrained weights, or its own earlier save, gets what it asked for.
"""

import re
from dataclasses import dataclass
from typing import FrozenSet, Optional, Sequence

from .orders import Plan, PlannedSeries


@dataclass(frozen=True)
class Ask:
    """What the script asks to restore.

    signature: "" where only a directory is known (latest_checkpoint).
    directory: real path; "" where the script never named one.
    prefix: "" for nothing: restore(None), or a directory in which TensorFlow finds no checkpoint.
    is_vacant: no checkpoint lies in `directory`. is_own: this process, and no other, writes there.
    restored_elsewhere: planned prefixes that this process has restored, and that it was never given for `directory`.
    """

    signature: str
    ordinal: int
    directory: str
    prefix: str = ""
    is_vacant: bool = False
    is_own: bool = False
    restored_elsewhere: FrozenSet[str] = frozenset()


def select_series(plan: Optional[Plan], ask: Ask) -> Optional[PlannedSeries]:
    """The planned series that the script means; None: it means something else, or the plan is fresh.

    An empty directory stands for the planned one, as a temporary directory of a worker that is not the chief, only
    until that has been restored by its own name: whoever restores weights of somebody else first, and then asks for
    its own checkpoints, has none yet.
    """
    if plan is None or not plan.restores:
        return None
    there = [series for series in plan.series if ask.directory and ask.directory in series.directories]
    known = [series for series in plan.series if _is_of_signature(series, ask)]
    if there:
        return _the_one([s for s in there if s in known], ask) or _the_one(
            [s for s in there if _same_name(s, ask)], ask
        )
    names_nothing = not ask.directory or (not ask.prefix and bool(ask.signature) and ask.is_vacant)
    is_scratch = ask.is_vacant and (ask.is_own or _lies_below(ask.directory, plan))
    if names_nothing or is_scratch:
        return _the_one([series for series in known if series.prefix not in ask.restored_elsewhere], ask)
    return None


def _is_of_signature(series: PlannedSeries, ask: Ask) -> bool:
    return not ask.signature or not series.signature or series.signature == ask.signature


def _the_one(candidates: Sequence[PlannedSeries], ask: Ask) -> Optional[PlannedSeries]:
    """The only candidate, or the one of this ordinal where the signature says which stream is meant."""
    if len(candidates) == 1:
        return candidates[0]
    ranked = [series for series in candidates if ask.signature and series.ordinal == ask.ordinal]
    return ranked[0] if len(ranked) == 1 else None


def _same_name(series: PlannedSeries, ask: Ask) -> bool:
    """True when two prefixes are of one name but for its numbers: `ckpt-3` and `ckpt-12`, `cp-3.ckpt` and `cp-12.ckpt`.

    A root object that builds its layers late has fewer children when it restores than when it saved, and so another
    signature; the place and the name are then what is left to go by.
    """
    return bool(ask.prefix) and _stem(ask.prefix) == _stem(series.prefix)


def _stem(prefix: str) -> str:
    return re.sub(r"(?:^|(?<=[-_.]))\d+(?=[-_.]|$)", "#", prefix.rpartition("/")[2])


def _lies_below(directory: str, plan: Plan) -> bool:
    return any(directory.startswith(known.rstrip("/") + "/") for s in plan.series for known in s.directories)
