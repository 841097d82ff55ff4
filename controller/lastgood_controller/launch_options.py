"""What an operator may ask of `lastgood launch`, checked before anything is started.

Refuses, with a sentence, whatever cannot possibly work: no workers, no command, a command or script that does not
exist, an address that nobody can listen on. What it lets pass may still fail; then the run says so.
"""

from __future__ import annotations

import math
import shutil
import socket
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lastgood_controller.rundir import DEFAULT_ROOT, default_job, dns_label, script_of

#: Each worker is three processes here. Far above this a mistyped number would take the machine with it.
MOST_WORKERS = 256


class MisuseError(Exception):
    """The command cannot be meant as it was given: exit status 2."""


@dataclass(frozen=True)
class Options:
    """What an operator asked for."""

    command: tuple[str, ...]
    workers: int
    state_dir: Path
    job: str
    listen: str = "127.0.0.1:0"
    steering: bool = True
    receipts: str = "enforce"
    shared_write: str = "redirect"
    max_restarts: int | None = None
    start_timeout_s: float | None = None
    grace_s: float = 30.0
    is_plain: bool = False
    json_events: Path | None = None


def options_from(arguments: Namespace) -> Options:
    """The options that parsed arguments stand for. Raises MisuseError with a sentence."""
    command = tuple(arguments.command)
    if command[:1] == ("--",):
        command = command[1:]
    if arguments.workers < 1:
        raise MisuseError(f"expected at least one worker, found --workers {arguments.workers}")
    if arguments.workers > MOST_WORKERS:
        raise MisuseError(
            f"expected at most {MOST_WORKERS} workers on one machine, found --workers {arguments.workers}; start"
            " each worker of a larger gang on its own machine with lastgood run"
        )
    if arguments.max_restarts is not None and arguments.max_restarts < 0:
        raise MisuseError(f"expected --max-restarts of 0 or more, found {arguments.max_restarts}")
    if arguments.start_timeout is not None and not 0 <= arguments.start_timeout < math.inf:
        raise MisuseError(f"expected --start-timeout in seconds, 0 or more, found {arguments.start_timeout:g}")
    if not 0 <= arguments.grace < math.inf:
        raise MisuseError(f"expected --grace in seconds, 0 or more, found {arguments.grace:g}")
    check_command(command)
    if arguments.job and dns_label(arguments.job) != arguments.job:
        raise MisuseError(
            f"expected a job's name of lower-case letters, digits and hyphens, found {arguments.job!r};"
            f" {dns_label(arguments.job)} would do"
        )
    job = arguments.job or default_job(list(command))
    return Options(
        command=command,
        workers=arguments.workers,
        state_dir=Path(arguments.state_dir) if arguments.state_dir else Path(DEFAULT_ROOT, job),
        job=job,
        listen=arguments.listen,
        steering=arguments.steering == "on",
        receipts=arguments.receipts,
        shared_write=arguments.shared_write,
        max_restarts=arguments.max_restarts,
        start_timeout_s=arguments.start_timeout,
        grace_s=arguments.grace,
        is_plain=arguments.plain,
        json_events=Path(arguments.json_events) if arguments.json_events else None,
    )


def check_command(command: Sequence[str]) -> None:
    """Raises MisuseError when the command cannot possibly be started."""
    if not command:
        raise MisuseError(
            "expected the training command after --, found nothing; try: lastgood launch --workers 2 -- CMD"
        )
    if shutil.which(command[0]) is None:
        if Path(command[0]).is_file():
            raise MisuseError(
                f"{command[0]} is not executable; for a Python script: lastgood launch … -- python {command[0]}"
            )
        raise MisuseError(f"the command {command[0]} does not exist, neither as a path nor on PATH")
    script = script_of(list(command))
    if script is not None and not Path(script).exists():
        raise MisuseError(f"the script {script} does not exist (looked in {Path(script).absolute().parent})")


def check_address(listen: str) -> None:
    """Raises MisuseError when nobody could listen there: not host:port, not ours, or in use."""
    host, separator, port = listen.rpartition(":")
    if not separator or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise MisuseError(f"expected --listen as host:port, such as 127.0.0.1:50051, found {listen!r}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host.strip("[]"), int(port)))
            probe.listen(1)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise MisuseError(
            f"cannot listen on {listen}: {why}; give another --listen, or none for a free port"
        ) from error
