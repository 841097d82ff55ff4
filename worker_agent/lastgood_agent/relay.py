"""What the agent does all day: facts up to the controller, desired states down to launcher and hooks, files read.

Puts the agent's parts together and decides nothing about the job. The training process never depends on it: it may be
killed or stopped at any moment, and another one goes on from the spool. It ends with its launcher, and sees to it that
the trainer has ended as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import socket
import time

from lastgood.v1 import agent_service_pb2 as pb
from lastgood.v1 import common_pb2
from lastgood_agent import facts, orders, pins
from lastgood_agent.agent_config import Config
from lastgood_agent.background import PAUSE_S, Background
from lastgood_agent.client import Callbacks, Client, RefusedError, UnreachableError
from lastgood_agent.exports import Exports
from lastgood_agent.facts import Fact, FactError
from lastgood_agent.hooks_server import HooksServer
from lastgood_agent.launcher_link import LauncherLink
from lastgood_agent.lines import Message
from lastgood_agent.outbox import Outbox
from lastgood_agent.plans import Plans
from lastgood_agent.pools import Pools
from lastgood_agent.proofs import Proofs
from lastgood_agent.questions import Questions
from lastgood_agent.readings import Readings
from lastgood_agent.reporting import Reporting
from lastgood_agent.saves import Saves
from lastgood_agent.spool import Spool
from lastgood_agent.trainer_word import TrainerWord

log = logging.getLogger(__name__)

OUTBOX_INTERVAL_S = 0.5
#: After the launcher has gone or wants to end: the longest that what is left to say may take.
FAREWELL_S = 1.5


class Relay:
    """One life of one worker's agent."""

    def __init__(self, config: Config, launcher: socket.socket) -> None:
        self._config = config
        self._worker = worker = config.worker
        self._spool = spool = Spool(config.worker_directory)
        self._session = spool.next_session()
        self._hello: Message = {}
        self._desired: pb.DesiredState | None = None
        self._is_leaving = False
        self._greeted = asyncio.Event()
        self._door_bell = asyncio.Event()
        self._background = background = Background()
        self._pools = pools = Pools()
        self._link = LauncherLink(launcher, self._obey, background)
        self._hooks = HooksServer(config.hooks_socket, self._door_bell.set)
        self._client = Client(config.controller, self._callbacks(), config.connect_s)
        self._reporting = reporting = Reporting(spool, self._client)
        self._trainer = TrainerWord(config, reporting, self._are_facts_told, lambda: self._client.is_connected)
        self._outbox = Outbox(worker, spool, reporting, lambda: self._trainer.attempt)
        self._saves = Saves(worker, spool, self._outbox, pools)
        self._proofs = Proofs(worker, spool, self._outbox, pools)
        self._questions = Questions(worker, self._outbox, pools, background)
        self._exports = Exports(worker, self._outbox, pools, background)
        self._readings = Readings(worker, reporting, pools, background, spool.known_kinds)
        self._plans = Plans(config, spool, reporting, pools, background, self._publish_state)

    def _callbacks(self) -> Callbacks:
        return Callbacks(
            hello=self._subscription,
            on_fenced=self._renew_session,
            on_desired=self._follow,
            progress=lambda: self._trainer.progress().to_proto(),
            manifest=self._spool.read_manifest,
            on_stored=self._spool.forget_manifest,
            on_unwanted=self._spool.forget_manifest,
        )

    # -- life

    async def run(self) -> None:
        """Works until the launcher has gone."""
        await self._hooks.start()
        listening = await self._link.open()
        greeted = asyncio.create_task(self._greeted.wait())
        await asyncio.wait({listening, greeted}, return_when=asyncio.FIRST_COMPLETED)
        if not listening.done():
            self._load_spool()
            self._background.repeat("the outbox", self._watch_outbox)
            self._background.repeat("the saves", self._saves.queue.work)
            self._background.repeat("the receipts", self._proofs.queue.work)
            self._background.start(self._talk())
        await listening
        await self._leave()

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
            except Exception as error:
                self._background.note_fault("the client", error)
                await asyncio.sleep(PAUSE_S)

    def _load_spool(self) -> None:
        """Goes on with what an earlier agent still had to say."""
        self._spool.remove_unclaimed(time.time())
        for digest in self._spool.kept_manifests():
            self._client.owe(digest)
        own_session = f"trainer-{self._hello.get('launcher_session')}-"
        for report in self._spool.kept_reports():
            if report.HasField("trainer_changed") and own_session not in report.report_id:
                report.trainer_changed.next_address = ""  # its launcher, who held that port, is dead
            self._reporting.send_kept(report, is_urgent=report.HasField("trainer_changed"))

    async def _leave(self) -> None:
        """The launcher has gone: it ended as it should, or it died and its trainer must not outlive it."""
        is_dead = not self._is_leaving or self._trainer.is_running
        if is_dead and not self._trainer.has_untold_success:
            await self._trainer.bury(self._spool.outbox)
        with contextlib.suppress(FactError, OSError):
            self._outbox.take(self._use)
        self._trainer.tell_success()
        deadline_s = time.monotonic() + FAREWELL_S
        while self._client.is_connected and not self._are_facts_told() and time.monotonic() < deadline_s:
            await asyncio.sleep(0.01)
        self._background.cancel_all()
        self._hooks.close()
        self._pools.close()
        if not self._is_leaving:
            shutil.rmtree(os.path.dirname(self._config.hooks_socket), ignore_errors=True)

    # -- launcher

    def _obey(self, message: Message) -> None:
        match message.get("type"):
            case "hello":
                self._hello = message
                self._trainer.launcher_session = int(message.get("launcher_session") or 0)
                self._take_word(message)
                if message.get("interrupted"):
                    self._tell_leaving(message["interrupted"])
                self._greeted.set()
            case "trainer":
                self._take_word(message)
            case "interrupted":
                self._tell_leaving(message)

    def _tell_leaving(self, message: Message) -> None:
        """The launcher was told to end. The controller hears it at once: the gang may have to be started anew."""
        self._is_leaving = True
        self._trainer.tell_leaving(str(message.get("signal") or ""), float(message.get("grace_s") or 0.0))

    def _take_word(self, message: Message) -> None:
        trainer, next_address = message["trainer"], str(message.get("next_address") or "")
        is_success = trainer.get("phase") == "exited" and trainer.get("exit_code") == 0
        if not is_success or self._is_leaving:
            self._trainer.change(trainer, next_address)
            return
        self._trainer.hold_success(trainer, next_address)
        self._door_bell.set()
        self._background.start(self._trainer.tell_success_after_its_facts())

    def _end_launcher(self, exit_status: int, why: str) -> None:
        self._is_leaving = True
        self._link.tell({"type": "end", "exit_status": exit_status, "message": why})

    # -- controller

    def _subscription(self) -> pb.SubscribeRequest:
        return pb.SubscribeRequest(
            sender=pb.Sender(
                run_id=self._config.run_id,
                worker=_worker_message(self._worker),
                agent_session=self._session,
                launcher_session=self._trainer.launcher_session,
            ),
            job=self._config.job,
            members=[_worker_message(member) for member in self._config.gang.members],
            highest_attempt=max(int(self._hello.get("highest_attempt") or 0), self._trainer.attempt),
            next_address=self._trainer.next_address,
            trainer=self._trainer.state(),
            host=str(self._hello.get("host") or ""),
            may_reopen=self._config.may_reopen,
        )

    def _renew_session(self) -> None:
        self._session = self._spool.next_session()

    async def _follow(self, desired: pb.DesiredState) -> None:
        """Brings launcher, hooks and duties to what is wanted now. Doing it again changes nothing."""
        is_newcomer = self._desired is None and not self._trainer.attempt
        self._desired = desired
        self._publish_state()
        order = orders.launcher_order(self._config, desired, is_newcomer)
        if desired.HasField("end") and desired.HasField("pins") and not self._trainer.is_running:
            await self._pools.plan(pins.tidy_up, desired.pins, desired.end.exit_status == 0)
        if order is not None:
            self._is_leaving = self._is_leaving or order["type"] == "end"
            self._link.tell(order)
        if desired.end_announced:
            self._link.tell({"type": "announce_end", "attempt": desired.attempt})
        self._readings.begin(desired.verify_tasks, desired.attempt, is_training=desired.HasField("plan"))
        if desired.HasField("plan"):
            self._plans.begin(desired.attempt, desired.plan)
        self._questions.answer(desired)

    def _publish_state(self) -> None:
        if self._desired is not None:
            plan = self._plans.ready_for(self._desired.attempt)
            self._hooks.publish(orders.hooks_state(self._desired, plan, self._client.is_connected))

    # -- facts

    async def _watch_outbox(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(OUTBOX_INTERVAL_S):  # wait_for may forget that it was cancelled
                await self._door_bell.wait()
        self._door_bell.clear()
        self._publish_state()  # the controller may be away by now
        self._outbox.take(self._use)

    def _use(self, fact: Fact) -> None:
        """Gives a new fact to the part that it concerns. Raises FactError."""
        if fact.type in facts.SAVE_TYPES:
            self._saves.queue.add(fact)
        elif fact.type == "exported":
            self._exports.add(fact)
        elif fact.type in facts.PROOF_TYPES:
            self._proofs.queue.add(fact)
        elif fact.type == "asked":
            self._questions.add(fact)
            self._questions.answer(self._desired)
        else:
            self._outbox.tell_as_it_is(fact)

    def _are_facts_told(self) -> bool:
        """Every fact of the outbox is with the controller; questions of a script that has ended don't count."""
        unasked = [name for name in self._outbox.names() if name not in self._questions]
        are_told = self._saves.queue.is_done and self._proofs.queue.is_done
        return not unasked and are_told and self._client.has_everything_arrived


def _worker_message(worker: str) -> common_pb2.Worker:
    task_type, _, task_id = worker.rpartition("/")
    return common_pb2.Worker(task_type=task_type, task_id=int(task_id))
