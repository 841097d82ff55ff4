"""What rotation removes: told, never hindered here."""

import os
from typing import Any, Callable

from .guard import is_inside_hook
from .series import directory_of
from .session import Session


class Rotation:
    """The hook of CheckpointManager._sweep."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def sweep(self, original: Callable[..., Any], manager: Any, *args: Any, **kwargs: Any) -> Any:
        """Compares the managed checkpoints before and after."""
        session = self._session
        if not session.is_claimed or is_inside_hook():
            return original(manager, *args, **kwargs)
        before = session.guard.run("sweep", lambda: tuple(manager._maybe_delete)).value or ()
        result = original(manager, *args, **kwargs)
        if before:
            session.guard.run("sweep", lambda: self.tell(before, tuple(manager._maybe_delete)))
        return result

    def tell(self, before: Any, after: Any) -> None:
        """Records what is managed no more and lies there no more; what is kept for good stays unmentioned."""
        dropped = [prefix for prefix in before if prefix not in after]
        gone = [os.fspath(prefix) for prefix in dropped if not os.path.exists(prefix + ".index")]
        if gone:
            prefixes = [os.path.join(directory_of(prefix), os.path.basename(prefix)) for prefix in gone]
            self._session.outbox.write("removed", prefixes=prefixes)
