"""What a script writes for others to use, a SavedModel: told as a whole, once all of its files are there.

Decides nothing: an export is no checkpoint to go on from, so what is saved or loaded within it counts as neither a save
nor a restore. Refuses to read any of it: the agent does.
"""

import contextlib
import os
import time
from typing import Any, Callable, Iterator, List, Optional

from .guard import describe, here, is_inside_hook
from .series import real_directory
from .session import Session

#: The file of a SavedModel that is written last.
_GRAPH = "saved_model.pb"


class Exporting:
    """The hooks of tf.saved_model, and what those of Keras files share with them."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def saved_model(self, original: Callable[..., Any], obj: Any, export_dir: Any, *args: Any, **kwargs: Any) -> Any:
        """saved_model.save.save_and_return_nodes (save in TensorFlow 2.4), which every way to export leads to."""
        return self.watch("saved_model", export_dir, lambda: original(obj, export_dir, *args, **kwargs))

    def watch(self, kind: str, path: Any, write: Callable[[], Any]) -> Any:
        """Runs what writes an export, and tells it. One within another is a part of it."""
        if is_inside_hook() or getattr(here, "is_exporting", False):
            return write()
        started_s = time.monotonic()
        try:
            with exporting():
                result = write()
        except Exception as failure:
            error = describe(failure)
            self._session.guard.run("export", lambda: self.tell(kind, path, started_s, error))
            raise
        self._session.guard.run("export", lambda: self.tell(kind, path, started_s))
        return result

    def tell(self, kind: str, path: Any, started_s: float, error: str = "") -> None:
        """Records an export."""
        seconds = time.monotonic() - started_s
        where = real_directory(os.fspath(path))
        self._session.outbox.write(
            "exported",
            kind=kind,
            path=where,
            step=self._session.progress.read(),
            identity=identity(os.path.join(where, _GRAPH) if kind == "saved_model" else where),
            error=error,
            seconds=seconds,
        )


@contextlib.contextmanager
def exporting() -> Iterator[None]:
    """Within, saves and restores are a part of something that is told as a whole."""
    here.is_exporting = True
    try:
        yield
    finally:
        here.is_exporting = False


def identity(path: str) -> Optional[List[int]]:
    """[size in bytes, time of its last change in nanoseconds] of a file; None: not there, or no local file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]
