"""`lastgood launch`: a controller, N times `lastgood run`, and a display; nothing but these put together.

Decides when its children are started again (`revival`), when the run is over, and what the exit status is: 0 the run
finished, 1 it ended badly, 2 wrong usage, 3 cannot tell, 128 + N ended by signal N. Decides nothing about checkpoints
or attempts: that is the controller's, and a launch that dies takes everything with it and loses nothing.

One thread starts and reaps (a tether holds to the thread); the threads of `following` only ask the controller.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import IO, Any

from rich.console import RenderableType
from rich.text import Text

from lastgood.reasons import Reason
from lastgood.streams import silence
from lastgood_controller import tables
from lastgood_controller.children import Children, Death, adopt_orphans, signal_name
from lastgood_controller.client import ClientError, JobClient, who_asks
from lastgood_controller.display import Display, open_display
from lastgood_controller.following import Entry, Following, JobNow
from lastgood_controller.launch_options import MisuseError, Options, check_address, options_from
from lastgood_controller.revival import Revival
from lastgood_controller.rundir import Rundir, RundirError, take

CONTROLLER = "controller"
WORKER_PREFIX = "worker-"
#: How long a controller may take to serve.
SERVE_S = 30.0
#: After the end of a run: until its launchers are told to end, and until they are killed.
ASK_AFTER_S, KILL_AFTER_S = 5.0, 8.0
#: Of the grace period after SIGTERM: kept for what is left to do after launchers and controller are gone, and for the
#: controller to stop the gang and the launchers to say so.
KILL_MARGIN_S, STOP_MARGIN_S = 2.0, 3.0
#: How long the controller may take to end in order, and the last processes to die.
CONTROLLER_GOES_S, DIE_S = 1.5, 1.0
#: How long the controller may take to say that it heard of the end, and how the job ended.
STOP_ANSWER_S, LAST_LOOK_S = 2.0, 1.0
#: A launcher that ended by itself may have been told of the run's end before we were.
UNASKED_PAUSE_S = 0.5
#: Longest sleep between two looks: bounds the wait on anything that has no wake-up.
_LOOK_S = 0.25
_SERVE_LOOK_S = 0.02


class CannotTellError(Exception):
    """Our own parts do not work: exit status 3."""


def run(arguments: Any) -> int:
    """`lastgood launch`, from parsed arguments to the exit status. Prints, and never raises for a misuse."""
    try:
        options = options_from(arguments)
        check_address(options.listen)
        rundir = take(options.state_dir, options.job, options.workers)
    except (MisuseError, RundirError) as error:
        return _complain(str(error), 2)
    launch = None
    try:
        launch = Launch(options, rundir)
        return launch.run()
    except MisuseError as error:
        return _complain(str(error), 2)
    except (CannotTellError, ClientError, OSError) as error:
        return _complain(str(error), 3)
    finally:
        if launch is not None:
            launch.leave_nothing()
        os.close(rundir.lock_fd)


def _complain(sentence: str, status: int) -> int:
    print(f"lastgood launch: {sentence}", file=sys.stderr)
    return status


class Launch:
    """One launch, from the start of the controller until nothing of it is left."""

    def __init__(self, options: Options, rundir: Rundir) -> None:
        self._options = options
        self._rundir = rundir
        self._children = Children(rundir.logs)
        self._environment = _environment()
        self._signals: list[int] = []
        self._woken, self._waker = _wake_up_pair()
        self._address = ""
        self._metrics_address = ""
        self._following: Following | None = None
        self._revivals: dict[str, Revival] = {}
        self._starts_due: dict[str, float] = {}
        self._job: dict[str, Any] | None = None
        self._trouble = ""
        self._end: dict[str, Any] | None = None
        self._is_ending = False
        self._has_served = False
        self._events: IO[str] | None = None
        self._started_s = time.time()
        self._display: Display = open_display(options.is_plain, self._started_s)

    # ------------------------------------------------------------------------------------------------ the whole story

    def run(self) -> int:
        """Everything from the first child to the exit status."""
        adopt_orphans()
        self._take_signals()
        self._open_events()
        with self._display:
            self._start_controller(self._options.listen, "127.0.0.1:0")
            self._wait_until(lambda: bool(self._address), SERVE_S)
            if self._signals:
                return 128 + self._signals[0]
            if not self._address:
                raise CannotTellError(
                    f"the controller did not serve within {SERVE_S:.0f} s. {self._printed(CONTROLLER)}"
                )
            self._tell_where()
            after_sequence = self._open_again()
            self._following = Following(
                self._address, self._rundir.run_id, after_sequence, self._wake, self._display.refresh_s
            )
            for index in range(self._options.workers):
                if not self._signals:
                    self._start_worker(index)
            self._wait_until(lambda: self._end is not None, None)
            self._let_workers_go()
            self._look_a_last_time()
            return self._conclude()

    def leave_nothing(self) -> None:
        """Ends every process below this one, the controller in order, and waits until they are gone."""
        self._is_ending = True
        if self._following is not None:
            self._following.stop()
        self._children.send(signal.SIGTERM, CONTROLLER)
        deadline_s = time.monotonic() + CONTROLLER_GOES_S
        while self._children.running(CONTROLLER) and time.monotonic() < deadline_s:
            self._sleep(deadline_s)
            self._children.reap()
        left = self._children.kill_all(DIE_S)
        if left:
            _complain(f"these processes would not die: {', '.join(map(str, left))}", 1)
        signal.set_wakeup_fd(-1)
        if self._events is not None:
            self._events.close()

    # ------------------------------------------------------------------------------------------------------- children

    def _start_controller(self, listen: str, metrics_listen: str) -> None:
        if not self._has_served:
            self._rundir.controller_file.unlink(missing_ok=True)
        options = self._options
        argv = [*_lastgood(), "controller", "--state-dir", str(self._rundir.path), "--listen", listen]
        argv += ["--metrics-listen", metrics_listen, "--steering", "on" if options.steering else "off"]
        argv += ["--receipts", options.receipts, "--shared-write", options.shared_write]
        if options.max_restarts is not None:
            argv += ["--max-restarts", str(options.max_restarts)]
        if options.start_timeout_s is not None:
            argv += ["--first-step-s", str(options.start_timeout_s)]
        self._children.start(CONTROLLER, argv, self._environment)

    def _start_worker(self, index: int) -> None:
        options, rundir = self._options, self._rundir
        argv = [*_lastgood(), "run", "--controller", self._address, "--job", rundir.job, "--run-id", rundir.run_id]
        argv += ["--state-dir", str(rundir.path), "--worker", f"worker/{index}", "--workers", str(options.workers)]
        argv += ["--grace", str(options.grace_s)]
        argv += ["--stay-ended"]  # a launcher that we start again may find the run ended before we do
        self._children.start(f"{WORKER_PREFIX}{index}", [*argv, "--", *options.command], self._environment)

    def _start_due(self) -> None:
        now_s = time.monotonic()
        for name, due_s in tuple(self._starts_due.items()):
            if due_s > now_s:
                continue
            del self._starts_due[name]
            if name == CONTROLLER:
                self._start_controller(self._address or self._options.listen, self._metrics_address or "127.0.0.1:0")
            else:
                self._start_worker(int(name.removeprefix(WORKER_PREFIX)))

    def _mourn(self, death: Death) -> None:
        """What one death means: nothing at the end, misuse, or another start."""
        is_controller = death.name == CONTROLLER
        if self._is_ending or self._end is not None:
            return
        if is_controller and not self._has_served and death.exit_code is not None:
            printed = self._printed(CONTROLLER)
            if death.exit_code == 2:
                raise MisuseError(f"the controller could not start. {printed}")
            raise CannotTellError(f"the controller could not start ({death}). {printed}")
        if not is_controller and death.exit_code == 2:
            raise MisuseError(f"{death.name} refused its command. {self._printed(death.name)}")
        revival = self._revivals.get(death.name, Revival()).after_death(death.lived_s)
        self._revivals[death.name] = revival
        if revival.is_hopeless:
            raise CannotTellError(f"{death.name} died {revival.deaths} times in a row. {self._printed(death.name)}")
        was_unasked = not is_controller and death.exit_code is not None
        pause_s = max(revival.pause_s, UNASKED_PAUSE_S if was_unasked else 0.0)
        self._starts_due[death.name] = time.monotonic() + pause_s
        if not was_unasked:
            self._say(f"{death}: it is started again")

    def _printed(self, name: str) -> str:
        lines = self._children.last_lines(name)
        path = self._children.log_path(name)
        if not lines:
            return f"It printed nothing ({path})."
        return f"It printed ({path}):\n" + "\n".join(f"    {tables.printable(line)}" for line in lines)

    # -------------------------------------------------------------------------------------------------------- waiting

    def _wait_until(self, is_done: Callable[[], bool], within_s: float | None) -> None:
        """Keeps everything alive until `is_done`, a signal, or the time is over."""
        deadline_s = None if within_s is None else time.monotonic() + within_s
        while not is_done() and not self._signals:
            if deadline_s is not None and time.monotonic() > deadline_s:
                return
            self._pump()

    def _pump(self) -> None:
        """One round: sleeps until something happened, then deals with all that did."""
        dues = [*self._starts_due.values(), time.monotonic() + (_LOOK_S if self._has_served else _SERVE_LOOK_S)]
        self._sleep(min(dues))
        for death in self._children.reap():
            self._mourn(death)
        if not self._has_served:
            self._read_controller_file()
        self._take_arrivals()
        self._start_due()

    def _sleep(self, until_s: float) -> None:
        readable, _, _ = select.select([self._woken], [], [], max(0.0, until_s - time.monotonic()))
        if readable:
            self._woken.recv(4096)

    def _wake(self) -> None:
        try:
            self._waker.send(b"\0")
        except BlockingIOError:
            return  # it is awake already

    def _take_signals(self) -> None:
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue  # as nohup asks
            signal.signal(number, self._take_signal)

    def _take_signal(self, number: int, _: object) -> None:
        """A terminal that closes says so twice, by its shell and by the kernel: that is no impatience."""
        if number != signal.SIGHUP or number not in self._signals:
            self._signals.append(number)

    def _read_controller_file(self) -> None:
        """Takes the addresses once the controller that we started serves; another one's word does not count."""
        try:
            document = json.loads(self._rundir.controller_file.read_text("utf-8"))
        except (OSError, ValueError):
            return
        if document.get("pid") in [child.pid for child in self._children.running(CONTROLLER)]:
            self._address, self._metrics_address = document["address"], document["metrics_address"]
            self._has_served = True

    # -------------------------------------------------------------------------------------------------- the controller

    def _open_again(self) -> int:
        """Makes a run that had ended go on; returns the last journal entry that is older than this launch."""
        run_id = self._rundir.run_id
        with JobClient(self._address) as client:
            known = [job for job in client.list_jobs() if job["run_id"] == run_id]
            if not known:
                return 0
            sequences = [int(entry["sequence"]) for entry in client.watch(run_id, 0, False)]
            client.open_job(run_id, who_asks())
        return max(sequences, default=0)

    def _take_arrivals(self) -> None:
        while self._following is not None and not self._following.arrived.empty():
            match self._following.arrived.get():
                case Entry(entry):
                    self._take_entry(entry)
                case JobNow(job):
                    self._job = job
                    self._tell_trouble(job.get("trouble") or "")
                    self._display.update(job, time.time())

    def _tell_trouble(self, trouble: str) -> None:
        """Says once that the controller can record nothing, and once that it can again."""
        if trouble and not self._trouble:
            self._say(tables.trouble_sentence(trouble))
        elif self._trouble and not trouble:
            self._say("the journal can be written again: what happened meanwhile is recorded now")
        self._trouble = trouble

    def _take_entry(self, entry: dict[str, Any]) -> None:
        self._display.show(entry)
        self._note(entry)
        if entry["kind"] == "RunEnded":
            self._end = entry["event"]

    def _note(self, entry: dict[str, Any]) -> None:
        if self._events is None:
            return
        try:
            print(json.dumps(entry), file=self._events, flush=True)
        except OSError as error:
            silence(self._events)
            self._events = None
            self._say(f"cannot write events to {self._options.json_events}: {error.strerror}; no more are written")

    # -------------------------------------------------------------------------------------------------------- the end

    def _let_workers_go(self) -> None:
        """Waits for the launchers, whom the controller tells to end; asks them; kills them. A second signal hurries."""
        self._is_ending = True
        self._starts_due.clear()
        begun_s, asked_at = time.monotonic(), len(self._signals)
        ask_after_s, kill_after_s = self._patience_s()
        if self._signals:
            self._say(f"{signal_name(self._signals[0])}: stopping the gang")
            threading.Thread(target=self._ask_to_stop, daemon=True).start()
        has_asked = False
        while self._children.running(WORKER_PREFIX):
            waited_s = time.monotonic() - begun_s
            if waited_s > kill_after_s or len(self._signals) > max(1, asked_at):
                return
            is_alone = not self._children.running(CONTROLLER)
            if not has_asked and (waited_s > ask_after_s or is_alone):
                self._children.send(signal.SIGTERM, WORKER_PREFIX)
                has_asked = True
            self._pump()

    @property
    def _has_grace(self) -> bool:
        """SIGTERM is how a pod's end is told, and leaves time; whoever presses Ctrl-C wants the end now."""
        return bool(self._signals) and self._signals[0] == signal.SIGTERM

    def _patience_s(self) -> tuple[float, float]:
        """After how long the launchers are told to end, and killed."""
        if not self._has_grace:
            return ASK_AFTER_S, KILL_AFTER_S
        kill_after_s = max(0.0, self._options.grace_s - KILL_MARGIN_S)
        return max(0.0, kill_after_s - STOP_MARGIN_S), kill_after_s

    def _ask_to_stop(self) -> None:
        name = signal_name(self._signals[0])
        grace_s = max(0.0, self._patience_s()[0] - STOP_MARGIN_S) if self._has_grace else 0.0
        try:
            with JobClient(self._address, STOP_ANSWER_S) as client:
                client.stop_job(self._rundir.run_id, who_asks(), f"lastgood launch received {name}", grace_s)
        except ClientError:
            self._children.send(signal.SIGTERM, WORKER_PREFIX)  # nobody else will tell them
            self._wake()

    def _look_a_last_time(self) -> None:
        """The job as it ended, and whatever the journal still had to say."""
        self._take_arrivals()
        try:
            with JobClient(self._address, LAST_LOOK_S) as client:
                self._job = client.get_job(self._rundir.run_id)
        except ClientError:
            return  # the last one we saw has to do
        self._display.update(self._job, time.time())

    def _conclude(self) -> int:
        """Says how it went, and gives the exit status."""
        parts: list[RenderableType] = []
        job = self._job
        if job is not None:
            if job["checkpoints"]:
                parts += [Text(), tables.checkpoints_table(job, 6)]
            if job["incidents"]:
                parts += [Text(), tables.incidents_table(job)]
            parts += [Text(), tables.header(job, time.time())]
        status = self._status()
        if status != 0 and not self._signals:
            parts.append(Text(self._last_words()))
        parts.append(Text(f"trainers' output: {self._rundir.path}/workers/*/logs", style="dim"))
        self._display.summarize(parts)
        return status

    def _status(self) -> int:
        was_interrupted = self._end is None or self._end["cause"]["reason"] == Reason.INTERRUPTED.value
        if self._signals and was_interrupted:
            return 128 + self._signals[0]
        return 3 if self._end is None else int(self._end["exit_status"])

    def _last_words(self) -> str:
        """What each worker printed last."""
        workers = self._job["workers"] if self._job else {}
        lines = []
        for name, worker in workers.items():
            said = worker["trainer"]["last_lines"] if worker.get("trainer") else []
            lines.append(f"{name} printed last:" if said else f"{name} printed nothing")
            lines += [f"    {tables.printable(line)}" for line in said]
        return "\n".join(lines)

    # ----------------------------------------------------------------------------------------------------------- words

    def _say(self, sentence: str) -> None:
        self._display.say(f"{time.time() - self._started_s:8.2f} s  {sentence}")

    def _tell_where(self) -> None:
        rundir = self._rundir
        self._display.say(f"job {rundir.job}, {self._options.workers} workers, state in {rundir.path}")
        self._display.say(f"trainers' output in {rundir.path}/workers/*/logs")
        self._display.say(f"controller on {self._address}, metrics on http://{self._metrics_address}/metrics")

    def _open_events(self) -> None:
        if self._options.json_events is None:
            return
        try:
            self._events = self._options.json_events.open("a", encoding="utf-8")
        except OSError as error:
            raise MisuseError(f"cannot write events to {self._options.json_events}: {error.strerror}") from error


def _lastgood() -> list[str]:
    """The start of each child's command line. -P: the current directory is the user's, and no part of us."""
    return [sys.executable, "-P", "-m", "lastgood"]


def _environment() -> dict[str, str]:
    """This process's environment without what says who a worker is: launch gives each worker its own."""
    return {key: text for key, text in os.environ.items() if key not in ("TF_CONFIG", "LASTGOOD_HOOKS")}


def _wake_up_pair() -> tuple[socket.socket, socket.socket]:
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    return reader, writer
