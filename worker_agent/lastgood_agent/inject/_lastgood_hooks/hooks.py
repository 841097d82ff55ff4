"""All hooks of this process, put together once, when the first module that is to be patched has run.

Decides nothing; what each hook does is in the module of its name.
"""

import importlib
import sys
from typing import Any, Callable

from .calls import Calls, make_call
from .exporting import Exporting
from .guard import is_inside_hook
from .keras import Keras
from .pins import Pins
from .receipts import Receipts
from .restoring import Restoring
from .rotation import Rotation
from .saving import Saving
from .session import Session
from .settings import Settings
from .strategies import Strategies
from .v1_saver import V1Saver


class Hooks:
    """The parts, and the hooks that belong to none of them."""

    def __init__(self, settings: Settings) -> None:
        self.session = Session(settings)
        self.receipts = Receipts(self.session, self.receipt_lost)
        self.calls = Calls(self.session, self.receipts.after_told, self.receipts.settle)
        self.pins = Pins(self.session)
        self.saving = Saving(self.session, self.pins, is_eager)
        self.restoring = Restoring(
            self.session,
            self.receipts,
            is_eager,
            self.calls.unsettle,
            self.pins.keep_planned,
            self.saving.writers.announce,
        )
        self.rotation = Rotation(self.session, self.pins)
        self.strategies = Strategies(self.session, self.saving.writers.announce_all)
        self.exporting = Exporting(self.session)
        self.keras = Keras(self.session, self.exporting)
        self.v1_saver = V1Saver(self.session, self.pins, is_eager)

    def receipt_lost(self, error: str) -> None:
        """A receipt can't be given, and without it nobody may pass the gate: steering is over."""
        self.session.guard.count("receipt", error)
        self.session.lose_steering("receipt", error)

    def saver_made(self, original: Callable[..., Any], saver: Any, *args: Any, **kwargs: Any) -> None:
        """TrackableSaver.__init__."""
        original(saver, *args, **kwargs)
        if not is_inside_hook():
            self.session.guard.run("progress", lambda: self.calls.add_root(saver._graph_view))

    def restored_late(self, original: Callable[..., Any], coordinator: Any, *args: Any, **kwargs: Any) -> Any:
        """_CheckpointRestoreCoordinator.restore_saveables."""
        result = original(coordinator, *args, **kwargs)
        if not is_inside_hook() and self.receipts.has_pending(coordinator):
            self.session.guard.run("receipt", lambda: self.receipts.restored_late(coordinator))
        return result

    def call_hook(self, original: Callable[..., Any]) -> Any:
        """Function.__call__."""
        context = importlib.import_module("tensorflow.python.eager.context")
        return make_call(original, self.calls, self.session, context.executing_eagerly)


def is_eager() -> bool:
    """True when the calling thread executes eagerly."""
    return bool(sys.modules["tensorflow.python.eager.context"].executing_eagerly())
