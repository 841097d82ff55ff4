"""What `tf.train.Checkpoint.restore` would do, key by key, before it does it; pure: two descriptions in, words out.

`lastgood.explanation` describes the sides, matches them and judges what becomes of each value; here it is put together,
with the variables that no object leads to and with notes. Refuses to call a checkpoint whole: no tensor is read
(`lastgood verify` does). What is likely and not proven is called suspected.
"""

from collections import Counter
from typing import List, Tuple

from lastgood.explanation.by_name import judge_by_name
from lastgood.explanation.described import SAVE_COUNTER, Description, Outsider, label_of
from lastgood.explanation.loose import judge_loose
from lastgood.explanation.predictions import Explanation, Outcome, Prediction, worst_first
from lastgood.explanation.sides import Sides
from lastgood.explanation.taken import judge_taken

__all__ = ["Explanation", "Outcome", "Prediction", "explain", "explain_file_name", "explain_nothing", "failed"]

#: Names that a note gives.
_NAMED = 3

_BY_NAMES = (
    "the checkpoint has no object graph: it was written by names, by a `tf.compat.v1.train.Saver`, and restore() goes "
    "by the names of variables alone; the next save is number 1"
)


def explain(saved: Description, target: Description) -> Explanation:
    """What restoring the one into the other would do."""
    if not saved.graph.nodes:
        by_name = judge_by_name(saved, target) + [_outside(one) for one in target.outsiders]
        return Explanation(worst_first(by_name), (_BY_NAMES,))
    sides = Sides(saved, target)
    predictions = judge_taken(sides) + judge_loose(sides) + [_outside(one) for one in target.outsiders]
    return Explanation(worst_first(predictions), _notes(sides), _differences(sides))


def explain_nothing(target: Description) -> Explanation:
    """What `restore(None)` does: nothing, as after a `latest_checkpoint` that found nothing."""
    reason = "restore(None) restores nothing: `latest_checkpoint` found no checkpoint"
    fix = "look with `lastgood latest DIR` why there is none before training starts afresh"
    note = (
        "save_counter starts again at 0, so the next save is number 1, and a CheckpointManager in the same directory "
        "rotates the older checkpoints away"
    )
    return Explanation(_all_left(target, reason, fix), (note,))


def explain_file_name(path: str, prefix: str, target: Description) -> Explanation:
    """What restoring the index file of a checkpoint does, and not its prefix: nothing, and in silence."""
    reason = (
        "restore() takes `{}` for a checkpoint by names, of TensorFlow 1, that holds no value: nothing is restored, "
        "and nothing raised"
    ).format(path)
    return Explanation(_all_left(target, reason, "restore `{}`".format(prefix)))


def _all_left(target: Description, reason: str, fix: str) -> Tuple[Prediction, ...]:
    predictions = [
        Prediction(label_of(one.checkpoint_key), Outcome.LEFT_AT_INITIAL, reason, fix, path, one.full_name)
        for one, path in target.values()
    ]
    return worst_first(predictions + [_outside(one) for one in target.outsiders])


def failed(prefix: str, reason: str, fix: str = "") -> Explanation:
    """A restore that raises before it reads any value."""
    return Explanation((Prediction(prefix, Outcome.ERROR, reason, fix),))


def _outside(outsider: Outsider) -> Prediction:
    if outsider.is_inside:
        reason = "{}: TensorFlow does not look there, so it is neither saved nor restored".format(outsider.where)
        fix = "keep it in an attribute of its own, or in a tuple"
        return Prediction(outsider.path, Outcome.NOT_SAVED, reason, fix, name=outsider.name)
    reason = "{}: the checkpoint object does not lead to it, though it leads to one just like it".format(outsider.where)
    fix = "make the checkpoint object of the objects that are trained, after they were built anew"
    return Prediction(outsider.path, Outcome.LEFT_AT_INITIAL, reason, fix, name=outsider.name, is_suspected=True)


def _differences(sides: Sides) -> Tuple[str, ...]:
    return tuple(one.sentence for one in sides.counts if one.is_of_layers and not _is_optimizers(sides, one.parent))


def _is_optimizers(sides: Sides, live: int) -> bool:
    return sides.target.traits_of(live).is_optimizer or sides.is_below_optimizer(live)


def _notes(sides: Sides) -> Tuple[str, ...]:
    notes: List[str] = []
    for one in sides.counts:
        if _is_optimizers(sides, one.parent):
            continue
        hint = ": if the odd one is not the last, those behind it get their neighbours' values"
        notes.append(one.sentence + (hint if one.is_ordered else ""))
    names = Counter(name for name in sides.live_names.values() if name)
    shared = sorted(name for name, count in names.items() if count > 1)
    if shared:
        named = ", ".join("`{}`".format(name) for name in shared[:_NAMED]) + (", …" if len(shared) > _NAMED else "")
        notes.append(
            "several variables are called {}: harmless, a checkpoint knows them by attribute and never by name".format(
                named
            )
        )
    if sides.target.late and SAVE_COUNTER not in sides.saved.children_of(0):
        notes.append("the checkpoint has no save_counter (it comes from `write`): the next save is number 1")
    return tuple(notes)
