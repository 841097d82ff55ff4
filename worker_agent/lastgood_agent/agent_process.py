"""One life of the agent as the launcher sees it: a child process, and our end of the socket pair to it.

Decides what of our environment the agent gets. Decides nothing about when an agent is started or ended: that is
`agent_keeper`.
"""

import json
import os
import signal
import socket
import subprocess
from typing import Any, Dict, Mapping

from lastgood_agent import processes
from lastgood_agent.lines import LineSocket


class AgentProcess:
    """One life of the agent, and our end of its socket pair."""

    def __init__(self, python: str, config: Mapping[str, Any], heard_s: float) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            command = [python, "-m", "lastgood_agent.agent", "--fd", str(theirs.fileno()), "--config"]
            try:
                self._process = subprocess.Popen(
                    [*command, json.dumps(config)],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                    env=agent_environment(os.environ),
                )
            except OSError:
                ours.close()
                raise
        self.lines = LineSocket(ours)
        self.started_s = heard_s
        self.heard_s = heard_s

    @property
    def pid(self) -> int:
        return self._process.pid

    def note_reaped(self, status: int) -> int:
        """The agent has ended with this wait status; its exit status, negative for a signal."""
        self._process.returncode = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        return self._process.returncode

    def kill(self) -> None:
        """Ends it at once; it keeps all that matters on disk."""
        processes.send_signal(self.pid, signal.SIGKILL)


def agent_environment(environment: Mapping[str, str]) -> Dict[str, str]:
    """The agent's environment: ours, without what is meant for the trainer.

    PYTHONPATH is the trainer's, too, where this package is installed; where it runs from its sources, it is how the
    agent finds them. The working directory, full of the user's own modules, is never searched.
    """
    meant_for_the_trainer = [processes.MARK, "TF_CONFIG"]
    package_parent = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    is_installed = os.path.basename(package_parent) in ("site-packages", "dist-packages")
    if is_installed:
        meant_for_the_trainer.append("PYTHONPATH")
    kept = {name: value for name, value in environment.items() if name not in meant_for_the_trainer}
    if not is_installed:
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, [kept.get("PYTHONPATH", ""), package_parent]))
    kept["PYTHONSAFEPATH"] = "1"
    kept.setdefault("GRPC_VERBOSITY", "NONE")
    return kept
