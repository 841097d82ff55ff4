"""What to do next with a run: open attempts, plan them, open their gate, stop them, end the run.

`decide` looks at one run at one moment and returns either decisions, or what it waits for and until when. It never
acts: the reconciler journals the decisions, applies them, and asks judge and `decide` again until there are none.
The judge goes first each time: what is Good is taken from the recorded verdicts.

The life of a run: gather -> open an attempt -> plan it -> gate -> training -> (failure -> stop -> back-off -> open the
next | all ended with status 0 -> end). Every wait for somebody has a deadline; only training itself may last.
"""

from __future__ import annotations

from collections.abc import Iterable

from lastgood.reasons import Reason
from lastgood_controller import budget, choice, judge, parting, readers
from lastgood_controller.events import (
    AttemptEnded,
    AttemptFailed,
    AttemptOpened,
    Decision,
    GateOpened,
    RunEnded,
    WorkerLost,
)
from lastgood_controller.failures import describe, findings, first_failure, refusal
from lastgood_controller.finding import Look
from lastgood_controller.first_cause import ends, has_finished, refined
from lastgood_controller.model import (
    Attempt,
    Cause,
    Checkpoint,
    Failure,
    PlanKind,
    Run,
    Standing,
    TrainerPhase,
    WorkerId,
)
from lastgood_controller.receipts import lacking, model_change, stand_alike
from lastgood_controller.step import Step as Step
from lastgood_controller.step import named

#: A worker that was told to start and then to stop says nothing when it never started: silence for so long, with its
#: agent there, is its word. Its launcher never runs two trainers at once in any case.
UNSTARTED_GRACE_S = 3.0
#: How many of a worker's last lines the end of a run quotes.
LINES_SHOWN = 5
#: Failures that every further attempt would meet again.
_ENDS_THE_RUN = frozenset({Reason.NO_GOOD_CHECKPOINT, Reason.SHARED_WRITE})
_CHANGED_CURE = (
    "No checkpoint was given up for that. Let the script build the objects that were saved, or give it an empty"
    " directory to begin afresh, or let it go on as it is with --receipts=warn"
)


def decide(run: Run, now_s: float) -> Step:
    """The next decisions for a run, or what is waited for. The same run at the same time: the same step."""
    if run.end is not None:
        return Step()
    task = readers.ask_judgement(run, now_s)
    if task is not None:
        return Step((task,))
    step = _next(run, now_s)
    if step.decisions:
        return step
    return step.no_later_than((*judge.due_times(run), *readers.due_times(run, now_s)), now_s)


def _next(run: Run, now_s: float) -> Step:
    attempt = run.attempt
    if attempt is None or not attempt.is_live:
        return _between_attempts(run, now_s)
    if attempt.failure is not None:
        return _stopping(run, attempt, attempt.failure, now_s)
    if has_finished(run, attempt):
        return _finish(run, attempt)
    if run.stop_asked is not None:
        return _stopped_by_wish(run, attempt, run.stop_asked, now_s)
    return _running(run, attempt, now_s)


def _one(*decisions: Decision) -> Step:
    return Step(decisions)


# ----------------------------------------------------------------------------------------------------- between attempts


def _between_attempts(run: Run, now_s: float) -> Step:
    end = _reason_to_end(run)
    last = run.attempt
    is_given_up = end is not None and end.cause.reason in (Reason.BUDGET_SPENT, Reason.SCRIPT_FAILS)
    if is_given_up and last is not None and _pending(run, last):
        return Step(waiting=f"for the verdict on the last saves of attempt {last.number}")
    if end is not None:
        return _one(end)
    rested_s = (last.ended_s or 0.0) + back_off_s(run) if last is not None else run.opened_s
    if now_s < rested_s:
        return Step(waiting=f"{back_off_s(run):g} s to pass before the next restart", deadline_s=rested_s)
    return _gather(run, now_s)


def _reason_to_end(run: Run) -> RunEnded | None:
    """Why no further attempt is made; None when one is. What happened before the run was reopened counts no more."""
    if run.stop_asked is not None:
        return RunEnded(run.stop_asked, exit_status=1)
    last = run.attempt
    if last is None or last.ended_s is None or (last.failed_s or last.ended_s) < run.opened_s:
        return None
    if last.failure is None:
        return _finished(run)
    refused = refusal(last)
    if refused is not None:
        return RunEnded(refused, exit_status=1)
    changed = model_change(run)
    if changed is not None:
        return RunEnded(Cause(changed.reason, f"{changed.detail}. {_CHANGED_CURE}"), exit_status=1)
    if last.failure.cause.reason in _ENDS_THE_RUN:
        return RunEnded(last.failure.cause, exit_status=1)
    if (cause := budget.script_fails(run)) is not None:
        return RunEnded(cause, exit_status=1)
    if run.failures_in_a_row > run.policy.max_restarts:
        return RunEnded(Cause(Reason.BUDGET_SPENT, _budget_sentence(run, last, last.failure)), exit_status=1)
    return None


def back_off_s(run: Run) -> float:
    """The pause before the next attempt: none after the first failure in a row, then doubling."""
    doublings = run.failures_in_a_row - 2
    return run.policy.back_off_s * 2.0 ** min(doublings, 30) if doublings >= 0 else 0.0


def _budget_sentence(run: Run, last: Attempt, failure: Failure) -> str:
    count, allowed = run.failures_in_a_row, run.policy.max_restarts
    told = f"{count} attempts in a row failed without a new good checkpoint (restarts allowed: {allowed})"
    failure = refined(last) or failure
    lines = [f"{told}. The last one: {describe(failure.worker, failure.cause)}"]
    for worker in sorted(last.trainers, key=lambda each: each != failure.worker):
        said = last.trainers[worker].last_lines[-LINES_SHOWN:]
        lines += [f"last lines of {worker}:", *(f"  {line}" for line in said)] if said else []
    return "\n".join(lines)


def _gather(run: Run, now_s: float) -> Step:
    """Opens the next attempt once every member is there, has nothing running, and offers an address."""
    absent = [member for member in run.members if not _is_ready(run, member)]
    if run.members and not absent:
        addresses = {member: run.sessions[member].next_address for member in run.members}
        return _one(AttemptOpened(run.highest_attempt + 1, addresses, run.policy.steering))
    last_s = run.attempt.ended_s or 0.0 if run.attempt is not None else 0.0
    due_s = run.back_since_s(absent, max(run.opened_s, last_s)) + run.policy.gather_s
    if now_s < due_s:
        return Step(waiting=f"for {named(absent) if absent else 'the first worker'} to be ready", deadline_s=due_s)
    told = "; ".join(_why_not_ready(run, member) for member in absent[:5]) or "no worker has come"
    detail = f"the gang was not complete within {run.policy.gather_s:g} s: {told}. Start the missing workers again"
    return _one(RunEnded(Cause(Reason.START_TIMEOUT, detail), exit_status=1))


def _is_ready(run: Run, member: WorkerId) -> bool:
    session = run.sessions.get(member)
    return bool(session and session.connected and session.next_address and not session.trainer.is_running)


def _why_not_ready(run: Run, member: WorkerId) -> str:
    session = run.sessions.get(member)
    if session is None:
        return f"{member} has never come"
    if not session.connected:
        return f"{member} is not connected"
    if session.trainer.is_running:
        return f"{member} still runs a trainer of attempt {session.trainer.attempt}"
    return f"{member} offers no address for its trainer"


# ------------------------------------------------------------------------------------------------------ ending attempts


def _stopping(run: Run, attempt: Attempt, failure: Failure, now_s: float) -> Step:
    """Unreachable is not dead: the attempt ends when every launcher has said so."""
    alive = [member for member in run.members if not _is_proven_dead(run, attempt, member, now_s)]
    if not alive:
        return _one(AttemptEnded(attempt.number))
    looks = [_unstarted_due_s(run, attempt, member) for member in alive if member not in attempt.trainers]
    due = {member: _stop_due_s(run, attempt, member) for member in alive}
    late = [member for member in alive if now_s >= due[member]]
    if not late:
        return Step(waiting=f"for the trainer of {named(alive)} to be proven dead").no_later_than(
            [*due.values(), *looks], now_s
        )
    if failure.cause.reason is Reason.INTERRUPTED:
        return _one(RunEnded(failure.cause, exit_status=1))
    detail = (
        f"nobody could say that the trainer of {named(late)} has ended, so no new one was started beside it."
        f" The attempt had failed: {describe(failure.worker, failure.cause)}"
    )
    return _one(RunEnded(Cause(Reason.WORKER_LOST, detail), exit_status=1))


def _is_proven_dead(run: Run, attempt: Attempt, member: WorkerId, now_s: float) -> bool:
    trainer = attempt.trainers.get(member)
    if trainer is not None:
        return trainer.phase is TrainerPhase.EXITED
    session = run.sessions.get(member)
    is_idle = session is not None and session.connected and not session.trainer.is_running
    return is_idle and now_s >= _unstarted_due_s(run, attempt, member)


def _unstarted_due_s(run: Run, attempt: Attempt, member: WorkerId) -> float:
    return _asked_to_stop_s(run, attempt, member) + UNSTARTED_GRACE_S


def _stop_due_s(run: Run, attempt: Attempt, member: WorkerId) -> float:
    session = run.sessions.get(member)
    patience_s = run.policy.stop_s
    is_stop = attempt.failure is not None and attempt.failure.cause.reason is Reason.INTERRUPTED
    if session is not None and not session.connected and not is_stop:
        patience_s += run.policy.lost_s
    return _asked_to_stop_s(run, attempt, member) + patience_s


def _asked_to_stop_s(run: Run, attempt: Attempt, member: WorkerId) -> float:
    """Counted anew when a person opens the run again: whoever is to say so may only be starting."""
    return run.back_since_s((member,), max(attempt.failed_s or 0.0, run.opened_s))


def _finish(run: Run, attempt: Attempt) -> Step:
    """All ended with status 0. The last saves get their verdicts first, unless somebody wants the run to end now."""
    pending = _pending(run, attempt)
    if pending and run.stop_asked is None:
        return Step(waiting=f"for the verdict on the last {len(pending)} save{'s' if len(pending) > 1 else ''}")
    return _one(AttemptEnded(attempt.number), _finished(run))


def _pending(run: Run, attempt: Attempt) -> list[Checkpoint]:
    own = (c for c in run.checkpoints.values() if c.save.attempt == attempt.number)
    return [c for c in own if c.verdict.standing is Standing.PENDING]


def _finished(run: Run) -> RunEnded:
    return RunEnded(Cause(Reason.FINISHED, f"all {len(run.members)} workers ended with status 0"), exit_status=0)


# ------------------------------------------------------------------------------------------------------- a live attempt


def _running(run: Run, attempt: Attempt, now_s: float) -> Step:
    found = findings(run, attempt, now_s)
    failure = first_failure(run, found)
    if failure is not None:
        return _fail(run, attempt, failure)
    step = _next_in_attempt(run, attempt, now_s)
    if step.decisions:
        return step
    looks = [each for each in found if isinstance(each, Look)]
    leaving = parting.first_to_leave(attempt)
    if leaving is not None:
        parted = parting.wait_for_save(run, attempt, attempt.leaving[leaving], now_s)
        if parted is None:
            return _fail(run, attempt, parting.preempted(run, attempt, leaving, now_s))
        looks.append(parted)
    waiting = step.waiting or _words(looks)
    return Step(waiting=waiting, deadline_s=step.deadline_s).no_later_than((look.at_s for look in looks), now_s)


def _stopped_by_wish(run: Run, attempt: Attempt, wish: Cause, now_s: float) -> Step:
    """Somebody wants the run to end: at once, or as soon as there is nothing more to win by going on."""
    stopped = _one(AttemptFailed(attempt.number, Failure(None, wish, now_s), spends_budget=False))
    notice = run.stop_notice
    is_training = any(trainer.is_running for trainer in attempt.trainers.values())
    if notice is None or not is_training or now_s >= notice.until_s:
        return stopped
    found = tuple(ends(run, attempt, now_s))
    looks = [each for each in found if isinstance(each, Look)]
    parted = parting.wait_for_save(run, attempt, notice, now_s)
    looks += [parted] if parted is not None else []
    if not looks or len(found) > len(looks):
        return stopped
    return Step(waiting=_words(looks)).no_later_than([notice.until_s, *(look.at_s for look in looks)], now_s)


def _words(looks: Iterable[Look]) -> str:
    return "; ".join(look.waiting for look in looks)


def _fail(run: Run, attempt: Attempt, failure: Failure) -> Step:
    failed = AttemptFailed(attempt.number, failure, budget.is_spent_by(run, attempt, failure))
    if failure.worker is not None and failure.cause.reason is Reason.WORKER_LOST:
        return _one(WorkerLost(failure.worker, failure.cause.detail), failed)
    return _one(failed)


def _next_in_attempt(run: Run, attempt: Attempt, now_s: float) -> Step:
    if attempt.gate_opened_s is not None and (attempt.plan is not None or not attempt.is_steered):
        return Step()
    if not attempt.is_steered:
        return _one(GateOpened(attempt.number))
    if attempt.plan is None:
        return choice.choose(run, attempt, now_s)
    if attempt.plan.kind is PlanKind.FRESH:
        return _one(GateOpened(attempt.number))
    late = lacking(run, attempt)
    if late and not stand_alike(run, attempt):
        return Step(waiting=f"for {named(late)} to restore the plan's checkpoint")
    return _one(GateOpened(attempt.number))
