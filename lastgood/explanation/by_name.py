"""What becomes of a checkpoint by names, as `tf.compat.v1.train.Saver` writes it: it has no object graph.

`tf.train.Checkpoint.restore` reads it all the same: one object after the other, as they are reached from the root,
takes what was saved under its variable's own name. Nothing is read ahead, so the first value that does not fit leaves
those before it assigned. Names are all there is, so nobody can say whether a value comes where it belongs.
"""

from dataclasses import dataclass
from typing import List, Sequence, Set

from lastgood.explanation.described import SAVE_COUNTER, Description, label_of
from lastgood.explanation.predictions import BEHIND, FIT, HALF, SEE_FIRST, START_ANEW, Outcome, Prediction

_RENAME = "give the variable that name, or restore it once with that Saver and save it with tf.train.Checkpoint"


@dataclass(frozen=True)
class _Value:
    """A value of the program. name: under which it is looked for; "" where there is none."""

    key: bytes
    name: str
    path: str


def judge_by_name(saved: Description, target: Description) -> List[Prediction]:
    """A prediction for every value of the program, and for every saved one that none of them takes."""
    values = _values(target)
    found: List[Prediction] = []
    culprit = ""
    for value in values:
        if culprit:
            found.append(_after(value, culprit))
            continue
        fault = _fault(saved, target, value)
        if fault:
            culprit = label_of(value.key)
            found = [_half(one, culprit) if one.outcome is Outcome.RESTORED else one for one in found]
            found.append(_predict(value, Outcome.ERROR, fault, FIT))
        else:
            found.append(_judge(saved, value))
    return found + _dropped(saved, values)


def _values(target: Description) -> Sequence[_Value]:
    """In the order in which they are assigned, without the counter of saves: `restore` makes it when it is done."""
    return [_Value(one.checkpoint_key, one.full_name, path) for one, path in target.values()]


def _key_of(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _fault(saved: Description, target: Description, value: _Value) -> str:
    """Why restore() raises at this one, "" where it does not."""
    theirs, mine = saved.tensors.get(_key_of(value.name)), target.tensors.get(value.key)
    if not value.name or theirs is None or mine is None:
        return ""
    if theirs.dtype != mine.dtype:
        return "{} was saved as `{}`, and here it is {}".format(theirs.dtype, value.name, mine.dtype)
    if not mine.takes(theirs):
        return "{} was saved as `{}`, and here it is {}".format(theirs, value.name, mine)
    return ""


def _judge(saved: Description, value: _Value) -> Prediction:
    if not value.name:
        reason = "the checkpoint knows values by the names of variables alone, and this has none"
        return _predict(value, Outcome.LEFT_AT_INITIAL, reason, "set it yourself after the restore", True)
    if _key_of(value.name) in saved.tensors:
        return _predict(value, Outcome.RESTORED, "found under the variable's own name, `{}`".format(value.name))
    reason = "the checkpoint knows values by the names of variables alone, and none is called `{}`".format(value.name)
    return _predict(value, Outcome.LEFT_AT_INITIAL, reason, _RENAME)


def _half(one: Prediction, culprit: str) -> Prediction:
    return Prediction(one.key, Outcome.HALF_RESTORED, HALF.format(culprit), START_ANEW, one.variable, one.name)


def _after(value: _Value, culprit: str) -> Prediction:
    return _predict(value, Outcome.LEFT_AT_INITIAL, BEHIND.format(culprit), SEE_FIRST.format(culprit))


def _dropped(saved: Description, values: Sequence[_Value]) -> List[Prediction]:
    """Of what is not there yet, a variable may still be born under that name, and takes its value then."""
    names: Set[bytes] = {_key_of(value.name) for value in values if value.name}
    reason = "no variable here is called `{}`"
    return [
        Prediction(label_of(key), Outcome.DROPPED, reason.format(label_of(key)), _RENAME, is_suspected=True)
        for key in saved.tensors
        if key not in names and key != SAVE_COUNTER.encode()
    ]


def _predict(value: _Value, outcome: Outcome, reason: str, fix: str = "", is_suspected: bool = False) -> Prediction:
    return Prediction(label_of(value.key), outcome, reason, fix, value.path, value.name, is_suspected)
