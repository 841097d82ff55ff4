"""Ordinary misuse gets the right exit status, one clear sentence, no traceback, and leaves nothing running."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from operating import JOB, Finished, Lastgood, Start, wait_until_gone
from training import SCRIPTS

IDLE = (sys.executable, str(SCRIPTS / "idle.py"))
WRONG_USAGE = 2


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def assert_one_sentence(done: Finished, command: str, *words: str) -> None:
    """The output is one sentence of that command, and says those words."""
    assert done.status == WRONG_USAGE, done.output
    assert len(done.lines) == 1, done.output
    assert done.lines[0].startswith(f"lastgood {command}: ")
    assert [word for word in words if word not in done.output] == [], done.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["--workers", "2", "--", sys.executable, "missing.py"], ["missing.py", "not exist"], id="script"),
        pytest.param(["--workers", "2", "--", "./missing"], ["./missing", "not exist"], id="command"),
        pytest.param(["--workers", "0", "--", *IDLE], ["at least one worker", "--workers 0"], id="no workers"),
        pytest.param(["--workers", "-1", "--", *IDLE], ["at least one worker", "--workers -1"], id="negative workers"),
        pytest.param(["--workers", "2", "--"], ["command", "nothing"], id="nothing to run"),
        pytest.param(["--workers", "2"], ["command", "nothing"], id="not even a dash"),
        pytest.param(["--workers", "2", "--job", "No Label", "--", *IDLE], ["No Label", "no-label"], id="name"),
        pytest.param(["--workers", "2", "--listen", "here", "--", *IDLE], ["--listen", "here"], id="address"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_starts(
    lastgood: Lastgood, tmp_path: Path, nothing_left: None, arguments: list[str], words: list[str]
) -> None:
    state_dir = tmp_path / "state"

    done = lastgood.run("launch", "--state-dir", state_dir, *arguments, cwd=tmp_path)

    assert_one_sentence(done, "launch", *words)
    assert not state_dir.exists()


def test_a_port_that_is_in_use_is_named(
    lastgood: Lastgood, tmp_path: Path, nothing_left: None, taken_port: int
) -> None:
    address = f"127.0.0.1:{taken_port}"

    done = lastgood.run("launch", "--workers", "2", "--listen", address, "--", *IDLE, cwd=tmp_path)

    assert_one_sentence(done, "launch", address, "in use", "--listen")


def test_a_controller_on_a_port_that_is_in_use_names_it(
    lastgood: Lastgood, tmp_path: Path, nothing_left: None, taken_port: int
) -> None:
    address = f"127.0.0.1:{taken_port}"

    done = lastgood.run("controller", "--state-dir", tmp_path / "state", "--listen", address, cwd=tmp_path)

    assert_one_sentence(done, "controller", address)


@pytest.mark.parametrize("command", ["launch", "controller"])
@pytest.mark.parametrize("place", ["file/state", "/proc/state"])
def test_a_state_directory_that_cannot_be_made_is_named(
    lastgood: Lastgood, tmp_path: Path, nothing_left: None, command: str, place: str
) -> None:
    (tmp_path / "file").write_text("not a directory")
    state_dir = tmp_path / place
    rest = ["--workers", "2", "--", *IDLE] if command == "launch" else []

    done = lastgood.run(command, "--state-dir", state_dir, *rest, cwd=tmp_path)

    assert_one_sentence(done, command, str(state_dir))


def test_the_state_directory_of_a_live_run_belongs_to_it(launch: Start, lastgood: Lastgood, tmp_path: Path) -> None:
    first = launch(IDLE, workers=1)
    first.wait_for("TrainerChanged")

    second = lastgood.run(
        *("launch", "--workers", "1", "--state-dir", first.state_dir, "--job", JOB, "--", *IDLE), cwd=tmp_path
    )
    third = lastgood.run("controller", "--state-dir", first.state_dir, cwd=tmp_path)

    assert_one_sentence(second, "launch", str(first.state_dir), "live run", str(first.process.pid))
    assert_one_sentence(third, "controller", str(first.state_dir), str(first.controller_pid()))
    assert first.process.poll() is None


def test_a_script_that_fails_at_every_start_is_given_up_with_its_last_words(launch: Start, tmp_path: Path) -> None:
    script = (sys.executable, SCRIPTS / "meeting.py", tmp_path / "meeting", "1")

    run = launch(script, workers=2, options=["--max-restarts", "1"])
    done = run.finish()

    assert done.status == 1, done.output
    assert "BudgetSpent" in done.output
    assert "worker 0: there is no data set" in done.output
    assert "worker 1: there is no data set" in done.output
    assert "Traceback" not in done.output
    assert [entry["attempt"] for entry in run.journal.of_kind("AttemptOpened")] == [1, 2]
    assert wait_until_gone(tmp_path, 1.0) == []


def test_a_database_that_is_none_is_named_and_left_as_it_is(launch: Start, tmp_path: Path) -> None:
    database = tmp_path / "state" / "controller.db"
    database.parent.mkdir()
    database.write_bytes(b"this is no database" * 100)

    run = launch(IDLE)
    done = run.finish()

    assert done.status in (2, 3), done.output
    assert "the controller could not start" in done.output
    assert "Traceback" not in done.output
    assert database.read_bytes() == b"this is no database" * 100


WORKERS = ["127.0.0.1:7001", "127.0.0.1:7002"]


@pytest.mark.parametrize(
    ("tf_config", "words"),
    [
        pytest.param("{not json", ["TF_CONFIG", "JSON"], id="not JSON"),
        pytest.param("[]", ["TF_CONFIG"], id="not an object"),
        pytest.param(json.dumps({"cluster": {"worker": WORKERS}}), ["TF_CONFIG", "task"], id="no task"),
        pytest.param(json.dumps({"task": {"type": "worker", "index": 0}}), ["TF_CONFIG", "cluster"], id="no cluster"),
        pytest.param(
            json.dumps({"cluster": {"worker": WORKERS}, "task": {"type": "worker", "index": 2}}),
            ["TF_CONFIG", "2"],
            id="index out of range",
        ),
        pytest.param(
            json.dumps({"cluster": {"worker": WORKERS}, "task": {"type": "worker", "index": "x"}}),
            ["TF_CONFIG", "index"],
            id="index not a number",
        ),
        pytest.param(
            json.dumps({"cluster": {"worker": WORKERS, "ps": ["127.0.0.1:7003"]}, "task": {"type": "ps", "index": 0}}),
            ["ParameterServer"],
            id="parameter server",
        ),
        pytest.param(
            json.dumps(
                {"cluster": {"worker": WORKERS, "ps": ["127.0.0.1:7003"]}, "task": {"type": "worker", "index": 0}}
            ),
            ["ParameterServer"],
            id="worker of a parameter server",
        ),
    ],
)
def test_a_wrong_tf_config_is_refused_with_what_is_wrong_in_it(
    lastgood: Lastgood, tmp_path: Path, nothing_left: None, tf_config: str, words: list[str]
) -> None:
    done = lastgood.run(
        *("run", "--controller", "127.0.0.1:1", "--job", JOB, "--state-dir", tmp_path / "state", "--", *IDLE),
        cwd=tmp_path,
        environment={"TF_CONFIG": tf_config},
    )

    assert_one_sentence(done, "run", *words)


def test_an_evaluator_runs_as_it_is(lastgood: Lastgood, tmp_path: Path, nothing_left: None) -> None:
    config = {"cluster": {"worker": WORKERS}, "task": {"type": "evaluator", "index": 0}}
    script = [sys.executable, "-c", "print('evaluated'); raise SystemExit(5)"]

    done = lastgood.run(
        *("run", "--controller", "127.0.0.1:1", "--job", JOB, "--state-dir", tmp_path / "state", "--", *script),
        cwd=tmp_path,
        environment={"TF_CONFIG": json.dumps(config)},
    )

    assert done.status == 5, done.output
    assert "evaluated" in done.lines


@pytest.mark.parametrize("command", ["job", "watch"])
def test_asking_for_what_is_not_there_says_so(lastgood: Lastgood, tmp_path: Path, command: str) -> None:
    done = lastgood.run(command, JOB, "--state-dir", tmp_path / "nowhere", cwd=tmp_path)

    assert_one_sentence(done, command, str(tmp_path / "nowhere"))


def test_a_controller_that_cannot_be_reached_is_no_verdict(lastgood: Lastgood, tmp_path: Path) -> None:
    done = lastgood.run("jobs", "--controller", "127.0.0.1:1", cwd=tmp_path)

    assert done.status == 3, done.output
    assert len(done.lines) == 1, done.output
    assert "127.0.0.1:1" in done.output
