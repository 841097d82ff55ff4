"""What deciding hands to the reconciler: decisions to record, or what is waited for and until when."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from lastgood_controller.events import (
    Decision,
)


@dataclass(frozen=True)
class Step:
    """One round of deciding.

    decisions: to be journalled and applied, in this order; deciding goes on afterwards until there are none.
    waiting: what is waited for, in words; "" when training simply goes on.
    deadline_s: when to decide again although no fact has come; None when only a fact can change anything.
    """

    decisions: tuple[Decision, ...] = ()
    waiting: str = ""
    deadline_s: float | None = None

    def no_later_than(self, times_s: Iterable[float], now_s: float) -> Step:
        """The same step, with a deadline that misses none of these times. Times that have passed count no more."""
        times = [time for time in times_s if time > now_s]
        if self.deadline_s is not None:
            times.append(self.deadline_s)
        return replace(self, deadline_s=min(times, default=None))


def named(items: Iterable[object], shown: int = 5) -> str:
    """Names for a sentence: the first few, and how many there are besides."""
    names = [str(item) for item in items]
    rest = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {rest} more" if rest > 0 else "")
