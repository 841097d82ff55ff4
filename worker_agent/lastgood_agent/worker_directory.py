"""The directory of one worker: made, locked by its only launcher, and what a dead launcher has left there taken over.

Decides whose the directory is (launcher.lock) and what survives a launcher: worker.json. Refuses to begin beside
processes of an earlier trainer that can't be killed. Docs/wire.md says what lies there besides.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from typing import List, Optional

from lastgood_agent import processes
from lastgood_agent.json_files import read_json, write_json
from lastgood_agent.run_options import MisuseError, Settings

LEFT_OVER_TIMEOUT_S = 5.0

SOCKET_DIRECTORY_PREFIX = "lastgood-"


@dataclass(frozen=True)
class WorkerRecord:
    """worker.json: what a worker's next launcher must know.

    highest_attempt: no attempt up to it is ever started again. launcher_session: of the launcher that wrote this.
    """

    highest_attempt: int
    launcher_session: int
    socket_directory: str

    @property
    def hooks_socket(self) -> str:
        return os.path.join(self.socket_directory, "hooks")

    def write(self, settings: Settings) -> None:
        """Writes it down, durably."""
        write_json(settings.path("worker.json"), self.__dict__, is_durable=True)


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


def take_over(settings: Settings) -> WorkerRecord:
    """The record of a new launcher, written down, with a new directory for its sockets.

    That of a launcher that was killed is removed: nobody else ever would.
    """
    known = read_json(settings.path("worker.json"))
    former = str(known.get("socket_directory", ""))
    if os.path.basename(former).startswith(SOCKET_DIRECTORY_PREFIX):
        shutil.rmtree(former, ignore_errors=True)
    record = WorkerRecord(
        highest_attempt=int(known.get("highest_attempt", 0)),
        launcher_session=max(time.time_ns(), int(known.get("launcher_session", 0)) + 1),
        socket_directory=tempfile.mkdtemp(prefix=SOCKET_DIRECTORY_PREFIX, dir=_socket_parent()),
    )
    try:
        record.write(settings)
    except OSError:
        shutil.rmtree(record.socket_directory, ignore_errors=True)
        raise
    return record


def clear_left_over(settings: Settings) -> List[int]:
    """Kills what a dead launcher's trainer left behind; what can't be killed."""
    record = read_json(settings.path("trainer.json"))
    left = processes.kill_left_over(
        processes.mark_of(settings.outbox),
        int(record.get("pid") or 0),
        int(record.get("pgid") or 0),
        record.get("start_ticks"),
        LEFT_OVER_TIMEOUT_S,
    )
    if record and not left:
        os.unlink(settings.path("trainer.json"))
    return left


def _socket_parent() -> Optional[str]:
    """A directory whose path is short enough for a unix socket below it; None for the usual temporary one."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    is_usable = runtime and len(runtime) < 60 and os.access(runtime, os.W_OK | os.X_OK)
    return runtime if is_usable else (None if len(tempfile.gettempdir()) < 60 else "/tmp")
