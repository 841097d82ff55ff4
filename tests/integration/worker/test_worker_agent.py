"""A real agent below a real launcher: what it carries, and that nothing is lost, whoever is away."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from worker_bench import (
    REPOSITORY,
    Bench,
    drop_from_cache,
    is_cached,
    read_lines,
    saved_fact,
    wait_until,
    write_fact,
)

from lastgood.inspect import read_manifest
from lastgood.v1 import agent_service_pb2 as pb
from lastgood.v1 import common_pb2
from lastgood_agent import processes
from lastgood_agent.spool import Spool

CHECKPOINTS = REPOSITORY / "tests" / "data" / "checkpoints" / "tf-2.21.0"
SLEEPER = "time.sleep(600)\n"

#: Writes one numbered fact whenever its control file grows by a line; ends at "end".
COUNTER = """
done = 0
while True:
    lines = open(sys.argv[1]).read().splitlines()
    for line in lines[done:]:
        if line == "end":
            sys.exit(0)
        fact("left_alone", prefix=line)
        print(line, flush=True)
    done = len(lines)
    time.sleep(0.002)
"""


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    """The prefix of a small real checkpoint in a directory of its own."""
    source = sorted(CHECKPOINTS.rglob("*.index"))[0]
    directory = tmp_path / "model"
    directory.mkdir()
    for path in source.parent.glob(source.stem + ".*"):
        shutil.copy(path, directory / path.name.replace(source.stem, "ckpt-1", 1))
    return str(directory / "ckpt-1")


def prefixes(bench: Bench) -> list[str]:
    """What the counter's facts said, in the order of their first arrival; an id counts once, as it is recorded once."""
    by_id = {report.report_id: report.restore_left_alone.prefix for report in bench.controller.of("restore_left_alone")}
    return list(by_id.values())


def write_at_once(path: Path, text: str) -> None:
    """Writes a file that the trainer reads meanwhile."""
    hidden = path.with_suffix(".new")
    hidden.write_text(text)
    hidden.rename(path)


def start(bench: Bench, body: str = SLEEPER, *arguments: str, **fields: object) -> tuple[subprocess.Popen[str], int]:
    """A launcher whose trainer of attempt 1 runs."""
    launcher = bench.launch([*bench.script(body), *arguments])
    bench.controller.desire_run(1, **fields)
    return launcher, bench.controller.running(1).pid


def planned(prefix: str, digest: str) -> common_pb2.Plan:
    series = common_pb2.PlannedSeries(
        series=common_pb2.Series(signature="0123456789abcdef", ordinal=0),
        directories=[os.path.dirname(prefix)],
        prefix=prefix,
        manifest_digest=digest,
        step=10,
    )
    return common_pb2.Plan(kind=common_pb2.PLAN_KIND_RESTORE, series=[series])


class Hook:
    """A connection to the agent, as the hooks make it."""

    def __init__(self, trainer_pid: int) -> None:
        environment = Path(f"/proc/{trainer_pid}/environ").read_bytes().split(b"\0")
        marked = next(entry for entry in environment if entry.startswith(b"LASTGOOD_HOOKS="))
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(10)
        self.socket.connect(json.loads(marked.partition(b"=")[2])["socket"])
        self.lines = self.socket.makefile("rb")

    def next_state(self) -> dict[str, object]:
        return json.loads(self.lines.readline())

    def ring(self) -> None:
        self.socket.sendall(b'{"type":"outbox"}\n')

    def close(self) -> None:
        self.lines.close()
        self.socket.close()


def test_facts_written_while_the_agent_is_dead_arrive_once_and_in_order_and_training_never_notices(
    bench: Bench, tmp_path: Path
):
    # given
    control = tmp_path / "control"
    write_at_once(control, "1\n2\n")
    launcher, trainer = start(bench, COUNTER, str(control))
    wait_until(lambda: prefixes(bench) == ["1", "2"], "the first facts arrive")
    agent = bench.agents(launcher)[0]

    # when
    os.kill(agent, signal.SIGSTOP)
    write_at_once(control, "1\n2\n3\n4\n")
    wait_until(lambda: len(read_lines(bench.worker / "logs" / "attempt-1.log")) == 4, "facts are written meanwhile")
    os.kill(agent, signal.SIGKILL)
    wait_until(lambda: len(prefixes(bench)) >= 4, "the facts arrive through another agent")
    write_at_once(control, "1\n2\n3\n4\n5\n")
    wait_until(lambda: "5" in prefixes(bench), "the new agent goes on")

    # then
    assert prefixes(bench) == ["1", "2", "3", "4", "5"]
    assert processes.is_running(trainer)
    assert bench.agents(launcher) != [agent]
    wait_until(lambda: bench.spooled() == [], "what was acknowledged is removed")


def test_what_happens_while_the_controller_is_away_arrives_once_and_in_order(bench: Bench, tmp_path: Path):
    # given
    control = tmp_path / "control"
    write_at_once(control, "1\n")
    start(bench, COUNTER, str(control))
    wait_until(lambda: prefixes(bench) == ["1"], "the first fact arrives")

    # when
    bench.controller.stop()
    write_at_once(control, "1\n2\n3\n4\nend\n")
    wait_until(lambda: not (bench.worker / "trainer.json").exists(), "the trainer has ended")
    bench.controller.desire_run(1)
    bench.controller.start()
    exited = bench.controller.exited(1)

    # then
    assert prefixes(bench) == ["1", "2", "3", "4"]
    assert exited.exit_code == 0
    told = [report.report_id for report in bench.controller.reports]
    assert told.index(bench.controller.trainers(pb.TRAINER_PHASE_EXITED, 1)[0].report_id) == len(told) - 1
    wait_until(lambda: bench.spooled() == [], "what was acknowledged is removed")


def test_a_save_is_reported_as_durable_and_its_manifest_is_delivered_when_wanted(bench: Bench, checkpoint: str):
    # given
    start(bench)
    digest = read_manifest(checkpoint).digest
    bench.controller.wanted.add(digest)

    # when
    kinds = {entry.key.decode(): "mirrored" for entry in read_manifest(checkpoint).entries[1:2]}
    body = {**saved_fact(checkpoint, bench.worker / "outbox", 1), "type": "saved", "kinds": kinds}
    name = write_fact(bench.worker / "outbox", 1, 1, body)
    manifest = wait_until(lambda: bench.controller.manifests.get(digest), "the manifest is delivered")

    # then
    (report,) = bench.controller.of("save_reported")
    saved = report.save_reported
    assert report.report_id == f"worker/0/1/{name}"
    assert (saved.manifest_digest, saved.durable, saved.step, saved.save_counter) == (digest, True, 10, 1)
    assert (saved.save.series.signature, saved.save.attempt, saved.save.ordinal) == ("0123456789abcdef", 1, 1)
    assert saved.save_duration.ToTimedelta().total_seconds() == 0.25
    assert {e.key.decode(): e.kind for e in manifest.entries if e.kind} == dict.fromkeys(
        kinds, common_pb2.VARIABLE_KIND_MIRRORED
    )
    wait_until(lambda: os.listdir(bench.worker / "outbox") == [], "fact and index copy are removed")
    wait_until(lambda: os.listdir(bench.worker / "spool" / "manifests") == [], "the manifest is not kept any longer")


def test_a_manifest_that_is_not_wanted_yet_is_kept_until_it_is(bench: Bench, checkpoint: str):
    # given what an agent had kept when it was killed: the report of its save has not arrived
    manifest = read_manifest(checkpoint)
    Spool(str(bench.worker)).keep_manifest(manifest)
    bench.controller.stores = lambda digest: False

    # when
    start(bench)
    wait_until(lambda: manifest.digest in bench.controller.offered, "the agent offers what it has kept")
    beats = len(bench.controller.heartbeats)
    wait_until(lambda: len(bench.controller.heartbeats) > beats, "the agent goes on")
    bench.controller.stores = lambda digest: True
    bench.controller.wanted = {manifest.digest}

    # then
    wait_until(lambda: manifest.digest in bench.controller.manifests, "the manifest is delivered")


def test_a_save_whose_index_copy_is_damaged_is_reported_as_failed(bench: Bench, checkpoint: str):
    # given
    start(bench)
    body = {**saved_fact(checkpoint, bench.worker / "outbox", 1), "type": "saved"}
    (bench.worker / "outbox" / "index-1").write_bytes(b"")

    # when
    write_fact(bench.worker / "outbox", 1, 1, body)
    (report,) = wait_until(lambda: bench.controller.of("save_failed"), "the failure is reported")

    # then
    assert report.save_failed.save.ordinal == 1
    assert "Incomplete" in report.save_failed.error


def test_a_task_is_answered_with_what_its_bytes_are(bench: Bench, checkpoint: str):
    # given
    digest = read_manifest(checkpoint).digest
    damaged = shutil.copytree(os.path.dirname(checkpoint), Path(checkpoint).parent.parent / "damaged")
    data = damaged / "ckpt-1.data-00000-of-00001"
    data.write_bytes(bytes([data.read_bytes()[0] ^ 1]) + data.read_bytes()[1:])

    # when
    tasks = [
        pb.VerifyTask(task_id="whole", prefix=checkpoint, manifest_digest=digest),
        pb.VerifyTask(task_id="damaged", prefix=str(damaged / "ckpt-1"), manifest_digest=digest),
        pb.VerifyTask(task_id="gone", prefix=str(damaged / "ckpt-9"), manifest_digest=digest),
    ]
    start(bench, verify_tasks=tasks)
    wait_until(lambda: len(bench.controller.of("verified")) == 3, "three answers")

    # then
    answers = {report.verified.task_id: report.verified for report in bench.controller.of("verified")}
    assert {name: [fault.reason for fault in answer.faults] for name, answer in answers.items()} == {
        "whole": [],
        "damaged": ["Corrupt"],
        "gone": ["Vanished"],
    }
    assert answers["whole"].manifest_digest == digest
    assert answers["whole"].bytes_read > 0
    assert answers["whole"].medium in (pb.MEDIUM_DISK, pb.MEDIUM_CACHE)
    wait_until(lambda: os.listdir(bench.worker / "spool" / "reports") == [], "the answers are not kept any longer")


@pytest.mark.parametrize(("plan", "is_cached_after"), [(None, True), (common_pb2.PLAN_KIND_FRESH, False)])
def test_a_checkpoint_is_in_memory_after_it_was_read_for_a_plan_and_left_on_the_disk_while_training_goes_on(
    bench: Bench, checkpoint: str, plan: int | None, is_cached_after: bool
):
    # given: nothing of it is in memory
    data = Path(f"{checkpoint}.data-00000-of-00001")
    drop_from_cache(data)
    if is_cached(data):
        pytest.skip(f"{data} lies on a file system that is memory itself")

    # when
    task = pb.VerifyTask(task_id="whole", prefix=checkpoint, manifest_digest=read_manifest(checkpoint).digest)
    known = {} if plan is None else {"plan": common_pb2.Plan(kind=plan)}
    start(bench, verify_tasks=[task], **known)
    (report,) = wait_until(lambda: bench.controller.of("verified"), "an answer")

    # then
    assert (list(report.verified.faults), report.verified.medium) == ([], pb.MEDIUM_DISK)
    wait_until(lambda: os.path.exists(checkpoint + ".lastgood.json"), "its manifest lies beside it")
    wait_until(lambda: is_cached(data) is is_cached_after, f"that it is cached is {is_cached_after}")


def test_what_the_script_asks_for_is_listed_down_to_the_first_whole_checkpoint(bench: Bench, checkpoint: str):
    # given
    directory = os.path.dirname(checkpoint)
    for number, second in ((2, 200), (3, 300)):
        for path in Path(directory).glob("ckpt-1.*"):
            shutil.copy(path, path.with_name(path.name.replace("ckpt-1", f"ckpt-{number}")))
        os.utime(f"{directory}/ckpt-{number}.index", (second, second))
    os.utime(f"{checkpoint}.index", (100, 100))
    Path(f"{directory}/ckpt-3.index").write_bytes(b"")
    os.utime(f"{directory}/ckpt-3.index", (300, 300))
    start(bench, listing_wanted=True)
    series = {"signature": "0123456789abcdef", "ordinal": 0}

    # when
    outbox = bench.worker / "outbox"
    write_fact(outbox, 1, 1, {"type": "asked", "series": {**series, "directory": directory}, "directory": directory})
    empty = f"{directory}/empty"
    write_fact(outbox, 1, 2, {"type": "asked", "series": None, "directory": empty})
    wait_until(lambda: len(bench.controller.of("directory_listed")) == 2, "both directories are listed")

    # then
    listed = {r.directory_listed.directory: r.directory_listed for r in bench.controller.of("directory_listed")}
    found = [
        (os.path.basename(c.prefix), bool(c.manifest_digest), [f.reason for f in c.faults])
        for c in listed[directory].checkpoints
    ]
    assert found == [("ckpt-3", False, ["Incomplete"]), ("ckpt-2", True, [])]
    assert listed[directory].series.signature == "0123456789abcdef"
    assert list(listed[empty].checkpoints) == []


def test_what_a_script_asks_for_is_told_when_the_plan_is_known_too_and_nobody_looks(bench: Bench, checkpoint: str):
    # given
    directory = os.path.dirname(checkpoint)
    start(bench, plan=planned(checkpoint, read_manifest(checkpoint).digest))
    series = {"signature": "0123456789abcdef", "ordinal": 1, "directory": directory}

    # when
    write_fact(bench.worker / "outbox", 1, 1, {"type": "asked", "series": series, "directory": directory})
    wait_until(lambda: bench.controller.of("directory_listed"), "what is asked for is told")

    # then
    (told,) = [report.directory_listed for report in bench.controller.of("directory_listed")]
    found = (told.series.signature, told.series.ordinal, told.directory, list(told.checkpoints))
    assert found == ("0123456789abcdef", 1, directory, [])


def test_the_hooks_get_the_plan_once_its_manifest_is_written_and_the_gate_at_once(bench: Bench, checkpoint: str):
    # given
    digest = read_manifest(checkpoint).digest
    _, trainer = start(bench)
    hook = Hook(trainer)
    first = hook.next_state()
    unplanned = {"type": "state", "attempt": 1, "steering": True, "gate_open": False, "plan": None, "pins": None}
    assert first == {**unplanned, "nothing_known": False, "receipts": "enforce", "shared_write": "warn"}

    # when
    bench.controller.desire_run(1, plan=planned(checkpoint, digest))
    state = hook.next_state()
    opened_s = time.monotonic()
    bench.controller.desire_run(1, plan=planned(checkpoint, digest), gate_open=True)
    opened = hook.next_state()
    took_s = time.monotonic() - opened_s
    hook.close()

    # then
    manifest = str(bench.worker / "plans" / "attempt-1-0.json")
    assert state["plan"] == {
        "kind": "restore",
        "series": [
            {
                "signature": "0123456789abcdef",
                "ordinal": 0,
                "directories": [os.path.dirname(checkpoint)],
                "prefix": checkpoint,
                "digest": digest,
                "step": 10,
                "manifest": manifest,
                "pin": "",
                "put_back": False,
            }
        ],
    }
    assert json.loads(Path(manifest).read_text())["digest"] == digest
    assert opened == {**state, "gate_open": True}
    assert took_s < 0.5


def test_a_new_agent_goes_on_with_a_plan_whose_checkpoint_was_rotated_away_since_it_was_restored(
    bench: Bench, checkpoint: str
):
    # given
    digest = read_manifest(checkpoint).digest
    launcher, trainer = start(bench)
    hook = Hook(trainer)
    hook.next_state()
    bench.controller.desire_run(1, plan=planned(checkpoint, digest))
    before = hook.next_state()
    hook.close()
    (agent,) = bench.agents(launcher)

    # when
    bench.controller.desire_run(1, plan=planned(checkpoint, digest), gate_open=True)
    shutil.rmtree(os.path.dirname(checkpoint))
    os.kill(agent, signal.SIGKILL)
    wait_until(lambda: len(bench.controller.hellos) > 1, "the next agent says hello")
    hook = wait_until(lambda: connected(trainer), "the next agent serves hooks")
    states = [hook.next_state()]
    while states[-1]["plan"] is None:
        states.append(hook.next_state())
    hook.close()

    # then
    assert (states[-1]["plan"], states[-1]["gate_open"]) == (before["plan"], True)
    assert bench.controller.of("receipt") == []


def connected(trainer_pid: int) -> Hook | None:
    """A hook's connection; None while nobody listens."""
    try:
        return Hook(trainer_pid)
    except OSError:
        return None


def test_a_plan_whose_checkpoint_was_overwritten_reaches_no_hook_and_is_reported(bench: Bench, checkpoint: str):
    # given
    _, trainer = start(bench)
    hook = Hook(trainer)
    before = hook.next_state()

    # when
    bench.controller.desire_run(1, plan=planned(checkpoint, "0" * 64))
    (report,) = wait_until(lambda: bench.controller.of("receipt"), "the broken plan is reported")
    bench.controller.desire_run(1, plan=planned(checkpoint, "0" * 64), gate_open=True)
    after = hook.next_state()
    hook.close()

    # then
    assert report.receipt.manifest_digest == read_manifest(checkpoint).digest
    assert report.receipt.error.startswith("expected the checkpoint 000")
    assert (before["plan"], after["plan"], after["gate_open"]) == (None, None, True)


def test_garbage_in_the_outbox_is_moved_aside_and_counted_and_nothing_else_suffers(bench: Bench):
    # given
    start(bench)
    outbox = bench.worker / "outbox"

    # when
    (outbox / f"000001-{1:020d}-1-1.json").write_bytes(b"\xff{")
    (outbox / f"000001-{2:020d}-1-1.json").write_text("[" * 100_000)
    write_fact(outbox, 1, 3, {"type": "saved", "series": 7, "ordinal": 1})
    write_fact(outbox, 1, 4, {"type": "receipt", "series": {"signature": "a", "ordinal": -1}})
    (outbox / f"000001-{5:020d}-1-1.json").mkdir()
    write_fact(outbox, 1, 6, {"type": "of the future"})
    write_fact(outbox, 1, 7, {"type": "steering_lost", "hook": "restore", "error": "x" * 100_000})
    wait_until(lambda: bench.controller.of("steering_lost"), "the good fact arrives")
    wait_until(lambda: len(bench.controller.of("hook_failed")) == 5, "five are counted")

    # then
    counts = [report.hook_failed.count for report in bench.controller.of("hook_failed")]
    assert sorted(counts) == [1, 2, 3, 4, 5]
    assert {report.hook_failed.hook for report in bench.controller.of("hook_failed")} == {"outbox"}
    assert len(bench.controller.of("steering_lost")[0].steering_lost.error) == 4000
    assert wait_until(lambda: not bench.spooled(), "the outbox is empty")
    assert len(os.listdir(bench.worker / "spool" / "rejected")) == 5


def test_one_report_that_the_controller_refuses_holds_up_no_other(bench: Bench, tmp_path: Path):
    # given
    control = tmp_path / "control"
    write_at_once(control, "")
    start(bench, COUNTER, str(control))
    bench.controller.refuses = lambda report: report.restore_left_alone.prefix == "3"

    # when
    write_at_once(control, "1\n2\n3\n4\n5\n")
    wait_until(lambda: "5" in prefixes(bench), "the others arrive")

    # then
    assert prefixes(bench) == ["1", "2", "4", "5"]
    wait_until(lambda: bench.spooled() == [], "the refused one is given up")


def test_heartbeats_and_the_trainers_end_carry_the_step_that_was_reached(bench: Bench, tmp_path: Path):
    # given
    body = """
import struct
open(HOOKS["progress"], "wb").write(struct.pack("<QqQQ", 12, 37, 13, 0))
wait_for(sys.argv[1])
os.kill(os.getpid(), 9)
"""
    go = tmp_path / "go"
    start(bench, body, str(go))

    # when
    wait_until(lambda: any(p.step == 37 and p.completed_calls == 12 for p in bench.controller.heartbeats), "progress")
    go.touch()
    exited = bench.controller.exited(1)

    # then
    assert (exited.reached_step, exited.completed_calls, exited.signal) == (37, 12, 9)


def test_an_agent_that_hangs_is_replaced(bench: Bench):
    # given
    program = (
        "import argparse, dataclasses, os, sys; from lastgood_agent import launcher, run_options, worker_directory; "
        "parser = argparse.ArgumentParser(); run_options.configure(parser); "
        "settings = run_options.settings_from(parser.parse_args(), os.environ); "
        "settings = dataclasses.replace(settings, agent_silence_s=3.0); "
        "worker_directory.prepare_directory(settings); sys.exit(launcher.launch(settings))"
    )
    launcher = subprocess.Popen(
        [
            *(sys.executable, "-c", program, "--controller", bench.controller.address, "--job", "bench"),
            *("--state-dir", str(bench.state), "--worker", "worker/0", "--workers", "1", "--"),
            *bench.script(SLEEPER),
        ],
        env=bench.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    bench.launchers.append(launcher)
    bench.controller.desire_run(1)
    trainer = bench.controller.running(1)
    (agent,) = bench.agents(launcher)

    # when
    os.kill(agent, signal.SIGSTOP)

    # then
    wait_until(lambda: bench.agents(launcher) not in ([agent], []), "another agent is there")
    wait_until(lambda: len(bench.controller.hellos) == 2, "it says hello")
    assert processes.is_running(trainer.pid)
    assert bench.controller.hellos[1].trainer.pid == trainer.pid


def test_the_launcher_needs_nothing_but_an_old_python(bench: Bench, python38: str):
    # given
    launcher = subprocess.Popen(
        [
            *(python38, "-m", "lastgood_agent.run_command", "--controller", bench.controller.address, "--job", "bench"),
            *("--state-dir", str(bench.state), "--worker", "worker/0", "--workers", "1"),
            *("--agent-python", sys.executable, "--", *bench.script("print('trained')")),
        ],
        env=bench.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    bench.launchers.append(launcher)

    # when
    bench.controller.desire_run(1)

    # then
    assert list(bench.controller.exited(1).last_lines) == ["trained"]
