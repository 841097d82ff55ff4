"""Protobuf messages as the domain's types, and back."""

from dataclasses import replace

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st
from shell_builders import JOB, MEMBERS, RUN, SERIES, W0, W1, a_gang_in, a_hello, a_manifest, a_sender

from lastgood.manifest import Kind, Manifest, ManifestEntry
from lastgood.reasons import Reason
from lastgood.v1 import agent_service_pb2 as agent_pb
from lastgood.v1 import common_pb2 as common_pb
from lastgood_controller import wire
from lastgood_controller.desired import Desired, TrainerAction, desired_state
from lastgood_controller.events import (
    CallEntered,
    CheckpointsRemoved,
    DirectoryListed,
    Event,
    Exported,
    FirstStepDone,
    HookFailed,
    Noticed,
    ReceiptGiven,
    RestoreLeftAlone,
    SaveFailed,
    SaveReported,
    SharedWriteSeen,
    SigtermHandled,
    SteeringLost,
    StrategyMade,
    TrainerChanged,
    Verified,
    WorkerLeaving,
)
from lastgood_controller.model import (
    Cause,
    End,
    Explained,
    Export,
    ExportKind,
    FoundCheckpoint,
    Listing,
    Medium,
    Notice,
    NoticeKind,
    Plan,
    PlanKind,
    PlannedSeries,
    Purpose,
    Receipt,
    SaveId,
    SaveReport,
    ScriptError,
    SeriesId,
    SharedWrite,
    Task,
    Trainer,
    TrainerPhase,
    Verification,
)
from lastgood_controller.pins import PinnedSave, Word
from lastgood_controller.wire import WireError

PB_W0, PB_W1 = common_pb.Worker(task_type="worker", task_id=0), common_pb.Worker(task_type="worker", task_id=1)
PB_SERIES = common_pb.Series(signature=SERIES.signature, ordinal=0)
PB_SAVE = common_pb.Save(series=PB_SERIES, attempt=2, ordinal=3)
SAVE = SaveId(SERIES, 2, 3)
PB_CORRUPT = common_pb.ReasonDetail(reason="Corrupt", detail="shard 0")
CORRUPT = Cause(Reason.CORRUPT, "shard 0")
PB_EXPLAINED = agent_pb.Explained(key="k", outcome="dropped", reason="r", fix="x", is_suspected=True)
EXPLAINED = Explained("k", "dropped", "r", "x", True)
HALF_S = Duration(nanos=500_000_000)

FACTS: list[tuple[dict[str, object], Event]] = [
    (
        {
            "trainer_changed": agent_pb.TrainerChanged(
                trainer=agent_pb.TrainerState(
                    phase=agent_pb.TRAINER_PHASE_EXITED,
                    attempt=2,
                    pid=9,
                    signal=9,
                    last_lines=["a", "b"],
                    reached_step=0,
                    completed_calls=5,
                    asked_signal=15,
                    error=agent_pb.ScriptError(type="ValueError", message="no", place="a.py:1 in f", lines=["x"]),
                    oom_kills=1,
                    kernel_word="Killed process 9",
                ),
                next_address="h:1",
            )
        },
        TrainerChanged(
            W0,
            Trainer(
                *(TrainerPhase.EXITED, 2, 9),
                signal=9,
                last_lines=("a", "b"),
                reached_step=0,
                completed_calls=5,
                asked_signal=15,
                error=ScriptError("ValueError", "no", "a.py:1 in f", ("x",)),
                oom_kills=1,
                kernel_word="Killed process 9",
            ),
            "h:1",
        ),
    ),
    (
        {"strategy_made": agent_pb.StrategyMade(strategy="MultiWorkerMirroredStrategy", replicas=2)},
        StrategyMade(W0, 2, "MultiWorkerMirroredStrategy", 2),
    ),
    (
        {"worker_leaving": agent_pb.WorkerLeaving(signal="SIGTERM", grace=Duration(seconds=28))},
        WorkerLeaving(W0, 2, "SIGTERM", 28.0),
    ),
    ({"sigterm_handled": agent_pb.SigtermHandled(handler="on_term")}, SigtermHandled(W0, 2, "on_term")),
    (
        {
            "save_reported": agent_pb.SaveReported(
                save=PB_SAVE,
                prefix="/c/ckpt-3",
                manifest_digest="d",
                step=30,
                save_counter=3,
                durable=True,
                save_duration=HALF_S,
                unsaved_variables=["v"],
                held=[PB_SAVE],
                observed=True,
                redirected_from="/d/ckpt-3",
            )
        },
        SaveReported(
            SAVE,
            SaveReport(W0, "/c/ckpt-3", "d", 30, 3, True, 0.5, ("v",), (SAVE,), "/d/ckpt-3", observed=True),
        ),
    ),
    (
        {"save_reported": agent_pb.SaveReported(save=PB_SAVE, prefix="p", manifest_digest="d")},
        SaveReported(SAVE, SaveReport(W0, "p", "d", step=None, save_counter=None)),
    ),
    ({"save_failed": agent_pb.SaveFailed(save=PB_SAVE, prefix="p", error="e")}, SaveFailed(SAVE, W0, "p", "e")),
    (
        {
            "verified": agent_pb.Verified(
                task_id="t",
                prefix="p",
                manifest_digest="d",
                faults=[PB_CORRUPT],
                medium=agent_pb.MEDIUM_DISK,
                bytes_read=7,
                duration=HALF_S,
            )
        },
        Verified(Verification("t", W0, "p", "d", (CORRUPT,), Medium.DISK, 7, 0.5)),
    ),
    (
        {
            "directory_listed": agent_pb.DirectoryListed(
                directory="/c",
                checkpoints=[
                    agent_pb.FoundCheckpoint(prefix="a", manifest_digest="d", step=1),
                    agent_pb.FoundCheckpoint(prefix="b", faults=[PB_CORRUPT]),
                ],
            )
        },
        DirectoryListed(
            W0,
            2,
            Listing(SeriesId("", 0), "/c", (FoundCheckpoint("a", "d", 1), FoundCheckpoint("b", "", None, (CORRUPT,)))),
        ),
    ),
    (
        {
            "receipt": agent_pb.Receipt(
                series=PB_SERIES,
                asked_prefix="q",
                prefix="p",
                manifest_digest="d",
                restored=4,
                left_at_initial=["a"],
                wrong_value=["b"],
                deferred=1,
                taken_from_chief=["c"],
                error="e",
                duration=HALF_S,
                explained=[PB_EXPLAINED],
                model_change="m",
                unmatched=[PB_EXPLAINED],
                is_uncompared=True,
                found_instead="f",
            )
        },
        ReceiptGiven(
            2,
            Receipt(
                *(W0, SERIES, "p", "d", 4, ("a",), ("b",), 1, ("c",), "e", "q", 0.5),
                *((EXPLAINED,), "m", (EXPLAINED,), "f", True),
            ),
        ),
    ),
    (
        {
            "shared_write": agent_pb.SharedWrite(
                series=PB_SERIES, directory="/c", prefix="/c/ckpt-3", other=PB_W1, is_redirected=True
            )
        },
        SharedWriteSeen(2, SharedWrite(W0, W1, "/c", "/c/ckpt-3", SERIES, is_redirected=True)),
    ),
    ({"call_entered": agent_pb.CallEntered(function="f")}, CallEntered(W0, 2, "f")),
    ({"first_step": agent_pb.FirstStep(step=31)}, FirstStepDone(W0, 2, 31)),
    ({"first_step": agent_pb.FirstStep()}, FirstStepDone(W0, 2, None)),
    ({"hook_failed": agent_pb.HookFailed(hook="h", error="e", count=2)}, HookFailed(W0, 2, "h", "e", 2)),
    ({"steering_lost": agent_pb.SteeringLost(hook="h", error="e")}, SteeringLost(W0, 2, "h", "e")),
    ({"restore_left_alone": agent_pb.RestoreLeftAlone(prefix="p")}, RestoreLeftAlone(W0, 2, "p")),
    (
        {
            "exported": agent_pb.Exported(
                kind=agent_pb.EXPORT_KIND_SAVED_MODEL,
                path="/e/1",
                step=0,
                faults=[PB_CORRUPT],
                bytes_read=7,
                duration=HALF_S,
                error="e",
            )
        },
        Exported(2, Export(W0, ExportKind.SAVED_MODEL, "/e/1", 0, (CORRUPT,), 7, 0.5, "e")),
    ),
    (
        {"noticed": agent_pb.Noticed(kind=agent_pb.NOTICE_KIND_STATE_FILE, path="/d", detail="ValueError")},
        Noticed(2, Notice(W0, NoticeKind.STATE_FILE, "/d", "ValueError")),
    ),
    ({"checkpoints_removed": agent_pb.CheckpointsRemoved(prefixes=["p", "q"])}, CheckpointsRemoved(W0, 2, ("p", "q"))),
]


@pytest.mark.parametrize(("fact", "event"), FACTS, ids=[next(iter(fact)) for fact, _ in FACTS])
def test_every_fact_of_the_wire_becomes_its_event(fact: dict[str, object], event: Event) -> None:
    report = wire.report_from_proto(W0, agent_pb.Report(report_id="r", attempt=2, **fact))  # type: ignore[arg-type]
    assert (report.report_id, report.attempt, report.event) == ("r", 2, event)


def test_no_fact_of_the_proto_is_forgotten() -> None:
    names = {field.name for field in agent_pb.Report.DESCRIPTOR.oneofs_by_name["fact"].fields}
    assert {next(iter(fact)) for fact, _ in FACTS} == names


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (agent_pb.Report(report_id="r"), "report 'r' holds no fact that this version of lastgood knows"),
        (
            agent_pb.Report(verified=agent_pb.Verified(task_id="t")),
            "expected verified.medium to be one of [1, 2, 3], found 0",
        ),
        (agent_pb.Report(trainer_changed=agent_pb.TrainerChanged()), "expected trainer.phase to be one of"),
        (
            agent_pb.Report(
                verified=agent_pb.Verified(
                    medium=agent_pb.MEDIUM_DISK, faults=[common_pb.ReasonDetail(reason="Sunspots")]
                )
            ),
            "expected a reason that this version of lastgood knows, found 'Sunspots'",
        ),
        (
            agent_pb.Report(receipt=agent_pb.Receipt(series=common_pb.Series(signature="s", ordinal=-1))),
            "expected the ordinal of a series to be 0 or more, found -1",
        ),
    ],
)
def test_a_report_that_says_nothing_known_is_refused(message: agent_pb.Report, sentence: str) -> None:
    with pytest.raises(WireError) as refused:
        wire.report_from_proto(W0, message)
    assert sentence in str(refused.value)


def test_a_hello_is_understood() -> None:
    # Given
    request = agent_pb.SubscribeRequest(
        sender=agent_pb.Sender(run_id=RUN, worker=PB_W0, agent_session=1, launcher_session=1),
        job=JOB,
        members=[PB_W0, PB_W1],
        next_address="127.0.0.1:40000",
        host="here",
    )

    # When, Then
    assert wire.hello_from_proto(request) == a_hello()
    request.trainer.phase = agent_pb.TRAINER_PHASE_RUNNING
    request.trainer.attempt = 4
    request.may_reopen = True
    assert wire.hello_from_proto(request) == a_hello(trainer=Trainer(TrainerPhase.RUNNING, 4), may_reopen=True)


@pytest.mark.parametrize(
    "sender",
    [
        agent_pb.Sender(worker=PB_W0),
        agent_pb.Sender(run_id=RUN),
        agent_pb.Sender(run_id=RUN, worker=common_pb.Worker(task_type="a/b")),
        agent_pb.Sender(run_id=RUN, worker=common_pb.Worker(task_type="worker", task_id=-1)),
    ],
)
def test_a_sender_that_does_not_say_who_it_is_is_refused(sender: agent_pb.Sender) -> None:
    with pytest.raises(WireError):
        wire.sender_from_proto(sender)
    assert a_sender().worker == W0


def test_the_desired_state_of_a_worker_names_its_own_prefix() -> None:
    # Given
    planned = PlannedSeries(SAVE, "d", 30, {W0: "/a/ckpt-3", W1: "/b/ckpt-3"}, ("/a", "/b"))
    desired = Desired(
        attempt=3,
        action=TrainerAction.RUN,
        members=MEMBERS,
        addresses=("h:1", "h:2"),
        plan=Plan(PlanKind.RESTORE, (planned,)),
        gate_open=True,
        steering=True,
        tasks=(Task("t", SAVE, Purpose.JUDGE, 0, W1, "/b/ckpt-3", "d", 1.0),),
        end=End(Cause(Reason.FINISHED, "done"), 0, 5.0),
        pins=Word((PinnedSave(SAVE, "/a/ckpt-3", "d"),), (SAVE,), (SAVE,)),
        end_announced=True,
    )

    # When
    message = wire.desired_to_proto(desired, W1, planned_s=12.25)

    # Then
    assert message == agent_pb.DesiredState(
        attempt=3,
        action=agent_pb.TRAINER_ACTION_RUN,
        members=[PB_W0, PB_W1],
        addresses=["h:1", "h:2"],
        plan=common_pb.Plan(
            kind=common_pb.PLAN_KIND_RESTORE,
            series=[
                common_pb.PlannedSeries(
                    series=PB_SERIES,
                    directories=["/a", "/b"],
                    prefix="/b/ckpt-3",
                    manifest_digest="d",
                    step=30,
                    save=PB_SAVE,
                )
            ],
            decided_at=Timestamp(seconds=12, nanos=250_000_000),
        ),
        gate_open=True,
        steering=True,
        verify_tasks=[agent_pb.VerifyTask(task_id="t", prefix="/b/ckpt-3", manifest_digest="d", save=PB_SAVE)],
        pins=agent_pb.Pins(
            good=[agent_pb.PinnedSave(save=PB_SAVE, prefix="/a/ckpt-3", manifest_digest="d")],
            undecided=[PB_SAVE],
            through=[PB_SAVE],
        ),
        end=agent_pb.RunEnd(reason=common_pb.ReasonDetail(reason="Finished", detail="done")),
        end_announced=True,
        guards=agent_pb.Guards(
            receipts=agent_pb.RECEIPT_POLICY_ENFORCE, shared_write=agent_pb.SHARED_WRITE_POLICY_REDIRECT
        ),
    )


def test_what_is_not_decided_is_not_said() -> None:
    message = wire.desired_to_proto(desired_state(a_gang_in(1), W0), W0)
    assert not message.HasField("plan")
    assert not message.HasField("end")
    assert message.listing_wanted
    fresh = wire.desired_to_proto(Desired(plan=Plan(PlanKind.FRESH)), W0)
    assert fresh.plan == common_pb.Plan(kind=common_pb.PLAN_KIND_FRESH)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.builds(
            ManifestEntry,
            st.binary(min_size=1, max_size=8),
            st.text(max_size=8),
            st.tuples(st.integers(0, 2**40)),
            st.integers(0, 2**32 - 1),
            st.integers(0, 2**40),
            st.text(max_size=8),
            st.sampled_from(Kind),
        ),
        unique_by=lambda entry: entry.key,
    )
)
def test_a_manifest_travels_without_loss(entries: list[ManifestEntry]) -> None:
    manifest = Manifest(tuple(sorted(entries, key=lambda entry: entry.key)), (3, 4))
    assert wire.manifest_from_proto(wire.manifest_to_proto(manifest)) == manifest


def test_a_manifest_whose_digest_is_not_its_own_is_refused() -> None:
    message = wire.manifest_to_proto(a_manifest(1))
    message.digest = a_manifest(2).digest
    with pytest.raises(WireError, match=f"and its content has {a_manifest(1).digest}"):
        wire.manifest_from_proto(message)


def test_a_manifest_out_of_order_is_refused() -> None:
    message = wire.manifest_to_proto(a_manifest(1))
    message.entries.append(replace_key(message.entries[0]))
    with pytest.raises(WireError, match="must be sorted by key"):
        wire.manifest_from_proto(message)


def replace_key(entry: common_pb.ManifestEntry) -> common_pb.ManifestEntry:
    copy = common_pb.ManifestEntry()
    copy.CopyFrom(entry)
    copy.key = b"a"
    return copy


def test_durations_keep_their_nanoseconds() -> None:
    assert wire.duration_to_proto(1.25) == Duration(seconds=1, nanos=250_000_000)
    assert replace(a_sender(), agent_session=2).rank == (1, 2)
