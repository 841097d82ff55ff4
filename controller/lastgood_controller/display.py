"""What `lastgood launch` and `lastgood watch` show while a job runs: one live picture, or plain lines.

`render` is pure over the documents of docs/json.md. `LiveDisplay` keeps the picture at the bottom of a terminal and
lets the events scroll above it; `PlainDisplay` prints one line per event, for logs and pipes. Neither ever fails the
run that it shows: once its output is gone, it is silent.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.rule import Rule
from rich.text import Text

from lastgood.streams import silence
from lastgood_controller import tables
from lastgood_controller.tables import Document

#: Checkpoints that the live picture has room for.
SHOWN_CHECKPOINTS = 6
_STYLES = {
    "AttemptFailed": "bold red",
    "AttemptOpened": "bold",
    "PlanDecided": "bold cyan",
    "GateOpened": "cyan",
    "RunEnded": "bold",
    "SteeringLost": "bold red",
    "HookFailed": "yellow",
    "WorkerLost": "red",
    "Quarantined": "red",
    "SaveFailed": "red",
    "SaveReported": "dim",
    "VerifyAsked": "dim",
    "Verified": "dim",
}
#: Entries that say nothing to a person that another entry does not say.
_HIDDEN = frozenset({"VerifyAsked"})


def render(job: Document | None, entries: Sequence[Document], now_s: float, started_s: float) -> RenderableType:
    """The whole picture: where the job stands, its checkpoints, and the given events, oldest first.

    job: None before the controller knows the run. now_s, started_s: seconds since the epoch.
    """
    parts: list[RenderableType] = [event_line(entry, started_s) for entry in entries if is_shown(entry)]
    if job is None:
        parts.append(Text("waiting for the first worker", style="yellow"))
        return Group(*parts)
    parts += [Rule(style="dim"), tables.header(job, now_s), tables.workers_line(job)]
    if trouble := tables.trouble_line(job):
        parts.append(trouble)
    if job.get("waiting") and not job.get("end"):
        parts.append(Text(f"waiting: {tables.printable(job['waiting'])}", style="yellow"))
    if job["checkpoints"]:
        parts += [Text(), tables.checkpoints_table(job, SHOWN_CHECKPOINTS)]
    return Group(*parts)


def is_shown(entry: Document) -> bool:
    """Whether an entry is worth a line on a display. All of them are in the journal.

    What is still pending is in the picture's table; only what was settled gets a line.
    """
    if entry["kind"] == "VerdictReached":
        return _standing(entry) != "Pending"
    return entry["kind"] not in _HIDDEN


def plain_line(entry: Document, started_s: float) -> str:
    """One event as one line, its time relative to the start."""
    return f"{entry['at_s'] - started_s:8.2f} s  {tables.printable(entry['text'])}"


def event_line(entry: Document, started_s: float) -> Text:
    """The same line with its colour."""
    text = Text(f"{entry['at_s'] - started_s:8.2f} s  ", style="dim")
    return Text.assemble(text, (tables.printable(entry["text"]), style_of(entry)))


def style_of(entry: Document) -> str:
    """The colour of an event: what went wrong stands out, what is routine steps back."""
    if entry["kind"] == "VerdictReached":
        if tables.is_gone(entry["event"]["verdict"]["causes"]):
            return "dim"
        return {"Good": "green", "Bad": "bold red"}.get(_standing(entry), "dim")
    return _STYLES.get(entry["kind"], "")


def _standing(entry: Document) -> str:
    return str(entry["event"].get("verdict", {}).get("standing", ""))


class Display(AbstractContextManager["Display"], Protocol):
    """Where launch tells what happens.

    refresh_s: how often it should be told where the job stands.
    """

    refresh_s: float

    def show(self, entry: Document) -> None:
        """An entry of the journal, each once."""

    def update(self, job: Document, now_s: float) -> None:
        """Where the job stands now."""

    def say(self, text: str) -> None:
        """A sentence of launch's own."""

    def summarize(self, parts: Sequence[RenderableType]) -> None:
        """What remains to be said after the end."""


def open_display(is_plain: bool, started_s: float, stream: TextIO | None = None) -> Display:
    """The live picture where the output is a terminal and nobody asked for plain lines."""
    stream = stream or sys.stdout
    if is_plain or not stream.isatty():
        return PlainDisplay(stream, started_s)
    return LiveDisplay(Console(file=stream), started_s)


class PlainDisplay:
    """One line per event. Where the job stands it shows at the end only."""

    refresh_s = 10.0

    def __init__(self, stream: TextIO, started_s: float) -> None:
        self._stream: TextIO | None = stream
        self._started_s = started_s

    def __enter__(self) -> PlainDisplay:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, entry: Document) -> None:
        if is_shown(entry):
            self.say(plain_line(entry, self._started_s))

    def update(self, job: Document, now_s: float) -> None:
        return None

    def say(self, text: str) -> None:
        if self._stream is None:
            return
        try:
            print(text, file=self._stream, flush=True)
        except (OSError, ValueError):  # whoever read it is gone; the run goes on
            self._lose_stream()

    def summarize(self, parts: Sequence[RenderableType]) -> None:
        if self._stream is None:
            return
        width = 160 if not self._stream.isatty() else None
        console = Console(file=self._stream, width=width, no_color=True, highlight=False)
        try:
            for part in parts:
                console.print(part)
        except (OSError, ValueError):
            self._lose_stream()

    def _lose_stream(self) -> None:
        if self._stream is not None:
            silence(self._stream)
        self._stream = None


class LiveDisplay:
    """The picture at the bottom of a terminal, events scrolling above it."""

    refresh_s = 0.5

    def __init__(self, console: Console, started_s: float) -> None:
        self._console = console
        self._started_s = started_s
        self._live = Live(render(None, (), started_s, started_s), console=console, refresh_per_second=8, transient=True)
        self._is_gone = False

    def __enter__(self) -> LiveDisplay:
        self._try(self._live.start)
        return self

    def __exit__(self, *_: object) -> None:
        self._try(self._live.stop)

    def show(self, entry: Document) -> None:
        if is_shown(entry):
            self._print(event_line(entry, self._started_s))

    def update(self, job: Document, now_s: float) -> None:
        self._try(lambda: self._live.update(render(job, (), now_s, self._started_s)))

    def say(self, text: str) -> None:
        self._print(Text(tables.printable(text)))

    def summarize(self, parts: Sequence[RenderableType]) -> None:
        self._try(self._live.stop)
        for part in parts:
            self._print(part)

    def _print(self, renderable: RenderableType) -> None:
        self._try(lambda: self._console.print(renderable, highlight=False))

    def _try(self, show: Callable[[], None]) -> None:
        if self._is_gone:
            return
        try:
            show()
        except (OSError, ValueError):  # the terminal is gone; the run goes on
            self._is_gone = True
            silence(self._console.file)
