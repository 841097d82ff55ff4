"""Keeps one worker's agent alive: starts it, hears it, replaces it when it dies or falls silent.

Decides when the next agent is started (at once after one that had lived for a while, else after a pause that doubles)
and how long one may be silent. Decides nothing about what an agent says, and nothing about the trainer.
"""

import selectors
import time
from typing import Any, Callable, Collection, List, Mapping, Optional

from lastgood_agent.agent_process import AgentProcess
from lastgood_agent.lines import Message
from lastgood_agent.run_options import Settings

#: How long the agent may go on reporting after the trainer is gone and the launcher wants to end.
FAREWELL_S = 2.0
#: Pauses before the next agent is started: the first time none, then doubled up to the last.
AGENT_FIRST_PAUSE_S = 0.1
AGENT_LAST_PAUSE_S = 5.0
#: An agent that lived this long has a fresh back-off.
AGENT_PROVEN_S = 10.0


class AgentKeeper:
    """The agents of one launcher, one after the other.

    hello: what each new one is told first. say: takes a line for whoever watches.
    """

    def __init__(
        self,
        settings: Settings,
        hooks_socket: str,
        selector: selectors.BaseSelector,
        hello: Callable[[], Mapping[str, Any]],
        say: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._hooks_socket = hooks_socket
        self._selector = selector
        self._hello = hello
        self._say = say
        self._agent: Optional[AgentProcess] = None
        self._pause_s = 0.0
        self._due_s: Optional[float] = 0.0
        self._is_retiring = False
        self._farewell_until_s: Optional[float] = None

    @property
    def pids(self) -> List[int]:
        """The agent's, if there is one."""
        return [self._agent.pid] if self._agent is not None else []

    def due_times(self) -> List[float]:
        """When `do_what_is_due` or `take_leave` has something to do, if nothing happens before."""
        due = [self._due_s, self._farewell_until_s]
        if self._agent is not None and not self._is_retiring:
            due.append(self._agent.heard_s + self._settings.agent_silence_s)
        return [each for each in due if each is not None]

    def do_what_is_due(self, now_s: float) -> None:
        """Starts the next agent; ends one that is silent."""
        if self._due_s is not None and now_s >= self._due_s:
            self._start(now_s)
        if self._agent is not None and now_s >= self._agent.heard_s + self._settings.agent_silence_s:
            self._say("the agent has been silent for too long: another one is started")
            self._agent.heard_s = now_s
            self._agent.kill()

    def _start(self, now_s: float) -> None:
        self._due_s = None
        settings = self._settings
        config = {
            "controller": settings.controller,
            "run_id": settings.run_id,
            "job": settings.job,
            "worker": settings.gang.worker,
            "members": list(settings.gang.members),
            "host": settings.gang.host,
            "tf_config": settings.gang.tf_config,
            "worker_directory": settings.worker_directory,
            "hooks_socket": self._hooks_socket,
            "connect_s": settings.connect_s,
            "may_reopen": settings.may_reopen,
        }
        try:
            self._agent = AgentProcess(settings.agent_python, config, now_s)
        except OSError as error:
            self._say("the agent can't be started with {}: {}".format(settings.agent_python, error.strerror))
            self._plan_next(now_s, now_s)
            return
        self._agent.lines.send(self._hello())

    def _plan_next(self, now_s: float, started_s: float) -> None:
        """The next agent: at once after one that had lived for a while, else after a pause that doubles."""
        if now_s - started_s >= AGENT_PROVEN_S:
            self._pause_s = 0.0
        self._due_s = now_s + self._pause_s
        self._pause_s = min(max(2 * self._pause_s, AGENT_FIRST_PAUSE_S), AGENT_LAST_PAUSE_S)

    # -- talking

    def send(self, message: Mapping[str, Any]) -> None:
        """Tells the agent, if there is one: the next one is told everything at its start."""
        if self._agent is not None:
            self._agent.lines.send(message)

    def watch(self) -> None:
        """Lets the selector look at the agent's socket."""
        if self._agent is None:
            return
        lines = self._agent.lines
        if not lines.is_open:
            if self._close_socket(self._agent) and not self._is_retiring:
                self._agent.kill()
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if lines.wants_to_write else 0)
        if lines.fileno() in self._selector.get_map():
            self._selector.modify(lines, events)
        else:
            self._selector.register(lines, events)

    def receive(self, ready: Collection[int]) -> List[Message]:
        """What the agent says, when its socket is among those that are ready."""
        if self._agent is None or self._agent.lines.fileno() not in ready:
            return []
        self._agent.lines.flush()
        messages, _ = self._agent.lines.receive()
        if messages:
            self._agent.heard_s = time.monotonic()
        return messages

    def _close_socket(self, agent: AgentProcess) -> bool:
        """False when that was done before."""
        if agent.lines.fileno() < 0:
            return False
        if agent.lines.fileno() in self._selector.get_map():
            self._selector.unregister(agent.lines)
        agent.lines.close()
        return True

    # -- ends

    def note_reaped(self, pid: int, status: int) -> Optional[int]:
        """The agent's exit status, negative for a signal, when it is the agent that has ended with this wait status."""
        agent = self._agent
        if agent is None or agent.pid != pid:
            return None
        exit_status = agent.note_reaped(status)
        self._close_socket(agent)
        self._agent = None
        if not self._is_retiring:
            self._plan_next(time.monotonic(), agent.started_s)
        return exit_status

    def retire(self) -> None:
        """The launcher ends: no other agent is started."""
        self._is_retiring = True
        self._due_s = None

    def take_leave(self, now_s: float) -> None:
        """The trainer is gone, too: lets the agent report that and end, and ends it if it does not."""
        if self._agent is None:
            return
        if self._farewell_until_s is None:
            self._farewell_until_s = now_s + FAREWELL_S
            self._agent.lines.flush_within(0.05)
            self._agent.lines.finish_sending()
        elif now_s >= self._farewell_until_s:
            self._farewell_until_s = now_s + FAREWELL_S
            self._agent.kill()

    def kill(self) -> None:
        """Ends it at once."""
        if self._agent is not None:
            self._agent.kill()
