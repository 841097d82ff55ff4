"""Whose fault it is that a restore did not do what it should: the script's, whose objects are not those that were
saved, or that of something else.

What the two object graphs alone explain is the script's fault, and any other checkpoint of the same objects would fare
no better. What they do not explain (the objects fit, and the values differ or the restore raised all the same) may be
the checkpoint's fault, or a host's: that is not decided here. Neither is what follows from it.
"""

from dataclasses import dataclass, replace
from typing import AbstractSet, Dict, List, Optional, Sequence, Tuple

from lastgood.explain import explain
from lastgood.explanation.described import Description
from lastgood.explanation.predictions import Explanation, Outcome, Prediction

#: So many reasons are put into one sentence, and so many keys before each of them.
_REASONS = 3
_KEYS = 3


@dataclass(frozen=True)
class Restored:
    """What a receipt says of a restore. Keys are labels, as `described.label_of` makes them.

    wrong: its variable holds another value than was saved. left: no variable has taken it.
    may_grow: the checkpoint is from before the first step, so that variables it lacks lose nothing.
    is_settled: a step has been made since, so that nothing that was saved is still to be taken by what is built later.
    """

    wrong: AbstractSet[str] = frozenset()
    left: AbstractSet[str] = frozenset()
    has_raised: bool = False
    may_grow: bool = False
    is_settled: bool = False


@dataclass(frozen=True)
class Fault:
    """A restore that was looked at.

    model_change: why it is the script's fault, in one sentence without a stop; "" where it is not.
    explained: what became of the values that the sentence, or the receipt, is about.
    unmatched: values that met nothing on the other side, and that nobody is blamed for.
    """

    model_change: str = ""
    explained: Tuple[Prediction, ...] = ()
    unmatched: Tuple[Prediction, ...] = ()


def find_fault(
    saved: Description, target: Description, restored: Restored, before: Optional[Description] = None
) -> Fault:
    """Why a restore of `saved` into `target` came to what it did. target: as it is after the restore.

    Its checksums count only where the value is wrong: elsewhere each variable now holds the value that it was given.
    before: the same objects as they were when the restore returned, where more was built since: what was not built then
    may have lost its value while it was.
    """
    structure = explain(saved, without_values(target))
    guilty = [one for one in structure.predictions if _is_guilty(one, structure, restored)]
    if before is not None:
        guilty += [one for one in explain(saved, without_values(before)).predictions if _was_lost(one, restored)]
    by_value = explain(saved, target).predictions if restored.wrong else ()
    moved = [one for one in by_value if one.outcome is Outcome.WRONG_VALUE and one.key in restored.wrong]
    half = [one for one in structure.predictions if one.outcome is Outcome.HALF_RESTORED and restored.has_raised]
    unmatched = [one for one in structure.predictions if _is_unmatched(one, restored) and one not in guilty]
    return Fault(_sentence(guilty, structure.differences), (*guilty, *moved, *half), tuple(unmatched))


def without_values(side: Description) -> Description:
    """The same objects, of whose values nothing is known."""
    return replace(side, tensors={key: replace(tensor, crc32c=None) for key, tensor in side.tensors.items()})


def _is_guilty(one: Prediction, structure: Explanation, restored: Restored) -> bool:
    is_difference = one.reason in structure.differences and not one.is_suspected
    if one.outcome is Outcome.ERROR:
        return restored.has_raised
    if restored.has_raised:
        return False
    if one.outcome is Outcome.WRONG_VALUE:
        return one.key not in restored.wrong
    if one.outcome is Outcome.DROPPED:
        return (is_difference and restored.is_settled) or one.key in restored.left | restored.wrong
    if one.outcome is Outcome.LEFT_AT_INITIAL:
        return (is_difference and not restored.may_grow) or one.key in restored.left
    return False


def _was_lost(one: Prediction, restored: Restored) -> bool:
    return one.outcome is Outcome.LEFT_AT_INITIAL and one.key in restored.left | restored.wrong


def _is_unmatched(one: Prediction, restored: Restored) -> bool:
    if restored.has_raised or one.key in restored.left:
        return False
    return one.outcome in (Outcome.DROPPED, Outcome.LEFT_AT_INITIAL)


def _sentence(guilty: Sequence[Prediction], differences: Sequence[str]) -> str:
    by_reason: Dict[str, List[str]] = {}
    for one in guilty:
        by_reason.setdefault(one.reason, []).append(one.key)
    parts = [reason if reason in differences else _named(keys) + ": " + reason for reason, keys in by_reason.items()]
    rest = len(parts) - _REASONS
    return "; ".join(parts[:_REASONS]) + ("; and {} more reasons".format(rest) if rest > 0 else "")


def _named(keys: Sequence[str]) -> str:
    rest = len(keys) - _KEYS
    return ", ".join(keys[:_KEYS]) + (" and {} more".format(rest) if rest > 0 else "")
