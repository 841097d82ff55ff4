"""`lastgood jobs`, `job` and `watch` give one answer, while the controller serves and after it has gone."""

import json
import subprocess
import sys
from pathlib import Path

from guarded import LASTGOOD, SOON_S, Guarded, environment, until

WAITS = Path(__file__).with_name("scripts") / "waits.py"


def ask(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LASTGOOD, *arguments],
        cwd=directory,
        env=environment("asking"),
        capture_output=True,
        text=True,
        timeout=SOON_S,
    )


def test_a_run_is_shown_while_it_is_live_and_after_it_has_ended(tmp_path):
    with Guarded(tmp_path, [sys.executable, WAITS]) as guarded:
        until(lambda: len(list(tmp_path.glob("started-*"))) == 2, what="both trainers")
        address = guarded.address()
        live = json.loads(ask(tmp_path, "job", "under-test", "--state-dir", "state", "--json").stdout)
        by_address = json.loads(ask(tmp_path, "jobs", "--controller", address, "--json").stdout)
        (tmp_path / "go").touch()
        assert guarded.wait() == 0, guarded.text()
    ended = ask(tmp_path, "job", "--state-dir", "state", "--json")
    table = ask(tmp_path, "jobs", "--state-dir", "state")
    journal = ask(tmp_path, "watch", "--state-dir", "state", "--json")
    unknown = ask(tmp_path, "job", "other", "--state-dir", "state")
    gone = ask(tmp_path, "jobs", "--controller", address)

    assert (live["name"], live["attempt"], live["end"]) == ("under-test", 1, None)
    assert [job["run_id"] for job in by_address] == [live["run_id"]]
    assert (ended.returncode, json.loads(ended.stdout)["end"]["reason"]) == (0, "Finished")
    assert table.returncode == 0
    assert "under-test" in table.stdout
    assert "Finished" in table.stdout
    kinds = [json.loads(line)["kind"] for line in journal.stdout.splitlines()]
    assert (journal.returncode, kinds[0]) == (0, "RunOpened")
    assert "RunEnded" in kinds
    assert unknown.returncode == 2
    assert unknown.stderr.startswith("lastgood job: there is no job other here; there is: under-test (")
    assert gone.returncode == 3
    assert gone.stderr.startswith(f"lastgood jobs: no controller can be reached at {address}")


def test_a_run_that_ended_badly_is_a_bad_verdict(tmp_path):
    with Guarded(tmp_path, [sys.executable, "-c", "raise SystemExit(3)"], options=["--max-restarts", "0"]) as guarded:
        assert guarded.wait() == 1

    answer = ask(tmp_path, "job", "--state-dir", "state")

    assert answer.returncode == 1
    assert "BudgetSpent" in answer.stdout


def test_a_directory_without_runs_is_answered_with_a_sentence(tmp_path):
    nothing = ask(tmp_path, "jobs")
    missing = ask(tmp_path, "job", "--state-dir", "nowhere")

    assert (nothing.returncode, missing.returncode) == (2, 2)
    assert "name one with --state-dir or --controller" in nothing.stderr
    assert missing.stderr == "lastgood job: the state directory nowhere does not exist\n"
