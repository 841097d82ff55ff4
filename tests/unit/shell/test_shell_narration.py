"""The line for people about every event: short, exact, in the words of the directory that an operator looks at."""

from dataclasses import replace

import pytest
from shell_builders import (
    JOB,
    RUN,
    SERIES,
    W0,
    W1,
    a_connection,
    a_gang_in,
    a_manifest,
    a_run,
    a_save,
    a_trainer,
    an_attempt,
)

from lastgood.reasons import Reason
from lastgood_controller.codec import EVENT_TYPES
from lastgood_controller.events import (
    AttemptEnded,
    AttemptFailed,
    CallEntered,
    CheckpointsRemoved,
    DirectoryListed,
    Event,
    Exported,
    FirstStepDone,
    GateOpened,
    HookFailed,
    Noticed,
    PlanDecided,
    Quarantined,
    ReceiptGiven,
    RestoreLeftAlone,
    RunEnded,
    RunOpened,
    SaveFailed,
    SharedWriteSeen,
    SigtermHandled,
    SteeringLost,
    StopAsked,
    StrategyMade,
    VerdictReached,
    Verified,
    VerifyAsked,
    WorkerDisconnected,
    WorkerLeaving,
    WorkerLost,
)
from lastgood_controller.fold import (
    apply,
)
from lastgood_controller.model import (
    Cause,
    Explained,
    Export,
    ExportKind,
    Failure,
    FoundCheckpoint,
    Listing,
    Medium,
    Notice,
    NoticeKind,
    Plan,
    PlanKind,
    PlannedSeries,
    Policy,
    Purpose,
    Receipt,
    ReceiptPolicy,
    Run,
    SaveId,
    SharedWrite,
    Standing,
    Task,
    TrainerPhase,
    Verdict,
    Verification,
)
from lastgood_controller.narration import narrate
from lastgood_controller.refusals import sentence

SAVE = SaveId(SERIES, 1, 4)
DIGEST = a_manifest(40).digest
SAVED = a_save(W0, ordinal=4, step=40)
TASK = Task("t", SAVE, Purpose.JUDGE, 0, W1, "/ckpt/ckpt-4", DIGEST, 1.0)
REREAD = Task("r", SAVE, Purpose.REREAD, 2, W1, "/ckpt/ckpt-4", DIGEST, 1.0)
WHOLE = Verification("t", W1, "/ckpt/ckpt-4", DIGEST, (), Medium.DISK, 12_300_000, 0.02)
TORN = Verification("t", W1, "/ckpt/ckpt-4", DIGEST, (Cause(Reason.TORN, "shard 0 is short"),), Medium.CACHE)
KILLED = Failure(W1, Cause(Reason.WORKER_KILLED, "killed by SIGKILL"), 5.0)
RESTORE = Plan(
    PlanKind.RESTORE, (PlannedSeries(SAVE, DIGEST, 40, {W0: "/ckpt/ckpt-4", W1: "/ckpt/ckpt-4"}, ("/ckpt",)),)
)
ADOPT = Plan(PlanKind.ADOPT, RESTORE.series, "found by every worker")
FRESH = Plan(PlanKind.FRESH, (), "every worker found the directory empty")

CONNECTED = a_gang_in(1)
TRAINING = a_gang_in(1, SAVED, a_save(W1, ordinal=4, step=40), VerifyAsked(TASK), Verified(WHOLE))
TRAINS = a_gang_in(1, a_trainer(W1, 1))
FAILED = a_gang_in(1, SAVED, AttemptFailed(1, KILLED), AttemptEnded(1))
STOPPED = a_gang_in(1, SAVED, AttemptFailed(1, Failure(None, Cause(Reason.INTERRUPTED, "asked"), 1.0)), AttemptEnded(1))
PLANNED = a_gang_in(1, SAVED, AttemptFailed(1, KILLED), AttemptEnded(1), an_attempt(2), PlanDecided(2, RESTORE))


def exited(**kept: object) -> Event:
    return a_trainer(W1, 1, phase=TrainerPhase.EXITED, **kept)


def receipt(**kept: object) -> Event:
    values: dict[str, object] = {"prefix": "/ckpt/ckpt-4", "manifest_digest": DIGEST, "restored": 12}
    return ReceiptGiven(2, Receipt(W1, SERIES, **{**values, **kept}))  # type: ignore[arg-type]


LINES: list[tuple[Run | None, Event, str]] = [
    (
        None,
        RunOpened(RUN, JOB, Policy()),
        f"run of {JOB} opened: steering, at most 3 restarts without progress",
    ),
    (
        CONNECTED,
        RunOpened(RUN, JOB, Policy(steering=False, max_restarts=1), "ada"),
        f"run of {JOB} opened again by ada: observing only, at most 1 restart without progress, counted afresh",
    ),
    (a_run(), a_connection(W1), "worker/1 connected on here: no trainer yet"),
    (
        CONNECTED,
        a_connection(W1, launcher=2, trainer=a_trainer().trainer),
        "worker/1 has a new launcher on here: its trainer runs attempt 1",
    ),
    (CONNECTED, a_connection(W1, agent=2), "worker/1 has a new agent on here: no trainer yet"),
    (CONNECTED, a_connection(W1), "agent of worker/1 is back: no trainer yet"),
    (CONNECTED, WorkerDisconnected(W1, 1), "agent of worker/1 is away"),
    (TRAINS, WorkerDisconnected(W1, 1), "agent of worker/1 is away; its trainer trains on"),
    (CONNECTED, WorkerLost(W1, "silent for 15 s"), "worker/1 lost: silent for 15 s"),
    (CONNECTED, a_trainer(W1, 1), "worker/1 started attempt 1 (pid 77)"),
    (CONNECTED, exited(signal=9, reached_step=37), "worker/1 killed by SIGKILL at step 37"),
    (CONNECTED, exited(signal=99), "worker/1 killed by signal 99"),
    (CONNECTED, exited(signal=15, was_stopped=True, reached_step=37), "worker/1 stopped at step 37"),
    (CONNECTED, exited(exit_code=0, reached_step=300), "worker/1 finished at step 300"),
    (
        CONNECTED,
        exited(exit_code=1, last_lines=("Traceback", "ValueError: no", " ")),
        "worker/1 exited with status 1: ValueError: no",
    ),
    (CONNECTED, a_trainer(W1, 0, phase=TrainerPhase.NONE), "worker/1 has no trainer"),
    (
        CONNECTED,
        StrategyMade(W1, 1, "CollectiveAllReduceStrategy", 2),
        "worker/1 made a CollectiveAllReduceStrategy (2 replicas)",
    ),
    (CONNECTED, SAVED, "worker/0 saved ckpt-4 (step 40) in 0.12 s"),
    (
        CONNECTED,
        a_save(W0, ordinal=4, step=40, durable=False, unsaved_variables=("a", "b", "c", "d")),
        (
            "worker/0 saved ckpt-4 (step 40) in 0.12 s, not yet on disk; NotSaved: 4 variables of the model are not in"
            " the checkpoint: a, b, c, d; keep each in an attribute of its own, or in a tuple"
        ),
    ),
    (
        a_gang_in(1, a_save(W1, unsaved_variables=("a",))),
        a_save(W0, unsaved_variables=("a",), redirected_from="/ckpt/ckpt-1"),
        "worker/0 saved ckpt-1 (step 10) in 0.12 s, away from /ckpt/ckpt-1",
    ),
    (
        CONNECTED,
        SharedWriteSeen(1, SharedWrite(W1, W0, "/ckpt", "/ckpt/ckpt-1", SERIES, is_redirected=True)),
        (
            "SharedWrite: worker/0 and worker/1 both save to /ckpt/ckpt-1, in /ckpt; worker/1's saves go elsewhere from"
            " now on. To be mended in the script: let every worker but the chief save to a directory of its own"
        ),
    ),
    (CONNECTED, SaveFailed(SAVE, W1, "/ckpt/ckpt-4", "disk full"), "worker/1 could not save ckpt-4: disk full"),
    (TRAINING, VerifyAsked(TASK), "ckpt-4 (step 40): worker/1 is asked to read its bytes"),
    (TRAINING, VerifyAsked(REREAD), "ckpt-4 (step 40): worker/1 is asked to read its bytes once more for attempt 2"),
    (
        TRAINING,
        Verified(WHOLE),
        "ckpt-4 (step 40) is whole: 12.3 MB read by worker/1 past the page cache in 0.02 s",
    ),
    (
        TRAINING,
        Verified(TORN),
        "ckpt-4 (step 40) is damaged, read by worker/1 from the page cache: Torn: shard 0 is short",
    ),
    (
        TRAINING,
        VerdictReached(SAVE, Verdict(Standing.GOOD, (), 2, Medium.DISK)),
        "ckpt-4 (step 40) Good: 2 workers agree, read by worker/1 past the page cache",
    ),
    (TRAINING, VerdictReached(SAVE, Verdict(Standing.GOOD, (), 1)), "ckpt-4 (step 40) Good: 1 worker agrees"),
    (
        TRAINING,
        VerdictReached(SAVE, Verdict(Standing.PENDING, (Cause(Reason.AWAITING_VERIFICATION),))),
        "ckpt-4 (step 40) Pending: AwaitingVerification",
    ),
    (
        TRAINING,
        VerdictReached(SAVE, Verdict(Standing.BAD, (Cause(Reason.CORRUPT, "layer/kernel"), Cause(Reason.TORN)))),
        "ckpt-4 (step 40) Bad: Corrupt: layer/kernel; Torn",
    ),
    (
        CONNECTED,
        VerdictReached(SAVE, Verdict(Standing.BAD, (Cause(Reason.INCOMPLETE),))),
        "save 4 of attempt 1 Bad: Incomplete",
    ),
    (
        TRAINING,
        Quarantined(DIGEST, Cause(Reason.RESTORE_FAILED, "on every worker")),
        "ckpt-4 (step 40) quarantined, it is never planned again: RestoreFailed: on every worker",
    ),
    (
        CONNECTED,
        Quarantined("f" * 64, Cause(Reason.RESTORE_FAILED)),
        "checkpoint ffffffffffff quarantined, it is never planned again: RestoreFailed",
    ),
    (CONNECTED, CheckpointsRemoved(W0, 1, ("/ckpt/ckpt-1", "/ckpt/ckpt-2")), "worker/0 removed ckpt-1, ckpt-2"),
    (
        a_gang_in(1, SAVED, VerdictReached(SAVE, Verdict(Standing.GOOD)), CheckpointsRemoved(W0, 1, ("/ckpt/ckpt-4",))),
        VerdictReached(SAVE, Verdict(Standing.BAD, (Cause(Reason.VANISHED, "it was removed"),))),
        "ckpt-4 (step 40) rotated away: it was Good until then",
    ),
    (
        CONNECTED,
        DirectoryListed(W0, 1, Listing(SERIES, "/ckpt", ())),
        "worker/0 looked into /ckpt: no checkpoint there",
    ),
    (
        CONNECTED,
        DirectoryListed(W0, 1, Listing(SERIES, "/ckpt", (), other_entries=2)),
        "worker/0 looked into /ckpt: no checkpoint there, 2 other entries",
    ),
    (
        CONNECTED,
        DirectoryListed(
            W0,
            1,
            Listing(
                SERIES,
                "/ckpt",
                (
                    FoundCheckpoint("/ckpt/ckpt-2", "", None, (Cause(Reason.TORN, "short"),)),
                    FoundCheckpoint("/ckpt/ckpt-1", "d", 10),
                ),
            ),
        ),
        "worker/0 looked into /ckpt: ckpt-1 (step 10) is whole, ckpt-2 Torn: short",
    ),
    (CONNECTED, an_attempt(1), "attempt 1 opened: 2 workers to start"),
    (FAILED, an_attempt(2, steering=False), "attempt 2 opened (restart 1): 2 workers to start, observed only"),
    (STOPPED, an_attempt(2), "attempt 2 opened: 2 workers to start"),
    (FAILED, PlanDecided(2, RESTORE), "plan: attempt 2 restores ckpt-4 (step 40)"),
    (FAILED, PlanDecided(2, ADOPT), "plan: attempt 2 adopts ckpt-4 (step 40): found by every worker"),
    (FAILED, PlanDecided(1, FRESH), "plan: attempt 1 starts fresh: every worker found the directory empty"),
    (PLANNED, receipt(), "worker/1 restored ckpt-4 (step 40): 12 values as in the manifest"),
    (
        PLANNED,
        receipt(deferred=3),
        "worker/1 restored ckpt-4 (step 40): 12 values as in the manifest, 3 to be compared when they are made",
    ),
    (
        PLANNED,
        receipt(wrong_value=("a",), left_at_initial=("b", "c")),
        "worker/1 restored ckpt-4 (step 40) wrongly: 1 with another value (a); 2 left at the initial value (b, c)",
    ),
    (
        PLANNED,
        receipt(wrong_value=("a",), model_change="it was saved with 2 layers, the program builds 3"),
        (
            "worker/1 restored ckpt-4 (step 40) wrongly: it was saved with 2 layers, the program builds 3;"
            " 1 with another value (a)"
        ),
    ),
    (
        replace(PLANNED, policy=Policy(receipts=ReceiptPolicy.WARN)),
        receipt(wrong_value=("a",), found_instead="it holds what /ckpt/ckpt-3 holds"),
        (
            "worker/1 restored ckpt-4 (step 40) wrongly: 1 with another value (a); it holds what /ckpt/ckpt-3 holds;"
            " receipts only warn, so training goes on"
        ),
    ),
    (
        PLANNED,
        receipt(restored=0, is_uncompared=True),
        "worker/1 restored ckpt-4 (step 40): nothing was compared, receipts are off",
    ),
    (
        PLANNED,
        receipt(restored=3, taken_from_chief=("local",)),
        (
            "worker/1 restored ckpt-4 (step 40): 3 values as in the manifest; TakenFromChief: what each worker has of"
            " its own came back as the chief's: local; set it again after the restore, or save it per worker"
        ),
    ),
    (
        apply(PLANNED, receipt(restored=3, taken_from_chief=("local",)), 200.0),
        receipt(restored=4, taken_from_chief=("local",)),
        "worker/1 restored ckpt-4 (step 40): 4 values as in the manifest",
    ),
    (
        PLANNED,
        receipt(restored=3, unmatched=(Explained("head", "left_at_initial", "the checkpoint has nothing at `head`"),)),
        (
            "worker/1 restored ckpt-4 (step 40): 3 values as in the manifest; Unmatched: in restoring /ckpt/ckpt-4, 1"
            " value met nothing: head (the checkpoint has nothing at `head`)"
        ),
    ),
    (PLANNED, receipt(error="NotFoundError"), "worker/1 could not restore ckpt-4 (step 40): NotFoundError"),
    (PLANNED, receipt(prefix="", manifest_digest=""), "worker/1 restored nothing"),
    (CONNECTED, CallEntered(W1, 1, "train_step"), "worker/1 entered train_step without having restored"),
    (
        PLANNED,
        GateOpened(2),
        "gate of attempt 2 open: 2 workers proved what they restored, training goes on from step 40",
    ),
    (
        a_gang_in(1, PlanDecided(1, FRESH)),
        GateOpened(1),
        "gate of attempt 1 open: nothing was to be restored, training begins",
    ),
    (CONNECTED, GateOpened(1), "gate of attempt 1 open: nobody is steered, training goes on"),
    (CONNECTED, FirstStepDone(W1, 2, 41), "worker/1 did the first step of attempt 2 (step 41)"),
    (CONNECTED, FirstStepDone(W1, 2, None), "worker/1 did the first step of attempt 2"),
    (CONNECTED, HookFailed(W1, 1, "save", "boom", 1), "hook save failed on worker/1: boom; training goes on"),
    (
        CONNECTED,
        HookFailed(W1, 1, "save", "boom", 4),
        "hook save failed on worker/1 (4 times in this attempt): boom; training goes on",
    ),
    (
        CONNECTED,
        SteeringLost(W1, 1, "restore", "boom"),
        "attempt 1 is Unsteered, nobody is steered in it: hook restore failed on worker/1: boom",
    ),
    (
        CONNECTED,
        SteeringLost(W1, 1, "", "it trains in graph mode"),
        "attempt 1 is Unsteered, nobody is steered in it: worker/1: it trains in graph mode",
    ),
    (
        CONNECTED,
        Exported(1, Export(W0, ExportKind.SAVED_MODEL, "/export/5", 10, (), 1_200_000)),
        "worker/0 saved the SavedModel /export/5 at step 10, to be used elsewhere: 1.2 MB read again, whole",
    ),
    (
        CONNECTED,
        Exported(1, Export(W0, ExportKind.HDF5, "/w.weights.h5", None, (Cause(Reason.NO_CHECKSUM, "HDF5"),))),
        "worker/0 saved the HDF5 file /w.weights.h5, to be used elsewhere: its format has no checksum",
    ),
    (
        CONNECTED,
        Exported(1, Export(W0, ExportKind.KERAS, "/m.keras", None, (Cause(Reason.TORN, "short"),))),
        "worker/0 saved the Keras archive /m.keras, to be used elsewhere: it is damaged: Torn: short",
    ),
    (
        CONNECTED,
        Exported(1, Export(W0, ExportKind.KERAS, "/m.keras", error="OSError: no space")),
        "worker/0 could not save m.keras: OSError: no space",
    ),
    (
        CONNECTED,
        Noticed(1, Notice(W0, NoticeKind.READ, "/ckpt/ckpt-1")),
        "worker/0: a process that does not train read /ckpt/ckpt-1, observed only",
    ),
    (
        CONNECTED,
        Noticed(1, Notice(W0, NoticeKind.STATE_FILE, "/ckpt", "ValueError: empty")),
        "worker/0: the state file in /ckpt is taken for a missing one, TensorFlow cannot read it: ValueError: empty",
    ),
    (
        CONNECTED,
        Noticed(1, Notice(W0, NoticeKind.NEVER_ASKED, "/ckpt", "3 of them")),
        "worker/0 trains and never asked what to restore, although checkpoints lie in /ckpt: 3 of them",
    ),
    (
        CONNECTED,
        Noticed(1, Notice(W0, NoticeKind.UNSUPPORTED, "TPUStrategy")),
        f"worker/0: {sentence('TPUStrategy')}",
    ),
    (CONNECTED, RestoreLeftAlone(W1, 1, "/pre/model"), "worker/1 restored /pre/model on its own account: left alone"),
    (
        CONNECTED,
        AttemptFailed(1, KILLED),
        "attempt 1 failed: worker/1 WorkerKilled: killed by SIGKILL; the gang is stopped",
    ),
    (
        CONNECTED,
        AttemptFailed(1, Failure(None, Cause(Reason.INTERRUPTED, "asked"), 1.0)),
        "attempt 1 failed: Interrupted: asked; the gang is stopped",
    ),
    (CONNECTED, AttemptEnded(1), "attempt 1 ended: every trainer is gone"),
    (
        CONNECTED,
        AttemptFailed(1, Failure(W1, Cause(Reason.PREEMPTED, "told to end"), 1.0), spends_budget=False),
        "attempt 1 failed: worker/1 Preempted: told to end; the gang is stopped, which spends no restart",
    ),
    (CONNECTED, StopAsked("ada", "lunch"), "ada asked the run to stop: lunch"),
    (CONNECTED, StopAsked("ada", "lunch", 22.0), "ada asked the run to stop within 22 s: lunch"),
    (
        CONNECTED,
        WorkerLeaving(W1, 1, "SIGTERM", 28.0),
        "worker/1 was told to end (SIGTERM): its trainer has 28 s",
    ),
    (
        CONNECTED,
        SigtermHandled(W1, 1, "on_term"),
        "worker/1 handles SIGTERM itself (on_term): it may save and end when told to",
    ),
    (CONNECTED, RunEnded(Cause(Reason.FINISHED, "all did"), 0), "run ended (Finished: all did)"),
]


@pytest.mark.parametrize(("before", "event", "line"), LINES, ids=[type(event).__name__ for _, event, _ in LINES])
def test_the_line_says_what_happened(before: Run | None, event: Event, line: str) -> None:
    assert narrate(before, event) == line


def test_every_event_has_its_line() -> None:
    assert {type(event) for _, event, _ in LINES} == set(EVENT_TYPES.values())


def test_a_line_stays_one_line_of_bounded_length() -> None:
    # Given
    event = HookFailed(W0, 1, "save", "first\nsecond " + "x" * 5_000, 1)

    # When
    line = narrate(None, event)

    # Then
    assert line.startswith("hook save failed on worker/0: first second xxx")
    assert (len(line), line[-1]) == (600, "…")
