"""Receipts of restores, told one after the other, each with the words for what went wrong.

Decides nothing about a restore: `lastgood.explanation` does, from the checkpoint's objects and from those that the
hooks have described. Refuses to lose a receipt: one that cannot be explained is told without words.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lastgood.directory import list_checkpoints
from lastgood.errors import BundleError
from lastgood.explain import Explanation, Prediction
from lastgood.explanation.described import label_of
from lastgood.explanation.fault import Fault, Restored, find_fault
from lastgood.explanation.saved_side import describe_saved
from lastgood.explanation.told import description_from_json
from lastgood.inspect import read_manifest
from lastgood.v1 import agent_service_pb2 as pb
from lastgood_agent.fact_queue import FactQueue
from lastgood_agent.facts import Fact, FactError, bounded, bounded_list, optional_number, report_of
from lastgood_agent.outbox import Outbox
from lastgood_agent.pools import Pools
from lastgood_agent.spool import Spool

log = logging.getLogger(__name__)

#: Of each sort so many values are told with a reason; the receipt names the others.
MOST_EXPLAINED = 50
#: So many of the newest checkpoints beside the planned one are compared with values that are wrong.
MOST_COMPARED = 20
_TEXT_CHARS = 1000


@dataclass(frozen=True)
class Words:
    """What can be said of a receipt. found_instead: where else the wrong values are."""

    fault: Fault = field(default_factory=Fault)
    found_instead: str = ""


class Proofs:
    """The facts of `facts.PROOF_TYPES` of one worker that are not told yet, in their order.

    A later receipt of a series replaces an earlier one, and what a worker does next counts only after it.
    """

    def __init__(self, worker: str, spool: Spool, outbox: Outbox, pools: Pools) -> None:
        self._worker = worker
        self._spool = spool
        self._outbox = outbox
        self._pools = pools
        #: The facts of `facts.PROOF_TYPES` that are not told yet.
        self.queue = FactQueue(outbox, {"receipt": self._tell})

    async def _tell(self, fact: Fact) -> None:
        report = report_of(self._worker, fact)
        if report is None:
            raise FactError(f"{fact.name}: expected a receipt, found a fact of type {fact.type:.80}")
        if needs_words(fact):
            add_words(report.receipt, await self._pools.plan(self._explain, fact))
        self._outbox.tell(report, fact)

    def _explain(self, fact: Fact) -> Words:
        try:
            live, before = (self._spool.read_description(fact, field) for field in ("live", "before"))
            return explain_receipt(fact, live, before)
        except Exception as error:  # whatever it is, the receipt is told
            log.warning("the receipt %s cannot be explained: %r", fact.name, error)
            return Words()


def needs_words(fact: Fact) -> bool:
    """Whether there is anything to explain about a receipt."""
    return bool(fact.body.get("live") or fact.body.get("wrong_value"))


def explain_receipt(fact: Fact, live: Any, before: Any = None) -> Words:
    """What can be said of a receipt. live: the document that describes the objects, None where there is none.
    before: the same of the moment when the restore returned, where more was built since.

    Raises BundleError where the checkpoint cannot be read any more, and ValueError for what is no description.
    """
    body = fact.body
    prefix = bounded(body.get("prefix"))
    wrong = frozenset(map(_label, bounded_list(body.get("wrong_value"))))
    left = frozenset(map(_label, bounded_list(body.get("left_at_initial"))))
    instead = found_instead(prefix, body.get("found"))
    saved = describe_saved(prefix) if live is not None else None
    if saved is None or isinstance(saved, Explanation):
        return Words(found_instead=instead)
    restored = Restored(
        wrong=wrong,
        left=left,
        has_raised=bool(body.get("error")),
        may_grow=optional_number(body.get("step")) == 0,
        is_settled=body.get("is_settled") is True,
    )
    earlier = description_from_json(before) if before is not None else None
    return Words(find_fault(saved, description_from_json(live), restored, earlier), instead)


def found_instead(prefix: str, found: Any) -> str:
    """Which other checkpoint of the same directory holds every one of the wrong values, in words; "" for none.

    found: by key, the checksum of what is there instead.
    """
    if not isinstance(found, Mapping) or not found:
        return ""
    wanted = {str(key).encode("utf-8", "surrogateescape"): crc for key, crc in found.items()}
    try:
        others = [each.prefix for each in list_checkpoints(os.path.dirname(prefix)) if each.prefix != prefix]
    except BundleError:
        return ""
    for other in others[:MOST_COMPARED]:
        if _holds(other, wanted):
            return f"it holds what {other} holds"
    return ""


def _holds(prefix: str, wanted: Mapping[bytes, Any]) -> bool:
    try:
        entries = read_manifest(prefix).by_key()
    except BundleError:
        return False
    return all(key in entries and entries[key].crc32c == crc for key, crc in wanted.items())


def _label(key: str) -> str:
    return label_of(key.encode("utf-8", "surrogateescape"))


def add_words(receipt: pb.Receipt, words: Words) -> None:
    """Puts the words into the report's receipt."""
    receipt.model_change = bounded(words.fault.model_change)
    receipt.found_instead = bounded(words.found_instead)
    receipt.explained.extend(_explained(words.fault.explained))
    receipt.unmatched.extend(_explained(words.fault.unmatched))


def _explained(predictions: Iterable[Prediction]) -> list[pb.Explained]:
    return [
        pb.Explained(
            key=bounded(one.key, _TEXT_CHARS),
            outcome=one.outcome.value,
            reason=bounded(one.reason, _TEXT_CHARS),
            fix=bounded(one.fix, _TEXT_CHARS),
            is_suspected=one.is_suspected,
        )
        for one in list(predictions)[:MOST_EXPLAINED]
    ]
