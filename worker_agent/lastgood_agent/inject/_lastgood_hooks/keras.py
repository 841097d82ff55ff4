"""Keras' own files, HDF5 and .keras archives, and what Keras 3 cannot do in a gang.

Decides which of the calls are about files of Keras' own: TensorFlow's format goes through TrackableSaver and is steered
there. Refuses to steer them: they carry no identity, one name is written again and again, and HDF5 has no checksum.
They are told when they are saved, and when they are loaded.
"""

import os
import sys
from typing import Any, Callable, Optional

from .exporting import Exporting
from .guard import is_inside_hook
from .session import Session

KERAS_3_FIT = "Keras3Fit"
#: How long a script that is bound to fail waits for its end, so that the reason is told before it fails.
REFUSAL_WAIT_S = 10.0

_HDF5, _ARCHIVE = (".h5", ".hdf5", ".weights.json"), (".keras",)


class Keras:
    """The hooks of keras.Model, in all of the packages that have one."""

    def __init__(self, session: Session, exporting: Exporting) -> None:
        self._session = session
        self._exporting = exporting

    def save(self, original: Callable[..., Any], model: Any, filepath: Any, *args: Any, **kwargs: Any) -> Any:
        """Model.save and Model.save_weights."""
        kind = kind_of_file(filepath)
        if kind is None:
            return original(model, filepath, *args, **kwargs)
        return self._exporting.watch(kind, filepath, lambda: original(model, filepath, *args, **kwargs))

    def load_weights(self, original: Callable[..., Any], model: Any, filepath: Any, *args: Any, **kwargs: Any) -> Any:
        """Model.load_weights."""
        result = original(model, filepath, *args, **kwargs)
        if not is_inside_hook() and kind_of_file(filepath) is not None:
            self._session.guard.run("restore", lambda: self.tell_loaded(filepath))
        return result

    def tell_loaded(self, filepath: Any) -> None:
        """Records that weights were taken from a file that nobody has proven."""
        path = os.path.realpath(os.fspath(filepath))
        if self._session.is_claimed:
            self._session.outbox.write("left_alone", prefix=path)
        else:
            self._session.notice("read", path)

    def fit(self, original: Callable[..., Any], model: Any, *args: Any, **kwargs: Any) -> Any:
        """TensorFlowTrainer.fit of Keras 3, which raises under a strategy of several workers."""
        if not is_inside_hook() and self._session.gang_size > 1 and self._session.has_strategy:
            self._session.guard.run("refusal", self.refuse_fit, REFUSAL_WAIT_S + self._session.settings.body_s)
        return original(model, *args, **kwargs)

    def refuse_fit(self) -> None:
        """Says why, and gives the controller time to end the run with that reason."""
        session = self._session
        session.notice("unsupported", KERAS_3_FIT)
        sys.stderr.write(
            "lastgood: Keras 3 cannot fit() under MultiWorkerMirroredStrategy with several workers; use tf-keras with "
            "TF_USE_LEGACY_KERAS=1, or a custom training loop\n"
        )
        session.channel.wait_for(lambda state: False, REFUSAL_WAIT_S if session.is_claimed else 0.0)


def kind_of_file(filepath: Any) -> Optional[str]:
    """Which kind of Keras' own files a name is of; None for TensorFlow's formats."""
    if not isinstance(filepath, (str, os.PathLike)):
        return None
    name = os.fspath(filepath)
    if isinstance(name, bytes):
        return None
    if name.endswith(_HDF5):
        return "hdf5"
    return "keras" if name.endswith(_ARCHIVE) else None
