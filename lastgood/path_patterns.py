"""Which files TensorFlow finds at a path: it takes the path for a pattern where a `*`, `?`, `[` or backslash is in it.

So nothing is found in a directory that is called `lr=[0.1]`, and the script that asks for the latest checkpoint there
starts afresh. Answers only whether something is found, as TensorFlow 2.4 to 2.21 do.
"""

import os
import re
from typing import Iterator, List, Pattern, Tuple

_MAGIC = "*?[\\"


def is_pattern(path: str) -> bool:
    """Whether TensorFlow takes that path for a pattern."""
    return any(character in path for character in _MAGIC)


def finds(path: str) -> bool:
    """Whether TensorFlow finds anything at that path: a file, a directory, whatever the pattern matches."""
    if not is_pattern(path):
        return os.path.exists(path)
    start = "/" if path.startswith("/") else "."
    names = [os.fsencode(name) for name in path.split("/") if name not in ("", ".")]
    return _finds_below(os.fsencode(start), names)


def _finds_below(directory: bytes, names: List[bytes]) -> bool:
    name, rest = names[0], names[1:]
    for found in _matching(directory, name):
        path = os.path.join(directory, found)
        if not rest:
            return True
        if os.path.isdir(path) and _finds_below(path, rest):
            return True
    return False


def _matching(directory: bytes, name: bytes) -> Iterator[bytes]:
    if name == b"..":
        yield name
        return
    expression = _expression(name)
    try:
        children = os.listdir(directory)
    except OSError:
        return
    for child in children:
        if expression.match(child):
            yield child


def _expression(pattern: bytes) -> Pattern[bytes]:
    """POSIX's fnmatch as a regular expression over bytes. Classes such as [:alpha:] are not known here."""
    output, position = b"", 0
    while position < len(pattern):
        byte = pattern[position : position + 1]
        position += 1
        if byte == b"*":
            output += b".*"
        elif byte == b"?":
            output += b"."
        elif byte == b"[":
            piece, position = _set(pattern, position)
            output += piece
        elif byte == b"\\":
            output += re.escape(pattern[position : position + 1]) if position < len(pattern) else b"(?!)"
            position += 1
        else:
            output += re.escape(byte)
    return re.compile(output + rb"\Z", re.DOTALL)


def _set(pattern: bytes, position: int) -> Tuple[bytes, int]:
    """What stands behind a `[`; one that is never closed stands for itself."""
    start = position
    is_negated = pattern[position : position + 1] in (b"!", b"^")
    position += is_negated
    members = position
    end = pattern.find(b"]", position + 1)
    if end < 0:
        return rb"\[", start
    inside = re.sub(rb"([\\\[\]^&~|])", rb"\\\1", pattern[members:end])
    try:
        re.compile(b"[" + inside + b"]")
    except re.error:  # a range whose end comes before its start matches nothing
        return b"(?!)", end + 1
    return b"[" + (b"^" if is_negated else b"") + inside + b"]", end + 1
