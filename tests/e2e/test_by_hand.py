"""The parts that `launch` puts together, started one by one, do the same; and they can be asked while they do it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from operating import JOB, PATIENCE_S, STOP_LIMIT_S, Document, Journal, Lastgood, agent_below, kill, wait_for_good
from training import Plain, Training, assert_trained_truly, free_ports, tf_config

#: Seconds for one test on a machine that does other things, too.
pytestmark = pytest.mark.timeout(400)

STEPS = 60


class ByHand:
    """A controller, and one `lastgood run` per worker with its own TF_CONFIG, each as somebody else would start it."""

    def __init__(self, lastgood: Lastgood, directory: Path, *options: str) -> None:
        self._lastgood = lastgood
        self._directory = directory
        self.state_dir = directory / "state"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.address, self.metrics_address = (f"127.0.0.1:{port}" for port in free_ports(2))
        self._start(
            *("controller", "--state-dir", self.state_dir),
            *("--listen", self.address, "--metrics-listen", self.metrics_address, *options),
        )
        self.journal = Journal(lastgood, self.state_dir, JOB)

    def start_workers(self, command: list[str], workers: int = 2) -> None:
        """Starts the gang."""
        ports = free_ports(workers)
        for index in range(workers):
            self._start(
                *("run", "--controller", self.address, "--job", JOB),
                *("--state-dir", self._directory / f"host-{index}", "--", *command),
                name=f"run-{index}",
                environment={"TF_CONFIG": tf_config(ports, index)},
            )

    def _start(
        self, *arguments: str | Path, name: str = "controller", environment: dict[str, str] | None = None
    ) -> None:
        output = self._directory / f"{name}.out"
        process = self._lastgood.start(*arguments, cwd=self._directory, output=output, environment=environment)
        self._processes[name] = process

    def stop_workers(self) -> list[int]:
        """Ends the gang as whatever started it would; the exit statuses of the launchers."""
        for name, process in self._processes.items():
            if name != "controller":
                process.terminate()
        return self.workers_end()

    def wait_for(self, kind: str, matching: str, within_s: float = PATIENCE_S) -> Document:
        """The first journal entry of a kind whose text contains `matching`."""

        def claim(entries: list[Document]) -> Document | None:
            return next((e for e in entries if e["kind"] == kind and matching in e["text"]), None)

        return dict(self.journal.wait_for(claim, f"{kind} with {matching!r}", within_s, self.account))

    def launcher_pid(self, index: int) -> int:
        return self._processes[f"run-{index}"].pid

    def said(self, index: int) -> str:
        """What that worker's launchers printed."""
        return (self._directory / f"run-{index}.out").read_text()

    def account(self) -> str:
        """What everything printed."""
        return "\n".join(f"--- {path.name}\n{path.read_text()}" for path in self._directory.glob("*.out"))

    def job(self) -> Document:
        """The job document by the live controller."""
        document = self._lastgood.document("job", JOB, "--controller", self.address, cwd=self._directory)
        assert isinstance(document, dict)
        return document

    def metrics(self) -> dict[str, float]:
        """The samples that the controller serves: name with labels, and value."""
        with urllib.request.urlopen(f"http://{self.metrics_address}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        samples = re.findall(r"^(lastgood_[^ ]+) ([^ ]+)$", text, re.MULTILINE)
        return {name: float(value) for name, value in samples}

    def wait_for_good(self, step: int, attempt: int = 1) -> Document:
        """The verdict Good on that attempt's checkpoint of a step."""
        return wait_for_good(self.journal, step, attempt, self.account)

    def workers_end(self) -> list[int]:
        """The exit statuses of the launchers, which must end by themselves."""
        return [self._processes[name].wait(PATIENCE_S) for name in sorted(self._processes) if name != "controller"]

    def stop_controller(self) -> int:
        """Asks the controller to end; its exit status."""
        self._processes["controller"].send_signal(signal.SIGTERM)
        return self._processes["controller"].wait(STOP_LIMIT_S)

    def close(self) -> None:
        """Ends what is left."""
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            with ExitStack() as stack:
                stack.callback(process.kill)
                process.wait(STOP_LIMIT_S)
        self.journal.close()


@pytest.fixture
def by_hand(lastgood: Lastgood, tmp_path: Path, nothing_left: None) -> Iterator[ByHand]:
    """A controller that waits for a gang."""
    started = ByHand(lastgood, tmp_path)
    yield started
    started.close()


def test_workers_that_were_started_by_hand_are_guarded_and_can_be_asked_about(
    by_hand: ByHand, lastgood: Lastgood, training: Training, plain: Plain, tmp_path: Path
) -> None:
    by_hand.start_workers(training.command(steps=STEPS, save_every=5, pace=0.03, hold_at="20,50"))
    by_hand.wait_for_good(10)

    kill(by_hand.job()["workers"]["worker/1"]["trainer"]["pid"])
    training.go_on(20)
    by_hand.wait_for_good(50, attempt=2)
    live_job, live_metrics = by_hand.job(), by_hand.metrics()
    live_jobs = lastgood.document("jobs", "--state-dir", by_hand.state_dir, cwd=tmp_path)
    live_words = lastgood.run("job", JOB, "--controller", by_hand.address, cwd=tmp_path)
    training.go_on(50)
    statuses = by_hand.workers_end()
    controller_status = by_hand.stop_controller()
    job = lastgood.document("job", JOB, "--state-dir", by_hand.state_dir, cwd=tmp_path)
    words = lastgood.run("job", JOB, "--state-dir", by_hand.state_dir, cwd=tmp_path)
    watched = lastgood.run("watch", JOB, "--state-dir", by_hand.state_dir, "--json", cwd=tmp_path)

    assert statuses == [0, 0], by_hand.account()
    assert controller_status in (0, 143), by_hand.account()
    assert_trained_truly(training, plain(2), steps=STEPS)

    # While it ran.
    assert [(summary["name"], summary["attempt"], summary["phase"]) for summary in live_jobs] == [(JOB, 2, "Training")]
    assert (live_job["phase"], live_job["end"], live_job["restarts"]) == ("Training", None, 1)
    assert live_job["last_good"]["step"] == 50
    assert [incident["worker"] for incident in live_job["incidents"]] == ["worker/1"]
    assert live_job["incidents"][0]["reason"] == "WorkerKilled"
    assert "WorkerKilled" in live_words.output
    assert "Good" in live_words.output
    good = sum(
        value for name, value in live_metrics.items() if name.startswith("lastgood_saves_total{") and '"Good"' in name
    )
    assert good >= 8
    assert sum(value for name, value in live_metrics.items() if name.startswith("lastgood_restarts_total")) == 1
    assert sum(value for name, value in live_metrics.items() if name.startswith("lastgood_restores_total")) == 2
    since = [value for name, value in live_metrics.items() if name.startswith("lastgood_seconds_since_last_good")]
    assert len(since) == 1
    assert 0 <= since[0] < 60

    # After it had ended.
    assert (job["phase"], job["end"]["reason"], job["end"]["exit_status"]) == ("Ended", "Finished", 0)
    assert [c["step"] for c in job["checkpoints"] if c["attempt"] == 2][-1] == STEPS
    live = [{**each, "held": False} for each in live_job["checkpoints"]]  # what is held changes with each save
    assert [{**each, "held": False} for each in job["checkpoints"][: len(live)]] == live
    assert words.status == 0
    assert "Finished" in words.output
    entries = [json.loads(line) for line in watched.lines]
    assert [entry["sequence"] for entry in entries] == sorted({entry["sequence"] for entry in entries})
    assert [entry["kind"] for entry in entries].count("RunEnded") == 1


@pytest.mark.usefixtures("nothing_left")
def test_a_gang_that_was_stopped_and_started_again_goes_on_and_says_so_once_it_has_finished(
    lastgood: Lastgood, training: Training, plain: Plain, tmp_path: Path
) -> None:
    command = training.command(steps=STEPS, save_every=5, pace=0.03, hold_at="20")
    with closing(ByHand(lastgood, tmp_path, "--gather-s", "10")) as by_hand:
        # given: whatever had started it has stopped it, and the controller has waited for it in vain
        by_hand.start_workers(command)
        by_hand.wait_for_good(20)
        stopped = by_hand.stop_workers()
        end = by_hand.wait_for("RunEnded", "")

        # when
        training.go_on(20)
        by_hand.start_workers(command)
        trained = by_hand.workers_end()
        by_hand.start_workers(command)
        late = by_hand.workers_end()
        job, account = by_hand.job(), by_hand.account()
        said = [by_hand.said(index) for index in (0, 1)]

    # then
    assert (stopped, trained, late) == ([143, 143], [0, 0], [0, 0]), account
    assert end["event"]["cause"]["reason"] == "StartTimeout"
    assert_trained_truly(training, plain(2), steps=STEPS)
    assert [attempt["number"] for attempt in job["attempts"]] == [1, 2]
    assert (job["end"]["reason"], job["last_good"]["step"]) == ("Finished", STEPS)
    for words in said:
        assert f"{JOB} has finished already (Finished: all 2 workers ended with status 0)." in words, words


@pytest.mark.usefixtures("nothing_left")
def test_a_worker_whose_processes_are_frozen_is_noticed(lastgood: Lastgood, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("import time; time.sleep(600)")
    with closing(ByHand(lastgood, tmp_path, "--lost-s", "3")) as by_hand:
        # given
        by_hand.start_workers([sys.executable, str(script)], workers=1)
        by_hand.wait_for("TrainerChanged", "started attempt 1")
        launcher = by_hand.launcher_pid(0)
        frozen = [launcher, agent_below(launcher)]
        for pid in frozen:
            kill(pid, signal.SIGSTOP)

        # when: well before the minute that gRPC would take by itself
        lost = by_hand.wait_for("WorkerLost", "worker/0 lost", within_s=45.0)
        for pid in frozen:
            kill(pid, signal.SIGCONT)
        again = by_hand.wait_for("TrainerChanged", "started attempt 2")
        incident = by_hand.job()["incidents"][0]

    # then
    assert lost["text"] == "worker/0 lost: nothing has been heard of it for 3 s"
    assert (incident["attempt"], incident["reason"], again["attempt"]) == (1, "WorkerLost", 2)


@pytest.mark.usefixtures("nothing_left")
def test_a_run_that_spent_its_budget_stays_ended_until_a_person_opens_it_again(
    lastgood: Lastgood, tmp_path: Path
) -> None:
    script = tmp_path / "train.py"
    script.write_text("raise SystemExit('no such data set')")
    command = [sys.executable, str(script)]
    with closing(ByHand(lastgood, tmp_path, "--max-restarts", "0")) as by_hand:
        # given
        by_hand.start_workers(command)
        spent = by_hand.workers_end()

        # when
        by_hand.start_workers(command)
        late = by_hand.workers_end()
        told = [by_hand.said(index) for index in (0, 1)]
        script.write_text("print('trained')")
        reopened = lastgood.run("reopen", JOB, "--controller", by_hand.address, cwd=tmp_path)
        by_hand.start_workers(command)
        trained = by_hand.workers_end()
        again = lastgood.run("reopen", JOB, "--controller", by_hand.address, cwd=tmp_path)
        job, account = by_hand.job(), by_hand.account()

    # then
    assert (spent, late, trained) == ([1, 1], [1, 1], [0, 0]), account
    for words in told:
        assert f"{JOB} had ended before this worker was started, and nothing was trained." in words, words
        assert "It ended with BudgetSpent: 1 attempts in a row failed" in words, words
        assert f"`lastgood reopen {JOB} --controller {by_hand.address}`, then start the workers again" in words, words
    goes_on = f"{JOB} had ended with {{}} and goes on: start its workers now\n"
    assert (reopened.status, reopened.output) == (0, goes_on.format("BudgetSpent"))
    assert (again.status, again.output) == (0, goes_on.format("Finished"))
    assert [attempt["number"] for attempt in job["attempts"]] == [1, 2]
    assert job["end"] is None
