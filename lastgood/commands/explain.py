"""`lastgood explain PREFIX --against PREFIX`: what a restore would do, before it is done.

The second checkpoint stands for the program: whatever saves it now would restore the first one. For the objects of a
running program there is `lastgood.tf.explain`.
"""

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any, Dict, Iterator, List

from lastgood.command import Command
from lastgood.streams import say, say_json

if TYPE_CHECKING:
    from lastgood.explain import Explanation, Prediction

#: Of one outcome and one reason, so many keys are named.
_SHOWN = 5

_HEADINGS = {
    "error": "ERROR: restore() would raise",
    "half_restored": "HALF RESTORED: assigned before restore() raises",
    "wrong_value": "WRONG VALUE: another variable's",
    "left_at_initial": "LEFT AT INITIAL VALUE: not in the checkpoint, or not reached",
    "dropped": "DROPPED: in the checkpoint, and goes nowhere",
    "not_saved": "NOT SAVED: neither saved nor restored",
    "taken_from_chief": "TAKEN FROM CHIEF: per worker, and restored as the chief's",
    "deferred": "DEFERRED: restored when it is created",
    "restored": "RESTORED",
}


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("prefix", metavar="PREFIX", help="the checkpoint that would be restored, such as ckpts/ckpt-7")
    parser.add_argument(
        "--against",
        required=True,
        metavar="PREFIX",
        help="a checkpoint that the program which would restore has saved: it stands for the program",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON document (docs/json.md, `explanation`)")


def _run(arguments: Namespace) -> int:
    from lastgood.errors import BundleError
    from lastgood.explain import Explanation, explain
    from lastgood.explanation.saved_side import describe_saved
    from lastgood.reasons import Reason

    target = describe_saved(arguments.against)
    if isinstance(target, Explanation):  # nothing is known of the program then, so nothing can be told
        raise BundleError(Reason.INCOMPLETE, "{}: {}".format(arguments.against, target.predictions[0].reason))
    if not target.graph.nodes:
        raise BundleError(Reason.UNSUPPORTED, "{} has no object graph to compare with".format(arguments.against))
    saved = describe_saved(arguments.prefix)
    explanation = saved if isinstance(saved, Explanation) else explain(saved, target)
    if arguments.json:
        say_json(explanation_to_json(arguments.prefix, arguments.against, explanation))
    else:
        for line in _lines(explanation):
            say(line)
    return 0 if explanation.is_good else 1


def explanation_to_json(prefix: str, against: str, explanation: "Explanation") -> Dict[str, Any]:
    """The document `explanation` of docs/json.md."""
    return {
        "prefix": prefix,
        "against": against,
        "is_good": explanation.is_good,
        "counts": {outcome.value: count for outcome, count in explanation.counts().items()},
        "predictions": [
            {
                "key": one.key,
                "outcome": one.outcome.value,
                "is_suspected": one.is_suspected,
                "variable": one.variable or None,
                "name": one.name or None,
                "reason": one.reason,
                "fix": one.fix or None,
            }
            for one in explanation.predictions
        ],
        "notes": list(explanation.notes),
    }


def _lines(explanation: "Explanation") -> Iterator[str]:
    """Grouped by outcome, worst first, and by reason; what is simply restored is only counted."""
    for outcome in explanation.counts():
        found = [one for one in explanation.predictions if one.outcome is outcome]
        if outcome.value == "restored":
            found = [one for one in found if one.reason != "found under the same path"]
            if not found:
                continue
        yield _HEADINGS[outcome.value]
        for group in _by_reason(found):
            yield from _group_lines(group)
        yield ""
    for note in explanation.notes:
        yield "note: {}".format(note)
    yield _totals(explanation)


def _by_reason(predictions: "List[Prediction]") -> "List[List[Prediction]]":
    groups: Dict[tuple[str, str, bool], List[Prediction]] = {}
    for one in predictions:
        groups.setdefault((one.reason, one.fix, one.is_suspected), []).append(one)
    return list(groups.values())


def _group_lines(group: "List[Prediction]") -> Iterator[str]:
    for one in group[:_SHOWN]:
        yield "  {}".format(one.key)
    if len(group) > _SHOWN:
        yield "  … and {} more, named by --json".format(len(group) - _SHOWN)
    first = group[0]
    yield "      {}{}".format("suspected: " if first.is_suspected else "", first.reason)
    if first.fix:
        yield "      fix: {}".format(first.fix)


def _totals(explanation: "Explanation") -> str:
    counts = ["{} {}".format(count, outcome.value.replace("_", " ")) for outcome, count in explanation.counts().items()]
    verdict = "Good: all comes where it belongs" if explanation.is_good else "Bad"
    return "{}; {}".format(verdict, ", ".join(counts) or "no values")


EXPLAIN = Command("explain", "predict key by key what restoring a checkpoint would do", _configure, _run)
