"""What an operator does with `lastgood`, for tests: start it, follow its journal, hurt it, and see what is left.

Nothing here knows how lastgood works inside: it starts the command, reads what `watch`, `job` and `jobs` print, and
sends signals to processes that the job document, or the state directory, names. Every wait follows the journal and has
a deadline; a wait that can no longer succeed fails at once, with the journal and the output of the command.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Document = dict[str, Any]

JOB = "guarded"
#: The longest wait for anything on a busy machine; no test passes by waiting this long.
PATIENCE_S = 120.0
#: Pause between two looks at what tells nobody of its change: a process that is to end, a file that is to appear.
LOOK_S = 0.03
#: An exit by SIGTERM or Ctrl-C takes at most this long.
STOP_LIMIT_S = 10.0


@dataclass(frozen=True)
class Finished:
    """A command that has ended, and all that it printed."""

    status: int
    output: str
    took_s: float

    @property
    def lines(self) -> list[str]:
        return [line for line in self.output.splitlines() if line.strip()]


@dataclass(frozen=True)
class Lastgood:
    """The command under test, and the environment that it runs in."""

    command: tuple[str, ...]
    environment: Mapping[str, str]

    def run(
        self,
        *arguments: str | Path,
        cwd: Path,
        environment: Mapping[str, str] | None = None,
        stderr: int = subprocess.STDOUT,
        within_s: float = PATIENCE_S,
    ) -> Finished:
        """Runs a command to its end."""
        started_s = time.monotonic()
        done = subprocess.run(
            [*self.command, *map(str, arguments)],
            cwd=cwd,
            env={**self.environment, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            errors="replace",
            timeout=within_s,
        )
        return Finished(done.returncode, done.stdout, time.monotonic() - started_s)

    def document(self, *arguments: str | Path, cwd: Path) -> Any:
        """The JSON document that a command prints; a run that ended badly is an answer, too."""
        done = self.run(*arguments, "--json", cwd=cwd, stderr=subprocess.DEVNULL)
        if done.status not in (0, 1):
            raise AssertionError(f"lastgood {' '.join(map(str, arguments))} ended with {done.status}: {done.output}")
        return json.loads(done.output)

    def start(
        self, *arguments: str | Path, cwd: Path, output: Path, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Starts a command in a session of its own, so that the terminal's signals don't reach it."""
        with output.open("ab") as stream:
            return subprocess.Popen(
                [*self.command, *map(str, arguments)],
                cwd=cwd,
                env={**self.environment, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


class Journal:
    """Follows one run's journal by `lastgood watch --json`, over deaths of the controller, until it is closed."""

    def __init__(self, lastgood: Lastgood, state_dir: Path, name: str, after: int = 0) -> None:
        self._lastgood = lastgood
        self._state_dir = state_dir
        self._name = name
        self._after = after
        self._entries: list[Document] = []
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._is_complete = False
        self._watch: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._follow, name="journal", daemon=True)
        self._thread.start()

    @property
    def entries(self) -> list[Document]:
        """All entries so far, in order."""
        with self._changed:
            return list(self._entries)

    def of_kind(self, kind: str) -> list[Document]:
        """The entries of that kind so far."""
        return [entry for entry in self.entries if entry["kind"] == kind]

    def wait_for(
        self, claim: Callable[[list[Document]], Any], what: str, within_s: float, say: Callable[[], str]
    ) -> Any:
        """What `claim` returns as soon as it is true of the entries; `say` tells of the command when it never is."""
        deadline_s = time.monotonic() + within_s
        with self._changed:
            while True:
                found = claim(list(self._entries))
                if found:
                    return found
                left_s = deadline_s - time.monotonic()
                if self._is_complete or left_s <= 0:
                    break
                self._changed.wait(left_s)
        how = "the run ended without it" if self._is_complete else f"not within {within_s:.0f} s"
        raise AssertionError(f"expected {what}: {how}\n{self.text()}\n{say()}")

    def text(self) -> str:
        """The journal as a person reads it."""
        lines = (f"{entry['sequence']:5} {entry['kind']:18} {entry['text']}" for entry in self.entries)
        return "\n".join(["the journal:", *lines])

    def finish(self) -> None:
        """Reads what is recorded to its end, once nothing more can come."""
        self._closing.set()
        watch = self._watch
        if watch is not None:
            watch.terminate()
        self._thread.join(PATIENCE_S)
        self._read_once()
        with self._changed:
            self._is_complete = True
            self._changed.notify_all()

    def close(self) -> None:
        """Stops following."""
        self._closing.set()
        watch = self._watch
        if watch is not None:
            watch.terminate()
        self._thread.join(PATIENCE_S)

    def _follow(self) -> None:
        while not self._closing.is_set():
            if (self._state_dir / "controller.json").exists():
                self._read_once()
            self._closing.wait(LOOK_S)
        self._watch = None

    def _read_once(self) -> None:
        arguments = ["watch", self._name, "--state-dir", str(self._state_dir), "--json"]
        watch = subprocess.Popen(
            [*self._lastgood.command, *arguments],
            env=dict(self._lastgood.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        self._watch = watch
        with watch:
            assert watch.stdout is not None
            for line in watch.stdout:
                if line.endswith("\n"):
                    self._take(json.loads(line))

    def _take(self, entry: Document) -> None:
        with self._changed:
            newest = self._entries[-1]["sequence"] if self._entries else self._after
            if entry["sequence"] > newest:
                self._entries.append(entry)
                self._changed.notify_all()


class Launch:
    """One `lastgood launch` on a state directory, and what can be seen and done while it runs."""

    def __init__(
        self,
        lastgood: Lastgood,
        directory: Path,
        command: Sequence[str | Path],
        *,
        workers: int = 2,
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        after: int = 0,
    ) -> None:
        self._lastgood = lastgood
        self.directory = directory
        self.state_dir = directory / "state"
        self._output = directory / f"launch-{time.monotonic_ns()}.out"
        self.started_s = time.monotonic()
        self.process = lastgood.start(
            *("launch", "--workers", str(workers), "--state-dir", self.state_dir, "--job", JOB, "--plain"),
            *(*options, "--", *command),
            cwd=directory,
            output=self._output,
            environment=environment,
        )
        self.journal = Journal(lastgood, self.state_dir, JOB, after)
        self._reaper = threading.Thread(target=self._reap, name="reaper", daemon=True)
        self._reaper.start()

    def _reap(self) -> None:
        self.process.wait()
        self.journal.finish()

    # -- what can be seen

    @property
    def output(self) -> str:
        """What launch printed so far."""
        return self._output.read_text("utf-8", "replace")

    def account(self) -> str:
        """The output of launch, of what it started, and of the trainers, for a failed test."""
        parts = ["lastgood launch printed:", self.output]
        for log in sorted(self.state_dir.rglob("*.log")):
            parts += [f"--- {log.relative_to(self.state_dir)}", _tail(log)]
        return "\n".join(parts)

    def job(self) -> Document:
        """The job document, as `lastgood job --json` prints it."""
        document = self._lastgood.document("job", JOB, "--state-dir", self.state_dir, cwd=self.directory)
        assert isinstance(document, dict)
        return document

    def address(self, name: str) -> str:
        """`address` or `metrics_address` of the controller."""
        return str(json.loads((self.state_dir / "controller.json").read_text())[name])

    def controller_pid(self) -> int:
        return int(json.loads((self.state_dir / "controller.json").read_text())["pid"])

    def trainer_pid(self, worker: str) -> int:
        """The trainer that runs now, by the job document."""
        trainer = self.job()["workers"][worker]["trainer"]
        assert trainer["phase"] == "running", f"expected {worker}'s trainer to run, found {trainer}"
        return int(trainer["pid"])

    def launcher_pid(self, worker: str) -> int:
        """The parent of the trainer that runs now."""
        return parent_of(self.trainer_pid(worker))

    def agent_pid(self, worker: str) -> int:
        """The trainer's sibling that is not it."""
        return agent_below(self.launcher_pid(worker))

    # -- waiting

    def wait_for(self, kind: str, matching: str = "", *, count: int = 1, within_s: float = PATIENCE_S) -> Document:
        """The count-th journal entry of a kind whose text contains `matching`, as soon as it is there."""
        what = f"{count} x {kind}" + (f" with {matching!r}" if matching else "")

        def claim(entries: list[Document]) -> Document | None:
            found = [e for e in entries if e["kind"] == kind and matching in e["text"]]
            return found[count - 1] if len(found) >= count else None

        return dict(self.journal.wait_for(claim, what, within_s, self.account))

    def wait_for_good(self, step: int, attempt: int = 1) -> Document:
        """The verdict Good on that attempt's checkpoint of a step."""
        return wait_for_good(self.journal, step, attempt, self.account)

    def wait_for_words(self, words: str) -> None:
        """Until launch has printed them."""
        deadline_s = time.monotonic() + PATIENCE_S
        while words not in self.output:
            if time.monotonic() > deadline_s:
                raise AssertionError(f"expected launch to print {words!r}\n{self.account()}")
            time.sleep(LOOK_S)

    def finish(self, within_s: float = PATIENCE_S) -> Finished:
        """The end of launch, which must come by itself, and its journal read to the end."""
        self._reaper.join(within_s)
        if self._reaper.is_alive():
            raise AssertionError(f"launch did not end within {within_s:.0f} s\n{self.journal.text()}\n{self.account()}")
        return Finished(self.process.returncode, self.output, time.monotonic() - self.started_s)

    def signal(self, number: int) -> None:
        """Sends a signal to launch itself."""
        self.process.send_signal(number)

    def close(self) -> None:
        """Ends whatever is left; more than a test should need."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(STOP_LIMIT_S)
        self.journal.close()
        self._reaper.join(PATIENCE_S)


#: Starts `lastgood launch` in the test's directory, with the options of Launch.
Start = Callable[..., Launch]


def wait_for_good(journal: Journal, step: int, attempt: int, say: Callable[[], str]) -> Document:
    """The verdict Good on an attempt's checkpoint of a step, as soon as it is in the journal."""

    def claim(entries: list[Document]) -> Document | None:
        verdicts = (e for e in entries if e["kind"] == "VerdictReached" and e["attempt"] == attempt)
        return next((e for e in verdicts if f"(step {step}) Good" in e["text"]), None)

    return dict(journal.wait_for(claim, f"step {step} of attempt {attempt} to be Good", PATIENCE_S, say))


# ------------------------------------------------------------------------------------------------------------ processes


def processes_of(directory: Path) -> list[tuple[int, str]]:
    """Every process that has `directory` in its command line or environment: pid and command line."""
    wanted = os.fsencode(directory)
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            command = Path("/proc", entry, "cmdline").read_bytes()
            environment = Path("/proc", entry, "environ").read_bytes()
        except OSError:
            continue
        if wanted in command or wanted in environment:
            found.append((int(entry), command.replace(b"\0", b" ").decode("utf-8", "replace").strip()))
    return found


def wait_until(claim: Callable[[], Any], what: str, within_s: float = PATIENCE_S) -> Any:
    """What `claim` returns as soon as it is true; fails with `what` when it never is."""
    deadline_s = time.monotonic() + within_s
    while not (found := claim()):
        if time.monotonic() > deadline_s:
            raise AssertionError(f"not within {within_s:.0f} s: {what}")
        time.sleep(LOOK_S)
    return found


def wait_until_gone(directory: Path, within_s: float) -> list[tuple[int, str]]:
    """The processes of `directory` that are still there after `within_s`: none, as soon as there is none."""
    deadline_s = time.monotonic() + within_s
    while True:
        left = processes_of(directory)
        if not left or time.monotonic() > deadline_s:
            return left
        time.sleep(LOOK_S)


def kill_what_is_left(directory: Path) -> list[str]:
    """SIGKILLs every process of `directory`, and says what there was."""
    seen: dict[int, str] = {}
    deadline_s = time.monotonic() + STOP_LIMIT_S
    while (left := processes_of(directory)) and time.monotonic() < deadline_s:
        for pid, command in left:
            seen[pid] = command
            kill(pid)
        time.sleep(LOOK_S)
    return [f"{pid}: {command[:300]}" for pid, command in seen.items()]


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Sends a signal to a process that may be gone already."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def parent_of(pid: int) -> int:
    """The parent of a process that runs."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^PPid:\s+(\d+)$", status, re.MULTILINE)
    assert found is not None
    return int(found[1])


def agent_below(launcher_pid: int) -> int:
    """The agent of a launcher that runs."""
    deadline_s = time.monotonic() + STOP_LIMIT_S
    while True:
        children = Path(f"/proc/{launcher_pid}/task/{launcher_pid}/children").read_text().split()
        for child in map(int, children):
            if b"lastgood_agent.agent" in Path(f"/proc/{child}/cmdline").read_bytes():
                return child
        if time.monotonic() > deadline_s:
            raise AssertionError(f"expected an agent below the launcher {launcher_pid}, found only {children}")
        time.sleep(LOOK_S)


def start_ticks(pid: int) -> str:
    """What tells a process from a later one of the same number."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    return stat[stat.rindex(")") + 2 :].split()[19]


def _tail(path: Path, count: int = 25) -> str:
    return "\n".join(path.read_text("utf-8", "replace").splitlines()[-count:])
