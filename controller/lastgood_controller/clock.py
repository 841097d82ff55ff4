"""The controller's own clock: seconds since the epoch that never go back and never jump.

Anchored once to the wall clock, then driven by the monotonic one: a clock that is set while a job trains makes nobody
lost. After a restart it begins no earlier than the journal's last entry.
"""

from __future__ import annotations

import time


class SteadyClock:
    """Callable: now, in seconds since the epoch."""

    def __init__(self, not_before_s: float = 0.0) -> None:
        self._offset_s = max(time.time(), not_before_s) - time.monotonic()

    def __call__(self) -> float:
        return time.monotonic() + self._offset_s
