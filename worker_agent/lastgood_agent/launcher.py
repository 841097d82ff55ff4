"""The launcher: the parent of one worker's trainer and agent. `lastgood run` is this module.

Decides when a trainer is started, stopped and proven gone, by the agent's orders (docs/wire.md) and the signals it
gets; one loop over the agent's socket, the wake-up pipe of the signals, and timers. Never starts an attempt twice,
never runs two trainers at once, and needs nothing but Python's standard library: any image that trains can run it.
"""

import argparse
import contextlib
import fcntl
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from lastgood_agent import processes
from lastgood_agent.gang import Gang, GangError, gang_from_arguments, gang_from_tf_config, is_address
from lastgood_agent.lines import LineSocket, Message
from lastgood_agent.ports import HeldPort
from lastgood_agent.trainer import (
    LogFollower,
    StartError,
    Trainer,
    TrainerState,
    last_lines_of,
    read_json,
    reap,
    write_json,
)

EXIT_WRONG_USAGE = 2
EXIT_COULD_NOT_TELL = 3

#: The agent's exit status when it can't work here at all, however often it is started.
AGENT_CANNOT_WORK = 78

#: SIGTERM to SIGKILL, when the launcher itself was asked to end or the run has ended.
END_GRACE_S = 3.0
#: How long the agent may go on reporting after the trainer is gone and the launcher wants to end.
FAREWELL_S = 2.0
#: Pauses before the next agent is started: the first time none, then doubled up to the last.
AGENT_FIRST_PAUSE_S = 0.1
AGENT_LAST_PAUSE_S = 5.0
#: An agent that lived this long has a fresh back-off.
AGENT_PROVEN_S = 10.0
#: An agent says something every 2 s; one that is silent for this long is stopped or hangs, and is replaced.
AGENT_SILENCE_S = 20.0
#: How often what is left of a trainer is looked for, besides at each child's end.
SWEEP_INTERVAL_S = 0.02
LEFT_OVER_TIMEOUT_S = 5.0

SOCKET_DIRECTORY_PREFIX = "lastgood-"

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class MisuseError(Exception):
    """Nothing was started, because what was asked for can't work. The message is for the person who asked."""


@dataclass(frozen=True)
class Settings:
    """What one `lastgood run` was told.

    worker_directory: STATE_DIR/workers/NAME, absolute. plan_s, gate_s: the longest that a hook may wait for a plan and
    at the gate. connect_s: the longest to wait for the controller's first answer. agent_silence_s: see above.
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

    @property
    def outbox(self) -> str:
        return os.path.join(self.worker_directory, "outbox")

    def path(self, *names: str) -> str:
        """A file in the worker's directory."""
        return os.path.join(self.worker_directory, *names)


# --------------------------------------------------------------------------------------------------- the command line


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `lastgood run`."""
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
    parser.add_argument("--agent-python", default=sys.executable, metavar="PATH", help="the agent's interpreter")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- CMD", help="what trains")


def run(arguments: argparse.Namespace) -> int:
    """Does what `lastgood run` was asked for; the exit status of the run."""
    try:
        settings = settings_from(arguments, os.environ)
        if settings.gang.is_observed_only:
            say(settings, "an evaluator belongs to no gang: the command runs as it is, observed by nobody")
            os.execvp(settings.command[0], list(settings.command))
        prepare_directory(settings)
        lock = lock_directory(settings)
    except MisuseError as error:
        print("lastgood run: {}".format(error), file=sys.stderr)
        return EXIT_WRONG_USAGE
    try:
        return Launcher(settings).run()
    finally:
        os.close(lock)


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


def prepare_directory(settings: Settings) -> None:
    """Makes the worker's directory. Raises MisuseError."""
    try:
        for name in ("", "outbox", "spool", "plans", "logs"):
            os.makedirs(settings.path(name), exist_ok=True)
        with tempfile.TemporaryFile(dir=settings.worker_directory) as probe:
            probe.write(b" ")  # a full disk lets an empty file be made
    except OSError as error:
        reason = "the state directory {} cannot be written: {}".format(settings.worker_directory, error.strerror)
        raise MisuseError("{}. Choose another one with --state-dir".format(reason)) from error


def lock_directory(settings: Settings) -> int:
    """Takes launcher.lock for as long as this process lives; no child inherits it. Raises MisuseError."""
    descriptor = os.open(settings.path("launcher.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise MisuseError(
            "{} in {} belongs to a live launcher (pid {}). Stop that one, or choose another --state-dir".format(
                settings.gang.worker, settings.worker_directory, holder
            )
        ) from error
    with contextlib.suppress(OSError):  # a full disk: the lock holds without our pid in it
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, "{}\n".format(os.getpid()).encode("ascii"), 0)
    return descriptor


def say(settings: Settings, text: str) -> None:
    """One line for whoever watches."""
    with contextlib.suppress(OSError):  # nobody may be watching any more
        print("lastgood run: {}: {}".format(settings.gang.worker, text), file=sys.stderr, flush=True)


# ----------------------------------------------------------------------------------------------------------- the agent


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


# -------------------------------------------------------------------------------------------------------- the launcher


class Launcher:
    """One worker's launcher, from its start to its exit status."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        known = read_json(settings.path("worker.json"))
        self._highest_attempt = int(known.get("highest_attempt", 0))
        self._session = max(time.time_ns(), int(known.get("launcher_session", 0)) + 1)
        self._state = TrainerState()
        self._trainer: Optional[Trainer] = None
        self._follower: Optional[LogFollower] = None
        self._next_run: Optional[Message] = None
        self._kill_at_s: Optional[float] = None
        self._port: Optional[HeldPort] = None
        self._agent: Optional[AgentProcess] = None
        self._agent_pause_s = 0.0
        self._agent_due_s: Optional[float] = 0.0
        self._exit_status: Optional[int] = None
        self._farewell_until_s: Optional[float] = None
        self._selector = selectors.DefaultSelector()
        self._socket_directory = ""

    # -- life

    def run(self) -> int:
        """Works until the run has ended or a signal asks to end; the exit status."""
        if not self._clear_left_over():
            return EXIT_COULD_NOT_TELL
        processes.adopt_orphans()
        wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        for number in (*SIGNALS, signal.SIGCHLD):
            if number == signal.SIGCHLD or signal.getsignal(number) is not signal.SIG_IGN:  # as nohup asks
                signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        self._selector.register(wake_read, selectors.EVENT_READ)
        try:
            self._make_socket_directory()
            self._hold_port()
            return self._loop(wake_read)
        finally:
            self._tear_down()

    def _make_socket_directory(self) -> None:
        """A new one, and the one of a launcher that was killed removed: nobody else ever would."""
        former = str(read_json(self._settings.path("worker.json")).get("socket_directory", ""))
        if os.path.basename(former).startswith(SOCKET_DIRECTORY_PREFIX):
            shutil.rmtree(former, ignore_errors=True)
        self._socket_directory = tempfile.mkdtemp(prefix=SOCKET_DIRECTORY_PREFIX, dir=_socket_parent())
        self._write_worker()

    def _clear_left_over(self) -> bool:
        record = read_json(self._settings.path("trainer.json"))
        left = processes.kill_left_over(
            processes.mark_of(self._settings.outbox),
            int(record.get("pid") or 0),
            int(record.get("pgid") or 0),
            record.get("start_ticks"),
            LEFT_OVER_TIMEOUT_S,
        )
        if left:
            say(
                self._settings,
                "processes of an earlier trainer can't be killed: {}. End them, then start again".format(
                    ", ".join(map(str, left))
                ),
            )
            return False
        if record:
            os.unlink(self._settings.path("trainer.json"))
        return True

    def _tear_down(self) -> None:
        """Whatever happened: nothing of ours is left running."""
        if self._trainer is not None:
            processes.signal_group(self._state.pgid, signal.SIGKILL)
        if self._agent is not None:
            self._agent.kill()
        for pid in processes.descendants(os.getpid()):
            processes.send_signal(pid, signal.SIGKILL)
        if self._socket_directory:
            shutil.rmtree(self._socket_directory, ignore_errors=True)
        signal.set_wakeup_fd(-1)

    def _loop(self, wake: int) -> int:
        while True:
            self._do_what_is_due(time.monotonic())
            if self._exit_status is not None and self._trainer is None and self._agent is None:
                return self._exit_status
            self._watch_agent()
            ready = {key.fd for key, _ in self._selector.select(self._timeout_s(time.monotonic()))}
            if wake in ready:
                self._take_signals(os.read(wake, 4096))
            if self._agent is not None and self._agent.lines.fileno() in ready:
                self._serve_agent(self._agent)

    def _watch_agent(self) -> None:
        if self._agent is None:
            return
        lines = self._agent.lines
        if not lines.is_open:
            self._drop_agent_socket()
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if lines.wants_to_write else 0)
        if lines.fileno() in self._selector.get_map():
            self._selector.modify(lines, events)
        else:
            self._selector.register(lines, events)

    def _timeout_s(self, now_s: float) -> Optional[float]:
        due = [self._kill_at_s, self._agent_due_s, self._farewell_until_s]
        if self._trainer is not None and self._trainer.is_reaped:
            due.append(now_s + SWEEP_INTERVAL_S)
        if self._agent is not None:
            due.append(self._agent.heard_s + self._settings.agent_silence_s)
        times = [each for each in due if each is not None]
        return max(0.0, min(times) - now_s) if times else None

    def _do_what_is_due(self, now_s: float) -> None:
        if self._kill_at_s is not None and now_s >= self._kill_at_s:
            self._kill_at_s = None
            if self._trainer is not None:
                self._trainer.stop(signal.SIGKILL)
        self._finish_trainer()
        if self._exit_status is not None:
            self._take_leave(now_s)
            return
        if self._agent_due_s is not None and now_s >= self._agent_due_s:
            self._start_agent(now_s)
        if self._agent is not None and now_s >= self._agent.heard_s + self._settings.agent_silence_s:
            say(self._settings, "the agent has been silent for too long: another one is started")
            self._agent.heard_s = now_s
            self._agent.kill()

    # -- signals and children

    def _take_signals(self, received: bytes) -> None:
        for number in SIGNALS:
            if number in received:
                self._interrupt(number)
        if signal.SIGCHLD in received:
            self._reap()

    def _interrupt(self, number: int) -> None:
        name = signal.Signals(number).name
        if self._exit_status is not None:
            self._stop_trainer(0.0)
            return
        say(self._settings, "{}: stopping".format(name))
        if self._agent is not None:
            self._agent.lines.send({"type": "interrupted", "signal": name})
        self._end(128 + number)

    def _end(self, exit_status: int) -> None:
        self._exit_status = exit_status
        self._next_run = None
        self._agent_due_s = None
        self._stop_trainer(END_GRACE_S)

    def _take_leave(self, now_s: float) -> None:
        """Once the trainer is gone: lets the agent report that and end, and ends it if it does not."""
        if self._trainer is not None or self._agent is None:
            return
        if self._farewell_until_s is None:
            self._farewell_until_s = now_s + FAREWELL_S
            self._agent.lines.flush_within(0.05)
            self._agent.lines.finish_sending()
        elif now_s >= self._farewell_until_s:
            self._farewell_until_s = now_s + FAREWELL_S
            self._agent.kill()

    def _reap(self) -> None:
        for pid, status in reap():
            if self._trainer is not None and pid == self._trainer.pid:
                self._trainer.note_reaped(status)
            elif self._agent is not None and pid == self._agent.pid:
                self._lose_agent(self._agent.note_reaped(status))
        self._finish_trainer()

    # -- the trainer

    def _start_trainer(self, order: Message) -> None:
        attempt = int(order["attempt"])
        settings = self._settings
        self._highest_attempt = attempt
        self._write_worker()
        if self._port is not None:
            self._port.release()
        log = settings.path("logs", "attempt-{}.log".format(attempt))
        self._trainer = Trainer(attempt, log, settings.path("trainer.json"))
        try:
            self._trainer.start(settings.command, self._trainer_environment(order, attempt))
        except (StartError, OSError) as error:
            self._trainer = None
            say(settings, "attempt {}: {}".format(attempt, error))
            lines = (*last_lines_of(log), str(error))[-20:]
            self._hold_port()
            self._tell(TrainerState(phase="exited", attempt=attempt, exit_code=127, last_lines=lines))
            return
        if settings.prefix:
            self._follower = LogFollower(log, "[{}] ".format(settings.gang.worker), 1)
        self._tell(self._trainer.state)
        self._hold_port()

    def _trainer_environment(self, order: Message, attempt: int) -> Dict[str, str]:
        settings = self._settings
        hooks = {
            "version": 1,
            "run_id": settings.run_id,
            "worker": settings.gang.worker,
            "attempt": attempt,
            "socket": self._hooks_socket,
            "outbox": settings.outbox,
            "progress": settings.path("progress-{}".format(attempt)),
            "steering": bool(order.get("steering", True)),
            "plan_s": settings.plan_s,
            "gate_s": settings.gate_s,
        }
        inject = os.path.join(os.path.dirname(os.path.abspath(__file__)), "inject")
        environment = dict(os.environ)
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [inject, environment.get("PYTHONPATH", "")]))
        environment[processes.MARK] = json.dumps(hooks)
        environment.update({str(name): str(value) for name, value in (order.get("environment") or {}).items()})
        return environment

    def _stop_trainer(self, grace_s: float) -> None:
        if self._trainer is None or self._trainer.is_reaped:
            return
        if grace_s <= 0:
            self._kill_at_s = None
            self._trainer.stop(signal.SIGKILL)
        elif self._kill_at_s is None:
            self._kill_at_s = time.monotonic() + grace_s
            self._trainer.stop(signal.SIGTERM)

    def _finish_trainer(self) -> None:
        """Tells that the trainer has ended, once nothing of it is left; then does what waited for that."""
        trainer = self._trainer
        if trainer is None or not trainer.is_reaped:
            return
        if not trainer.sweep([self._agent.pid] if self._agent is not None else []):
            for pid, status in reap():
                if self._agent is not None and pid == self._agent.pid:
                    self._lose_agent(self._agent.note_reaped(status))
            return
        self._trainer = None
        self._kill_at_s = None
        self._tell(trainer.state)
        if self._follower is not None:
            self._follower.finish(1.0)
            self._follower = None
        order, self._next_run = self._next_run, None
        if order is not None:
            self._start_trainer(order)
        elif self._highest_attempt > trainer.state.attempt:
            self._tell(TrainerState(phase="exited", attempt=self._highest_attempt, was_stopped=True))

    # -- the agent

    @property
    def _hooks_socket(self) -> str:
        return os.path.join(self._socket_directory, "hooks")

    def _start_agent(self, now_s: float) -> None:
        self._agent_due_s = None
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
        }
        try:
            self._agent = AgentProcess(settings.agent_python, config, now_s)
        except OSError as error:
            say(settings, "the agent can't be started with {}: {}".format(settings.agent_python, error.strerror))
            self._plan_next_agent(now_s, now_s)
            return
        hello = {
            "type": "hello",
            "launcher_session": self._session,
            "highest_attempt": self._highest_attempt,
            "host": socket.gethostname(),
            **self._trainer_message(),
        }
        self._agent.lines.send(hello)

    def _lose_agent(self, status: int) -> None:
        agent = self._agent
        if agent is None:
            return
        self._drop_agent_socket()
        self._agent = None
        if self._exit_status is not None:
            return
        if status == AGENT_CANNOT_WORK and self._trainer is None:
            self._end(EXIT_COULD_NOT_TELL)
            return
        say(self._settings, "the agent ended ({}): another one is started".format(status))
        self._plan_next_agent(time.monotonic(), agent.started_s)

    def _plan_next_agent(self, now_s: float, started_s: float) -> None:
        """The next agent: at once after one that had lived for a while, else after a pause that doubles."""
        if now_s - started_s >= AGENT_PROVEN_S:
            self._agent_pause_s = 0.0
        self._agent_due_s = now_s + self._agent_pause_s
        self._agent_pause_s = min(max(2 * self._agent_pause_s, AGENT_FIRST_PAUSE_S), AGENT_LAST_PAUSE_S)

    def _drop_agent_socket(self) -> None:
        if self._agent is None or self._agent.lines.fileno() < 0:
            return
        if self._agent.lines.fileno() in self._selector.get_map():
            self._selector.unregister(self._agent.lines)
        self._agent.lines.close()
        if self._exit_status is None:
            self._agent.kill()

    def _serve_agent(self, agent: AgentProcess) -> None:
        agent.lines.flush()
        messages, _ = agent.lines.receive()
        if messages:
            agent.heard_s = time.monotonic()
        for message in messages:
            self._obey(message)

    def _obey(self, message: Message) -> None:
        """Follows one order; an unknown or malformed one changes nothing."""
        kind = message.get("type")
        if kind == "end" and isinstance(message.get("exit_status"), int) and self._exit_status is None:
            if message.get("message"):
                say(self._settings, str(message["message"]))
            self._end(message["exit_status"])
        elif kind in ("run", "stop") and isinstance(message.get("attempt"), int) and self._exit_status is None:
            if kind == "run":
                self._obey_run(message)
            else:
                self._obey_stop(message["attempt"], float(message.get("grace_s") or 0.0))

    def _obey_run(self, order: Message) -> None:
        """Idempotent: an attempt that was started, or stopped, before is not started again."""
        attempt = order["attempt"]
        if attempt <= self._highest_attempt:
            return
        if self._trainer is not None:
            self._next_run = order
            self._stop_trainer(0.0)
            return
        self._start_trainer(order)

    def _obey_stop(self, attempt: int, grace_s: float) -> None:
        """Idempotent: afterwards no trainer of that attempt or an older one lives, or ever will."""
        if self._next_run is not None and self._next_run["attempt"] <= attempt:
            self._next_run = None
        if attempt > self._highest_attempt:
            self._highest_attempt = attempt
            self._write_worker()
        if self._trainer is not None:
            if self._state.attempt <= attempt:
                self._stop_trainer(grace_s)
            return
        if attempt > self._state.attempt:
            self._tell(TrainerState(phase="exited", attempt=attempt, was_stopped=True))

    # -- telling

    def _tell(self, state: TrainerState) -> None:
        self._state = state
        if self._agent is not None:
            self._agent.lines.send({"type": "trainer", **self._trainer_message()})

    def _trainer_message(self) -> Dict[str, Any]:
        address = self._port.address if self._port is not None else ""
        is_offered = self._state.phase != "running"
        return {"trainer": self._state.to_json(), "next_address": address if is_offered else ""}

    def _hold_port(self) -> None:
        self._port = HeldPort(self._settings.gang.host)

    def _write_worker(self) -> None:
        document = {
            "highest_attempt": self._highest_attempt,
            "launcher_session": self._session,
            "socket_directory": self._socket_directory,
        }
        write_json(self._settings.path("worker.json"), document, is_durable=True)


def _socket_parent() -> Optional[str]:
    """A directory whose path is short enough for a unix socket below it; None for the usual temporary one."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    is_usable = runtime and len(runtime) < 60 and os.access(runtime, os.W_OK | os.X_OK)
    return runtime if is_usable else (None if len(tempfile.gettempdir()) < 60 else "/tmp")


def main(argv: Optional[List[str]] = None) -> int:
    """`python -m lastgood_agent.launcher`: the same as `lastgood run`, with nothing but this package."""
    parser = argparse.ArgumentParser(prog="lastgood run", description="Runs one worker of a gang.")
    configure(parser)
    try:
        return run(parser.parse_args(argv))
    except KeyboardInterrupt:  # before the launcher's own handlers were there, and so before it started anything
        return 130


if __name__ == "__main__":
    sys.exit(main())
