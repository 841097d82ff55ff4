"""The standard streams as a command wants them: always there, and never a reason to fail because of a character.

A service manager may start a command with a descriptor closed; what is opened next would take its number, and what is
printed would land there. A locale may lack a character that a table is drawn with. Decides nothing about what is said.
"""

import json
import os
import sys
from contextlib import suppress
from typing import IO, Any

from lastgood.wording import printable


def prepare() -> None:
    """Opens /dev/null for each standard stream that is closed, and replaces what an encoding cannot say by `?`."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        reconfigure = getattr(getattr(sys, name), "reconfigure", None)
        if reconfigure is not None and getattr(sys, name).errors == "strict":
            reconfigure(errors="replace")


def say(line: str) -> None:
    """Prints one line at once. Names may be any bytes: what cannot be encoded or could steer a terminal is escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    print(printable(line).encode(encoding, "backslashreplace").decode(encoding), flush=True)


def say_json(document: Any) -> None:
    """Prints a document at once. JSON escapes by itself whatever is no ASCII."""
    print(json.dumps(document, indent=2, allow_nan=False), flush=True)


def complain(sentence: str) -> None:
    """Says on stderr, in one line, what could not be done. The exit status still tells where that fails."""
    with suppress(OSError):
        print("lastgood: {}".format(printable(sentence)), file=sys.stderr)


def silence(stream: "IO[str]") -> None:
    """Nobody takes what it is told any more: what is left in its buffer must not raise once more at the end."""
    with suppress(OSError, ValueError):  # not a real file: nothing to silence
        descriptor = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(descriptor, stream.fileno())
        finally:
            os.close(descriptor)
