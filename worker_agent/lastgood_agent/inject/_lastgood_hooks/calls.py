"""The tf.function calls that the script makes: the gate stands at the first one after a restore, and all are counted.

Decides which calls count: those of the script's own functions, entered eagerly and not from within another one.
Refuses to stand inside a restore, which is a collective: TensorFlow's own functions never wait here. What runs at
every call is kept to a microsecond or two, and waits for nothing.
"""

from typing import Any, Callable, Optional

from .guard import describe, here
from .orders import State
from .saving import watch_step
from .series import count_checkpoints
from .session import Session
from .sigterm import handler_name
from .variables import is_alive

_MARK = "_lastgood_counts"


class GateStayedShutError(Exception):
    """The gate did not open in time."""


class Calls:
    """The hook of Function.__call__.

    after_receipts: runs a body once every receipt of what was restored so far has been written.
    on_stepped: called after the first step that follows a restore.
    """

    def __init__(
        self,
        session: Session,
        after_receipts: Callable[[Callable[[], None]], None],
        on_stepped: Callable[[], None] = lambda: None,
    ) -> None:
        self._session = session
        self._after_receipts = after_receipts
        self._on_stepped = on_stepped
        self._views: list[Any] = []
        self._passed = 0
        self._has_told_entering = False
        self._has_told_first_step = False
        self._has_looked_around = False
        self.is_settled = False

    def add_root(self, graph_view: Any) -> None:
        """A checkpoint was made: its step may become the one to watch."""
        if not self._session.progress.knows_step_variable:
            self._views.append(graph_view)

    def unsettle(self) -> None:
        """A restore was steered: the next call is to be looked at again."""
        self.is_settled = False

    def look(self, function: Any) -> None:
        """Before a call, until everything is settled: passes the gate, or tells that nothing was restored."""
        session = self._session
        state = session.state
        if self._views:
            session.guard.run("progress", self._find_step)
        if self._session.restored > self._passed:
            if not _is_open(state):
                self._after_receipts(lambda: self.tell_entering(function))
            session.guard.run("gate", self.pass_gate, session.settings.gate_s + session.settings.body_s)
            self._passed = session.restored
        elif not (self._has_looked_around or session.has_asked):
            self._has_looked_around = True
            session.guard.run("observe", self.look_around)
        if self._must_tell_entering(state):
            self._has_told_entering = True
            session.guard.run("gate", lambda: self.tell_entering(function))

    def look_after(self) -> None:
        """After a call, until everything is settled: tells the first step."""
        session = self._session
        plan = session.state.plan
        if session.is_steering and plan is not None and plan.restores and not session.restored:
            return
        if not self._has_told_first_step:
            self._has_told_first_step = True
            session.guard.run("progress", self.tell_first_step)
        if session.restored:
            session.guard.run("receipt", self._on_stepped)
        session.has_called = session.restored > 0
        self.is_settled = plan is not None or not session.is_steering

    def pass_gate(self) -> None:
        """Waits until every worker has proven what it restored; GateStayedShutError when the time is over."""
        session = self._session
        if not session.is_steering:
            return
        state = session.channel.wait_for(_is_open, session.settings.gate_s)
        if not _is_open(state):
            raise GateStayedShutError("the gate did not open within {:g} s; going on".format(session.settings.gate_s))

    def tell_entering(self, function: Any) -> None:
        """Records that a function is entered: nothing was restored, or everything that will be before it returns."""
        self._session.outbox.write("call_entered", function=str(getattr(function, "_name", function))[:200])

    def tell_first_step(self) -> None:
        """Records that training goes on, and whether the script would save and end by itself when told to."""
        self._session.outbox.write("first_step", step=self._session.progress.step)
        handler = handler_name()
        if handler:
            self._session.outbox.write("sigterm_handled", handler=handler)

    def look_around(self) -> None:
        """Tells of checkpoints where this script is about to save, though it never asked for any."""
        session = self._session
        for directory in session.book.managed() if session.is_steering else ():
            count = count_checkpoints(directory)
            if count:
                session.notice("never_asked", directory, "{} of them".format(count))

    def _must_tell_entering(self, state: State) -> bool:
        if self._has_told_entering or self._session.restored or not self._session.is_steering:
            return False
        return state.plan is not None and state.plan.restores

    def _find_step(self) -> None:
        views, self._views = self._views, []
        for view in views:
            if not self._session.progress.knows_step_variable and is_alive(view):
                watch_step(self._session, view)


def _is_open(state: Optional[State]) -> bool:
    return state is not None and (state.gate_open or not state.steering)


def is_counted(function: Any) -> bool:
    """True for a function of the script or of Keras, false for one of TensorFlow's own."""
    module = str(getattr(function._python_function, "__module__", ""))
    return not module.startswith("tensorflow.python.") or module.startswith("tensorflow.python.keras.")


def make_call(original: Callable[..., Any], calls: Calls, session: Session, is_eager: Callable[[], bool]) -> Any:
    """What replaces Function.__call__. One closure, since every name that is looked up costs the training loop."""
    guard, enter, complete = session.guard, session.progress.enter, session.progress.complete

    def __call__(self: Any, *args: Any, **kwds: Any) -> Any:  # noqa: N807
        if not session.is_claimed or getattr(here, "is_within_call", False):
            return original(self, *args, **kwds)
        try:
            counts = self.__dict__.get(_MARK)
            if counts is None:
                counts = self.__dict__[_MARK] = is_counted(self)
            counts = counts and is_eager()
            if counts:
                if not calls.is_settled:
                    calls.look(self)
                enter()
        except Exception as error:  # a hook's body, too hot for a thread of its own
            counts = False
            guard.count("call", describe(error))
        if not counts:
            return original(self, *args, **kwds)
        here.is_within_call = True
        try:
            result = original(self, *args, **kwds)
        finally:
            here.is_within_call = False
        try:
            complete(not calls.is_settled)
            if not calls.is_settled:
                calls.look_after()
        except Exception as error:  # a hook's body, too hot for a thread of its own
            guard.count("call", describe(error))
        return result

    return __call__
