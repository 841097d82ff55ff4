"""The state directory of one local run: whose it is, and that only one launch uses it at a time.

Decides whether `lastgood launch` may work in a directory. Refuses one that a live launch holds, one that cannot be
written, and one that belongs to another job or to a gang of another size.

    DIR/launch.lock      flock, held by launch alone (close-on-exec: no orphan keeps it); its pid inside
    DIR/run.json         {"run_id", "job", "workers", "created_s"}: kept for ever
    DIR/controller.json  where the controller serves, written by it
    DIR/logs/            what the controller and each worker's launcher print
    DIR/workers/         one directory per worker, with its trainer's log files
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Where the runs of a directory's jobs lie, unless --state-dir says otherwise.
DEFAULT_ROOT = ".lastgood"
_LABEL_LENGTH = 63
_INTERPRETER = re.compile(r"^(python|pypy)[\d.]*$")
#: Options of the interpreter that take the next argument with them.
_WITH_ARGUMENT = ("-X", "-W", "--check-hash-based-pycs")


class RundirError(Exception):
    """This directory may not be used. The message says what was expected, what was found, and what to do."""

    @property
    def message(self) -> str:
        return str(self)


@dataclass(frozen=True)
class Rundir:
    """A directory that this process holds. lock_fd: keep it open for as long as it shall be held."""

    path: Path
    run_id: str
    job: str
    is_new: bool
    lock_fd: int

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def controller_file(self) -> Path:
        return self.path / "controller.json"


def script_of(command: list[str]) -> str | None:
    """The script that a Python interpreter is asked to run; None for anything else (-m, -c, another program)."""
    if not _INTERPRETER.match(Path(command[0]).name):
        return None
    arguments = iter(command[1:])
    for argument in arguments:
        if argument in _WITH_ARGUMENT:
            next(arguments, None)
        elif argument in ("-m", "-c", "-"):
            return None
        elif not argument.startswith("-"):
            return argument
    return None


def default_job(command: list[str]) -> str:
    """The job's name where none is given: the script's stem, or the command's name."""
    return dns_label(Path(script_of(command) or command[0]).stem)


def dns_label(text: str) -> str:
    """`text` as a DNS label: lower-case letters, digits and hyphens, at most 63; `job` when nothing is left."""
    label = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return label[:_LABEL_LENGTH].strip("-") or "job"


def take(path: Path, job: str, workers: int) -> Rundir:
    """Makes `path` the state directory of this process. Raises RundirError when it may not be."""
    path = path.absolute()
    try:
        (path / "logs").mkdir(parents=True, exist_ok=True)
        lock_fd = os.open(path / "launch.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise RundirError(
            f"cannot write to the state directory {path}: {error.strerror}; give another one with --state-dir"
        ) from error
    try:
        _lock(lock_fd, path)
        document, is_new = _read_or_write(path, job, workers)
    except BaseException:
        os.close(lock_fd)
        raise
    return Rundir(path, run_id=document["run_id"], job=document["job"], is_new=is_new, lock_fd=lock_fd)


def _lock(lock_fd: int, path: Path) -> None:
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(lock_fd, 32, 0).decode("ascii", "replace").strip()
        raise RundirError(
            f"the state directory {path} belongs to a live run (lastgood launch, pid {holder or 'unknown'});"
            " stop that one first, or give another --state-dir"
        ) from error
    with suppress(OSError):  # a full disk: the lock holds without our pid in it
        os.ftruncate(lock_fd, 0)
        os.pwrite(lock_fd, f"{os.getpid()}\n".encode("ascii"), 0)


def _read_or_write(path: Path, job: str, workers: int) -> tuple[dict[str, Any], bool]:
    file = path / "run.json"
    try:
        document = read_run_file(path)
        if document is None:
            document = {"run_id": str(uuid.uuid4()), "job": job, "workers": workers, "created_s": time.time()}
            write_atomically(file, document)
            return document, True
    except OSError as error:
        raise RundirError(f"cannot write {file}: {error.strerror}; give another directory with --state-dir") from error
    if document["job"] != job:
        raise RundirError(
            f"the state directory {path} belongs to the job {document['job']}, not {job};"
            f" give --job {document['job']} to go on with it, or another --state-dir"
        )
    if document["workers"] != workers:
        raise RundirError(
            f"the run in {path} has {document['workers']} workers, and {workers} were asked for; a gang of another size"
            " needs another --state-dir (it adopts the checkpoints that the script finds)"
        )
    return document, False


def read_run_file(path: Path) -> dict[str, Any] | None:
    """What DIR/run.json says; None when there is none. Raises RundirError when it is not what launch writes."""
    file = path / "run.json"
    try:
        text = file.read_text("utf-8")
    except FileNotFoundError:
        return None
    try:
        document = json.loads(text)
        if isinstance(document["run_id"], str) and isinstance(document["job"], str) and int(document["workers"]) > 0:
            return dict(document)
    except (ValueError, KeyError, TypeError):
        pass
    raise RundirError(
        f"{file} is not what lastgood launch writes: move it away, and the run begins with the checkpoints that the"
        " script finds"
    )


def write_atomically(file: Path, document: dict[str, Any]) -> None:
    """Replaces a JSON file so that a reader sees the old one or the new one, also after a power cut."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as stream:
        json.dump(document, stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, file)
