"""What `explain` says: what becomes of each value, and why. Words only; decides nothing."""

from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import Iterable, Mapping, Tuple


class Outcome(str, Enum):
    """What becomes of a value or a variable; worst first. Receipts of restores use the same words."""

    ERROR = "error"  # restore() raises because of it
    HALF_RESTORED = "half_restored"  # assigned before restore() raises
    WRONG_VALUE = "wrong_value"  # it gets a value that was another variable's
    LEFT_AT_INITIAL = "left_at_initial"  # nothing in the checkpoint reaches it
    DROPPED = "dropped"  # in the checkpoint, and goes nowhere
    NOT_SAVED = "not_saved"  # the object does not lead to it, so it is neither saved nor restored
    TAKEN_FROM_CHIEF = "taken_from_chief"  # it is per worker, and comes back as the chief's
    DEFERRED = "deferred"  # restored when its object is built, from the file as it is then
    RESTORED = "restored"


#: What is no harm, or a fact of the kind of variable.
_HARMLESS = (Outcome.RESTORED, Outcome.DEFERRED, Outcome.TAKEN_FROM_CHIEF)

_PLACES = {outcome: place for place, outcome in enumerate(Outcome)}


@dataclass(frozen=True)
class Prediction:
    """What becomes of one value.

    key: the label of the checkpoint key, or of the key under which the program would save the variable.
    variable: path of the program's variable, "" where there is none. name: what the program calls it.
    reason, fix: a sentence each; the fix is "" where nothing is wrong.
    is_suspected: likely by the evidence in the reason, and not proven.
    """

    key: str
    outcome: Outcome
    reason: str
    fix: str = ""
    variable: str = ""
    name: str = ""
    is_suspected: bool = False

    @property
    def is_harmless(self) -> bool:
        """Whether nothing has to be done about it."""
        return self.outcome in _HARMLESS


@dataclass(frozen=True)
class Explanation:
    """All predictions, worst first, and what is worth knowing beside them.

    differences: the sentences about another number of layers, which predictions give as their reasons.
    """

    predictions: Tuple[Prediction, ...]
    notes: Tuple[str, ...] = ()
    differences: Tuple[str, ...] = ()

    @property
    def is_good(self) -> bool:
        """Whether every value would come where it belongs."""
        return all(prediction.is_harmless for prediction in self.predictions)

    def counts(self) -> Mapping[Outcome, int]:
        """How many of each outcome, worst first; outcomes that do not occur are left out."""
        found = Counter(prediction.outcome for prediction in self.predictions)
        return {outcome: found[outcome] for outcome in Outcome if found[outcome]}


def worst_first(predictions: Iterable[Prediction]) -> Tuple[Prediction, ...]:
    """In the order in which they are shown."""
    return tuple(sorted(predictions, key=lambda one: (_PLACES[one.outcome], one.key)))


#: What to do about what several outcomes have in common.
FIT = "give the variable the type and shape that were saved, or leave it out of the checkpoint object"
TRACK = "track it under that name again, or restore with expect_partial() if it is to go"
RESAVE = "track it under the name that it was saved by, or set it yourself after the restore"
SAME_OPTIMIZER = "restore with the optimizer that was saved, or leave it out of the checkpoint object"
SAME_ORDER = "build lists and layers in the order in which they were saved, or keep them as named attributes"

#: What an error at one value, to be named, means for those before and behind it.
HALF = "it is assigned before restore() raises at `{}`, and keeps that value"
START_ANEW = "do not go on after the error: make new objects and restore what fits"
BEHIND = "restore() raises at `{}` before it comes to this one"
SEE_FIRST = "see to `{}` first"
