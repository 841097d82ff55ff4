"""Which strategy the script makes: whose process this is, how many replicas it has, and what is refused.

Decides that MultiWorkerMirroredStrategy makes a process the gang's, and any other strategy of one machine only where
the gang has one worker. Refuses ParameterServer and TPU strategies by name: the controller ends the run and says why.
"""

from typing import Any, Callable, Optional

from .guard import is_inside_hook
from .session import Session

#: Strategies of one machine, by the beginning of their class names: V1 ones are called so and end in V1.
_ALONE = ("MirroredStrategy", "OneDeviceStrategy", "CentralStorageStrategy")
PARAMETER_SERVER, TPU = "ParameterServerStrategy", "TPUStrategy"
_REFUSED = (PARAMETER_SERVER, TPU)


class Strategies:
    """The hooks of tf.distribute's strategies. on_gang: called once this is known to be a process of a gang."""

    def __init__(self, session: Session, on_gang: Callable[[], None] = lambda: None) -> None:
        self._session = session
        self._on_gang = on_gang

    def gang_made(self, original: Callable[..., Any], extended: Any, *args: Any, **kwargs: Any) -> Any:
        """CollectiveAllReduceExtended._initialize_multi_worker: from here on this is the gang's process."""
        result = original(extended, *args, **kwargs)
        if not is_inside_hook():
            self._session.guard.run("strategy", lambda: self.tell_gang(extended))
            self._session.guard.run("writers", self._on_gang)
        return result

    def tell_gang(self, extended: Any) -> None:
        """Claims the attempt for this process, and records what strategy it made."""
        session = self._session
        if not session.claim(has_strategy=True):
            return
        session.has_strategy = True
        session.is_chief = bool(extended._is_chief)
        session.replicas = int(extended._num_replicas_in_sync)
        session.outbox.write("strategy_made", strategy="MultiWorkerMirroredStrategy", replicas=session.replicas)

    def made(self, original: Callable[..., Any], strategy: Any, extended: Any) -> None:
        """StrategyBase.__init__."""
        original(strategy, extended)
        name = type(strategy).__name__
        if not is_inside_hook() and name.startswith(_ALONE):
            self._session.guard.run("strategy", lambda: self.tell_alone(name, extended))

    def tell_alone(self, name: str, extended: Any) -> None:
        """The same where one worker is the whole gang."""
        session = self._session
        if session.gang_size > 1 or session.has_strategy or not session.claim():
            return
        session.has_strategy = session.is_chief = True
        session.replicas = int(extended._num_replicas_in_sync)
        session.outbox.write("strategy_made", strategy=name, replicas=session.replicas)

    def refused(self, original: Callable[..., Any], strategy: Any, *args: Any, **kwargs: Any) -> None:
        """The constructors of what lastgood does not steer.

        ParameterServer's may wait for others, so it is told before. TPU's raises where there is no TPU, and many a
        script then goes on with another strategy.
        """
        name = refused_name(type(strategy).__name__)
        if name == TPU:
            original(strategy, *args, **kwargs)
            self._tell_refused(name)
        else:
            self._tell_refused(name)
            original(strategy, *args, **kwargs)

    def _tell_refused(self, name: Optional[str]) -> None:
        if name is not None and not is_inside_hook():
            self._session.guard.run("refusal", lambda: self._session.notice("unsupported", name))


def refused_name(class_name: str) -> Optional[str]:
    """What a refused strategy is called, without its version; None for any other."""
    return next((name for name in _REFUSED if class_name.startswith(name)), None)
