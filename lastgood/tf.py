"""What a live object of TensorFlow would get from a checkpoint, before `restore` is called.

    import lastgood.tf
    explanation = lastgood.tf.explain(tf.train.Checkpoint(model=model), "ckpts/ckpt-7")
    print(explanation.is_good, explanation.predictions[0])

The only module of the library that imports TensorFlow, and it does so when it is called. Looks at objects as they are:
creates, assigns and saves nothing, and starts no collective. Values are compared where they lie in this process. Works
with TensorFlow 2.4 to 2.21, by what those have in common or by what either has.
"""

import gc
import os
from dataclasses import replace
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Set, Tuple, Union

from lastgood import checksum
from lastgood.bundle.graph import Attribute, Node, ObjectGraph, SlotVariable
from lastgood.explain import Explanation, explain_file_name, explain_nothing, failed
from lastgood.explain import explain as explain_descriptions
from lastgood.explanation.described import (
    ATTRIBUTES,
    SAVE_COUNTER,
    VARIABLE_VALUE,
    Description,
    Outsider,
    Tensor,
    paths_of,
    rules_of,
)
from lastgood.explanation.displacement import without_numbers
from lastgood.explanation.live import (
    held_in_containers,
    is_built_by_tracing,
    is_built_layer,
    is_keras,
    is_keras_3,
    is_optimizer,
    is_unbuilt_layer,
    is_unbuilt_optimizer,
    kind_of,
    local_replicas,
    name_of,
    other_values,
    slots_of,
    unwrapped,
    weights_of,
    where_contained,
    where_held,
)
from lastgood.explanation.looks import Looks, traits_by
from lastgood.explanation.saved_side import describe_saved
from lastgood.manifest import Kind

#: What variables are called that nobody named: such a name makes none like another.
_NO_NAMES = ("", "Variable")

#: Checksums in pure Python take 0.1 s per MB: then only small values are compared.
_SMALL_BYTES = 1 << 16

#: What to do where TensorFlow refuses a list or a dict.
_PLAIN = "append to lists and add to dicts, and do neither replace nor insert; keys of dicts are strings"

#: What the name of a checkpoint's index ends in.
_INDEX = ".index"

Prefix = Union[str, bytes, "os.PathLike[str]"]


def explain(checkpoint_object: Any, prefix: Optional[Prefix], *, values: bool = True) -> Explanation:
    """What `checkpoint_object.restore(prefix)` would do.

    checkpoint_object: a `tf.train.Checkpoint`, a `CheckpointManager`, or any other object that can be saved.
    prefix: as `restore` would be given; None is what `latest_checkpoint` returns where it finds nothing.
    values: compare the values that variables have now with those that were saved, which proves swaps.
    Raises BundleError where the files cannot be read, and TypeError for what is no object that can be saved.
    """
    try:
        target = describe(checkpoint_object, values=values)
    except _RefusedError as error:
        return failed("", "restore() raises ValueError: {}".format(error), _PLAIN)
    if prefix is None:
        return explain_nothing(target)
    path = os.fsdecode(prefix)
    if path.endswith(_INDEX) and os.path.isfile(path) and not os.path.exists(path + _INDEX):
        return explain_file_name(path, path[: -len(_INDEX)], target)
    saved = describe_saved(path)
    return saved if isinstance(saved, Explanation) else explain_descriptions(saved, target)


def describe(checkpoint_object: Any, *, values: bool = False) -> Description:
    """The description of a live object, as `lastgood.explain` takes it."""
    import tensorflow as tf

    owner = getattr(checkpoint_object, "checkpoint", None)
    if type(checkpoint_object).__name__ == "CheckpointManager" and owner is not None:
        checkpoint_object = owner
    if not isinstance(checkpoint_object, _trackable(tf)):
        raise TypeError("expected a tf.train.Checkpoint, found {!r}".format(checkpoint_object))
    return _Describer(tf, checkpoint_object, values).run()


def unsaved(checkpoint_object: Any) -> Tuple[Outsider, ...]:
    """The variables of its layers that `checkpoint_object.save()` would leave out, and where they are held."""
    return tuple(outsider for outsider in describe(checkpoint_object).outsiders if outsider.is_inside)


class _RefusedError(ValueError):
    """From 2.10 on, TensorFlow does not tell what such an object leads to, neither to a save nor to a restore."""


class _Describer:
    def __init__(self, tf: Any, checkpoint_object: Any, values: bool) -> None:
        self._tf, self._values = tf, values
        self._rules = rules_of(tf.__version__)
        self._is_checkpoint = isinstance(checkpoint_object, tf.train.Checkpoint)
        self._checkpoint = checkpoint_object
        saver = getattr(checkpoint_object, "_saver", None) if self._is_checkpoint else None
        self._view = getattr(saver, "_graph_view", None) or _graph_view(checkpoint_object)
        self._objects: List[Any] = []
        self._numbers: Dict[int, int] = {}
        self._children: List[Tuple[Tuple[str, int], ...]] = []
        self._tensors: Dict[bytes, Tensor] = {}
        self._strategy: Any = None

    def run(self) -> Description:
        """All of it."""
        self._walk()
        slots = self._find_slots()
        late = self._add_save_counter()
        bare = tuple(Node(children, (), tuple(slots.get(number, ()))) for number, children in enumerate(self._children))
        paths = paths_of(ObjectGraph(bare))
        nodes = tuple(
            replace(node, attributes=self._attributes(live, paths.get(number, "")))
            for number, (node, live) in enumerate(zip(bare, self._objects))
        )
        description = Description(
            ObjectGraph(nodes),
            self._tensors,
            traits_by([self._looks(live) for live in self._objects], nodes),
            attached=self._attached(),
            late=late,
            rules=self._rules,
            replicas=1 if self._strategy is None else int(self._strategy.num_replicas_in_sync),
            is_foreign=self._strategy is not None and not self._strategy.extended.should_checkpoint,
        )
        return replace(description, outsiders=self._outsiders(description, paths))

    # ------------------------------------------------------------------------------------------------------- the graph

    def _number(self, live: Any) -> int:
        if id(live) not in self._numbers:
            self._numbers[id(live)] = len(self._objects)
            self._objects.append(live)
            self._children.append(())
        return self._numbers[id(live)]

    def _walk(self) -> None:
        self._number(self._view.root)
        done = 0
        while done < len(self._objects):
            children = self._children_of(self._objects[done])
            self._children[done] = tuple((name, self._number(live)) for name, live in children)
            done += 1

    def _children_of(self, live: Any) -> Sequence[Tuple[str, Any]]:
        list_children = getattr(self._view, "list_children", None) or self._view.list_dependencies
        try:
            return [(child.name, child.ref) for child in list_children(live)]
        except ValueError as error:  # a list that was changed in its middle
            if self._rules.by_attribute:  # only a save refuses it
                return [(child.name, child.ref) for child in live._unconditional_checkpoint_dependencies]
            raise _RefusedError(" ".join(str(error).split())) from error

    def _find_slots(self) -> Mapping[int, List[SlotVariable]]:
        found: Dict[int, List[SlotVariable]] = {}
        for number, optimizer in enumerate(tuple(self._objects)):
            if "get_slot_names" not in dir(optimizer):
                continue
            for name in optimizer.get_slot_names():
                for original, variable in enumerate(tuple(self._objects)):
                    slot = _slot(optimizer, variable, name)
                    if slot is not None:
                        found.setdefault(number, []).append(SlotVariable(name, original, self._number(slot)))
        return found

    def _add_save_counter(self) -> Tuple[str, ...]:
        """`restore` creates it when everything else is done, and gives it its value."""
        if not self._is_checkpoint or getattr(self._checkpoint, "_save_counter", None) is not None:
            return ()
        number = self._number(_SaveCounter())
        self._children[0] += ((SAVE_COUNTER, number),)
        return (SAVE_COUNTER,)

    def _attached(self) -> Tuple[str, ...]:
        attached = getattr(self._view, "attached_dependencies", None) or ()
        return tuple(child.name for child in attached if child.name != "root")

    # ------------------------------------------------------------------------------------------------------ the values

    def _attributes(self, live: Any, path: str) -> Tuple[Attribute, ...]:
        if isinstance(live, _SaveCounter):
            return (self._attribute(VARIABLE_VALUE, SAVE_COUNTER, path, Tensor("int64", ())),)
        variables = local_replicas(live)
        if variables:
            is_nameless = self._rules.slots_at_once and len(variables) > 1  # TensorFlow 2.4 saves no name for it
            name = "" if is_nameless else str(getattr(live, "_shared_name", "") or "")
            return (
                self._attribute(VARIABLE_VALUE, name, path, self._tensor(live, variables, is_compared=self._values)),
            )
        return tuple(self._attribute(name, "", path, None) for name in other_values(live))

    def _attribute(self, name: str, full_name: str, path: str, tensor: Optional[Tensor]) -> Attribute:
        key = (path + ATTRIBUTES + name).encode("utf-8", "surrogateescape")
        if tensor is not None:
            self._tensors[key] = tensor
        return Attribute(name, full_name, key)

    def _tensor(self, live: Any, variables: Sequence[Any], *, is_compared: bool) -> Tensor:
        first = variables[0]
        kind = kind_of(live)
        strategy = getattr(unwrapped(live), "distribute_strategy", None)
        self._strategy = strategy if strategy is not None else self._strategy
        shape = first.shape
        sizes = None if shape.rank is None else tuple(-1 if size is None else int(size) for size in shape.as_list())
        is_compared = is_compared and kind in (Kind.MIRRORED, Kind.PER_WORKER)
        return Tensor(first.dtype.base_dtype.name, sizes, self._checksum(first) if is_compared else None, kind)

    def _checksum(self, variable: Any) -> Optional[int]:
        try:
            array = variable.numpy()
        except (RuntimeError, ValueError, NotImplementedError, self._tf.errors.OpError):
            return None  # not initialised, or its shape is open: there is nothing to compare
        if not hasattr(array, "tobytes") or array.dtype.kind == "O":
            return None
        if array.nbytes > _SMALL_BYTES and not checksum.IS_FAST:
            return None
        return checksum.crc32c(array.tobytes())

    # ------------------------------------------------------------------------------------------------------ the traits

    def _looks(self, live: Any) -> Looks:
        is_one = is_optimizer(live)
        return Looks(
            class_name=type(live).__name__,
            slots=slots_of(live),
            is_optimizer=is_one,
            is_unbuilt_optimizer=is_unbuilt_optimizer(live),
            is_layer=is_keras(live, ("Layer",)),
            is_unbuilt_layer=is_unbuilt_layer(live),
            is_built_layer=is_built_layer(live),
            is_built=bool(getattr(live, "built", False)),
            is_built_by_tracing=is_built_by_tracing(live),
            name=str(getattr(live, "_name", "") or getattr(live, "name", "")) if is_one else "",
        )

    # --------------------------------------------------------------------------------------------------- the outsiders

    def _outsiders(self, description: Description, paths: Mapping[int, str]) -> Tuple[Outsider, ...]:
        reached: Set[int] = set()
        for live in self._objects:
            reached.update(id(one) for one in (live, unwrapped(live), *local_replicas(live)))
        inside = list(self._unsaved_weights(reached, paths))
        for weight, _, _ in inside:
            reached.update(id(one) for one in (weight, unwrapped(weight), *local_replicas(weight)))
        found = [
            Outsider(name_of(weight), self._outside_tensor(weight), path, where, is_inside=True)
            for weight, path, where in inside
        ]
        return tuple(found) + tuple(self._twins(description, reached))

    def _unsaved_weights(self, reached: Set[int], paths: Mapping[int, str]) -> Iterator[Tuple[Any, str, str]]:
        """Weights of layers that are restored, which TensorFlow does not find, each with where it is held."""
        seen: Set[int] = {*reached, *self._yet_to_be_tracked()}
        owners = [(number, live) for number, live in enumerate(self._objects) if is_keras(live, ("Layer",))]
        for number, layer in reversed(owners):  # the innermost owner names it best
            for weight in weights_of(layer):
                if id(weight) not in seen and id(unwrapped(weight)) not in seen:
                    seen.update((id(weight), id(unwrapped(weight))))
                    yield (weight, *where_held(layer, weight, paths.get(number, "")))
        for number, layer in reversed(owners):
            for held in held_in_containers(layer) if is_keras_3(layer) else ():
                for variable, trail in self._variables_below(held.value):
                    if id(variable) not in seen and id(unwrapped(variable)) not in seen:
                        seen.update((id(variable), id(unwrapped(variable))))
                        yield (variable, *where_contained(layer, held, trail, paths.get(number, "")))

    def _variables_below(self, top: Any) -> Iterator[Tuple[Any, Sequence[str]]]:
        """What a save of `top` would hold, each with the way to it."""
        if not isinstance(top, _trackable(self._tf)):
            return
        trails: Dict[int, Tuple[str, ...]] = {id(top): ()}
        queue = [top]
        for live in queue:
            if local_replicas(live):
                yield live, trails[id(live)]
            for name, child in self._children_of(live):
                if id(child) not in trails:
                    trails[id(child)] = (*trails[id(live)], name)
                    queue.append(child)

    def _yet_to_be_tracked(self) -> Iterator[int]:
        """Weights of layers in a Sequential that is not built: Keras 3 shows them to TensorFlow when it is."""
        for live in self._objects:
            if is_keras_3(live) and is_keras(live, ("Sequential",)) and not live.built:
                yield from (id(weight) for weight in weights_of(live))

    def _outside_tensor(self, live: Any) -> Tensor:
        return self._tensor(live, local_replicas(live) or (live,), is_compared=False)

    def _twins(self, description: Description, reached: Set[int]) -> Iterator[Outsider]:
        """Variables of this process that nothing restores, each just like one that something restores."""
        known = {
            (without_numbers(attribute.full_name), tensor.dtype, tensor.shape)
            for node in description.graph.nodes
            for attribute in node.attributes
            for tensor in [description.tensors.get(attribute.checkpoint_key)]
            if tensor is not None and tensor.elements > 1 and attribute.full_name not in _NO_NAMES
        }
        variables, parts = _variables_alive(self._tf)
        for variable in variables:
            if id(variable) in reached or id(unwrapped(variable)) in reached or id(variable) in parts:
                continue
            tensor = self._outside_tensor(variable)
            if (without_numbers(name_of(variable)), tensor.dtype, tensor.shape) in known:
                where = "`{}` is alive in this process".format(name_of(variable))
                yield Outsider(name_of(variable), tensor, name_of(variable), where, is_inside=False)


class _SaveCounter:
    """Stands for the counter that `restore` will create."""


def _graph_view(root: Any) -> Any:
    try:
        from tensorflow.python.checkpoint.graph_view import ObjectGraphView
    except ImportError:  # up to 2.8
        from tensorflow.python.training.tracking.graph_view import ObjectGraphView
    return ObjectGraphView(root)


def _slot(optimizer: Any, variable: Any, name: str) -> Any:
    try:
        return optimizer.get_slot(variable, name)
    except (AttributeError, KeyError):
        return None


def _variables_alive(tf: Any) -> Tuple[List[Any], Set[int]]:
    """Every variable of this process, and the identities of those that are parts of others."""
    gc.collect()
    trackable = _trackable(tf)
    is_candidate: Dict[type, bool] = {}
    found: List[Any] = []
    parts: Set[int] = set()
    for live in gc.get_objects():
        kind = type(live)
        if kind not in is_candidate:
            is_candidate[kind] = issubclass(kind, trackable) and hasattr(kind, "assign")
        if is_candidate[kind] and local_replicas(live) and not getattr(live, "_in_graph_mode", False):
            found.append(live)
            parts.update(id(one) for one in (unwrapped(live), *local_replicas(live)) if one is not live)
    return found, parts


def _trackable(tf: Any) -> Any:
    if hasattr(tf, "__internal__"):
        return tf.__internal__.tracking.Trackable
    from tensorflow.python.training.tracking.base import Trackable

    return Trackable
