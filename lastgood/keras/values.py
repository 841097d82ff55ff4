"""Are the values in a Keras file finite? Reads every floating tensor once, in pieces.

A file whose values cannot be looked at (no h5py, or something that Keras does not write) is told so, never condemned:
what its bytes prove is another question. Only HDF5 that does not parse is a fault, where the caller has no checksum.
"""

from typing import List, NamedTuple, Optional, Tuple

from lastgood import finite
from lastgood.errors import BundleError, MissingExtraError
from lastgood.keras.files import KerasCheckpoint
from lastgood.opened import TensorInfo
from lastgood.reasons import Reason
from lastgood.verify import MAX_NAMED_FAULTS, Fault


class Values(NamedTuple):
    """What was found.

    faults: a tensor each, NOT_FINITE. unread: why some values were not looked at; None: all were.
    """

    faults: Tuple[Fault, ...]
    unread: Optional[Exception] = None


def look_for_nan(path: str, format: str) -> Values:
    """NaN and Inf in every tensor of the file. format: of `KerasCheckpoint`. Raises nothing that a file can cause."""
    faults: List[Fault] = []
    try:
        checkpoint = KerasCheckpoint(path, format)
    except (BundleError, MissingExtraError) as error:
        return Values((), error)
    try:
        counters = finite.counters(checkpoint.tensors.values())
        for key, tensor in checkpoint.tensors.items():
            count = counters.get(tensor.dtype)
            found = finite.NONE if count is None else _count(checkpoint, key, count)
            if found != finite.NONE:
                faults.append(Fault(Reason.NOT_FINITE, _sentence(path, tensor, found)))
    except BundleError as error:
        return Values(_bounded(faults), error)
    finally:
        checkpoint.close()
    return Values(_bounded(faults))


def why_unread(error: Exception) -> str:
    """The sentence of a note."""
    return "NaN and Inf were not looked for: {}".format(error.detail if isinstance(error, BundleError) else error)


def _count(checkpoint: KerasCheckpoint, key: bytes, count: finite.Count) -> finite.Counts:
    nan = inf = 0
    for piece in checkpoint.raw(key):
        found = count(piece)
        nan, inf = nan + found.nan, inf + found.inf
    return finite.Counts(nan, inf)


def _sentence(path: str, tensor: TensorInfo, found: finite.Counts) -> str:
    return "{}: {} has {}".format(path, tensor.label, finite.in_words(found, tensor.elements, tensor.dtype))


def _bounded(faults: List[Fault]) -> Tuple[Fault, ...]:
    left_out = len(faults) - MAX_NAMED_FAULTS
    more = [Fault(Reason.NOT_FINITE, "and {} more".format(left_out))] if left_out > 0 else []
    return (*faults[:MAX_NAMED_FAULTS], *more)
