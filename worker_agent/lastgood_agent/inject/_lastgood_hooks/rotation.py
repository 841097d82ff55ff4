"""What rotation removes: told, and hindered only where a checkpoint that is needed could not be pinned.

Decides what a CheckpointManager does not get to see while it sweeps. Refuses to delete anything itself but the manifest
beside a checkpoint that is gone.
"""

import glob
import os
from typing import Any, Callable, List, Tuple

from .guard import is_inside_hook
from .pins import Pins
from .series import directory_of
from .session import Session

#: The document that the agent writes beside a checkpoint.
MANIFEST_SUFFIX = ".lastgood.json"

Entry = Tuple[Any, Any]


class Rotation:
    """The hook of CheckpointManager._sweep."""

    def __init__(self, session: Session, pins: Pins) -> None:
        self._session = session
        self._pins = pins

    def sweep(self, original: Callable[..., Any], manager: Any, *args: Any, **kwargs: Any) -> Any:
        """Compares the managed checkpoints before and after."""
        session = self._session
        if not session.is_claimed or is_inside_hook():
            return original(manager, *args, **kwargs)
        run = session.guard.run
        run("sweep", lambda: self.take_up_what_was_put_back(manager))
        before = run("sweep", lambda: tuple(manager._maybe_delete)).value or ()
        aside = run("sweep", lambda: self.set_aside(manager)).value or []
        try:
            result = original(manager, *args, **kwargs)
        finally:
            if aside:
                run("sweep", lambda: self.give_back(manager, aside, before))
        if before:
            run("sweep", lambda: self.tell(before, tuple(manager._maybe_delete)))
        return result

    def take_up_what_was_put_back(self, manager: Any) -> None:
        """Has the manager rotate away again what had been put back for the plan, as its oldest one."""
        plan = self._session.state.plan
        for planned in plan.series if plan is not None else ():
            directory, name = os.path.split(planned.prefix)
            path = os.path.join(manager._directory, name)
            is_this_managers = planned.is_put_back and directory_of(path) == directory
            if is_this_managers and path not in manager._maybe_delete and os.path.exists(path + ".index"):
                manager._maybe_delete[path] = manager._last_preserved_timestamp
                manager._maybe_delete.move_to_end(path, last=False)

    def set_aside(self, manager: Any) -> List[Entry]:
        """Takes out of the manager's hands what it must not delete now; never its newest one, which it keeps anyway."""
        kept = self._pins.kept_from_rotation()
        entries = list(manager._maybe_delete.items())[:-1] if kept else []
        aside = [(path, at) for path, at in entries if _real_prefix(path) in kept]
        for path, _ in aside:
            del manager._maybe_delete[path]
        return aside

    def give_back(self, manager: Any, aside: List[Entry], order: Any) -> None:
        """Gives it back, each in its place: TensorFlow insists that the newest one is the last."""
        manager._maybe_delete.update(aside)
        for path in order:
            if path in manager._maybe_delete:
                manager._maybe_delete.move_to_end(path)

    def tell(self, before: Any, after: Any) -> None:
        """Records what is managed no more and lies there no more; what is kept for good stays unmentioned."""
        dropped = [_real_prefix(os.fspath(prefix)) for prefix in before if prefix not in after]
        gone = [prefix for prefix in dropped if not _is_left(prefix)]
        for prefix in gone:
            forget_manifest(prefix)
        if gone:
            self._session.outbox.write("removed", prefixes=gone)


def forget_manifest(prefix: str) -> None:
    """Removes the document that describes what no longer lies at a prefix."""
    try:
        os.unlink(prefix + MANIFEST_SUFFIX)
    except OSError:
        return


def _real_prefix(prefix: str) -> str:
    return os.path.join(directory_of(prefix), os.path.basename(prefix))


def _is_left(prefix: str) -> bool:
    """Whether anything of a checkpoint still lies there."""
    return os.path.exists(prefix + ".index") or bool(glob.glob(glob.escape(prefix) + ".data-?????-of-?????"))
