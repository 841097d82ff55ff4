"""Whatever part of lastgood is killed, the training goes on or is taken up again, and nothing is ever left behind.

Trainers without TensorFlow stand in here: they write down their pids and wait for a file.
"""

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from guarded import Guarded, until

WAITS = Path(__file__).with_name("scripts") / "waits.py"
#: What launch promises after Ctrl-C or SIGTERM.
GONE_S = 10.0


def started(directory: Path) -> int:
    return len(list(directory.glob("started-*")))


def trainers_of(job: dict, attempt: int) -> list[int]:
    """The pids of the trainers that run in that attempt; empty unless all of them do."""
    trainers = [worker["trainer"] for worker in job["workers"].values()]
    running = [t["pid"] for t in trainers if t and t["phase"] == "running" and t["attempt"] == attempt]
    return running if len(running) == len(job["members"]) > 0 else []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_stubborn_gang_in_time_and_the_same_command_goes_on_as_a_new_attempt(tmp_path, number, status):
    with Guarded(tmp_path, [sys.executable, WAITS, "--stubborn"]) as first:
        until(lambda: started(tmp_path) == 2, what="both trainers")
        begun_s = time.monotonic()

        first.process.send_signal(number)

        assert first.wait() == status
        assert time.monotonic() - begun_s < GONE_S
        assert first.left() == []
    (tmp_path / "go").touch()
    with Guarded(tmp_path, [sys.executable, WAITS, "--stubborn"]) as again:
        assert again.wait() == 0, again.text()
    job = again.job_document()
    assert [attempt["number"] for attempt in job["attempts"]] == [1, 2]
    assert job["attempts"][0]["failure"]["reason"] == "Interrupted"
    assert (job["end"]["reason"], job["restarts"]) == ("Finished", 0)


def test_a_killed_launch_leaves_no_process(tmp_path):
    with Guarded(tmp_path, [sys.executable, WAITS, "--stubborn"]) as guarded:
        until(lambda: started(tmp_path) == 2, what="both trainers")

        guarded.process.kill()
        guarded.process.wait()

        guarded.until_gone(GONE_S)
    (tmp_path / "go").touch()
    with Guarded(tmp_path, [sys.executable, WAITS]) as again:
        assert again.wait() == 0, again.text()


def test_killed_controller_and_agent_harm_no_trainer(tmp_path):
    with Guarded(tmp_path, [sys.executable, WAITS]) as guarded:
        trainers = trainers_of(guarded.until_job(lambda job: trainers_of(job, 1)), 1)
        agent, controller = guarded.agent(1), guarded.controller()

        os.kill(controller, signal.SIGKILL)
        os.kill(agent, signal.SIGKILL)

        until(lambda: guarded.agent(1) != agent, what="another agent")
        until(lambda: guarded.controller() != controller, what="another controller")
        job = guarded.until_job(lambda job: all(worker["connected"] for worker in job["workers"].values()))
        assert trainers_of(job, 1) == trainers
        (tmp_path / "go").touch()
        assert guarded.wait() == 0, guarded.text()
    job = guarded.job_document()
    assert [attempt["number"] for attempt in job["attempts"]] == [1]
    assert job["incidents"] == []


def test_a_killed_launcher_takes_its_trainer_along_and_the_gang_starts_again(tmp_path):
    with Guarded(tmp_path, [sys.executable, WAITS]) as guarded:
        trainers = trainers_of(guarded.until_job(lambda job: trainers_of(job, 1)), 1)

        os.kill(guarded.launcher(1), signal.SIGKILL)

        job = guarded.until_job(lambda job: trainers_of(job, 2))
        assert not any(Path("/proc", str(pid)).exists() for pid in trainers)
        (tmp_path / "go").touch()
        assert guarded.wait() == 0, guarded.text()
    assert [incident["worker"] for incident in job["incidents"]] == ["worker/1"]
    # Its agent lives on for a moment: it may still have told of the trainer's end.
    assert job["incidents"][0]["reason"] in ("LauncherLost", "WorkerKilled")
    assert guarded.left() == []


def test_a_controller_that_cannot_go_on_is_given_up_with_what_it_printed(tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "controller.db").write_bytes(b"this is not a database at all" * 100)

    with Guarded(tmp_path, [sys.executable, WAITS]) as guarded:
        status = guarded.wait()

    assert status in (2, 3)
    assert "the controller could not start" in guarded.text()
    assert "Traceback" not in guarded.text()
    assert guarded.left() == []
