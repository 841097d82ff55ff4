"""Which files TensorFlow finds at a path: it takes the path for a pattern where a `*`, `?`, `[` or backslash is in it.

So nothing is found in a directory that is called `lr=[0.1]`, and the script that asks for the latest checkpoint there
starts afresh. Answers only whether something is found, as TensorFlow 2.4 to 2.21 do.
"""

import os
import re
import stat
from contextlib import suppress
from typing import Dict, Iterable, Iterator, List, Pattern, Tuple

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
    directories = [os.fsencode(start)]
    for name in names[:-1]:
        directories = _each_once(
            os.path.join(place, found) for place in directories for found in _matching(place, name)
        )
    return any(True for place in directories for _ in _matching(place, names[-1]))


def _each_once(paths: Iterable[bytes]) -> List[bytes]:
    """Those that are directories, each under one name: `*/../*/..` would lead to the same ones for ever."""
    found: Dict[Tuple[int, int], bytes] = {}
    for path in paths:
        with suppress(OSError, ValueError):
            status = os.stat(path)
            if stat.S_ISDIR(status.st_mode):
                found.setdefault((status.st_dev, status.st_ino), path)
    return list(found.values())


def _matching(directory: bytes, name: bytes) -> Iterator[bytes]:
    if name == b"..":
        yield name
        return
    expression = _expression(name)
    try:
        children = os.listdir(directory)
    except (OSError, ValueError):
        return
    for child in children:
        if expression.match(child):
            yield child


def _expression(pattern: bytes) -> Pattern[bytes]:
    """POSIX's fnmatch as a regular expression over bytes. Classes such as [:alpha:] are not known here.

    What stands between two stars is taken where it occurs first, and no other place is tried: it would help nobody, and
    many stars would take for ever.
    """
    first, *later = _between_stars(pattern)
    expression = first
    for place, piece in enumerate(later[:-1]):
        expression += b"(?=(?P<p%d>.*?%s))(?P=p%d)" % (place, piece, place)
    if later:
        expression += b".*" + later[-1]
    return re.compile(expression + rb"\Z", re.DOTALL)


def _between_stars(pattern: bytes) -> List[bytes]:
    """The pieces of a pattern that its stars leave, as expressions that match a fixed number of bytes."""
    pieces, position = [b""], 0
    while position < len(pattern):
        byte = pattern[position : position + 1]
        position += 1
        if byte == b"*":
            pieces.append(b"")
        elif byte == b"?":
            pieces[-1] += b"."
        elif byte == b"[":
            piece, position = _set(pattern, position)
            pieces[-1] += piece
        elif byte == b"\\":
            pieces[-1] += re.escape(pattern[position : position + 1]) if position < len(pattern) else b"(?!)"
            position += 1
        else:
            pieces[-1] += re.escape(byte)
    return pieces


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
