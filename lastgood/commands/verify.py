"""`lastgood verify PREFIX|DIR…`: reads checkpoints' bytes and says of each whether it is whole."""

from argparse import ArgumentParser, Namespace
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence

from lastgood.arguments import count, seconds
from lastgood.attest import may_be_attested, verify_saved, write_manifest
from lastgood.bundle.files import is_directory, local_path
from lastgood.checksum import IS_FAST
from lastgood.command import Command
from lastgood.errors import BundleError, LastgoodError
from lastgood.progress import Bar
from lastgood.reasons import UNDECIDED
from lastgood.streams import complain, say, say_json
from lastgood.targets import targets
from lastgood.verify import Fault, Verification, default_threads
from lastgood.wording import reason_link, size_in_words

GOOD, BAD, UNKNOWN = "Good", "Bad", "Unknown"

_SLOWLY = "; slowly, without crc32c in C: pip install crc32c"


class Row(NamedTuple):
    """One checkpoint's outcome. written: the path of the manifest that was written; not_written: why none was."""

    verification: Verification
    written: Optional[str] = None
    not_written: Optional[str] = None


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="PREFIX|DIR",
        help="a checkpoint, such as ckpts/ckpt-7, a .keras or .weights.h5 file, or a directory: each of these in it",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list (docs/json.md, `verification`)")
    parser.add_argument("--threads", type=count(1), metavar="N", help="read with N threads (default: one per core)")
    parser.add_argument("--no-finite", action="store_true", help="NaN and Inf are no fault")
    parser.add_argument(
        "--settle-s",
        type=seconds,
        default=0.0,
        metavar="S",
        help="say of damaged files that were written less than S seconds ago that they are still changing",
    )
    parser.add_argument(
        "--write-manifest",
        action="store_true",
        help="put PREFIX.lastgood.json beside each one that is whole: a later verify then also sees whether it is the "
        "same one (docs/manifest.md)",
    )
    parser.add_argument("--manifest", metavar="FILE", help="the manifest of the one checkpoint that is named")
    parser.add_argument(
        "--drop-cache", action="store_true", help="make the kernel forget the files first, so that the disk is read"
    )


def _run(arguments: Namespace) -> int:
    if arguments.manifest and (len(arguments.paths) > 1 or is_directory(arguments.paths[0])):
        complain("--manifest goes with one checkpoint, not with several or a directory")
        return 2
    rows: List[Row] = []
    for path in arguments.paths:
        for row in _rows_of(path, arguments):
            rows.append(row)
            if not arguments.json:
                for line in _lines(row):
                    say(line)
    found = [row.verification for row in rows]
    if arguments.json:
        say_json([row_to_json(row) for row in rows])
    else:
        say(_totals(found))
    is_unwritten = any(row.not_written for row in rows)
    return exit_status(found) or (3 if is_unwritten else 0)


def _rows_of(path: str, arguments: Namespace) -> Iterator[Row]:
    """What lies at one argument, each checkpoint as soon as it was read."""
    found = 0
    try:
        for prefix in targets(local_path(path)):
            found += 1
            yield _row(prefix, arguments)
    except BundleError as error:
        yield Row(_unread(path, Fault(error.reason, error.detail)))
        return
    if not found:
        complain("no checkpoint lies in {}".format(path))


def _row(prefix: str, arguments: Namespace) -> Row:
    with Bar(prefix) as bar:
        verification = verify_saved(
            prefix,
            arguments.manifest,
            drop_cache=arguments.drop_cache,
            finite=not arguments.no_finite,
            threads=arguments.threads or default_threads(prefix),
            settle_s=arguments.settle_s,
            on_progress=bar.update,
        )
    if not arguments.write_manifest or not may_be_attested(verification):
        return Row(verification)
    try:
        return Row(verification, written=write_manifest(verification))
    except LastgoodError as error:
        complain("no manifest was written: {}".format(error))
        return Row(verification, not_written=str(error))


def _unread(path: str, fault: Fault) -> Verification:
    return Verification(path, "", (fault,), tensors=0, bytes_read=0, duration_s=0.0, medium="cache")


def standing(verification: Verification) -> str:
    """Good, Bad, or Unknown where nothing can be said about the bytes."""
    if not verification.faults:
        return GOOD
    return UNKNOWN if all(fault.reason in UNDECIDED for fault in verification.faults) else BAD


def exit_status(verifications: Sequence[Verification]) -> int:
    """1 where any is bad, else 3 where any could not be judged or there was none, else 0."""
    standings = {standing(verification) for verification in verifications}
    if BAD in standings:
        return 1
    return 0 if standings == {GOOD} else 3


def row_to_json(row: Row) -> Dict[str, Any]:
    """The document `verification` of docs/json.md."""
    found = row.verification
    return {
        "prefix": found.prefix,
        "standing": standing(found),
        "causes": [
            {"reason": fault.reason.value, "detail": fault.detail, "see": reason_link(fault.reason.value)}
            for fault in found.faults
        ],
        "notes": [
            {"remark": note.remark.value, "detail": note.detail, "see": reason_link(note.remark.value)}
            for note in found.notes
        ],
        "digest": found.digest or None,
        "manifest": found.manifest or None,
        "written_manifest": row.written,
        "tensors": found.tensors,
        "bytes_read": found.bytes_read,
        "duration_s": round(found.duration_s, 6),
    }


def _lines(row: Row) -> List[str]:
    found = row.verification
    lines = ["{:<7} {}  {}".format(standing(found), found.prefix, _outcome(found))]
    for note in found.notes:
        link = reason_link(note.remark.value)
        lines.append("        note: {}: {} ({})".format(note.remark.value, note.detail, link))
    if row.written:
        lines.append("        wrote {}".format(row.written))
    return lines


def _outcome(found: Verification) -> str:
    if not found.faults:
        same = ", as its manifest says" if found.manifest else ""
        tensors = "{} tensors, ".format(found.tensors) if found.digest else ""  # in Keras files nobody counts them
        return "{}{}{}".format(tensors, size_in_words(found.bytes_read), same)
    first, others = found.faults[0], found.faults[1:]
    more = "; and {} more, named by --json".format(len(others)) if others else ""
    return "{}: {}{} ({})".format(first.reason.value, first.detail, more, reason_link(first.reason.value))


def _totals(verifications: Sequence[Verification]) -> str:
    standings = [standing(verification) for verification in verifications]
    return "{} {}: {} good, {} bad, {} unknown; {} read in {:.2f} s{}".format(
        len(standings),
        "checkpoint" if len(standings) == 1 else "checkpoints",
        standings.count(GOOD),
        standings.count(BAD),
        standings.count(UNKNOWN),
        size_in_words(sum(verification.bytes_read for verification in verifications)),
        sum(verification.duration_s for verification in verifications),
        "" if IS_FAST else _SLOWLY,
    )


VERIFY = Command("verify", "read checkpoints' bytes and say whether they are whole", _configure, _run)
