"""Facts: what happened here, as one file each in the outbox, so that nothing is lost when this process is killed.

Decides a fact's name and that it appears whole or not at all. Refuses to wait: the bell that tells the agent is rung
without blocking, and a lost ring costs at most the agent's next look into the outbox.
"""

import itertools
import json
import os
import shutil
import time
from typing import Any, Callable


class Outbox:
    """The directory of facts of one attempt. Safe to use from any thread."""

    def __init__(self, directory: str, attempt: int, ring: Callable[[], None]) -> None:
        self._directory = directory
        self._attempt = attempt
        self._ring = ring
        self._numbers = itertools.count()

    def write(self, type_: str, **fields: Any) -> None:
        """Records one fact. Raises OSError when the outbox cannot be written to."""
        fact = {"type": type_, "attempt": self._attempt, "pid": os.getpid(), "at_s": time.time()}
        fact.update(fields)
        name = self._unique_name() + ".json"
        hidden = os.path.join(self._directory, "." + name)
        with open(hidden, "w", encoding="utf-8") as file:
            json.dump(fact, file, separators=(",", ":"))
        os.rename(hidden, os.path.join(self._directory, name))
        self._ring()

    def copy_in(self, source: str, suffix: str) -> str:
        """Copies a file into the outbox and returns its name there."""
        name = self._unique_name() + suffix
        hidden = os.path.join(self._directory, "." + name)
        shutil.copyfile(source, hidden)
        os.rename(hidden, os.path.join(self._directory, name))
        return name

    def write_beside(self, text: str, suffix: str) -> str:
        """Writes a file that a fact then names, and returns its name."""
        name = self._unique_name() + suffix
        hidden = os.path.join(self._directory, "." + name)
        with open(hidden, "w", encoding="utf-8") as file:
            file.write(text)
        os.rename(hidden, os.path.join(self._directory, name))
        return name

    def _unique_name(self) -> str:
        number = next(self._numbers)
        return "{:06d}-{:020d}-{}-{}".format(self._attempt, time.monotonic_ns(), os.getpid(), number)
