"""`lastgood show PATH`: prints what a checkpoint holds, as a tree or as JSON. Judges nothing."""

import json
import os
import sys
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Iterator, List, Optional, Sequence

from lastgood.arguments import count
from lastgood.command import Command
from lastgood.errors import BundleError
from lastgood.reasons import UNDECIDED
from lastgood.streams import complain
from lastgood.wording import reason_link

if TYPE_CHECKING:
    from lastgood.checkpoint import Checkpoint
    from lastgood.show import Shown

_WRITE_CHARACTERS = 1 << 16


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument(
        "path", metavar="PATH", help="a checkpoint's prefix, a SavedModel's directory, a .keras or .weights.h5 file"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON document (docs/json.md, `show`)")
    parser.add_argument(
        "--key", metavar="PATTERN", help="only tensors with this in their path, or that match it where it has *, ? or ["
    )
    parser.add_argument("--names", action="store_true", help="also the name that each variable had when it was saved")
    parser.add_argument("--values", action="store_true", help="also the values of small tensors, checked")
    parser.add_argument(
        "--max-values", metavar="N", type=count(0), default=16, help="what counts as small: so many elements (16)"
    )


def _run(arguments: Namespace) -> int:
    import gc

    was_enabled = gc.isenabled()
    gc.disable()  # half a million objects and not one cycle: looking for cycles would take a fifth of the time
    try:
        return _show(arguments)
    finally:
        if was_enabled:
            gc.enable()


def _show(arguments: Namespace) -> int:
    from lastgood.checkpoint import open_checkpoint

    try:
        with open_checkpoint(arguments.path) as checkpoint:
            shown = _read(checkpoint, arguments)
            _write(_json(arguments.path, shown) if arguments.json else _text(arguments.path, shown))
            return _exit_status(shown.problems)
    except BundleError as error:
        if arguments.json:
            from lastgood.show_json import problem_to_json

            _write(iter([json.dumps({"path": arguments.path, "problem": problem_to_json(error)}, indent=2)]))
        else:
            complain("{} ({})".format(error, reason_link(error.reason.value)))
        return _exit_status([error])


def _read(checkpoint: "Checkpoint", arguments: Namespace) -> "Shown":
    from lastgood.show import Shown, read_progress, read_values, select

    tensors = select(checkpoint.tensors, arguments.key)
    return Shown(
        format=checkpoint.format,
        prefix=checkpoint.prefix,
        progress=read_progress(checkpoint),
        tensors=tensors,
        tensors_in_all=len(checkpoint.tensors),
        names={tensor.key: tensor.full_name for tensor in tensors} if arguments.names else None,
        values=read_values(checkpoint, tensors, arguments.max_values) if arguments.values else {},
    )


def _exit_status(problems: Sequence[BundleError]) -> int:
    """0 when all was read, 1 when something is damaged or missing, 3 when that cannot be said."""
    if any(error.reason not in UNDECIDED for error in problems):
        return 1
    return 3 if problems else 0


def _text(path: str, shown: "Shown") -> Iterator[str]:
    from lastgood.show_text import lines

    return lines(path, shown, _terminal_width(), _is_colourful())


def _json(path: str, shown: "Shown") -> Iterator[str]:
    from lastgood.show_json import lines

    return lines(path, shown)


def _terminal_width() -> Optional[int]:
    """None where the output is no terminal: nothing is shortened there."""
    if not sys.stdout.isatty():
        return None
    import shutil

    return shutil.get_terminal_size().columns


def _is_colourful() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"


def _write(lines: Iterator[str]) -> None:
    """File names need not be text: what cannot be encoded is escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    batch: List[str] = []
    held = 0
    for line in lines:
        batch.append(line)
        held += len(line)
        if held > _WRITE_CHARACTERS:
            _write_batch(batch, encoding)
            batch, held = [], 0
    _write_batch(batch, encoding)


def _write_batch(batch: List[str], encoding: str) -> None:
    if batch:
        text = "\n".join(batch) + "\n"
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))


SHOW = Command("show", "print what a checkpoint holds, as a tree or as JSON", _configure, _run)
