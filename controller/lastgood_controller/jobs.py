"""`lastgood jobs`, `job` and `watch`: one answer, whether the controller still serves or only its state is left.

A state directory whose controller serves is asked over gRPC; one without is read, and never written. Exit status: 0
good, 1 the run that was asked for ended badly, 2 wrong usage, 3 cannot tell.
"""

from __future__ import annotations

import json
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.text import Text

from lastgood_controller import display, tables
from lastgood_controller.client import ClientError, JobClient
from lastgood_controller.reading import ReadingError, read_job, read_jobs, read_journal
from lastgood_controller.rundir import DEFAULT_ROOT, RundirError, read_run_file

#: Width of tables that no terminal shows.
_PLAIN_WIDTH = 160


class UnanswerableError(Exception):
    """The question has no answer here. exit_status: 2 it was asked wrongly, 3 nobody could be asked."""

    def __init__(self, sentence: str, exit_status: int) -> None:
        super().__init__(sentence)
        self.exit_status = exit_status


class Source(Protocol):
    """Where documents come from."""

    def list_jobs(self) -> list[dict[str, Any]]: ...

    def get_job(self, run_id: str) -> dict[str, Any]: ...

    def watch(self, run_id: str) -> Iterator[dict[str, Any]]: ...


@dataclass(frozen=True)
class LiveSource:
    """A controller that serves."""

    address: str

    def list_jobs(self) -> list[dict[str, Any]]:
        with JobClient(self.address) as client:
            return client.list_jobs()

    def get_job(self, run_id: str) -> dict[str, Any]:
        with JobClient(self.address) as client:
            return client.get_job(run_id)

    def watch(self, run_id: str) -> Iterator[dict[str, Any]]:
        with JobClient(self.address) as client:
            yield from client.watch(run_id)


@dataclass(frozen=True)
class StoredSource:
    """What a controller that is gone has left."""

    state_dir: Path

    def list_jobs(self) -> list[dict[str, Any]]:
        return read_jobs(self.state_dir)

    def get_job(self, run_id: str) -> dict[str, Any]:
        return read_job(self.state_dir, run_id)

    def watch(self, run_id: str) -> Iterator[dict[str, Any]]:
        return iter(read_journal(self.state_dir, run_id))


def run_jobs(arguments: Namespace) -> int:
    """`lastgood jobs`."""
    return answered("jobs", lambda: _print_jobs(arguments))


def run_job(arguments: Namespace) -> int:
    """`lastgood job NAME`."""
    return answered("job", lambda: _print_job(arguments))


def run_watch(arguments: Namespace) -> int:
    """`lastgood watch NAME`."""
    return answered("watch", lambda: _print_journal(arguments))


def answered(command: str, answer: Callable[[], int]) -> int:
    """The exit status of an answer; what keeps it from being given becomes one sentence."""
    try:
        return answer()
    except UnanswerableError as error:
        sentence, status = str(error), error.exit_status
    except (ClientError, ReadingError) as error:
        sentence, status = error.message, error.exit_status
    except RundirError as error:
        sentence, status = str(error), 3
    print(f"lastgood {command}: {sentence}", file=sys.stderr)
    return status


def _print_jobs(arguments: Namespace) -> int:
    places = sources(arguments)
    jobs: list[dict[str, Any]] = []
    untold: list[ClientError | ReadingError] = []
    for source in places:
        try:
            jobs += source.list_jobs()
        except (ClientError, ReadingError) as error:
            if len(places) == 1:
                raise
            untold.append(error)
    if arguments.json:
        print(json.dumps(jobs, indent=1))
    elif jobs:
        _console().print(tables.jobs_table(jobs, time.time()))
    elif not untold:
        print("no runs here")
    for each in untold:  # one run that cannot be read hides no other
        print(f"lastgood jobs: {each.message}", file=sys.stderr)
    return max((each.exit_status for each in untold), default=0)


def _print_job(arguments: Namespace) -> int:
    source, run_id = find_job(sources(arguments), arguments.name)
    job = source.get_job(run_id)
    if arguments.json:
        print(json.dumps(job, indent=1))
        return _status(job)
    console = _console()
    console.print(tables.header(job, time.time()))
    console.print(tables.workers_line(job))
    if trouble := tables.trouble_line(job):
        console.print(trouble)
    if job.get("waiting") and not job["end"]:
        console.print(Text(f"waiting: {tables.printable(job['waiting'])}", style="yellow"))
    for shown, table in (
        (job["checkpoints"], tables.checkpoints_table(job)),
        (job["attempts"], tables.attempts_table(job)),
        (job["incidents"], tables.incidents_table(job)),
    ):
        if shown:
            console.print()
            console.print(table)
    return _status(job)


def _print_journal(arguments: Namespace) -> int:
    source, run_id = find_job(sources(arguments), arguments.name)
    started_s: float | None = None
    try:
        for entry in source.watch(run_id):
            started_s = entry["at_s"] if started_s is None else started_s
            if arguments.json:
                print(json.dumps(entry), flush=True)
            elif display.is_shown(entry):
                print(display.plain_line(entry, started_s), flush=True)
    except KeyboardInterrupt:
        return 130
    return _status(source.get_job(run_id))


def _status(job: dict[str, Any]) -> int:
    return 1 if job["end"] and not tables.is_well_ended(job) else 0


def sources(arguments: Namespace) -> list[Source]:
    """Where to look, by the arguments. Raises UnanswerableError for a directory that is no run's."""
    if arguments.controller is not None:
        return [LiveSource(arguments.controller)]
    if arguments.state_dir:
        directory = Path(arguments.state_dir)
        if not directory.is_dir():
            raise UnanswerableError(f"the state directory {directory} does not exist", 2)
        return [_source_of(directory)]
    root = Path(DEFAULT_ROOT)
    if not root.is_dir():
        raise UnanswerableError(
            f"expected runs in {root.absolute()}, found no such directory; name one with --state-dir or --controller", 2
        )
    return [_source_of(directory) for directory in sorted(root.iterdir()) if _is_used(directory)]


def _is_used(directory: Path) -> bool:
    return (directory / "controller.json").is_file()


def _source_of(directory: Path) -> Source:
    """The controller of a state directory where it serves, the directory itself where it does not."""
    try:
        document = json.loads((directory / "controller.json").read_text("utf-8"))
        live = LiveSource(document["address"])
        served = {job["run_id"] for job in live.list_jobs()}
    except (OSError, ValueError, KeyError, TypeError, ClientError):
        return StoredSource(directory)
    own = read_run_file(directory)
    is_anothers = own is not None and served and own["run_id"] not in served
    return StoredSource(directory) if is_anothers else live


def find_job(places: list[Source], name: str | None) -> tuple[Source, str]:
    """The one run that is meant: the source that knows it, and its run id. Raises UnanswerableError."""
    known: list[tuple[Source, dict[str, Any]]] = []
    untold: list[ClientError | ReadingError] = []
    for source in places:
        try:
            known += [(source, job) for job in source.list_jobs()]
        except (ClientError, ReadingError) as error:
            untold.append(error)
    if untold and not any(name and name in (job["name"], job["job"], job["run_id"]) for _, job in known):
        raise untold[0]  # it may be the one that is meant
    if not known:
        raise UnanswerableError("there is no run here", 2)
    meant = [(s, job) for s, job in known if name is None or name in (job["name"], job["job"], job["run_id"])]
    names = ", ".join(sorted(f"{job['name']} ({job['run_id']})" for _, job in known))
    if not meant:
        raise UnanswerableError(f"there is no job {name} here; there is: {names}", 2)
    if len(meant) > 1:
        raise UnanswerableError(f"expected the name or run id of one job, found several: {names}", 2)
    source, job = meant[0]
    return source, job["run_id"]


def _console() -> Console:
    width = None if sys.stdout.isatty() else _PLAIN_WIDTH
    return Console(width=width, highlight=False)
