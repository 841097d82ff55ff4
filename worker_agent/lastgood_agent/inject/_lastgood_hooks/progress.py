"""How far training has come, in a mapped file that outlives this process by as long as its host.

Decides when a step may be read: only from a variable in host memory, and only while reading costs less than
LARGEST_SHARE of the time that passes. Refuses to be exact at any price: a step that was not read is not guessed.
"""

import mmap
import os
import struct
import time
import weakref
from typing import Any, Callable, Optional

#: completed calls, last completed step (-1: unknown), calls entered, 0.
LAYOUT = struct.Struct("<QqQQ")
#: Reading steps may take this share of the time that passes, and FREE_S besides.
LARGEST_SHARE = 0.005
FREE_S = 0.002


class Progress:
    """The counters of one attempt. Before `open` and after `close`, counting goes nowhere."""

    def __init__(self) -> None:
        self._page = None  # type: Optional[mmap.mmap]
        self.completed = 0
        self.entered = 0
        self.step = -1
        self._read_step = None  # type: Optional[Callable[[], Optional[int]]]
        self._spent_s = 0.0
        self._since_s = 0.0

    def open(self, path: str) -> None:
        """Makes the file and maps it. Its bytes are written first: a full disk is an OSError here, not a SIGBUS later."""
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.pwrite(file, LAYOUT.pack(0, -1, 0, 0), 0)
            self._page = mmap.mmap(file, LAYOUT.size)
        finally:
            os.close(file)
        self._since_s = time.perf_counter()

    def close(self) -> None:
        """Forgets the file; what it says stays."""
        self._page = None

    def read_steps_from(self, variable: Any, read: Callable[[Any], int]) -> None:
        """From here on the step is read from this variable, which is held weakly."""
        reference = weakref.ref(variable)

        def read_step() -> Optional[int]:
            alive = reference()
            return None if alive is None else read(alive)

        self._read_step = read_step

    @property
    def knows_step_variable(self) -> bool:
        return self._read_step is not None

    def enter(self) -> None:
        """A call begins."""
        self.entered += 1
        if self._page is not None:
            LAYOUT.pack_into(self._page, 0, self.completed, self.step, self.entered, 0)

    def complete(self, must_read: bool = False) -> None:
        """A call has returned; reads the step where the budget allows, or must_read says so."""
        self.completed += 1
        if self._read_step is not None:
            now_s = time.perf_counter()
            if must_read or self._spent_s <= FREE_S + LARGEST_SHARE * (now_s - self._since_s):
                self._sample(now_s)
        if self._page is not None:
            LAYOUT.pack_into(self._page, 0, self.completed, self.step, self.entered, 0)

    def _sample(self, started_s: float) -> None:
        read_step, self._read_step = self._read_step, None  # a reading that raises is the last one
        step = read_step() if read_step is not None else None
        if step is not None:
            self.step = step
            self._read_step = read_step
        self._spent_s += time.perf_counter() - started_s
