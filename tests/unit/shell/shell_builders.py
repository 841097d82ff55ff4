"""Runs, hellos and facts with defaults: a test names only what it is about."""

from lastgood.manifest import Manifest, ManifestEntry
from lastgood_controller.events import (
    AttemptOpened,
    Event,
    RunOpened,
    SaveReported,
    TrainerChanged,
    WorkerConnected,
)
from lastgood_controller.fold import (
    apply,
    opened,
)
from lastgood_controller.ingest import Hello, Report, Sender
from lastgood_controller.model import (
    Policy,
    Run,
    SaveId,
    SaveReport,
    SeriesId,
    Session,
    Trainer,
    TrainerPhase,
    WorkerId,
)

RUN, JOB = "run-1", "local/default/process/digits"
W0, W1 = WorkerId("worker", 0), WorkerId("worker", 1)
MEMBERS = (W0, W1)
SERIES = SeriesId("9f3c0011", 0)


def a_run(*events: Event, policy: Policy | None = None, at_s: float = 100.0) -> Run:
    """A run that has been opened at 100 s and to which events happened, one a second."""
    run = opened(RunOpened(RUN, JOB, policy or Policy()), at_s)
    for event in events:
        at_s += 1.0
        run = apply(run, event, at_s)
    return run


def a_connection(worker: WorkerId = W0, agent: int = 1, launcher: int = 1, **kept: object) -> WorkerConnected:
    session = Session(agent, launcher, host="here", next_address=f"127.0.0.1:{40_000 + worker.task_id}")
    values: dict[str, object] = {"members": MEMBERS, "session": session, "trainer": Trainer(), "highest_attempt": 0}
    return WorkerConnected(worker=worker, **{**values, **kept})  # type: ignore[arg-type]


def an_attempt(number: int = 1, steering: bool = True) -> AttemptOpened:
    return AttemptOpened(number, {W0: "127.0.0.1:40000", W1: "127.0.0.1:40001"}, steering)


def a_gang_in(attempt: int = 1, *events: Event) -> Run:
    """Two connected workers in an open attempt."""
    return a_run(a_connection(W0), a_connection(W1), an_attempt(attempt), *events)


def a_trainer(worker: WorkerId = W0, attempt: int = 1, **kept: object) -> TrainerChanged:
    values: dict[str, object] = {"phase": TrainerPhase.RUNNING, "attempt": attempt, "pid": 77}
    return TrainerChanged(worker, Trainer(**{**values, **kept}))  # type: ignore[arg-type]


def a_save(worker: WorkerId = W0, attempt: int = 1, ordinal: int = 1, step: int = 10, **kept: object) -> SaveReported:
    values: dict[str, object] = {
        "worker": worker,
        "prefix": f"/ckpt/ckpt-{ordinal}",
        "manifest_digest": a_manifest(step).digest,
        "step": step,
        "durable": True,
        "save_duration_s": 0.125,
    }
    return SaveReported(SaveId(SERIES, attempt, ordinal), SaveReport(**{**values, **kept}))  # type: ignore[arg-type]


def a_manifest(value: int = 1) -> Manifest:
    entry = ManifestEntry(b"layer/.ATTRIBUTES/VARIABLE_VALUE", "float32", (2, 3), crc32c=value, size_bytes=24)
    return Manifest((entry,), (24,))


def a_sender(worker: WorkerId = W0, agent: int = 1, launcher: int = 1) -> Sender:
    return Sender(RUN, worker, agent, launcher)


def a_hello(worker: WorkerId = W0, agent: int = 1, launcher: int = 1, **kept: object) -> Hello:
    values: dict[str, object] = {
        "job": JOB,
        "members": MEMBERS,
        "host": "here",
        "next_address": f"127.0.0.1:{40_000 + worker.task_id}",
    }
    return Hello(a_sender(worker, agent, launcher), **{**values, **kept})  # type: ignore[arg-type]


def a_report(event: Event, attempt: int = 1, report_id: str = "worker/0/1/1") -> Report:
    return Report(report_id, attempt, event)  # type: ignore[arg-type]
