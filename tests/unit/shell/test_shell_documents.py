"""The documents of docs/json.md, and what /metrics counts: from one history of a run."""

import json

import pytest
from shell_builders import (
    JOB,
    RUN,
    SERIES,
    W0,
    W1,
    a_connection,
    a_manifest,
    a_save,
    a_trainer,
    an_attempt,
)

from lastgood.reasons import Reason
from lastgood_controller.documents import job_document, job_summary, journal_entries, journal_entry
from lastgood_controller.events import (
    AttemptEnded,
    AttemptFailed,
    Event,
    Exported,
    FirstStepDone,
    GateOpened,
    HookFailed,
    Noticed,
    PlanDecided,
    ReceiptGiven,
    RestoreLeftAlone,
    RunEnded,
    RunOpened,
    SteeringLost,
    VerdictReached,
)
from lastgood_controller.journal import Entry, JournalError, fold, steps
from lastgood_controller.metrics import Metrics
from lastgood_controller.model import (
    Cause,
    Export,
    ExportKind,
    Failure,
    Medium,
    Notice,
    NoticeKind,
    Plan,
    PlanKind,
    PlannedSeries,
    Policy,
    Receipt,
    SaveId,
    Standing,
    TrainerPhase,
    Verdict,
)

SAVE = SaveId(SERIES, 1, 1)
DIGEST = a_manifest(10).digest
PREFIXES = {W0: "/ckpt/ckpt-1", W1: "/ckpt/ckpt-1"}
RESTORE = Plan(PlanKind.RESTORE, (PlannedSeries(SAVE, DIGEST, 10, PREFIXES, ("/ckpt",)),), "newest")
GOOD = Verdict(Standing.GOOD, (), 2, Medium.DISK)
KILLED = Failure(W1, Cause(Reason.WORKER_KILLED, "killed by SIGKILL"), 112.0)


def received(worker: object, **kept: object) -> ReceiptGiven:
    return ReceiptGiven(2, Receipt(worker, SERIES, "/ckpt/ckpt-1", DIGEST, 1, **kept))  # type: ignore[arg-type]


HISTORY: tuple[Event, ...] = (
    RunOpened(RUN, JOB, Policy()),
    a_connection(W0),
    a_connection(W1),
    an_attempt(1),
    PlanDecided(1, Plan(PlanKind.FRESH, (), "empty")),
    GateOpened(1),
    a_trainer(W0, 1),
    a_trainer(W1, 1),
    a_save(W0),
    a_save(W1),
    VerdictReached(SAVE, Verdict(Standing.PENDING, (Cause(Reason.AWAITING_VERIFICATION),))),
    VerdictReached(SAVE, GOOD),
    a_trainer(W1, 1, phase=TrainerPhase.EXITED, signal=9, reached_step=13),
    AttemptFailed(1, KILLED),
    a_trainer(W0, 1, phase=TrainerPhase.EXITED, signal=9, was_stopped=True, reached_step=13),
    AttemptEnded(1),
    an_attempt(2),
    PlanDecided(2, RESTORE),
    received(W0),
    received(W1, deferred=1),
    received(W1),
    HookFailed(W1, 2, "save", "boom", 2),
    HookFailed(W1, 2, "save", "boom", 5),
    HookFailed(W0, 2, "made-up", "boom", 1),
    SteeringLost(W1, 2, "restore", "boom"),
    SteeringLost(W0, 2, "restore", "boom"),
    RestoreLeftAlone(W0, 2, "/pre/model"),
    GateOpened(2),
    FirstStepDone(W0, 2, 11),
    Exported(2, Export(W0, ExportKind.SAVED_MODEL, "/export/1", 10, (Cause(Reason.TORN, "short"),), 7, 0.5)),
    Noticed(2, Notice(W1, NoticeKind.READ, "/ckpt/ckpt-1")),
)


def entries(*more: Event) -> list[Entry]:
    return [Entry(number, 100.0 + number, event) for number, event in enumerate((*HISTORY, *more), 1)]


def the_run(*more: Event):  # type: ignore[no-untyped-def]
    return fold(entries(*more))


def test_the_summary_is_the_documented_one() -> None:
    assert job_summary(the_run(), {W0: 14, W1: 13}) == {
        "run_id": RUN,
        "job": JOB,
        "name": "digits",
        "phase": "Training",
        "attempt": 2,
        "workers": 2,
        "step": 14,
        "last_good": {"prefix": "/ckpt/ckpt-1", "step": 10, "at_s": 109.0},
        "restarts": 1,
        "end": None,
        "opened_s": 101.0,
    }


def test_without_heartbeats_the_step_is_what_the_journal_knows() -> None:
    assert job_summary(the_run())["step"] == 10
    assert job_summary(fold(entries()[:3]))["step"] is None  # type: ignore[arg-type]


def test_the_end_is_told_with_its_reason() -> None:
    summary = job_summary(the_run(RunEnded(Cause(Reason.FINISHED, "all did"), 0)))
    assert (summary["phase"], summary["end"]) == (
        "Ended",
        {"reason": "Finished", "detail": "all did", "exit_status": 0},
    )


def test_the_job_has_the_documented_fields() -> None:
    # When
    document = json.loads(json.dumps(job_document(the_run(), waiting="the gate", trouble="no room")))

    # Then
    assert (document["members"], document["waiting"]) == (["worker/0", "worker/1"], "the gate")
    assert (document["trouble"], job_document(the_run())["trouble"]) == ("no room", None)
    assert document["workers"]["worker/1"] == {
        "connected": True,
        "host": "here",
        "trainer": {
            "phase": "exited",
            "attempt": 1,
            "pid": 77,
            "exit_code": None,
            "signal": 9,
            "was_stopped": False,
            "reached_step": 13,
            "last_lines": [],
            "asked_signal": None,
            "error": None,
            "oom_kills": 0,
        },
    }
    assert document["policy"] == {"steering": True, "receipts": "enforce", "shared_write": "redirect"}
    (checkpoint,) = document["checkpoints"]
    assert checkpoint == {
        "save": "9f3c0011.0/1.1",
        "attempt": 1,
        "ordinal": 1,
        "prefix": "/ckpt/ckpt-1",
        "digest": DIGEST,
        "step": 10,
        "save_counter": None,
        "verdict": "Good",
        "causes": [],
        "witnesses": 2,
        "medium": "disk",
        "removed": False,
        "held": False,
        "observed": False,
        "first_report_s": 109.0,
        "reports": {
            worker: {
                "prefix": "/ckpt/ckpt-1",
                "digest": DIGEST,
                "step": 10,
                "durable": True,
                "save_duration_s": 0.125,
                "unsaved": [],
                "redirected_from": None,
            }
            for worker in ("worker/0", "worker/1")
        },
    }
    first, second = document["attempts"]
    assert first["failure"] == {
        "worker": "worker/1",
        "reason": "WorkerKilled",
        "detail": "killed by SIGKILL",
        "at_s": 112.0,
    }
    assert second["plan"] == {
        "kind": "restore",
        "why": "newest",
        "step": 10,
        "decided_s": 118.0,
        "series": [
            {
                "save": "9f3c0011.0/1.1",
                "digest": DIGEST,
                "step": 10,
                "prefixes": {"worker/0": "/ckpt/ckpt-1", "worker/1": "/ckpt/ckpt-1"},
            }
        ],
    }
    assert [(each["worker"], each["restored"], each["good"]) for each in second["receipts"]] == [
        ("worker/0", 1, True),
        ("worker/1", 1, True),
    ]
    assert second["hook_failures"] == {"worker/1 save": 5, "worker/0 made-up": 1}
    assert (second["steered"], second["unsteered"]["reason"]) == (False, "Unsteered")
    assert second["left_alone"] == ["/pre/model"]
    assert second["exports"] == [
        {
            "worker": "worker/0",
            "kind": "saved_model",
            "path": "/export/1",
            "step": 10,
            "faults": [{"reason": "Torn", "detail": "short"}],
            "bytes_read": 7,
            "save_duration_s": 0.5,
            "error": "",
            "at_s": 130.0,
        }
    ]
    assert second["notices"] == [
        {"worker": "worker/1", "kind": "read", "path": "/ckpt/ckpt-1", "detail": "", "at_s": 131.0}
    ]
    (incident,) = document["incidents"]
    assert incident.keys() == {
        "attempt",
        "next_attempt",
        "worker",
        "reason",
        "detail",
        "at_s",
        "spans",
        "lost_steps",
        "lost_steps_by_worker",
        "plan_step",
    }
    assert incident["spans"].keys() == {
        "detected_s",
        "decided_s",
        "stopped_s",
        "started_s",
        "restored_s",
        "first_step_s",
    }
    assert (incident["worker"], incident["lost_steps"], incident["lost_steps_by_worker"]) == (
        "worker/1",
        3,
        {"worker/0": 3, "worker/1": 3},
    )


def test_a_journal_is_told_from_its_beginning() -> None:
    # When
    told = list(journal_entries(entries()))

    # Then
    assert [each["sequence"] for each in told] == list(range(1, len(HISTORY) + 1))
    assert told[11] == {
        "sequence": 12,
        "at_s": 112.0,
        "kind": "VerdictReached",
        "attempt": 1,
        "text": "ckpt-1 (step 10) Good: 2 workers agree, read past the page cache",
        "event": {
            "save": {"series": {"signature": SERIES.signature, "ordinal": 0}, "attempt": 1, "ordinal": 1},
            "verdict": {"standing": "Good", "causes": [], "witnesses": 2, "medium": "disk"},
        },
    }
    assert journal_entry(1, 1.0, AttemptEnded(3))["attempt"] == 3


def test_a_journal_that_does_not_begin_with_an_opening_is_refused() -> None:
    with pytest.raises(JournalError, match="expected a journal to begin with RunOpened, found WorkerConnected"):
        fold(entries()[1:])
    assert fold([]) is None


# -------------------------------------------------------------------------------------------------------------- metrics


def counted(*more: Event, now_s: float = 200.0) -> dict[tuple[str, tuple[str, ...]], float]:
    """Every sample that is not 0, after a whole journal."""
    metrics = Metrics(lambda: now_s)
    for before, entry, after in steps(entries(*more)):
        metrics.observe(before, entry.event, after)
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.value and not sample.name.endswith("_created")
    }


def test_a_journal_is_counted_as_it_happened() -> None:
    assert counted() == {
        ("lastgood_saves_total", ("Good",)): 1,
        ("lastgood_restores_total", ("Restored", "None")): 2,
        ("lastgood_restarts_total", ()): 1,
        ("lastgood_attempts_failed_total", ("WorkerKilled",)): 1,
        ("lastgood_hook_failures_total", ("save",)): 5,
        ("lastgood_hook_failures_total", ("made-up",)): 1,
        ("lastgood_attempts_unsteered_total", ()): 1,
        ("lastgood_exports_total", ("saved_model", "Damaged")): 1,
        ("lastgood_seconds_since_last_good", (JOB,)): 91.0,
    }


def test_what_goes_wrong_is_counted_by_its_reason() -> None:
    # Given
    wrong = received(W0, wrong_value=("a",))
    raised = received(W1, error="NotFoundError")
    not_restored = AttemptFailed(2, Failure(W0, Cause(Reason.NOT_RESTORED), 1.0))
    torn = VerdictReached(SaveId(SERIES, 2, 1), Verdict(Standing.BAD, (Cause(Reason.TORN),)))
    rotated = VerdictReached(SAVE, Verdict(Standing.BAD, (Cause(Reason.VANISHED),)))

    # When
    samples = counted(wrong, raised, not_restored, a_save(W0, attempt=2, step=20), torn, torn, rotated)

    # Then
    assert samples["lastgood_restores_total", ("Failed", "RestoredWrong")] == 1
    assert samples["lastgood_restores_total", ("Failed", "RestoreFailed")] == 1
    assert samples["lastgood_restores_total", ("Failed", "NotRestored")] == 1
    assert samples["lastgood_saves_total", ("Torn",)] == 1
    assert ("lastgood_saves_total", ("Vanished",)) not in samples


def test_a_run_that_ended_has_no_age() -> None:
    assert not [name for name, _ in counted(RunEnded(Cause(Reason.FINISHED), 0)) if "seconds" in name]


def test_every_known_label_set_is_born_at_zero_and_no_name_is_unbounded() -> None:
    # Given
    metrics = Metrics(lambda: 0.0)
    born = {
        (sample.name, *sample.labels.values())
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    }

    # Then
    for verdict in ("Good", "Corrupt", "Torn", "Diverged", "Incomplete", "Vanished", "Quarantined", "NotFinite"):
        assert ("lastgood_saves_total", verdict) in born
    for reason in ("RestoredWrong", "RestoreFailed", "NotRestored", "ModelChanged"):
        assert ("lastgood_restores_total", "Failed", reason) in born
    for reason in ("Preempted", "OutOfMemory", "PeerLost", "StartTimeout"):
        assert ("lastgood_attempts_failed_total", reason) in born
    assert {("lastgood_restores_total", "Warned", "RestoredWrong"), ("lastgood_advice_total", "NotSaved")} <= born
    assert {("lastgood_restarts_total",), ("lastgood_attempts_unsteered_total",)} <= born
    assert {name for name, *_ in born} == {
        "lastgood_saves_total",
        "lastgood_restores_total",
        "lastgood_restarts_total",
        "lastgood_attempts_failed_total",
        "lastgood_hook_failures_total",
        "lastgood_attempts_unsteered_total",
        "lastgood_exports_total",
        "lastgood_internal_errors_total",
        "lastgood_advice_total",
    }

    # When: somebody invents names without end
    for before, entry, after in steps(entries(*(HookFailed(W0, 2, f"hook-{n}", "e", 1) for n in range(200)))):
        metrics.observe(before, entry.event, after)
    hooks = next(f for f in metrics.registry.collect() if f.name == "lastgood_hook_failures")
    assert len([sample for sample in hooks.samples if sample.name.endswith("_total")]) <= 33
