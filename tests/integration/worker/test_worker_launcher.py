"""A real launcher with a real agent: what becomes of the processes, whoever is killed."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from worker_bench import Bench, environment_for_tests, read_lines, wait_until

from lastgood.v1 import agent_service_pb2 as pb
from lastgood_agent import processes
from lastgood_agent.gang import gang_from_arguments
from lastgood_agent.json_files import read_json
from lastgood_agent.run_options import MisuseError, Settings
from lastgood_agent.worker_directory import lock_directory

SLEEPER = "time.sleep(600)\n"

#: A trainer with a child, a grandchild in a session of its own that ignores SIGTERM, and one that was orphaned.
FAMILY = """
code = "import os, signal, sys, time; os.setsid(); signal.signal(15, signal.SIG_IGN); " \\
       "print(os.getpid(), file=open(sys.argv[1], 'a'), flush=True); time.sleep(600)"
out = sys.argv[1]
subprocess.Popen([sys.executable, "-c", "import time, sys, os; print(os.getpid(), file=open(sys.argv[1], 'a')); "
                  "sys.stdout.flush(); time.sleep(600)", out])
subprocess.Popen([sys.executable, "-c", code, out])
if os.fork() == 0:
    subprocess.Popen([sys.executable, "-c", code, out])
    os._exit(0)
os.wait()
time.sleep(600)
"""


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def family(bench: Bench, out: Path) -> list[int]:
    """The pids of the trainer's three descendants, once all are there."""
    lines = wait_until(lambda: found if len(found := read_lines(out)) == 3 else None, "the trainer's family is there")
    return [int(line) for line in lines]


def gone(pids: list[int]) -> bool:
    return not any(processes.is_running(pid) for pid in pids)


def test_a_killed_trainer_is_reported_at_once_with_its_signal_and_last_lines_and_the_next_attempt_starts(bench: Bench):
    # given
    launcher = bench.launch(bench.script("print('step', HOOKS['attempt'], flush=True); time.sleep(600)"))
    bench.controller.desire_run(1)
    trainer = bench.controller.running(1)
    wait_until(lambda: read_lines(bench.worker / "logs" / "attempt-1.log"), "the trainer has printed")

    # when
    killed_s = time.time()
    os.kill(trainer.pid, signal.SIGKILL)
    exited = bench.controller.exited(1)
    report = bench.controller.trainers(pb.TRAINER_PHASE_EXITED, 1)[0]
    bench.controller.desire_run(2)
    second = bench.controller.running(2)

    # then
    assert (exited.signal, exited.HasField("exit_code"), exited.was_stopped) == (signal.SIGKILL, False, False)
    assert list(exited.last_lines) == ["step 1"]
    assert report.trainer_changed.next_address.startswith("127.0.0.1:")
    assert bench.controller.heard_s[report.report_id] - killed_s < 1.0
    assert second.pid != trainer.pid
    assert launcher.poll() is None


def test_a_stopped_attempt_leaves_no_process_even_of_those_that_made_their_own_session(bench: Bench, tmp_path: Path):
    # given
    out = tmp_path / "family"
    bench.launch([*bench.script(FAMILY), str(out)])
    bench.controller.desire_run(1)
    trainer = bench.controller.running(1)
    pids = family(bench, out)

    # when
    bench.controller.desire_stop(1)
    exited = bench.controller.exited(1)

    # then
    assert gone([trainer.pid, *pids])
    assert exited.was_stopped


def test_orphans_of_a_trainer_that_died_are_gone_before_its_end_is_reported(bench: Bench, tmp_path: Path):
    # given
    out = tmp_path / "family"
    bench.launch([*bench.script(FAMILY), str(out)])
    bench.controller.desire_run(1)
    trainer = bench.controller.running(1)
    pids = family(bench, out)

    # when
    os.kill(trainer.pid, signal.SIGKILL)
    bench.controller.exited(1)

    # then
    assert gone(pids)


def test_a_killed_launcher_takes_its_trainer_and_all_that_it_started_with_it(bench: Bench, tmp_path: Path):
    # given
    out = tmp_path / "family"
    launcher = bench.launch([*bench.script(FAMILY), str(out)])
    bench.controller.desire_run(1)
    trainer = bench.controller.running(1)
    pids = family(bench, out)
    agent = bench.agents(launcher)[0]

    # when
    os.kill(launcher.pid, signal.SIGKILL)
    exited = bench.controller.exited(1, timeout_s=6)
    wait_until(lambda: gone([trainer.pid, *pids, agent]), "trainer, family and agent are gone", 6)

    # then
    assert exited.signal == signal.SIGKILL
    assert exited.last_lines[-1] == "the launcher of worker/0 died, and this with it"


def test_the_next_launcher_removes_the_socket_directory_that_a_killed_one_left(bench: Bench):
    # given
    command = bench.script(SLEEPER)
    first = bench.launch(command)
    bench.controller.desire_run(1)
    bench.controller.running(1)
    left = Path(read_json(str(bench.worker / "worker.json"))["socket_directory"])
    (agent,) = bench.agents(first)
    os.kill(agent, signal.SIGSTOP)  # or it would remove the directory itself
    os.kill(first.pid, signal.SIGKILL)
    os.kill(agent, signal.SIGKILL)
    assert left.is_dir()

    # when
    bench.launch(command)
    bench.controller.desire_run(2)
    bench.controller.running(2)

    # then
    assert not left.exists()


def test_a_launchers_lock_holds_on_a_full_disk_without_the_pid_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # given
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("lastgood_agent.worker_directory.os.pwrite", full)
    gang = gang_from_arguments("worker/0", 1, "127.0.0.1")
    settings = Settings("127.0.0.1:1", "j", "j", str(tmp_path), gang, ("true",))

    # when
    lock = lock_directory(settings)

    # then
    with pytest.raises(MisuseError, match="pid unknown"):
        lock_directory(settings)
    os.close(lock)


def test_the_next_launcher_says_hello_with_a_higher_session_and_never_starts_an_old_attempt_again(bench: Bench):
    # given
    command = bench.script(SLEEPER)
    first = bench.launch(command)
    bench.controller.desire_run(3)
    bench.controller.running(3)
    os.kill(first.pid, signal.SIGKILL)
    first.wait(5)

    # when
    bench.launch(command)
    hellos = wait_until(
        lambda: [h for h in bench.controller.hellos if h.highest_attempt == 3], "the new launcher says hello"
    )
    bench.controller.desire_run(4)
    bench.controller.running(4)

    # then
    assert hellos[0].sender.launcher_session > bench.controller.hellos[0].sender.launcher_session
    assert hellos[0].trainer.phase == pb.TRAINER_PHASE_NONE
    assert len({r.trainer_changed.trainer.pid for r in bench.controller.trainers(pb.TRAINER_PHASE_RUNNING, 3)}) == 1


def test_a_stop_of_an_attempt_that_never_started_here_is_answered_with_its_end(bench: Bench):
    # given
    bench.launch(bench.script(SLEEPER))
    wait_until(lambda: bench.controller.hellos, "the worker says hello")

    # when
    bench.controller.desire_stop(2)
    exited = bench.controller.exited(2)
    bench.controller.desire_run(2)
    bench.controller.desire_run(3)
    bench.controller.running(3)

    # then
    assert (exited.pid, exited.was_stopped, exited.HasField("exit_code")) == (0, True, False)
    assert not bench.controller.trainers(pb.TRAINER_PHASE_RUNNING, 2)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_to_the_launcher_ends_everything_within_8_s(bench: Bench, tmp_path: Path, number: int, status: int):
    # given
    out = tmp_path / "family"
    stubborn = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + FAMILY
    launcher = bench.launch([*bench.script(stubborn), str(out)], "--grace", "5")
    bench.controller.desire_run(1)
    trainer = bench.controller.running(1)
    pids = [trainer.pid, *family(bench, out), *bench.agents(launcher)]

    # when
    launcher.send_signal(number)
    exit_status = launcher.wait(8)

    # then
    assert exit_status == status
    assert gone(pids)
    assert bench.controller.exited(1, 1).was_stopped


def test_a_launcher_that_was_told_to_end_offers_no_address_for_another_attempt(bench: Bench):
    # given
    launcher = bench.launch(bench.script(SLEEPER))
    bench.controller.desire_run(1)
    bench.controller.running(1)

    # when
    launcher.send_signal(signal.SIGTERM)
    launcher.wait(8)

    # then
    assert [r.trainer_changed.next_address for r in bench.controller.trainers(pb.TRAINER_PHASE_EXITED, 1)] == [""]


def test_a_second_signal_does_not_wait_for_a_stubborn_trainer(bench: Bench):
    # given
    launcher = bench.launch(bench.script("signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"))
    bench.controller.desire_run(1)
    bench.controller.running(1)
    wait_until(lambda: read_lines(bench.worker / "logs" / "attempt-1.log"), "the trainer ignores SIGTERM")

    # when
    launcher.send_signal(signal.SIGTERM)
    wait_until(lambda: "SIGTERM" in (launcher.stderr.readline() if launcher.stderr else ""), "it was taken")
    launcher.send_signal(signal.SIGTERM)

    # then
    assert launcher.wait(2.5) == 143


def test_a_signal_while_the_agent_is_stopped_ends_everything_as_well(bench: Bench):
    # given
    launcher = bench.launch(bench.script(SLEEPER))
    bench.controller.desire_run(1)
    trainer = bench.controller.running(1)
    agents = bench.agents(launcher)
    os.kill(agents[0], signal.SIGSTOP)

    # when
    launcher.send_signal(signal.SIGTERM)

    # then
    assert launcher.wait(8) == 143
    assert gone([trainer.pid, *agents])


def test_the_end_of_the_run_is_the_launchers_exit_status(bench: Bench):
    # given
    launcher = bench.launch(bench.script("print('bye')"))
    bench.controller.desire_run(1)
    assert bench.controller.exited(1).exit_code == 0

    # when
    bench.controller.desire_end(7)

    # then
    _, errors = launcher.communicate(timeout=8)
    assert launcher.returncode == 7
    assert "Finished: by the test" in errors


def test_a_stopped_agent_stops_neither_the_trainer_nor_the_reaping(bench: Bench, tmp_path: Path):
    # given
    go, done = tmp_path / "go", tmp_path / "done"
    launcher = bench.launch(
        [*bench.script("wait_for(sys.argv[1]); open(sys.argv[2], 'w'); sys.exit(3)"), str(go), str(done)]
    )
    bench.controller.desire_run(1)
    trainer = bench.controller.running(1)
    agent = bench.agents(launcher)[0]

    # when
    os.kill(agent, signal.SIGSTOP)
    go.touch()
    wait_until(lambda: done.exists() and processes.start_ticks(trainer.pid) is None, "trained to the end and reaped")
    os.kill(agent, signal.SIGCONT)

    # then
    assert bench.controller.exited(1).exit_code == 3


def test_what_the_trainer_prints_is_shown_with_the_workers_name_when_asked(bench: Bench):
    # given
    launcher = bench.launch(bench.script("print('one'); print('two', end='')"), "--prefix")

    # when
    bench.controller.desire_run(1)
    bench.controller.exited(1)
    bench.controller.desire_end(0)
    output, _ = launcher.communicate(timeout=8)

    # then
    assert output == "[worker/0] one\n[worker/0] two\n"
    assert (bench.worker / "logs" / "attempt-1.log").read_text() == "one\ntwo"


def test_the_trainer_gets_the_hooks_the_gang_and_no_way_to_hold_the_lock(bench: Bench, tmp_path: Path):
    # given
    out = tmp_path / "seen"
    body = """
def path_of(fd):
    try:
        return os.readlink("/proc/self/fd/" + fd)
    except OSError:
        return ""
fds = [path_of(fd) for fd in os.listdir("/proc/self/fd") if int(fd) > 2]
seen = {"hooks": HOOKS, "tf_config": json.loads(os.environ["TF_CONFIG"]), "path": os.environ["PYTHONPATH"],
        "stdin": os.readlink("/proc/self/fd/0"), "lock": [fd for fd in fds if "lock" in fd],
        "sid": os.getsid(0) == os.getpid()}
json.dump(seen, open(sys.argv[1] + ".tmp", "w"))
os.rename(sys.argv[1] + ".tmp", sys.argv[1])
"""
    bench.launch([*bench.script(body), str(out)], "--gate-timeout", "7", "--plan-timeout", "9")

    # when
    bench.controller.desire_run(5)
    bench.controller.exited(5)

    # then
    seen = json.loads(out.read_text())
    hooks = seen["hooks"]
    socket_path = hooks.pop("socket")
    assert hooks == {
        "version": 1,
        "run_id": "run-1",
        "worker": "worker/0",
        "workers": 1,
        "attempt": 5,
        "outbox": str(bench.worker / "outbox"),
        "progress": str(bench.worker / "progress-5"),
        "steering": True,
        "plan_s": 9.0,
        "gate_s": 7.0,
    }
    assert len(socket_path) < 100
    assert seen["tf_config"] == {
        "cluster": {"worker": ["127.0.0.1:12345"]},
        "task": {"type": "worker", "index": 0},
    }
    assert seen["path"].split(os.pathsep)[0].endswith(os.path.join("lastgood_agent", "inject"))
    assert (seen["stdin"], seen["lock"], seen["sid"]) == ("/dev/null", [], True)


# ------------------------------------------------------------------------------------------------------------- misuse


def run_to_the_end(*arguments: str, **environment: str) -> tuple[int, str]:
    ended = subprocess.run(
        [sys.executable, "-m", "lastgood_agent.run_command", *arguments],
        env={**environment_for_tests(), **environment},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert "Traceback" not in ended.stderr
    return ended.returncode, ended.stderr


def options(state: Path, *more: str) -> list[str]:
    return ["--controller", "127.0.0.1:1", "--job", "j", "--state-dir", str(state), *more]


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ([], "no command"),
        (["no-such-command"], "'no-such-command' was not found"),
        (["/etc/passwd"], "is not executable"),
        (["/tmp"], "is not executable"),
        ([sys.executable, "no-such-script.py"], "the script 'no-such-script.py' does not exist"),
    ],
)
def test_a_command_that_cannot_run_is_refused_before_anything_is_started(
    tmp_path: Path, command: list[str], sentence: str
):
    status, errors = run_to_the_end(*options(tmp_path / "s", "--worker", "worker/0", "--workers", "1"), "--", *command)
    assert (status, sentence in errors) == (2, True), errors
    assert not (tmp_path / "s").exists()


def test_a_wrong_tf_config_is_refused_with_a_sentence(tmp_path: Path):
    status, errors = run_to_the_end(*options(tmp_path / "s"), "--", "true", TF_CONFIG='{"cluster": {')
    assert (status, "TF_CONFIG: expected a JSON object" in errors) == (2, True), errors


def test_a_worker_without_a_name_is_refused(tmp_path: Path):
    status, errors = run_to_the_end(*options(tmp_path / "s"), "--", "true")
    assert (status, "TF_CONFIG is not set" in errors) == (2, True), errors


def test_an_evaluator_is_not_guarded_its_command_runs_as_it_is(tmp_path: Path):
    config = '{"cluster": {"worker": ["a:1"]}, "task": {"type": "evaluator", "index": 0}}'
    status, errors = run_to_the_end(*options(tmp_path / "s"), "--", "sh", "-c", "exit 5", TF_CONFIG=config)
    assert status == 5, errors
    assert not (tmp_path / "s").exists()


def test_a_state_directory_that_is_a_file_is_refused(tmp_path: Path):
    (tmp_path / "s").write_text("")
    status, errors = run_to_the_end(*options(tmp_path / "s", "--worker", "worker/0", "--workers", "1"), "--", "true")
    assert (status, "cannot be written" in errors) == (2, True), errors


def test_a_second_launcher_of_the_same_worker_is_refused_and_names_the_first(bench: Bench):
    # given
    first = bench.launch(bench.script(SLEEPER))
    wait_until(lambda: bench.controller.hellos, "the first is at work")

    # when
    second = bench.launch(bench.script(SLEEPER))
    _, errors = second.communicate(timeout=10)

    # then
    assert second.returncode == 2
    assert f"belongs to a live launcher (pid {first.pid})" in errors
    assert first.poll() is None


def test_a_launcher_that_was_replaced_by_a_newer_one_elsewhere_ends_with_its_trainer_and_says_so(bench: Bench):
    launcher = bench.launch(bench.script(SLEEPER))
    bench.controller.desire_run(1)
    trainer = bench.controller.running(1).pid

    bench.controller.has_a_newer = lambda hello: True
    bench.controller.stop()
    bench.controller.start()
    _, said = launcher.communicate(timeout=20)

    assert launcher.returncode == 2
    assert "the controller refuses worker/0: a newer session speaks for worker/0" in said
    assert not processes.is_running(trainer)


def test_a_controller_that_never_answers_ends_the_launcher_when_its_time_is_over(bench: Bench):
    # given
    bench.controller.stop()

    # when
    launcher = bench.launch(bench.script(SLEEPER), "--connect-timeout", "0.5")
    _, errors = launcher.communicate(timeout=15)

    # then
    assert launcher.returncode == 3
    assert f"the controller at {bench.controller.address} did not answer within" in errors


def test_an_interpreter_without_what_the_agent_needs_is_named(tmp_path: Path):
    # -S: no site-packages, so no grpc
    python = tmp_path / "bare-python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    python.chmod(0o755)
    status, errors = run_to_the_end(
        *options(tmp_path / "s", "--worker", "worker/0", "--workers", "1", "--agent-python", str(python)), "--", "true"
    )
    assert (status, "pip install 'lastgood[agent]'" in errors) == (3, True), errors
