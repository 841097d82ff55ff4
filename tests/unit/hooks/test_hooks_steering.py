"""What a restore is answered with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from _lastgood_hooks.orders import Plan, PlannedSeries, read_state
from _lastgood_hooks.restoring import is_of_saved_model
from _lastgood_hooks.steering import Ask, select_series


def series(**changes: object) -> PlannedSeries:
    known = {
        "signature": "aa", "ordinal": 0, "directories": ("/ck", "/ck/workertemp_1"), "prefix": "/ck/ckpt-3",
        "digest": "d", "step": 3, "manifest": "/m.json",
    }  # fmt: skip
    return PlannedSeries(**{**known, **changes})  # type: ignore[arg-type]


def ask(**changes: object) -> Ask:
    return Ask(**{"signature": "aa", "ordinal": 0, "directory": "/ck", **changes})  # type: ignore[arg-type]


MODEL = series()
EMA = series(signature="bb", directories=("/ema",), prefix="/ema/ckpt-3")
BEST = series(ordinal=1, directories=("/best",), prefix="/best/ckpt-1")


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        (ask(prefix="/ck/ckpt-9"), MODEL),
        (ask(directory=""), MODEL),  # two series of one signature: the rank tells them apart
        (ask(directory="", ordinal=2), None),
        (ask(directory="/ck/workertemp_1", is_vacant=True), MODEL),
        (ask(signature="", prefix="/ck/ckpt-9"), MODEL),
        (ask(signature="bb", directory=""), EMA),
        (ask(signature="bb", directory="/ema", prefix="/ema/ckpt-1"), EMA),
        (ask(ordinal=1, directory="/best", prefix="/best/ckpt-7"), BEST),
        (ask(directory="/tmp/fresh", is_vacant=True, is_own=True, signature="bb"), EMA),
        (ask(directory="/ema/workertemp_2", is_vacant=True, signature="bb", prefix="/ema/workertemp_2/gone-1"), EMA),
        (ask(directory="/pretrained", prefix="/pretrained/model-1"), None),
        (ask(directory="/elsewhere", signature="", is_vacant=True), None),
        (ask(signature="cc", directory="/ema", prefix="/ema/ckpt-1"), EMA),
        (ask(signature="cc", directory="/ema", prefix="/ema/export-1"), None),
        (ask(signature="cc", directory=""), None),
    ],
)
def test_a_restore_is_steered_to_the_series_that_it_means_and_to_no_other(
    question: Ask, expected: PlannedSeries | None
) -> None:
    plan = Plan("restore", (MODEL, EMA, BEST))

    answer = select_series(plan, question)

    assert answer == expected


def test_a_plan_that_was_adopted_without_a_signature_fits_whoever_asks_in_its_directory() -> None:
    adopted = series(signature="", directories=("/ck",))
    plan = Plan("adopt", (adopted,))

    answers = [
        select_series(plan, ask(signature="ff", prefix="/ck/ckpt-1")),
        select_series(plan, ask(signature="ff", directory="")),
        select_series(plan, ask(signature="ff", directory="/pretrained", prefix="/pretrained/x-1")),
    ]

    assert answers == [adopted, adopted, None]


def test_what_was_restored_by_its_own_name_is_not_given_again_for_another_directory_that_is_empty() -> None:
    """Weights of somebody else, found by latest_checkpoint, are not what the script's own manager has saved."""
    adopted = series(signature="", directories=("/pretrained",), prefix="/pretrained/ckpt-9")
    plan = Plan("adopt", (adopted,))
    own = [
        ask(signature=signature, directory="/ck", is_vacant=True, is_own=is_own)
        for signature, is_own in (("aa", True), ("", True), ("aa", False))
    ]

    before = [select_series(plan, each) for each in own]
    after = [select_series(plan, replace(each, restored_elsewhere=frozenset({adopted.prefix}))) for each in own]
    again = select_series(plan, ask(directory="/pretrained", restored_elsewhere=frozenset({adopted.prefix})))

    assert (before, after, again) == ([adopted] * 3, [None] * 3, adopted)


def test_a_fresh_plan_and_no_plan_steer_nothing() -> None:
    assert [select_series(plan, ask()) for plan in (None, Plan("fresh"))] == [None, None]


def test_a_state_is_read_whole_or_refused() -> None:
    one = {
        "signature": "aa", "ordinal": 0, "directories": ["/ck", "/ck/workertemp_1"], "prefix": "/ck/ckpt-3",
        "digest": "d", "step": 3, "manifest": "/m.json",
    }  # fmt: skip
    message = {"type": "state", "attempt": 3, "steering": True, "gate_open": False}

    state = read_state({**message, "plan": {"kind": "restore", "series": [one]}}, 3)

    assert state is not None
    assert state.plan == Plan("restore", (MODEL,))
    assert read_state({**message, "plan": None}, 2) is None
    assert read_state({"type": "news"}, 3) is None
    for nonsense in ({}, {"kind": "restore", "series": []}, {"kind": "fresh", "series": [one]}, {"kind": "restore",
                     "series": [{}]}, 7):  # fmt: skip
        with pytest.raises(ValueError, match="expected a plan"):
            read_state({**message, "plan": nonsense}, 3)


def test_the_variables_of_a_saved_model_are_told_from_a_checkpoint_of_that_name(tmp_path: Path) -> None:
    for name in ("model", "checkpoints"):
        (tmp_path / name / "variables").mkdir(parents=True)
    (tmp_path / "model" / "saved_model.pb").write_bytes(b"")

    prefixes = ("model/variables/variables", "model/variables/ckpt-1", "checkpoints/variables/variables", "variables")

    assert [is_of_saved_model(str(tmp_path / prefix)) for prefix in prefixes] == [True, False, False, False]
