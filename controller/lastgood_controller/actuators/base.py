"""What an actuator is: the part that makes a platform's processes be what was decided."""

from __future__ import annotations

from typing import Protocol

from lastgood_controller.model import (
    Run,
)


class Actuator(Protocol):
    """Brings decided states about, on one platform.

    Level-triggered: it is given the whole run after every change and again whenever somebody is unsure, and makes the
    platform fit the newest one, however many came in between. Idempotent: the same run again does nothing. It decides
    nothing, never waits for the platform, and raises nothing for a worker that is not there: what cannot be done now is
    done when the run comes again.
    """

    def bring_about(self, run: Run) -> None:
        """Makes every worker of the run do what it should be doing now."""
