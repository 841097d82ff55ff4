"""Facts, reports, orders, spool: the agent's parts without any process."""

from __future__ import annotations

import json
import os
import random
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood.manifest import Kind, Manifest, ManifestEntry
from lastgood.v1 import agent_service_pb2 as pb
from lastgood.v1 import common_pb2
from lastgood_agent import agent, duties, orders, processes
from lastgood_agent.agent_config import Config
from lastgood_agent.facts import (
    FactError,
    Series,
    new_report,
    parse_fact,
    report_of,
    saved_report,
    trainer_report,
    trainer_state,
)
from lastgood_agent.gang import gang_from_arguments
from lastgood_agent.outgoing import MAX_BATCH, Outgoing
from lastgood_agent.ports import HeldPort, lowest_ephemeral_port
from lastgood_agent.spool import Spool
from lastgood_agent.trainer import TrainerState, last_lines_of, tail_of

SERIES = {"signature": "0123456789abcdef", "ordinal": 1, "directory": "/model"}
NAME = f"000003-{7:020d}-11-1.json"


def fact(**fields: object):
    return parse_fact(NAME, {"attempt": 3, "at_s": 12.5, "pid": 11, **fields})


def report(number: int, **fields: object) -> pb.Report:
    return pb.Report(report_id=f"r{number}", **fields)  # type: ignore[arg-type]


# -------------------------------------------------------------------------------------------------------------- facts


def test_a_receipt_keeps_every_field():
    made = report_of(
        "worker/1",
        fact(
            type="receipt",
            series=SERIES,
            asked_prefix="",
            prefix="/model/ckpt-2",
            digest="ab",
            restored=7,
            left_at_initial=["a"],
            wrong_value=["b", 3],
            deferred=2,
            taken_from_chief=["c"],
            error="",
            seconds=1.5,
        ),
    )
    assert made is not None
    assert (made.report_id, made.attempt) == (f"worker/1/3/{NAME}", 3)
    assert made.happened_at.ToNanoseconds() == 12_500_000_000
    expected = pb.Receipt(
        series=common_pb2.Series(signature="0123456789abcdef", ordinal=1),
        prefix="/model/ckpt-2",
        manifest_digest="ab",
        restored=7,
        left_at_initial=["a"],
        wrong_value=["b"],
        deferred=2,
        taken_from_chief=["c"],
    )
    expected.duration.FromMilliseconds(1500)
    assert made.receipt == expected


def test_a_receipt_that_compared_nothing_says_so():
    made = [report_of("worker/1", fact(type="receipt", is_compared=told)) for told in (False, True)]
    assert [each.receipt.is_uncompared for each in made if each] == [True, False]


def test_whoever_saves_to_the_same_prefix_is_named_in_a_report():
    told = {"type": "shared_write", "series": SERIES, "directory": "/model", "prefix": "/model/ckpt-2"}
    made = report_of("worker/1", fact(**told, other="worker/0", is_redirected=True))
    assert made is not None
    assert made.shared_write == pb.SharedWrite(
        series=common_pb2.Series(signature="0123456789abcdef", ordinal=1),
        directory="/model",
        prefix="/model/ckpt-2",
        other=common_pb2.Worker(task_type="worker", task_id=0),
        is_redirected=True,
    )
    for other in ("worker", "/1", "worker/x", "worker/" + "9" * 30, None):
        with pytest.raises(FactError, match="expected other"):
            report_of("worker/1", fact(**told, other=other))


def test_a_save_that_went_elsewhere_says_what_was_asked_for_and_what_it_left_out():
    save = fact(
        type="saved", series=SERIES, ordinal=2, redirected_from="/model/ckpt-2", unsaved=["net/blocks/0/kernel"]
    )
    made = saved_report("worker/1", save, "ab", is_durable=False).save_reported
    assert (made.redirected_from, list(made.unsaved_variables)) == ("/model/ckpt-2", ["net/blocks/0/kernel"])


TYPES = [
    *("strategy_made", "receipt", "save_failed", "removed", "call_entered", "first_step", "hook_failed"),
    *("steering_lost", "left_alone", "sigterm_handled", "shared_write", "of_the_future"),
]
FIELDS = [
    *("series", "ordinal", "prefix", "prefixes", "digest", "restored", "deferred", "error", "seconds", "step", "count"),
    *("hook", "replicas", "strategy", "function", "at_s", "left_at_initial", "handler", "other"),
]
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(TYPES), st.dictionaries(st.sampled_from(FIELDS), anything))
def test_whatever_a_hook_writes_makes_a_report_or_a_fact_error(kind: str, fields: dict[str, object]):
    try:
        made = report_of("worker/0", fact(**fields, type=kind))
    except FactError:
        return
    assert (made is None) == (kind == "of_the_future")
    assert made is None or made.ByteSize() < 50_000


@given(anything)
def test_whatever_document_lies_in_the_outbox_is_a_fact_or_a_fact_error(document: object):
    try:
        parse_fact(NAME, document)
    except FactError:
        return


def test_a_trainers_report_has_one_id_however_often_it_is_made():
    state = trainer_state(TrainerState(phase="exited", attempt=3, pid=9, signal=9, last_lines=("x",)).to_json(), 37, 5)
    first, second = (trainer_report("worker/0", 42, state, "h:1", at_s) for at_s in (1.0, 2.0))
    assert first.report_id == second.report_id == "worker/0/3/trainer-42-exited"
    assert first.trainer_changed.trainer == pb.TrainerState(
        phase=pb.TRAINER_PHASE_EXITED,
        attempt=3,
        pid=9,
        signal=9,
        last_lines=["x"],
        reached_step=37,
        completed_calls=5,
    )


# ----------------------------------------------------------------------------------------------------------- outgoing


def test_urgent_reports_go_first_and_each_sort_keeps_its_order():
    outgoing = Outgoing()
    done: list[str] = []
    for number, is_urgent in enumerate([False, False, True, False, True]):
        outgoing.add(report(number), lambda n=f"r{number}": done.append(n), is_urgent)
    assert [each.report_id for each in outgoing.batch()] == ["r2", "r4", "r0", "r1", "r3"]

    outgoing.acknowledge(["r2", "r0", "unknown"])
    assert done == ["r2", "r0"]
    assert [each.report_id for each in outgoing.batch()] == ["r4", "r1", "r3"]


def test_a_report_that_waits_already_is_not_added_again():
    outgoing = Outgoing()
    for _ in range(2):
        outgoing.add(report(1), lambda: None)
    assert len(outgoing) == 1


def test_a_batch_is_bounded_in_number_and_size_and_never_empty():
    outgoing = Outgoing()
    huge = report(0, steering_lost=pb.SteeringLost(error="x" * (3 << 20)))
    outgoing.add(huge, lambda: None)
    for number in range(1, 300):
        outgoing.add(report(number), lambda: None)
    assert outgoing.batch() == [huge]
    outgoing.acknowledge(["r0"])
    assert len(outgoing.batch()) == MAX_BATCH


def test_a_refused_batch_is_sent_one_by_one_until_the_culprit_is_given_up():
    outgoing = Outgoing()
    done: list[int] = []
    for number in range(4):
        outgoing.add(report(number), lambda n=number: done.append(n))
    given_up, sent = [], 0
    while len(outgoing) and sent < 20:
        sent += 1
        batch = outgoing.batch()
        if any(each.report_id == "r2" for each in batch):
            given_up.append(outgoing.refuse(batch))
        else:
            outgoing.acknowledge([each.report_id for each in batch])
    assert [each.report_id for each in given_up if each] == ["r2"]
    assert done == [0, 1, 2, 3]


# -------------------------------------------------------------------------------------------------------------- spool


def test_a_kept_report_survives_the_agent_and_is_gone_once_forgotten(tmp_path: Path):
    kept = report(1, verified=pb.Verified(task_id="t", manifest_digest="d"))
    Spool(str(tmp_path)).keep_report(kept)
    (tmp_path / "spool" / "reports" / "garbage.json").write_text("{")
    again = Spool(str(tmp_path))
    assert list(again.kept_reports()) == [kept]
    again.forget_report("r1")
    assert os.listdir(tmp_path / "spool" / "reports") == []


def test_a_manifest_survives_the_agent_and_a_damaged_one_is_removed(tmp_path: Path):
    manifest = Manifest((ManifestEntry(b"\0a/\xff", "float32", (2,), 7, 8, kind=Kind.PER_WORKER),), (8,))
    spool = Spool(str(tmp_path))
    spool.keep_manifest(manifest)
    assert spool.read_manifest(manifest.digest) == manifest
    path = tmp_path / "spool" / "manifests" / f"{manifest.digest}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "shard_sizes_bytes": [9]}))
    assert (spool.read_manifest(manifest.digest), spool.kept_manifests()) == (None, [])


def test_sessions_grow_even_when_the_clock_went_back(tmp_path: Path):
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "session.json").write_text(json.dumps({"agent_session": 2**62}))
    assert [Spool(str(tmp_path)).next_session() for _ in range(2)] == [2**62 + 1, 2**62 + 2]


def test_kinds_are_those_of_the_newest_save_of_the_series(tmp_path: Path):
    spool = Spool(str(tmp_path))
    series, other = Series("a", 0), Series("b", 0)
    spool.remember_kinds(series, {"x": Kind.MIRRORED, "y": Kind.PER_WORKER})
    spool.remember_kinds(other, {"x": Kind.AGGREGATED_SUM})
    spool.remember_kinds(series, {"x": Kind.AGGREGATED_MEAN})
    assert spool.known_kinds(series) == {b"x": Kind.AGGREGATED_MEAN}
    assert spool.known_kinds(Series("c", 0)) == {}


def test_a_fact_that_points_outside_the_outbox_reads_and_removes_nothing_there(tmp_path: Path):
    spool, outside = Spool(str(tmp_path)), tmp_path / "precious"
    outside.write_text("x")
    pointing = fact(type="saved", index_copy="../precious")
    with pytest.raises(FactError, match="expected index_copy"):
        spool.read_index_copy(pointing)
    spool.forget_fact(pointing)
    assert outside.exists()


def test_descriptions_lie_beside_their_fact_and_go_with_it(tmp_path: Path):
    # given
    spool, outbox = Spool(str(tmp_path)), tmp_path / "outbox"
    for name, text in (("a.live", '{"version": 1}'), ("b.before", "{"), ("other", "")):
        (outbox / name).write_text(text)
    receipt = fact(type="receipt", live="a.live", before="b.before")

    # then
    assert spool.read_description(receipt, "live") == {"version": 1}
    assert spool.read_description(fact(type="receipt", live="../a.live"), "live") is None
    for unreadable in (receipt, fact(type="receipt", before="gone")):
        with pytest.raises(FactError, match="the description of live objects"):
            spool.read_description(unreadable, "before")

    # when
    spool.forget_fact(receipt)

    # then
    assert os.listdir(outbox) == ["other"]


def test_old_files_that_no_fact_claims_are_removed_and_nothing_else(tmp_path: Path):
    spool = Spool(str(tmp_path))
    outbox = tmp_path / "outbox"
    (outbox / NAME).write_text(json.dumps({"type": "saved", "attempt": 3, "index_copy": "claimed", "live": "told"}))
    for name in ("claimed", "told", "unclaimed", ".half.json"):
        (outbox / name).write_text("")
    spool.remove_unclaimed(now_s=os.stat(outbox / NAME).st_mtime + 60)
    assert len(os.listdir(outbox)) == 5
    spool.remove_unclaimed(now_s=os.stat(outbox / NAME).st_mtime + 7200)
    assert sorted(os.listdir(outbox)) == [NAME, "claimed", "told"]


# ------------------------------------------------------------------------------------------------------------- orders


def a_config() -> Config:
    gang = gang_from_arguments("worker/1", 2, "h")
    return Config("c:1", "run-1", "digits", gang, "/state/workers/worker-1", "/run/hooks", 10.0, True)


def test_the_same_desired_state_gives_the_same_orders():
    config = a_config()
    members = [common_pb2.Worker(task_type="worker", task_id=i) for i in range(2)]
    running = pb.DesiredState(
        attempt=4, action=pb.TRAINER_ACTION_RUN, members=members, addresses=["h:1", "h:2"], steering=True
    )
    made = orders.launcher_order(config, running)
    assert made is not None
    environment = made.pop("environment")
    assert made == {"type": "run", "attempt": 4, "steering": True}
    assert json.loads(environment["TF_CONFIG"]) == {
        "cluster": {"worker": ["h:1", "h:2"]},
        "task": {"type": "worker", "index": 1},
    }
    stopping = pb.DesiredState(attempt=4, action=pb.TRAINER_ACTION_STOP)
    assert orders.launcher_order(config, stopping) == {"type": "stop", "attempt": 4, "grace_s": 0}
    assert orders.launcher_order(config, pb.DesiredState(action=pb.TRAINER_ACTION_HOLD)) is None
    end = pb.RunEnd(reason=common_pb2.ReasonDetail(reason="BudgetSpent", detail="why"), exit_status=1)
    assert orders.launcher_order(config, pb.DesiredState(end=end)) == {
        "type": "end",
        "exit_status": 1,
        "message": "BudgetSpent: why",
    }


def test_a_worker_that_comes_after_the_end_is_told_what_to_do():
    # given
    finished = pb.RunEnd(reason=common_pb2.ReasonDetail(reason="Finished"), exit_status=0)
    spent = pb.RunEnd(reason=common_pb2.ReasonDetail(reason="BudgetSpent", detail="why"), exit_status=1)

    # when
    told = [orders.launcher_order(a_config(), pb.DesiredState(end=end), is_newcomer=True) for end in (finished, spent)]

    # then
    reopen = "`lastgood reopen run-1 --controller c:1`, then start the workers again"
    assert told == [
        {
            "type": "end",
            "exit_status": 0,
            "message": f"digits has finished already (Finished). To train it further: {reopen}",
        },
        {
            "type": "end",
            "exit_status": 1,
            "message": "digits had ended before this worker was started, and nothing was trained. It ended with "
            f"BudgetSpent: why\nTo let it go on, once the cause is gone: {reopen}",
        },
    ]


def test_a_fresh_plan_has_no_series():
    plan = common_pb2.Plan(kind=common_pb2.PLAN_KIND_FRESH)
    assert orders.plan_message(plan, []) == {"kind": "fresh", "series": []}


def test_what_the_hooks_do_about_restores_and_saves_that_go_wrong_is_the_controllers_word():
    # given a controller that says it, and an older one that does not
    guards = pb.Guards(receipts=pb.RECEIPT_POLICY_WARN, shared_write=pb.SHARED_WRITE_POLICY_REDIRECT)
    told = pb.DesiredState(attempt=4, steering=True, guards=guards)
    older = pb.DesiredState(attempt=4, steering=True)

    # then
    common = {"type": "state", "attempt": 4, "steering": True, "gate_open": False, "plan": None, "pins": None}
    common["nothing_known"] = False
    assert orders.hooks_state(told, None, is_live=True) == {**common, "receipts": "warn", "shared_write": "redirect"}
    assert orders.hooks_state(older, None, is_live=True) == {**common, "receipts": "enforce", "shared_write": "warn"}


# ----------------------------------------------------------------------------------------------- small parts with files


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (struct.pack("<QqQQ", 3, 41, 4, 0), duties.Progress(41, 3)),
        (struct.pack("<QqQQ", 3, -1, 4, 0), duties.Progress(None, 3)),
        (b"short", duties.Progress()),
        (None, duties.Progress()),
    ],
)
def test_progress_is_what_the_mapped_file_says(tmp_path: Path, content: bytes | None, expected: duties.Progress):
    if content is not None:
        (tmp_path / "progress-3").write_bytes(content)
    assert duties.read_progress(str(tmp_path), 3) == expected


def test_the_last_lines_are_bounded_in_number_and_length(tmp_path: Path):
    log = tmp_path / "log"
    log.write_bytes(b"\n".join(b"%d \xff" % n + b"x" * 600 for n in range(1000)))
    lines = last_lines_of(tail_of(str(log)))
    assert (len(lines), {len(line) for line in lines}, lines[-1][:5]) == (20, {500}, "999 \ufffd")


def test_a_held_port_is_below_the_ephemeral_range_and_nobody_elses_until_released():
    held = HeldPort("127.0.0.1", random.Random(7))
    host, _, port = held.address.rpartition(":")
    assert host == "127.0.0.1"
    assert int(port) < lowest_ephemeral_port()
    with socket.socket() as other:
        with pytest.raises(OSError, match="Address already in use"):
            other.bind(("127.0.0.1", int(port)))
        held.release()
        other.bind(("127.0.0.1", int(port)))


def test_what_carries_the_mark_is_killed_and_a_pid_that_is_used_again_is_not(tmp_path: Path):
    # given
    outbox = str(tmp_path / "outbox")
    hooks = json.dumps({"outbox": outbox})
    sleep = [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"]
    marked = subprocess.Popen(sleep, env={"LASTGOOD_HOOKS": hooks}, stdout=subprocess.PIPE)
    others = subprocess.Popen(
        sleep, env={"LASTGOOD_HOOKS": hooks.replace('outbox"}', 'outbox2"}')}, stdout=subprocess.PIPE
    )
    for each in (marked, others):
        assert each.stdout is not None
        each.stdout.readline()

    # when
    ticks = processes.start_ticks(others.pid)
    assert ticks is not None
    left = processes.kill_left_over(processes.mark_of(outbox), others.pid, others.pid, ticks - 1, 5)

    # then
    assert left == []
    assert marked.wait(5) == -9
    assert others.poll() is None
    others.kill()
    others.wait(5)
    for each in (marked, others):
        assert each.stdout is not None
        each.stdout.close()


def test_a_former_agent_that_does_not_end_is_killed_for_its_lock(tmp_path: Path):
    # given
    code = (
        "import sys, time; from lastgood_agent import agent; print(agent.lock(sys.argv[1]), flush=True); time.sleep(60)"
    )
    former = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert former.stdout is not None
    assert former.stdout.readline() == "True\n"

    # when
    is_ours = agent.lock(str(tmp_path), timeout_s=0.05)

    # then
    assert is_ours
    assert former.wait(5) == -9
    former.stdout.close()


def test_a_report_of_a_fact_names_worker_attempt_and_file():
    assert new_report("chief/0", fact(type="x")).report_id == f"chief/0/3/{NAME}"
