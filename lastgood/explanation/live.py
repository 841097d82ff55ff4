"""What can be asked of one live object of TensorFlow or Keras: is it a variable, an optimizer, built, and where held.

Imports neither, and knows objects by what TensorFlow 2.4 to 2.21 have in common, or by what either has. Changes
nothing.
"""

from typing import Any, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from lastgood.explanation.described import Slots
from lastgood.manifest import Kind

_KERAS = ("keras.", "keras_nightly.", "tf_keras.", "tensorflow.python.keras.")
_OPTIMIZERS = ("Optimizer", "OptimizerV2", "BaseOptimizer", "_BaseOptimizer", "_OptimizerBase")


def unwrapped(live: Any) -> Any:
    """TensorFlow's own variable behind Keras' wrappers; anything else as it is."""
    for _ in range(4):
        if not type(live).__module__.startswith(_KERAS):
            break
        inner = next(
            (one for name in ("_value", "_variable") for one in [getattr(live, name, None)] if one is not None), None
        )
        if inner is None:
            break
        live = inner
    return live


def local_replicas(live: Any) -> Tuple[Any, ...]:
    """The plain variables of this process that hold the value; empty for what is no variable."""
    live = unwrapped(live)
    if not hasattr(type(live), "assign"):
        return ()  # lists have `_values` too
    values = getattr(live, "_values", None)
    if isinstance(values, tuple):
        return values
    return (live,) if hasattr(live, "handle") else ()


def kind_of(live: Any) -> Kind:
    """How the workers' values of a variable relate, from its synchronization and aggregation."""
    live = unwrapped(live)
    if not isinstance(getattr(live, "_values", None), tuple):
        return Kind.PER_WORKER
    if getattr(getattr(live, "synchronization", None), "name", "") != "ON_READ":
        return Kind.MIRRORED
    aggregation = getattr(getattr(live, "aggregation", None), "name", "")
    return {"SUM": Kind.AGGREGATED_SUM, "MEAN": Kind.AGGREGATED_MEAN}.get(aggregation, Kind.PER_WORKER)


def name_of(live: Any) -> str:
    """A variable's own name, "" for what has none."""
    return str(getattr(live, "_shared_name", "") or getattr(live, "name", ""))


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
            except NotImplementedError:  # it only hands on to another object, such as a LossScaleOptimizer of Keras 2
                continue
    return ()


def _overrides(live: Any, method: str) -> bool:
    own = next((one for one in type(live).__mro__ if method in vars(one)), None)
    return own is not None and own.__name__ != "Trackable" and not own.__module__.startswith(_KERAS)


def is_keras(live: Any, names: Tuple[str, ...]) -> bool:
    """Whether it is of a class of Keras that is called so."""
    return any(one.__name__ in names and one.__module__.startswith(_KERAS) for one in type(live).__mro__)


def is_keras_3(live: Any) -> bool:
    """Whether an object of Keras is one of Keras 3."""
    return hasattr(type(live), "_obj_type")


def is_optimizer(live: Any) -> bool:
    """Whether it has variables for other variables, or is one of Keras's that has."""
    return "_create_or_restore_slot_variable" in dir(type(live)) or is_keras(live, _OPTIMIZERS)


def slots_of(live: Any) -> Slots:
    """What an optimizer does with slot variables of a checkpoint."""
    if "_create_or_restore_slot_variable" not in dir(type(live)):
        return Slots.IGNORES
    return Slots.TAKES if "get_slot_names" in dir(type(live)) else Slots.REFUSES


def is_unbuilt_optimizer(live: Any) -> bool:
    """Before its first step an optimizer has not made all of its variables."""
    if not is_optimizer(live):
        return False
    for flag in ("_hypers_created", "built", "_built"):
        value = getattr(live, flag, None)
        if isinstance(value, bool):
            return not value
    return slots_of(live) is Slots.REFUSES  # it has no flag before it is built


def is_unbuilt_layer(live: Any) -> bool:
    """Whether a layer is still to make variables, whatever it has; models are often used without being built."""
    return is_keras(live, ("Layer",)) and not is_keras(live, ("Model",)) and getattr(live, "built", True) is False


def is_built_layer(live: Any) -> bool:
    """Whether a layer is built: one without variables, such as a Dropout, will not make any then."""
    return is_keras(live, ("Layer",)) and getattr(live, "built", False) is True


def is_built_by_tracing(live: Any) -> bool:
    """Whether a layer of Keras 3 has no `build` of its own, and layers that are not built."""
    if not (is_keras_3(live) and is_keras(live, ("Layer",))) or live.built:
        return False
    return bool(getattr(live.build, "_is_default", False)) and any(not one.built for one in live._layers)


def weights_of(layer: Any) -> Sequence[Any]:
    """The weights that a layer knows."""
    try:
        return list(layer.weights)
    except ValueError:  # a model of Keras 2 that is not built
        return ()


def where_held(layer: Any, weight: Any, path: str) -> Tuple[str, str]:
    """The attribute of a layer that leads to a weight: as a path, and in words."""
    for name, value in vars(layer).items():
        if name.startswith(_INTERNAL):
            continue
        kind = "dict" if isinstance(value, dict) else "list" if isinstance(value, (list, set)) else ""
        trail = _trail(value, weight) if kind else None
        if trail is not None:
            return "/".join([path or layer.name, name, *trail]), _in_words(kind, name, path)
    own = str(weight.name).rpartition("/")[2].partition(":")[0]
    return "/".join([path or layer.name, own]), "held where no attribute of `{}` leads to it".format(path or layer.name)


class Held(NamedTuple):
    """Something in a list or dict of a layer. trail: the attribute's name, and the way from there."""

    kind: str
    trail: Sequence[str]
    value: Any


def held_in_containers(layer: Any) -> Iterator[Held]:
    """What is held in the lists and dicts that are attributes of a layer, and in those within."""
    for name, value in vars(layer).items():
        if not name.startswith(_INTERNAL) and isinstance(value, (dict, list, set)):
            yield from _held("dict" if isinstance(value, dict) else "list", [name], value)


def _held(kind: str, trail: List[str], value: Any) -> Iterator[Held]:
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for name, one in inner:
        if isinstance(one, (dict, list, set, tuple)):
            if len(trail) < _DEPTH:
                yield from _held(kind, [*trail, str(name)], one)
        elif type(one).__name__ != "SeedGenerator":  # is never saved, wherever it is held
            yield Held(kind, [*trail, str(name)], one)


def where_contained(layer: Any, held: Held, trail: Sequence[str], path: str) -> Tuple[str, str]:
    """What `where_held` says of a weight, of a variable that is reached from something in a list or dict."""
    return "/".join([path or layer.name, *held.trail, *trail]), _in_words(held.kind, held.trail[0], path)


def _in_words(kind: str, attribute: str, path: str) -> str:
    return "held in the {} `{}` of {}".format(kind, attribute, "`{}`".format(path) if path else "the root")


#: Where Keras itself keeps lists of what is tracked by other ways, or of what is no state of a model.
_INTERNAL = (
    "_self_",
    "_layers",
    "_operations",
    "_nodes",
    "_inbound_nodes",
    "_outbound_nodes",
    "_metrics",
    "_losses",
    "_loss_ids",
    "_seed_generators",
    "_tracker",
    "_trainable_variables",
    "_non_trainable",
    "_tracked",
)

#: How deep is looked into lists and dicts within each other.
_DEPTH = 5


def _trail(value: Any, weight: Any, depth: int = 0) -> Optional[List[str]]:
    """How a weight is reached from a value, step by step; None where it is not."""
    if value is weight:
        return []
    steps: Iterator[Tuple[Any, Any]] = iter(())
    if isinstance(value, dict):
        steps = iter(value.items())
    elif isinstance(value, (list, tuple, set)):
        steps = enumerate(value)
    elif is_keras(value, ("Layer",)) and any(one is weight for one in weights_of(value)):
        return [str(weight.name).rpartition("/")[2].partition(":")[0]]
    for name, inner in steps if depth < _DEPTH - 1 else ():
        trail = _trail(inner, weight, depth + 1)
        if trail is not None:
            return [str(name), *trail]
    return None
