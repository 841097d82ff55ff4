"""What is asked wrongly gets one sentence, the right exit status, and leaves nothing running."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from guarded import LASTGOOD, SOON_S, Guarded, environment, until

WAITS = Path(__file__).with_name("scripts") / "waits.py"


def launch(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LASTGOOD, "launch", *arguments],
        cwd=directory,
        env=environment("misuse"),
        capture_output=True,
        text=True,
        timeout=SOON_S,
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--workers", "0", "--", sys.executable, "-c", "pass"], "at least one worker, found --workers 0"),
        (["--workers", "2", "--", sys.executable, "missing.py"], "the script missing.py does not exist"),
        (["--workers", "2", "--", "no-such-command"], "the command no-such-command does not exist"),
        (["--workers", "2"], "expected the training command after --"),
        (["--workers", "1", "--state-dir", "file/state", "--", sys.executable, "-c", "pass"], "Not a directory"),
        (
            ["--workers", "1", "--state-dir", "/proc/state", "--", sys.executable, "-c", "pass"],
            "cannot write to the state",
        ),
        (["--workers", "1", "--listen", "nowhere", "--", sys.executable, "-c", "pass"], "--listen as host:port"),
    ],
)
def test_misuse_is_answered_with_one_sentence_and_status_2(tmp_path, arguments, sentence):
    (tmp_path / "file").write_text("")

    answer = launch(tmp_path, *arguments)

    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.count("\n") == 1
    assert answer.stderr.startswith("lastgood launch: ")
    assert sentence in answer.stderr
    assert not (tmp_path / ".lastgood").exists()


def test_a_port_in_use_is_answered_before_anything_is_started(tmp_path):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen(1)
        address = f"127.0.0.1:{holder.getsockname()[1]}"

        answer = launch(tmp_path, "--workers", "1", "--listen", address, "--", sys.executable, "-c", "pass")

    assert answer.returncode == 2
    assert answer.stderr == (
        f"lastgood launch: cannot listen on {address}: Address already in use;"
        " give another --listen, or none for a free port\n"
    )


def test_a_script_that_fails_at_every_start_is_given_up_and_its_last_words_are_told(tmp_path):
    script = tmp_path / "fails.py"
    script.write_text(
        "import json, os\n"
        "print('task', json.loads(os.environ['TF_CONFIG'])['task']['index'], 'cannot find its data', flush=True)\n"
        "raise SystemExit(1)\n"
    )

    with Guarded(tmp_path, [sys.executable, script], options=["--max-restarts", "1"]) as guarded:
        status = guarded.wait()

    job = guarded.job_document()
    assert status == 1
    assert (job["end"]["reason"], job["restarts"]) == ("BudgetSpent", 1)
    assert "cannot find its data" in guarded.text().partition("printed last:")[2]
    assert guarded.left() == []


def test_the_state_directory_of_a_live_run_is_refused_and_ctrl_c_frees_it(tmp_path):
    with Guarded(tmp_path, [sys.executable, WAITS]) as first:
        until(lambda: len(list(tmp_path.glob("started-*"))) == 2, what="both trainers")

        second = launch(tmp_path, "--workers", "2", "--job", "under-test", "--state-dir", "state", "--", "true")
        first.process.send_signal(signal.SIGINT)
        status = first.wait(10.0)

    assert second.returncode == 2
    assert f"belongs to a live run (lastgood launch, pid {first.process.pid})" in second.stderr
    assert status == 130
    assert first.left() == []
