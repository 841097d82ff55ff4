"""What the agent does all day: facts up to the controller, desired states down to launcher and hooks, files read.

Decides nothing about the job. The training process never depends on it: it may be killed or stopped at any moment, and
another one goes on from the spool. It ends with its launcher, and sees to it that the trainer has ended as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from lastgood.manifest import Manifest
from lastgood.v1 import agent_service_pb2 as pb
from lastgood.v1 import common_pb2
from lastgood_agent import duties, facts, orders, processes
from lastgood_agent.client import Callbacks, Client, RefusedError, UnreachableError
from lastgood_agent.facts import Fact, FactError
from lastgood_agent.gang import Gang
from lastgood_agent.hooks_server import HooksServer
from lastgood_agent.lines import LineDecoder, Message, encode_line
from lastgood_agent.spool import Spool

log = logging.getLogger("lastgood_agent")

OUTBOX_INTERVAL_S = 0.5
ALIVE_INTERVAL_S = 2.0
#: After the launcher has gone or wants to end: the longest that what is left to say may take.
FAREWELL_S = 1.5
#: After the launcher has died: the longest to wait until its trainer is gone.
KILL_TIMEOUT_S = 3.0
#: A trainer's success is told after its facts, so that no save is missing when the run ends; at most this much later.
LAST_FACTS_S = 30.0
WORK_NICENESS = 5
LOOP_PAUSE_S = 0.5


@dataclass(frozen=True)
class Config:
    """What the launcher tells the agent on its command line."""

    controller: str
    run_id: str
    job: str
    gang: Gang
    worker_directory: str
    hooks_socket: str
    connect_s: float

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Config:
        """Raises KeyError or TypeError on what is no configuration."""
        gang = Gang(document["worker"], tuple(document["members"]), document["host"], document.get("tf_config"))
        return cls(
            controller=document["controller"],
            run_id=document["run_id"],
            job=document["job"],
            gang=gang,
            worker_directory=document["worker_directory"],
            hooks_socket=document["hooks_socket"],
            connect_s=float(document["connect_s"]),
        )


class Relay:
    """One life of one worker's agent."""

    def __init__(self, config: Config, launcher: socket.socket) -> None:
        self._config = config
        self._worker = config.gang.worker
        self._launcher_socket = launcher
        self._launcher: asyncio.StreamWriter | None = None
        self._spool = Spool(config.worker_directory)
        self._session = self._spool.next_session()
        self._hello: Message = {}
        self._trainer: Message = {"phase": "none"}
        self._next_address = ""
        #: A trainer's success that is not told yet, because its facts go first; and its next address.
        self._success: tuple[Message, str] | None = None
        self._desired: pb.DesiredState | None = None
        self._plan: tuple[int, dict[str, Any]] | None = None
        self._planning_for = 0
        self._asked: dict[str, Fact] = {}
        self._listings: dict[tuple[int, str], asyncio.Future[list[pb.FoundCheckpoint]]] = {}
        self._listing_now: set[str] = set()
        self._taken: set[str] = set()
        self._saves: asyncio.Queue[Fact] = asyncio.Queue()
        self._saves_in_work = 0
        self._tasks_begun: set[str] = set()
        self._is_leaving = False
        self._greeted = asyncio.Event()
        self._door_bell = asyncio.Event()
        self._background: set[asyncio.Task[None]] = set()
        self._errors = 0
        self._saving = ThreadPoolExecutor(1, "save", initializer=_be_nice)
        self._verifying = ThreadPoolExecutor(2, "verify", initializer=_be_nice)
        self._planning = ThreadPoolExecutor(1, "plan")
        self._hooks = HooksServer(config.hooks_socket, self._door_bell.set)
        self._client = Client(
            config.controller,
            Callbacks(
                hello=self._subscription,
                on_fenced=self._renew_session,
                on_desired=self._follow,
                progress=lambda: self._progress().to_proto(),
                manifest=self._spool.read_manifest,
                on_stored=self._spool.forget_manifest,
                on_unwanted=self._spool.forget_manifest,
            ),
            config.connect_s,
        )

    # -- life

    async def run(self) -> None:
        """Works until the launcher has gone."""
        reader, self._launcher = await asyncio.open_connection(sock=self._launcher_socket)
        await self._hooks.start()
        listening = asyncio.ensure_future(self._listen(reader))
        self._start(self._loop("alive", self._say_alive))
        await asyncio.wait({listening, asyncio.ensure_future(self._greeted.wait())}, return_when="FIRST_COMPLETED")
        if not listening.done():
            self._load_spool()
            self._start(self._loop("outbox", self._watch_outbox))
            self._start(self._loop("saves", self._work_on_saves))
            self._start(self._talk())
        await listening
        await self._leave()

    def _start(self, work: Coroutine[Any, Any, None], on_error: Callable[[], None] = lambda: None) -> None:
        """Lets the work go on by itself; a fault of ours in it is counted and logged."""

        def note_end(task: asyncio.Task[None]) -> None:
            self._background.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                self._errors += 1
                log.error("internal error %d", self._errors, exc_info=error)
                on_error()

        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(note_end)

    async def _loop(self, name: str, step: Callable[[], Awaitable[None]]) -> None:
        """Repeats one step for ever; a fault of ours is counted, logged, and does not end the loop."""
        while True:
            try:
                await step()
            except Exception:
                self._errors += 1
                log.exception("internal error %d in the loop %s", self._errors, name)
                await asyncio.sleep(LOOP_PAUSE_S)

    async def _talk(self) -> None:
        """The client, started again after a fault of ours; a refusal ends the launcher."""
        while True:
            try:
                await self._client.run()
            except RefusedError as error:
                self._end_launcher(2, f"the controller refuses {self._worker}: {error}")
                return
            except UnreachableError as error:
                self._end_launcher(3, str(error))
                return
            except Exception:
                self._errors += 1
                log.exception("internal error %d in the client", self._errors)
                await asyncio.sleep(LOOP_PAUSE_S)

    def _load_spool(self) -> None:
        self._spool.remove_unclaimed(time.time())
        for digest in self._spool.kept_manifests():
            self._client.owe(digest)
        own_session = f"trainer-{self._hello.get('launcher_session')}-"
        for report in self._spool.kept_reports():
            if report.HasField("trainer_changed") and own_session not in report.report_id:
                report.trainer_changed.next_address = ""  # its launcher, who held that port, is dead
            self._send(report, is_kept=True, is_urgent=report.HasField("trainer_changed"))

    async def _leave(self) -> None:
        """The launcher has gone: it ended as it should, or it died and its trainer must not outlive it."""
        if not self._is_leaving and self._success is None:
            await self._bury_trainer()
        with contextlib.suppress(FactError, OSError):
            self._take_outbox()
        self._tell_success()
        deadline_s = time.monotonic() + FAREWELL_S
        while self._client.is_connected and not self._is_settled() and time.monotonic() < deadline_s:
            await asyncio.sleep(0.01)
        for task in tuple(self._background):
            task.cancel()
        self._hooks.close()
        for pool in (self._saving, self._verifying, self._planning):
            pool.shutdown(wait=False, cancel_futures=True)
        if not self._is_leaving:
            shutil.rmtree(os.path.dirname(self._config.hooks_socket), ignore_errors=True)

    async def _bury_trainer(self) -> None:
        """Kills what the dead launcher's trainer left, and tells that it has ended."""
        log.warning("the launcher of %s has died: its trainer is killed", self._worker)
        mark = processes.mark_of(self._spool.outbox)
        record = _read_record(self._config.worker_directory)
        pgid = int(self._trainer.get("pgid") or 0) if self._trainer.get("phase") == "running" else 0
        if pgid:
            processes.signal_group(pgid, 9)
        left = await asyncio.to_thread(
            processes.kill_left_over,
            mark,
            int(record.get("pid") or 0),
            int(record.get("pgid") or 0),
            record.get("start_ticks"),
            KILL_TIMEOUT_S,
        )
        if left:
            log.error("processes of the trainer can't be killed: %s", left)
            return
        if self._trainer.get("phase") == "running":
            lines = [*self._trainer.get("last_lines", []), f"the launcher of {self._worker} died, and this with it"]
            self._change_trainer({**self._trainer, "phase": "exited", "signal": 9, "last_lines": lines}, "")

    # -- launcher

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        """Takes the launcher's messages until it goes."""
        decoder = LineDecoder()
        while True:
            try:
                received = await reader.read(1 << 16)
            except OSError:
                return
            if not received:
                return
            for message in decoder.feed(received):
                try:
                    self._obey(message)
                except (TypeError, ValueError, KeyError, OSError):
                    self._errors += 1
                    log.exception("a message of the launcher could not be followed")

    def _obey(self, message: Message) -> None:
        match message.get("type"):
            case "hello":
                self._hello = message
                self._change_trainer(message["trainer"], str(message.get("next_address") or ""))
                self._greeted.set()
            case "trainer":
                self._change_trainer(message["trainer"], str(message.get("next_address") or ""))
            case "interrupted":
                self._is_leaving = True

    def _tell_launcher(self, message: Mapping[str, Any]) -> None:
        if self._launcher is not None and not self._launcher.is_closing():
            self._launcher.write(encode_line(message))

    def _end_launcher(self, exit_status: int, why: str) -> None:
        self._is_leaving = True
        self._tell_launcher({"type": "end", "exit_status": exit_status, "message": why})

    async def _say_alive(self) -> None:
        self._tell_launcher({"type": "alive"})
        await asyncio.sleep(ALIVE_INTERVAL_S)

    # -- trainer

    def _change_trainer(self, trainer: Message, next_address: str) -> None:
        """Takes the launcher's word. A failure is told at once; a success once every fact of it has been."""
        phase = trainer.get("phase")
        is_success = phase == "exited" and trainer.get("exit_code") == 0
        if is_success and not self._is_leaving:
            # Until it is told, it counts as running: a subscription made meanwhile must not tell more than the reports.
            self._trainer = {**trainer, "phase": "running", "exit_code": None, "last_lines": []}
            self._success = (trainer, next_address)
            self._door_bell.set()
            self._start(self._tell_success_after_its_facts())
            return
        self._trainer, self._next_address = trainer, next_address
        if phase in ("running", "exited"):
            self._report_trainer()

    async def _tell_success_after_its_facts(self) -> None:
        left_s = LAST_FACTS_S
        while left_s > 0 and not self._are_facts_told():
            await asyncio.sleep(0.01)
            left_s -= 0.01 if self._client.is_connected else 0.0
        self._tell_success()

    def _tell_success(self) -> None:
        if self._success is not None:
            (self._trainer, self._next_address), self._success = self._success, None
            self._report_trainer()

    def _report_trainer(self) -> None:
        session = int(self._hello.get("launcher_session") or 0)
        state = self._trainer_state()
        report = facts.trainer_report(self._worker, session, state, self._next_address, time.time())
        is_kept = state.phase == pb.TRAINER_PHASE_EXITED
        if is_kept:
            self._spool.keep_report(report)
        self._send(report, is_kept=is_kept, is_urgent=True)

    def _trainer_state(self) -> pb.TrainerState:
        progress = self._progress()
        return facts.trainer_state(self._trainer, progress.step, progress.completed_calls)

    def _progress(self) -> duties.Progress:
        attempt = self._trainer.get("attempt")
        return duties.read_progress(self._config.worker_directory, attempt) if attempt else duties.Progress()

    # -- controller

    def _subscription(self) -> pb.SubscribeRequest:
        worker = _worker_message(self._worker)
        return pb.SubscribeRequest(
            sender=pb.Sender(
                run_id=self._config.run_id,
                worker=worker,
                agent_session=self._session,
                launcher_session=int(self._hello.get("launcher_session") or 0),
            ),
            job=self._config.job,
            members=[_worker_message(member) for member in self._config.gang.members],
            highest_attempt=max(int(self._hello.get("highest_attempt") or 0), int(self._trainer.get("attempt") or 0)),
            next_address=self._next_address,
            trainer=self._trainer_state(),
            host=str(self._hello.get("host") or ""),
        )

    def _renew_session(self) -> None:
        self._session = self._spool.next_session()

    def _send(self, report: pb.Report, is_kept: bool, is_urgent: bool = False, fact: Fact | None = None) -> None:
        def is_done() -> None:
            if is_kept:
                self._spool.forget_report(report.report_id)
            if fact is not None:
                self._forget(fact)

        self._client.outgoing.add(report, is_done, is_urgent)
        self._client.wake()

    async def _follow(self, desired: pb.DesiredState) -> None:
        """Brings launcher, hooks and duties to what is wanted now. Doing it again changes nothing."""
        self._desired = desired
        self._publish_state()
        order = orders.launcher_order(self._config.gang, desired)
        if order is not None:
            self._is_leaving = self._is_leaving or order["type"] == "end"
            self._tell_launcher(order)
        for task in desired.verify_tasks:
            if task.task_id not in self._tasks_begun:
                self._tasks_begun.add(task.task_id)
                self._start(self._verify(task), partial(self._tasks_begun.discard, task.task_id))
        if desired.HasField("plan") and self._planning_for != desired.attempt:
            self._planning_for = desired.attempt
            self._start(self._prepare_plan(desired.attempt, desired.plan))
        self._answer_asked()

    def _publish_state(self) -> None:
        if self._desired is not None:
            is_ready = self._plan is not None and self._plan[0] == self._desired.attempt
            self._hooks.publish(orders.hooks_state(self._desired, self._plan[1] if self._plan and is_ready else None))

    async def _prepare_plan(self, attempt: int, plan: common_pb2.Plan) -> None:
        """Writes the manifests of a plan, then lets the hooks know of it."""
        kinds = [self._spool.known_kinds(orders.series_of(planned)) for planned in plan.series]
        loop = asyncio.get_running_loop()
        try:
            paths = await loop.run_in_executor(
                self._planning,
                duties.write_plan_manifests,
                self._config.worker_directory,
                attempt,
                list(plan.series),
                kinds,
            )
        except (duties.PlanError, OSError) as error:
            log.error("attempt %d: the plan can't be followed: %s", attempt, error)
            self._report_broken_plan(attempt, plan, error)
            return
        self._plan = (attempt, orders.plan_message(plan, paths))
        self._publish_state()

    def _report_broken_plan(self, attempt: int, plan: common_pb2.Plan, error: Exception) -> None:
        planned, digest = plan.series[0], ""
        if isinstance(error, duties.PlanError):
            planned, digest = error.planned, error.digest
        report = pb.Report(report_id=f"{self._worker}/{attempt}/plan", attempt=attempt)
        report.happened_at.CopyFrom(facts.time_at(time.time()))
        report.receipt.CopyFrom(
            pb.Receipt(
                series=planned.series,
                prefix=planned.prefix,
                manifest_digest=digest,
                error=facts.bounded(str(error)),
            )
        )
        self._spool.keep_report(report)
        self._send(report, is_kept=True)

    async def _verify(self, task: pb.VerifyTask) -> None:
        report = pb.Report(report_id=f"{self._worker}/verified/{task.task_id}")
        if report.report_id in self._client.outgoing:
            return
        is_training = self._desired is not None and self._desired.HasField("plan")
        answer = await asyncio.get_running_loop().run_in_executor(self._verifying, duties.verified, task, is_training)
        report.attempt = self._desired.attempt if self._desired is not None else 0
        report.happened_at.CopyFrom(facts.time_at(time.time()))
        report.verified.CopyFrom(answer)
        self._spool.keep_report(report)
        self._send(report, is_kept=True)

    # -- facts

    async def _watch_outbox(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(OUTBOX_INTERVAL_S):  # wait_for may forget that it was cancelled
                await self._door_bell.wait()
        self._door_bell.clear()
        self._take_outbox()

    def _take_outbox(self) -> None:
        """Takes every fact that is new, in order."""
        for name in self._spool.fact_names():
            if name in self._taken:
                continue
            self._taken.add(name)
            try:
                fact = self._spool.read_fact(name)
                if fact is not None:
                    self._take(fact)
            except FactError as error:
                self._reject(name, str(error))

    def _take(self, fact: Fact) -> None:
        if fact.type in facts.SAVE_TYPES:
            self._saves_in_work += 1
            self._saves.put_nowait(fact)
        elif fact.type == "asked":
            fact.series  # noqa: B018 - raises FactError now, not later
            self._asked[fact.name] = fact
            self._answer_asked()
        else:
            self._report_fact(fact)

    def _report_fact(self, fact: Fact) -> None:
        report = facts.report_of(self._worker, fact)
        if report is None:
            log.warning("outbox: %s has the unknown type %s and is left out", fact.name, fact.type)
            self._forget(fact)
            return
        self._send(report, is_kept=False, fact=fact)

    def _forget(self, fact: Fact) -> None:
        self._spool.forget_fact(fact)
        self._taken.discard(fact.name)

    def _reject(self, name: str, why: str) -> None:
        self._spool.reject(name, why)
        attempt = int(self._trainer.get("attempt") or 0)
        report = facts.rejected_report(self._worker, attempt, name, why, self._spool.rejected_count)
        self._send(report, is_kept=False)

    async def _work_on_saves(self) -> None:
        """Facts about saves, one after the other: a slow disk delays these and nothing else."""
        fact = await self._saves.get()
        try:
            if fact.type == "saved":
                await self._report_save(fact)
            else:
                self._report_fact(fact)
        except FactError as error:
            self._reject(fact.name, str(error))
        finally:
            self._saves_in_work -= 1

    async def _report_save(self, fact: Fact) -> None:
        loop = asyncio.get_running_loop()
        facts.save_of(fact)
        try:
            manifest, is_durable = await loop.run_in_executor(self._saving, self._read_save, fact)
        except FactError as error:
            self._send(facts.unreadable_save_report(self._worker, fact, str(error)), is_kept=False, fact=fact)
            return
        self._spool.remember_kinds(fact.series, duties.kinds_of_save(fact))
        self._spool.keep_manifest(manifest)
        report = facts.saved_report(self._worker, fact, manifest.digest, is_durable)
        self._send(report, is_kept=False, fact=fact)

    def _read_save(self, fact: Fact) -> tuple[Manifest, bool]:
        manifest = duties.manifest_of_save(fact, self._spool.read_index_copy(fact))
        prefix = facts.bounded(fact.body.get("prefix"))
        return manifest, duties.make_durable(prefix, len(manifest.shard_sizes_bytes))

    # -- what the script asks for

    def _answer_asked(self) -> None:
        """Lists each directory that was asked for while the controller wants to know.

        Where it has its plan already, nobody needs to look: what the script asks for is told all the same.
        """
        desired = self._desired
        if desired is None:
            return
        for fact in tuple(self._asked.values()):
            if fact.attempt < desired.attempt or (fact.attempt == desired.attempt and desired.HasField("plan")):
                if fact.name not in self._listing_now:
                    del self._asked[fact.name]
                    self._report_listing(fact, [])
            elif fact.attempt == desired.attempt and desired.listing_wanted and fact.name not in self._listing_now:
                self._listing_now.add(fact.name)
                self._start(self._list(fact))

    async def _list(self, fact: Fact) -> None:
        directory = fact.series.directory or facts.bounded(fact.body.get("directory"))
        key = (fact.attempt, directory)
        loop = asyncio.get_running_loop()
        if key not in self._listings:
            listing = loop.run_in_executor(self._verifying, duties.list_directory, directory)
            self._listings = {key: listing, **{k: v for k, v in self._listings.items() if k[0] == fact.attempt}}
        try:
            found = await self._listings[key]
        finally:
            self._asked.pop(fact.name, None)
            self._listing_now.discard(fact.name)
        self._report_listing(fact, found)

    def _report_listing(self, fact: Fact, found: list[pb.FoundCheckpoint]) -> None:
        report = facts.new_report(self._worker, fact)
        directory = fact.series.directory or facts.bounded(fact.body.get("directory"))
        listed = pb.DirectoryListed(series=fact.series.to_proto(), directory=directory, checkpoints=found)
        report.directory_listed.CopyFrom(listed)
        self._send(report, is_kept=False, fact=fact)

    # -- is there anything left to say?

    def _are_facts_told(self) -> bool:
        """Every fact of the outbox is with the controller; questions of a script that has ended don't count."""
        unasked = [name for name in self._spool.fact_names() if name not in self._asked]
        return not unasked and not self._saves_in_work and self._client.has_everything_arrived

    def _is_settled(self) -> bool:
        return self._success is None and self._are_facts_told()


def _worker_message(worker: str) -> common_pb2.Worker:
    task_type, _, task_id = worker.rpartition("/")
    return common_pb2.Worker(task_type=task_type, task_id=int(task_id))


def _read_record(worker_directory: str) -> dict[str, Any]:
    try:
        with open(os.path.join(worker_directory, "trainer.json")) as file:
            record = json.load(file)
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _be_nice() -> None:
    """Lets training go first: only this thread, since what the agent says must not wait."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), WORK_NICENESS)
