"""Which facts may be recorded."""

from dataclasses import replace

import pytest
from shell_builders import (
    JOB,
    MEMBERS,
    RUN,
    SERIES,
    W0,
    W1,
    a_connection,
    a_gang_in,
    a_hello,
    a_report,
    a_run,
    a_save,
    a_sender,
    a_trainer,
    an_attempt,
)

from lastgood.reasons import Reason
from lastgood_controller.events import (
    CallEntered,
    CheckpointsRemoved,
    DirectoryListed,
    Event,
    FirstStepDone,
    HookFailed,
    ReceiptGiven,
    RestoreLeftAlone,
    RunEnded,
    RunOpened,
    SaveFailed,
    SteeringLost,
    StopAsked,
    StrategyMade,
    Verified,
    WorkerConnected,
    WorkerDisconnected,
)
from lastgood_controller.fold import (
    apply,
)
from lastgood_controller.ingest import (
    MAX_ITEMS,
    MAX_TEXT_CHARS,
    Admitted,
    Hello,
    Refusal,
    Rejected,
    admit_hello,
    admit_opening,
    admit_reopening,
    admit_report,
    admit_return,
    admit_stop,
    refuse_sender,
)
from lastgood_controller.model import (
    Cause,
    Listing,
    Medium,
    Policy,
    Receipt,
    SaveId,
    TrainerPhase,
    Verification,
    WorkerId,
)

# --------------------------------------------------------------------------------------------------------------- hello


def test_the_first_hello_of_a_worker_is_recorded() -> None:
    assert admit_hello(a_run(), a_hello()) == Admitted(a_connection(W0))


def test_the_same_hello_again_adds_nothing() -> None:
    assert admit_hello(a_run(a_connection(W0)), a_hello()) == Admitted(None)


def test_a_hello_after_the_stream_was_lost_is_recorded_again() -> None:
    run = a_run(a_connection(W0), WorkerDisconnected(W0, agent_session=1))
    assert admit_hello(run, a_hello()) == Admitted(a_connection(W0))


def test_a_hello_with_news_of_the_trainer_is_recorded() -> None:
    # Given: the journal says that the trainer runs
    run = a_gang_in(1, a_trainer(W0))

    # When: the same session says that it has ended
    ended = replace(a_trainer(W0).trainer, phase=TrainerPhase.EXITED, exit_code=1)
    admitted = admit_hello(run, a_hello(trainer=ended))

    # Then
    assert isinstance(admitted, Admitted)
    assert isinstance(admitted.event, WorkerConnected)
    assert admitted.event.trainer == ended


@pytest.mark.parametrize(("agent", "launcher"), [(4, 5), (9, 4)])
def test_an_older_session_is_fenced_off(agent: int, launcher: int) -> None:
    # Given
    run = a_run(a_connection(W0, agent=5, launcher=5))

    # When
    rejected = admit_hello(run, a_hello(agent=agent, launcher=launcher))

    # Then
    message = "a newer session speaks for worker/0: this process has been replaced and should end"
    assert rejected == Rejected(Refusal.STALE, message)


def test_a_new_launcher_outranks_every_agent_of_the_old_one() -> None:
    run = a_run(a_connection(W0, agent=5, launcher=5))
    assert isinstance(admit_hello(run, a_hello(agent=1, launcher=6)), Admitted)


@pytest.mark.parametrize(
    ("hello", "sentence"),
    [
        (a_hello(job="another"), f"run {RUN} is job {JOB}, and worker/0 says it is another"),
        (
            a_hello(members=(W0,)),
            "the gang of local/default/process/digits is worker/0, worker/1, and worker/0 describes",
        ),
        (a_hello(members=(W1, W0)), "all workers must be started with the same TF_CONFIG cluster"),
    ],
)
def test_a_worker_that_does_not_fit_the_gang_is_refused(hello: Hello, sentence: str) -> None:
    rejected = admit_hello(a_run(a_connection(W1)), hello)
    assert isinstance(rejected, Rejected)
    assert (rejected.refusal, sentence in rejected.message) == (Refusal.INVALID, True)


@pytest.mark.parametrize(
    ("hello", "sentence"),
    [
        (a_hello(job=""), "expected a job's name"),
        (a_hello(job="j" * 300), "expected a job's name of 1 to 256 characters, found 300"),
        (a_hello(members=()), "expected a gang of 1 to 20000 members, found 0"),
        (a_hello(WorkerId("worker", 7)), "worker/7 is not a member of the gang that it describes"),
        (a_hello(members=(W0, W1, W0)), "names a member twice"),
        (a_hello(members=(W0, WorkerId("ps", 0))), "a gang is made of chief and workers, found ps/0"),
        (a_hello(highest_attempt=-1), "found -1"),
        (a_hello(next_address="nowhere"), "expected next_address as host:port, found 'nowhere'"),
        (a_hello(next_address="h:99999"), "expected next_address as host:port"),
        (a_hello(host="h" * 20_000), "expected at most 16384 characters in host, found 20000"),
        (replace(a_hello(), sender=replace(a_sender(), run_id="r" * 257)), "expected a run id of 1 to 256 characters"),
    ],
)
def test_a_hello_that_does_not_hold_together_opens_no_run(hello: Hello, sentence: str) -> None:
    rejected = admit_opening(hello)
    assert rejected is not None
    assert (rejected.refusal, sentence in rejected.message) == (Refusal.INVALID, True), rejected.message


# -------------------------------------------------------------------------------------------------------------- reports


@pytest.mark.parametrize(
    ("agent", "launcher", "sentence"),
    [
        (4, 5, "has been replaced and should end"),
        (5, 4, "has been replaced and should end"),
        (6, 5, "this session of worker/0 has not said hello: open Subscribe first"),
        (5, 6, "this session of worker/0 has not said hello: open Subscribe first"),
    ],
)
def test_only_the_session_that_said_hello_may_report(agent: int, launcher: int, sentence: str) -> None:
    rejected = refuse_sender(a_run(a_connection(W0, agent=5, launcher=5)), a_sender(W0, agent, launcher))
    assert rejected is not None
    assert (rejected.refusal, sentence in rejected.message) == (Refusal.STALE, True)


def test_an_unknown_worker_is_told_to_say_hello() -> None:
    rejected = refuse_sender(a_run(), a_sender(W1))
    assert rejected == Rejected(Refusal.STALE, f"worker/1 is not known in run {RUN}: open Subscribe first")


def _facts(attempt: int) -> list[Event]:
    receipt = Receipt(W0, SERIES, "/ckpt/ckpt-1", "d" * 64)
    return [
        StrategyMade(W0, attempt, "MultiWorkerMirroredStrategy", 2),
        a_save(W0, attempt),
        SaveFailed(SaveId(SERIES, attempt, 1), W0, "/ckpt/ckpt-1", "disk full"),
        CheckpointsRemoved(W0, attempt, ("/ckpt/ckpt-1",)),
        DirectoryListed(W0, attempt, Listing(SERIES, "/ckpt", ())),
        ReceiptGiven(attempt, receipt),
        CallEntered(W0, attempt, "train_step"),
        FirstStepDone(W0, attempt, 1),
        HookFailed(W0, attempt, "save", "boom", 1),
        SteeringLost(W0, attempt, "restore", "boom"),
        RestoreLeftAlone(W0, attempt, "/elsewhere/ckpt-1"),
    ]


@pytest.mark.parametrize("event", _facts(2), ids=lambda event: type(event).__name__)
def test_facts_of_the_newest_attempt_are_recorded(event: Event) -> None:
    assert admit_report(a_gang_in(2), a_sender(), a_report(event, 2)) == Admitted(event)  # type: ignore[arg-type]


@pytest.mark.parametrize("event", _facts(1), ids=lambda event: type(event).__name__)
def test_late_facts_of_an_older_attempt_are_evidence_and_leave_the_newest_one_alone(event: Event) -> None:
    # Given
    run = apply(a_gang_in(1), an_attempt(2), 200.0)

    # When
    admitted = admit_report(run, a_sender(), a_report(event, 1))

    # Then
    assert admitted == Admitted(event)  # type: ignore[arg-type]
    assert apply(run, event, 201.0).attempt == run.attempt


@pytest.mark.parametrize("event", _facts(3), ids=lambda event: type(event).__name__)
def test_facts_of_an_attempt_that_was_never_opened_are_refused(event: Event) -> None:
    # Given
    run = a_gang_in(2)

    # When
    rejected = admit_report(run, a_sender(), a_report(event, 3))

    # Then
    message = f"attempt 3 of run {RUN} was never opened here; the newest is 2"
    assert rejected == Rejected(Refusal.INVALID, message)


def test_a_late_word_about_an_old_trainer_does_not_change_where_the_next_one_listens() -> None:
    # Given
    run = apply(a_gang_in(1), an_attempt(2), 200.0)
    late = replace(a_trainer(W0, 1, phase=TrainerPhase.EXITED, exit_code=0), next_address="127.0.0.1:9")

    # When
    admitted = admit_report(run, a_sender(), a_report(late, 1))

    # Then
    assert admitted == Admitted(replace(late, next_address=""))


def test_a_trainer_of_an_attempt_from_before_the_journal_still_says_where_the_next_one_listens() -> None:
    # Given: the journal was deleted, the worker's directory remembers attempt 7
    run = a_run(a_connection(W0, highest_attempt=7))
    late = replace(a_trainer(W0, 7, phase=TrainerPhase.EXITED, exit_code=0), next_address="127.0.0.1:9")

    # When, Then
    assert admit_report(run, a_sender(), a_report(late, 7)) == Admitted(late)
    rejected = admit_report(run, a_sender(), a_report(a_trainer(W0, 8), 8))
    assert rejected == Rejected(Refusal.INVALID, f"attempt 8 of run {RUN} was never opened; the highest is 7")


def test_an_answer_to_a_question_that_nobody_asked_is_refused() -> None:
    answer = Verified(Verification("t-1", W0, "/ckpt/ckpt-1", "d", (), Medium.DISK))
    rejected = admit_report(a_gang_in(1), a_sender(), a_report(answer))
    assert rejected == Rejected(Refusal.INVALID, f"nobody was asked to verify 't-1' in run {RUN}")


@pytest.mark.parametrize("event", [a_connection(W0), StopAsked("me", ""), RunOpened(RUN, JOB, Policy())])
def test_an_agent_cannot_report_what_is_not_its_own(event: Event) -> None:
    rejected = admit_report(a_gang_in(1), a_sender(), a_report(event))
    assert rejected == Rejected(Refusal.INVALID, f"a {type(event).__name__} is not for worker/0 to report")


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        (a_save(prefix="p" * (MAX_TEXT_CHARS + 1)), "characters in prefix, found 16385"),
        (a_save(unsaved_variables=("v",) * (MAX_ITEMS + 1)), "items in unsaved_variables, found 50001"),
        (a_save(unsaved_variables=("v" * 16_000,) * 600), "expected at most 8000000 characters in one report"),
        (a_save(attempt=9), "a save of attempt 9 was reported for attempt 1"),
        (a_save(ordinal=0), "expected the ordinal of a save to be 1 or more, found 0"),
        (replace(a_trainer(), next_address="x"), "expected next_address as host:port"),
    ],
)
def test_what_no_worker_needs_to_send_is_refused_with_its_size(event: Event, sentence: str) -> None:
    rejected = admit_report(a_gang_in(1), a_sender(), a_report(event))
    assert isinstance(rejected, Rejected)
    assert (rejected.refusal, sentence in rejected.message) == (Refusal.INVALID, True), rejected.message


@pytest.mark.parametrize("report_id", ["", "i" * 257])
def test_a_report_needs_an_id(report_id: str) -> None:
    rejected = admit_report(a_gang_in(1), a_sender(), a_report(a_save(), report_id=report_id))
    assert isinstance(rejected, Rejected)
    assert "expected a report id of 1 to 256 characters" in rejected.message


# --------------------------------------------------------------------------------------------------------------- people


def test_a_stop_is_recorded_once_and_not_after_the_end() -> None:
    stop, end = StopAsked("me", "enough"), RunEnded(Cause(Reason.FINISHED), 0)
    assert admit_stop(a_run(), "me", "enough") == Admitted(stop)
    assert admit_stop(a_run(stop), "me", "enough") == Admitted(None)
    assert admit_stop(a_run(end), "me", "enough") == Admitted(None)
    assert isinstance(admit_stop(a_run(), "me", "w" * 20_000), Rejected)


def test_a_run_is_opened_again_when_it_would_not_go_on_as_asked() -> None:
    again = RunOpened(RUN, JOB, Policy(), "me")
    assert admit_reopening(a_run(RunEnded(Cause(Reason.FINISHED), 0)), Policy(), "me") == Admitted(again)
    assert admit_reopening(a_run(StopAsked("you", "")), Policy(), "me") == Admitted(again)
    other = Policy(max_restarts=9)
    assert admit_reopening(a_run(), other, "me") == Admitted(replace(again, policy=other))
    assert admit_reopening(a_run(), Policy(), "me") == Admitted(None)


@pytest.mark.parametrize("reason", [Reason.INTERRUPTED, Reason.START_TIMEOUT, Reason.WORKER_LOST])
def test_a_worker_that_is_started_anew_opens_an_interrupted_run_again(reason: Reason) -> None:
    # given
    run = a_run(a_connection(W0, launcher=1), RunEnded(Cause(reason), 1))
    policy = Policy(max_restarts=9)

    # when
    opened = [
        admit_return(run, a_hello(W0, launcher=2, may_reopen=True), policy),
        admit_return(run, a_hello(W1, launcher=1, may_reopen=True), policy),
    ]

    # then
    assert opened == [RunOpened(RUN, JOB, policy, "worker/0"), RunOpened(RUN, JOB, policy, "worker/1")]


@pytest.mark.parametrize("reason", [Reason.FINISHED, Reason.BUDGET_SPENT, Reason.NO_GOOD_CHECKPOINT])
def test_a_run_that_ended_for_a_reason_of_its_own_waits_for_a_person(reason: Reason) -> None:
    run = a_run(a_connection(W0, launcher=1), RunEnded(Cause(reason), 1))
    assert admit_return(run, a_hello(W0, launcher=2, may_reopen=True), Policy()) is None


def test_nobody_opens_a_run_again_who_was_there_or_may_not_or_when_it_goes_on() -> None:
    # given
    ended = a_run(a_connection(W0, launcher=2), RunEnded(Cause(Reason.INTERRUPTED), 1))
    hello = a_hello(W0, launcher=3, may_reopen=True)

    # when
    opened = {
        "a new launcher": admit_return(ended, hello, Policy()) is not None,
        "the launcher that was there": admit_return(ended, a_hello(W0, 9, 2, may_reopen=True), Policy()),
        "one that may not": admit_return(ended, replace(hello, may_reopen=False), Policy()),
        "a run that goes on": admit_return(a_run(a_connection(W0, launcher=2)), hello, Policy()),
    }

    # then
    assert list(opened.values()) == [True, None, None, None], opened


def test_members_are_named_in_full_only_when_they_are_few() -> None:
    many = tuple(WorkerId("worker", number) for number in range(100))
    rejected = admit_hello(a_run(a_connection(W0)), a_hello(members=many))
    assert isinstance(rejected, Rejected)
    assert "worker/7 and 92 more" in rejected.message
    assert MEMBERS == (W0, W1)


def test_the_attempt_of_a_trainer_that_runs_is_never_opened_again() -> None:
    running = a_trainer(W0, 4).trainer

    admitted = admit_hello(a_run(), a_hello(trainer=running, highest_attempt=0))

    assert isinstance(admitted, Admitted)
    assert isinstance(admitted.event, WorkerConnected)
    assert admitted.event.highest_attempt == 4
