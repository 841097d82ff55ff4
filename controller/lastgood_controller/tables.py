"""Documents as people read them: tables and lines for the terminal, made of docs/json.md's documents and nothing else.

Pure: the same documents give the same tables, live or from a state directory. Decides only what is worth a column and
what deserves a colour; prints nothing. Text that comes from a training process is cleaned of control characters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

Document = Mapping[str, Any]

_VERDICT_STYLES = {"Good": "bold green", "Pending": "yellow", "Bad": "bold red"}
_PHASE_STYLES = {"Training": "green", "Recovering": "bold red", "Ended": "bold"}
_SPANS = (
    ("detected_s", "detected"),
    ("decided_s", "decided"),
    ("stopped_s", "stopped"),
    ("started_s", "started"),
    ("restored_s", "restored"),
    ("first_step_s", "first step"),
)
#: Who read the bytes, or from where, in words.
_MEDIA = {"peer": "another host", "disk": "disk", "cache": "page cache"}
#: Columns from which on a table of incidents has room for what had happened.
_WIDE = 120
NOTHING = "–"  # noqa: RUF001


def printable(text: str) -> str:
    """`text` on one line, without anything that a terminal would obey."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def cause_text(cause: Document | None) -> str:
    """`Corrupt: what was found`, or nothing for None."""
    if not cause:
        return ""
    detail = cause.get("detail") or ""
    return printable(f"{cause['reason']}: {detail}" if detail else str(cause["reason"]))


def checkpoint_name(prefix: str | None) -> str:
    """The last part of a prefix, such as ckpt-4."""
    return PurePath(prefix).name if prefix else NOTHING


def duration(seconds: float | None) -> str:
    """`3.2 s`, `4 min 5 s`, or a dash for what is not known."""
    if seconds is None:
        return NOTHING
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def value(found: object) -> str:
    """A number or a word, or a dash for what is not known."""
    return NOTHING if found is None else printable(str(found))


def header(job: Document, now_s: float) -> Text:
    """Where the job stands, in one line."""
    phase = str(job["phase"])
    text = Text.assemble((printable(str(job["name"])), "bold"), "  ")
    if job["attempt"]:
        text.append(f"attempt {job['attempt']}  ")
    text.append(phase, style=_PHASE_STYLES.get(phase, "yellow"))
    text.append(f"  step {value(job['step'])}")
    text.append("  last good ").append_text(_last_good(job, now_s))
    if job["restarts"]:
        text.append(f"  restarts {job['restarts']}")
    if job.get("end"):
        text.append(f"  {cause_text(job['end'])}", style="green" if is_well_ended(job) else "bold red")
    return text


def is_well_ended(job: Document) -> bool:
    """The run has ended, and every worker had finished its work."""
    return bool(job.get("end")) and int(job["end"]["exit_status"]) == 0


def _last_good(job: Document, now_s: float) -> Text:
    last = job["last_good"]
    if not last:
        return Text("none yet", style="yellow")
    text = Text(checkpoint_name(last["prefix"]), style="green")
    if last["step"] is not None:
        text.append(f" (step {last['step']})")
    if not job.get("end"):
        text.append(f" {duration(max(0.0, now_s - last['at_s']))} ago", style="default")
    return text


def trouble_line(job: Document) -> Text | None:
    """What a person has to do something about now, if there is anything."""
    trouble = job.get("trouble")
    return Text(trouble_sentence(trouble), style="bold red") if trouble and not job.get("end") else None


def trouble_sentence(trouble: str) -> str:
    """Why nothing can be recorded, and what that means for the training."""
    return (
        f"nothing can be recorded: {printable(trouble)}. Training goes on, but no failure can be answered; what happens"
        " meanwhile is recorded once that is possible"
    )


def workers_line(job: Document) -> Text:
    """Every worker and how its trainer is, in one line."""
    text = Text()
    for name, worker in job["workers"].items():
        if text:
            text.append("   ")
        text.append(name, style="bold").append(" ").append_text(_trainer_text(worker["trainer"]))
        if not worker["connected"] and not job.get("end"):
            text.append(" (no agent)", style="yellow")
    return text


def _trainer_text(trainer: Document | None) -> Text:
    if not trainer or trainer["phase"] == "none":
        return Text("waits", style="yellow")
    if trainer["phase"] == "running":
        return Text(f"trains, pid {trainer['pid']}", style="green")
    if trainer["exit_code"] == 0:
        return Text("finished", style="green")
    if trainer["signal"] is not None:
        return Text(f"ended by signal {trainer['signal']}", style="red")
    return Text(f"exited with {value(trainer['exit_code'])}", style="red")


def checkpoints_table(job: Document, limit: int | None = None) -> Table:
    """The newest `limit` checkpoints (all for None), oldest first, with their verdicts and reasons."""
    checkpoints: Sequence[Document] = job["checkpoints"]
    shown = checkpoints if limit is None else checkpoints[-limit:]
    left_out = len(checkpoints) - len(shown)
    title = "checkpoints" + (f" (the newest {len(shown)} of {len(checkpoints)})" if left_out else "")
    table = _table(title)
    for column in ("checkpoint", "step", "attempt", "verdict", "saved by", "read from"):
        table.add_column(column, justify="right" if column in ("step", "attempt") else "left", no_wrap=True)
    table.add_column("why", ratio=1)
    for checkpoint in shown:
        verdict = str(checkpoint["verdict"])
        table.add_row(
            Text(checkpoint_name(checkpoint["prefix"]), style="dim" if checkpoint["removed"] else ""),
            value(checkpoint["step"]),
            "adopted" if not checkpoint["attempt"] else str(checkpoint["attempt"]),
            Text(verdict, style="dim" if is_gone(checkpoint["causes"]) else _VERDICT_STYLES.get(verdict, "")),
            Text(", ".join(checkpoint["reports"]) or NOTHING),
            _MEDIA.get(checkpoint["medium"] or "", NOTHING),
            Text(_why(checkpoint)),
        )
    return table


def is_gone(causes: Sequence[Document]) -> bool:
    """Nothing is wrong with a checkpoint but that it is no longer there: that is routine, not an alarm."""
    return bool(causes) and all(cause["reason"] == "Vanished" for cause in causes)


def _why(checkpoint: Document) -> str:
    if checkpoint["removed"] and is_gone(checkpoint["causes"]):
        return "Vanished: rotated away"
    return "; ".join(cause_text(cause) for cause in checkpoint["causes"])


def attempts_table(job: Document) -> Table:
    """Each life of the gang: what it started from, what its workers proved, and how it ended."""
    table = _table("attempts")
    for column in ("attempt", "plan", "from step"):
        table.add_column(column, justify="right" if column != "plan" else "left", no_wrap=True)
    table.add_column("receipts")
    table.add_column("ended by", ratio=1)
    for attempt in job["attempts"]:
        plan = attempt["plan"]
        table.add_row(
            str(attempt["number"]),
            Text(_plan_text(attempt)),
            value(plan["step"] if plan else None),
            _receipts_text(attempt),
            Text(_ended_text(attempt, job)),
        )
    return table


def _plan_text(attempt: Document) -> str:
    plan = attempt["plan"]
    if not attempt["steered"]:
        return "none: not steered"
    if not plan:
        return NOTHING
    names = sorted({checkpoint_name(p) for series in plan["series"] for p in series["prefixes"].values()})
    return " ".join([str(plan["kind"]), *names])


def _receipts_text(attempt: Document) -> Text:
    receipts = attempt["receipts"]
    if not receipts:
        return Text(NOTHING)
    bad = [receipt["worker"] for receipt in receipts if not receipt["good"]]
    if bad:
        return Text("bad: " + ", ".join(bad), style="bold red")
    return Text(f"{len(receipts)} good", style="green")


def _ended_text(attempt: Document, job: Document) -> str:
    failure = attempt["failure"]
    if failure:
        worker = f"{failure['worker']} " if failure["worker"] else ""
        return worker + cause_text(failure)
    unsteered = cause_text(attempt["unsteered"])
    if attempt["ended_s"] is None:
        return unsteered or NOTHING
    is_newest = attempt is job["attempts"][-1]
    return cause_text(job["end"]) if is_newest and job.get("end") else unsteered or NOTHING


def incidents_table(job: Document) -> RenderableType:
    """Each failure and its recovery: seconds from the moment it was noticed, and the steps that were lost."""
    return _Incidents(job)


@dataclass(frozen=True)
class _Incidents:
    """One table where there is room; else the numbers first, and below them what had happened."""

    job: Document

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        is_wide = options.max_width >= _WIDE
        yield self._table(is_wide)
        if not is_wide:
            for incident in self.job["incidents"]:
                yield Text(f"{_attempts_of(incident)}  {_failure_of(incident)}")

    def _table(self, has_failures: bool) -> Table:
        table = _table("incidents (seconds after the failure was noticed)")
        table.add_column("attempt", no_wrap=True)
        if has_failures:
            table.add_column("failure", ratio=1)
        for _, title in _SPANS:
            table.add_column(title, justify="right")
        table.add_column("steps lost", justify="right")
        table.add_column("goes on after step" if has_failures else "from step", justify="right")
        for incident in self.job["incidents"]:
            spans = incident["spans"]
            table.add_row(
                _attempts_of(incident),
                *([Text(_failure_of(incident))] if has_failures else []),
                *(NOTHING if spans[key] is None else f"{spans[key]:.2f}" for key, _ in _SPANS),
                value(incident["lost_steps"]),
                value(incident["plan_step"]),
            )
        return table


def _attempts_of(incident: Document) -> str:
    return f"{incident['attempt']} → {value(incident['next_attempt'])}"


def _failure_of(incident: Document) -> str:
    return (f"{incident['worker']} " if incident["worker"] else "") + cause_text(incident)


def jobs_table(jobs: Sequence[Document], now_s: float) -> Table:
    """One line per run."""
    table = _table("")
    for column in ("job", "phase", "attempt", "workers", "step", "last good", "restarts", "end"):
        table.add_column(column, justify="right" if column in ("attempt", "workers", "step", "restarts") else "left")
    for job in jobs:
        phase = str(job["phase"])
        workers = job["workers"]
        table.add_row(
            Text(printable(str(job["name"])), style="bold"),
            Text(phase, style=_PHASE_STYLES.get(phase, "yellow")),
            str(job["attempt"]),
            str(workers if isinstance(workers, int) else len(workers)),
            value(job["step"]),
            _last_good(job, now_s),
            str(job["restarts"]),
            Text(cause_text(job["end"])),
        )
    return table


def _table(title: str) -> Table:
    return Table(title=title or None, title_justify="left", title_style="bold", box=None, pad_edge=False, expand=False)
