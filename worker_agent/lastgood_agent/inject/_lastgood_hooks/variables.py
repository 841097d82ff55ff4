"""TensorFlow's live objects as the hooks see them: which variable lies behind a wrapper, of which kind it is, and its
value on this worker.

Decides kinds by (synchronization, aggregation). Refuses to start a collective: values are read from the local replica
only, by the plain read operation, and without copying where the variable is in host memory.
"""

import sys
import weakref
from typing import Any, Iterator, List, Optional, Tuple

MIRRORED, SUM, MEAN, PER_WORKER = "mirrored", "aggregated_sum", "aggregated_mean", "per_worker"

#: Packages whose variables wrap one of TensorFlow's, and the attributes that lead to it.
WRAPPING_PACKAGES = ("keras.", "keras_nightly.", "tf_keras.", "tensorflow.python.keras.")
_WRAPPED_ATTRIBUTES = ("_value", "_variable")

#: Names of the step among the children of a root or of its optimizer, the first found is taken.
STEP_NAMES = ("step", "global_step", "iteration", "iterations")
OPTIMIZER_STEP_NAMES = ("iter", "_iterations", "iterations")


def unwrapped(live: Any) -> Any:
    """TensorFlow's own variable behind Keras' wrappers; anything else as it is."""
    for _ in range(4):
        if not type(live).__module__.startswith(WRAPPING_PACKAGES):
            break
        inner = [getattr(live, name, None) for name in _WRAPPED_ATTRIBUTES]
        found = next((one for one in inner if one is not None), None)
        if found is None:
            break
        live = found
    return live


def local_replicas(live: Any) -> Tuple[Any, ...]:
    """The plain variables on this worker that hold the value; empty for what is no variable."""
    live = unwrapped(live)
    is_variable = hasattr(type(live), "assign") and hasattr(live, "handle")
    return _replicas(live) or ((live,) if is_variable else ())


def kind_of(live: Any) -> Optional[str]:
    """The kind of what is saved for a live object, in the words of lastgood.manifest.Kind; None: unknown."""
    live = unwrapped(live)
    if _replicas(live):
        if _name(live, "synchronization") != "ON_READ":
            return MIRRORED
        return {"SUM": SUM, "MEAN": MEAN}.get(_name(live, "aggregation"), PER_WORKER)
    if local_replicas(live) or "Iterator" in type(live).__name__:
        return PER_WORKER
    return None


def _replicas(live: Any) -> Tuple[Any, ...]:
    """Of a distributed variable; empty for anything else. What tracks a tuple in an attribute has `_values`, too."""
    values = getattr(live, "_values", None) if hasattr(type(live), "assign") else None
    return values if isinstance(values, tuple) else ()


def _name(live: Any, attribute: str) -> str:
    return str(getattr(getattr(live, attribute, None), "name", ""))


def read_local(variable: Any) -> Any:
    """The value of one plain variable as a numpy array. On the CPU it shares the variable's memory."""
    value = _read(variable)
    numpy = sys.modules["numpy"]
    is_text = isinstance(value, bytes)
    return numpy.array(value, dtype=object) if is_text else numpy.asarray(value)


def read_integer(variable: Any) -> int:
    """The value of one plain integer scalar."""
    return int(_read(variable))


def _read(variable: Any) -> Any:
    operations = sys.modules["tensorflow.python.ops.gen_resource_variable_ops"]
    return operations.read_variable_op(variable.handle, variable.dtype)._numpy()


def is_in_host_memory(variable: Any) -> bool:
    """True when reading needs no accelerator to finish what it does."""
    return "CPU:" in str(variable.handle.device).upper()


def children_of(graph_view: Any, live: Any) -> List[Tuple[str, Any]]:
    """(name, object) of what hangs on a node of an object graph."""
    list_children = getattr(graph_view, "list_children", None) or graph_view.list_dependencies
    return [(child.name, child.ref) for child in list_children(live)]


def is_alive(graph_view: Any) -> bool:
    """False once the root is gone that a view looks at: many scripts make a Checkpoint for one restore."""
    reference = getattr(graph_view, "_root_ref", None)
    return not isinstance(reference, weakref.ref) or reference() is not None


def descendants_of(graph_view: Any) -> List[Any]:
    """Every object that is reachable from the root."""
    traverse = getattr(graph_view, "breadth_first_traversal", None) or graph_view._breadth_first_traversal
    return list(traverse()[0])


def find_step_variable(graph_view: Any, copies: Any = None) -> Optional[Any]:
    """The plain variable that counts the steps, as `lastgood` finds it in a checkpoint; None where there is none.

    copies: original -> copy, where a save goes on in the background: the copy is what is saved.
    """
    children = dict(children_of(graph_view, graph_view.root))
    for candidate in _step_candidates(graph_view, children):
        for variable in local_replicas(copy_of(candidate, copies))[:1]:
            if variable.dtype.is_integer and variable.shape.rank == 0:
                return variable
    return None


def copy_of(live: Any, copies: Any) -> Any:
    """What a save in the background saves for a live object: its copy, where there is one."""
    for known in (live, unwrapped(live)) if copies else ():
        if known in copies:
            return copies[known]
    return live


def _step_candidates(graph_view: Any, children: Any) -> Iterator[Any]:
    yield from (children[name] for name in STEP_NAMES if name in children)
    for holder in (children, _below(graph_view, children, "model")):
        below = _below(graph_view, holder, "optimizer")
        yield from (below[name] for name in OPTIMIZER_STEP_NAMES if name in below)


def _below(graph_view: Any, children: Any, name: str) -> Any:
    return dict(children_of(graph_view, children[name])) if name in children else {}
