"""`lastgood diff A B`: says in words what changed between two checkpoints."""

from argparse import ArgumentParser, Namespace
from fnmatch import fnmatchcase
from typing import Any, Dict, Iterator, List, Optional, Tuple

from lastgood.arguments import tolerance
from lastgood.bundle.reader import label
from lastgood.checkpoint import TensorInfo, open_checkpoint
from lastgood.command import Command
from lastgood.diff import Diff, diff_checkpoints
from lastgood.difference.deltas import USUAL, Delta, Tolerance
from lastgood.difference.moves import Evidence, Move, Shift, Swap
from lastgood.errors import LastgoodError
from lastgood.streams import say, say_json

SAME, DIFFERENT = 0, 1

#: What a value or a name proves, in words.
_BY = {Evidence.VALUE: "by its value", Evidence.NAME: "by its full_name"}


def _configure(parser: ArgumentParser) -> None:
    parser.description = (
        "Compares two checkpoints key by key, and names what merely changed its place. "
        "Exit status: 0 they hold the same, 1 they differ, 3 one of them cannot be read, or nothing matches --key."
    )
    parser.add_argument("before", metavar="A", help="a checkpoint, such as ckpts/ckpt-3")
    parser.add_argument("after", metavar="B", help="the one to compare it with")
    parser.add_argument(
        "--allclose",
        action="store_true",
        help="differences within --rtol and --atol (as in numpy.allclose) are none",
    )
    parser.add_argument("--rtol", type=tolerance, default=USUAL.rtol, help="relative (%(default)s)")
    parser.add_argument("--atol", type=tolerance, default=USUAL.atol, help="absolute (%(default)s)")
    parser.add_argument("--key", metavar="PATTERN", help="only keys that match this shell pattern, such as 'model/*'")
    parser.add_argument("--json", action="store_true", help="print a JSON document (docs/json.md, `diff`)")


def _run(arguments: Namespace) -> int:
    allclose = Tolerance(arguments.rtol, arguments.atol) if arguments.allclose else None
    with open_checkpoint(arguments.before) as before, open_checkpoint(arguments.after) as after:
        diff = diff_checkpoints(before, after, allclose=allclose, wanted=_filter(arguments.key))
    if arguments.key is not None and not diff.compared:
        raise LastgoodError("no tensor of either checkpoint matches {!r}: nothing was compared".format(arguments.key))
    if arguments.json:
        say_json(diff_to_json(diff, arguments.before, arguments.after))
    else:
        for word, text in sentences(diff):
            say("{:<8} {}".format(word, text))
        say(totals(diff))
    return SAME if diff.is_empty else DIFFERENT


def _filter(pattern: Optional[str]) -> "Any":
    if pattern is None:
        return lambda tensor: True
    return lambda tensor: fnmatchcase(tensor.label, pattern) or fnmatchcase(_full(tensor.key), pattern)


def _full(key: bytes) -> str:
    return key.decode("utf-8", "backslashreplace")


def sentences(diff: Diff) -> Iterator[Tuple[str, str]]:
    """(word, sentence) for everything that is different: first what explains the rest."""
    for swap in diff.moves.swaps:
        yield "swapped", swap_in_words(swap)
    for shift in diff.moves.shifts:
        yield "shifted", shift_in_words(shift)
    for move in diff.moves.moves:
        yield "renamed" if move.is_rename else "moved", move_in_words(move)
    for gone in diff.gone:
        yield "gone", _named(gone)
    for new in diff.new:
        yield "new", _named(new)
    for retyped in diff.retyped:
        yield "retyped", "{}: {} became {}".format(retyped.before.label, form(retyped.before), form(retyped.after))
    for changed in diff.changed:
        yield "changed", "{}: {}".format(changed.tensor.label, delta_in_words(changed.delta))
    for close in diff.close:
        yield "close", "{}: {}".format(close.tensor.label, delta_in_words(close.delta))


def swap_in_words(swap: Swap) -> str:
    """Such as `w/0 and w/1 hold each other's values`."""
    what = "values" if swap.evidence is Evidence.VALUE else "variables, by their full_name"
    return "{} and {} hold each other's {}".format(label(swap.keys[0]), label(swap.keys[1]), what)


def shift_in_words(shift: Shift) -> str:
    """Such as `3 neighbours moved up by 1: w/0 is now w/1, ... w/2 is now w/3 (by its value)`."""
    pairs = ["{} is now {}".format(label(before), label(after)) for before, after in shift.moves]
    shown = pairs if len(pairs) <= 3 else [pairs[0], "...", pairs[-1]]
    return "{} neighbours moved {} by {}: {} ({})".format(
        len(pairs), "up" if shift.by > 0 else "down", abs(shift.by), ", ".join(shown), _BY[shift.evidence]
    )


def move_in_words(move: Move) -> str:
    """Such as `a/w is now b/w (by its value)`."""
    return "{} is now {} ({})".format(label(move.before), label(move.after), _BY[move.evidence])


def form(tensor: TensorInfo) -> str:
    """Such as `float32 [3, 4]`."""
    return "{} {}".format(tensor.dtype, list(tensor.shape))


def _named(tensor: TensorInfo) -> str:
    name = ", {}".format(tensor.full_name) if tensor.full_name else ""
    return "{}  {}{}".format(tensor.label, form(tensor), name)


def delta_in_words(delta: Delta) -> str:
    """Such as `3 of 12 values, largest difference 0.25 at [1, 2]; NaN 0 before, 3 now`."""
    words = "{} of {} {}".format(delta.differing, delta.elements, "value" if delta.elements == 1 else "values")
    if delta.largest is not None:
        where = " at {}".format(list(delta.largest_at)) if delta.largest_at else ""
        words += ", largest difference {}{}".format(_number(delta.largest), where)
    for name, before, after in (
        ("NaN", delta.before.nan, delta.after.nan),
        ("Inf", delta.before.inf, delta.after.inf),
    ):
        if before or after:
            words += "; {} {} before, {} now".format(name, before, after)
    return words


def _number(number: "Any") -> str:
    return str(number) if isinstance(number, int) else "{:.4g}".format(number)


def totals(diff: Diff) -> str:
    """The closing line."""
    close = ", {} within the tolerance".format(len(diff.close)) if diff.close else ""
    return "{} the same{}, {} changed, {} of another type or shape, {} gone, {} new".format(
        diff.same, close, len(diff.changed), len(diff.retyped), len(diff.gone), len(diff.new)
    )


# --------------------------------------------------------------------------------------------------------------- JSON


def diff_to_json(diff: Diff, before: str, after: str) -> Dict[str, Any]:
    """The document `diff` of docs/json.md."""
    return {
        "before": before,
        "after": after,
        "is_same": diff.is_empty,
        "same": diff.same,
        "gone": [_tensor(tensor) for tensor in diff.gone],
        "new": [_tensor(tensor) for tensor in diff.new],
        "retyped": [{"before": _tensor(each.before), "after": _tensor(each.after)} for each in diff.retyped],
        "changed": [{**_tensor(each.tensor), **_delta(each.delta)} for each in diff.changed],
        "close": [{**_tensor(each.tensor), **_delta(each.delta)} for each in diff.close],
        "moves": _moves(diff),
    }


def _moves(diff: Diff) -> List[Dict[str, Any]]:
    found: List[Dict[str, Any]] = [
        {"kind": "swapped", "keys": [[_full(a), _full(b)], [_full(b), _full(a)]], "by": swap.evidence.value}
        for swap in diff.moves.swaps
        for a, b in (swap.keys,)
    ]
    found += [
        {"kind": "shifted", "keys": [[_full(a), _full(b)] for a, b in shift.moves], "by": shift.evidence.value}
        for shift in diff.moves.shifts
    ]
    found += [
        {
            "kind": "renamed" if move.is_rename else "moved",
            "keys": [[_full(move.before), _full(move.after)]],
            "by": move.evidence.value,
        }
        for move in diff.moves.moves
    ]
    return found


def _tensor(tensor: TensorInfo) -> Dict[str, Any]:
    return {
        "key": _full(tensor.key),
        "dtype": tensor.dtype,
        "shape": list(tensor.shape),
        "full_name": tensor.full_name,
    }


def _delta(delta: Delta) -> Dict[str, Any]:
    return {
        "elements": delta.elements,
        "differing": delta.differing,
        "beyond_tolerance": delta.beyond,
        "largest_difference": delta.largest if delta.largest != float("inf") else None,  # JSON has no infinity
        "largest_at": list(delta.largest_at),
        "nan": [delta.before.nan, delta.after.nan],
        "inf": [delta.before.inf, delta.after.inf],
    }


DIFF = Command("diff", "say in words what changed between two checkpoints", _configure, _run)
