"""Runs the benchmarks, prints a table, and writes docs/benchmarks.md.

    python -m benchmarks.report [--only NAME…] [--pairs N] [--json]

A row of the page stays until its benchmark is run again. With --json it writes no file. Exit status 1: a figure missed
its aim; 3: a benchmark could not be run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import beside, receipts, recovery, save, step_cost, throughput, verify
from benchmarks.gangs import BenchmarkError
from benchmarks.results import TABLE_HEAD, Result, document, row, table
from tools.suite import commit_name

TARGET = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"

BENCHMARKS: dict[str, Callable[[str, int], Result]] = {
    "recovery": recovery.measure,
    "save": save.measure,
    "receipts": receipts.measure,
    "throughput": throughput.measure,
    "step_cost": step_cost.measure,
    "beside": beside.measure,
    **verify.BENCHMARKS,
}

HEAD = """# Benchmarks

Written by `make bench`. Each figure is a ratio to a baseline, or a share of it, measured in the same run: medians of
interleaved pairs, and beside them the lowest and the highest figure that a single pair gave. A row stays until its
benchmark is run again (`make bench ARGS="--only save"`).

"""

#: A row as `page` writes it. A header's last cell names no commit.
ROW = re.compile(r"^\| ([^|]+) \| .*, commit [^|]* \|$", re.MULTILINE)


def machine() -> str:
    """What the numbers were measured on."""
    return f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release().partition('-')[0]}"


def page(former: str, results: Sequence[Result], when: str) -> str:
    """docs/benchmarks.md, with the rows of `results` in place of their former ones. when: date, commit, machine."""
    rows = {found.group(1): found.group() for found in ROW.finditer(former)}
    rows.update((result.name, f"{row(result)} {when} |") for result in results)
    head = (f"{TABLE_HEAD[0]} measured |", f"{TABLE_HEAD[1]}---|")
    return HEAD + "\n".join([*head, *rows.values()]) + "\n"


def main(arguments: list[str]) -> int:
    """Runs what was asked for."""
    parser = argparse.ArgumentParser(prog="benchmarks.report", description="Measures what lastgood costs and gains.")
    parser.add_argument("--only", nargs="+", choices=tuple(BENCHMARKS), default=None, metavar="NAME")
    parser.add_argument("--pairs", type=int, default=5, help="pairs of baseline and lastgood per benchmark")
    parser.add_argument("--json", action="store_true", help="print a JSON list instead of the table")
    options = parser.parse_args(arguments)
    trainer_python = os.environ.get("LASTGOOD_TEST_TF_PYTHON", "")
    if not Path(trainer_python).is_file():
        print(
            "expected LASTGOOD_TEST_TF_PYTHON to name a Python with TensorFlow; `make bench` sets it", file=sys.stderr
        )
        return 3
    try:
        results = [run(name, trainer_python, options.pairs) for name in options.only or BENCHMARKS]
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        return 130
    print(json.dumps([document(r) for r in results], indent=1) if options.json else table(results))
    if not options.json:
        when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {machine()}, commit {commit_name()}"
        former = TARGET.read_text(encoding="utf-8") if TARGET.exists() else ""
        TARGET.write_text(page(former, results, when), encoding="utf-8")
    return 0 if all(r.is_met for r in results) else 1


def run(name: str, trainer_python: str, pairs: int) -> Result:
    """One benchmark, announced."""
    print(f"{name}: {pairs} pairs", file=sys.stderr, flush=True)
    return BENCHMARKS[name](trainer_python, pairs)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
