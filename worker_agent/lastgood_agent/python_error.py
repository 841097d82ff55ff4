"""The exception that ended a Python program, from the end of what it printed: its type, place, and last lines.

Pure. Decides which traceback counts: the last one, since an exception that was raised while another one was handled is
printed after it. Refuses to guess: where no traceback stands, or somebody printed a long way on after it although the
program did not end by an exception, there is none.
"""

import re
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple

#: Python's exit status after an exception that nobody caught.
UNCAUGHT = 1
#: Of a program that did not end with it, a traceback counts only when so few lines follow.
LINES_BEHIND = 5
MOST_LINES = 12
MOST_CHARACTERS = 500

_HEADER = "Traceback (most recent call last):"
_FRAME = re.compile(r'  File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>.+)')
_EXCEPTION = re.compile(r"(?P<type>[A-Za-z_][\w.]*)(?:: ?(?P<message>.*))?")
#: Frames of what is installed say where it noticed; the script's own say what it was doing.
_INSTALLED = ("/site-packages/", "/dist-packages/", "/lib/python", "<frozen ", "<string>")


@dataclass(frozen=True)
class PythonError:
    """An exception that nobody caught.

    type: as it is printed, such as ValueError or tensorflow.python.framework.errors_impl.UnavailableError.
    place: the innermost line of the script's own, or the innermost of all, as `FILE:LINE in FUNCTION`.
    lines: the innermost frame and what the exception says, as they were printed, oldest first.
    """

    type: str
    message: str
    place: str
    lines: Tuple[str, ...]

    def to_json(self) -> Dict[str, Any]:
        """The error as it travels: ERROR in docs/wire.md."""
        return {**self.__dict__, "lines": list(self.lines)}


def find_python_error(text: str, exit_code: Optional[int]) -> Optional[PythonError]:
    """The exception that `text`, the end of a log, ends with; None when there is none.

    exit_code: what the program ended with; None for a signal.
    """
    lines = text.splitlines()
    starts = [number for number, line in enumerate(lines) if line.rstrip() == _HEADER]
    if not starts:
        return None
    after = starts[-1] + 1
    end = _end_of_frames(lines, after)
    if end is None:
        return None
    is_the_end = len([line for line in lines[end + 1 :] if line.strip()]) < LINES_BEHIND
    if exit_code != UNCAUGHT and not is_the_end:
        return None
    found = _EXCEPTION.fullmatch(lines[end].rstrip())
    frames = [(number, match) for number, match in _frames(lines, after, end)]
    if found is None or not frames:
        return None
    number, innermost = frames[-1]
    own = [match for _, match in frames if not any(part in match["file"] for part in _INSTALLED)]
    place = own[-1] if own else innermost
    told = [line[:MOST_CHARACTERS] for line in [*lines[number:end][:3], *_said(lines, end)] if line.strip()]
    return PythonError(
        type=found["type"][:200],
        message=(found["message"] or "")[:MOST_CHARACTERS],
        place="{}:{} in {}".format(place["file"], place["line"], place["function"])[:MOST_CHARACTERS],
        lines=tuple(told[:MOST_LINES]),
    )


def _end_of_frames(lines: Sequence[str], start: int) -> Optional[int]:
    """The line that names the exception: the first one after the frames that is not indented."""
    for number in range(start, len(lines)):
        if lines[number].strip() and not lines[number].startswith(" "):
            return number
    return None


def _frames(lines: Sequence[str], start: int, end: int) -> List[Any]:
    found = ((number, _FRAME.fullmatch(lines[number].rstrip())) for number in range(start, end))
    return [(number, match) for number, match in found if match is not None]


def _said(lines: Sequence[str], end: int) -> List[str]:
    """What the exception says: its line, and where its message is long, the beginning and the end of that.

    TensorFlow's are: first where the graph was made, with frames, and what happened in the end. Nothing tells them from
    what others print behind.
    """
    rest = [line for line in lines[end + 1 :] if line.strip() and not line.startswith((" ", "\t"))]
    return [lines[end], *(rest if len(rest) <= 8 else [*rest[:3], *rest[-5:]])]
