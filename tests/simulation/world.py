"""A gang of workers, their disks and their agents in virtual time, driving the real judge, planner and desired state.

Nothing of lastgood is replaced: facts go through the fold, decisions come from `judge` and `decide`, workers obey
`desired_state`. What is simulated is what lies outside the controller: processes that die, files that tear, messages
that are late or come twice, a controller that dies before, after or between any two passes, and a journal that has no
room. A pass is what it is in production: a fact and all that follows from it, recorded together or not at all, before
anybody is told. Values are a hash chain that includes the attempt, so that two branches never hold the same weights.
`oracle` checks each event as it is recorded.
"""

from __future__ import annotations

import hashlib
import heapq
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

import lastgood_agent
from lastgood.manifest import Kind, Manifest, ManifestEntry
from lastgood.reasons import Reason
from lastgood_controller import judge, plan
from lastgood_controller.deciding import applied, each_applied
from lastgood_controller.desired import Desired, TrainerAction, desired_state
from lastgood_controller.events import (
    CheckpointsRemoved,
    DirectoryListed,
    Event,
    FirstStepDone,
    ReceiptGiven,
    RunOpened,
    SaveReported,
    SteeringLost,
    StopAsked,
    TrainerChanged,
    Verified,
    WorkerConnected,
    WorkerDisconnected,
    WorkerLeaving,
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
    Run,
    SaveId,
    SaveReport,
    ScriptError,
    SeriesId,
    Session,
    Task,
    Trainer,
    TrainerPhase,
    Verification,
    WorkerId,
)
from lastgood_controller.pins import Word as ControllersWord
from tests.simulation.oracle import Oracle

sys.path.append(str(Path(lastgood_agent.__file__).parent / "inject"))
from _lastgood_hooks.keeping import PinName, Word, to_keep

SERIES = SeriesId("5e71e5", 0)
DIRECTORY = "/ckpt"
STEP_S = 0.2

#: What a survivor's trainer ends with once its peer is gone.
PEER_ERROR = ScriptError(
    "tensorflow.python.framework.errors_impl.UnavailableError", "Collective ops is aborted by: Socket closed"
)

#: Pause of a controller before it decides again what could not be recorded.
RETRY_S = 1.0


class Break(Enum):
    """Where a pass of the controller is broken off."""

    BEFORE_THE_COMMIT = "it dies, and its journal holds nothing of the pass"
    AFTER_THE_COMMIT = "it dies, its journal holds all of the pass, and nobody was told"
    AFTER_THE_FACTS = "there was room for the facts and not for what follows from them; then it dies, nobody was told"
    NO_ROOM = "nothing could be recorded, and it lives on"


@dataclass(frozen=True)
class File:
    """A checkpoint on a disk; under its own name and in a pin it is one and the same."""

    step: int
    number: int
    value: str
    manifest: Manifest
    is_whole: bool = True


def manifest_of(value: str, step: int) -> Manifest:
    """What a checkpoint of these weights holds."""
    crc = int(hashlib.sha256(value.encode()).hexdigest()[:8], 16)
    entries = (
        ManifestEntry(b"step/.ATTRIBUTES/VARIABLE_VALUE", "int64", (), step, 8, kind=Kind.MIRRORED),
        ManifestEntry(b"w/.ATTRIBUTES/VARIABLE_VALUE", "float32", (4,), crc, 16, kind=Kind.MIRRORED),
    )
    return Manifest(entries, (24,))


@dataclass
class SimTrainer:
    """A training process: what it does next, and where its training stands."""

    attempt: int
    pid: int
    ready_s: float
    state: str = "importing"
    step: int = 0
    number: int = 0
    value: str = "initial"
    ordinal: int = 0
    has_listed: bool = False
    has_stepped: bool = False


@dataclass
class SimWorker:
    """A launcher, its agent and its trainer."""

    worker: WorkerId
    session: int = 1
    launcher: int = 1
    port: int = 1000
    connected: bool = False
    away_until_s: float = 0.0
    trainer: SimTrainer | None = None
    word: Trainer = field(default_factory=Trainer)
    started: int = 0
    desired: Desired = field(default_factory=Desired)
    order_seen: int = 0
    spools: tuple[list[tuple[str, object]], list[tuple[str, object]]] = field(default_factory=lambda: ([], []))
    tasks_seen: set[str] = field(default_factory=set)
    restores_wrong: bool = False
    hooks_late_until_s: float = 0.0
    is_leaving: bool = False
    is_gone: bool = False

    @property
    def address(self) -> str:
        return f"host:{self.port}"


class World:
    """One run from its opening to its end, or to the end of a test's patience."""

    def __init__(
        self, seed: int = 0, workers: int = 2, total_steps: int = 30, policy: Policy | None = None, keep: int = 3
    ) -> None:
        self.random = random.Random(seed)
        self.now_s = 1000.0
        self.total_steps = total_steps
        self.members = tuple(WorkerId("worker", index) for index in range(workers))
        self.workers = {member: SimWorker(member) for member in self.members}
        self.keep = keep
        self.disk: dict[str, File] = {}
        self.pins: dict[PinName, str] = {}
        self.pinned: dict[PinName, File] = {}
        self.saved_at: dict[str, PinName] = {}
        self.last_good: frozenset[PinName] = frozenset()
        self.manifests: dict[str, Manifest] = {}
        self.journal: list[tuple[Event, float]] = []
        self.seen: set[str] = set()
        self.is_up = True
        self.breaks: dict[int, Break] = {}
        self.passes = 0
        self.orders = 0
        self.wake = 0
        self.reports = 0
        self.pids = 100
        self.waiting = ""
        self.oracle = Oracle(self)
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        first = RunOpened("run", "local/none/Job/sim", policy or Policy())
        self.journal.append((first, self.now_s))
        self.run = opened(first, self.now_s)
        for worker in self.workers.values():
            self.after(self.random.random(), lambda w=worker: self.connect(w))
        self.after(STEP_S, self._tick)
        self.after(2.0, self._heartbeat)
        self._pass()

    # ------------------------------------------------------------------------------------------------------- the clock

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        """Does something later."""
        self._count += 1
        heapq.heappush(self._queue, (self.now_s + delay_s, self._count, action))

    def advance(self, duration_s: float) -> None:
        """Lets time pass, or the run end."""
        until_s = self.now_s + duration_s
        while self._queue and self._queue[0][0] <= until_s and not self.is_over:
            at_s, _, action = heapq.heappop(self._queue)
            self.now_s = max(self.now_s, at_s)
            action()
        self.now_s = max(self.now_s, until_s)

    @property
    def is_over(self) -> bool:
        return self.run.end is not None and all(w.trainer is None for w in self.workers.values()) and self.is_up

    # -------------------------------------------------------------------------------------------------- the controller

    def break_next(self, how: Break) -> None:
        """Breaks off the pass that comes next."""
        self.breaks[self.passes] = how

    def _pass(self, *facts: Event, manifest: Manifest | None = None) -> bool:
        """Facts and all that follows from them, recorded together, then told. Whether their sender was answered."""
        how = self.breaks.get(self.passes)
        self.passes += 1
        manifests = {**self.manifests, manifest.digest: manifest} if manifest is not None else self.manifests
        decisions, step = self._decided(applied(self.run, facts, self.now_s), manifests)
        if how is Break.BEFORE_THE_COMMIT:
            self.restart_controller(0.5)
        elif how is Break.NO_ROOM:
            self._wake_in(RETRY_S)
        elif how is Break.AFTER_THE_FACTS:
            self._commit(facts, manifests)
            self.restart_controller(0.5)
        elif how is Break.AFTER_THE_COMMIT:
            self._commit((*facts, *decisions), manifests)
            self.restart_controller(0.5)
        else:
            self._commit((*facts, *decisions), manifests)
            self.waiting = step.waiting
            self.oracle.check_step(step)
            self._publish()
            self._wake_in(None if step.deadline_s is None else step.deadline_s - self.now_s)
            return True
        return False

    def _decided(self, run: Run, manifests: dict[str, Manifest]) -> tuple[list[Event], plan.Step]:
        """What follows from a run, on a copy of it."""
        decided: list[Event] = []
        for _ in range(100):
            judged = judge.judge(run, manifests, self.now_s)
            run = applied(run, judged, self.now_s)
            assert judge.judge(run, manifests, self.now_s) == (), "judging twice must change nothing"
            step = plan.decide(run, self.now_s)
            run = applied(run, step.decisions, self.now_s)
            decided += [*judged, *step.decisions]
            if not step.decisions and not judged:
                return decided, step
        raise AssertionError("deciding does not come to rest")

    def _commit(self, events: tuple[Event, ...], manifests: dict[str, Manifest]) -> None:
        self.manifests = manifests
        self.journal += [(event, self.now_s) for event in events]
        for before, event, after in each_applied(self.run, events, self.now_s):
            self.run = after
            self.oracle.check(before, event, after)

    def _wake_in(self, delay_s: float | None) -> None:
        self.wake += 1
        if delay_s is not None:
            self.after(delay_s, lambda wake=self.wake: self._woken(wake))

    def _woken(self, wake: int) -> None:
        if self.is_up and wake == self.wake:
            self._pass()

    def _publish(self) -> None:
        self.orders += 1
        for worker in self.workers.values():
            if worker.connected:
                order = desired_state(self.run, worker.worker)
                delay_s = self.random.uniform(0.001, 0.05)
                self.after(delay_s, lambda w=worker, o=order, n=self.orders: self._obey(w, o, n))

    def receive(self, report_id: str, event: Event) -> bool:
        """Ingest: recorded once, however often it comes. Whether the sender was answered."""
        if report_id in self.seen:
            return True
        recorded = len(self.journal)
        is_answered = self._pass(event)
        if len(self.journal) > recorded:
            self.seen.add(report_id)
        return is_answered

    def restart_controller(self, away_s: float) -> None:
        """The controller dies now, and comes back with nothing but its journal."""
        if not self.is_up:
            return
        self.is_up = False
        for worker in self.workers.values():
            worker.connected = False
        self.after(away_s, self._controller_back)

    def ask_to_stop(self, grace_s: float = 0.0) -> None:
        """A person wants the run to end."""
        if self.is_up and self.run.end is None:
            self._pass(StopAsked("ann", "enough", grace_s))

    def open_again(self) -> None:
        """A person starts the same command again after the run has ended."""
        if not self.is_up or self.run.end is None:
            return
        for worker in self.workers.values():
            if not worker.is_gone:
                self.kill_launcher(worker)
        self._pass(RunOpened("run", self.run.job, self.run.policy, "ann"))

    def _controller_back(self) -> None:
        self.is_up = True
        first, at_s = self.journal[0]
        assert isinstance(first, RunOpened)
        again = opened(first, at_s)
        for event, at_s in self.journal[1:]:
            again = apply(again, event, at_s)
        assert _unheard(again) == _unheard(self.run), "the journal must give the same run"
        self.run = again
        sessions = self.run.sessions.items()
        if not self._pass(*(WorkerDisconnected(member, session.agent_session) for member, session in sessions)):
            self.restart_controller(0.5)

    def _heartbeat(self) -> None:
        for worker in self.workers.values():
            session = self.run.sessions.get(worker.worker)
            if self.is_up and worker.connected and session is not None:
                heard = replace(session, last_heard_s=self.now_s)
                self.run = replace(self.run, sessions={**self.run.sessions, worker.worker: heard})
            elif self.is_up and not worker.connected and self.now_s >= worker.away_until_s and not worker.is_gone:
                self.connect(worker)
        self.after(1.0, self._heartbeat)

    # --------------------------------------------------------------------------------------------- agents and launchers

    def connect(self, worker: SimWorker) -> None:
        if not self.is_up or worker.connected or worker.is_gone or self.now_s < worker.away_until_s:
            return
        worker.session += 1
        worker.connected = True  # it is told what it should be doing in the pass that records this
        address = "" if worker.is_leaving else worker.address
        session = Session(worker.session, worker.launcher, host="host", next_address=address)
        if not self._pass(WorkerConnected(worker.worker, self.members, session, worker.word, worker.started)):
            worker.connected = False
            return
        for lane in (0, 1):
            self.after(0.01, lambda lane=lane: self._send(worker, lane))

    def disconnect(self, worker: SimWorker, away_s: float) -> None:
        """The agent, or the network, is away for some time; the trainer trains on."""
        worker.away_until_s = max(worker.away_until_s, self.now_s + away_s)
        if not worker.connected:
            return
        worker.connected = False
        if self.is_up:
            self._pass(WorkerDisconnected(worker.worker, worker.session))

    def report(self, worker: SimWorker, fact: object, urgent: bool = False) -> None:
        """Spools a fact, or a manifest. A trainer's end overtakes what its hooks have written."""
        self.reports += 1
        lane = 0 if urgent else 1
        worker.spools[lane].append((f"r{self.reports}", fact))
        if len(worker.spools[lane]) == 1:
            self.after(self.random.uniform(0.001, 0.02 if urgent else 0.2), lambda: self._send(worker, lane))

    def _send(self, worker: SimWorker, lane: int) -> None:
        spool = worker.spools[lane]
        if not spool or not worker.connected or not self.is_up:
            return
        if lane == 1 and self.now_s < worker.hooks_late_until_s:
            self.after(worker.hooks_late_until_s - self.now_s, lambda: self._send(worker, lane))
            return
        report_id, fact = spool[0]
        if isinstance(fact, Manifest):
            is_answered = self._pass(manifest=fact)
        else:
            is_answered = self.receive(report_id, fact)  # type: ignore[arg-type]
        if is_answered and self.random.random() < 0.9 and spool and spool[0][0] == report_id:
            spool.pop(0)
        self.after(self.random.uniform(0.001, 0.05), lambda: self._send(worker, lane))

    def _obey(self, worker: SimWorker, order: Desired, number: int) -> None:
        if worker.is_gone or not worker.connected or number < worker.order_seen:
            return
        worker.order_seen = number
        worker.desired = order
        running = worker.trainer
        if order.action is TrainerAction.STOP and running is not None and running.attempt <= order.attempt:
            delay_s = self.random.uniform(0.01, 0.3)
            self.after(delay_s, lambda: self.end_trainer(worker, running, signal=9, stopped=True))
        if order.action is TrainerAction.RUN and worker.started < order.attempt:
            self._start(worker, order)
        for task in order.tasks:
            if task.task_id not in worker.tasks_seen:
                worker.tasks_seen.add(task.task_id)
                self.after(self.random.uniform(0.02, 0.5), lambda t=task: self._read(worker, t))

    def _start(self, worker: SimWorker, order: Desired) -> None:
        if worker.trainer is not None:
            self.end_trainer(worker, worker.trainer, signal=9, stopped=True)
        self.oracle.check_start(order.attempt)
        worker.started = order.attempt
        self.pids += 1
        worker.trainer = SimTrainer(order.attempt, self.pids, self.now_s + self.random.uniform(1.0, 3.0))
        worker.word = Trainer(TrainerPhase.RUNNING, order.attempt, self.pids)
        self.report(worker, TrainerChanged(worker.worker, worker.word), urgent=True)

    def end_trainer(
        self,
        worker: SimWorker,
        trainer: SimTrainer | None,
        exit_code: int | None = None,
        signal: int | None = None,
        stopped: bool = False,
        error: ScriptError | None = None,
    ) -> None:
        """The trainer is reaped, if it is still that one."""
        if trainer is None or worker.trainer is not trainer:
            return
        worker.trainer = None
        worker.port += 1
        worker.word = Trainer(
            TrainerPhase.EXITED,
            trainer.attempt,
            trainer.pid,
            exit_code,
            signal,
            ("last words",),
            was_stopped=stopped,
            reached_step=trainer.step if trainer.has_stepped else None,
            asked_signal=15 if worker.is_leaving else None,
            error=error,
        )
        address = "" if worker.is_leaving else worker.address
        self.report(worker, TrainerChanged(worker.worker, worker.word, address), urgent=True)

    def preempt(self, worker: SimWorker, grace_s: float) -> None:
        """The launcher is told to end. Its trainer, which swallows that, trains on until it is killed."""
        trainer = worker.trainer
        if trainer is None or worker.is_leaving or worker.is_gone:
            return
        worker.is_leaving = True
        self.report(worker, WorkerLeaving(worker.worker, trainer.attempt, "SIGTERM", grace_s), urgent=True)
        self.after(grace_s, lambda: self._leave(worker, trainer))

    def _leave(self, worker: SimWorker, trainer: SimTrainer) -> None:
        if worker.is_leaving:
            self.end_trainer(worker, trainer, signal=9, stopped=True)
            self.after(0.5, lambda: self._replace_launcher(worker))

    def _replace_launcher(self, worker: SimWorker) -> None:
        if worker.is_leaving:
            self.kill_launcher(worker)

    def kill_launcher(self, worker: SimWorker) -> None:
        """The launcher dies and its trainer with it; a new one says hello a little later."""
        worker.trainer = None
        worker.is_leaving = False
        worker.port += 1
        worker.launcher += 1
        worker.word = Trainer()
        worker.spools[0].clear()
        self.disconnect(worker, self.random.uniform(0.2, 2.0))

    def find(self, prefix: str, digest: str) -> File | None:
        """A checkpoint under its own name, else in its pin; what else lies at its name, if no pin has it."""
        own = self.disk.get(prefix)
        if own is not None and own.manifest.digest == digest and own.is_whole:
            return own
        held = (file for name, file in self.pinned.items() if self.pins[name] == prefix)
        return next((file for file in held if file.manifest.digest == digest), own)

    def _read(self, worker: SimWorker, task: Task) -> None:
        if worker.is_gone:
            return
        task_id, prefix = task.task_id, task.prefix
        file = self.find(prefix, task.manifest_digest)
        faults: tuple[Cause, ...] = ()
        if file is None:
            faults = (Cause(Reason.VANISHED, f"{prefix} is not there"),)
        elif not file.is_whole:
            faults = (Cause(Reason.CORRUPT, f"{prefix}: the checksum of w does not match"),)
        digest = file.manifest.digest if file is not None else ""
        found = Verification(task_id, worker.worker, prefix, digest, faults, Medium.DISK)
        self.report(worker, Verified(found))

    # ------------------------------------------------------------------------------------------------------- trainers

    def _tick(self) -> None:
        self.after(STEP_S, self._tick)
        for worker in self.workers.values():
            if worker.trainer is not None:
                self._think(worker, worker.trainer)
        trainers = [w.trainer for w in self.workers.values() if w.trainer is not None]
        attempts = {trainer.attempt for trainer in trainers}
        if len(attempts) != 1 or len(trainers) < len(self.members):
            self._notice_broken_gangs()
        elif all(trainer.state == "training" for trainer in trainers):
            self._train()

    def _notice_broken_gangs(self) -> None:
        for worker in self.workers.values():
            trainer = worker.trainer
            if trainer is not None and trainer.state == "training" and self.random.random() < 0.3:
                self.end_trainer(worker, trainer, exit_code=1, error=PEER_ERROR)

    def _think(self, worker: SimWorker, trainer: SimTrainer) -> None:
        order = worker.desired
        if trainer.state == "importing" and self.now_s >= trainer.ready_s:
            trainer.state = "asking"
        if order.attempt != trainer.attempt:
            return
        if trainer.state == "asking":
            self._ask(worker, trainer, order)
        elif trainer.state == "gate" and (order.gate_open or not order.steering):
            trainer.state = "training"

    def _ask(self, worker: SimWorker, trainer: SimTrainer, order: Desired) -> None:
        if not order.steering:
            files = [file for file in self.disk.values() if file.is_whole]
            newest = max(files, key=lambda file: file.number, default=None)
            self._take(trainer, newest)
            trainer.state = "training"
        elif order.plan is not None and not order.plan.series:
            trainer.state = "gate"
        elif order.plan is not None:
            planned = order.plan.series[0]
            self._restore(worker, trainer, planned.prefixes[worker.worker], planned.manifest_digest)
        elif order.listing_wanted and not trainer.has_listed:
            trainer.has_listed = True
            self.report(worker, DirectoryListed(worker.worker, trainer.attempt, self._list(worker)))

    def _list(self, worker: SimWorker) -> Listing:
        if worker.worker != self.members[0]:
            return Listing(SERIES, f"{DIRECTORY}/temporary-{worker.worker.task_id}", ())
        found: list[FoundCheckpoint] = []
        for prefix, file in sorted(self.disk.items(), key=lambda item: -item[1].number):
            faults = () if file.is_whole else (Cause(Reason.CORRUPT, "the checksum of w does not match"),)
            found.append(FoundCheckpoint(prefix, file.manifest.digest, file.step, faults))
            if file.is_whole:
                return Listing(SERIES, DIRECTORY, tuple(found))
        for name, file in sorted(self.pinned.items(), reverse=True):
            if file.is_whole:
                found.append(FoundCheckpoint(self.pins[name], file.manifest.digest, file.step))
                break
        return Listing(SERIES, DIRECTORY, tuple(found))

    def _take(self, trainer: SimTrainer, file: File | None) -> None:
        if file is not None:
            trainer.step, trainer.number, trainer.value = file.step, file.number, file.value

    def _restore(self, worker: SimWorker, trainer: SimTrainer, prefix: str, digest: str) -> None:
        file = self.find(prefix, digest)
        receipt = Receipt(worker.worker, SERIES, prefix, digest, restored=2)
        if file is None or not file.is_whole or file.manifest.digest != digest:
            receipt = replace(receipt, restored=0, error="DataLossError")
        elif worker.restores_wrong:
            worker.restores_wrong = False
            receipt = replace(receipt, restored=1, wrong_value=("w",))
        self.report(worker, ReceiptGiven(trainer.attempt, receipt))
        if receipt.error:
            trainer.state = "failed"
            self.after(0.3, lambda: self.end_trainer(worker, trainer, exit_code=1))
            return
        self._take(trainer, file)
        trainer.state = "gate"

    def _train(self) -> None:
        for worker in self.workers.values():
            trainer = worker.trainer
            if trainer is None:
                continue
            if trainer.step >= self.total_steps:
                self.end_trainer(worker, trainer, exit_code=0)
                continue
            trainer.step += 1
            trainer.value = hashlib.sha256(f"{trainer.value} {trainer.attempt}".encode()).hexdigest()
            if not trainer.has_stepped:
                trainer.has_stepped = True
                self.report(worker, FirstStepDone(worker.worker, trainer.attempt, trainer.step))
            if trainer.step % 5 == 0:
                self._save(worker, trainer)

    def _save(self, worker: SimWorker, trainer: SimTrainer) -> None:
        trainer.ordinal += 1
        trainer.number += 1
        manifest = manifest_of(trainer.value, trainer.step)
        is_chief = worker.worker == self.members[0]
        directory = DIRECTORY if is_chief else f"{DIRECTORY}/temporary-{worker.worker.task_id}"
        prefix = f"{directory}/ckpt-{trainer.number}"
        file = File(trainer.step, trainer.number, trainer.value, manifest)
        if is_chief:
            self.disk[prefix] = replace(file, is_whole=False)
        save = SaveId(SERIES, trainer.attempt, trainer.ordinal)
        report = SaveReport(worker.worker, prefix, manifest.digest, trainer.step, durable=is_chief)
        self.after(0.15, lambda: self._saved(worker, trainer, save, report, file))

    def _saved(self, worker: SimWorker, trainer: SimTrainer, save: SaveId, report: SaveReport, file: File) -> None:
        if worker.trainer is not trainer:
            return
        if worker.worker != self.members[0]:
            self.report(worker, SaveReported(save, report))
            self.report(worker, file.manifest)
            return
        self.disk[report.prefix] = file
        self.oracle.check_rotation(worker.desired.pins, lambda: self._hold_and_rotate(worker, save, report, file))

    def _hold_and_rotate(self, worker: SimWorker, save: SaveId, report: SaveReport, file: File) -> None:
        held = self._pin(worker, save, report.prefix, file)
        self.report(worker, SaveReported(save, replace(report, held=held)))
        self.report(worker, file.manifest)
        old = sorted((f.number, p) for p, f in self.disk.items() if f.number <= file.number - self.keep)
        self._rotate(worker, save.attempt, old)

    def _pin(self, worker: SimWorker, save: SaveId, prefix: str, file: File) -> tuple[SaveId, ...]:
        """What the chief's hooks do when a save has returned; what they hold then."""
        newest = PinName(save.attempt, save.ordinal, save.series.signature, save.series.ordinal)
        self.pins[newest], self.pinned[newest], self.saved_at[prefix] = prefix, file, newest
        said = _as_hooks_read(worker.desired.pins, self.is_up and worker.connected)
        good = {name: at for name, at in self.pins.items() if str(name) in said.good}
        own = [text for text, at in said.good.items() if at in self.disk and str(self.saved_at.get(at, text)) == text]
        if good or own:
            self.last_good = frozenset(good)
        keep = to_keep(self.pins, newest, said, self.last_good)
        self.pins = {name: at for name, at in self.pins.items() if name in keep}
        self.pinned = {name: pinned for name, pinned in self.pinned.items() if name in keep}
        assert len({*self.pins} - self.last_good - {*good}) <= 2, "besides the good ones there are at most two"
        return tuple(SaveId(SeriesId(n.signature, n.rank), n.attempt, n.ordinal) for n in sorted(self.pins))

    def _rotate(self, worker: SimWorker, attempt: int, old: list[tuple[int, str]]) -> None:
        said = _as_hooks_read(worker.desired.pins, False)
        held = {str(name) for name in self.pins}
        vetoed = {at for text, at in said.good.items() if text not in held and str(self.saved_at.get(at, text)) == text}
        old = [(number, prefix) for number, prefix in old if prefix not in vetoed]
        if old:
            for _, prefix in old:
                del self.disk[prefix]
            prefixes = tuple(prefix for _, prefix in old)
            self.report(worker, CheckpointsRemoved(worker.worker, attempt, prefixes))

    # --------------------------------------------------------------------------------------------------------- faults

    def flip_newest(self) -> None:
        """One bit of the newest checkpoint changes on the disk."""
        if self.disk:
            prefix = max(self.disk, key=lambda each: self.disk[each].number)
            hurt = self.disk[prefix]
            self.disk[prefix] = broken = replace(hurt, is_whole=False)
            self.pinned = {name: broken if file == hurt else file for name, file in self.pinned.items()}

    def diverge(self, worker: SimWorker) -> None:
        """A worker's weights change without an error."""
        if worker.trainer is not None:
            worker.trainer.value += "!"

    def lose_steering(self, worker: SimWorker) -> None:
        """A steering hook fails on one worker."""
        if worker.trainer is not None:
            self.report(worker, SteeringLost(worker.worker, worker.trainer.attempt, "restore", "KeyError"))

    def delay_hooks(self, worker: SimWorker, delay_s: float) -> None:
        """What a worker's hooks tell comes late: its disk is slow. Its launcher's word comes as ever."""
        worker.hooks_late_until_s = max(worker.hooks_late_until_s, self.now_s + delay_s)

    def lose_machine(self, worker: SimWorker) -> None:
        """A machine ends for ever, and nobody is left to say so."""
        worker.is_gone = True
        worker.trainer = None
        self.disconnect(worker, 0.0)

    def strike(self) -> None:
        """One fault, by chance."""
        worker = self.workers[self.random.choice(self.members)]
        kind = self.random.random()
        if kind < 0.28:
            self.end_trainer(worker, worker.trainer, signal=9)
        elif kind < 0.35:
            self.preempt(worker, self.random.choice((0.5, 5.0, 28.0)))
        elif kind < 0.45:
            self.kill_launcher(worker)
        elif kind < 0.6:
            self.disconnect(worker, self.random.choice((0.5, 3.0, 20.0)))
        elif kind < 0.71:
            self.restart_controller(self.random.choice((0.0, 0.1, 2.0, 100.0)))
        elif kind < 0.75:
            self.break_next(self.random.choice(tuple(Break)))
        elif kind < 0.82:
            self.flip_newest()
        elif kind < 0.92 and self.random.random() < 0.8:
            self.delay_hooks(worker, self.random.choice((5.0, 15.0, 40.0)))
        elif kind < 0.92:
            self.lose_machine(worker)
        elif kind < 0.94:
            self.diverge(worker)
        elif kind < 0.97:
            worker.restores_wrong = True
        else:
            self.lose_steering(worker)


def _as_hooks_read(word: ControllersWord | None, is_live: bool) -> Word:
    """The controller's word on its way through agent and hooks."""
    if word is None:
        return Word()

    def name(save: SaveId) -> str:
        return str(PinName(save.attempt, save.ordinal, save.series.signature, save.series.ordinal))

    return Word(
        is_live,
        {name(each.save): each.prefix for each in word.good},
        frozenset(map(name, word.undecided)),
        {
            f"{save.series.signature or 'any'}.{save.series.ordinal}": (save.attempt, save.ordinal)
            for save in word.through
        },
    )


def _unheard(run: Run) -> Run:
    sessions = {worker: replace(session, last_heard_s=0.0) for worker, session in run.sessions.items()}
    return replace(run, sessions=sessions)
