"""Who is asked to read a checkpoint's bytes, and when nobody will answer any more. Judges nothing.

Another worker than the writer reads where there is one, on another host where there is one. Each purpose gets two
tries. That a file is missing or can't be read is believed of a second reader, or of its writer, only: another host may
simply not see it. A checksum that does not match is believed of anybody.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lastgood.reasons import Reason
from lastgood_controller.events import (
    VerifyAsked,
)
from lastgood_controller.holding import held, is_gone, reading_order
from lastgood_controller.model import (
    Checkpoint,
    Purpose,
    Run,
    SaveReport,
    Standing,
    Task,
    Verification,
    WorkerId,
)
from lastgood_controller.savers import missing, primary

MAX_TRIES = 2
ABSENCE = frozenset({Reason.INCOMPLETE, Reason.VANISHED, Reason.UNREADABLE})


@dataclass(frozen=True)
class Reading:
    """Where one purpose of reading one checkpoint stands.

    answer: the reading that counts; None while there is none.
    is_spent: there is none, and nobody is waited for any more.
    due_s: until when the present try, or a reader, is waited for.
    wants_reader: somebody should be asked now.
    """

    answer: Verification | None = None
    is_spent: bool = False
    due_s: float | None = None
    wants_reader: bool = False


def reading(run: Run, checkpoint: Checkpoint, purpose: Purpose, attempt: int, now_s: float) -> Reading:
    """Where the reading of a checkpoint for a purpose stands now."""
    tries = _tries(run, checkpoint, purpose, attempt)
    answer = _answer(checkpoint, tries)
    if answer is not None:
        return Reading(answer=answer)
    has_reader = any(session.connected for session in run.sessions.values())
    if not tries:
        due_s = _base_s(run, checkpoint, attempt) + 2 * run.policy.verify_s
        return Reading(is_spent=now_s >= due_s and not has_reader, due_s=due_s, wants_reader=has_reader)
    last = tries[-1]
    due_s = _due_s(run, last)
    if len(tries) >= MAX_TRIES:
        return Reading(is_spent=last.is_done or now_s >= due_s, due_s=due_s)
    if _is_open(run, last, now_s):
        return Reading(due_s=due_s)
    if has_reader:
        return Reading(wants_reader=True)
    due_s += run.policy.verify_s
    return Reading(is_spent=now_s >= due_s, due_s=due_s)


def newest_reread(run: Run, checkpoint: Checkpoint) -> int | None:
    """The newest attempt for whose plan this checkpoint was to be read again; None when there was none."""
    numbers = [t.attempt for t in run.tasks.values() if t.save == checkpoint.save and t.purpose is Purpose.REREAD]
    return max(numbers, default=None)


def ask(run: Run, checkpoint: Checkpoint, report: SaveReport, purpose: Purpose, attempt: int, now_s: float) -> Task:
    """The task for the next try. Some session must be connected.

    Its name has the attempt in it: agents outlive a journal that was lost, and would take task 1 of the next for done.
    """
    return Task(
        task_id=f"task-{attempt}.{len(run.tasks) + 1}",
        save=checkpoint.save,
        purpose=purpose,
        attempt=attempt,
        reader=_next_reader(run, report.worker, _tries(run, checkpoint, purpose, attempt)),
        prefix=report.prefix,
        manifest_digest=report.manifest_digest,
        asked_s=now_s,
    )


def ask_judgement(run: Run, now_s: float) -> VerifyAsked | None:
    """The next task for a save whose files are known and that nobody has read yet: one of each series at a time."""
    unread = {checkpoint.save: report for checkpoint, report in _unread(run, now_s)}
    held_now = held(run)
    for series in sorted({save.series for save in unread}):
        states = {
            save: reading(run, run.checkpoints[save], Purpose.JUDGE, save.attempt, now_s)
            for save in unread
            if save.series == series
        }
        if any(state.due_s is not None and not state.wants_reader and not state.is_spent for state in states.values()):
            continue
        waiting = [run.checkpoints[save] for save, state in states.items() if state.wants_reader]
        for checkpoint in reading_order(waiting, held_now)[:1]:
            report = unread[checkpoint.save]
            return VerifyAsked(ask(run, checkpoint, report, Purpose.JUDGE, checkpoint.save.attempt, now_s))
    return None


def due_times(run: Run, now_s: float) -> Iterator[float]:
    """When a reader of a pending save is given up, or another one is to be asked."""
    for checkpoint, _ in _unread(run, now_s):
        due_s = reading(run, checkpoint, Purpose.JUDGE, checkpoint.save.attempt, now_s).due_s
        if due_s is not None:
            yield due_s


def _unread(run: Run, now_s: float) -> Iterator[tuple[Checkpoint, SaveReport]]:
    held_now = held(run)
    for checkpoint in run.checkpoints.values():
        if checkpoint.verdict.standing is not Standing.PENDING or checkpoint.save.attempt == 0:
            continue
        if is_gone(checkpoint, held_now):
            continue
        report = primary(run, checkpoint, missing(run, checkpoint, now_s))
        if report is not None:
            yield checkpoint, report


def _tries(run: Run, checkpoint: Checkpoint, purpose: Purpose, attempt: int) -> tuple[Task, ...]:
    """What was asked about the files that count now: not those of a worker's own copy."""
    report = checkpoint.primary(run.members)
    return tuple(
        task
        for task in run.tasks.values()
        if task.save == checkpoint.save and task.purpose is purpose and task.attempt == attempt
        if report is not None and task.prefix == report.prefix
    )


def _answer(checkpoint: Checkpoint, tries: tuple[Task, ...]) -> Verification | None:
    found = checkpoint.verification
    task = next((task for task in tries if found is not None and task.task_id == found.task_id), None)
    if found is None or task is None:
        return None
    is_last_word = len(tries) >= MAX_TRIES and all(each.is_done for each in tries)
    return found if is_last_word or _is_believed(found, checkpoint) else None


def _is_believed(found: Verification, checkpoint: Checkpoint) -> bool:
    reasons = {fault.reason for fault in found.faults}
    if not reasons or not reasons <= ABSENCE:
        return True
    own = checkpoint.reports.get(found.reader)
    return Reason.UNREADABLE not in reasons and own is not None and own.prefix == found.prefix


def _is_open(run: Run, task: Task, now_s: float) -> bool:
    """Whether the task's reader is still waited for: it is there, or there is nobody else to ask."""
    if task.is_done or now_s >= _due_s(run, task):
        return False
    session = run.sessions.get(task.reader)
    others = any(each.connected for worker, each in run.sessions.items() if worker != task.reader)
    return (session is not None and session.connected) or not others


def _due_s(run: Run, task: Task) -> float:
    session = run.sessions.get(task.reader)
    since_s = session.known_since_s if session is not None else 0.0
    return max(task.asked_s, since_s) + run.policy.verify_s


def _base_s(run: Run, checkpoint: Checkpoint, attempt: int) -> float:
    opened = run.attempt_numbered(attempt)
    changes = [session.known_since_s for session in run.sessions.values()]
    return max([checkpoint.first_report_s, opened.opened_s if opened is not None else 0.0, *changes])


def _next_reader(run: Run, writer: WorkerId, tries: tuple[Task, ...]) -> WorkerId:
    """After a first try that did not do: the writer. Else another host, another worker, the one with least to do."""
    busy = dict.fromkeys(run.sessions, 0)
    for task in run.tasks.values():
        busy[task.reader] = busy.get(task.reader, 0) + (not task.is_done)
    tried = {task.reader for task in tries}
    home = run.sessions[writer].host if writer in run.sessions else ""

    def rank(worker: WorkerId) -> tuple[bool, bool, bool, int, WorkerId]:
        is_writer = worker == writer
        is_peer = run.sessions[worker].host != home
        return (worker in tried, is_writer is not bool(tries), not is_peer, busy[worker], worker)

    return min((worker for worker, session in run.sessions.items() if session.connected), key=rank)
