"""What is told about a save: where it lies, what it holds by its index, and how its variables relate between workers.

Decides nothing about the checkpoint. Refuses to read its data: the index is copied, the shards are measured, and what
only this process knows (step, kinds) is taken from live objects; the agent does the rest.
"""

import glob
import os
import sys
import threading
import time
import weakref
from typing import Any, Callable, Dict, List, Optional, Tuple

from .guard import describe, here, is_inside_hook
from .pins import Pins
from .rotation import forget_manifest
from .series import SAVE_COUNTER, Series, absolute, directory_of, signature_of
from .session import Session
from .unsaved import unsaved_variables
from .variables import (
    MIRRORED,
    children_of,
    find_step_variable,
    is_in_host_memory,
    kind_of,
    local_replicas,
    read_integer,
)
from .writers import Place, Writers, as_asked, remove_place

_VALUE_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
_SAVE_COUNTER_KEY = SAVE_COUNTER + _VALUE_SUFFIX


class Saving:
    """The hooks of TrackableSaver that see saves.

    is_eager: TensorFlow's word on whether this thread executes eagerly; what is saved in graph mode is restored in
    graph mode, where nothing is steered.
    """

    def __init__(self, session: Session, pins: Pins, is_eager: Callable[[], bool]) -> None:
        self._session = session
        self._pins = pins
        self._is_eager = is_eager
        self.writers = Writers(session)
        self._thread = threading.local()
        self._kinds: weakref.WeakKeyDictionary[Any, Tuple[int, Dict[str, str]]] = weakref.WeakKeyDictionary()
        #: How many objects a saver saved when it was last looked at for what it leaves out.
        self._looked_at: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

    def save(self, original: Callable[..., Any], saver: Any, file_prefix: Any, *args: Any, **kwargs: Any) -> Any:
        """TrackableSaver.save."""
        session = self._session
        if is_inside_hook() or getattr(here, "is_exporting", False) or not session.claim_alone():
            return original(saver, file_prefix, *args, **kwargs)
        begun = session.guard.run("save", lambda: self.begin(saver, file_prefix)).value
        place = None
        if begun is not None:
            place = session.guard.run("writers", lambda: self.place(begun[0], file_prefix, args, kwargs)).value
        self._thread.gathered = None
        started_s = time.monotonic()
        try:
            result = original(saver, place.prefix if place else file_prefix, *args, **kwargs)
        except Exception as failure:
            error = describe(failure)
            if place is not None:
                session.guard.run("writers", lambda: remove_place(place))
            if begun is not None:
                session.guard.run("save", lambda: self.tell_failure(begun, file_prefix, error))
            raise
        seconds = time.monotonic() - started_s
        gathered, self._thread.gathered = self._thread.gathered, None
        prefix = text_of(result)
        meant = (text_of(file_prefix) or "") if place else ""
        if begun is not None and prefix is not None:
            is_eager = self._is_eager()
            session.guard.run("save", lambda: self.tell(begun, saver, prefix, gathered, seconds, is_eager, meant))
        if place is None:
            return result
        session.guard.run("writers", lambda: remove_place(place))
        returned = session.guard.run("writers", lambda: as_asked(result, meant, _constant())).value
        return result if returned is None else returned

    def place(self, series: Series, file_prefix: Any, args: Any, kwargs: Any) -> Optional[Place]:
        """Where the save is to go; None: as asked. A number that TensorFlow would append itself moves nothing."""
        prefix = text_of(file_prefix)
        if not prefix:
            return None
        is_numbered = (args and args[0] is not None) or kwargs.get("checkpoint_number") is not None
        place = self.writers.place(series, prefix, may_move=not is_numbered)
        return place if place.folder else None

    def gather(self, original: Callable[..., Any], saver: Any, *args: Any, **kwargs: Any) -> Any:
        """TrackableSaver._gather_serialized_tensors: which live object is saved under which key."""
        result = original(saver, *args, **kwargs)
        self._thread.gathered = result[0]
        return result

    def gather_saveables(self, original: Callable[..., Any], saver: Any, *args: Any, **kwargs: Any) -> Any:
        """TrackableSaver._gather_saveables, the same before TensorFlow 2.9: keys are in the object graph there."""
        result = original(saver, *args, **kwargs)
        if self._session.is_claimed and not is_inside_hook():
            found = self._session.guard.run("save", lambda: keys_by_object(saver._graph_view, result[1]))
            self._thread.gathered = found.value
        return result

    def begin(self, saver: Any, file_prefix: Any) -> Tuple[Series, int]:
        """Numbers a save before it is known whether it succeeds, so that workers agree on the numbers."""
        self._session.guard.run("pin", lambda: self._pins.prepare(text_of(file_prefix) or ""))
        view = saver._graph_view
        names = [name for name, _ in children_of(view, view.root)]
        return self._session.book.begin_save(signature_of(names), directory_of(text_of(file_prefix) or ""))

    def tell(
        self,
        begun: Tuple[Series, int],
        saver: Any,
        prefix: str,
        gathered: Any,
        seconds: float,
        is_eager: bool = True,
        meant: str = "",
    ) -> None:
        """Records that a save returned. meant: the prefix that the script named, where the save went elsewhere."""
        series, ordinal = begun
        session = self._session
        session.book.add_saved(meant or prefix)
        session.has_saved = True
        forget_manifest(prefix)
        held = None if meant else session.guard.run("pin", lambda: self._pins.keep(series, ordinal, prefix)).value
        step, save_counter = read_counters(saver._graph_view, getattr(saver, "_object_map", None))
        if step is None:  # an average of the weights, an export: the step of the training that it belongs to
            step = session.progress.read()
        session.outbox.write(
            "saved",
            series=series.to_json(),
            ordinal=ordinal,
            prefix=absolute(prefix),
            index_copy=session.outbox.copy_in(prefix + ".index", ".index"),
            shard_sizes_bytes=shard_sizes(prefix),
            step=step,
            save_counter=save_counter,
            kinds=self._kinds_of(saver, gathered),
            unsaved=session.guard.run("unsaved", lambda: self.unsaved(saver, gathered)).value or [],
            redirected_from=absolute(meant) if meant else "",
            seconds=seconds,
            observed=not is_eager,
            held=held or [],
        )
        if not session.progress.knows_step_variable:  # it may have been born since its saver was made
            watch_step(session, saver._graph_view)

    def tell_failure(self, begun: Tuple[Series, int], file_prefix: Any, error: str) -> None:
        """Records that a save raised."""
        series, ordinal = begun
        prefix = absolute(text_of(file_prefix) or "")
        self._session.outbox.write("save_failed", series=series.to_json(), ordinal=ordinal, prefix=prefix, error=error)

    def unsaved(self, saver: Any, gathered: Any) -> List[str]:
        """What the save left out: looked for at the first save, and when another number of objects is saved."""
        count = len(gathered) if gathered is not None else 0
        if self._looked_at.get(saver) == count:
            return []
        self._looked_at[saver] = count
        return unsaved_variables(saver._graph_view)

    def _kinds_of(self, saver: Any, gathered: Any) -> Dict[str, str]:
        """The kinds by key, computed again only when a saver saves another number of objects."""
        if gathered is None or not self._session.has_strategy:
            return {}
        tensors_by_object = gathered
        known = self._kinds.get(saver)
        if known is not None and known[0] == len(tensors_by_object):
            return known[1]
        kinds = kinds_by_key(tensors_by_object, getattr(saver, "_object_map", None))
        self._kinds[saver] = (len(tensors_by_object), kinds)
        return kinds


def kinds_by_key(tensors_by_object: Any, copies: Any) -> Dict[str, str]:
    """Kinds of what TensorFlow is about to save. copies: original -> copy, where a save goes on in the background."""
    originals = {} if not copies else {id(copy): original for original, copy in copies.items()}
    kinds: Dict[str, str] = {}
    for saved, tensors in tensors_by_object.items():
        if saved is None:
            continue
        live = getattr(saved, "obj", saved) if type(saved).__name__ == "SaveableCompatibilityConverter" else saved
        kind = kind_of(originals.get(id(live), live))
        if kind is not None:
            kinds.update(dict.fromkeys(tensors, kind))
    if _SAVE_COUNTER_KEY in kinds:
        kinds[_SAVE_COUNTER_KEY] = MIRRORED
    return kinds


def keys_by_object(graph_view: Any, proto: Any) -> Any:
    """The keys of each object that a graph proto was just made of: its nodes stand in the order of the objects."""
    objects = graph_view.objects_ids_and_slot_variables()[0]
    keys = sys.modules["tensorflow.python.util.object_identity"].ObjectIdentityDictionary()
    for live, node in zip(objects, proto.nodes):
        if node.attributes:
            keys[live] = [attribute.checkpoint_key for attribute in node.attributes]
    return keys


def read_counters(graph_view: Any, copies: Any = None) -> Tuple[Optional[int], Optional[int]]:
    """(step, save counter) of the live objects, or of the copies that are saved; None for what is not there."""
    step = find_step_variable(graph_view, copies)
    counters = [live for name, live in children_of(graph_view, graph_view.root) if name == SAVE_COUNTER]
    counter = next((variable for live in counters for variable in local_replicas(live)[:1]), None)
    return _integer_or_none(step), _integer_or_none(counter)


def _integer_or_none(variable: Optional[Any]) -> Optional[int]:
    return None if variable is None else read_integer(variable)


def shard_sizes(prefix: str) -> List[int]:
    """The size of each data file, in order. Raises FileNotFoundError when there is none."""
    single = prefix + ".data-00000-of-00001"
    shards = [single] if os.path.exists(single) else sorted(glob.glob(glob.escape(prefix) + ".data-?????-of-?????"))
    if not shards:
        raise FileNotFoundError("expected data files beside {}.index, found none".format(prefix))
    return [os.stat(shard).st_size for shard in shards]


def watch_step(session: Session, graph_view: Any) -> None:
    """Lets progress read the step from this root's variable, if it has one in host memory."""
    variable = find_step_variable(graph_view)
    if variable is not None and is_in_host_memory(variable):
        session.progress.read_steps_from(variable, read_integer)


def text_of(prefix: Any) -> Optional[str]:
    """A prefix as text: from a string, bytes, a path, or an eager tensor; None for a symbolic one."""
    if not isinstance(prefix, (str, bytes, os.PathLike)):
        numpy = getattr(prefix, "numpy", None)
        if numpy is None:
            return None
        prefix = numpy()
    prefix = os.fspath(prefix)
    return prefix.decode("utf-8", "surrogateescape") if isinstance(prefix, bytes) else prefix


def _constant() -> Any:
    return getattr(sys.modules.get("tensorflow.python.framework.constant_op"), "constant", None)
