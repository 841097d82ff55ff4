"""What operators see, made of documents alone."""

import io

import pytest
from job_documents import (
    attempt,
    cause,
    checkpoint,
    entry,
    incident,
    job,
    plan,
    receipt,
    trainer,
    verdict_entry,
    worker,
)
from rich.console import Console

from lastgood_controller import display, tables


def shown(*renderables, width: int = 200) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None, highlight=False)
    for renderable in renderables:
        console.print(renderable)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


def test_the_header_says_where_the_job_stands():
    text = shown(tables.header(job(restarts=2, attempt=3), now_s=103.5))

    assert text == "digits  attempt 3  Training  step 25  last good ckpt-1 (step 20) 3.5 s ago  restarts 2"


def test_the_header_of_an_ended_run_says_why_and_no_age():
    end = {"reason": "BudgetSpent", "detail": "4 failures in a row", "exit_status": 1}

    text = shown(tables.header(job(phase="Ended", end=end), now_s=9_999.0))

    assert text == "digits  attempt 1  Ended  step 25  last good ckpt-1 (step 20)  BudgetSpent: 4 failures in a row"


def test_every_worker_has_its_trainers_state():
    workers = {
        "worker/0": worker(trainer=trainer(42)),
        "worker/1": worker(connected=False, trainer=trainer(43, phase="exited", signal=9)),
        "worker/2": worker(trainer=trainer(44, phase="exited", exit_code=0)),
        "worker/3": worker(trainer=None),
    }

    assert shown(tables.workers_line(job(workers=workers))) == (
        "worker/0 trains, pid 42   worker/1 ended by signal 9 (no agent)   worker/2 finished   worker/3 waits"
    )


def test_checkpoints_show_verdicts_with_reasons_and_the_newest_only_when_limited():
    checkpoints = [
        checkpoint(1),
        checkpoint(2, verdict="Bad", causes=[cause("Vanished", "it was removed from /ckpt")], removed=True),
        checkpoint(3, verdict="Bad", causes=[cause("Corrupt", "block 7 of [data]")], medium=None),
        checkpoint(4, verdict="Pending", causes=[cause("AwaitingVerification", "")], attempt=0, reports={}),
    ]

    lines = shown(tables.checkpoints_table(job(checkpoints=checkpoints), limit=3)).splitlines()

    assert [" ".join(line.split()) for line in lines] == [
        "checkpoints (the newest 3 of 4)",
        "checkpoint step attempt verdict saved by read from why",
        "ckpt-2 40 1 Bad worker/0, worker/1 disk Vanished: rotated away",
        "ckpt-3 60 1 Bad worker/0, worker/1 – Corrupt: block 7 of [data]",  # noqa: RUF001
        "ckpt-4 80 adopted Pending – page cache AwaitingVerification".replace("page cache", "disk"),  # noqa: RUF001
    ]


def test_attempts_show_plan_receipts_and_end():
    failure = {"worker": "worker/1", "reason": "WorkerKilled", "detail": "SIGKILL", "at_s": 1.0}
    attempts = [
        attempt(1, failure=failure, ended_s=2.0),
        attempt(2, plan=plan(20), receipts=[receipt("worker/0"), receipt("worker/1", good=False)]),
        attempt(3, plan=None, steered=False, unsteered=cause("Unsteered", "hook save failed")),
    ]

    lines = shown(tables.attempts_table(job(attempts=attempts))).splitlines()

    assert [" ".join(line.split()) for line in lines[2:]] == [
        "1 fresh 0 – worker/1 WorkerKilled: SIGKILL",  # noqa: RUF001
        "2 restore ckpt-1 20 bad: worker/1 –",  # noqa: RUF001
        "3 none: not steered – – Unsteered: hook save failed",  # noqa: RUF001
    ]


def test_incidents_show_their_spans_and_dashes_for_what_has_not_happened():
    unfinished = incident(2, worker=None, next_attempt=None, lost_steps=None)
    unfinished["spans"] = {**unfinished["spans"], "restored_s": None, "first_step_s": None}

    lines = shown(tables.incidents_table(job(incidents=[incident(), unfinished]))).splitlines()

    assert [" ".join(line.split()) for line in lines[2:]] == [
        "1 → 2 worker/1 WorkerKilled: SIGKILL at step 25 0.00 1.50 0.02 0.05 4.20 5.12 5 20",
        "2 → – WorkerKilled: SIGKILL at step 25 0.00 1.50 0.02 0.05 – – – 20",  # noqa: RUF001
    ]


def test_jobs_are_one_line_each():
    summary = {**job(), "workers": 2, "end": {"reason": "Finished", "detail": "", "exit_status": 0}}

    lines = shown(tables.jobs_table([summary], now_s=100.0)).splitlines()

    assert " ".join(lines[-1].split()) == "digits Training 1 2 25 ckpt-1 (step 20) 0 Finished"


@pytest.mark.parametrize(("seconds", "text"), [(None, "–"), (0.04, "0.0 s"), (125, "2 min 5 s"), (7_260, "2 h 1 min")])  # noqa: RUF001
def test_durations_are_for_people(seconds, text):
    assert tables.duration(seconds) == text


def test_the_picture_shows_events_then_the_job():
    entries = [entry(1), entry(2, "VerifyAsked", "hidden"), verdict_entry(2, 1, "Pending"), verdict_entry(3, 1, "Good")]

    lines = shown(display.render(job(waiting="worker/1 to connect"), entries, now_s=100.0, started_s=10.0)).splitlines()

    assert lines[:2] == ["    1.00 s  the gate is open", "    3.00 s  ckpt-1 Good"]
    assert lines[3].startswith("digits  attempt 1")
    assert lines[5] == "waiting: worker/1 to connect"
    assert any(line.startswith("ckpt-1") for line in lines)


def test_before_the_controller_knows_the_run_the_picture_says_so():
    assert shown(display.render(None, (), 0.0, 0.0)) == "waiting for the first worker"


def test_plain_lines_carry_the_time_and_nothing_that_a_terminal_obeys():
    assert display.plain_line(entry(5, text="worker/1 said \x1b[31mred\x07\nnext"), 10.0) == (
        "    5.00 s  worker/1 said  [31mred  next"
    )


def test_verdicts_are_coloured_by_what_they_say():
    assert [display.style_of(verdict_entry(1, 1, standing)) for standing in ("Good", "Bad", "Pending")] == [
        "green",
        "bold red",
        "dim",
    ]


def test_a_checkpoint_that_was_rotated_away_is_no_alarm():
    gone, torn = (verdict_entry(1, 1, "Bad", reason) for reason in ("Vanished", "Torn"))

    assert [display.style_of(gone), display.style_of(torn)] == ["dim", "bold red"]


def test_a_plain_display_prints_a_line_per_event_and_outlives_its_reader():
    stream = io.StringIO()
    shows = display.open_display(False, 10.0, stream)

    with shows:
        shows.show(entry(1))
        shows.show(entry(2, "VerifyAsked"))
        shows.update(job(), 100.0)
        shows.summarize([tables.header(job(), 100.0)])
        stream_text = stream.getvalue()
        stream.close()
        shows.show(entry(3))
        shows.summarize([])

    assert stream_text.splitlines() == [
        "    1.00 s  the gate is open",
        "digits  attempt 1  Training  step 25  last good ckpt-1 (step 20) 0.0 s ago",
    ]


def test_the_live_picture_lets_events_scroll_and_keeps_the_job_below():
    console = Console(file=io.StringIO(), force_terminal=True, width=150, height=40)
    shows = display.LiveDisplay(console, 10.0)

    with shows:
        shows.update(job(), 100.0)
        shows.show(entry(1))
        shows.say("the controller died")
        shows.summarize([tables.header(job(phase="Ended"), 100.0)])

    text = console.file.getvalue()
    assert "the gate is open" in text
    assert "the controller died" in text
    assert "Ended" in text


def test_only_a_live_picture_wants_to_know_at_every_moment_where_the_job_stands():
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    picture = display.open_display(False, 10.0, Terminal())
    plain = display.open_display(True, 10.0, Terminal())
    piped = display.open_display(False, 10.0, io.StringIO())

    assert [each.refresh_s for each in (picture, plain, piped)] == [0.5, 10.0, 10.0]


def test_a_narrow_terminal_gets_the_failures_below_the_numbers():
    failed = incident(worker="worker/1", reason="WorkerExited", detail="its trainer ended with status 1")

    lines = shown(tables.incidents_table(job(incidents=[failed])), width=80).splitlines()

    assert lines[-1].endswith("worker/1 WorkerExited: its trainer ended with status 1")
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 5


def test_a_terminal_that_went_away_ends_the_picture_and_not_the_run():
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

    shows = display.LiveDisplay(Console(file=Gone(), force_terminal=True), 10.0)

    with shows:
        shows.update(job(), 100.0)
        shows.show(entry(1))
        shows.summarize([tables.header(job(phase="Ended"), 100.0)])


def test_before_the_first_worker_the_live_picture_says_what_is_waited_for():
    console = Console(file=io.StringIO(), force_terminal=True, width=150, height=40)

    with display.LiveDisplay(console, 10.0):
        pass

    assert "waiting for the first worker" in console.file.getvalue()
