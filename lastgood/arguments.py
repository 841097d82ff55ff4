"""Numbers as the commands take them: what argparse's own `int` and `float` let through, and no reading can mean.

Each is the `type` of an argument and raises ArgumentTypeError: then the usage is wrong, and nothing was read yet.
"""

from argparse import ArgumentTypeError
from typing import Callable


def count(minimum: int) -> Callable[[str], int]:
    """A whole number of at least so much."""

    def parsed(text: str) -> int:
        try:
            number = int(text) if text.isdigit() else -1
        except ValueError:  # more digits than Python takes, or digits of a kind that it does not
            number = -1
        if number < minimum:
            raise ArgumentTypeError("expected a number of {} or more, found {!r}".format(minimum, text[:40]))
        return number

    return parsed


def seconds(text: str) -> float:
    """A time, 0 or more, that ends."""
    return _finite(text, "seconds")


def tolerance(text: str) -> float:
    """How much two numbers may differ: 0 or more, and not without end."""
    return _finite(text, "a number")


def _finite(text: str, what: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found < float("inf"):
        raise ArgumentTypeError("expected {}, 0 or more, found {!r}".format(what, text[:40]))
    return found
