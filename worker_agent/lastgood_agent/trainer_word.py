"""The launcher's word about its trainer, and when the controller gets it.

Decides that a failure is told at once, before everything that waits, and a success only after every fact of it, so that
no save is missing when the run ends. When the launcher has died, its trainer must not outlive it, and the word is ours.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable

from lastgood.v1 import agent_service_pb2 as pb
from lastgood_agent import duties, facts, processes
from lastgood_agent.agent_config import Config
from lastgood_agent.json_files import read_json
from lastgood_agent.lines import Message
from lastgood_agent.reporting import Reporting

log = logging.getLogger(__name__)

#: After the launcher has died: the longest to wait until its trainer is gone.
KILL_TIMEOUT_S = 3.0
#: A trainer's success is told after its facts, so that no save is missing when the run ends; at most this much later.
LAST_FACTS_S = 30.0


class TrainerWord:
    """What is known of one worker's trainer.

    are_facts_told: nothing of the outbox is left to tell. is_connected: the controller can hear us.
    """

    def __init__(
        self,
        config: Config,
        reporting: Reporting,
        are_facts_told: Callable[[], bool],
        is_connected: Callable[[], bool],
    ) -> None:
        self._config = config
        self._reporting = reporting
        self._are_facts_told = are_facts_told
        self._is_connected = is_connected
        self._trainer: Message = {"phase": "none"}
        #: A trainer's success that is not told yet, because its facts go first; and its next address.
        self._success: tuple[Message, str] | None = None
        self.next_address = ""
        self.launcher_session = 0

    @property
    def attempt(self) -> int:
        return int(self._trainer.get("attempt") or 0)

    @property
    def is_running(self) -> bool:
        """A trainer runs, as far as the launcher has said."""
        return self._trainer.get("phase") == "running"

    @property
    def has_untold_success(self) -> bool:
        return self._success is not None

    def change(self, trainer: Message, next_address: str) -> None:
        """Takes the launcher's word, and tells it at once."""
        self._trainer, self.next_address = trainer, next_address
        if trainer.get("phase") in ("running", "exited"):
            self._tell()

    def hold_success(self, trainer: Message, next_address: str) -> None:
        """Takes the launcher's word that its trainer has succeeded, for `tell_success`.

        Until that is told, it counts as running: a subscription made meanwhile must not tell more than the reports.
        """
        self._trainer = {**trainer, "phase": "running", "exit_code": None, "last_lines": []}
        self._success = (trainer, next_address)

    async def tell_success_after_its_facts(self) -> None:
        """Waits for the facts; only time in which they could be told counts."""
        left_s = LAST_FACTS_S
        while left_s > 0 and not self._are_facts_told():
            await asyncio.sleep(0.01)
            left_s -= 0.01 if self._is_connected() else 0.0
        self.tell_success()

    def tell_success(self) -> None:
        """Tells a success that was held, if there is one."""
        if self._success is not None:
            (self._trainer, self.next_address), self._success = self._success, None
            self._tell()

    def tell_leaving(self, signal_name: str, grace_s: float) -> None:
        """Tells that the launcher was told to end, where a trainer runs that has so many seconds left."""
        if self.is_running:
            worker, session = self._config.worker, self.launcher_session
            report = facts.leaving_report(worker, session, self.attempt, signal_name, grace_s, time.time())
            self._reporting.keep_and_send(report, is_urgent=True)

    def _tell(self) -> None:
        state = self.state()
        report = facts.trainer_report(self._config.worker, self.launcher_session, state, self.next_address, time.time())
        if state.phase == pb.TRAINER_PHASE_EXITED:
            self._reporting.keep_and_send(report, is_urgent=True)
        else:
            self._reporting.send(report, is_urgent=True)

    def state(self) -> pb.TrainerState:
        """The word as it travels, with how far the trainer has come."""
        progress = self.progress()
        return facts.trainer_state(self._trainer, progress.step, progress.completed_calls)

    def progress(self) -> duties.Progress:
        """How far the trainer has come."""
        attempt = self.attempt
        return duties.read_progress(self._config.worker_directory, attempt) if attempt else duties.Progress()

    async def bury(self, outbox_path: str) -> None:
        """Kills what the dead launcher's trainer left, and tells that it has ended."""
        worker = self._config.worker
        log.warning("the launcher of %s has died: its trainer is killed", worker)
        record = read_json(f"{self._config.worker_directory}/trainer.json")
        is_running = self.is_running
        if is_running and (pgid := int(self._trainer.get("pgid") or 0)):
            processes.signal_group(pgid, signal.SIGKILL)
        left = await asyncio.to_thread(
            processes.kill_left_over,
            processes.mark_of(outbox_path),
            int(record.get("pid") or 0),
            int(record.get("pgid") or 0),
            record.get("start_ticks"),
            KILL_TIMEOUT_S,
        )
        if left:
            log.error("processes of the trainer can't be killed: %s", left)
        elif is_running:
            lines = [*self._trainer.get("last_lines", []), f"the launcher of {worker} died, and this with it"]
            self.change({**self._trainer, "phase": "exited", "signal": int(signal.SIGKILL), "last_lines": lines}, "")
