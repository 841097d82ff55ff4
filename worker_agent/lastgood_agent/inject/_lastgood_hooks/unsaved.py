"""What a save leaves out: variables of the layers that are saved, held where TensorFlow does not look for them.

Keras 3 hides what lies in a list or dict attribute of a Model or Layer from TensorFlow, so it is neither saved nor
restored, in silence. Decides which variables those are, and says where each is held. Reads no value.
"""

from functools import partial
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Set, Tuple

from .objects import is_keras, is_keras_3, weights_of
from .variables import children_of, local_replicas, unwrapped

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
#: So many are named.
_MOST = 200

#: A variable, and what finds the path to it and where it is held, in words: asked of what is not saved alone.
Held = Tuple[Any, Callable[[], Tuple[str, str]]]


def unsaved_variables(graph_view: Any) -> List[str]:
    """What a save of this root leaves out, each as `PATH (held in the list NAME of PATH)`."""
    paths = _paths(graph_view)
    layers = [(live, path) for live, path in paths if is_keras(live, ("Layer",))]
    seen: Set[int] = set(_yet_to_be_tracked(live for live, _ in paths))
    for live, _ in paths:
        seen.update(_identities(live))
    found: List[str] = []
    for find in (_weights, _contained):
        for layer, path in reversed(layers):  # the innermost owner names it best
            for variable, where_held in find(graph_view, layer, path):
                if id(variable) not in seen and id(unwrapped(variable)) not in seen:
                    seen.update(_identities(variable))
                    found.append("{} ({})".format(*where_held()))
    return found if len(found) <= _MOST else [*found[:_MOST], "and {} more".format(len(found) - _MOST)]


def _identities(live: Any) -> Iterator[int]:
    yield from (id(one) for one in (live, unwrapped(live), *local_replicas(live)))


def _paths(graph_view: Any) -> List[Tuple[Any, str]]:
    """Every object that is saved, with the shortest path to it."""
    found: List[Tuple[Any, str]] = [(graph_view.root, "")]
    seen = {id(graph_view.root)}
    for live, path in found:  # grows while it is walked
        for name, child in children_of(graph_view, live):
            if id(child) not in seen:
                seen.add(id(child))
                found.append((child, path + "/" + name if path else name))
    return found


def _yet_to_be_tracked(objects: Iterator[Any]) -> Iterator[int]:
    """Weights of layers in a Sequential that is not built: Keras 3 shows them to TensorFlow when it is."""
    for live in objects:
        if is_keras_3(live) and is_keras(live, ("Sequential",)) and not live.built:
            yield from (id(weight) for weight in weights_of(live))


def _weights(_: Any, layer: Any, path: str) -> Iterator[Held]:
    for weight in weights_of(layer):
        yield weight, partial(_where_held, layer, weight, path or layer.name)


def _where_held(layer: Any, weight: Any, path: str) -> Tuple[str, str]:
    for name, value in vars(layer).items():
        kind = "dict" if isinstance(value, dict) else "list" if isinstance(value, (list, set)) else ""
        trail = _trail(value, weight) if kind and not name.startswith(_INTERNAL) else None
        if trail is not None:
            return "/".join([path, name, *trail]), _in_words(kind, name, path)
    return path + "/" + _own_name(weight), "held where no attribute of `{}` leads to it".format(path)


def _trail(value: Any, weight: Any, depth: int = 0) -> Optional[List[str]]:
    """How a weight is reached from a value, step by step; None where it is not."""
    if value is weight:
        return []
    steps: Sequence[Tuple[Any, Any]] = ()
    if isinstance(value, dict):
        steps = tuple(value.items())
    elif isinstance(value, (list, tuple, set)):
        steps = tuple(enumerate(value))
    elif is_keras(value, ("Layer",)) and any(one is weight for one in weights_of(value)):
        return [_own_name(weight)]
    for name, inner in steps if depth < _DEPTH - 1 else ():
        trail = _trail(inner, weight, depth + 1)
        if trail is not None:
            return [str(name), *trail]
    return None


def _contained(graph_view: Any, layer: Any, path: str) -> Iterator[Held]:
    """Variables and modules of TensorFlow's own in the containers of a layer of Keras 3, which are no weights of it."""
    if not is_keras_3(layer):
        return
    path = path or layer.name
    for name, value in vars(layer).items():
        if name.startswith(_INTERNAL) or not isinstance(value, (dict, list, set)):
            continue
        words = _in_words("dict" if isinstance(value, dict) else "list", name, path)
        for trail, held in _held([name], value):
            for variable, below in _variables_below(graph_view, held):
                yield variable, partial(_at, [path, *trail, *below], words)


def _held(trail: List[str], value: Any) -> Iterator[Tuple[List[str], Any]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for name, one in inner:
        if isinstance(one, (dict, list, set, tuple)):
            if len(trail) < _DEPTH:
                yield from _held([*trail, str(name)], one)
        elif type(one).__name__ != "SeedGenerator":  # is never saved, wherever it is held
            yield [*trail, str(name)], one


def _variables_below(graph_view: Any, top: Any) -> Iterator[Tuple[Any, Tuple[str, ...]]]:
    if not hasattr(type(top), "_lookup_dependency"):  # TensorFlow tracks no such thing
        return
    trails: Dict[int, Tuple[str, ...]] = {id(top): ()}
    queue = [top]
    for live in queue:
        if local_replicas(live):
            yield live, trails[id(live)]
        for name, child in children_of(graph_view, live):
            if id(child) not in trails:
                trails[id(child)] = (*trails[id(live)], name)
                queue.append(child)


def _at(trail: Sequence[str], words: str) -> Tuple[str, str]:
    return "/".join(trail), words


def _in_words(kind: str, attribute: str, path: str) -> str:
    return "held in the {} `{}` of `{}`".format(kind, attribute, path)


def _own_name(weight: Any) -> str:
    return str(weight.name).rpartition("/")[2].partition(":")[0]
