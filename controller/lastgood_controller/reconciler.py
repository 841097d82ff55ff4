"""The loop around the deciding core: facts in, decisions journalled, desired states out. One task for each run.

A pass: take every submitted fact, let judge and planner say all that follows from them, record the facts and what
follows in one transaction, and only then go on from that, answer the senders and tell the workers. Until then all of it
is a copy: a pass that can't be recorded has not happened. Nothing is decided here, and nothing is told that is not on
disk.

What may go wrong: the store fails (the facts are tried without what follows from them, else what follows without the
facts, since neither must wait for the other; senders of what is left are told to try again), or judge or planner raise
(a fault of ours: counted, logged, what they were about to say is lost and tried again later). Neither ends the loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from lastgood.manifest import Manifest
from lastgood_controller import judge as judge_module
from lastgood_controller import plan as plan_module
from lastgood_controller.actuators.local import LocalActuator
from lastgood_controller.deciding import Decide, Decided, Fault, Judge, applied, decide_all, each_applied
from lastgood_controller.events import (
    AttemptOpened,
    Event,
    RunOpened,
    SaveReported,
    WorkerDisconnected,
)
from lastgood_controller.ingest import Hello, Rejected, admit_opening
from lastgood_controller.journal import Entry, advance, steps
from lastgood_controller.metrics import Metrics
from lastgood_controller.model import (
    Policy,
    Run,
    WorkerId,
)
from lastgood_controller.shelf import ManifestShelf, ShelfWith, WantedManifests
from lastgood_controller.step import Step
from lastgood_controller.store import RecordedAlreadyError, Store, StoreError, choose_run
from lastgood_controller.submissions import Arrived, Fact, Prepare, Recorded, Submission

log = logging.getLogger(__name__)

#: Pause before deciding again after a fault of ours or of the store.
RETRY_S = 1.0
#: The shortest sleep: a deadline that has passed already must not make a busy loop.
MIN_SLEEP_S = 0.01
#: Submissions of one pass.
MAX_BATCH = 1_000


class RefusedError(Exception):
    """A sender is refused; nothing was recorded."""

    def __init__(self, rejected: Rejected) -> None:
        super().__init__(rejected.message)
        self.rejected = rejected


class StoppingError(Exception):
    """The controller is going away; nothing was recorded."""


@dataclass(frozen=True)
class Parts:
    """What every run's loop shares. writer: the one thread that writes to the store."""

    store: Store
    writer: ThreadPoolExecutor
    shelf: ManifestShelf
    actuator: LocalActuator
    metrics: Metrics
    now_s: Callable[[], float]
    judge: Judge
    decide: Decide


class RunLoop:
    """One run in memory, and the task that moves it. Everything but the writing happens on one event loop.

    waiting: what is waited for now. trouble: why nothing can be recorded now; "" as long as it can.
    """

    def __init__(self, run: Run, parts: Parts) -> None:
        self.run = run
        self.wanted = WantedManifests(run, parts.shelf)
        self.waiting = ""
        self.trouble = ""
        self.steps: dict[WorkerId, int] = {}
        self._parts = parts
        self._heard_s: dict[WorkerId, float] = {}
        self._inbox: list[Submission] = []
        self._woken = asyncio.Event()
        self._recorded = asyncio.Event()
        self._deadline_s: float | None = None
        self._is_stopping = False
        self._last_fault = ""
        self._task = asyncio.get_running_loop().create_task(self._live(), name=f"run {run.run_id}")

    # ------------------------------------------------------------------------------------------------- for servers

    async def submit(self, prepare: Prepare) -> tuple[Recorded, ...]:
        """Records what `prepare` makes of the run, and returns once that is on disk.

        Raises RefusedError, StoreError, StoppingError, or whatever `prepare` raised.
        """
        return await self.post(prepare)

    async def deliver(self, manifests: Sequence[Manifest]) -> None:
        """The same for manifests, which are judged with as soon as they are there."""
        await self.post(_nothing, tuple(manifests))

    def post(self, prepare: Prepare, manifests: tuple[Manifest, ...] = ()) -> asyncio.Future[tuple[Recorded, ...]]:
        """The same without waiting; the future may be dropped."""
        submission = Submission(prepare, manifests)
        if self._is_stopping:
            submission.refuse(StoppingError("the controller is going away: try again in a moment"))
        else:
            self._inbox.append(submission)
            self._woken.set()
        return submission.done

    def heard(self, worker: WorkerId, step: int | None = None) -> None:
        """A heartbeat: kept in memory only. step: the last one that the worker completed in the current attempt."""
        self._heard_s[worker] = self._parts.now_s()
        if step is not None:
            self.steps[worker] = step

    @property
    def is_stopping(self) -> bool:
        return self._is_stopping

    @property
    def recorded(self) -> asyncio.Event:
        """Is set when the journal has grown or the loop has ended, once: ask again for the next time."""
        return self._recorded

    async def stop(self) -> None:
        """Ends the loop after what it is recording now."""
        self._is_stopping = True
        self._woken.set()
        await self._task
        self._announce()

    # ---------------------------------------------------------------------------------------------------- the loop

    async def _live(self) -> None:
        self._woken.set()
        while not self._is_stopping:
            await self._sleep()
            batch, self._inbox = self._inbox[:MAX_BATCH], self._inbox[MAX_BATCH:]
            if self._inbox:
                self._woken.set()
            try:
                await self._pass(batch)
            except Exception as error:
                self._parts.metrics.internal_error("run")
                log.exception("a pass failed", extra={"run_id": self.run.run_id})
                self._deadline_s = self._parts.now_s() + RETRY_S
                for submission in batch:
                    submission.refuse(error)
        for submission in self._inbox:
            submission.refuse(StoppingError("the controller is going away: try again in a moment"))

    async def _sleep(self) -> None:
        timeout_s = None
        if self._deadline_s is not None:
            timeout_s = max(MIN_SLEEP_S, self._deadline_s - self._parts.now_s())
        try:
            await asyncio.wait_for(self._woken.wait(), timeout_s)
        except TimeoutError:
            return
        self._woken.clear()

    async def _pass(self, batch: Sequence[Submission]) -> None:
        """Records what has arrived with all that follows from it; then tells those who wait for either."""
        at_s, tentative = self._parts.now_s(), self.run
        for submission in batch:
            self._prepare(submission, tentative)
            tentative = applied(tentative, [event for event, _ in submission.facts], at_s)
        await self._settle(Arrived(batch), at_s)

    async def _settle(self, arrived: Arrived, at_s: float) -> None:
        decided = self._decided(arrived, at_s)
        try:
            sequences = await self._record(arrived, decided.events, at_s)
        except StoreError as error:
            if isinstance(error, RecordedAlreadyError) and arrived.known is None:
                await self._settle(self._without_known(arrived), at_s)
                return
            self._note_trouble(error)
            self._deadline_s = at_s + RETRY_S
            await self._record_apart(arrived, decided, at_s, error)
        else:
            if sequences or arrived.manifests:
                self.trouble = ""
            arrived.answer(sequences)
            self._publish(decided.outcome, at_s)

    def _prepare(self, submission: Submission, run: Run) -> None:
        if submission.done.done():
            return
        try:
            submission.facts = submission.prepare(run)
        except RefusedError as refused:
            submission.refusal = refused
        except Exception as error:
            self._parts.metrics.internal_error("request")
            submission.refusal = error

    def _decided(self, arrived: Arrived, at_s: float) -> Decided:
        run = self._with_heartbeats(applied(self.run, [event for event, _ in arrived.new], at_s))
        manifests = ShelfWith(self._parts.shelf, arrived.manifests)
        decided = decide_all(run, manifests, at_s, self._parts.judge, self._parts.decide)
        if isinstance(decided.outcome, Fault):
            self._note_fault(decided.outcome)
        else:
            self._last_fault = ""
        return decided

    async def _record(self, arrived: Arrived, decided: Sequence[Event], at_s: float) -> tuple[int, ...]:
        """Journals, and then goes on from it. Raises StoreError, and nothing has happened."""
        new: tuple[Fact, ...] = (*arrived.new, *((event, None) for event in decided))
        advanced = tuple(each_applied(self.run, [event for event, _ in new], at_s))
        sequences: tuple[int, ...] = ()
        if new or arrived.manifests:
            writing = asyncio.get_running_loop().run_in_executor(
                self._parts.writer, self._parts.store.append, self.run.run_id, new, at_s, arrived.manifests
            )
            sequences = await asyncio.shield(writing)
        self._go_on(arrived, advanced)
        return sequences

    def _go_on(self, arrived: Arrived, advanced: Sequence[tuple[Run, Event, Run]]) -> None:
        """Takes what was recorded for what is, counts it, and tells the followers."""
        if advanced:
            self.run = advanced[-1][2]
            self._announce()
        for manifest in arrived.manifests:
            self._parts.shelf.add(manifest)
            self.wanted.delivered(manifest.digest)
        for fact, _ in arrived.facts:
            if isinstance(fact, SaveReported):
                self.wanted.note(fact.report.worker, fact.report.manifest_digest)
        for before, event, after in advanced:
            if isinstance(event, AttemptOpened):
                self.steps.clear()
            self._parts.metrics.observe(before, event, after)

    async def _record_apart(self, arrived: Arrived, decided: Decided, at_s: float, error: StoreError) -> None:
        """What did not go together: facts without what follows from them, or else what follows without them."""
        if not arrived.submissions:
            return
        if decided.events:
            try:
                arrived = self._without_known(arrived)
                arrived.answer(await self._record(arrived, (), at_s))
                return
            except StoreError as again:
                self._note_trouble(again)
                error = again
        for submission in arrived.submissions:
            submission.refuse(error)
        await self._pass(())

    def _without_known(self, arrived: Arrived) -> Arrived:
        report_ids = [report_id for _, report_id in arrived.facts if report_id is not None]
        return replace(arrived, known=self._parts.store.recorded_reports(self.run.run_id, report_ids))

    def _note_trouble(self, error: StoreError) -> None:
        self._parts.metrics.internal_error("journal")
        if error.message != self.trouble:
            log.error("a pass was not recorded", extra={"run_id": self.run.run_id, "error": error.message})
        self.trouble = error.message

    def _announce(self) -> None:
        self._recorded.set()
        self._recorded = asyncio.Event()

    def _with_heartbeats(self, run: Run) -> Run:
        sessions = {
            worker: replace(session, last_heard_s=max(session.last_heard_s, self._heard_s.get(worker, 0.0)))
            for worker, session in run.sessions.items()
        }
        return replace(run, sessions=sessions)

    def _note_fault(self, fault: Fault) -> None:
        self._parts.metrics.internal_error(fault.where)
        words = f"{fault.where}: {fault.error!r}"
        if words != self._last_fault:
            log.error(
                "a fault of lastgood; nothing is decided", exc_info=fault.error, extra={"run_id": self.run.run_id}
            )
        self._last_fault = words

    def _publish(self, outcome: Step | Fault, at_s: float) -> None:
        self._deadline_s = at_s + RETRY_S
        if isinstance(outcome, Step):
            self.waiting, self._deadline_s = outcome.waiting, outcome.deadline_s
        try:
            self._parts.actuator.bring_about(self.run)
        except Exception:
            self._parts.metrics.internal_error("actuator")
            log.exception("the actuator failed", extra={"run_id": self.run.run_id})
            self._deadline_s = min(self._deadline_s or float("inf"), self._parts.now_s() + RETRY_S)


class Reconciler:
    """Every run of one state directory."""

    def __init__(
        self,
        store: Store,
        policy: Policy,
        metrics: Metrics,
        now_s: Callable[[], float],
        actuator: LocalActuator,
        judge: Judge = judge_module.judge,
        decide: Decide = plan_module.decide,
    ) -> None:
        self.policy = policy
        self.metrics = metrics
        self.actuator = actuator
        self.now_s = now_s
        self.store = store
        self.shelf = ManifestShelf(store)
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-writer")
        self._parts = Parts(store, self._writer, self.shelf, actuator, metrics, now_s, judge, decide)
        self._loops: dict[str, RunLoop] = {}
        self._opening = asyncio.Lock()
        self._is_stopping = False

    async def start(self) -> None:
        """Counts the whole journal, and takes up the live runs. No stream of a former controller is open any more."""
        for row in self.store.runs():
            run: Run | None = None
            for before, entry, after in steps(self.store.load(row.run_id)):
                self.metrics.observe(before, entry.event, after)
                run = after
            if run is None or run.end is not None:
                continue
            loop = self._take_up(run)
            await loop.submit(_all_disconnected)

    async def stop(self) -> None:
        """Ends every loop after what it is recording, then the writer."""
        self._is_stopping = True
        for loop in self._loops.values():
            await loop.stop()
        self._writer.shutdown(wait=True)

    async def opened_by(self, hello: Hello) -> RunLoop:
        """The run of a hello: the known one, or a new one. Raises RefusedError, StoreError, StoppingError."""
        run_id = hello.sender.run_id
        loop = await self.get(run_id)
        if loop is not None:
            return loop
        if rejected := admit_opening(hello):
            raise RefusedError(rejected)
        async with self._opening:
            if run_id in self._loops:
                return self._loops[run_id]
            self._refuse_when_stopping()
            event, at_s = RunOpened(run_id, hello.job, self.policy), self.now_s()
            (sequence,) = await asyncio.get_running_loop().run_in_executor(
                self._writer, self.store.append, run_id, ((event, None),), at_s
            )
            run = advance(None, Entry(sequence, at_s, event))
            self.metrics.observe(None, event, run)
            return self._take_up(run)

    async def get(self, run_id: str) -> RunLoop | None:
        """The run of that id; one that has ended is read from the journal again. None when there is none."""
        if run_id in self._loops:
            return self._loops[run_id]
        async with self._opening:
            if run_id in self._loops:
                return self._loops[run_id]
            run: Run | None = None
            for entry in await asyncio.to_thread(self.store.load, run_id):
                run = advance(run, entry)
            if run is None:
                return None
            loop = self._take_up(run)
            if any(session.connected for session in run.sessions.values()):
                loop.post(_all_disconnected)  # its streams ended with the controller that wrote this
            return loop

    async def find(self, name: str) -> RunLoop | None:
        """The run of that id, job or name: a live one before an ended one, then the one opened last."""
        rows = await asyncio.to_thread(self.store.runs)
        row = choose_run(rows, name)
        return None if row is None else await self.get(row.run_id)

    async def all(self) -> list[RunLoop]:
        """Every run that the store knows, in the order in which they were first opened."""
        rows = await asyncio.to_thread(self.store.runs)
        return [loop for row in rows if (loop := await self.get(row.run_id)) is not None]

    async def keep_manifests(self, loop: RunLoop, manifests: Sequence[Manifest]) -> None:
        """Stores what digests of a run stand for, and has it judged with them. Raises StoreError, StoppingError."""
        self._refuse_when_stopping()
        await loop.deliver(manifests)
        for each in self._loops.values():  # others that wait for the same
            for manifest in manifests:
                each.wanted.delivered(manifest.digest)

    def _take_up(self, run: Run) -> RunLoop:
        self._refuse_when_stopping()
        loop = RunLoop(run, self._parts)
        self._loops[run.run_id] = loop
        return loop

    def _refuse_when_stopping(self) -> None:
        if self._is_stopping:
            raise StoppingError("the controller is going away: try again in a moment")


def _all_disconnected(run: Run) -> list[Fact]:
    """Whoever was heard last: nobody is lost before a full time-out has passed since this start."""
    return [(WorkerDisconnected(worker, session.agent_session), None) for worker, session in run.sessions.items()]


def _nothing(run: Run) -> list[Fact]:
    return []
