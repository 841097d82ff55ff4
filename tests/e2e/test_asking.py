"""`jobs`, `job` and `watch` give one answer, for people and as JSON, while a run lives and after it has ended."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from operating import JOB, Lastgood, Start
from training import SCRIPTS

MEETING = SCRIPTS / "meeting.py"


def test_a_run_is_shown_while_it_is_live_and_after_it_has_ended(
    launch: Start, lastgood: Lastgood, tmp_path: Path
) -> None:
    go_on = tmp_path / "go-on"
    run = launch((sys.executable, MEETING, tmp_path / "meeting", "0", go_on))
    run.wait_for("TrainerChanged", count=2)
    address = run.address("address")

    live = lastgood.document("job", "--controller", address, cwd=tmp_path)
    live_jobs = lastgood.document("jobs", "--state-dir", run.state_dir, cwd=tmp_path)
    live_words = lastgood.run("jobs", "--controller", address, cwd=tmp_path)
    go_on.touch()
    done = run.finish()
    ended = lastgood.document("job", JOB, "--state-dir", run.state_dir, cwd=tmp_path)
    ended_words = lastgood.run("job", "--state-dir", run.state_dir, cwd=tmp_path)
    watched = lastgood.run("watch", "--state-dir", run.state_dir, "--json", cwd=tmp_path)
    other = lastgood.run("job", "other", "--state-dir", run.state_dir, cwd=tmp_path)
    gone = lastgood.run("jobs", "--controller", address, cwd=tmp_path)

    assert done.status == 0, done.output
    assert (live["name"], live["attempt"], live["end"]) == (JOB, 1, None)
    assert [worker["trainer"]["phase"] for worker in live["workers"].values()] == ["running", "running"]
    assert [job["run_id"] for job in live_jobs] == [live["run_id"]] == [ended["run_id"]]
    assert (live_words.status, JOB in live_words.output) == (0, True)
    assert (ended["phase"], ended["end"]["reason"], ended["restarts"]) == ("Ended", "Finished", 0)
    assert (ended_words.status, "Finished" in ended_words.output) == (0, True)
    kinds = [json.loads(line)["kind"] for line in watched.lines]
    assert (watched.status, kinds[0], kinds.count("RunEnded")) == (0, "RunOpened", 1)
    assert (other.status, "there is no job other" in other.output) == (2, True)
    assert (gone.status, address in gone.output) == (3, True)


def test_a_run_that_ended_badly_is_a_bad_verdict(launch: Start, lastgood: Lastgood, tmp_path: Path) -> None:
    run = launch((sys.executable, MEETING, tmp_path / "meeting", "3"), options=["--max-restarts", "0"])
    done = run.finish()

    answer = lastgood.run("job", "--state-dir", run.state_dir, cwd=tmp_path)

    assert (done.status, answer.status) == (1, 1), done.output
    assert "BudgetSpent" in answer.output
