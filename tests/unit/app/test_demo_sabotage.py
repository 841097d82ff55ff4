"""When the demo's saboteur acts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "demo"))

from sabotage import is_ripe
from verdict import save_name


def a_save(ordinal: int, attempt: int = 2) -> dict[str, Any]:
    return {"series": {"signature": "5e71e5", "ordinal": 0}, "attempt": attempt, "ordinal": ordinal}


def a_job(newest: dict[str, Any], step: int, attempt: int = 2, phase: str = "Training") -> dict[str, Any]:
    checkpoint = {"save": save_name(newest), "attempt": newest["attempt"], "step": step}
    return {"phase": phase, "attempt": attempt, "checkpoints": [checkpoint]}


@pytest.mark.parametrize("act", ["a", "b", "c"])
def test_a_newest_save_that_has_become_good_is_time_for_each_act(act: str) -> None:
    assert is_ripe(act, a_job(a_save(3), step=60), a_save(3), first_step=50, last_step=100)


@pytest.mark.parametrize(("act", "expected"), [("a", True), ("b", False), ("c", True)])
def test_a_verdict_that_comes_after_the_next_save_has_begun_delays_only_the_act_that_damages_the_newest(
    act: str, expected: bool
) -> None:
    assert is_ripe(act, a_job(a_save(4), step=80), a_save(3), first_step=50, last_step=100) is expected


@pytest.mark.parametrize(
    "job",
    [
        pytest.param(a_job(a_save(3), step=40), id="too early"),
        pytest.param(a_job(a_save(3), step=100), id="too near to the end"),
        pytest.param(a_job(a_save(3), step=60, phase="Stopping"), id="no training"),
        pytest.param(a_job(a_save(3), step=60, attempt=3), id="an older attempt"),
    ],
)
def test_it_waits_when_the_attempt_is_not_in_the_middle_of_its_training(job: dict[str, Any]) -> None:
    assert not is_ripe("a", job, a_save(3), first_step=50, last_step=100)
