"""What is checked, in which parts, and what each part may take.

Runs parts one after another, every one even when an earlier one failed, and ends with a table, what was left out and
why, the time against the budget, and one plain line. A part that takes longer than its budget is named as over it and
passes all the same: a busy machine is not a bug. One that takes ten times as long, and five minutes at least, has
failed and is stopped.

    python tools/suite.py check            the fast loop: style, types, imports, protos, unit tests
    python tools/suite.py test             all that, and integration and end-to-end tests
    python tools/suite.py full [--part P]  the long runs; writes docs/test-report.md

Run it in the development environment (`make check`, `make test`, `make test-full`). Exit status 1: a part failed.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

CLONE = Path(__file__).resolve().parent.parent
REPORT = CLONE / "docs" / "test-report.md"

#: A part is stopped after this many times its budget, and not before this many seconds.
PATIENCE, PATIENCE_AT_LEAST_S = 10, 300.0


@dataclass(frozen=True)
class Part:
    """One thing that is run.

    command: what to run. Empty for tests.
    tests: folders for pytest; those that are not there are left out.
    processes: how many run the tests side by side, each whole files of them.
    splits_files: those processes share the tests of one file, too: for a few long files that set up little.
    repeats: how often the tests are run, one after another.
    environment: variables on top of the caller's.
    """

    name: str
    budget_s: float
    command: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    processes: int = 1
    splits_files: bool = False
    repeats: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Counts:
    """How many tests did what. left_out: for each skipped one, why."""

    passed: int
    failed: int
    left_out: tuple[str, ...] = ()

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.passed + other.passed, self.failed + other.failed, self.left_out + other.left_out)


@dataclass(frozen=True)
class Outcome:
    """What came of a part. A part without tests counts as one itself."""

    part: Part
    counts: Counts
    duration_s: float

    @property
    def is_over_budget(self) -> bool:
        """It took longer than it should."""
        return self.duration_s > self.part.budget_s


TYPED = ("lastgood", "controller/lastgood_controller", "worker_agent/lastgood_agent")

#: Its own script runs in the environment beneath, which does not know our packages.
LINT_IMPORTS = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"

#: Budgets are for two quiet cores with warm caches. Where these are cold it is two minutes.
CHECK = (
    Part("style", 2, ("ruff", "check", ".")),
    Part("format", 2, ("ruff", "format", "--check", ".")),
    Part("types", 10, (sys.executable, "-m", "mypy", *TYPED)),
    Part("imports", 4, (sys.executable, "-c", LINT_IMPORTS, "--no-logo")),
    Part("protos", 3, ("buf", "lint")),
    Part("generated code", 4, (sys.executable, "tools/protos.py", "check")),
    Part("unit tests", 45, tests=("tests/unit", "tests/contract", "tests/simulation"), processes=2),
)

TEST = (
    *CHECK,
    Part("integration", 130, tests=("tests/integration",), processes=2, splits_files=True),
    Part("damage and any bytes", 45, tests=("tests/damage", "tests/fuzz"), processes=2, splits_files=True),
    Part("end to end, with the demo", 170, tests=("tests/e2e",), processes=2),
)

#: Tests that can look further than they usually do look at this (tests/breadth.py), and those marked `breadth` run.
WIDE = {"LASTGOOD_BREADTH": "full"}

#: core: what decides, on thousands of runs with faults by chance, and what reads untrusted bytes, on more of them.
#: hooks: each hook and each fault of one, in real training. library: every Python, hundreds of random checkpoints of
#: each TensorFlow, and one larger than memory may be. loop: all of it together, twice over. damage: damaged checkpoints
#: by the ten thousand, judged by TensorFlow. fuzz: half an hour of any bytes.
FULL = (
    Part("core", 300, tests=("tests/unit/core", "tests/unit/lib", "tests/simulation"), processes=2, environment=WIDE),
    Part(
        "hooks",
        120,
        tests=("tests/unit/hooks", "tests/integration/hooks"),
        processes=2,
        splits_files=True,
        environment=WIDE,
    ),
    Part("library", 400, tests=("tests/integration/library",), processes=2, environment=WIDE),
    Part("loop", 480, tests=("tests/e2e",), processes=2, repeats=2, environment=WIDE),
    Part("damage", 900, tests=("tests/damage",), environment=WIDE),
    Part("fuzz", 2400, tests=("tests/fuzz",), environment=WIDE),
)


def run_parts(parts: Iterable[Part]) -> list[Outcome]:
    """Runs each part; what it prints goes to the terminal."""
    outcomes = []
    for part in parts:
        print(f"\n== {part.name}", flush=True)
        started_s = time.monotonic()
        counts = Counts(0, 0)
        for _ in range(part.repeats):
            counts += run_tests(part) if part.tests else run_command(part)
        outcomes.append(Outcome(part, counts, time.monotonic() - started_s))
    return outcomes


def run_command(part: Part) -> Counts:
    """One check that either holds or does not."""
    return Counts(0, 1) if run(part, part.command) else Counts(1, 0)


def run_tests(part: Part) -> Counts:
    """pytest on the part's folders."""
    folders = [folder for folder in part.tests if (CLONE / folder).is_dir()]
    if not folders:
        print(f"none of {', '.join(part.tests)} is there")
        return Counts(0, 1)
    share = ("--dist", "worksteal") if part.splits_files else ("--dist", "loadfile", "--no-loadscope-reorder")
    side_by_side = ("-n", str(part.processes), *share) if part.processes > 1 else ()
    with tempfile.TemporaryDirectory() as temporary:
        result = Path(temporary) / "result.xml"
        status = run(part, (sys.executable, "-m", "pytest", "-q", *side_by_side, f"--junitxml={result}", *folders))
        counts = read_counts(result)
    return without_silent_failure(counts, status)


def without_silent_failure(counts: Counts, status: int) -> Counts:
    """A run that ended badly has a failure, whatever it managed to write down."""
    return replace(counts, failed=max(counts.failed, 1)) if status else counts


def read_counts(result: Path) -> Counts:
    """The counts by pytest's own report; one failure where there is no report."""
    try:
        cases = list(ElementTree.parse(result).getroot().iter("testcase"))
    except (OSError, ElementTree.ParseError):
        return Counts(0, 1)
    failed = sum(case.find("failure") is not None or case.find("error") is not None for case in cases)
    skipped = [note for case in cases if (note := case.find("skipped")) is not None]
    left_out = tuple(note.get("message", "") for note in skipped if note.get("type") != "pytest.xfail")
    return Counts(len(cases) - failed - len(skipped), failed, left_out)


def run(part: Part, command: Sequence[str]) -> int:
    """The command's exit status; 124 when it had to be stopped."""
    limit_s = max(part.budget_s * PATIENCE, PATIENCE_AT_LEAST_S)
    try:
        process = subprocess.Popen(command, cwd=CLONE, env={**os.environ, **part.environment})
    except OSError as error:
        print(f"could not start {command[0]}: {error.strerror}; make runs this in the development environment")
        return 127
    try:
        return process.wait(timeout=limit_s)
    except (subprocess.TimeoutExpired, KeyboardInterrupt) as stop:
        process.send_signal(signal.SIGINT)  # pytest then ends those that run its tests, too
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=15)
        if isinstance(stop, KeyboardInterrupt):
            raise
        print(f"stopped {part.name} after {limit_s:.0f} s")
        return 124


# ------------------------------------------------------------------------------------------------------------ reports


ROW = "{:<28}{:>8}{:>8}{:>9}{:>10}{:>9}{}"


def summary(outcomes: Sequence[Outcome]) -> str:
    """The table of all parts, what was left out, the time against the budget, and the closing line."""
    rows = [ROW.format("part", "passed", "failed", "skipped", "took", "budget", "")]
    for o in outcomes:
        took, budget = f"{o.duration_s:.1f} s", f"{o.part.budget_s:.0f} s"
        note = "  over its budget" if o.is_over_budget else ""
        counts = (o.counts.passed, o.counts.failed, len(o.counts.left_out))
        rows.append(ROW.format(o.part.name, *counts, took, budget, note))
    return "\n".join(["", *rows, "", *left_out_lines(outcomes), budget_line(outcomes), closing_line(outcomes)])


def left_out_lines(outcomes: Sequence[Outcome]) -> list[str]:
    """One line for each reason for which tests did not run."""
    reasons = Counter(reason for o in outcomes for reason in o.counts.left_out)
    return [f"left out: {count} {'test' if count == 1 else 'tests'}, {reason}" for reason, count in reasons.items()]


def budget_line(outcomes: Sequence[Outcome]) -> str:
    """What all parts took together, what they may take, and which took longer than they may."""
    took_s, budget_s = sum(o.duration_s for o in outcomes), sum(o.part.budget_s for o in outcomes)
    over = ", ".join(o.part.name for o in outcomes if o.is_over_budget)
    claim = f"over the budget of {budget_s:.0f} s" if took_s > budget_s else f"within the budget of {budget_s:.0f} s"
    return f"took {took_s:.0f} s, {claim}" + (f"; over its own: {over}" if over else "")


def closing_line(outcomes: Sequence[Outcome]) -> str:
    """`N passed, N failed`, with the skipped ones where there are any."""
    total = sum((o.counts for o in outcomes), Counts(0, 0))
    skipped = len(total.left_out)
    return f"{total.passed} passed, {total.failed} failed" + (f", {skipped} skipped" if skipped else "")


HEAD = """# The long runs

Written by `make test-full`. A row stays until its part is run again (`make test-full PART=core`). A commit with a `+`
had changes that were not committed.

| part | date (UTC) | commit | result | passed | failed | skipped | took |
|---|---|---|---|---|---|---|---|
"""


def report(former: str, outcomes: Sequence[Outcome], date: str, commit: str, machine: str) -> str:
    """The report with the rows of `outcomes` in place of their former ones, in the order of FULL."""
    rows = {name: row for row, name in re.findall(r"^(\| (\w+) \| \d.*\|)$", former, re.MULTILINE)}
    for o in outcomes:
        result = "failed" if o.counts.failed else "passed"
        rows[o.part.name] = (
            f"| {o.part.name} | {date} | {commit} | {result} | {o.counts.passed} | {o.counts.failed}"
            f" | {len(o.counts.left_out)} | {o.duration_s:.0f} s on {machine} |"
        )
    known = [part.name for part in FULL]
    return HEAD + "".join(f"{rows[name]}\n" for name in known if name in rows)


def commit_name() -> str:
    """The commit that is checked out, with a + when files differ from it."""
    name = git("rev-parse", "--short=10", "HEAD") or "unknown"
    return name + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")


def git(*arguments: str) -> str:
    """What git prints, or nothing."""
    try:
        done = subprocess.run(("git", *arguments), cwd=CLONE, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def write_report(outcomes: Sequence[Outcome]) -> None:
    """Brings docs/test-report.md up to date."""
    former = REPORT.read_text(encoding="utf-8") if REPORT.exists() else ""
    date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    machine = f"{os.cpu_count()} cores, Python {sys.version_info[0]}.{sys.version_info[1]}"
    REPORT.write_text(report(former, outcomes, date, commit_name(), machine), encoding="utf-8")
    print(f"\nwrote {REPORT.relative_to(CLONE)}")


def main(arguments: list[str]) -> int:
    """Runs one suite."""
    parser = argparse.ArgumentParser(prog="suite", description="Runs the checks and tests of the project.")
    parser.add_argument("suite", choices=("check", "test", "full"))
    parser.add_argument("--part", default="", help="of the full suite: only this one", metavar="PART")
    chosen = parser.parse_args(arguments)
    parts: tuple[Part, ...] = {"check": CHECK, "test": TEST, "full": FULL}[chosen.suite]
    if chosen.part:
        parts = tuple(part for part in parts if part.name == chosen.part)
    if not parts:
        parser.error(f"expected a part of {', '.join(part.name for part in FULL)}; found {chosen.part!r}")
    for number in (signal.SIGINT, signal.SIGTERM):  # what a shell runs in the background begins deaf to Ctrl-C
        signal.signal(number, signal.default_int_handler)
    try:
        outcomes = run_parts(parts)
    except KeyboardInterrupt:
        return 130
    if chosen.suite == "full":
        write_report(outcomes)
    print(summary(outcomes))
    return 1 if any(o.counts.failed for o in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
