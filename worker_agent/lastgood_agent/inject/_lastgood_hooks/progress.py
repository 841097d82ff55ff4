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

#: completed calls, last completed step (-1: unknown), calls entered, 0; written as cells of 8 bytes.
LAYOUT = struct.Struct("<QqQQ")
_COMPLETED, _STEP, _ENTERED = 0, 1, 2
#: Reading steps may take this share of the time that passes, and FREE_S besides.
LARGEST_SHARE = 0.005
FREE_S = 0.002


class Progress:
    """The counters of one attempt. Before `open` and after `close`, counting goes nowhere.

    Counts are kept in the mapped file and nowhere else, as 64-bit cells, which is the cheapest way from Python.
    """

    def __init__(self) -> None:
        self._cells = _cells_of(bytearray(_fresh()))
        self._read_step: Optional[Callable[[], Optional[int]]] = None
        self._spent_s = 0.0
        self._cheapest_s = float("inf")
        self._since_s = 0.0

    def open(self, path: str) -> None:
        """Makes the file and maps it. Its bytes are written first: a full disk is an error here, no SIGBUS later."""
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.pwrite(file, _fresh(), 0)
            self._cells = _cells_of(mmap.mmap(file, LAYOUT.size))
        finally:
            os.close(file)
        self._since_s = time.perf_counter()

    def close(self) -> None:
        """Forgets the file; what it says stays."""
        self._cells = _cells_of(bytearray(_fresh()))

    @property
    def step(self) -> Optional[int]:
        """The last completed step, None while unknown."""
        return self._cells[_STEP] if self._cells[_STEP] >= 0 else None

    @property
    def completed(self) -> int:
        return int(self._cells[_COMPLETED])

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

    def read(self) -> Optional[int]:
        """The step as it is now, whatever reading it costs; None while unknown."""
        return self._read_step() if self._read_step is not None else None

    def enter(self) -> None:
        """A call begins."""
        self._cells[_ENTERED] += 1

    def complete(self, must_read: bool = False) -> None:
        """A call has returned; reads the step where the budget allows, or must_read says so."""
        if self._read_step is not None:
            now_s = time.perf_counter()
            if must_read:
                self._sample()
            elif self._spent_s <= FREE_S + LARGEST_SHARE * (now_s - self._since_s):
                self._sample()
                self._charge(time.perf_counter() - now_s)
        self._cells[_COMPLETED] += 1

    def _sample(self) -> None:
        read_step, self._read_step = self._read_step, None  # a reading that raises is the last one
        step = read_step() if read_step is not None else None
        if step is not None:
            self._cells[_STEP] = step
            self._read_step = read_step

    def _charge(self, took_s: float) -> None:
        """Counts what a reading took, but for most of what was only waiting for a turn on a busy processor."""
        self._cheapest_s = min(self._cheapest_s, took_s)
        self._spent_s += min(took_s, 10 * self._cheapest_s)


def _fresh() -> bytes:
    return LAYOUT.pack(0, -1, 0, 0)


def _cells_of(buffer: Any) -> Any:
    return memoryview(buffer).cast("q")
