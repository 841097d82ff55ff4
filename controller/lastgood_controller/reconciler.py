"""The loop around the deciding core: facts in, decisions journalled, desired states out. One task for each run.

A round: take every submitted fact, record all in one transaction, answer their senders; then let judge and planner
decide until neither has more to say, record that in one transaction, and only then tell anybody. Nothing is decided
here, and nothing is told that is not on disk.

What may go wrong: the store fails (senders are told to try again, decisions are tried again), or judge or planner raise
(a fault of ours: counted, logged, the round's decisions are dropped and tried again later). Neither ends the loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from lastgood.manifest import Manifest
from lastgood_controller import judge as judge_module
from lastgood_controller import plan as plan_module
from lastgood_controller.actuators.local import LocalActuator
from lastgood_controller.events import (
    AttemptOpened,
    Event,
    Quarantined,
    RunOpened,
    SaveReported,
    VerdictReached,
    WorkerDisconnected,
)
from lastgood_controller.fold import (
    apply,
)
from lastgood_controller.ingest import Hello, Rejected, admit_opening
from lastgood_controller.journal import Entry, advance, steps
from lastgood_controller.metrics import Metrics
from lastgood_controller.model import (
    Policy,
    Run,
    WorkerId,
)
from lastgood_controller.plan import Step
from lastgood_controller.shelf import ManifestShelf, WantedManifests
from lastgood_controller.store import Recorded, Store, StoreError, choose_run

log = logging.getLogger(__name__)

Judge = Callable[[Run, Mapping[str, Manifest], float], "tuple[VerdictReached | Quarantined, ...]"]
Decide = Callable[[Run, float], Step]
#: What a submission records, each with its report's id or None, given the run as it is when its turn comes.
Prepare = Callable[[Run], "Sequence[tuple[Event, str | None]]"]

#: Rounds of judging and planning after which they count as never ending.
MAX_ROUNDS = 200
#: Pause before deciding again after a fault of ours or of the store.
RETRY_S = 1.0
#: The shortest sleep: a deadline that has passed already must not make a busy loop.
MIN_SLEEP_S = 0.01
#: Submissions that are recorded together.
MAX_BATCH = 1_000


class RefusedError(Exception):
    """A sender is refused; nothing was recorded."""

    def __init__(self, rejected: Rejected) -> None:
        super().__init__(rejected.message)
        self.rejected = rejected


class StoppingError(Exception):
    """The controller is going away; nothing was recorded."""


class CoreError(Exception):
    """Judge or planner did what they must not."""


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


@dataclass(frozen=True)
class _Submission:
    prepare: Prepare
    done: asyncio.Future[tuple[Recorded, ...]]


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
        self._inbox: list[_Submission] = []
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

    def post(self, prepare: Prepare) -> asyncio.Future[tuple[Recorded, ...]]:
        """The same without waiting; the future may be dropped."""
        done: asyncio.Future[tuple[Recorded, ...]] = asyncio.get_running_loop().create_future()
        done.add_done_callback(_mark_seen)
        if self._is_stopping:
            done.set_exception(StoppingError("the controller is going away: try again in a moment"))
            return done
        self._inbox.append(_Submission(prepare, done))
        self._woken.set()
        return done

    def heard(self, worker: WorkerId, step: int | None = None) -> None:
        """A heartbeat: kept in memory only. step: the last one that the worker completed in the current attempt."""
        self._heard_s[worker] = self._parts.now_s()
        if step is not None:
            self.steps[worker] = step

    def wake(self) -> None:
        """Makes the loop judge and decide again, since something besides a fact has changed."""
        self._woken.set()

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
            try:
                await self._record_inbox()
                await self._reconcile()
            except Exception:
                self._parts.metrics.internal_error("run")
                log.exception("a round failed; the run stays as it was", extra={"run_id": self.run.run_id})
                self._deadline_s = self._parts.now_s() + RETRY_S
        for submission in self._inbox:
            if not submission.done.done():
                submission.done.set_exception(StoppingError("the controller is going away: try again in a moment"))

    async def _sleep(self) -> None:
        timeout_s = None
        if self._deadline_s is not None:
            timeout_s = max(MIN_SLEEP_S, self._deadline_s - self._parts.now_s())
        try:
            await asyncio.wait_for(self._woken.wait(), timeout_s)
        except TimeoutError:
            return
        self._woken.clear()

    async def _record_inbox(self) -> None:
        batch, self._inbox = self._inbox[:MAX_BATCH], self._inbox[MAX_BATCH:]
        if self._inbox:
            self._woken.set()
        prepared, tentative, at_s = [], self.run, self._parts.now_s()
        for submission in batch:
            events = self._prepare(submission, tentative)
            if events is None:
                continue
            prepared.append((submission, events))
            for event, _ in events:
                tentative = apply(tentative, event, at_s)
        await self._record(prepared, at_s)

    def _prepare(self, submission: _Submission, run: Run) -> Sequence[tuple[Event, str | None]] | None:
        if submission.done.done():
            return None
        try:
            return submission.prepare(run)
        except RefusedError as refused:
            submission.done.set_exception(refused)
        except Exception as error:
            self._parts.metrics.internal_error("request")
            submission.done.set_exception(error)
        return None

    async def _record(
        self, prepared: Sequence[tuple[_Submission, Sequence[tuple[Event, str | None]]]], at_s: float
    ) -> None:
        events = [each for _, some in prepared for each in some]
        try:
            recorded = await self._append(events, at_s)
        except StoreError as error:
            self._note_trouble("facts were not recorded", error)
            for submission, _ in prepared:
                if not submission.done.done():
                    submission.done.set_exception(error)
            return
        position = 0
        for submission, some in prepared:
            if not submission.done.done():
                submission.done.set_result(recorded[position : position + len(some)])
            position += len(some)

    async def _append(self, events: Sequence[tuple[Event, str | None]], at_s: float) -> tuple[Recorded, ...]:
        """Journals, then applies what was new, then counts it and tells the followers."""
        if not events:
            return ()
        store, run_id = self._parts.store, self.run.run_id
        writing = asyncio.get_running_loop().run_in_executor(
            self._parts.writer, store.append, run_id, tuple(events), at_s
        )
        recorded = await asyncio.shield(writing)
        self.trouble = ""
        for (event, _), each in zip(events, recorded):
            if isinstance(event, SaveReported):
                self.wanted.note(event.report.worker, event.report.manifest_digest)
            if each.is_new:
                self._apply(event, at_s)
        self._announce()
        return recorded

    def _note_trouble(self, what: str, error: StoreError) -> None:
        self._parts.metrics.internal_error("journal")
        if error.message != self.trouble:
            log.error(what, extra={"run_id": self.run.run_id, "error": error.message})
        self.trouble = error.message

    def _apply(self, event: Event, at_s: float) -> None:
        before, self.run = self.run, apply(self.run, event, at_s)
        if isinstance(event, AttemptOpened):
            self.steps.clear()
        self._parts.metrics.observe(before, event, self.run)

    def _announce(self) -> None:
        self._recorded.set()
        self._recorded = asyncio.Event()

    # -------------------------------------------------------------------------------------------- judging, planning

    async def _reconcile(self) -> None:
        now_s = self._parts.now_s()
        decisions, step = self._decide(now_s)
        if decisions:
            try:
                await self._append([(decision, None) for decision in decisions], now_s)
            except StoreError as error:
                self._note_trouble("decisions were not recorded", error)
                self._deadline_s = now_s + RETRY_S
                return
        if step is not None:
            self.waiting = step.waiting
            self._deadline_s = step.deadline_s
        else:
            self._deadline_s = now_s + RETRY_S
        self._publish()

    def _decide(self, now_s: float) -> tuple[list[Event], Step | None]:
        """What judge and planner make of the run, and what is waited for then; None when one of them failed.

        A round in which one of them raises leaves nothing behind; the rounds before it stand.
        """
        run, decided = self._with_heartbeats(self.run), list[Event]()
        for _ in range(MAX_ROUNDS):
            where = "judge"
            try:
                judged = self._parts.judge(run, self._parts.shelf, now_s)
                judged_run = _applied(run, judged, now_s)
                where = "decide"
                step = self._parts.decide(judged_run, now_s)
                run = _applied(judged_run, step.decisions, now_s)
            except Exception as error:
                self._note_fault(where, error)
                return decided, None
            decided += [*judged, *step.decisions]
            if not judged and not step.decisions:
                self._last_fault = ""
                return decided, step
        self._note_fault("decide", CoreError(f"judge and planner do not come to an end within {MAX_ROUNDS} rounds"))
        return [], None

    def _note_fault(self, where: str, error: Exception) -> None:
        self._parts.metrics.internal_error(where)
        fault = f"{where}: {error!r}"
        if fault != self._last_fault:
            log.error("a fault of lastgood; nothing is decided", exc_info=error, extra={"run_id": self.run.run_id})
        self._last_fault = fault

    def _with_heartbeats(self, run: Run) -> Run:
        sessions = {
            worker: replace(session, last_heard_s=max(session.last_heard_s, self._heard_s.get(worker, 0.0)))
            for worker, session in run.sessions.items()
        }
        return replace(run, sessions=sessions)

    def _publish(self) -> None:
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
            recorded = await asyncio.get_running_loop().run_in_executor(
                self._writer, self.store.append, run_id, ((event, None),), at_s
            )
            run = advance(None, Entry(recorded[0].sequence, at_s, event))
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
        """Stores what digests of a run stand for, and lets it be judged again. Raises StoreError, StoppingError."""
        self._refuse_when_stopping()
        await asyncio.get_running_loop().run_in_executor(self._writer, self.store.put_manifests, tuple(manifests))
        for manifest in manifests:
            self.shelf.add(manifest)
            for each in self._loops.values():
                each.wanted.delivered(manifest.digest)
        loop.wake()

    def _take_up(self, run: Run) -> RunLoop:
        self._refuse_when_stopping()
        loop = RunLoop(run, self._parts)
        self._loops[run.run_id] = loop
        return loop

    def _refuse_when_stopping(self) -> None:
        if self._is_stopping:
            raise StoppingError("the controller is going away: try again in a moment")


def _all_disconnected(run: Run) -> list[tuple[Event, str | None]]:
    """Whoever was heard last: nobody is lost before a full time-out has passed since this start."""
    return [(WorkerDisconnected(worker, session.agent_session), None) for worker, session in run.sessions.items()]


def _applied(run: Run, events: Sequence[Event], at_s: float) -> Run:
    for event in events:
        run = apply(run, event, at_s)
    return run


def _mark_seen(done: asyncio.Future[tuple[Recorded, ...]]) -> None:
    """A dropped future's exception was somebody's answer that nobody waits for any more: not worth a warning."""
    if not done.cancelled():
        done.exception()
