"""What can be asked of one live object of TensorFlow or Keras: is it a layer, an optimizer, built, and what it saves.

The same questions as in `lastgood.explanation.live`, which cannot be imported in a training process; a test asks both
about the same objects. Imports neither TensorFlow nor Keras, and changes nothing.
"""

from typing import Any, List, Sequence, Tuple

from .variables import WRAPPING_PACKAGES

_OPTIMIZERS = ("Optimizer", "OptimizerV2", "BaseOptimizer", "_BaseOptimizer", "_OptimizerBase")
IS_BUILT_BY_TRACING = "is_built_by_tracing"
IGNORES, TAKES, REFUSES = "ignores", "takes", "refuses"


def is_keras(live: Any, names: Tuple[str, ...]) -> bool:
    """Whether it is of a class of Keras that is called so."""
    return any(one.__name__ in names and one.__module__.startswith(WRAPPING_PACKAGES) for one in type(live).__mro__)


def is_keras_3(live: Any) -> bool:
    """Whether an object of Keras is one of Keras 3."""
    return hasattr(type(live), "_obj_type")


def is_optimizer(live: Any) -> bool:
    """Whether it has variables for other variables, or is one of Keras's that has."""
    return hasattr(type(live), "_create_or_restore_slot_variable") or is_keras(live, _OPTIMIZERS)


def slots_of(live: Any) -> str:
    """What an object does with slot variables of a checkpoint."""
    if not hasattr(type(live), "_create_or_restore_slot_variable"):
        return IGNORES
    return TAKES if hasattr(type(live), "get_slot_names") else REFUSES


def class_name_of(live: Any) -> str:
    """What its class is called."""
    return type(live).__name__


def optimizer_name_of(live: Any) -> str:
    """What an optimizer calls its variables after; "" for anything else."""
    return str(getattr(live, "_name", "") or getattr(live, "name", "")) if is_optimizer(live) else ""


def looks_of(live: Any) -> List[str]:
    """What is true of it, in the words of `lastgood.explanation.looks.Looks`."""
    is_layer = is_keras(live, ("Layer",))
    is_one = is_optimizer(live)
    claims = (
        ("is_optimizer", is_one),
        ("is_unbuilt_optimizer", is_one and _is_unbuilt_optimizer(live)),
        ("is_layer", is_layer),
        ("is_unbuilt_layer", is_layer and not is_keras(live, ("Model",)) and getattr(live, "built", True) is False),
        ("is_built_layer", is_layer and getattr(live, "built", False) is True),
        ("is_built", bool(getattr(live, "built", False))),
        (IS_BUILT_BY_TRACING, is_layer and _is_built_by_tracing(live)),
    )
    return [name for name, is_true in claims if is_true]


def _is_unbuilt_optimizer(live: Any) -> bool:
    for flag in ("_hypers_created", "built", "_built"):
        value = getattr(live, flag, None)
        if isinstance(value, bool):
            return not value
    return slots_of(live) == REFUSES  # it has no flag before it is built


def _is_built_by_tracing(live: Any) -> bool:
    if not is_keras_3(live) or live.built:
        return False
    return bool(getattr(live.build, "_is_default", False)) and any(not one.built for one in live._layers)


def other_values(live: Any) -> Sequence[str]:
    """The names under which an object that is no variable saves something: tables, iterators, Python state."""
    if "Iterator" in type(live).__name__:
        return ("ITERATOR",)
    if any(one.__name__ == "PythonState" for one in type(live).__mro__):
        return ("py_state",)
    legacy = getattr(live, "_LEGACY_SAVEABLE_NAME", None)
    if isinstance(legacy, str):
        return (legacy,)
    for method in ("_serialize_to_tensors", "_gather_saveables_for_checkpoint"):
        if _overrides(live, method):
            try:
                return tuple(getattr(live, method)())
            except NotImplementedError:  # it only hands on to another object
                continue
    return ()


def _overrides(live: Any, method: str) -> bool:
    own = next((one for one in type(live).__mro__ if method in vars(one)), None)
    return own is not None and own.__name__ != "Trackable" and not own.__module__.startswith(WRAPPING_PACKAGES)


def weights_of(layer: Any) -> Sequence[Any]:
    """The weights that a layer knows."""
    try:
        return list(layer.weights)
    except ValueError:  # a model of Keras 2 that is not built
        return ()
