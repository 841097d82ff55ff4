"""When receipts are written."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from _lastgood_hooks.orders import PlannedSeries
from _lastgood_hooks.receipts import RESTORED, WRONG, Entry, Proof, Receipts, Snapshot

DEADLINE_S = 20.0
PLANNED = PlannedSeries("aa", 0, ("/ck",), "/ck/ckpt-3", "d", 3, "/m.json")


class Written:
    """An outbox, and a wait for what is written."""

    def __init__(self) -> None:
        self.receipts: list[tuple[int, int, list[str]]] = []
        self._news = threading.Condition()

    def write(self, _: str, **body: Any) -> None:
        with self._news:
            self.receipts.append((body["restored"], body["deferred"], body["wrong_value"]))
            self._news.notify_all()

    def wait_for(self, restored: int) -> None:
        with self._news:
            assert self._news.wait_for(lambda: self.receipts and self.receipts[-1][0] == restored, DEADLINE_S)


def snapshot(number: int, verdict: str = RESTORED) -> Snapshot:
    return Snapshot(Entry(f"v{number}", "float32", (), 1, 4, "mirrored"), verdict=verdict)


@pytest.fixture
def outbox() -> Written:
    return Written()


@pytest.fixture
def receipts(outbox: Written) -> Receipts:
    return Receipts(SimpleNamespace(outbox=outbox, is_chief=True), on_lost=pytest.fail)  # type: ignore[arg-type]


def born(receipts: Receipts, proof: Proof, number: int, verdict: str = RESTORED) -> None:
    proof.pending.pop(number, None)
    receipts._judge_behind(proof, [snapshot(number, verdict)])


def proof_of(late: int) -> Proof:
    return Proof(PLANNED, "", 0.1, pending={number: [snapshot(number).entry] for number in range(1, late + 1)})


def test_variables_that_are_born_one_after_the_other_are_told_together(receipts: Receipts, outbox: Written) -> None:
    proof = proof_of(late=500)

    for number in range(501):
        born(receipts, proof, number)
    outbox.wait_for(501)

    assert outbox.receipts == [(1, 500, []), (501, 0, [])]


def test_those_that_are_never_followed_by_the_last_one_are_told_after_a_lull(
    receipts: Receipts, outbox: Written
) -> None:
    proof = proof_of(late=3)

    for number in range(3):
        born(receipts, proof, number)
    outbox.wait_for(3)

    assert outbox.receipts == [(1, 3, []), (3, 1, [])]


def test_a_wrong_value_is_told_at_once(receipts: Receipts, outbox: Written) -> None:
    proof = proof_of(late=3)

    born(receipts, proof, 0)
    born(receipts, proof, 1, WRONG)
    born(receipts, proof, 2)
    outbox.wait_for(2)

    assert outbox.receipts == [(1, 3, []), (1, 2, ["v1"]), (2, 1, ["v1"])]
