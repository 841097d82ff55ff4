"""Steering: what the script restores is what the plan says, whichever way it asks.

Decides whom to answer with the plan's prefix (by `steering.select_series`). A prefix that the script names by itself,
where nothing shows that its own checkpoints lie, asks for nothing: weights that somebody else has trained are none of
the job's, and nothing newer may be looked for beside them. Refuses to steer alone: when a body here
fails or no plan comes, steering is over for this process, the agent is told, and TensorFlow answers by its own means.
"""

import contextlib
import os
import time
import weakref
from typing import Any, Callable, Dict, Iterator, MutableMapping, Optional, Set, TypeVar

from .guard import describe, here, is_inside_hook
from .orders import Plan, PlannedSeries
from .receipts import Receipts
from .saving import text_of
from .series import Series, absolute, count_checkpoints, directory_of, real_directory, signature_of
from .session import Session
from .steering import Ask, select_series
from .variables import children_of

T = TypeVar("T")


class Restoring:
    """The hooks of everything that a script can ask for a checkpoint.

    on_managed: called with the prefix that each new CheckpointManager saves to.
    is_eager: TensorFlow's word on whether this thread executes eagerly; graph-mode restores are left to TensorFlow.
    """

    def __init__(
        self,
        session: Session,
        receipts: Receipts,
        is_eager: Callable[[], bool],
        on_restored: Callable[[], None],
        pin: Callable[[PlannedSeries], None],
        on_managed: Callable[[str], None] = lambda prefix: None,
    ) -> None:
        self._session = session
        self._receipts = receipts
        self._is_eager = is_eager
        self._on_restored = on_restored
        self._pin = pin
        self._on_managed = on_managed
        #: The directory of the manager that was made for the checkpoint of a saver.
        self._managed: MutableMapping[Any, str] = weakref.WeakKeyDictionary()
        #: Planned prefixes that were restored here, and for which directories each was given as the newest.
        self._restored: Set[str] = set()
        self._given: Dict[str, Set[str]] = {}

    def restore(self, original: Callable[..., Any], saver: Any, save_path: Any, *args: Any, **kwargs: Any) -> Any:
        """TrackableSaver.restore."""
        if is_inside_hook() or not self._is_eager() or getattr(here, "is_exporting", False):
            return original(saver, save_path, *args, **kwargs)
        asked = save_path
        planned = self._steer("restore", lambda: self.answer_restore(saver, asked))
        if planned is None:
            return original(saver, save_path, *args, **kwargs)
        return self._restore_planned(original, saver, save_path, planned, *args, **kwargs)

    def _restore_planned(
        self,
        original: Callable[..., Any],
        saver: Any,
        save_path: Any,
        planned: PlannedSeries,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        run = self._session.guard.run
        started_s = time.monotonic()
        try:
            status = original(saver, planned.prefix, *args, **kwargs)
        except Exception as failure:
            error = describe(failure)
            seconds = time.monotonic() - started_s
            view = getattr(saver, "_graph_view", None)
            run("receipt", lambda: self._receipts.tell_error(planned, save_path, error, seconds, view))
            raise
        seconds = time.monotonic() - started_s
        self._restored.add(planned.prefix)
        self._session.restored += 1
        self._session.restored_step = planned.step
        self._on_restored()
        run("pin", lambda: self._pin(planned))
        outcome = run("receipt", lambda: self._receipts.tell(planned, save_path, status, seconds))
        if outcome.error:
            self._session.lose_steering("receipt", outcome.error)
        return status

    def latest_checkpoint(self, original: Callable[..., Any], checkpoint_dir: Any, *args: Any, **kwargs: Any) -> Any:
        """tf.train.latest_checkpoint."""
        with _reading_for_another_hook():
            found = original(checkpoint_dir, *args, **kwargs)
        if is_inside_hook() or not self._is_eager() or args or kwargs.get("latest_filename"):
            return found
        planned = self._steer(
            "latest_checkpoint", lambda: self.answer_directory(checkpoint_dir, found, "latest_checkpoint")
        )
        return found if planned is None else planned.prefix

    def checkpoint_state(self, original: Callable[..., Any], checkpoint_dir: Any, *args: Any, **kwargs: Any) -> Any:
        """tf.train.get_checkpoint_state, where the script asks for it itself."""
        found = self._read_state(original, checkpoint_dir, *args, **kwargs)
        is_asked_by_tensorflow = is_inside_hook() or getattr(here, "is_reading_state", False)
        if is_asked_by_tensorflow or not self._is_eager() or args or kwargs.get("latest_filename"):
            return found
        make = original.__globals__["CheckpointState"]
        steered = self._steer("checkpoint_state", lambda: self.answer_state(checkpoint_dir, found, make))
        return found if steered is None else steered

    def _read_state(self, original: Callable[..., Any], checkpoint_dir: Any, *args: Any, **kwargs: Any) -> Any:
        """The state file. An empty one, or one that is no text, ends every start with a ValueError of TensorFlow's: who
        is steered goes on as if there were none, and gets what lies there otherwise.
        """
        try:
            return original(checkpoint_dir, *args, **kwargs)
        except ValueError as unreadable:
            error = describe(unreadable)
            if is_inside_hook() or not self._may_go_on_without_state(checkpoint_dir, error):
                raise
        return None

    def _may_go_on_without_state(self, checkpoint_dir: Any, error: str) -> bool:
        session = self._session
        if session.is_lost or not session.settings.steering or not self._is_eager():
            return False
        return bool(session.guard.run("state_file", lambda: self.tell_state_file(checkpoint_dir, error)).value)

    def tell_state_file(self, checkpoint_dir: Any, error: str) -> bool:
        """Records that a state file is of no use; False where nobody is steered, who could be given something else."""
        session = self._session
        if not session.claim() or not session.is_steering:
            return False
        session.notice("state_file", real_directory(os.fspath(checkpoint_dir)), error)
        return True

    def manager_made(self, original: Callable[..., Any], manager: Any, *args: Any, **kwargs: Any) -> None:
        """CheckpointManager.__init__. It reads the state file to know what it may rotate: that stays as it is."""
        with _reading_for_another_hook():
            original(manager, *args, **kwargs)
        if not is_inside_hook():
            self._session.guard.run("manager", lambda: self.note_manager(manager))
            self._session.guard.run("writers", lambda: self._on_managed(str(manager._prefix)))

    def manager_latest(self, original: Callable[..., Any], manager: Any) -> Any:
        """The property CheckpointManager.latest_checkpoint."""
        found = original(manager)
        if is_inside_hook() or not self._is_eager():
            return found
        planned = self._steer("manager", lambda: self.answer_manager(manager, found))
        return found if planned is None else planned.prefix

    def restore_or_initialize(self, original: Callable[..., Any], manager: Any, *args: Any, **kwargs: Any) -> Any:
        """CheckpointManager.restore_or_initialize. The manager learns the prefix, and never rotates it."""
        if not is_inside_hook() and self._is_eager():
            found = manager._latest_checkpoint
            planned = self._steer("manager", lambda: self.answer_manager(manager, found))
            if planned is not None:
                manager._latest_checkpoint = planned.prefix
        return original(manager, *args, **kwargs)

    def _steer(self, hook: str, answer: Callable[[], Optional[T]]) -> Optional[T]:
        session = self._session
        if session.is_lost or not session.settings.steering:
            return None
        outcome = session.guard.run(hook, answer, session.settings.plan_s + session.settings.body_s)
        if outcome.error:
            session.lose_steering(hook, outcome.error)
        return outcome.value

    def note_manager(self, manager: Any) -> None:
        """Remembers where a manager writes: that is where its checkpoint lies when the script restores nothing."""
        directory = real_directory(os.fspath(manager._directory))
        self._session.book.add_managed(directory)
        saver = getattr(manager._checkpoint, "_saver", None)
        if saver is not None:
            self._managed[saver] = directory

    def answer_restore(self, saver: Any, save_path: Any) -> Optional[PlannedSeries]:
        """The planned series to restore instead of save_path; None: what the script asks for."""
        session = self._session
        prefix = "" if save_path is None else text_of(save_path) or ""
        if not session.claim():
            if prefix:
                session.notice("read", absolute(prefix))
            return None
        if not session.is_steering or session.has_moved_on:
            return None
        if prefix and session.book.has_saved_prefix(prefix):
            return None
        if is_of_saved_model(prefix):
            session.outbox.write("left_alone", prefix=prefix)
            return None
        directory = directory_of(prefix) if prefix else session.last_asked_directory or self._managed.get(saver, "")
        series = session.book.series_asked(_signature(saver._graph_view), directory)
        if session.book.has_saved(series.signature, series.ordinal):
            return None
        if prefix and saver not in self._managed and session.book.is_elsewhere(directory):
            plan = session.plan_if_any()
            if plan is None and session.is_steering:
                session.outbox.write("left_alone", prefix=prefix)
        else:
            plan = session.plan(series, directory, "restore", prefix)
        planned = self._select(plan, series, prefix)
        if planned is None and prefix and plan is not None:
            session.outbox.write("left_alone", prefix=prefix)
        return planned

    def answer_directory(self, checkpoint_dir: Any, found: Optional[str], via: str) -> Optional[PlannedSeries]:
        """The planned series that lies in a directory, or belongs there; None: what TensorFlow found."""
        session = self._session
        directory = real_directory(os.fspath(checkpoint_dir))
        if not session.claim() or not session.is_steering or session.has_moved_on:
            return None
        if session.book.has_saved_into(directory):
            return None
        session.last_asked_directory = directory
        series = Series("", 0, directory)
        plan = session.plan(series, directory, via)
        return self._select(plan, series, found or "")

    def answer_state(self, checkpoint_dir: Any, found: Any, make: Callable[..., Any]) -> Any:
        """The state file as it would be if the planned checkpoint were the newest one; None: as TensorFlow read it."""
        prefix = None if found is None else found.model_checkpoint_path
        planned = self.answer_directory(checkpoint_dir, prefix, "checkpoint_state")
        if planned is None:
            return None
        others = [] if found is None else [path for path in found.all_model_checkpoint_paths if path != planned.prefix]
        return make(model_checkpoint_path=planned.prefix, all_model_checkpoint_paths=[*others, planned.prefix])

    def answer_manager(self, manager: Any, found: Optional[str]) -> Optional[PlannedSeries]:
        """The planned series that a manager should restore; None: what it found itself."""
        session = self._session
        if not session.claim() or not session.is_steering or session.has_moved_on:
            return None
        if found and session.book.has_saved_prefix(found):
            return None
        directory = real_directory(os.fspath(manager._directory))
        if session.book.has_saved_into(directory):
            return None
        session.last_asked_directory = directory
        saver = getattr(manager._checkpoint, "_saver", None)
        view = getattr(saver, "_graph_view", None)
        signature = "" if view is None else _signature(view)
        series = session.book.series_asked(signature, directory)
        plan = session.plan(series, directory, "manager")
        return self._select(plan, series, found or "")

    def _select(self, plan: Optional[Plan], series: Series, prefix: str) -> Optional[PlannedSeries]:
        planned = select_series(plan, self._ask(series, prefix))
        if planned is not None:
            self._given.setdefault(planned.prefix, set()).add(series.directory)
        return planned

    def _ask(self, series: Series, prefix: str) -> Ask:
        directory = series.directory
        elsewhere = {each for each in tuple(self._restored) if directory not in self._given.get(each, ())}
        return Ask(
            signature=series.signature,
            ordinal=series.ordinal,
            directory=directory,
            prefix=prefix,
            is_vacant=bool(directory) and count_checkpoints(directory) == 0,
            is_own=self._session.book.is_own(directory),
            restored_elsewhere=frozenset(elsewhere) if directory else frozenset(),
        )


@contextlib.contextmanager
def _reading_for_another_hook() -> Iterator[None]:
    """Within, TensorFlow reads the state file for a question that has a hook of its own."""
    before = getattr(here, "is_reading_state", False)
    here.is_reading_state = True
    try:
        yield
    finally:
        here.is_reading_state = before


def is_of_saved_model(prefix: str) -> bool:
    """True for the variables of a SavedModel."""
    directory, name = os.path.split(prefix)
    model, variables = os.path.split(directory)
    return name == variables == "variables" and os.path.isfile(os.path.join(model, "saved_model.pb"))


def _signature(graph_view: Any) -> str:
    return signature_of(name for name, _ in children_of(graph_view, graph_view.root))
