"""When a child of `lastgood launch` that died is started again, and when that is given up. Pure.

At once after the first death, then with pauses that double; a child that had lived for a while is forgiven everything.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Deaths in a row after which it is hopeless.
MOST_DEATHS = 10
#: A child that lived this long had been started well.
WELL_STARTED_S = 10.0
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0


@dataclass(frozen=True)
class Revival:
    """deaths: how often in a row the child died soon after its start."""

    deaths: int = 0

    def after_death(self, lived_s: float) -> Revival:
        """What is known after one more death."""
        return Revival(1 if lived_s >= WELL_STARTED_S else self.deaths + 1)

    @property
    def is_hopeless(self) -> bool:
        return self.deaths >= MOST_DEATHS

    @property
    def pause_s(self) -> float:
        """How long to wait before the next start."""
        if self.deaths <= 1:
            return 0.0
        return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (self.deaths - 2))
