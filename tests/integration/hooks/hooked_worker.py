"""One worker of a test: a real trainer with the real hooks, and an agent that says what the test wants it to say."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lastgood_agent
from lastgood.inspect import read_manifest, read_step
from lastgood.manifest import Manifest, manifest_to_json

INJECT = Path(lastgood_agent.__file__).parent / "inject"
SCRIPTS = Path(__file__).parent / "scripts"
#: The longest wait for anything on a busy machine; no test passes by waiting this long.
DEADLINE_S = 180.0
#: Every trainer of the running test; what still runs at its end is killed.
STARTED: list[subprocess.Popen[str]] = []


class FakeAgent:
    """The agent's end of the socket. `answer(fact)` is asked for each new fact and may change the state."""

    def __init__(self, home: Path, attempt: int = 1, reads: bool = True) -> None:
        self.home = home
        self.attempt = attempt
        self.outbox = home / "outbox"
        self.outbox.mkdir(parents=True, exist_ok=True)
        self.path = str(home / "s")
        self.state: dict[str, Any] = {
            "type": "state", "attempt": attempt, "steering": True, "gate_open": False, "plan": None,
            "nothing_known": True,
        }  # fmt: skip
        self.answer: Callable[[dict[str, Any]], None] = lambda fact: None
        self.preamble = b""
        self._reads = reads
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        self._connections: list[socket.socket] = []
        self._seen: set[str] = set()
        self._is_closed = False
        self._threads = [threading.Thread(target=self._accept), threading.Thread(target=self._watch)]
        for thread in self._threads:
            thread.start()

    def say(self, **changes: Any) -> None:
        """Changes the state and sends it."""
        self.state.update(changes)
        line = json.dumps(self.state).encode() + b"\n"
        for connection in list(self._connections):
            try:
                connection.sendall(line)
            except OSError:
                self._connections.remove(connection)

    def facts(self, type_: str | None = None) -> list[dict[str, Any]]:
        """The facts so far, in order."""
        found = [json.loads(path.read_text()) for path in sorted(self.outbox.glob("[!.]*.json"))]
        return [fact for fact in found if type_ in (None, fact["type"])]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.sendall(self.preamble + json.dumps(self.state).encode() + b"\n")
            self._connections.append(connection)

    def _watch(self) -> None:
        """The agent's own look into the outbox; the bell is read where the test wants an agent that reads."""
        while not self._is_closed:
            for connection in list(self._connections) if self._reads else []:
                with contextlib.suppress(OSError):
                    connection.recv(1 << 16, socket.MSG_DONTWAIT)
            for path in sorted(self.outbox.glob("[!.]*.json")):
                if path.name not in self._seen:
                    self._seen.add(path.name)
                    self.answer(json.loads(path.read_text()))
            time.sleep(0.01)

    def close(self) -> None:
        self._is_closed = True
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(DEADLINE_S)
        for connection in self._connections:
            connection.close()


def plan_of(home: Path, series: Sequence[dict[str, Any]], prefix: str, kind: str = "restore") -> dict[str, Any]:
    """A plan that names what lies at a prefix, with its manifest written where the hooks look for it."""
    manifest = read_manifest(prefix)
    path = write_manifest(home, manifest)
    named = {"prefix": prefix, "digest": manifest.digest, "step": read_step(prefix)[0], "manifest": path}
    return {"kind": kind, "series": [{**one, **named} for one in series]}


def write_manifest(home: Path, manifest: Manifest) -> str:
    path = home / f"manifest-{manifest.digest[:8]}.json"
    path.write_text(json.dumps(manifest_to_json(manifest)))
    return str(path)


def start(
    python: str,
    home: Path,
    script: str,
    *arguments: str,
    rank: int = 0,
    addresses: Sequence[str],
    agent: FakeAgent | None = None,
    settings: dict[str, Any] | None = None,
    task_type: str = "worker",
    extra_path: Sequence[str] = (),
) -> subprocess.Popen[str]:
    """Starts a trainer as the launcher does."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "outbox").mkdir(exist_ok=True)
    hooks = {
        "version": 1, "run_id": "r", "worker": f"worker/{rank}", "attempt": agent.attempt if agent else 1,
        "socket": agent.path if agent else str(home / "nobody"), "outbox": str(home / "outbox"),
        "progress": str(home / "progress"), "steering": True, "plan_s": 20, "gate_s": 20, **(settings or {}),
    }  # fmt: skip
    cluster = "chief" if task_type == "chief" else "worker"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(INJECT), *extra_path]),
        "LASTGOOD_HOOKS": json.dumps(hooks),
        "TF_CONFIG": json.dumps({"cluster": {cluster: list(addresses)}, "task": {"type": task_type, "index": rank}}),
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "CUDA_VISIBLE_DEVICES": "",
    }
    trainer = subprocess.Popen(
        [python, str(SCRIPTS / script), *arguments],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    STARTED.append(trainer)
    return trainer


def finish(trainer: subprocess.Popen[str]) -> str:
    """Waits for a trainer to end well and returns what it printed."""
    try:
        output, _ = trainer.communicate(timeout=DEADLINE_S)
    except subprocess.TimeoutExpired:
        trainer.kill()
        output, _ = trainer.communicate()
        raise AssertionError(f"the trainer did not end within {DEADLINE_S:g} s:\n{output[-4000:]}") from None
    assert trainer.returncode == 0, output[-4000:]
    return output


def kill_started() -> None:
    """Kills and reaps every trainer that still runs."""
    while STARTED:
        trainer = STARTED.pop()
        trainer.kill()
        trainer.communicate(timeout=DEADLINE_S)


def free_address() -> str:
    """An address on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def read_progress(home: Path) -> tuple[int, int, int]:
    """(completed calls, last completed step, calls entered)."""
    completed, step, entered, _ = struct.unpack("<QqQQ", (home / "progress").read_bytes())
    return completed, step, entered
