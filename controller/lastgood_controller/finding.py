"""What a check of a live attempt gives: a failure that has happened, or a time at which there may be one."""

from __future__ import annotations

from dataclasses import dataclass

from lastgood_controller.model import (
    Failure,
)


@dataclass(frozen=True)
class Look:
    """Nothing yet; something may be wrong at that time."""

    at_s: float
    waiting: str


Finding = Failure | Look
