"""`lastgood latest DIR`: what TensorFlow takes for the latest checkpoint, which one is, and what lies around it."""

from argparse import ArgumentParser, Namespace
from typing import Any, Dict, List, Optional, Tuple

from lastgood.arguments import seconds
from lastgood.attest import verify_saved
from lastgood.command import Command
from lastgood.errors import BundleError, LastgoodError
from lastgood.inspect import read_step
from lastgood.latest.decide import Judged, Outcome, Verdict
from lastgood.latest.examine import Examination, examine
from lastgood.latest.leftovers import MEANINGS
from lastgood.latest.repair import Repair, RepairRefusedError, repair
from lastgood.streams import complain, say, say_json
from lastgood.verify import Verification, default_threads
from lastgood.wording import reason_link, size_in_words

_STATUS = {Verdict.AGREES: 0, Verdict.DIFFERS: 1, Verdict.UNKNOWN: 3}


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", help="a directory of checkpoints")
    parser.add_argument(
        "--repair",
        action="store_true",
        help="let the state file name the newest whole checkpoint; keeps a copy of the old one and deletes nothing. "
        "Stop the training first",
    )
    parser.add_argument("--series", metavar="NAME", help="look at the checkpoints NAME-1, NAME-2... alone")
    parser.add_argument(
        "--settle-s",
        type=seconds,
        default=0.0,
        metavar="S",
        help="say of damaged files that were written less than S seconds ago that they cannot be judged yet",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object (docs/json.md, `latest`)")


def _run(arguments: Namespace) -> int:
    def read(prefix: str) -> Verification:
        return verify_saved(prefix, finite=False, threads=default_threads(prefix), settle_s=arguments.settle_s)

    found = examine(arguments.directory, read, arguments.series, reads_all_listed=arguments.repair)
    done: Optional[Repair] = None
    refused: Optional[LastgoodError] = None
    if arguments.repair:
        try:
            done = repair(found)
        except RepairRefusedError as error:
            refused = error
    if arguments.json:
        say_json(latest_to_json(found, done, refused))
    else:
        for line in _lines(found):
            say(line)
        if done is not None:
            say(_repaired(done))
    if refused is not None:
        complain("nothing was repaired: {}".format(refused))
        return 1 if isinstance(refused, RepairRefusedError) and refused.is_hopeless else 3
    return 0 if done is not None else _STATUS[found.answer.verdict]


def _lines(found: Examination) -> List[str]:
    says, answer = found.says, found.answer
    taken = {Outcome.PREFIX: says.prefix, Outcome.NONE: "None", Outcome.RAISES: says.error}[says.outcome]
    lines = [
        "TensorFlow says  {}{}".format(taken, _step_in_words(says.prefix)),
        "newest whole     {}{}".format(*_newest_in_words(answer.newest)),
    ]
    marks = {Verdict.AGREES: "that is right", Verdict.DIFFERS: "that is wrong", Verdict.UNKNOWN: "cannot tell"}
    lines.append("verdict          {}: {}".format(answer.verdict.value, marks[answer.verdict]))
    lines += ["  - " + sentence for sentence in answer.why]
    if not found.times_are_right:
        lines.append("  - the files' times are not those of the saves (a copy?): the order is the state file's")
    reasons = sorted({row.reason for row in found.judged if row.reason})
    lines += ["  see {}".format(reason_link(reason)) for reason in reasons]
    if found.left:
        lines.append("left behind, or not listed")
    lines += [
        "  {:<17} {}, {}: {}".format(left.kind.value, left.name, size_in_words(left.size_bytes), MEANINGS[left.kind])
        for left in found.left
    ]
    return lines


def _newest_in_words(newest: Optional[Judged]) -> Tuple[str, str]:
    return ("none", "") if newest is None else (newest.prefix, _step_in_words(newest.prefix))


def _step_in_words(prefix: Optional[str]) -> str:
    step = _step(prefix)
    return "" if step is None else ", step {}".format(step)


def _step(prefix: Optional[str]) -> Optional[int]:
    """None where it says none, or where that cannot be read: the verdict has the reason."""
    if prefix is None:
        return None
    try:
        return read_step(prefix)[0]
    except BundleError:
        return None


def _repaired(done: Repair) -> str:
    kept = "" if done.backup is None else "; the old one is kept as {}".format(done.backup)
    return "repaired: the state file names {}{}".format(done.prefix, kept)


def latest_to_json(found: Examination, done: Optional[Repair], refused: Optional[LastgoodError]) -> Dict[str, Any]:
    """The document `latest` of docs/json.md. What it says of the directory is how it was before a repair."""
    says, newest = found.says, found.answer.newest
    return {
        "directory": found.directory,
        "verdict": found.answer.verdict.value,
        "why": list(found.answer.why),
        "tensorflow": {
            "outcome": says.outcome.value,
            "prefix": says.prefix,
            "error": says.error or None,
            "why": says.why or None,
            "manager_prefix": says.manager_prefix,
            "step": _step(says.prefix),
        },
        "newest_whole": None
        if newest is None
        else {"prefix": newest.prefix, "digest": found.digest, "step": _step(newest.prefix)},
        "times_are_right": found.times_are_right,
        "checkpoints": [_judged_to_json(row) for row in found.judged],
        "left": [
            {"kind": left.kind.value, "name": left.name, "size_bytes": left.size_bytes, "meaning": MEANINGS[left.kind]}
            for left in found.left
        ],
        "repair": None
        if done is None and refused is None
        else {
            "done": done is not None,
            "prefix": None if done is None else done.prefix,
            "backup": None if done is None else done.backup,
            "refused": None if refused is None else str(refused),
        },
    }


def _judged_to_json(row: Judged) -> Dict[str, Any]:
    causes = [{"reason": row.reason, "detail": row.detail, "see": reason_link(row.reason)}] if row.reason else []
    return {
        "prefix": row.prefix,
        "standing": row.standing.value,
        "causes": causes,
        "time_s": row.candidate.time_s,
        "is_listed": row.candidate.position is not None,
    }


LATEST = Command("latest", "say which checkpoint TensorFlow would restore, and which it should", _configure, _run)
