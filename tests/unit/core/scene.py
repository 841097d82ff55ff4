"""A run in the making: facts with keyword defaults, and the real judge and planner after each one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from lastgood.manifest import OBJECT_GRAPH_KEY, Kind, Manifest, ManifestEntry
from lastgood.reasons import Reason
from lastgood_controller import judge, plan
from lastgood_controller.events import (
    CallEntered,
    CheckpointsRemoved,
    DirectoryListed,
    Event,
    FirstStepDone,
    ReceiptGiven,
    RunOpened,
    SaveFailed,
    SaveReported,
    SteeringLost,
    StopAsked,
    TrainerChanged,
    Verified,
    WorkerConnected,
    WorkerDisconnected,
)
from lastgood_controller.fold import (
    apply,
    opened,
)
from lastgood_controller.model import (
    Cause,
    FoundCheckpoint,
    Listing,
    Medium,
    Policy,
    Receipt,
    SaveId,
    SaveReport,
    SeriesId,
    Session,
    Task,
    Trainer,
    TrainerPhase,
    Verdict,
    Verification,
    WorkerId,
)

CHIEF, OTHER, THIRD = (WorkerId("worker", index) for index in range(3))
SERIES = SeriesId("5e71e5", 0)
EMA = SeriesId("e3a", 0)


def entry(key: str, crc32c: int = 1, kind: Kind = Kind.MIRRORED) -> ManifestEntry:
    return ManifestEntry(key.encode(), "float32", (2,), crc32c, 8, kind=kind)


def manifest(values: Mapping[str, int] | None = None, graph: int = 0, own: int | None = None) -> Manifest:
    """A manifest of mirrored values by key. graph: checksum of the object graph. own: of a variable per worker."""
    entries = [entry(key, crc) for key, crc in (values or {"a": 1, "b": 2}).items()]
    entries += [entry("own", own, Kind.PER_WORKER)] if own is not None else []
    entries += [replace(entry("x", graph), key=OBJECT_GRAPH_KEY)] if graph else []
    return Manifest(tuple(sorted(entries, key=lambda each: each.key)), (100,))


class Scene:
    """Applies facts, lets judge and planner come to rest after each, and remembers every event."""

    def __init__(self, workers: int = 2, policy: Policy | None = None, connect: bool = True) -> None:
        self.members = (CHIEF, OTHER, THIRD)[:workers]
        self.now_s = 100.0
        self.manifests: dict[str, Manifest] = {}
        self.events: list[Event] = []
        self.run = opened(RunOpened("run", "a/b/c/d", policy or Policy()), self.now_s)
        self.step = plan.Step()
        self.ports = 1
        self.settle()
        if connect:
            for member in self.members:
                self.connect(member)

    def settle(self) -> None:
        for _ in range(50):
            decisions: tuple[Event, ...] = judge.judge(self.run, self.manifests, self.now_s)
            for decision in decisions:
                self._apply(decision)
            self.step = plan.decide(self.run, self.now_s)
            for decision in self.step.decisions:
                self._apply(decision)
            if not decisions and not self.step.decisions:
                return
        raise AssertionError("deciding does not come to rest")

    def _apply(self, event: Event) -> None:
        self.events.append(event)
        self.run = apply(self.run, event, self.now_s)

    def fact(self, event: Event) -> None:
        self._apply(event)
        self.settle()

    def wait(self, duration_s: float) -> None:
        """Time passes, and every deadline on the way is met, as the reconciler would."""
        until_s = self.now_s + duration_s
        while self.step.deadline_s is not None and self.step.deadline_s <= until_s:
            self.now_s = self.step.deadline_s
            self.settle()
        self.now_s = until_s
        self.settle()

    # ------------------------------------------------------------------------------------------------- workers

    def connect(
        self, worker: WorkerId, launcher: int = 1, trainer: Trainer | None = None, highest: int = 0, host: str = "h"
    ) -> None:
        self.ports += 1
        session = Session(self.ports, launcher, host=host, next_address=f"h:{self.ports}")
        self.fact(WorkerConnected(worker, self.members, session, trainer or Trainer(), highest))

    def disconnect(self, worker: WorkerId) -> None:
        self.fact(WorkerDisconnected(worker, self.run.sessions[worker].agent_session))

    def start(self, workers: Iterable[WorkerId] | None = None) -> None:
        """The trainers of the newest attempt run."""
        for worker in workers or self.members:
            self.fact(TrainerChanged(worker, Trainer(TrainerPhase.RUNNING, self.number, 7)))

    def exit(self, worker: WorkerId, code: int | None = None, signal: int | None = None, **more: object) -> None:
        self.ports += 1
        trainer = Trainer(TrainerPhase.EXITED, self.number, 7, exit_code=code, signal=signal)
        self.fact(TrainerChanged(worker, replace(trainer, **more), f"h:{self.ports}"))  # type: ignore[arg-type]

    def stop_rest(self) -> None:
        """Every launcher that still has a trainer does as it is told."""
        for worker in self.members:
            attempt = self.run.attempt
            if attempt is not None and attempt.trainers.get(worker, Trainer()).is_running:
                self.exit(worker, signal=9, was_stopped=True)

    @property
    def number(self) -> int:
        assert self.run.attempt is not None
        return self.run.attempt.number

    # ------------------------------------------------------------------------------------------- saves and restores

    def save(
        self,
        ordinal: int = 1,
        workers: Iterable[WorkerId] | None = None,
        content: Manifest | None = None,
        step: int | None = None,
        durable: bool = True,
        series: SeriesId = SERIES,
        prefix: str = "",
        attempt: int = 0,
        deliver: bool = True,
        held: Iterable[int] = (),
    ) -> SaveId:
        """One save, reported by these workers (all of them), the manifest delivered."""
        content = content or manifest({"a": ordinal, "b": 2})
        save = SaveId(series, attempt or self.number, ordinal)
        for worker in workers or self.members:
            own = prefix or (f"/d/ckpt-{ordinal}" if worker == CHIEF else f"/t{worker.task_id}/ckpt-{ordinal}")
            at_step = step if step is not None else ordinal * 10
            if deliver:
                self.manifests[content.digest] = content
            report = SaveReport(worker, own, content.digest, at_step, durable=durable)
            if worker == CHIEF:
                report = replace(report, held=tuple(replace(save, ordinal=each) for each in held))
            self.fact(SaveReported(save, report))
        return save

    def fail_save(self, save: SaveId, worker: WorkerId) -> None:
        self.fact(SaveFailed(save, worker, "/d/ckpt-1", "OSError: no space left"))

    def open_tasks(self) -> tuple[Task, ...]:
        return tuple(task for task in self.run.tasks.values() if not task.is_done)

    def read(self, fault: Reason | None = None, task: Task | None = None, digest: str | None = None) -> None:
        """Every open task, or one of them, is answered."""
        for each in (task,) if task else self.open_tasks():
            faults = (Cause(fault, "as told"),) if fault else ()
            found = each.manifest_digest if digest is None else digest
            self.fact(Verified(Verification(each.task_id, each.reader, each.prefix, found, faults, Medium.DISK)))

    def good_save(self, ordinal: int = 1, **more: object) -> SaveId:
        save = self.save(ordinal, **more)  # type: ignore[arg-type]
        self.read()
        return save

    def verdict(self, save: SaveId) -> Verdict:
        return self.run.checkpoints[save].verdict

    def told(self, save: SaveId) -> str:
        """A verdict's standing and reasons, without the sentences."""
        verdict = self.verdict(save)
        return " ".join([verdict.standing.value, *(cause.reason.value for cause in verdict.causes)])

    def list_directory(
        self,
        *found: FoundCheckpoint,
        workers: Iterable[WorkerId] | None = None,
        directory: str = "/d",
        series: SeriesId = SERIES,
    ) -> None:
        for worker in workers or self.members:
            self.fact(DirectoryListed(worker, self.number, Listing(series, directory, found)))

    def receipt(self, worker: WorkerId, **more: object) -> None:
        attempt = self.run.attempt
        assert attempt is not None
        assert attempt.plan is not None
        planned = attempt.plan.series[0]
        base = Receipt(worker, planned.series, planned.prefixes[worker], planned.manifest_digest, restored=2)
        self.fact(ReceiptGiven(attempt.number, replace(base, **more)))  # type: ignore[arg-type]

    def receipts(self) -> None:
        for worker in self.members:
            self.receipt(worker)

    def enter(self, worker: WorkerId) -> None:
        self.fact(CallEntered(worker, self.number, "train_step"))

    def first_step(self, worker: WorkerId, step: int = 1) -> None:
        self.fact(FirstStepDone(worker, self.number, step))

    def remove(self, *prefixes: str) -> None:
        self.remove_as_of(self.number, *prefixes)

    def remove_as_of(self, attempt: int, *prefixes: str) -> None:
        """A removal that an attempt's trainer made, whenever it is told."""
        self.fact(CheckpointsRemoved(CHIEF, attempt, prefixes))

    def lose_steering(self, worker: WorkerId) -> None:
        self.fact(SteeringLost(worker, self.number, "restore", "KeyError"))

    def ask_stop(self) -> None:
        self.fact(StopAsked("ann", "enough"))

    # ---------------------------------------------------------------------------------------------------- chapters

    def train_afresh(self) -> None:
        """Attempt 1 trains, from an empty directory."""
        self.start()
        self.list_directory()

    def fail(self, worker: WorkerId = OTHER, step: int = 35) -> None:
        """A worker is killed, the rest is stopped, the next attempt is opened."""
        self.exit(worker, signal=9, reached_step=step)
        self.stop_rest()


def found(ordinal: int = 1, fault: Reason | None = None, content: Manifest | None = None) -> FoundCheckpoint:
    """A checkpoint in a directory."""
    content = content or manifest({"a": ordinal, "b": 2})
    faults = (Cause(fault, "as told"),) if fault else ()
    return FoundCheckpoint(f"/d/ckpt-{ordinal}", content.digest, ordinal * 10, faults)
