"""A real agent and what rotation has left: pins are read, put back for a plan, and tidied up at the end."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_worker_agent import CHECKPOINTS, SLEEPER, Hook
from worker_bench import Bench, saved_fact, wait_until, write_fact

from lastgood.inspect import read_manifest
from lastgood.latest.state_file import parse
from lastgood.pins import list_pins
from lastgood.sidecar import read_sidecar
from lastgood.v1 import agent_service_pb2 as pb
from lastgood.v1 import common_pb2
from lastgood.verify import verify

SIGNATURE = "0123456789abcdef"
SERIES = common_pb2.Series(signature=SIGNATURE, ordinal=0)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def lay(directory: Path, name: str, number: int) -> str:
    """A real checkpoint under that name; its prefix."""
    source = sorted(CHECKPOINTS.rglob("*.index"))[number]
    directory.mkdir(exist_ok=True)
    for path in source.parent.glob(source.stem + ".*"):
        shutil.copy(path, directory / path.name.replace(source.stem, name, 1))
    return str(directory / name)


def pin(prefix: str, ordinal: int, attempt: int = 1) -> None:
    place = Path(prefix).parent / ".lastgood" / "pins" / f"{SIGNATURE}.0.{attempt}.{ordinal}"
    place.mkdir(parents=True)
    for path in Path(prefix).parent.glob(Path(prefix).name + ".data-*"):
        os.link(path, place / path.name)
    shutil.copy(prefix + ".index", place)


def rotate(prefix: str) -> None:
    for path in Path(prefix).parent.glob(Path(prefix).name + ".*"):
        path.unlink()


def save(ordinal: int, attempt: int = 1) -> common_pb2.Save:
    return common_pb2.Save(series=SERIES, attempt=attempt, ordinal=ordinal)


def plan_of(prefix: str, digest: str, ordinal: int) -> common_pb2.Plan:
    directories = [os.path.dirname(prefix)]
    planned = common_pb2.PlannedSeries(
        series=SERIES, directories=directories, prefix=prefix, manifest_digest=digest, save=save(ordinal)
    )
    return common_pb2.Plan(kind=common_pb2.PLAN_KIND_RESTORE, series=[planned])


def start(bench: Bench, **fields: object) -> tuple[subprocess.Popen[str], int]:
    launcher = bench.launch(bench.script(SLEEPER))
    bench.controller.desire_run(1, **fields)
    return launcher, bench.controller.running(1).pid


def names(directory: str) -> list[str]:
    return [Path(each.prefix).name for each in list_pins(directory)]


def test_what_is_left_in_a_pin_alone_is_read_there(bench: Bench, tmp_path: Path) -> None:
    # given one that was rotated away, and one whose name was used again
    gone, again = lay(tmp_path / "ck", "ckpt-1", 0), lay(tmp_path / "ck", "ckpt-2", 1)
    digests = [read_manifest(prefix).digest for prefix in (gone, again)]
    for ordinal, prefix in enumerate((gone, again), start=1):
        pin(prefix, ordinal)
        rotate(prefix)
    lay(tmp_path / "ck", "ckpt-2", 2)

    # when
    tasks = [
        pb.VerifyTask(task_id=name, prefix=prefix, manifest_digest=digest, save=save(1))
        for name, prefix, digest in zip(("gone", "again"), (gone, again), digests, strict=True)
    ]
    start(bench, verify_tasks=tasks)
    reports = wait_until(lambda: (r := bench.controller.of("verified")) and len(r) == 2 and r, "two answers")

    # then
    found = {r.verified.task_id: r.verified for r in reports}
    assert [(found[n].manifest_digest, list(found[n].faults), found[n].from_pin) for n in ("gone", "again")] == [
        (digests[0], [], True),
        (digests[1], [], True),
    ]
    assert read_sidecar(again) is None


def test_a_plan_whose_checkpoint_is_only_pinned_puts_it_back_and_the_state_file_names_it(
    bench: Bench, tmp_path: Path
) -> None:
    # given a directory in which only what is no good is left under its own name
    good, bad = lay(tmp_path / "ck", "ckpt-1", 0), lay(tmp_path / "ck", "ckpt-2", 1)
    digest = read_manifest(good).digest
    pin(good, 1)
    rotate(good)
    state_file = tmp_path / "ck" / "checkpoint"
    state_file.write_text('model_checkpoint_path: "ckpt-2"\nall_model_checkpoint_paths: "ckpt-2"\n')

    # when
    _, trainer = start(bench)
    hook = Hook(trainer)
    hook.next_state()
    bench.controller.desire_run(1, plan=plan_of(good, digest, 1))
    (planned,) = hook.next_state()["plan"]["series"]
    hook.close()

    # then it lies there again, whole, and nothing was deleted
    assert (planned["prefix"], planned["pin"], planned["put_back"]) == (good, f"{SIGNATURE}.0.1.1", True)
    assert verify(good, digest).faults == verify(bad).faults == ()
    state = parse(state_file.read_bytes())
    assert (state.latest, state.all_paths) == ("ckpt-1", ("ckpt-2", "ckpt-1"))
    assert names(os.path.dirname(good)) == ["ckpt-1"]


def test_where_another_one_has_the_name_the_plan_is_restored_from_the_pin_itself(bench: Bench, tmp_path: Path) -> None:
    # given
    good = lay(tmp_path / "ck", "ckpt-1", 0)
    digest = read_manifest(good).digest
    pin(good, 1)
    rotate(good)
    other = read_manifest(lay(tmp_path / "ck", "ckpt-1", 1)).digest

    # when
    _, trainer = start(bench)
    hook = Hook(trainer)
    hook.next_state()
    bench.controller.desire_run(1, plan=plan_of(good, digest, 1))
    (planned,) = hook.next_state()["plan"]["series"]
    hook.close()

    # then its name is what it was
    (held,) = list_pins(os.path.dirname(good))
    assert (planned["prefix"], planned["put_back"]) == (held.prefix, False)
    assert Path(planned["prefix"]).name == "ckpt-1"
    assert read_manifest(good).digest == other


def test_a_directory_in_which_only_a_pin_is_whole_is_told_with_it_and_with_the_attempts_that_were_there(
    bench: Bench, tmp_path: Path
) -> None:
    # given checkpoints of a run that nobody remembers
    good, bad = lay(tmp_path / "ck", "ckpt-1", 0), lay(tmp_path / "ck", "ckpt-2", 1)
    digest = read_manifest(good).digest
    pin(good, 3, attempt=7)
    rotate(good)
    Path(bad + ".data-00000-of-00001").write_bytes(b"")
    best = lay(tmp_path / "ck", "best", 2)  # of a name that nobody goes on from
    pin(best, 9, attempt=7)
    rotate(best)
    directory = os.path.dirname(good)

    # when
    start(bench, listing_wanted=True)
    series = {"signature": SIGNATURE, "ordinal": 0, "directory": directory}
    write_fact(bench.worker / "outbox", 1, 1, {"type": "asked", "series": series, "directory": directory})
    (report,) = wait_until(lambda: bench.controller.of("directory_listed"), "what lies there")

    # then
    listed = report.directory_listed
    found = [(c.prefix, c.manifest_digest, [fault.reason for fault in c.faults]) for c in listed.checkpoints]
    assert [found[0][0], found[0][2]] == [bad, ["Torn"]]
    assert found[1:] == [(good, digest, [])]
    assert listed.highest_attempt == 7


def test_a_save_tells_what_is_held_and_what_was_read_whole_has_its_manifest_beside_it(
    bench: Bench, tmp_path: Path
) -> None:
    # given
    prefix = lay(tmp_path / "ck", "ckpt-1", 0)
    pin(prefix, 1)
    start(bench)
    fact = {
        **saved_fact(prefix, bench.worker / "outbox", 1),
        "type": "saved",
        "held": [f"{SIGNATURE}.0.1.1", "nonsense"],
    }

    # when
    write_fact(bench.worker / "outbox", 1, 1, fact)
    (report,) = wait_until(lambda: bench.controller.of("save_reported"), "the save")
    digest = report.save_reported.manifest_digest
    task = pb.VerifyTask(task_id="t", prefix=prefix, manifest_digest=digest, save=save(1))
    bench.controller.desire_run(1, verify_tasks=[task])
    beside = wait_until(lambda: read_sidecar(prefix), "its manifest")

    # then
    assert list(report.save_reported.held) == [save(1)]
    assert beside.manifest is not None
    assert (beside.manifest.digest, beside.attempt) == (digest, 1)


def test_a_save_whose_own_files_are_gone_and_whose_pin_lives_is_on_the_disk(bench: Bench, tmp_path: Path) -> None:
    # given
    prefix = lay(tmp_path / "ck", "ckpt-1", 0)
    pin(prefix, 1)
    start(bench)
    fact = {**saved_fact(prefix, bench.worker / "outbox", 1), "type": "saved", "held": [f"{SIGNATURE}.0.1.1"]}
    rotate(prefix)

    # when
    write_fact(bench.worker / "outbox", 1, 1, fact)
    (report,) = wait_until(lambda: bench.controller.of("save_reported"), "the save")

    # then
    assert report.save_reported.durable


@pytest.mark.parametrize(
    ("own", "others", "exit_status", "left"),
    [
        ("there", True, 0, []),  # what lies there needs no pin
        ("gone", True, 0, ["ckpt-1"]),  # rotation took it, and nothing else is good
        ("gone", False, 0, []),  # the script has removed its checkpoints
        ("there", True, 1, ["ckpt-1"]),  # the run goes on some day
    ],
)
def test_a_run_that_has_ended_leaves_no_pin_that_nobody_needs(
    bench: Bench, tmp_path: Path, own: str, others: bool, exit_status: int, left: list[str]
) -> None:
    # given a good one and a later one, both pinned
    good, later = lay(tmp_path / "ck", "ckpt-1", 0), lay(tmp_path / "ck", "ckpt-2", 1)
    digest = read_manifest(good).digest
    for ordinal, prefix in enumerate((good, later), start=1):
        pin(prefix, ordinal)
    if own == "gone":
        rotate(good)
    if not others:
        rotate(later)
    (tmp_path / "ck" / ".lastgood" / "writers").mkdir()
    (tmp_path / "ck" / ".lastgood" / "writers" / "000001-run-ckpt-worker-0.saves").touch()
    (tmp_path / "ck" / ".lastgood" / "elsewhere").mkdir()
    launcher = bench.launch(bench.script("sys.exit(0)"))
    bench.controller.desire_run(1)
    bench.controller.exited(1)

    # when
    pins = pb.Pins(good=[pb.PinnedSave(save=save(1), prefix=good, manifest_digest=digest)])
    end = pb.RunEnd(reason=common_pb2.ReasonDetail(reason="Finished"), exit_status=exit_status)
    bench.controller.desire(action=pb.TRAINER_ACTION_STOP, end=end, pins=pins)

    # then
    assert launcher.wait(20) == exit_status
    assert names(os.path.dirname(good)) == left
    assert (tmp_path / "ck" / ".lastgood").exists() is bool(left)
