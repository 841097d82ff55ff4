"""Python's cycle collector rests while TensorFlow or Keras is imported: that shortens every start by half a second.

An import makes hundreds of thousands of objects that stay, and the collector walks through them again and again in
vain. Decides when it rests: from the first of these imports on this thread's stack until the outermost one has
ended, however it ended. Refuses to touch a collector that the script has switched off itself.
"""

import gc
from typing import Any, Callable

#: Packages large enough for it to matter.
PACKAGES = frozenset(("tensorflow", "keras", "tf_keras"))


class Rest:
    """Keeps the collector off while at least one import is under way."""

    def __init__(self) -> None:
        self._depth = 0
        self._was_on = False

    def around(self, execute: Callable[[Any], None]) -> Callable[[Any], None]:
        """`execute`, the body of a module's import, with the collector at rest."""

        def exec_module(module: Any) -> None:
            if self._depth == 0:
                self._was_on = gc.isenabled()
                gc.disable()
            self._depth += 1
            try:
                execute(module)
            finally:
                self._depth -= 1
                if self._depth == 0 and self._was_on:
                    gc.enable()

        return exec_module
