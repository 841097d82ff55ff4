"""The words that the agent puts to a receipt: what explains it, where else the wrong values are, and none at all."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lastgood.checksum import crc32c
from lastgood.explanation.fault import Fault
from lastgood.explanation.predictions import Outcome, Prediction
from lastgood.v1 import agent_service_pb2 as pb
from lastgood_agent.facts import Fact, FactError, parse_fact
from lastgood_agent.proofs import MOST_EXPLAINED, Proofs, Words, add_words, explain_receipt, found_instead
from tests.unit.lib.bundle_builder import DATA, Tensor, write_bundle

KEY = "x/.ATTRIBUTES/VARIABLE_VALUE"


def fact(number: int = 1, **fields: object) -> Fact:
    base = {"type": "receipt", "attempt": 1, "prefix": "/ck/ckpt-1", "digest": "d", "restored": 1}
    return parse_fact(f"000001-{number:020d}-1-1.json", {**base, **fields})


def write(directory: Path, number: int, value: bytes) -> str:
    return write_bundle(directory / f"ckpt-{number}", [Tensor(KEY.encode(), value, (1,))])


def test_wrong_values_are_recognised_in_another_checkpoint_of_the_directory(tmp_path: Path) -> None:
    # given three checkpoints, and a worker that holds the first one's value instead of the third's
    first, _, third = (write(tmp_path, number, bytes([number] * 4)) for number in (1, 2, 3))

    # then
    assert found_instead(third, {KEY: crc32c(bytes([1] * 4))}) == f"it holds what {first} holds"
    assert found_instead(third, {KEY: crc32c(b"else")}) == ""
    assert found_instead(third, {KEY: crc32c(bytes([1] * 4)), "y": 7}) == ""


@pytest.mark.parametrize("found", [None, {}, [], "x", {KEY: "no number"}])
def test_what_a_hook_says_in_any_other_way_is_found_nowhere(tmp_path: Path, found: object) -> None:
    prefix = write(tmp_path, 1, b"abcd")
    write(tmp_path, 2, b"efgh")
    assert found_instead(prefix, found) == ""
    assert found_instead(str(tmp_path / "gone" / "ckpt-1"), {KEY: 1}) == ""


def live(**names: tuple[str, list[int]]) -> dict[str, Any]:
    """A description of variables in a root: by attribute the name and the shape of each."""
    values = [
        {
            "values": [
                {"name": "VARIABLE_VALUE", "full_name": name, "dtype": "float32", "shape": shape, "kind": "mirrored"}
            ]
        }
        for name, shape in names.values()
    ]
    children = [[attribute, number] for number, attribute in enumerate(names, start=1)]
    return {"version": 1, "tensorflow": "2.15.1", "nodes": [{"children": children}, *values]}


def test_a_receipt_gets_the_words_of_explain_and_only_what_it_calls_left_is_blamed_on_the_script() -> None:
    # given a real checkpoint that holds `b` and `w`, and a script that has renamed the attribute `w`
    prefix = str(DATA / "tf-2.15.1" / "mwms" / "ckpt-1")
    document = live(b=("b", [4]), kernel=("w", [8, 4]))

    # when the receipt says that the value was left, and when it does not
    left = explain_receipt(fact(prefix=prefix, left_at_initial=["w/.ATTRIBUTES/VARIABLE_VALUE"]), document)
    fits = explain_receipt(fact(prefix=prefix), document)

    # then
    assert left.fault.model_change.startswith("w: ")
    assert "`kernel`" in left.fault.model_change
    assert fits.fault.model_change == ""
    assert "w" in [one.key for one in fits.fault.unmatched]


def test_words_are_bounded() -> None:
    # given
    many = tuple(Prediction(f"k{n}" + "x" * 5000, Outcome.DROPPED, "r" * 5000, "f") for n in range(1000))
    receipt = pb.Receipt()

    # when
    add_words(receipt, Words(Fault("m" * 10_000, many, many), "i" * 10_000))

    # then
    assert (len(receipt.explained), len(receipt.unmatched)) == (MOST_EXPLAINED, MOST_EXPLAINED)
    assert receipt.ByteSize() < 300_000
    assert (receipt.explained[0].outcome, receipt.explained[0].fix) == ("dropped", "f")


class Told:
    """An outbox, a spool and a pool that keep what they get."""

    def __init__(self, description: Any = None) -> None:
        self.told: list[Any] = []
        self.rejected: list[str] = []
        self.description = description
        self.pool = ThreadPoolExecutor(1)

    def tell(self, report: pb.Report, _: Fact) -> None:
        self.told.append(report.receipt.restored)

    def tell_as_it_is(self, fact: Fact) -> None:
        self.told.append(fact.type)

    def reject(self, name: str, why: str) -> None:
        self.rejected.append(f"{name}: {why}")

    def plan(self, work: Any, *arguments: Any) -> Any:
        return asyncio.wrap_future(self.pool.submit(work, *arguments))

    def read_description(self, _: Fact, field: str) -> Any:
        if isinstance(self.description, Exception):
            raise self.description
        return self.description if field == "live" else None


def tell(told: Told, *given: Fact) -> None:
    async def work() -> None:
        own = Proofs("worker/0", told, told, told)  # type: ignore[arg-type]
        for each in given:
            own.queue.add(each)
        assert not own.queue.is_done
        for _ in given:
            await own.queue.work()
        assert own.queue.is_done

    asyncio.run(work())


@pytest.mark.parametrize("description", [None, {"version": 9}, [], FactError("gone"), OSError("no"), RecursionError()])
def test_a_receipt_that_cannot_be_explained_is_told_without_words(description: Any) -> None:
    told = Told(description)
    tell(told, fact(live="000001-1.live", wrong_value=[KEY], found={KEY: 1}))
    assert (told.told, told.rejected) == ([1], [])


def test_what_a_worker_does_next_is_told_after_its_receipt_however_long_that_takes_to_explain() -> None:
    # given
    told = Told()
    later = [parse_fact(f"000001-{n:020d}-1-1.json", {"type": kind, "attempt": 1}) for n, kind in
             ((3, "call_entered"), (4, "first_step"))]  # fmt: skip

    # when
    tell(told, fact(1, live="x.live", restored=1), fact(2, restored=2), *later)

    # then
    assert told.told == [1, 2, "call_entered", "first_step"]


def test_a_receipt_of_another_form_is_rejected_and_the_next_one_told() -> None:
    told = Told()
    tell(told, fact(1, restored="many"), fact(2, restored=2))
    assert told.told == [2]
    assert len(told.rejected) == 1
