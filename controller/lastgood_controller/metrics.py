"""What /metrics says, counted from journalled events and nothing else.

At its start a controller counts the whole journal again, before it serves: the counters go on where the former process
left them, and nothing is counted twice. Label sets that can be known are born at 0, since `increase()` is blind to a
counter that is born higher. Labels are bounded: verdicts and reasons by `Reason`, hooks and jobs by a maximum.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from lastgood.notes import Remark
from lastgood.reasons import Reason
from lastgood_controller import advice
from lastgood_controller.documents import last_good
from lastgood_controller.events import (
    AttemptFailed,
    AttemptOpened,
    Event,
    Exported,
    HookFailed,
    ReceiptGiven,
    RunEnded,
    RunOpened,
    SaveReported,
    SharedWriteSeen,
    SteeringLost,
    VerdictReached,
)
from lastgood_controller.model import (
    ExportKind,
    ReceiptPolicy,
    Run,
    Standing,
)

GOOD = "Good"
RESTORED, FAILED, WARNED, UNCOMPARED = "Restored", "Failed", "Warned", "Uncompared"
#: What became of an export: read again and whole; read, of a format without checksums; damaged; the save raised.
EXPORT_WHOLE, EXPORT_UNPROVEN, EXPORT_DAMAGED, EXPORT_FAILED = EXPORT_OUTCOMES = (
    "Whole",
    "Unproven",
    "Damaged",
    "Failed",
)
#: The reason label of a restore that went well.
NO_REASON = "None"

#: Reasons that a checkpoint can be Bad for.
BAD_REASONS = (
    Reason.INCOMPLETE,
    Reason.TORN,
    Reason.CORRUPT,
    Reason.UNREADABLE,
    Reason.UNSUPPORTED,
    Reason.DIVERGED,
    Reason.VARIABLES_LOST,
    Reason.NOT_FINITE,
    Reason.QUARANTINED,
    Reason.VANISHED,
)
#: Reasons that an attempt can fail for. That a person or a signal ended the run is no failure.
FAILURE_REASONS = (
    Reason.WORKER_EXITED,
    Reason.WORKER_KILLED,
    Reason.OUT_OF_MEMORY,
    Reason.PREEMPTED,
    Reason.PEER_LOST,
    Reason.WORKER_LOST,
    Reason.LAUNCHER_LOST,
    Reason.START_TIMEOUT,
    Reason.NOT_RESTORED,
    Reason.RESTORED_WRONG,
    Reason.RESTORE_FAILED,
    Reason.MODEL_CHANGED,
    Reason.SHARED_WRITE,
    Reason.NO_GOOD_CHECKPOINT,
)
RESTORE_REASONS = (Reason.NOT_RESTORED, Reason.RESTORED_WRONG, Reason.RESTORE_FAILED, Reason.MODEL_CHANGED)
#: What a restore that went wrong is let pass for, where receipts only warn.
WARN_REASONS = (Reason.RESTORED_WRONG, Reason.MODEL_CHANGED)
#: What else an operator is told without anything having failed.
ADVICE = (Remark.NOT_SAVED, Remark.TAKEN_FROM_CHIEF, Remark.UNMATCHED, Reason.SHARED_WRITE)

#: Where our own code can fail; the labels of lastgood_internal_errors_total.
INTERNAL_PLACES = ("judge", "decide", "journal", "actuator", "request", "run")

#: What the hooks call themselves; another name joins them at its first failure, `other` once there are too many.
KNOWN_HOOKS = (
    "call",
    "channel",
    "checkpoint_state",
    "export",
    "gate",
    "latest_checkpoint",
    "manager",
    "observe",
    "patch",
    "progress",
    "receipt",
    "refusal",
    "restore",
    "save",
    "state_file",
    "steering_lost",
    "strategy",
    "sweep",
    "unsaved",
    "v1_saver",
    "writers",
)
MAX_HOOKS = 32
OTHER = "other"

#: Jobs with a gauge of their own; those opened last win.
MAX_JOBS = 200


class Metrics:
    """The controller's counters. `observe` is called from one thread; a scrape may come from any."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self.registry = CollectorRegistry()
        self._hooks: set[str] = set(KNOWN_HOOKS)
        self._saves = self._counter("saves", "Saves by the verdict they first settled at.", "verdict")
        self._restores = self._counter("restores", "Restores by workers, by what they proved.", "outcome", "reason")
        self._restarts = self._counter("restarts", "Attempts opened because an earlier one had failed.")
        self._failures = self._counter("attempts_failed", "Attempts that failed, by the reason.", "reason")
        self._advice = self._counter("advice", "What an operator should know of a job, each thing once.", "about")
        self._hook_failures = self._counter("hook_failures", "Hooks that failed; training went on.", "hook")
        self._unsteered = self._counter("attempts_unsteered", "Attempts in which nobody was steered.")
        self._internal = self._counter("internal_errors", "Faults of lastgood's own code, by place.", "where")
        self._exports = self._counter("exports", "SavedModels and Keras files that scripts wrote.", "kind", "outcome")
        self._ages = _SecondsSinceLastGood(now_s)
        self.registry.register(self._ages)
        self._bear_at_zero()

    def observe(self, before: Run | None, event: Event, after: Run) -> None:
        """Counts one event that was journalled, or that was read from the journal at the start."""
        match event:
            case VerdictReached():
                self._count_verdict(before, event)
            case ReceiptGiven():
                self._count_receipt(before, event)
                for remark in advice.news_of_receipt(before, event.receipt) if before else ():
                    self._advice.labels(remark.value).inc()
            case SaveReported() if before and advice.is_news_of_save(before, event.save.series, event.report):
                self._advice.labels(Remark.NOT_SAVED.value).inc()
            case SharedWriteSeen() if before and advice.is_news_of_sharing(before, event.attempt, event.shared):
                self._advice.labels(Reason.SHARED_WRITE.value).inc()
            case AttemptFailed():
                self._count_failure(event)
            case AttemptOpened():
                self._restarts.inc(after.restarts - (before.restarts if before else 0))
                self._unsteered.inc(0 if event.steering else 1)
            case SteeringLost():
                self._count_unsteered(before, event)
            case Exported():
                self._count_export(event)
            case HookFailed():
                self._count_hook_failure(before, event)
            case _:
                pass
        if isinstance(event, (RunOpened, RunEnded, VerdictReached, AttemptOpened)):
            self._ages.follow(after)

    def internal_error(self, where: str) -> None:
        """Counts a fault of our own. where: one of INTERNAL_PLACES."""
        self._internal.labels(where).inc()

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(f"lastgood_{name}", help_text, labels, registry=self.registry)

    def _bear_at_zero(self) -> None:
        for verdict in (GOOD, *(reason.value for reason in BAD_REASONS)):
            self._saves.labels(verdict)
        self._restores.labels(RESTORED, NO_REASON)
        for reason in RESTORE_REASONS:
            self._restores.labels(FAILED, reason.value)
        for reason in FAILURE_REASONS:
            self._failures.labels(reason.value)
        for kind in ExportKind:
            for outcome in EXPORT_OUTCOMES:
                self._exports.labels(kind.value, outcome)
        self._restores.labels(UNCOMPARED, NO_REASON)
        for reason in WARN_REASONS:
            self._restores.labels(WARNED, reason.value)
        for word in ADVICE:
            self._advice.labels(word.value)
        for hook in (*KNOWN_HOOKS, OTHER):
            self._hook_failures.labels(hook)
        for where in INTERNAL_PLACES:
            self._internal.labels(where)

    def _count_verdict(self, before: Run | None, event: VerdictReached) -> None:
        """A save counts once, when it first settles: what is rotated away later was Good when it was saved."""
        known = before.checkpoints.get(event.save) if before else None
        if event.verdict.standing is Standing.PENDING or known is None:
            return
        if known.verdict.standing is not Standing.PENDING:
            return
        reason = event.verdict.causes[0].reason.value if event.verdict.causes else GOOD
        self._saves.labels(GOOD if event.verdict.standing is Standing.GOOD else reason).inc()

    def _count_receipt(self, before: Run | None, event: ReceiptGiven) -> None:
        """A receipt that adds to an earlier one of the same restore counts only when it changes the outcome."""
        receipt, attempt = event.receipt, before.attempt_numbered(event.attempt) if before else None
        earlier = attempt.receipts.get((receipt.worker, receipt.series)) if attempt else None
        if attempt is None or (earlier is not None and earlier.is_good == receipt.is_good):
            return
        if receipt.is_good:
            self._restores.labels(UNCOMPARED if receipt.is_uncompared else RESTORED, NO_REASON).inc()
            return
        reason = Reason.RESTORE_FAILED if receipt.error else Reason.RESTORED_WRONG
        reason = Reason.MODEL_CHANGED if receipt.model_change else reason
        is_waived = before is not None and before.policy.receipts is not ReceiptPolicy.ENFORCE and not receipt.error
        self._restores.labels(WARNED if is_waived else FAILED, reason.value).inc()

    def _count_failure(self, event: AttemptFailed) -> None:
        reason = event.failure.cause.reason
        if reason is not Reason.INTERRUPTED:
            self._failures.labels(reason.value).inc()
        if reason is Reason.NOT_RESTORED:
            self._restores.labels(FAILED, reason.value).inc()

    def _count_export(self, event: Exported) -> None:
        export = event.export
        reasons = {cause.reason for cause in export.faults}
        outcome = (
            EXPORT_WHOLE if not reasons else EXPORT_UNPROVEN if reasons <= {Reason.NO_CHECKSUM} else EXPORT_DAMAGED
        )
        self._exports.labels(export.kind.value, EXPORT_FAILED if export.error else outcome).inc()

    def _count_unsteered(self, before: Run | None, event: SteeringLost) -> None:
        attempt = before.attempt_numbered(event.attempt) if before else None
        if attempt is not None and attempt.is_steered:
            self._unsteered.inc()

    def _count_hook_failure(self, before: Run | None, event: HookFailed) -> None:
        """A report carries how often the hook has failed in its attempt so far: what is new is the difference."""
        attempt = before.attempt_numbered(event.attempt) if before else None
        earlier = attempt.hook_failures.get((event.worker, event.hook), 0) if attempt else 0
        if event.hook not in self._hooks and len(self._hooks) < MAX_HOOKS:
            self._hooks.add(event.hook)
        hook = event.hook if event.hook in self._hooks else OTHER
        self._hook_failures.labels(hook).inc(max(0, event.count - earlier))


class _SecondsSinceLastGood(Collector):
    """Computed at each scrape: how much work of a live job would be lost now. Before the first, since it was opened."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._runs: dict[str, Run] = {}
        self._lock = threading.Lock()

    def follow(self, run: Run) -> None:
        """Keeps the run and looks at it only when somebody asks: there are more verdicts than scrapes."""
        with self._lock:
            self._runs.pop(run.job, None)
            if run.end is not None:
                return
            self._runs[run.job] = run
            while len(self._runs) > MAX_JOBS:
                self._runs.pop(next(iter(self._runs)))

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "lastgood_seconds_since_last_good",
            "Seconds since the newest Good checkpoint of a live job was saved, or since the job was opened.",
            labels=["job"],
        )
        with self._lock:
            runs = dict(self._runs)
        for job, run in runs.items():
            checkpoint = last_good(run)
            at_s = run.opened_s if checkpoint is None else checkpoint.first_report_s
            family.add_metric([job], max(0.0, self._now_s() - at_s))
        yield family


@dataclass(frozen=True)
class MetricsServer:
    """/metrics over HTTP, on threads of its own."""

    server: WSGIServer
    thread: threading.Thread
    address: str

    @classmethod
    def start(cls, metrics: Metrics, host: str, port: int) -> MetricsServer:
        """Serves on host:port, port 0 for a free one. Raises OSError when it cannot."""
        server, thread = start_http_server(port, host.strip("[]"), metrics.registry)
        return cls(server, thread, f"{host}:{server.server_port}")

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(timeout=5.0)
