"""`lastgood controller`: serves one state directory until it is told to stop.

Ends with 0 after SIGTERM or SIGINT, 2 when it was started wrongly (the directory cannot be written or is in use, a port
is taken), 3 when the directory's journal cannot be read or was taken away. What it says then is one sentence, never a
traceback.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import signal
import socket
import sys
from argparse import Namespace
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

from lastgood_controller.actuators.local import LocalActuator
from lastgood_controller.clock import SteadyClock
from lastgood_controller.metrics import Metrics, MetricsServer
from lastgood_controller.model import (
    Policy,
    ReceiptPolicy,
    SharedWritePolicy,
)
from lastgood_controller.reconciler import Reconciler
from lastgood_controller.server import GrpcServer
from lastgood_controller.store import Store, StoreError

log = logging.getLogger(__name__)

ADDRESS_FILE = "controller.json"

#: How often a controller looks whether its journal is still where it was.
PLACE_LOOK_S = 1.0

EXIT_STOPPED, EXIT_MISUSED, EXIT_UNREADABLE = 0, 2, 3


class MisuseError(Exception):
    """The controller was started wrongly. The message says how."""


@dataclass(frozen=True)
class Settings:
    """All that the command line says. listen, metrics_listen: host and port, port 0 for a free one."""

    state_dir: Path
    listen: tuple[str, int]
    metrics_listen: tuple[str, int]
    policy: Policy


def run(arguments: Namespace) -> int:
    """Serves as the command line says; returns the exit status."""
    _log_to_stderr()
    try:
        settings = settings_from(arguments)
        _check_free(settings.listen, "--listen")
        _check_free(settings.metrics_listen, "--metrics-listen")
        asyncio.run(serve(settings))
    except MisuseError as error:
        return _complain(str(error), EXIT_MISUSED)
    except StoreError as error:
        return _complain(error.message, EXIT_MISUSED if error.is_misuse else EXIT_UNREADABLE)
    except KeyboardInterrupt:
        return EXIT_STOPPED
    return EXIT_STOPPED


def _complain(sentence: str, status: int) -> int:
    with suppress(OSError):  # the exit status still tells
        print(f"lastgood controller: {sentence}", file=sys.stderr, flush=True)
    return status


class _WithFields(logging.Formatter):
    """A constant message, then the fields that came with it."""

    def format(self, record: logging.LogRecord) -> str:
        told = {name: getattr(record, name) for name in ("run_id", "worker", "error") if hasattr(record, name)}
        return " ".join([super().format(record), *(f"{name}={value}" for name, value in told.items())])


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_WithFields("lastgood controller: %(levelname)s %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)


def settings_from(arguments: Namespace) -> Settings:
    """The command line as settings. Raises MisuseError."""
    chosen = ("steering", "receipts", "shared_write")
    given = {each.name: getattr(arguments, each.name) for each in fields(Policy) if each.name not in chosen}
    if wrong := [name for name, value in given.items() if not 0 <= value < math.inf]:
        flags = ", ".join("--" + name.replace("_", "-") for name in wrong)
        raise MisuseError(f"expected 0 or more, and a number that ends, for {flags}")
    return Settings(
        state_dir=Path(arguments.state_dir),
        listen=_address(arguments.listen, "--listen"),
        metrics_listen=_address(arguments.metrics_listen, "--metrics-listen"),
        policy=Policy(
            steering=arguments.steering == "on",
            receipts=ReceiptPolicy(arguments.receipts),
            shared_write=SharedWritePolicy(arguments.shared_write),
            **given,
        ),
    )


async def serve(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT. Raises StoreError, MisuseError."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    store = Store.open(settings.state_dir)
    try:
        await _serve(settings, store, stopped)
    finally:
        store.close()


async def _serve(settings: Settings, store: Store, stopped: asyncio.Event) -> None:
    now_s = SteadyClock(not_before_s=store.last_at_s())
    metrics = Metrics(now_s)
    reconciler = Reconciler(store, settings.policy, metrics, now_s, LocalActuator())
    await reconciler.start()
    server = GrpcServer(reconciler)
    metrics_server: MetricsServer | None = None
    try:
        metrics_server = _start_metrics(metrics, settings.metrics_listen)
        address = await _start_server(server, settings.listen)
        _write_address(settings.state_dir, address, metrics_server.address, now_s())
        with suppress(OSError):  # its log's disk is full: no reason not to serve
            print(
                f"lastgood controller: serving on {address}, metrics on http://{metrics_server.address}/metrics, "
                f"state in {settings.state_dir}",
                flush=True,
            )
        while not await _is_set_within(stopped, PLACE_LOOK_S):
            store.check_place()
    finally:
        endings = [server.stop()]
        if metrics_server is not None:
            endings.append(asyncio.to_thread(metrics_server.stop))
        await asyncio.gather(*endings)


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True


def _start_metrics(metrics: Metrics, listen: tuple[str, int]) -> MetricsServer:
    try:
        return MetricsServer.start(metrics, *listen)
    except OSError as error:
        raise MisuseError(_taken(listen, "--metrics-listen", error)) from error


async def _start_server(server: GrpcServer, listen: tuple[str, int]) -> str:
    try:
        return await server.start(*listen)
    except OSError as error:
        raise MisuseError(_taken(listen, "--listen", error)) from error


def _check_free(listen: tuple[str, int], flag: str) -> None:
    """Raises MisuseError when nobody could listen there: asked before the state directory is touched."""
    host, port = listen
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        raise MisuseError(_taken(listen, flag, error)) from error


def _taken(listen: tuple[str, int], flag: str, error: OSError) -> str:
    host, port = listen
    why = error.strerror or str(error)
    return f"cannot listen on {host}:{port} ({why}): give another address by {flag}, port 0 takes a free one"


def _address(text: str, flag: str) -> tuple[str, int]:
    host, separator, port = text.rpartition(":")
    if not separator or not host or not (port.isascii() and port.isdigit()) or int(port) > 65_535:
        raise MisuseError(f"expected {flag} as HOST:PORT, such as 127.0.0.1:0, found {text!r}")
    return host, int(port)


def _write_address(directory: Path, address: str, metrics_address: str, started_s: float) -> None:
    """Says where this controller serves. Replaces a former one's word at once, never half of it."""
    document = {
        "address": address,
        "metrics_address": metrics_address,
        "pid": os.getpid(),
        "started_s": started_s,
    }
    temporary = directory / f".{ADDRESS_FILE}.{os.getpid()}"
    try:
        temporary.write_text(json.dumps(document) + "\n", "utf-8")
        temporary.replace(directory / ADDRESS_FILE)
    except OSError as error:
        raise StoreError(f"could not write {directory / ADDRESS_FILE}: {error.strerror}") from error
