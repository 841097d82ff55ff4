"""Asks TensorFlow, in processes that may die, what it thinks of each case, and asks the library the same.

`Verdict` of one TensorFlow: damaged when it raises, dies, hangs, or gives anything but one of the originals, by either
of its readers.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue

from checkpoint_edits import write_case

from lastgood.verify import verify

TENSORFLOW_SIDE = Path(__file__).parents[1] / "tensorflow_side"
#: What one case may take TensorFlow; the first one waits for its import.
CASE_LIMIT_S, START_LIMIT_S = 60.0, 300.0


@dataclass(frozen=True)
class Verdict:
    """What one TensorFlow says of one case: "same", "raises", "differs", "died" or "hung" by each of its readers."""

    reader: str
    restore: str
    why: str

    @property
    def is_damaged(self) -> bool:
        return (self.reader, self.restore) != ("same", "same")


def judge_all(python: str, corpus: Path, cases: Path, count: int, scratch: Path) -> list[Verdict | None]:
    """By the TensorFlow of that interpreter; None where it cannot read the undamaged checkpoint."""
    verdicts: list[Verdict | None] = []
    while len(verdicts) < count:
        scratch.mkdir(parents=True, exist_ok=True)
        with _judge(python, corpus, cases, len(verdicts), scratch) as process:
            verdicts += _answers(process)
            if len(verdicts) < count:
                fate = "hung" if process.poll() is None else "died"
                process.kill()
                process.wait()
                verdicts.append(Verdict(fate, fate, f"status {process.returncode}"))
        shutil.rmtree(scratch)
    return verdicts


def _judge(python: str, corpus: Path, cases: Path, first: int, scratch: Path) -> subprocess.Popen[str]:
    command = [python, str(TENSORFLOW_SIDE / "judge.py"), str(corpus), str(cases), str(first)]
    environment = {**os.environ, "TMPDIR": str(scratch)}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True, env=environment
    )


def _answers(process: subprocess.Popen[str]) -> Iterator[Verdict | None]:
    """One for each case, until the process ends, or takes too long."""
    lines: Queue[str] = Queue()
    threading.Thread(target=_pass_on, args=(process, lines), daemon=True).start()
    limit_s = START_LIMIT_S
    while True:
        try:
            line = lines.get(timeout=limit_s)
        except Empty:
            return
        if not line:
            process.wait()
            return
        answer = json.loads(line)
        if "case" not in answer:
            continue
        limit_s = CASE_LIMIT_S
        yield Verdict(answer["reader"], answer["restore"], answer["why"]) if "reader" in answer else None


def _pass_on(process: subprocess.Popen[str], lines: Queue[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    lines.put("")


def verify_all(corpus: Path, cases: Sequence[dict[str, object]], scratch: Path) -> list[tuple[bool, str]]:
    """(the library calls it whole, its first reason) for each case."""
    results = []
    for case in cases:
        directory = scratch / "case"
        directory.mkdir(parents=True)
        verification = verify(write_case(str(corpus), case, str(directory)))
        fault = verification.faults[0] if verification.faults else None
        results.append((verification.is_whole, f"{fault.reason.value}: {fault.detail}" if fault else ""))
        shutil.rmtree(directory)
    return results
