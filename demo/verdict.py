"""Judges the demo: did the disturbed run really end with the weights of the undisturbed one, and not by accident?

Pure: logs, results and lastgood's own documents in, one `Check` per claim out. It trusts the training script's own
logs over lastgood's word, and compares the two wherever both speak. Refuses to call a claim shown when what it would
be shown by is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Document = Mapping[str, Any]


@dataclass(frozen=True)
class Check:
    """One claim about the demo. detail: what shows it, or what was found instead."""

    claim: str
    is_shown: bool
    detail: str

    def __str__(self) -> str:
        return f"{'✓' if self.is_shown else '✗'} {self.claim}: {self.detail}"


@dataclass(frozen=True)
class Life:
    """One training process, by the script's own log. started_after: the step that it found restored."""

    pid: int
    started_after: int
    steps: tuple[int, ...] = ()


@dataclass(frozen=True)
class Damage:
    """The checkpoint that the saboteur flipped a bit in. after_sequence: the journal's end at that moment."""

    save: str
    prefix: str
    step: int
    after_sequence: int


@dataclass(frozen=True)
class Evidence:
    """All that the demo left behind.

    steps: how many the script was asked for. disturbances: how often the saboteur killed a trainer.
    plain, guarded: per worker the script's result file, of the undisturbed and of the disturbed run.
    lives: per worker the processes of the disturbed run. job, journal: lastgood's documents.
    """

    steps: int
    plain: Mapping[str, Document]
    guarded: Mapping[str, Document]
    lives: Mapping[str, Sequence[Life]]
    job: Document
    journal: Sequence[Document]
    launch_status: int
    disturbances: int = 0
    damage: Damage | None = None
    workers: Sequence[str] = field(default=("worker/0", "worker/1"))


def read_lives(log: str) -> tuple[Life, ...]:
    """The processes in one worker's step log: `start STEP PID` and `step N LOSS SECONDS PID` lines.

    A last line that a kill has cut short is left out. Raises ValueError for a step of a process that never started.
    """
    lives: list[Life] = []
    for line in log.split("\n")[:-1]:
        words = line.split()
        number, pid = int(words[1]), int(words[-1])
        if words[0] == "start":
            lives.append(Life(pid, number))
            continue
        if not lives or lives[-1].pid != pid:
            raise ValueError(f"expected a start line of process {pid} before its steps, found {line!r}")
        lives[-1] = Life(pid, lives[-1].started_after, (*lives[-1].steps, number))
    return tuple(lives)


def judge(evidence: Evidence) -> tuple[Check, ...]:
    """Every claim of the demo, in the order in which it is told."""
    checks = [
        _finished(evidence),
        _disturbed(evidence),
        _equal(evidence),
        _followed_plans(evidence),
        _counted(evidence),
        _proven(evidence),
        _not_converged(evidence),
    ]
    if evidence.damage is not None:
        checks.append(_damage_found(evidence, evidence.damage))
    return tuple(checks)


def _finished(evidence: Evidence) -> Check:
    claim = "the run finished"
    end = evidence.job["end"]
    found = f"launch ended with status {evidence.launch_status}, the run with {_end_text(end)}"
    return Check(claim, evidence.launch_status == 0 and bool(end) and end["reason"] == "Finished", found)


def _end_text(end: Document | None) -> str:
    if not end:
        return "nothing: it has not ended"
    return f"{end['reason']}: {end['detail']}" if end.get("detail") else str(end["reason"])


def _disturbed(evidence: Evidence) -> Check:
    claim = "every disturbance became an incident, and each was recovered from"
    incidents = evidence.job["incidents"]
    open_ones = [str(i["attempt"]) for i in incidents if i["spans"].get("first_step_s") is None]
    found = f"{evidence.disturbances} disturbances, {len(incidents)} incidents"
    if open_ones:
        found += f"; no first step after the failure of attempt {', '.join(open_ones)}"
    return Check(claim, len(incidents) == evidence.disturbances and not open_ones, found)


def _equal(evidence: Evidence) -> Check:
    claim = "final weights and optimizer state equal the uninterrupted run's, bit for bit, on every worker"
    expected = evidence.plain.get(evidence.workers[0], {}).get("digests")
    if not expected:
        return Check(claim, False, "the uninterrupted run left no digests")
    differing = []
    for run_name, results in (("uninterrupted", evidence.plain), ("guarded", evidence.guarded)):
        for worker in evidence.workers:
            digests = results.get(worker, {}).get("digests")
            if digests is None:
                differing.append(f"{worker} of the {run_name} run left none")
                continue
            names = sorted(n for n in expected.keys() | digests.keys() if expected.get(n) != digests.get(n))
            if names:
                more = f" and {len(names) - 3} more" if len(names) > 3 else ""
                differing.append(f"{worker} of the {run_name} run differs in {', '.join(names[:3])}{more}")
    if differing:
        return Check(claim, False, "; ".join(differing))
    return Check(claim, True, f"{len(expected)} variables, {len(evidence.workers)} workers, SHA-256 each")


def _followed_plans(evidence: Evidence) -> Check:
    claim = "each attempt's first executed step is its plan's step + 1"
    wrong, shown = [], 0
    for attempt in evidence.job["attempts"]:
        plan = attempt["plan"]
        for worker in evidence.workers:
            life = _life(evidence, attempt, worker)
            if life is None or not life.steps:
                continue
            if plan is None or plan["step"] is None:
                wrong.append(f"attempt {attempt['number']} has no plan, and {worker} began with step {life.steps[0]}")
            elif life.steps[0] != plan["step"] + 1 or life.started_after != plan["step"]:
                wrong.append(
                    f"attempt {attempt['number']} was planned from step {plan['step']},"
                    f" and {worker} began with step {life.steps[0]}"
                )
            else:
                shown += 1
    wrong += _unknown_processes(evidence)
    expected = (evidence.disturbances + 1) * len(evidence.workers)
    if not wrong and shown < expected:
        wrong.append(f"expected at least {expected} processes that trained, found {shown}")
    starts = ", ".join(str(a["plan"]["step"]) for a in evidence.job["attempts"] if a["plan"])
    return Check(claim, not wrong, "; ".join(wrong) or f"{shown} processes; plans from step {starts}")


def _unknown_processes(evidence: Evidence) -> list[str]:
    known = {trainer["pid"] for attempt in evidence.job["attempts"] for trainer in attempt["trainers"].values()}
    return [
        f"process {life.pid} of {worker} trained, and lastgood does not know it"
        for worker in evidence.workers
        for life in evidence.lives.get(worker, ())
        if life.pid not in known
    ]


def _life(evidence: Evidence, attempt: Document, worker: str) -> Life | None:
    trainer = attempt["trainers"].get(worker)
    if trainer is None:
        return None
    return next((life for life in evidence.lives.get(worker, ()) if life.pid == trainer["pid"]), None)


def _counted(evidence: Evidence) -> Check:
    """A process that is killed between a step's end and its log line has done the step: that line is made up for."""
    claim = "executed steps = asked steps + lost steps, per worker"
    wrong, right = [], []
    for worker in evidence.workers:
        logged = sum(len(life.steps) for life in evidence.lives.get(worker, ()))
        cut = sum(_has_cut_line(evidence, attempt, worker) for attempt in evidence.job["attempts"])
        lost = sum(int(i["lost_steps_by_worker"].get(worker) or 0) for i in evidence.job["incidents"])
        found = f"{worker} executed {logged + cut} = {evidence.steps} + {lost}"
        found += f" ({cut} of them died before its log line)" if cut else ""
        if logged + cut == evidence.steps + lost:
            right.append(found)
        else:
            wrong.append(f"{worker} executed {logged + cut}, expected {evidence.steps} + {lost} lost")
    return Check(claim, not wrong, "; ".join(wrong or right))


def _has_cut_line(evidence: Evidence, attempt: Document, worker: str) -> bool:
    trainer, life = attempt["trainers"].get(worker), _life(evidence, attempt, worker)
    if trainer is None or life is None or trainer["signal"] is None or trainer["reached_step"] is None:
        return False
    last = life.steps[-1] if life.steps else life.started_after
    return bool(trainer["reached_step"] == last + 1)


def _proven(evidence: Evidence) -> Check:
    claim = "every worker proved what it restored"
    wrong, good = [], 0
    for attempt in evidence.job["attempts"]:
        plan = attempt["plan"]
        if plan is None or plan["kind"] == "fresh":
            continue
        planned = {series["digest"] for series in plan["series"]}
        for worker in evidence.workers:
            receipts = [receipt for receipt in attempt["receipts"] if receipt["worker"] == worker]
            is_proven = receipts and all(r["good"] and r["restored"] and r["digest"] in planned for r in receipts)
            good += bool(is_proven)
            if not is_proven:
                wrong.append(f"{worker} in attempt {attempt['number']}")
    if wrong:
        return Check(claim, False, "no good receipt of the plan's checkpoint from " + ", ".join(wrong))
    return Check(claim, good >= evidence.disturbances * len(evidence.workers), f"{good} good receipts")


def _not_converged(evidence: Evidence) -> Check:
    claim = "training had not converged, so that equal weights mean equal steps"
    moved = [float(evidence.guarded.get(worker, {}).get("moved_in_last_step", 0.0)) for worker in evidence.workers]
    return Check(claim, min(moved) > 0.0, f"the last step still moved a weight by {min(moved):.2g}")


def _damage_found(evidence: Evidence, damage: Damage) -> Check:
    claim = "the checkpoint with the flipped bit was found Corrupt and never planned again"
    after = [entry for entry in evidence.journal if entry["sequence"] > damage.after_sequence]
    found = [entry for entry in after if entry["kind"] == "VerdictReached" and _is_corrupt(entry, damage.save)]
    failed_first = [a for a in evidence.job["attempts"] if a["opened_s"] > _time_of(evidence, damage.after_sequence)]
    planned = [
        str(attempt["number"])
        for attempt in failed_first
        if attempt["plan"] and any(series["save"] == damage.save for series in attempt["plan"]["series"])
    ]
    where = f"{damage.prefix.rpartition('/')[2]} (step {damage.step})"
    if planned:
        return Check(claim, False, f"attempt {', '.join(planned)} was planned from {where}")
    if not found:
        return Check(claim, False, f"no verdict Corrupt was ever reached about {where}")
    return Check(claim, True, f"{where}: {found[0]['text']}")


def _is_corrupt(entry: Document, save: str) -> bool:
    event = entry["event"]
    causes = event["verdict"]["causes"]
    return save_name(event["save"]) == save and any(cause["reason"] == "Corrupt" for cause in causes)


def save_name(save: Document) -> str:
    """A save as the job document spells it, from the parts that the journal has."""
    series = save["series"]
    return f"{series['signature'][:8]}.{series['ordinal']}/{save['attempt']}.{save['ordinal']}"


def _time_of(evidence: Evidence, sequence: int) -> float:
    return max((float(e["at_s"]) for e in evidence.journal if e["sequence"] <= sequence), default=0.0)
