"""Which facts may be recorded: fencing by session and attempt, and the sizes that anybody may send.

Pure. A fact is admitted when its sender is the newest session of a worker of the gang, and when it cannot change more
than the attempt that it is about. A late report about an older attempt is evidence and is admitted as such: the fold
looks attempts up by number, so it changes nothing newer. What is refused is refused with a sentence for the sender's
log; nothing here raises.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import Enum
from functools import cache
from typing import Any, assert_never

from lastgood.reasons import Reason
from lastgood_controller.events import (
    CallEntered,
    CheckpointsRemoved,
    DirectoryListed,
    Exported,
    Fact,
    FirstStepDone,
    HookFailed,
    Noticed,
    ReceiptGiven,
    RestoreLeftAlone,
    RunOpened,
    SaveFailed,
    SaveReported,
    SharedWriteSeen,
    SigtermHandled,
    SteeringLost,
    StopAsked,
    StrategyMade,
    TrainerChanged,
    Verified,
    WorkerConnected,
    WorkerDisconnected,
    WorkerLeaving,
)
from lastgood_controller.fold import (
    apply,
)
from lastgood_controller.model import (
    Policy,
    Run,
    Session,
    Trainer,
    WorkerId,
)

#: The longest text in any field: a traceback fits, a log file does not.
MAX_TEXT_CHARS = 16_384
#: The longest list in any field: the keys of a large model fit.
MAX_ITEMS = 50_000
#: All texts of one report together.
MAX_REPORT_CHARS = 8_000_000
#: The longest id of a report or a run.
MAX_ID_CHARS = 256
#: The largest gang.
MAX_MEMBERS = 20_000

#: Ends of a run that came from outside: nothing is wrong with the job, and starting its workers again is the cure.
INTERRUPTIONS = frozenset({Reason.INTERRUPTED, Reason.START_TIMEOUT, Reason.WORKER_LOST})


_NO_TRAINER = Trainer()


class Refusal(Enum):
    """Why a sender is refused."""

    STALE = "stale"  # somebody newer speaks for this worker, or nobody has said hello yet
    INVALID = "invalid"  # no sender may ever send this; sending it again is of no use


@dataclass(frozen=True)
class Rejected:
    """Nothing was recorded. message: what was expected, what was found, what to do."""

    refusal: Refusal
    message: str


@dataclass(frozen=True)
class Admitted:
    """What is to be recorded; None when the journal says it already."""

    event: Fact | None


@dataclass(frozen=True)
class Sender:
    """Who is speaking."""

    run_id: str
    worker: WorkerId
    agent_session: int
    launcher_session: int

    @property
    def rank(self) -> tuple[int, int]:
        """Grows with each newer process that speaks for the worker; a new launcher outranks every older agent."""
        return (self.launcher_session, self.agent_session)


@dataclass(frozen=True)
class Hello:
    """What an agent says when it opens a session. may_reopen: somebody started it for whom the run should go on."""

    sender: Sender
    job: str
    members: tuple[WorkerId, ...]
    trainer: Trainer = _NO_TRAINER
    highest_attempt: int = 0
    next_address: str = ""
    host: str = ""
    may_reopen: bool = False


@dataclass(frozen=True)
class Report:
    """One fact as it came in. attempt: the one in which it happened, by the sender's word."""

    report_id: str
    attempt: int
    event: Fact


# -------------------------------------------------------------------------------------------------------------- hello


def admit_opening(hello: Hello) -> Rejected | None:
    """None when this hello may open a run that nobody has heard of: what it says of itself holds together."""
    sender, members = hello.sender, hello.members
    if not sender.run_id or len(sender.run_id) > MAX_ID_CHARS:
        return _invalid(f"expected a run id of 1 to {MAX_ID_CHARS} characters, found {len(sender.run_id)}")
    if not hello.job or len(hello.job) > MAX_ID_CHARS:
        return _invalid(f"expected a job's name of 1 to {MAX_ID_CHARS} characters, found {len(hello.job)}")
    if not 1 <= len(members) <= MAX_MEMBERS:
        return _invalid(f"expected a gang of 1 to {MAX_MEMBERS} members, found {len(members)}")
    if sender.worker not in members:
        return _invalid(f"{sender.worker} is not a member of the gang that it describes: {_listed(members)}")
    if len(set(members)) != len(members):
        return _invalid(f"the gang names a member twice: {_listed(members)}")
    if strangers := [member for member in members if member.task_type not in ("chief", "worker")]:
        return _invalid(f"a gang is made of chief and workers, found {_listed(tuple(strangers))}")
    if hello.highest_attempt < 0:
        return _invalid(f"expected the highest attempt to be 0 or more, found {hello.highest_attempt}")
    if hello.next_address and not _is_address(hello.next_address):
        return _invalid(f"expected next_address as host:port, found {hello.next_address!r}")
    return _oversize(hello)


def admit_hello(run: Run, hello: Hello) -> Admitted | Rejected:
    """Whether a worker's agent may open a session, and what that adds to the journal.

    The same session saying hello again while its stream is open, with nothing new to say, adds nothing.
    """
    if rejected := admit_opening(hello):
        return rejected
    sender = hello.sender
    if hello.job != run.job:
        return _invalid(f"run {run.run_id} is job {run.job}, and {sender.worker} says it is {hello.job}")
    if run.members and hello.members != run.members:
        return _invalid(
            f"the gang of {run.job} is {_listed(run.members)}, and {sender.worker} describes {_listed(hello.members)}: "
            "all workers must be started with the same TF_CONFIG cluster"
        )
    known = run.sessions.get(sender.worker)
    if known is not None and (known.launcher_session, known.agent_session) > sender.rank:
        return _stale(f"a newer session speaks for {sender.worker}: this process has been replaced and should end")
    event = WorkerConnected(
        worker=sender.worker,
        members=hello.members,
        session=Session(
            agent_session=sender.agent_session,
            launcher_session=sender.launcher_session,
            host=hello.host,
            next_address=hello.next_address,
        ),
        trainer=hello.trainer,
        highest_attempt=max(hello.highest_attempt, hello.trainer.attempt),
    )
    return Admitted(event if _says_anything_new(run, event) else None)


def admit_return(run: Run, hello: Hello, policy: Policy) -> RunOpened | None:
    """The run's opening again, when a worker of a run that was interrupted has been started anew; None otherwise.

    Only after an end that came from outside: what a person has to look at first (a spent budget, damaged checkpoints)
    stays ended, and so does a run that has finished. Only for a new launcher: the one that was there when the run
    ended is to end.
    """
    known = run.sessions.get(hello.sender.worker)
    is_new = known is None or hello.sender.launcher_session > known.launcher_session
    if run.end is None or run.end.cause.reason not in INTERRUPTIONS or not hello.may_reopen or not is_new:
        return None
    return RunOpened(run.run_id, run.job, policy, str(hello.sender.worker))


def _says_anything_new(run: Run, event: WorkerConnected) -> bool:
    """Whether the run would be another one after it, but for the times at which it was heard."""
    known = run.sessions.get(event.worker)
    if known is None:
        return True
    after = apply(run, event, known.last_heard_s)
    session = replace(after.sessions[event.worker], connected_s=known.connected_s, last_heard_s=known.last_heard_s)
    after = replace(after, sessions={**after.sessions, event.worker: session})
    return after != run


# ------------------------------------------------------------------------------------------------------------ reports


def refuse_sender(run: Run, sender: Sender) -> Rejected | None:
    """None when this sender speaks for its worker now."""
    known = run.sessions.get(sender.worker)
    if known is None:
        return _stale(f"{sender.worker} is not known in run {run.run_id}: open Subscribe first")
    rank = (known.launcher_session, known.agent_session)
    if sender.rank < rank:
        return _stale(f"a newer session speaks for {sender.worker}: this process has been replaced and should end")
    if sender.rank > rank:
        return _stale(f"this session of {sender.worker} has not said hello: open Subscribe first")
    return None


def admit_report(run: Run, sender: Sender, report: Report) -> Admitted | Rejected:
    """Whether one fact may be recorded, and as what."""
    if rejected := refuse_sender(run, sender):
        return rejected
    if not report.report_id or len(report.report_id) > MAX_ID_CHARS:
        return _invalid(f"expected a report id of 1 to {MAX_ID_CHARS} characters, found {len(report.report_id)}")
    if rejected := _oversize(report.event):
        return rejected
    return _admit_fact(run, sender, report)


def _admit_fact(run: Run, sender: Sender, report: Report) -> Admitted | Rejected:
    event = report.event
    match event:
        case TrainerChanged():
            return _admit_trainer(run, event)
        case Verified():
            if event.verification.task_id not in run.tasks:
                return _invalid(f"nobody was asked to verify {event.verification.task_id!r} in run {run.run_id}")
            return Admitted(event)
        case SaveReported() | SaveFailed():
            if event.save.attempt != report.attempt:
                return _invalid(f"a save of attempt {event.save.attempt} was reported for attempt {report.attempt}")
            if event.save.ordinal < 1:
                return _invalid(f"expected the ordinal of a save to be 1 or more, found {event.save.ordinal}")
            return _of_known_attempt(run, report)
        case (
            StrategyMade()
            | CheckpointsRemoved()
            | DirectoryListed()
            | ReceiptGiven()
            | CallEntered()
            | FirstStepDone()
            | HookFailed()
            | SteeringLost()
            | RestoreLeftAlone()
            | WorkerLeaving()
            | SigtermHandled()
            | Exported()
            | Noticed()
            | SharedWriteSeen()
        ):
            return _of_known_attempt(run, report)
        case WorkerConnected() | WorkerDisconnected() | StopAsked() | RunOpened():
            return _invalid(f"a {type(event).__name__} is not for {sender.worker} to report")
        case _:
            assert_never(event)


def _of_known_attempt(run: Run, report: Report) -> Admitted | Rejected:
    if run.attempt_numbered(report.attempt) is None:
        newest = run.attempt.number if run.attempt else "none"
        return _invalid(f"attempt {report.attempt} of run {run.run_id} was never opened here; the newest is {newest}")
    return Admitted(report.event)


def _admit_trainer(run: Run, event: TrainerChanged) -> Admitted | Rejected:
    """A trainer of an attempt that this journal does not know still tells where the next one would listen."""
    number = event.trainer.attempt
    if number < 0 or number > run.highest_attempt:
        return _invalid(f"attempt {number} of run {run.run_id} was never opened; the highest is {run.highest_attempt}")
    if event.next_address and not _is_address(event.next_address):
        return _invalid(f"expected next_address as host:port, found {event.next_address!r}")
    if run.attempt is not None and number < run.attempt.number:
        return Admitted(replace(event, next_address=""))
    return Admitted(event)


# -------------------------------------------------------------------------------------------------------------- sizes


def _oversize(value: Any) -> Rejected | None:
    """Rejected when any text or list in a message is longer than anybody needs."""
    total_chars, waiting = 0, [("", value)]
    while waiting:
        where, item = waiting.pop()
        if isinstance(item, Enum):
            continue
        if isinstance(item, str):
            total_chars += len(item)
            if len(item) > MAX_TEXT_CHARS:
                return _invalid(f"expected at most {MAX_TEXT_CHARS} characters in {where}, found {len(item)}")
            if total_chars > MAX_REPORT_CHARS:
                return _invalid(f"expected at most {MAX_REPORT_CHARS} characters in one report, found more")
        elif isinstance(item, (tuple, Mapping)):
            if len(item) > MAX_ITEMS:
                return _invalid(f"expected at most {MAX_ITEMS} items in {where}, found {len(item)}")
            waiting.extend((where, part) for part in (item.items() if isinstance(item, Mapping) else item))
        elif is_dataclass(item) and not isinstance(item, type):
            waiting.extend((name, getattr(item, name)) for name in _names(type(item)))
    return None


@cache
def _names(dataclass_type: type) -> tuple[str, ...]:
    return tuple(each.name for each in fields(dataclass_type))


def _is_address(text: str) -> bool:
    host, separator, port = text.rpartition(":")
    return bool(separator and host and port.isascii() and port.isdigit()) and 1 <= int(port) <= 65_535


def _listed(members: tuple[WorkerId, ...]) -> str:
    shown = ", ".join(str(member) for member in members[:8])
    return f"{shown} and {len(members) - 8} more" if len(members) > 8 else shown


def _invalid(message: str) -> Rejected:
    return Rejected(Refusal.INVALID, message)


def _stale(message: str) -> Rejected:
    return Rejected(Refusal.STALE, message)


# ------------------------------------------------------------------------------------------------------------- people


def admit_stop(run: Run, who: str, why: str, grace_s: float = 0.0) -> Admitted | Rejected:
    """Whether a wish to end a run adds anything: not to one that has ended; only once, except in more of a hurry."""
    event = StopAsked(who, why, grace_s)
    if rejected := _oversize(event):
        return rejected
    is_asked = run.stop_asked is not None and (run.stop_notice is None or grace_s > 0)
    return Admitted(None if run.end is not None or is_asked else event)


def admit_reopening(run: Run, policy: Policy, who: str) -> Admitted | Rejected:
    """Whether a wish that a run goes on adds anything: when it has ended, is being stopped, or has another policy."""
    event = RunOpened(run.run_id, run.job, policy, who)
    if rejected := _oversize(event):
        return rejected
    goes_on_anyway = run.end is None and run.stop_asked is None and run.policy == policy
    return Admitted(None if goes_on_anyway else event)
