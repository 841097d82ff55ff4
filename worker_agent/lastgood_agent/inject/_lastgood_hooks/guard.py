"""What stands between our faults and the training: every body of a hook runs in here.

Decides what a failing body costs: nothing but its own effect. A body runs on a thread of ours, and the script waits for
it no longer than its deadline; one that does not end in time is left behind and its hook is switched off, so that it
costs that deadline once and never again. A KeyboardInterrupt reaches the script as always. Refuses to swallow anything
that TensorFlow itself raises: the original is called outside of it.
"""

import contextlib
import threading
from typing import Any, Callable, Dict, Generic, List, Optional, Set, Tuple, TypeVar

T = TypeVar("T")
Job = Tuple[Callable[[], Any], List[Any], threading.Event]

#: Of this thread: is_inside (a hook's body runs), is_within_call (a tf.function that counts runs), is_reading_state
#: (TensorFlow reads the state file for a question that has a hook of its own), is_exporting (what is saved, or loaded,
#: is part of something that is told as a whole).
here = threading.local()


def is_inside_hook() -> bool:
    """True on a thread that is running a hook's body: what TensorFlow is asked there is no business of other hooks."""
    return getattr(here, "is_inside", False)


class _Runner:
    """One thread that runs bodies one after the other. A runner that was left behind takes no more of them."""

    def __init__(self) -> None:
        self._job: Optional[Job] = None
        self._wake = threading.Semaphore(0)
        threading.Thread(target=self._run, name="lastgood-hook", daemon=True).start()

    def run(self, body: Callable[[], Any], outcome: List[Any], deadline_s: float) -> bool:
        """Runs the body; False when it has not ended by the deadline. `outcome` gets (result, error)."""
        done = threading.Event()
        self._job = (body, outcome, done)
        self._wake.release()
        return done.wait(deadline_s)

    def _run(self) -> None:
        here.is_inside = here.is_within_call = True
        while True:
            self._wake.acquire()
            job, self._job = self._job, None
            if job is None:
                continue
            body, outcome, done = job
            try:
                outcome.append((body(), None))
            except BaseException as error:  # a hook's body: whatever it is, it is ours, and it ends here
                outcome.append((None, error))
            del body, outcome, job
            done.set()
            del done


class Outcome(Generic[T]):
    """What became of a body: its value, or None and the sentence that says why there is none."""

    def __init__(self, value: Optional[T] = None, error: str = "") -> None:
        self.value = value
        self.error = error


class Guard:
    """Runs the bodies of hooks, and counts what fails.

    on_failure(hook, error, count) is called for the 1st, 2nd, 4th, 8th... failure of each hook; what it raises is lost.
    """

    def __init__(self, on_failure: Callable[[str, str, int], None], deadline_s: float) -> None:
        self._on_failure = on_failure
        self._deadline_s = deadline_s
        self._counts: Dict[str, int] = {}
        self._switched_off: Set[str] = set()
        self._idle: List[_Runner] = []
        self._lock = threading.Lock()

    def run(self, hook: str, body: Callable[[], T], deadline_s: Optional[float] = None) -> Outcome[T]:
        """Runs a body for at most deadline_s, by default the guard's own."""
        if hook in self._switched_off:
            return Outcome(error="switched off, since it did not end in time before")
        if is_inside_hook():
            return self._run_here(hook, body)
        runner = self._runner()
        outcome: List[Any] = []
        limit_s = self._deadline_s if deadline_s is None else deadline_s
        if not runner.run(body, outcome, limit_s):
            self._switched_off.add(hook)
            return self._failed(hook, "did not end within {:g} s; this hook is switched off".format(limit_s))
        self._idle.append(runner)
        value, error = outcome[0]
        return Outcome(value) if error is None else self._failed(hook, describe(error))

    def _runner(self) -> _Runner:
        try:
            return self._idle.pop()
        except IndexError:
            return _Runner()

    def _run_here(self, hook: str, body: Callable[[], T]) -> Outcome[T]:
        try:
            return Outcome(body())
        except Exception as error:  # a hook's body within a hook's body
            return self._failed(hook, describe(error))

    def _failed(self, hook: str, error: str) -> Outcome[T]:
        self.count(hook, error)
        return Outcome(error=error)

    def count(self, hook: str, error: str) -> int:
        """Counts one failure and returns how many there are. Never raises."""
        with self._lock:
            count = self._counts[hook] = self._counts.get(hook, 0) + 1
        if count & (count - 1) == 0:
            with contextlib.suppress(Exception):  # the outbox can't be written to: there is nobody left to tell
                self._on_failure(hook, error, count)
        return count

    @property
    def counts(self) -> Dict[str, int]:
        """How often each hook has failed."""
        return dict(self._counts)


def describe(error: BaseException) -> str:
    """An exception as one line of at most 500 characters."""
    return "{}: {}".format(type(error).__name__, error).replace("\n", " ")[:500]
