"""tf.compat.v1.train.Saver, which Estimators save by: seen, and read by the agent like any other save; never steered.

Decides that a save with a step number, in graph mode, shows that this script trains by sessions: there is no gate and
no receipt there, so the attempt says that it is not steered. Refuses to be in the way of a graph: nothing is added to
it, and no session is run.
"""

import hashlib
import os
import re
import time
from typing import Any, Callable, Iterable, List, Optional

from .guard import here, is_inside_hook
from .pins import Pins
from .saving import shard_sizes
from .series import absolute, directory_of
from .session import Session

_NUMBER = re.compile(r"-(\d+)$")
_UNSTEERED = (
    "the script trains by tf.compat.v1.train.Saver, in graph mode: what it saves is read and judged, and it restores "
    "by TensorFlow's own means"
)


class V1Saver:
    """The hooks of Saver.save and Saver.restore. is_eager: TensorFlow's word on this thread."""

    def __init__(self, session: Session, pins: Pins, is_eager: Callable[[], bool]) -> None:
        self._session = session
        self._pins = pins
        self._is_eager = is_eager

    def save(self, original: Callable[..., Any], saver: Any, *args: Any, **kwargs: Any) -> Any:
        """Saver.save."""
        if is_inside_hook() or getattr(here, "is_exporting", False) or not self._session.claim_alone():
            return original(saver, *args, **kwargs)
        started_s = time.monotonic()
        prefix = original(saver, *args, **kwargs)
        seconds = time.monotonic() - started_s
        if isinstance(prefix, str):
            is_eager = self._is_eager()
            self._session.guard.run("v1_saver", lambda: self.tell(saver, prefix, seconds, is_eager))
        return prefix

    def tell(self, saver: Any, prefix: str, seconds: float, is_eager: bool) -> None:
        """Records a save. Of the format of TensorFlow 1 there is no index, and nothing to be read."""
        session = self._session
        if not os.path.isfile(prefix + ".index"):
            return
        names = names_of(getattr(saver, "_var_list", None))
        signature = hashlib.sha256("\n".join(["tf.compat.v1.train.Saver", *names]).encode("utf-8")).hexdigest()[:16]
        series, ordinal = session.book.begin_save(signature, directory_of(prefix))
        session.book.add_saved(prefix)
        held = session.guard.run("pin", lambda: self._pins.keep(series, ordinal, prefix)).value
        step = step_of(prefix)
        session.outbox.write(
            "saved",
            series=series.to_json(),
            ordinal=ordinal,
            prefix=absolute(prefix),
            index_copy=session.outbox.copy_in(prefix + ".index", ".index"),
            shard_sizes_bytes=shard_sizes(prefix),
            step=step,
            save_counter=None,
            kinds={},
            unsaved=[],
            seconds=seconds,
            observed=True,
            held=held or [],
        )
        is_how_it_trains = step is not None and not is_eager and not session.restored and not session.has_saved
        if is_how_it_trains and session.is_steering:
            session.lose_steering("", _UNSTEERED)

    def restore(self, original: Callable[..., Any], saver: Any, sess: Any, save_path: Any) -> Any:
        """Saver.restore."""
        result = original(saver, sess, save_path)
        if not is_inside_hook() and isinstance(save_path, str) and not getattr(here, "is_exporting", False):
            self._session.guard.run("v1_saver", lambda: self.tell_restored(save_path))
        return result

    def tell_restored(self, prefix: str) -> None:
        """Records what was restored by TensorFlow's own means."""
        if self._session.is_claimed:
            self._session.outbox.write("left_alone", prefix=absolute(prefix))
        else:
            self._session.notice("read", absolute(prefix))


def step_of(prefix: str) -> Optional[int]:
    """The step number that a Saver has put behind a name; None where it was given none."""
    match = _NUMBER.search(prefix)
    return int(match.group(1)) if match else None


def names_of(variables: Any) -> List[str]:
    """The names of what a Saver saves: of variables, or the keys that it was given for them."""
    if isinstance(variables, dict):
        return sorted(map(str, variables))
    found: Iterable[Any] = variables or ()
    return sorted(str(getattr(one, "name", one)) for one in found)
