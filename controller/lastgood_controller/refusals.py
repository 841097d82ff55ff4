"""What a script may do that cannot work under lastgood, or at all: the sentence that a run then ends with.

Pure: names in, words out. Decides nothing about when a run ends.
"""

from __future__ import annotations

from collections.abc import Mapping

PARAMETER_SERVER, TPU, KERAS_3_FIT = "ParameterServerStrategy", "TPUStrategy", "Keras3Fit"

_SENTENCES: Mapping[str, str] = {
    PARAMETER_SERVER: (
        "the script makes a ParameterServerStrategy, whose workers come and go by themselves: lastgood steers gangs of"
        " MultiWorkerMirroredStrategy, which live and die as one. Run the command without lastgood"
    ),
    TPU: (
        "the script makes a TPUStrategy, and lastgood steers jobs on CPUs and GPUs only. Run the command without"
        " lastgood"
    ),
    KERAS_3_FIT: (
        "the script calls fit() of Keras 3 under a MultiWorkerMirroredStrategy of several workers, which Keras 3 does"
        " not support: it raises a ValueError, with lastgood and without (keras issue 20585). Install tf-keras of"
        " TensorFlow's own version and set TF_USE_LEGACY_KERAS=1, which makes tf.keras Keras 2; or train in a custom"
        " loop; or with one worker"
    ),
}


def sentence(what: str, detail: str = "") -> str:
    """Why a script that does `what` cannot be run here, and what to do. detail: what the worker itself says of it."""
    known = _SENTENCES.get(what)
    if known is not None:
        return known
    return detail or f"the script uses {what}, which lastgood does not steer. Run the command without lastgood"
