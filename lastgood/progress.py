"""How far a long reading has come, on a terminal: a bar, bytes, bytes per second, and the time that is left.

`render` is pure: time is an argument. `Bar` puts the line on a stream, and takes it away at the end; on anything but a
terminal it writes nothing, and for what is over at once it shows nothing either.
"""

import sys
import time
from contextlib import suppress
from shutil import get_terminal_size
from typing import IO, Callable, Optional

from lastgood.wording import size_in_words

#: What takes less is not worth a bar.
PATIENCE_S = 0.5

#: How often the line is written again.
REFRESH_S = 0.1

_BAR_WIDTH = 24


def render(label: str, done_bytes: int, whole_bytes: int, elapsed_s: float, width: int) -> str:
    """One line of at most `width` characters; ASCII, since a locale may lack the rest. The label gives way first."""
    share = min(1.0, done_bytes / whole_bytes) if whole_bytes > 0 else 1.0
    filled = int(share * _BAR_WIDTH)
    rate = done_bytes / elapsed_s if elapsed_s > 0 else 0.0
    parts = [
        "[{}{}]".format("#" * filled, "." * (_BAR_WIDTH - filled)),
        "{:3.0f} %".format(100 * share),
        "{} of {}".format(size_in_words(done_bytes), size_in_words(whole_bytes)),
        "{}/s".format(size_in_words(rate)),
    ]
    if rate > 0 and done_bytes < whole_bytes:
        parts.append("{} left".format(_duration((whole_bytes - done_bytes) / rate)))
    line = "  ".join(parts)
    room = width - len(line) - 2
    if room >= 4 and label:
        line = "{}  {}".format(label if len(label) <= room else "..." + label[len(label) - room + 3 :], line)
    return line[: max(width, 0)]


def _duration(seconds: float) -> str:
    whole = int(seconds + 0.5)
    if whole < 60:
        return "{} s".format(whole)
    if whole < 3600:
        return "{}:{:02d} min".format(whole // 60, whole % 60)
    return "{}:{:02d} h".format(whole // 3600, whole % 3600 // 60)


class Bar:
    """The line of one reading. Give `update` to `verify` as `on_progress`; leave the `with` block and it is gone.

    label: what is read, such as a prefix. now_s: a clock that never goes back.
    """

    def __init__(
        self, label: str, stream: "Optional[IO[str]]" = None, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        # A name must not command the terminal.
        self._label = label.encode("unicode_escape").decode("ascii")
        self._stream = sys.stderr if stream is None else stream
        self._now_s = now_s
        self._started_s = self._written_s = now_s()
        self._is_wanted = _is_terminal(self._stream)
        self._is_shown = False

    def update(self, done_bytes: int, whole_bytes: int) -> None:
        """Writes the line again, if it is time."""
        if not self._is_wanted:
            return
        now_s = self._now_s()
        if now_s - self._started_s < PATIENCE_S or (self._is_shown and now_s - self._written_s < REFRESH_S):
            return
        width = get_terminal_size().columns - 1
        self._write("\r\x1b[K" + render(self._label, done_bytes, whole_bytes, now_s - self._started_s, width))
        self._is_shown, self._written_s = True, now_s

    def close(self) -> None:
        """Takes the line away."""
        if self._is_shown:
            self._write("\r\x1b[K")
        self._is_shown = False

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # the terminal is gone: nobody looks any more
            self._is_wanted = self._is_shown = False

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _is_terminal(stream: "IO[str]") -> bool:
    with suppress(OSError, ValueError, AttributeError):
        return stream.isatty()
    return False
