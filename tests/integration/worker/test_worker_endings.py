"""A real launcher with a real agent: what is told of a trainer's end, and what becomes of one that is told to end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from worker_bench import Bench, read_lines, wait_until

from lastgood.v1 import agent_service_pb2 as pb
from lastgood_agent import processes

#: Says so, once it would save and leave when told to.
SAVES_AND_LEAVES = """
def save_and_leave(number, frame):
    print("saving", flush=True)
    wait_for(sys.argv[1])
    sys.exit(42)
signal.signal(signal.SIGTERM, save_and_leave)
print("up", flush=True)
while True:
    time.sleep(0.01)
"""
STUBBORN = "signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)\n"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def printed(bench: Bench, line: str) -> None:
    """Waits until the trainer of attempt 1 has printed a line."""
    wait_until(lambda: line in read_lines(bench.worker / "logs" / "attempt-1.log"), f"the trainer printed {line!r}")


def leaving(bench: Bench) -> pb.Report:
    """The launcher's word that it was told to end, as soon as it is there."""
    return wait_until(lambda: bench.controller.of("worker_leaving"), "that the worker leaves is told")[0]


def test_an_exception_is_told_with_its_place_and_what_it_says(bench: Bench) -> None:
    # given
    command = bench.script("def main():\n    raise ValueError('no such layer')\nmain()\n")

    # when
    bench.launch(command)
    bench.controller.desire_run(1)
    exited = bench.controller.exited(1)

    # then
    assert (exited.exit_code, exited.error.type, exited.error.message) == (1, "ValueError", "no such layer")
    assert exited.error.place.startswith(f"{command[-1]}:")
    assert exited.error.place.endswith("in main")
    assert not exited.HasField("asked_signal")


def test_a_worker_that_is_told_to_end_says_so_at_once_and_its_script_may_save_and_leave(
    bench: Bench, tmp_path: Path
) -> None:
    # given
    saved = tmp_path / "saved"
    launcher = bench.launch([*bench.script(SAVES_AND_LEAVES), str(saved)])
    bench.controller.desire_run(1)
    bench.controller.running(1)
    printed(bench, "up")

    # when
    launcher.send_signal(signal.SIGTERM)
    told = leaving(bench)
    before = bench.controller.trainers(pb.TRAINER_PHASE_EXITED, 1)
    saved.touch()
    exit_status = launcher.wait(10)

    # then
    assert (told.attempt, told.worker_leaving.signal, told.worker_leaving.grace.seconds) == (1, "SIGTERM", 28)
    exited = bench.controller.exited(1, 1)
    assert (before, exit_status) == ([], 128 + signal.SIGTERM)
    assert (exited.exit_code, exited.asked_signal, exited.HasField("signal")) == (42, signal.SIGTERM, False)


def test_the_controller_ends_the_wait_for_a_trainer_that_was_told_to_end(bench: Bench) -> None:
    # given
    launcher = bench.launch(bench.script(STUBBORN))
    bench.controller.desire_run(1)
    bench.controller.running(1)
    printed(bench, "up")

    # when
    launcher.send_signal(signal.SIGTERM)
    leaving(bench)
    bench.controller.desire_stop(1)
    exit_status = launcher.wait(10)

    # then
    exited = bench.controller.exited(1, 1)
    assert (exit_status, exited.signal, exited.asked_signal) == (143, signal.SIGKILL, signal.SIGTERM)


def test_a_stubborn_trainer_is_killed_two_seconds_before_the_grace_period_is_over(bench: Bench) -> None:
    # given
    launcher = bench.launch(bench.script(STUBBORN), "--grace", "3")
    bench.controller.desire_run(1)
    bench.controller.running(1)
    printed(bench, "up")

    # when
    launcher.send_signal(signal.SIGTERM)
    told = leaving(bench)
    exited = bench.controller.exited(1)

    # then
    assert launcher.wait(5) == 143
    report = bench.controller.trainers(pb.TRAINER_PHASE_EXITED, 1)[0]
    passed_s = bench.controller.heard_s[report.report_id] - bench.controller.heard_s[told.report_id]
    assert (exited.signal, told.worker_leaving.grace.seconds) == (signal.SIGKILL, 1)
    assert 0.8 < passed_s < 2.5


def test_what_runs_below_a_shell_may_end_in_order_although_the_shell_is_gone(bench: Bench, tmp_path: Path) -> None:
    # given
    saved, done = tmp_path / "saved", tmp_path / "done"
    body = SAVES_AND_LEAVES.replace("    sys.exit(42)", f"    open({str(done)!r}, 'w').close()\n    sys.exit(42)")
    words = " ".join([*bench.script(body), str(saved)])
    launcher = bench.launch(["sh", "-c", f"{words}; true"])
    bench.controller.desire_run(1)
    bench.controller.running(1)
    printed(bench, "up")

    # when
    launcher.send_signal(signal.SIGTERM)
    printed(bench, "saving")
    saved.touch()

    # then
    assert launcher.wait(10) == 143
    assert done.exists()
    assert bench.controller.exited(1, 1).signal == signal.SIGTERM


def test_an_agent_that_dies_while_the_trainer_saves_is_replaced_and_the_end_is_told(
    bench: Bench, tmp_path: Path
) -> None:
    # given
    saved = tmp_path / "saved"
    launcher = bench.launch([*bench.script(SAVES_AND_LEAVES), str(saved)])
    bench.controller.desire_run(1)
    bench.controller.running(1)
    printed(bench, "up")
    (agent,) = bench.agents(launcher)

    # when
    launcher.send_signal(signal.SIGTERM)
    leaving(bench)
    os.kill(agent, signal.SIGKILL)
    wait_until(lambda: len(bench.controller.hellos) > 1, "another agent says hello")
    saved.touch()

    # then
    assert launcher.wait(10) == 143
    assert bench.controller.exited(1, 1).exit_code == 42


def test_a_launcher_that_is_killed_in_the_grace_period_takes_its_trainer_along_and_its_agent_says_so(
    bench: Bench, tmp_path: Path
) -> None:
    # given
    launcher = bench.launch([*bench.script(SAVES_AND_LEAVES), str(tmp_path / "never")])
    bench.controller.desire_run(1)
    trainer = bench.controller.running(1).pid
    printed(bench, "up")

    # when
    launcher.send_signal(signal.SIGTERM)
    leaving(bench)
    launcher.kill()

    # then
    assert bench.controller.exited(1).signal == signal.SIGKILL
    assert not processes.is_running(trainer)


def test_a_run_that_finishes_while_its_worker_is_told_to_end_ends_with_0(bench: Bench, tmp_path: Path) -> None:
    # given
    saved = tmp_path / "saved"
    body = SAVES_AND_LEAVES.replace("sys.exit(42)", "sys.exit(0)")
    launcher = bench.launch([*bench.script(body), str(saved)])
    bench.controller.desire_run(1)
    bench.controller.running(1)
    printed(bench, "up")

    # when
    launcher.send_signal(signal.SIGTERM)
    leaving(bench)
    bench.controller.desire_end(0)
    saved.touch()

    # then
    assert launcher.wait(10) == 0


def test_an_announced_end_of_the_run_reaches_the_script_once_and_kills_nobody(bench: Bench, tmp_path: Path) -> None:
    # given
    saved = tmp_path / "saved"
    launcher = bench.launch([*bench.script(SAVES_AND_LEAVES), str(saved)])
    bench.controller.desire_run(1)
    bench.controller.running(1)
    printed(bench, "up")

    # when
    bench.controller.desire_run(1, end_announced=True)
    printed(bench, "saving")
    again = pb.VerifyTask(task_id="again", prefix=str(tmp_path / "nothing"))
    bench.controller.desire_run(1, end_announced=True, verify_tasks=[again])
    wait_until(lambda: bench.controller.of("verified"), "it is announced once more")
    saved.touch()
    exited = bench.controller.exited(1)

    # then
    assert read_lines(bench.worker / "logs" / "attempt-1.log") == ["up", "saving"]
    assert (exited.exit_code, exited.asked_signal, exited.was_stopped) == (42, signal.SIGTERM, False)
    assert launcher.poll() is None


# -------------------------------------------------------------------------------------------------------------- memory


#: Runs a trainer, in a process of its own since whoever sweeps up after one kills and reaps all of its descendants.
COUNTS_OOM_KILLS = """
import json, os, sys, time
from lastgood_agent import out_of_memory, processes
from lastgood_agent.trainer import Trainer, reap

root, script = sys.argv[1:]
count = out_of_memory.count_oom_kills
out_of_memory.count_oom_kills = lambda: count(os.path.join(root, "proc"), root)
processes.adopt_orphans()
trainer = Trainer(1, os.path.join(root, "log"), os.path.join(root, "trainer.json"))
trainer.start(["sh", "-c", script], dict(os.environ))
while not trainer.sweep([]):
    for pid, status in reap():
        if pid == trainer.pid:
            trainer.note_reaped(status)
    time.sleep(0.005)
print(json.dumps([trainer.state.signal, trainer.state.oom_kills]))
"""


def test_a_kill_that_the_cgroup_counts_for_want_of_memory_is_told(tmp_path: Path) -> None:
    """The count is a file as the kernel writes it; the killed process itself stands for the kernel."""
    # given
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text("0::/\n")
    events = tmp_path / "memory.events"
    events.write_text("oom 1\noom_kill 1\n")
    script = f"printf 'oom 2\\noom_kill 2\\n' > {events}; kill -9 $$"

    # when
    command = [sys.executable, "-c", COUNTS_OOM_KILLS, str(tmp_path), script]
    told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout

    # then
    assert json.loads(told) == [signal.SIGKILL, 1]


LIMIT_BYTES = 120 << 20


def limit_files(root: Path) -> tuple[str, str] | None:
    """The cgroup in which a limited one can be made here, and the name of its limit; None where nobody lets us."""
    candidates = ((root / "memory", "memory.limit_in_bytes"), (root, "memory.max"))
    for parent, name in candidates:
        with suppress(OSError):
            probe = Path(tempfile.mkdtemp(prefix="lastgood-", dir=parent))
            is_usable = (probe / name).exists() and os.access(probe / name, os.W_OK)
            probe.rmdir()
            if is_usable:
                return str(parent), name
    return None


LIMITED = limit_files(Path("/sys/fs/cgroup"))

# Where a cgroup cannot be made nothing real can be shown, and the test above has to do.
if LIMITED is not None:

    @pytest.fixture
    def cgroup() -> Iterator[Path]:
        """A cgroup with so much memory; whatever is left in it goes back up."""
        assert LIMITED is not None
        made = Path(tempfile.mkdtemp(prefix="lastgood-", dir=LIMITED[0]))
        (made / LIMITED[1]).write_text(str(LIMIT_BYTES))
        yield made
        for pid in (made / "cgroup.procs").read_text().split():
            with suppress(OSError):
                (made.parent / "cgroup.procs").write_text(pid)
        wait_until(lambda: not (made / "cgroup.procs").read_text().split(), "the cgroup is empty")
        made.rmdir()

    def test_a_trainer_that_the_kernel_kills_for_want_of_memory_is_told_as_that(bench: Bench, cgroup: Path) -> None:
        # given
        eat = "kept = []\nwhile True:\n    kept.append(b'x' * (1 << 20))\n"
        launcher = bench.launch(bench.script(eat))
        wait_until(lambda: bench.controller.hellos, "the agent is there, outside of the cgroup")
        (cgroup / "cgroup.procs").write_text(str(launcher.pid))

        # when
        bench.controller.desire_run(1)
        exited = bench.controller.exited(1)

        # then
        assert (exited.signal, exited.oom_kills) == (signal.SIGKILL, 1)
        assert exited.kernel_word == "" or f"Killed process {exited.pid} (" in exited.kernel_word
