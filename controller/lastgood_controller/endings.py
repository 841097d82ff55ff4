"""What the end of one trainer means by itself: from its exit status or signal, its last words, and the kernel's.

Pure. Decides which of a handful of things an end says (`Sort`), in the order of docs/endings.md, which has a row for
each status. Refuses to say whose fault it is: which of a gang's ends came first, and which of the others follow from
it, is for `first_cause` to find.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from lastgood.reasons import Reason
from lastgood_controller.model import (
    Attempt,
    Cause,
    ScriptError,
    Trainer,
    TrainerPhase,
    WorkerId,
)

#: What TensorFlow's PreemptionCheckpointHandler exits with once everybody has saved.
SAVED_AND_LEFT = 42
#: A shell, and whatever else waits for a program, tells a signal that ended it so.
SIGNAL_BASE = 128
HIGHEST_SIGNAL = 64
SIGKILL, SIGTERM, SIGABRT = 9, 15, 6
#: The command was found and could not be executed, and was not found.
NOT_EXECUTED = (126, 127)

SIGNAL_NAMES = {
    1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE",
    9: "SIGKILL", 10: "SIGUSR1", 11: "SIGSEGV", 12: "SIGUSR2", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM",
    24: "SIGXCPU", 25: "SIGXFSZ", 31: "SIGSYS",
}  # fmt: skip
#: What a fault in native code ends with.
_CRASHES = frozenset({3, 4, 5, 6, 7, 8, 11, 31})

#: TensorFlow raises these where another worker has gone, and hardly anywhere else.
_PEER_ERRORS = frozenset({"UnavailableError", "AbortedError"})
#: And these for many things; what they say tells whether it was a peer.
_PERHAPS_PEER_ERRORS = frozenset(
    {"InternalError", "CancelledError", "DeadlineExceededError", "UnknownError", "FailedPreconditionError"}
)
_PEER_WORDS = re.compile(
    r"[Cc]ollective [Oo]ps? (?:is|are|has|have) (?:been )?abort|Connection (?:reset by peer|refused|timed out)"
    r"|Socket closed|[Ff]ailed to connect to (?:all addresses|remote host)|Broken pipe|heartbeat timeout"
    r"|[Rr]emote (?:worker|task|target)|tensorflow\.(?:WorkerService|CoordinationService|EagerService)"
    r"|[Cc]oordination service (?:agent|is|has)|peer"
)
#: An error of TensorFlow, named in a line that is no traceback: a logger's, or one that the C++ side printed.
_NAMED_PEER_ERROR = re.compile(r"\b(?:UnavailableError|AbortedError)\b|\bUNAVAILABLE: |\bABORTED: ")
_TASK = re.compile(r"/job:(\w+)/replica:\d+/task:(\d+)")

#: Exceptions that come from outside the script: a disk, a network, a machine. The next attempt may go well.
_FROM_OUTSIDE = frozenset(
    {
        "OSError", "IOError", "EnvironmentError", "TimeoutError", "MemoryError", "KeyboardInterrupt",
        "FileNotFoundError", "FileExistsError", "PermissionError", "IsADirectoryError", "NotADirectoryError",
        "InterruptedError", "BlockingIOError", "ChildProcessError", "ProcessLookupError", "BrokenPipeError",
        "ConnectionError", "ConnectionResetError", "ConnectionRefusedError", "ConnectionAbortedError",
        "UnavailableError", "AbortedError", "CancelledError", "DeadlineExceededError", "ResourceExhaustedError",
        "UnknownError", "InternalError", "DataLossError", "NotFoundError", "PermissionDeniedError",
        "gaierror", "herror", "timeout", "IncompleteRead", "RemoteDisconnected", "BadStatusLine",
    }
)  # fmt: skip
#: The same by what libraries for networks, storage and services call theirs: nobody can list them all.
_FROM_OUTSIDE_NAME = re.compile(
    r"Connect(?:ion|Timeout|Error)|Time(?:d)?out|Unavailable|Unreachable|Network|Socket|SSL|HTTP|URL|DNS|Protocol"
    r"|Transport|Retr(?:y|ies)|TooManyRequests|Response|Server|ClientError|RpcError|Credentials|Refresh"
)


class Sort(Enum):
    """What an end says."""

    FINISHED = "it ended as it should"
    PREEMPTED = "somebody outside wanted it to end"
    PEER = "it lost a peer, which went for a reason of its own"
    SCRIPT = "the script raised, and would do so again"
    EXITED = "it ended with a status that says no more"
    MEMORY = "the kernel killed it for want of memory"
    KILLED = "a signal ended it"
    LAUNCHER = "its launcher went, or stopped it"


@dataclass(frozen=True)
class Ending:
    """What one trainer's end says by itself, and the reason that it gives an attempt.

    saved_and_left: the script's handler had the whole gang save before it left.
    """

    sort: Sort
    cause: Cause
    saved_and_left: bool = False


def read_ending(trainer: Trainer) -> Ending | None:
    """What the end of a trainer says; None while it has not ended."""
    if trainer.phase is not TrainerPhase.EXITED:
        return None
    at = f" at step {trainer.reached_step}" if trainer.reached_step is not None else ""
    status, number = normalized(trainer)
    if trainer.asked_signal is not None:
        return _preempted(trainer, status, number, at)
    if trainer.was_stopped:
        return _ending(Sort.LAUNCHER, Reason.LAUNCHER_LOST, f"its launcher was told to end and stopped the trainer{at}")
    if status is None and number is None:
        return _ending(Sort.LAUNCHER, Reason.LAUNCHER_LOST, f"its launcher died, and the trainer with it{at}")
    if number is not None:
        return _by_signal(trainer, number, at)
    if status == 0:
        return _ending(Sort.FINISHED, Reason.FINISHED, f"its trainer ended with status 0{at}")
    return _by_status(trainer, status or 0, at)


def normalized(trainer: Trainer) -> tuple[int | None, int | None]:
    """Exit status and signal, of which at most one is set: a status from 129 on tells of a signal."""
    status = trainer.exit_code
    if trainer.signal is None and status is not None and SIGNAL_BASE < status <= SIGNAL_BASE + HIGHEST_SIGNAL:
        return None, status - SIGNAL_BASE
    return status, trainer.signal


def signal_name(number: int) -> str:
    """`SIGKILL` for 9; the number where it has no name here."""
    return SIGNAL_NAMES.get(number, f"signal {number}")


def may_have_finished(trainer: Trainer) -> bool:
    """It ended with status 0 after it was told to end: what others did tells whether its work was done."""
    return trainer.asked_signal is not None and trainer.has_succeeded


def lost_peers(trainer: Trainer) -> tuple[tuple[str, int], ...]:
    """The tasks that the trainer's last words name, by type and number: its own is often among them."""
    told = [*trainer.last_lines, *(trainer.error.lines if trainer.error is not None else ())]
    found = {(task_type, int(task_id)) for line in told for task_type, task_id in _TASK.findall(line)}
    return tuple(sorted(found))


def who_raised(attempt: Attempt) -> WorkerId | None:
    """The first worker of an attempt whose exception is the script's own fault; None when there is none.

    Also one that was stopped while it was still printing it: its peers' ends may have been told of sooner.
    """
    own = [worker for worker, each in attempt.trainers.items() if each.error is not None and is_own_fault(each.error)]
    return min(own, key=lambda worker: (attempt.trainers[worker].exited_s or 0.0, worker), default=None)


def is_own_fault(error: ScriptError) -> bool:
    """Whether an exception comes from the script itself, and not from a peer, a disk or a network."""
    name = _short(error)
    return name not in _FROM_OUTSIDE and not _FROM_OUTSIDE_NAME.search(name) and not _tells_of_peer(error)


# ------------------------------------------------------------------------------------------------------------- by kind


def _ending(sort: Sort, reason: Reason, detail: str) -> Ending:
    return Ending(sort, Cause(reason, detail))


def _preempted(trainer: Trainer, status: int | None, number: int | None, at: str) -> Ending:
    asked = signal_name(trainer.asked_signal or SIGTERM)
    how = f"by {signal_name(number)}" if number is not None else f"with status {status}"
    how = "it had saved and left" if status == SAVED_AND_LEFT else f"its trainer ended {how}"
    if status == 0:
        how += ", and nobody can say whether it had finished"
    detail = f"its launcher was told to end by {asked}; {how}{at}"
    return Ending(Sort.PREEMPTED, Cause(Reason.PREEMPTED, detail), saved_and_left=status == SAVED_AND_LEFT)


def _by_signal(trainer: Trainer, number: int, at: str) -> Ending:
    name = signal_name(number)
    if number == SIGTERM:
        return _ending(Sort.PREEMPTED, Reason.PREEMPTED, f"its trainer was ended from outside by {name}{at}")
    if number == SIGKILL and (trainer.kernel_word or trainer.oom_kills > 0):
        return _ending(Sort.MEMORY, Reason.OUT_OF_MEMORY, _memory_sentence(trainer, at))
    if number == SIGABRT and _lost_peer(trainer):
        return _ending(Sort.PEER, Reason.PEER_LOST, f"its trainer aborted{at}, because it had lost a peer")
    how = "crashed in native code" if number in _CRASHES else "was killed"
    how = f"{how} by {name}" if number not in _CRASHES else f"{how} ({name})"
    return _ending(Sort.KILLED, Reason.WORKER_KILLED, f"its trainer {how}{at}")


def _memory_sentence(trainer: Trainer, at: str) -> str:
    if trainer.kernel_word:
        return f"the kernel killed its trainer{at} for want of memory: {trainer.kernel_word}"
    killed = "a process" if trainer.oom_kills == 1 else f"{trainer.oom_kills} processes"
    return (
        f"its trainer was killed by SIGKILL{at}, and the kernel had killed {killed} of its cgroup meanwhile, for want"
        " of memory"
    )


def _by_status(trainer: Trainer, status: int, at: str) -> Ending:
    ended = f"its trainer ended with status {status}{at}"
    if status == SAVED_AND_LEFT:
        told = f"{ended}, as PreemptionCheckpointHandler does once the gang has saved"
        return Ending(Sort.PREEMPTED, Cause(Reason.PREEMPTED, told), saved_and_left=True)
    if _lost_peer(trainer):
        what = _short(trainer.error) if trainer.error is not None else "an error of TensorFlow"
        return _ending(
            Sort.PEER, Reason.PEER_LOST, f"its trainer lost a peer{at} and ended with status {status}: {what}"
        )
    if trainer.error is not None:
        told = f"{ended}: {_raised(trainer.error)}"
        return _ending(Sort.SCRIPT if is_own_fault(trainer.error) else Sort.EXITED, Reason.WORKER_EXITED, told)
    if status in NOT_EXECUTED:
        return _ending(Sort.EXITED, Reason.WORKER_EXITED, f"its command could not be executed (status {status})")
    return _ending(Sort.EXITED, Reason.WORKER_EXITED, ended + _memory_remark(trainer))


def _memory_remark(trainer: Trainer) -> str:
    """A process that it had started may be the one that was killed, and this the consequence."""
    if trainer.oom_kills == 0:
        return ""
    return "; the kernel had killed a process of its cgroup for want of memory meanwhile"


def _raised(error: ScriptError) -> str:
    said = f"{_short(error)}: {error.message}" if error.message else _short(error)
    return f"{said[:300]} ({error.place})" if error.place else said[:300]


# ---------------------------------------------------------------------------------------------------------- last words


def _lost_peer(trainer: Trainer) -> bool:
    if trainer.error is not None:
        return _tells_of_peer(trainer.error)
    return any(_NAMED_PEER_ERROR.search(line) and _PEER_WORDS.search(line) for line in trainer.last_lines)


def _tells_of_peer(error: ScriptError) -> bool:
    name = _short(error)
    if name in _PEER_ERRORS and _is_tensorflows(error):
        return True
    return name in _PERHAPS_PEER_ERRORS | _PEER_ERRORS and any(_PEER_WORDS.search(line) for line in error.lines)


def _is_tensorflows(error: ScriptError) -> bool:
    return error.type.startswith("tensorflow.")


def _short(error: ScriptError) -> str:
    return error.type.rpartition(".")[2]
