"""What the end of one trainer means: a test for each row of the table in docs/endings.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lastgood.reasons import Reason
from lastgood_controller.endings import Ending, Sort, is_own_fault, read_ending
from lastgood_controller.model import ScriptError, Trainer, TrainerPhase

TABLE = Path(__file__).parents[3] / "docs" / "endings.md"

PEER = ScriptError(
    "tensorflow.python.framework.errors_impl.UnavailableError",
    "Collective ops is aborted by: Connection reset by peer",
    "/job/train.py:80 in main",
    ("UnavailableError: Collective ops is aborted by: Connection reset by peer",),
)
INTERNAL_PEER = ScriptError(
    "tensorflow.python.framework.errors_impl.InternalError",
    "",
    "",
    ("InternalError: Collective ops are aborted by: x",),
)
OWN = ScriptError("ValueError", "no such layer", "/job/train.py:12 in main", ("ValueError: no such layer",))
DISK = ScriptError("OSError", "[Errno 28] No space left on device", "/job/train.py:12 in save", ("OSError: ...",))


def ended(code: int | None = None, signal: int | None = None, **more: object) -> Trainer:
    base = {"phase": TrainerPhase.EXITED, "attempt": 1, "exit_code": code, "signal": signal, "reached_step": 7}
    return Trainer(**{**base, **more})  # type: ignore[arg-type]


#: By the first column of the table: the trainer, what it says, and the reason.
ROWS: dict[str, tuple[Trainer, Sort, Reason]] = {
    "0": (ended(0), Sort.FINISHED, Reason.FINISHED),
    "0, after a notice": (ended(0, asked_signal=15), Sort.PREEMPTED, Reason.PREEMPTED),
    "anything, after a notice": (ended(1, asked_signal=15, error=OWN), Sort.PREEMPTED, Reason.PREEMPTED),
    "SIGKILL, after a notice": (ended(signal=9, asked_signal=15, was_stopped=True), Sort.PREEMPTED, Reason.PREEMPTED),
    "42": (ended(42), Sort.PREEMPTED, Reason.PREEMPTED),
    "143": (ended(143), Sort.PREEMPTED, Reason.PREEMPTED),
    "SIGTERM": (ended(signal=15), Sort.PREEMPTED, Reason.PREEMPTED),
    "1, a peer's error": (ended(1, error=PEER), Sort.PEER, Reason.PEER_LOST),
    "SIGABRT, a peer's error": (
        ended(signal=6, last_lines=("F0000 UNAVAILABLE: Collective ops is aborted by: Socket closed",)),
        Sort.PEER,
        Reason.PEER_LOST,
    ),
    "1, a traceback": (ended(1, error=OWN), Sort.SCRIPT, Reason.WORKER_EXITED),
    "1, a traceback from outside": (ended(1, error=DISK), Sort.EXITED, Reason.WORKER_EXITED),
    "1 to 125": (ended(3), Sort.EXITED, Reason.WORKER_EXITED),
    "126, 127": (ended(127), Sort.EXITED, Reason.WORKER_EXITED),
    "SIGKILL, or 137, with a kill for want of memory": (ended(137, oom_kills=1), Sort.MEMORY, Reason.OUT_OF_MEMORY),
    "SIGKILL, or 137": (ended(signal=9), Sort.KILLED, Reason.WORKER_KILLED),
    "SIGSEGV, SIGABRT, SIGBUS, SIGILL, SIGFPE, or 139 and so on": (ended(139), Sort.KILLED, Reason.WORKER_KILLED),
    "SIGINT, SIGHUP, another signal, or 128 + N": (ended(130), Sort.KILLED, Reason.WORKER_KILLED),
    "193 to 255": (ended(255), Sort.EXITED, Reason.WORKER_EXITED),
    "stopped by its launcher": (ended(signal=9, was_stopped=True), Sort.LAUNCHER, Reason.LAUNCHER_LOST),
    "its launcher is gone": (ended(), Sort.LAUNCHER, Reason.LAUNCHER_LOST),
}


@pytest.mark.parametrize("row", ROWS)
def test_each_row_of_the_table_is_read_so(row: str) -> None:
    trainer, sort, reason = ROWS[row]

    ending = read_ending(trainer)

    assert ending is not None
    assert (ending.sort, ending.cause.reason) == (sort, reason)


def test_the_documented_table_has_these_rows_and_reasons() -> None:
    # given
    lines = TABLE.read_text(encoding="utf-8").splitlines()

    # when
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    found = {row[0]: re.findall(r"\w+", row[1])[0] for row in rows if len(row) == 4 and row[0] != "how it ended"}

    # then
    assert found == {row: reason.value for row, (_, _, reason) in ROWS.items()}


def test_a_trainer_that_runs_has_no_end() -> None:
    assert read_ending(Trainer(TrainerPhase.RUNNING, 1, 7)) is None


def test_the_sentence_says_what_was_found_and_where() -> None:
    def detail(trainer: Trainer) -> str:
        ending = read_ending(trainer)
        assert isinstance(ending, Ending)
        return ending.cause.detail

    raised = "its trainer ended with status 1 at step 7: ValueError: no such layer (/job/train.py:12 in main)"
    by_kernel = "the kernel killed its trainer at step 7 for want of memory: Out of memory: Killed process 7 (python)"
    assert detail(ended(1, error=OWN)) == raised
    assert detail(ended(signal=9)) == "its trainer was killed by SIGKILL at step 7"
    assert detail(ended(139)) == "its trainer crashed in native code (SIGSEGV) at step 7"
    assert detail(ended(signal=9, kernel_word="Out of memory: Killed process 7 (python)")) == by_kernel
    assert "killed 2 processes of its cgroup" in detail(ended(signal=9, oom_kills=2))
    assert "killed a process of its cgroup" in detail(ended(3, oom_kills=1))
    assert detail(ended(42, asked_signal=15)).endswith("told to end by SIGTERM; it had saved and left at step 7")


@pytest.mark.parametrize(
    ("error", "is_own"),
    [
        (OWN, True),
        (DISK, False),
        (PEER, False),
        (INTERNAL_PEER, False),
        (ScriptError("tensorflow.python.framework.errors_impl.InvalidArgumentError", "NaN"), True),
        (ScriptError("tensorflow.python.framework.errors_impl.ResourceExhaustedError", "OOM"), False),
        (ScriptError("requests.exceptions.ConnectionError"), False),
        (ScriptError("my.package.BadConfig"), True),
    ],
)
def test_only_what_would_happen_again_is_the_scripts_own_fault(error: ScriptError, is_own: bool) -> None:
    assert is_own_fault(error) is is_own


@pytest.mark.parametrize(
    "raised",
    [
        "socket.gaierror", "urllib.error.URLError", "urllib.error.HTTPError", "http.client.RemoteDisconnected",
        "ssl.SSLEOFError", "urllib3.exceptions.MaxRetryError", "requests.exceptions.ReadTimeout",
        "botocore.exceptions.EndpointConnectionError", "botocore.exceptions.ClientError",
        "google.api_core.exceptions.ServiceUnavailable", "google.auth.exceptions.TransportError",
        "aiohttp.client_exceptions.ServerDisconnectedError", "subprocess.TimeoutExpired",
        "grpc._channel._InactiveRpcError",
    ],
)  # fmt: skip
def test_a_name_service_or_a_store_that_is_down_for_a_minute_is_not_the_scripts_own_fault(raised: str) -> None:
    assert is_own_fault(ScriptError(raised, "down", "/job/data.py:3 in read")) is False


def test_an_error_of_that_name_that_is_not_tensorflows_says_nothing_of_a_peer() -> None:
    """A script's own gRPC client raises UnavailableError, too."""
    own = ScriptError("tf_data_client.UnavailableError", "the feature store is down", "", ("UnavailableError: down",))

    ending = read_ending(ended(1, error=own))

    assert ending is not None
    assert ending.sort is Sort.EXITED
