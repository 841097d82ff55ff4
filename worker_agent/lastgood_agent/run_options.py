"""What one `lastgood run` was asked for, checked before anything is touched.

Decides who this worker is (the command line before TF_CONFIG) and what its waits are. Refuses, with a sentence, what
certainly can't work: a command or a script that is not there, an address that is none, a wait that never ends.
"""

import argparse
import os
import shutil
import sys
from dataclasses import dataclass
from typing import Mapping, Optional, Sequence, Tuple

from lastgood_agent.gang import Gang, GangError, gang_from_arguments, gang_from_tf_config, is_address

#: An agent says something every 2 s; one that is silent for this long is stopped or hangs, and is replaced. The next
#: one must be there well before the controller takes the worker for lost.
AGENT_SILENCE_S = 10.0


class MisuseError(Exception):
    """Nothing was started, because what was asked for can't work. The message is for the person who asked."""


@dataclass(frozen=True)
class Settings:
    """What one `lastgood run` was told.

    worker_directory: STATE_DIR/workers/NAME, absolute. plan_s, gate_s: the longest that a hook may wait for a plan and
    at the gate. connect_s: the longest to wait for the controller's first answer. agent_silence_s: see above.
    may_reopen: a run that was interrupted goes on because this launcher was started. grace_s: from SIGTERM until
    whoever sent it kills this launcher.
    """

    controller: str
    job: str
    run_id: str
    worker_directory: str
    gang: Gang
    command: Tuple[str, ...]
    prefix: bool = False
    plan_s: float = 120.0
    gate_s: float = 90.0
    connect_s: float = 300.0
    agent_python: str = sys.executable
    agent_silence_s: float = AGENT_SILENCE_S
    may_reopen: bool = True
    grace_s: float = 30.0

    @property
    def outbox(self) -> str:
        return os.path.join(self.worker_directory, "outbox")

    def path(self, *names: str) -> str:
        """A file in the worker's directory."""
        return os.path.join(self.worker_directory, *names)


#: What `lastgood run` ends with, for its help.
EXIT_STATUSES = """exit status:
  0      the run finished: every worker's trainer ended with status 0
  1      the run ended for a reason that is printed (BudgetSpent, ScriptFails, NoGoodCheckpoint, ...)
  2      wrong usage, or another launcher has taken this worker's place; nothing was started, or it was stopped
  3      could not tell: no controller answered, or no agent can work here
  128+N  told to end by signal N: 143 for SIGTERM, 130 for SIGINT, 129 for SIGHUP

SIGTERM, as at a pod's end, is passed on at once. The script may save and end by itself, and the controller waits for
a save that is due; SIGKILL comes 2 s before the grace period is over. An evaluator's command takes the place of this
process, and its status with it. What a trainer's own exit statuses mean: docs/endings.md.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `lastgood run`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXIT_STATUSES
    parser.add_argument("--controller", required=True, metavar="HOST:PORT", help="where the controller serves")
    parser.add_argument("--job", required=True, metavar="NAME", help="the job's name, equal on every worker")
    parser.add_argument("--run-id", metavar="ID", help="one life of the job, equal on every worker (default: NAME)")
    parser.add_argument("--state-dir", metavar="DIR", help="where this job's state lies (default: .lastgood/NAME)")
    parser.add_argument("--worker", metavar="worker/INDEX", help="this worker, where there is no TF_CONFIG")
    parser.add_argument("--workers", type=int, metavar="N", help="the size of the gang, with --worker")
    parser.add_argument("--host", default="127.0.0.1", help="where the gang reaches this worker, with --worker")
    parser.add_argument("--prefix", action="store_true", help="show what the trainer prints, with the worker's name")
    parser.add_argument(
        "--plan-timeout", type=float, default=120.0, metavar="S", help="the longest to wait for a plan (default: 120)"
    )
    parser.add_argument(
        "--gate-timeout", type=float, default=90.0, metavar="S", help="the longest to wait at the gate (default: 90)"
    )
    parser.add_argument(
        "--connect-timeout", type=float, default=300.0, metavar="S", help="the longest to wait for the controller"
    )
    parser.add_argument(
        "--stay-ended", action="store_true", help="leave a run alone that was interrupted, instead of going on with it"
    )
    parser.add_argument(
        "--grace",
        type=float,
        default=30.0,
        metavar="S",
        help="from SIGTERM until somebody kills this process: the trainer gets 2 s less to save and end (default: 30)",
    )
    parser.add_argument("--agent-python", default=sys.executable, metavar="PATH", help="the agent's interpreter")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- CMD", help="what trains")


def settings_from(arguments: argparse.Namespace, environment: Mapping[str, str]) -> Settings:
    """The settings, checked. Raises MisuseError."""
    command = list(arguments.command)
    if command[:1] == ["--"]:
        command = command[1:]
    if not is_address(arguments.controller):
        raise MisuseError("expected --controller as HOST:PORT, found {!r}".format(arguments.controller))
    if not arguments.job.strip() or "\0" in arguments.job:
        raise MisuseError("expected --job with the job's name, found {!r}".format(arguments.job))
    for name, value in (
        ("--plan-timeout", arguments.plan_timeout),
        ("--gate-timeout", arguments.gate_timeout),
        ("--connect-timeout", arguments.connect_timeout),
    ):
        if not 0 < value < 1e9:
            raise MisuseError("expected {} in seconds, more than 0, found {}".format(name, value))
    if not 0 <= arguments.grace < 1e9:
        raise MisuseError("expected --grace in seconds, 0 or more, found {}".format(arguments.grace))
    check_command(command)
    gang = gang_of(arguments, environment)
    short_job = arguments.job.rstrip("/").rpartition("/")[2]
    state_directory = os.path.abspath(arguments.state_dir or os.path.join(".lastgood", short_job))
    return Settings(
        controller=arguments.controller,
        job=arguments.job,
        run_id=arguments.run_id or arguments.job,
        worker_directory=os.path.join(state_directory, "workers", gang.directory_name),
        gang=gang,
        command=tuple(command),
        prefix=arguments.prefix,
        plan_s=arguments.plan_timeout,
        gate_s=arguments.gate_timeout,
        connect_s=arguments.connect_timeout,
        agent_python=arguments.agent_python,
        may_reopen=not arguments.stay_ended,
        grace_s=arguments.grace,
    )


def gang_of(arguments: argparse.Namespace, environment: Mapping[str, str]) -> Gang:
    """Who this worker is: the command line before TF_CONFIG. Raises MisuseError."""
    try:
        if arguments.worker is not None:
            return gang_from_arguments(arguments.worker, arguments.workers, arguments.host)
        text = environment.get("TF_CONFIG", "")
        if not text.strip():
            raise GangError(
                "this worker has no name: TF_CONFIG is not set, and there is no --worker. Give --worker worker/0 "
                "--workers 2, say, or start it from something that sets TF_CONFIG"
            )
        return gang_from_tf_config(text)
    except GangError as error:
        raise MisuseError(str(error)) from error


def check_command(command: Sequence[str]) -> None:
    """Raises MisuseError when the command certainly can't be executed."""
    if not command:
        raise MisuseError("no command: expected it after --, as in `lastgood run ... -- python train.py`")
    if shutil.which(command[0]) is None:
        found = "is there, and is not executable" if os.path.exists(command[0]) else "was not found"
        raise MisuseError("the command {!r} {}".format(command[0], found))
    script = script_of(command)
    if script is not None and not os.path.exists(script):
        raise MisuseError("the script {!r} does not exist (looked for it in {})".format(script, os.getcwd()))


def script_of(command: Sequence[str]) -> Optional[str]:
    """The script that a Python interpreter is given right away, or None when that is not what the command does."""
    if not os.path.basename(command[0]).startswith("python"):
        return None
    first = next((each for each in command[1:] if each not in ("-u", "-B", "-O", "-I", "-s", "-E")), "")
    return first if first.endswith(".py") else None
