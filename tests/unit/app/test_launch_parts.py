"""What `lastgood launch` refuses before it starts anything, and how it treats its children."""

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import pytest

from lastgood_controller.children import Children, Death, descendants, signal_name
from lastgood_controller.launch_options import MisuseError, check_address, check_command, options_from
from lastgood_controller.revival import Revival
from lastgood_controller.rundir import RundirError, default_job, dns_label, script_of, take

GONE_S = 10.0


def arguments(**changes) -> Namespace:
    given = {
        "command": ["--", sys.executable, "-c", "pass"],
        "workers": 2,
        "state_dir": None,
        "job": None,
        "listen": "127.0.0.1:0",
        "steering": "on",
        "receipts": "enforce",
        "shared_write": "redirect",
        "max_restarts": None,
        "start_timeout": None,
        "grace": 30.0,
        "plain": False,
        "json_events": None,
    }
    return Namespace(**{**given, **changes})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"workers": 0}, "at least one worker, found --workers 0"),
        ({"workers": -3}, "at least one worker"),
        ({"command": []}, "expected the training command after --"),
        ({"command": ["--"]}, "expected the training command after --"),
        ({"command": ["no-such-command-here"]}, "no-such-command-here does not exist"),
        ({"command": [sys.executable, "-u", "-X", "dev", "missing.py", "--x"]}, "the script missing.py does not exist"),
        ({"job": "My Job"}, "my-job would do"),
        ({"max_restarts": -1}, "0 or more, found -1"),
        ({"workers": 100_000}, "at most 256 workers on one machine, found --workers 100000"),
    ],
)
def test_what_cannot_work_is_refused_with_a_sentence(changes, sentence):
    with pytest.raises(MisuseError, match=sentence):
        options_from(arguments(**changes))


def test_a_script_that_is_not_executable_gets_the_command_that_would_work(tmp_path):
    script = tmp_path / "train.py"
    script.write_text("pass")

    with pytest.raises(MisuseError, match=f"not executable; for a Python script: lastgood launch … -- python {script}"):
        check_command([str(script)])


def test_the_state_directory_is_named_after_the_job():
    options = options_from(arguments(command=["--", sys.executable, __file__, "--steps", "3"]))

    assert (options.job, options.state_dir) == ("test-launch-parts", Path(".lastgood/test-launch-parts"))
    assert options.command == (sys.executable, __file__, "--steps", "3")


@pytest.mark.parametrize(
    ("command", "script"),
    [
        (["python", "train.py"], "train.py"),
        (["/env/bin/python3.11", "-u", "-W", "error", "a/train.py", "-m"], "a/train.py"),
        (["python", "-m", "train"], None),
        (["python", "-c", "pass"], None),
        (["./train", "x.py"], None),
        (["python"], None),
    ],
)
def test_the_script_is_what_the_interpreter_would_run(command, script):
    assert script_of(command) == script


def test_job_names_are_made_safe_for_dns():
    assert dns_label("Fine_Tune v2.py") == "fine-tune-v2-py"
    assert dns_label("___") == "job"
    assert len(dns_label("x" * 100)) == 63
    assert default_job(["python", "/a/My_Train.py"]) == "my-train"
    assert default_job(["/usr/bin/torchrun"]) == "torchrun"


@pytest.mark.parametrize("listen", ["50051", "host:", ":1", "127.0.0.1:99999", "127.0.0.1:x"])
def test_an_address_of_another_form_is_refused(listen):
    with pytest.raises(MisuseError, match="expected --listen as host:port"):
        check_address(listen)


def test_a_port_in_use_is_refused():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen(1)
        port = holder.getsockname()[1]

        with pytest.raises(MisuseError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            check_address(f"127.0.0.1:{port}")


def test_a_state_directory_keeps_its_run_for_ever_and_belongs_to_one_job_and_gang(tmp_path):
    first = take(tmp_path / "s", "digits", 2)
    os.close(first.lock_fd)

    again = take(tmp_path / "s", "digits", 2)

    assert (again.run_id, again.is_new, first.is_new) == (first.run_id, False, True)
    os.close(again.lock_fd)
    with pytest.raises(RundirError, match="belongs to the job digits, not words"):
        take(tmp_path / "s", "words", 2)
    with pytest.raises(RundirError, match="has 2 workers, and 3 were asked for"):
        take(tmp_path / "s", "digits", 3)


def test_a_state_directory_of_a_live_run_names_the_pid_that_holds_it(tmp_path):
    held = take(tmp_path, "digits", 2)

    with pytest.raises(RundirError, match=f"belongs to a live run \\(lastgood launch, pid {os.getpid()}\\)"):
        take(tmp_path, "digits", 2)
    os.close(held.lock_fd)


def test_a_state_directory_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(RundirError, match=r"cannot write to the state directory .*: Not a directory"):
        take(tmp_path / "file" / "state", "digits", 2)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"run_id": 3, "job": "x", "workers": 2}'])
def test_a_run_file_that_is_something_else_is_refused_and_kept(tmp_path, text):
    (tmp_path / "run.json").write_text(text)

    with pytest.raises(RundirError, match="is not what lastgood launch writes"):
        take(tmp_path, "digits", 2)
    assert (tmp_path / "run.json").read_text() == text


def test_a_child_is_started_again_at_once_then_with_pauses_then_not_at_all():
    revival, pauses = Revival(), []
    for _ in range(10):
        revival = revival.after_death(lived_s=0.1)
        pauses.append(revival.pause_s)

    assert pauses[:5] == [0.0, 0.2, 0.4, 0.8, 1.6]
    assert max(pauses) == 5.0
    assert revival.is_hopeless
    assert revival.after_death(lived_s=60.0) == Revival(1)


def reaped(children: Children) -> list[Death]:
    deadline_s = time.monotonic() + GONE_S
    while time.monotonic() < deadline_s:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        if deaths := children.reap():
            return deaths
    raise AssertionError("no child ended in time")


def test_a_child_is_reaped_with_how_it_ended_and_what_it_printed(tmp_path):
    children = Children(tmp_path)
    child = children.start("one", [sys.executable, "-c", "print('hello'); raise SystemExit(7)"], dict(os.environ))

    [death] = reaped(children)

    assert (death.name, death.pid, death.exit_code, death.signal) == ("one", child.pid, 7, None)
    assert str(death) == f"one (pid {child.pid}) ended with status 7"
    assert children.last_lines("one") == ["hello"]
    assert children.last_lines("unknown") == []


def test_a_child_that_a_signal_ended_says_which(tmp_path):
    children = Children(tmp_path)
    child = children.start("one", ["/bin/sleep", "60"], dict(os.environ))
    children.send(signal.SIGTERM, "one")

    [death] = reaped(children)

    assert str(death) == f"one (pid {child.pid}) was ended by SIGTERM"
    assert signal_name(200) == "signal 200"


LAUNCHER = """
import os, sys, time
from pathlib import Path
from lastgood_controller.children import Children, adopt_orphans
adopt_orphans()
children = Children(Path(sys.argv[1]))
grandchild = "import subprocess, time; subprocess.Popen(['/bin/sleep', '61'], start_new_session=True); time.sleep(62)"
children.start("a", [sys.executable, "-c", grandchild], dict(os.environ))
children.start("b", ["/bin/sleep", "60"], dict(os.environ))
print("started", flush=True)
sys.stdin.readline()
print(children.kill_all(5.0), flush=True)
"""


@pytest.fixture
def launcher(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout.readline() == "started\n"
    _until(lambda: _commands(process.pid).count("sleep") == 2)
    yield process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def _commands(pid: int) -> list[str]:
    return [Path("/proc", str(each), "comm").read_text().strip() for each in descendants(pid)]


def _until(is_so) -> None:
    deadline_s = time.monotonic() + GONE_S
    while not is_so():
        assert time.monotonic() < deadline_s, "it did not come true in time"
        time.sleep(0.01)


def test_nothing_is_left_when_everything_is_to_end_not_even_what_a_child_has_started(launcher):
    launcher.stdin.write("\n")
    launcher.stdin.flush()

    assert launcher.stdout.readline() == "[]\n"


def test_children_die_with_a_launch_that_is_killed(launcher):
    direct = [pid for pid in descendants(launcher.pid) if _parent(pid) == launcher.pid]
    orphan = next(pid for pid in descendants(launcher.pid) if _parent(pid) != launcher.pid)

    launcher.kill()
    launcher.wait()

    _until(lambda: not any(Path("/proc", str(pid)).exists() for pid in direct))
    os.kill(orphan, signal.SIGKILL)  # a grandchild is its own parent's to tie: `lastgood run` ties its trainer


def _parent(pid: int) -> int:
    return int(Path("/proc", str(pid), "stat").read_text().rpartition(") ")[2].split()[1])


def test_what_a_former_child_of_that_name_printed_is_not_taken_for_this_ones(tmp_path):
    (tmp_path / "one.log").write_text("of yesterday\n")
    children = Children(tmp_path)
    children.start("one", [sys.executable, "-c", "print('of today')"], dict(os.environ))

    reaped(children)

    assert children.last_lines("one") == ["of today"]


def test_a_lock_holds_on_a_full_disk_without_the_pid_in_it(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("lastgood_controller.rundir.os.pwrite", full)

    rundir = take(tmp_path, "digits", 2)

    with pytest.raises(RundirError, match="pid unknown"):
        take(tmp_path, "digits", 2)
    os.close(rundir.lock_fd)
