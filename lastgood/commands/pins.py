"""`lastgood pins DIR`: the checkpoints that lastgood keeps from rotation there, and what they cost; removes them.

Decides nothing about whether they are whole: `lastgood verify` of a pin's prefix says that.
"""

import os
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple

from lastgood.command import Command
from lastgood.errors import BundleError, describe
from lastgood.inspect import read_step
from lastgood.pins import Pin, digest_at, list_pins, remove_pins
from lastgood.streams import complain, say, say_json
from lastgood.wording import size_in_words

#: What lies under the checkpoint's own name.
THERE, GONE, ANOTHER = "There", "Gone", "Another"


@dataclass(frozen=True)
class Row:
    """One pin. digest, step: None where that can't be read. size_bytes: of its files. own_bytes: of those, what lies
    nowhere else, and removing the pin gives back."""

    pin: Pin
    digest: Optional[str]
    step: Optional[int]
    own_files: str
    size_bytes: int
    own_bytes: int


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", help="a directory of checkpoints")
    parser.add_argument(
        "--remove",
        action="store_true",
        help="remove them all; a run that goes on makes new ones at its next save",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object (docs/json.md, `pins`)")


def _run(arguments: Namespace) -> int:
    directory = arguments.directory
    try:
        if not os.path.isdir(directory):
            complain("{} is no directory".format(directory))
            return 3
        rows = [_row(pin) for pin in list_pins(directory)]
        removed = remove_pins(directory) if arguments.remove else ()
    except OSError as error:
        complain("the pins of {} can't be {}: {}".format(directory, _doing(arguments), describe(error)))
        return 3
    if arguments.json:
        say_json(pins_to_json(directory, rows, removed))
        return 0
    for row in rows:
        say(_line(row, row.pin.name in removed))
    say(_total(directory, rows, bool(arguments.remove)))
    return 0


def _doing(arguments: Namespace) -> str:
    return "removed" if arguments.remove else "listed"


def _row(pin: Pin) -> Row:
    digest, own = digest_at(pin.prefix) or None, digest_at(pin.own_prefix)
    own_files = THERE if own and own == digest else ANOTHER if os.path.exists(pin.own_prefix + ".index") else GONE
    size_bytes = own_bytes = 0
    place = os.path.dirname(pin.prefix)
    for name in os.listdir(place):
        found = os.stat(os.path.join(place, name))
        size_bytes += found.st_size
        own_bytes += found.st_size if found.st_nlink == 1 else 0
    return Row(pin, digest, _step(pin.prefix), own_files, size_bytes, own_bytes)


def _step(prefix: str) -> Optional[int]:
    try:
        return read_step(prefix)[0]
    except BundleError:
        return None


def pins_to_json(directory: str, rows: List[Row], removed: Tuple[str, ...]) -> Dict[str, Any]:
    """The document `pins` of docs/json.md."""
    return {
        "directory": directory,
        "pins": [
            {
                "name": row.pin.name,
                "prefix": row.pin.prefix,
                "own_prefix": row.pin.own_prefix,
                "own_files": row.own_files,
                "attempt": row.pin.save.attempt,
                "ordinal": row.pin.save.ordinal,
                "step": row.step,
                "digest": row.digest,
                "size_bytes": row.size_bytes,
                "own_bytes": row.own_bytes,
                "removed": row.pin.name in removed,
            }
            for row in rows
        ],
    }


def _line(row: Row, is_removed: bool) -> str:
    words = {
        THERE: "lies there too",
        GONE: "rotated away, and lies nowhere else",
        ANOTHER: "another one has its name now",
    }
    step = "" if row.step is None else " (step {})".format(row.step)
    cost = "{} of its own".format(size_in_words(row.own_bytes))
    done = "removed: " if is_removed else ""
    return "{}{}{}  {}; {}  {}".format(
        done, os.path.basename(row.pin.prefix), step, words[row.own_files], cost, row.pin.prefix
    )


def _total(directory: str, rows: List[Row], is_removing: bool) -> str:
    if not rows:
        return "no checkpoint of {} is pinned".format(directory)
    own = size_in_words(sum(row.own_bytes for row in rows))
    what = "1 pin" if len(rows) == 1 else "{} pins".format(len(rows))
    return "{}, {} of their own{}".format(what, own, ", removed" if is_removing else "")


PINS = Command("pins", "list the checkpoints that lastgood keeps from rotation, or remove them", _configure, _run)
