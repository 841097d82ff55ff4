"""What becomes of the values that the program takes: restored, wrong, or half restored because one does not fit.

Batch after batch, in the order in which TensorFlow assigns them. Types are noticed when a batch is read, before any of
it is assigned; shapes when it is the value's turn. The first that does not fit ends the restore.
"""

from itertools import takewhile
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence

from lastgood.explanation.described import Tensor, label_of
from lastgood.explanation.displacement import MOVED, SHIFTED, SWAPPED, Displacement, Pair, find_displaced
from lastgood.explanation.optimizers import why_of_another, why_saved_by_another
from lastgood.explanation.predictions import (
    BEHIND,
    FIT,
    HALF,
    SAME_OPTIMIZER,
    SAME_ORDER,
    SEE_FIRST,
    START_ANEW,
    Outcome,
    Prediction,
)
from lastgood.explanation.sides import UNKNOWN, Assignment, Sides
from lastgood.manifest import Kind

_HOW = {
    SWAPPED: "two values change places",
    SHIFTED: "the values are shifted along the list",
    MOVED: "it was another variable's value",
}


class Fault(NamedTuple):
    """Why a value cannot be assigned. is_early: noticed when the batch is read."""

    reason: str
    is_early: bool


Faults = Mapping[bytes, Fault]


def judge_taken(sides: Sides) -> List[Prediction]:
    """A prediction for every value that meets a variable."""
    refused = next((slot for slot in sides.matching.lost_slots if slot.is_refused), None)
    faults = [_faults(sides, batch) for batch in sides.batches]
    if refused is not None:
        attributes = sides.saved.graph.nodes[refused.saved].attributes
        culprit = label_of(attributes[0].checkpoint_key) if attributes else refused.name
        return [one for batch, found in zip(sides.batches, faults) for one in _after(sides, batch, found, culprit)]
    raising = next((place for place, found in enumerate(faults) if found), None)
    if raising is None:
        return _judge_whole(sides)
    culprit = next(label_of(one.key) for one in sides.batches[raising] if one.key in faults[raising])
    predictions: List[Prediction] = []
    for place, (batch, found) in enumerate(zip(sides.batches, faults)):
        done = len(batch) if place < raising else _assigned_before(batch, found) if place == raising else 0
        predictions += [_half(sides, one, culprit) for one in batch[:done]]
        predictions += _after(sides, batch[done:], found, culprit)
    return predictions


def _assigned_before(batch: Sequence[Assignment], faults: Faults) -> int:
    if any(fault.is_early for fault in faults.values()):
        return 0
    return len(list(takewhile(lambda one: one.key not in faults, batch)))


def _half(sides: Sides, one: Assignment, culprit: str) -> Prediction:
    return _predict(sides, one, Outcome.HALF_RESTORED, HALF.format(culprit), START_ANEW)


def _after(sides: Sides, batch: Sequence[Assignment], faults: Faults, culprit: str) -> List[Prediction]:
    reason, fix = BEHIND.format(culprit), SEE_FIRST.format(culprit)
    return [
        _predict(sides, one, Outcome.ERROR, faults[one.key].reason, FIT)
        if one.key in faults
        else _predict(sides, one, Outcome.LEFT_AT_INITIAL, reason, fix)
        for one in batch
    ]


def _faults(sides: Sides, batch: Sequence[Assignment]) -> Faults:
    faults: Dict[bytes, Fault] = {}
    for one in batch:
        value = sides.saved.tensors.get(one.key)
        variable = sides.target.tensors.get(one.live) if one.live is not None else None
        if one.is_absent:
            faults[one.key] = Fault("a value of another kind was saved here, and restore() raises NotFoundError", True)
        elif value is None or variable is None:
            continue
        elif value.dtype != variable.dtype:
            faults[one.key] = Fault("{} was saved, and here it is {}".format(value.dtype, variable.dtype), True)
        elif not variable.takes(value):
            faults[one.key] = Fault(_wrong_shape(sides, one, value, variable), False)
    return faults


def _wrong_shape(sides: Sides, one: Assignment, value: Tensor, variable: Tensor) -> str:
    shapes = "the shape {} was saved, and here it is {}".format(list(value.shape or ()), list(variable.shape or ()))
    difference = sides.count_above(one.variable)
    return "{} ({})".format(shapes, difference.sentence) if difference is not None else shapes


def _judge_whole(sides: Sides) -> List[Prediction]:
    """Nothing raises: what is left to be seen is whether each value comes where it belongs."""
    displaced = _displaced(sides)
    return [_judge(sides, one, displaced.get(one.key)) for batch in sides.batches for one in batch]


def _displaced(sides: Sides) -> Mapping[bytes, Displacement]:
    pairs: List[Pair] = []
    keys: List[bytes] = []
    for batch in sides.batches:
        for one in batch:
            if one.live is not None:
                keys.append(one.key)
                is_state = sides.is_optimizers_own(one.variable)
                pairs.append(Pair(sides.saved_holder(one.key), sides.live_holder(one.live), is_state))
    dropped = [sides.saved_holder(loose.key) for loose in sides.dropped]
    left = [sides.live_holder(loose.key) for loose in sides.left]
    return {keys[number]: found for number, found in find_displaced(pairs, dropped, left).items()}


def _judge(sides: Sides, one: Assignment, displacement: Optional[Displacement]) -> Prediction:
    if displacement is not None:
        reason = "{}: {}".format(_HOW[displacement.how], displacement.evidence)
        return _predict(sides, one, Outcome.WRONG_VALUE, reason, SAME_ORDER, not displacement.is_certain)
    if one.live is None:
        return _judge_created(sides, one)
    other = why_of_another(sides, one, one.live)
    if other:
        return _predict(sides, one, Outcome.WRONG_VALUE, other, SAME_OPTIMIZER, is_suspected=True)
    return _judge_kind(sides, one, one.live)


def _judge_kind(sides: Sides, one: Assignment, live: bytes) -> Prediction:
    kind = sides.target.tensors.get(live, UNKNOWN).kind
    if kind is Kind.UNKNOWN:
        kind = sides.saved.tensors.get(one.key, UNKNOWN).kind
    if kind is Kind.AGGREGATED_SUM and sides.target.replicas != 1:
        share = sides.target.replicas or "replicas"
        reason = "saved as the sum over all replicas, restored on each as saved / {}".format(share)
        return _predict(sides, one, Outcome.RESTORED, reason)
    if kind is Kind.PER_WORKER and sides.target.is_foreign:
        reason = "each worker has its own, the checkpoint holds the chief's, and this is another worker"
        fix = "set it again after the restore, or save it per worker"
        return _predict(sides, one, Outcome.TAKEN_FROM_CHIEF, reason, fix)
    name, own = sides.names.get(one.key, ""), sides.live_names.get(live, "")
    if name and own and name != own:
        reason = "found under the same path; that `{}` is called `{}` here is harmless".format(name, own)
        return _predict(sides, one, Outcome.RESTORED, reason)
    return _predict(sides, one, Outcome.RESTORED, "found under the same path")


def _judge_created(sides: Sides, one: Assignment) -> Prediction:
    """A slot variable that TensorFlow creates; in an optimizer that already has others, nobody will read it."""
    optimizer, name = sides.saved_slots[one.key]
    live = sides.matching.bound.get(optimizer)
    known = sides.slot_names[live] if live is not None else ()
    if live is not None and known and name not in known:
        reason = "{} keeps {}, and no `{}`: TensorFlow creates it, and nobody reads it".format(
            sides.target.traits_of(live).class_name or "the optimizer",
            ", ".join("`{}`".format(one) for one in known),
            name,
        )
        return _predict(sides, one, Outcome.DROPPED, reason, SAME_OPTIMIZER)
    other = why_saved_by_another(sides, live, one.key) if live is not None else ""
    if other:
        reason = "{}: TensorFlow creates it, and nobody reads it".format(other)
        return _predict(sides, one, Outcome.DROPPED, reason, SAME_OPTIMIZER, is_suspected=True)
    return _predict(sides, one, Outcome.RESTORED, "the optimizer creates this slot variable with the saved value")


def _predict(
    sides: Sides, one: Assignment, outcome: Outcome, reason: str, fix: str = "", is_suspected: bool = False
) -> Prediction:
    name = sides.live_names.get(one.live, "") if one.live is not None else ""
    variable = sides.paths.get(one.variable, "")
    return Prediction(label_of(one.key), outcome, reason, fix, variable, name, is_suspected)
