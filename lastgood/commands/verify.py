"""`lastgood verify PREFIX|DIR…`: reads checkpoints' bytes and says of each whether it is whole."""

import json
import os
import re
import sys
from argparse import ArgumentParser, Namespace
from typing import Any, Dict, Iterator, List, Sequence

from lastgood.command import Command
from lastgood.directory import list_checkpoints
from lastgood.errors import BundleError
from lastgood.reasons import Reason
from lastgood.verify import Fault, Verification, verify

GOOD, BAD, UNKNOWN = "Good", "Bad", "Unknown"

#: With these nothing is known about the bytes: they condemn no checkpoint.
_UNDECIDED = (Reason.UNREADABLE, Reason.UNSUPPORTED, Reason.STILL_CHANGING)

#: A shell completes to the name of a file; what is meant is the checkpoint that it belongs to.
_FILE_OF_CHECKPOINT = re.compile(r"\.(index|data-\d{5}-of-\d{5})$")


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="PREFIX|DIR",
        help="a checkpoint, such as ckpts/ckpt-7, or a directory: each checkpoint in it",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list (docs/json.md, `verification`)")
    parser.add_argument(
        "--drop-cache", action="store_true", help="make the kernel forget the files first, so that the disk is read"
    )


def _run(arguments: Namespace) -> int:
    found: List[Verification] = []
    for path in arguments.paths:
        for verification in _verify_path(path, arguments.drop_cache):
            found.append(verification)
            if not arguments.json:
                _print(_line(verification))
    if arguments.json:
        _print(json.dumps([verification_to_json(verification) for verification in found], indent=2))
    else:
        _print(_totals(found))
    return exit_status(found)


def _verify_path(path: str, drop_cache: bool) -> Iterator[Verification]:
    """What lies at one argument, each checkpoint as soon as it was read."""
    if not os.path.isdir(path):
        yield verify(_FILE_OF_CHECKPOINT.sub("", path), drop_cache=drop_cache)
        return
    try:
        listed = list_checkpoints(path, numbered_only=False)
    except BundleError as error:
        yield _unread(path, Fault(error.reason, error.detail))
        return
    if not listed:
        print("lastgood: no checkpoint lies in {}".format(path), file=sys.stderr)
    for checkpoint in listed:
        yield verify(checkpoint.prefix, drop_cache=drop_cache)


def _unread(path: str, fault: Fault) -> Verification:
    return Verification(path, "", (fault,), tensors=0, bytes_read=0, duration_s=0.0, medium="cache")


def standing(verification: Verification) -> str:
    """Good, Bad, or Unknown where nothing can be said about the bytes."""
    if not verification.faults:
        return GOOD
    return UNKNOWN if all(fault.reason in _UNDECIDED for fault in verification.faults) else BAD


def exit_status(verifications: Sequence[Verification]) -> int:
    """1 where any is bad, else 3 where any could not be judged or there was none, else 0."""
    standings = {standing(verification) for verification in verifications}
    if BAD in standings:
        return 1
    return 0 if standings == {GOOD} else 3


def verification_to_json(verification: Verification) -> Dict[str, Any]:
    """The document `verification` of docs/json.md."""
    return {
        "prefix": verification.prefix,
        "standing": standing(verification),
        "causes": [{"reason": fault.reason.value, "detail": fault.detail} for fault in verification.faults],
        "digest": verification.digest or None,
        "tensors": verification.tensors,
        "bytes_read": verification.bytes_read,
        "duration_s": round(verification.duration_s, 6),
    }


def _line(verification: Verification) -> str:
    if not verification.faults:
        what = "{} tensors, {}".format(verification.tensors, _size(verification.bytes_read))
    else:
        first, others = verification.faults[0], verification.faults[1:]
        more = " (and {} more, named by --json)".format(len(others)) if others else ""
        what = "{}: {}{}".format(first.reason.value, first.detail, more)
    return "{:<7} {}  {}".format(standing(verification), verification.prefix, what)


def _totals(verifications: Sequence[Verification]) -> str:
    standings = [standing(verification) for verification in verifications]
    return "{} {}: {} good, {} bad, {} unknown; {} read in {:.2f} s".format(
        len(standings),
        "checkpoint" if len(standings) == 1 else "checkpoints",
        standings.count(GOOD),
        standings.count(BAD),
        standings.count(UNKNOWN),
        _size(sum(verification.bytes_read for verification in verifications)),
        sum(verification.duration_s for verification in verifications),
    )


def _size(size_bytes: int) -> str:
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return "{:.0f} {}".format(size, unit) if unit == "B" else "{:.1f} {}".format(size, unit)
        size /= 1000
    return "{:.1f} TB".format(size)


def _print(text: str) -> None:
    """File names need not be text: what cannot be encoded is escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)


VERIFY = Command("verify", "read checkpoints' bytes and say whether they are whole", _configure, _run)
