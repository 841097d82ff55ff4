"""The agent: the process beside a trainer that owns the talk with the controller and the work on checkpoint files.

This is only its door: it makes sure that it can work here at all and that it is this worker's only agent. What it does
is in `relay`.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import logging
import logging.handlers
import os
import signal
import socket
import sys
import time

from lastgood_agent import processes

#: Must be the launcher's AGENT_CANNOT_WORK.
EXIT_CANNOT_WORK = 78
#: The former agent of this worker ends within 5 s.
LOCK_TIMEOUT_S = 8.0

log = logging.getLogger("lastgood_agent")


def _set_up_logging(worker_directory: str, worker: str) -> None:
    form = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    to_file = logging.handlers.RotatingFileHandler(
        os.path.join(worker_directory, "agent.log"), maxBytes=2 << 20, backupCount=2
    )
    to_file.setFormatter(form)
    to_stderr = logging.StreamHandler()
    to_stderr.setLevel(logging.WARNING)
    to_stderr.setFormatter(logging.Formatter(f"lastgood agent: {worker}: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[to_file, to_stderr])


def lock(worker_directory: str, timeout_s: float = LOCK_TIMEOUT_S) -> bool:
    """Waits until the former agent of this worker has ended; the lock is held until this process ends.

    The launcher is the only one of this worker, so that a former agent belongs to a dead one and should be on its way
    out. One that is not by the deadline (it was stopped, say) is killed.
    """
    descriptor = os.open(os.path.join(worker_directory, "agent.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    if not _take(descriptor, timeout_s):
        _kill_holder(os.pread(descriptor, 64, 0).split())
        if not _take(descriptor, 1.0):
            return False
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()} {processes.start_ticks(os.getpid())}\n".encode("ascii"), 0)
    return True


def _take(descriptor: int, timeout_s: float) -> bool:
    deadline_s = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() >= deadline_s:
                return False
            time.sleep(0.02)
        else:
            return True


def _kill_holder(named: list[bytes]) -> None:
    if len(named) == 2 and all(number.isdigit() for number in named):
        pid, ticks = map(int, named)
        if processes.is_running(pid, ticks):
            log.warning("the former agent (pid %d) does not end: it is killed", pid)
            processes.send_signal(pid, signal.SIGKILL)


def main(argv: list[str] | None = None) -> int:
    """`python -m lastgood_agent.agent`: started by the launcher only."""
    parser = argparse.ArgumentParser(prog="lastgood_agent.agent")
    parser.add_argument("--fd", type=int, required=True, help="our end of the launcher's socket pair")
    parser.add_argument("--config", required=True, help="the configuration as JSON")
    arguments = parser.parse_args(argv)
    document = json.loads(arguments.config)
    try:
        import asyncio

        from lastgood_agent.agent_config import Config
        from lastgood_agent.relay import Relay
    except ImportError as error:
        print(f"lastgood agent: {sys.executable} lacks {error.name}: pip install 'lastgood[agent]'", file=sys.stderr)
        return EXIT_CANNOT_WORK
    config = Config.from_json(document)
    _set_up_logging(config.worker_directory, config.gang.worker)
    if not lock(config.worker_directory):
        log.error("another agent of this worker holds %s", os.path.join(config.worker_directory, "agent.lock"))
        return 1
    launcher = socket.socket(fileno=arguments.fd)
    launcher.set_inheritable(False)
    asyncio.run(Relay(config, launcher).run())
    return 0


if __name__ == "__main__":
    status = main()
    logging.shutdown()
    # A thread may still be inside a slow read; nothing that it finds matters any more.
    os._exit(status)
