"""The loop around the deciding core, with a real store and cores made for the occasion."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from shell_builders import (
    MEMBERS,
    RUN,
    W0,
    W1,
    a_connection,
    a_hello,
    a_manifest,
    a_run,
    a_save,
    a_sender,
    an_attempt,
)

from lastgood.manifest import Manifest
from lastgood.reasons import Reason
from lastgood_controller import plan
from lastgood_controller.actuators.local import LocalActuator
from lastgood_controller.desired import TrainerAction
from lastgood_controller.events import (
    Quarantined,
    RestoreLeftAlone,
    RunEnded,
    RunOpened,
    StopAsked,
    VerdictReached,
    WorkerDisconnected,
)
from lastgood_controller.ingest import Refusal, Rejected
from lastgood_controller.journal import fold
from lastgood_controller.metrics import Metrics
from lastgood_controller.model import (
    Cause,
    Policy,
    Run,
    Standing,
    Verdict,
)
from lastgood_controller.plan import Step
from lastgood_controller.reconciler import MAX_BATCH, Reconciler, RefusedError, RunLoop, StoppingError
from lastgood_controller.shelf import ASKED_AT_ONCE, ASKED_FOR_S, ManifestShelf, ShelfWith, WantedManifests
from lastgood_controller.store import Store, StoreError
from lastgood_controller.submissions import Recorded

Scenario = Callable[[Reconciler], Awaitable[None]]


Judged = tuple[VerdictReached | Quarantined, ...]


def judge_nothing(run: Run, manifests: Mapping[str, Manifest], now_s: float) -> Judged:
    return ()


def judge_good(run: Run, manifests: Mapping[str, Manifest], now_s: float) -> Judged:
    """Good is what has a manifest."""
    good = Verdict(Standing.GOOD, (), 1)
    return tuple(
        VerdictReached(save, good)
        for save, checkpoint in run.checkpoints.items()
        if checkpoint.verdict != good and any(r.manifest_digest in manifests for r in checkpoint.reports.values())
    )


def open_one_attempt(run: Run, now_s: float) -> Step:
    """One attempt as soon as both workers are there."""
    if run.attempts or set(run.sessions) != set(MEMBERS):
        return Step(waiting="the gang gathers")
    return Step((an_attempt(1),))


def played(
    directory: Path,
    scenario: Scenario,
    judge: Callable[..., tuple[VerdictReached | Quarantined, ...]] = judge_nothing,
    decide: Callable[[Run, float], Step] = open_one_attempt,
    now_s: Callable[[], float] | None = None,
) -> Metrics:
    """Runs a scenario with a reconciler on a real store, within ten seconds."""

    async def play() -> Metrics:
        store = Store.open(directory)
        metrics = Metrics(lambda: 1_000.0)
        clock = now_s or asyncio.get_running_loop().time
        reconciler = Reconciler(store, Policy(), metrics, clock, LocalActuator(), judge, decide)
        try:
            async with asyncio.timeout(10):
                await reconciler.start()
                await scenario(reconciler)
        finally:
            await reconciler.stop()
            store.close()
        return metrics

    return asyncio.run(play())


async def opened_run(reconciler: Reconciler, *workers: object) -> RunLoop:
    loop = await reconciler.opened_by(a_hello())
    for worker in workers or MEMBERS:
        await loop.submit(lambda run, worker=worker: [(a_connection(worker), None)])  # type: ignore[misc]
    return loop


async def until(loop: RunLoop, is_so: Callable[[Run], bool]) -> None:
    """Waits until the journal has made it so."""
    while not is_so(loop.run):
        recorded = loop.recorded
        if not is_so(loop.run):
            await recorded.wait()


def commits_of(store: Store) -> list[object]:
    """Grows by one with each transaction that is recorded from now on."""
    commits: list[object] = []
    sa.event.listen(store._engine, "commit", commits.append)
    return commits


def limit_pages(store: Store, pages: int) -> None:
    """The database may have so many pages, and no fewer than it has."""
    store._writer.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    store._writer.rollback()


def refuse_where_a_second_worker_is(run: Run) -> list[tuple[StopAsked, str | None]]:
    if W1 in run.sessions:
        raise RefusedError(Rejected(Refusal.STALE, "somebody newer is there"))
    return []


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"lastgood_{name}", labels)


def test_facts_are_journalled_then_decided_on_then_told(tmp_path: Path) -> None:
    async def scenario(reconciler: Reconciler) -> None:
        # Given
        loop = await opened_run(reconciler, W0)
        stream = reconciler.actuator.open_stream(RUN, W1)

        # When
        await loop.submit(lambda run: [(a_connection(W1), None)])

        # Then
        async for desired, _ in stream.states():
            if desired.action is TrainerAction.RUN:
                break
        entries = reconciler.store.load(RUN)
        assert [entry.event for entry in entries][1:] == [a_connection(W0), a_connection(W1), an_attempt(1)]
        assert fold(entries) == loop.run

    played(tmp_path, scenario)


def test_a_fact_and_all_that_follows_from_it_are_one_commit(tmp_path: Path) -> None:
    async def scenario(reconciler: Reconciler) -> None:
        # Given
        loop = await opened_run(reconciler, W0)
        commits = commits_of(reconciler.store)

        # When
        await loop.submit(lambda run: [(a_connection(W1), None)])

        # Then
        fact, decision = reconciler.store.load(RUN)[-2:]
        assert (fact.event, decision.event) == (a_connection(W1), an_attempt(1))
        assert fact.at_s == decision.at_s
        assert len(commits) == 1
        assert loop.run == fold(reconciler.store.load(RUN))

    played(tmp_path, scenario)


def test_facts_that_have_arrived_together_are_one_commit_and_keep_their_order(tmp_path: Path) -> None:
    async def scenario(reconciler: Reconciler) -> None:
        # Given
        loop = await opened_run(reconciler, W0)
        commits = commits_of(reconciler.store)
        facts = [(a_save(ordinal=1), "a"), (a_save(ordinal=2), "b"), (a_save(ordinal=1), "a"), (a_connection(W1), None)]

        # When
        answers = await asyncio.gather(*(loop.post(lambda run, fact=fact: [fact]) for fact in facts))  # type: ignore[misc]

        # Then
        entries = reconciler.store.load(RUN)[2:]
        assert [entry.event for entry in entries] == [facts[0][0], facts[1][0], a_connection(W1), an_attempt(1)]
        first = entries[0].sequence
        assert [answer[0] for answer in answers] == [
            Recorded(first, is_new=True),
            Recorded(first + 1, is_new=True),
            Recorded(first, is_new=False),
            Recorded(first + 2, is_new=True),
        ]
        assert len(commits) == 1
        assert loop.run == fold(reconciler.store.load(RUN))

    played(tmp_path, scenario)


def test_nobody_hears_of_a_pass_before_it_is_on_disk(tmp_path: Path) -> None:
    def open_unsteered(run: Run, now_s: float) -> Step:
        return Step((an_attempt(1, steering=False),) if set(run.sessions) == set(MEMBERS) and not run.attempts else ())

    async def scenario(reconciler: Reconciler) -> None:
        # Given: a disk that is slow to take the second worker's hello, with which the attempt opens
        loop = await opened_run(reconciler, W0)
        stream = reconciler.actuator.open_stream(RUN, W1)
        before, recorded = loop.run, loop.recorded
        is_slow, goes_on = threading.Event(), threading.Event()
        reconciler._writer.submit(lambda: (is_slow.set(), goes_on.wait(10)))
        await asyncio.to_thread(is_slow.wait)

        # When
        hello = loop.post(lambda run: [(a_connection(W1), None)])
        refused = loop.post(refuse_where_a_second_worker_is)
        while reconciler._writer._work_queue.empty():
            await asyncio.sleep(0)

        # Then
        assert (hello.done(), refused.done(), recorded.is_set()) == (False, False, False)
        assert loop.run is before
        assert value(reconciler.metrics, "attempts_unsteered_total") == 0
        assert stream._next is None
        goes_on.set()
        assert (await hello)[0].is_new
        with pytest.raises(RefusedError):
            await refused
        assert [attempt.number for attempt in loop.run.attempts] == [1]
        assert recorded.is_set()
        assert value(reconciler.metrics, "attempts_unsteered_total") == 1
        assert (await anext(stream.states()))[0].action is TrainerAction.RUN

    played(tmp_path, scenario, decide=open_unsteered)


def test_a_pass_that_cannot_be_recorded_has_not_happened(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(reconciler: Reconciler) -> None:
        # Given
        loop = await opened_run(reconciler, W0)
        stream = reconciler.actuator.open_stream(RUN, W1)
        before, journal = loop.run, reconciler.store.load(RUN)
        opens = a_connection(W1)
        large = replace(opens, session=replace(opens.session, host="x" * 90_000))
        limit_pages(reconciler.store, 1)

        # When
        hello = loop.post(lambda run: [(large, None)])
        refused = loop.post(refuse_where_a_second_worker_is)

        # Then: who was refused because of it is told to try again, too
        for answer in (hello, refused):
            with pytest.raises(StoreError) as failed:
                await answer
            assert failed.value.is_retryable
        assert (loop.run, reconciler.store.load(RUN)) == (before, journal)
        assert (await anext(stream.states()))[0].action is TrainerAction.HOLD
        limit_pages(reconciler.store, 1_000_000)
        await loop.submit(lambda run: [(large, None)])
        assert [attempt.number for attempt in loop.run.attempts] == [1]
        assert loop.run == fold(reconciler.store.load(RUN))

    with caplog.at_level(logging.CRITICAL, logger="lastgood_controller.reconciler"):
        played(tmp_path, scenario)


def test_a_fact_that_finds_no_room_holds_up_nothing_that_follows_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Given
    monkeypatch.setattr("lastgood_controller.reconciler.RETRY_S", 3_600.0)
    is_due = False

    def end_when_due(run: Run, now_s: float) -> Step:
        return Step((RunEnded(Cause(Reason.INTERRUPTED, "enough"), 1),) if is_due and run.end is None else ())

    async def scenario(reconciler: Reconciler) -> None:
        nonlocal is_due
        loop = await opened_run(reconciler, W0)
        limit_pages(reconciler.store, 1)

        # When
        is_due = True
        with pytest.raises(StoreError):
            await loop.submit(lambda run: [(StopAsked("me", "x" * 90_000), "id")])

        # Then
        await until(loop, lambda run: run.end is not None)
        assert loop.run.stop_asked is None
        assert loop.run == fold(reconciler.store.load(RUN))

    with caplog.at_level(logging.CRITICAL, logger="lastgood_controller.reconciler"):
        played(tmp_path, scenario, decide=end_when_due)


def test_a_report_that_comes_again_while_the_database_is_busy_is_known_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(reconciler: Reconciler) -> None:
        # Given
        loop = await opened_run(reconciler, W0)
        await loop.submit(lambda run: [(a_save(), "id")])
        append, calls = reconciler.store.append, list[int]()

        def busy_at_first(*arguments: Any) -> tuple[int, ...]:
            calls.append(1)
            if len(calls) == 1:
                raise StoreError("the database is busy", is_retryable=True)
            return append(*arguments)

        monkeypatch.setattr(reconciler.store, "append", busy_at_first)

        # When
        answer = await loop.submit(lambda run: [(a_save(), "id"), (a_connection(W1), None)])

        # Then
        assert [each.is_new for each in answer] == [False, True]
        assert loop.run == fold(reconciler.store.load(RUN))

    with caplog.at_level(logging.CRITICAL, logger="lastgood_controller.reconciler"):
        played(tmp_path, scenario)


def test_the_same_report_twice_changes_nothing(tmp_path: Path) -> None:
    async def scenario(reconciler: Reconciler) -> None:
        # Given
        loop = await opened_run(reconciler)
        first = await loop.submit(lambda run: [(a_save(), "id")])

        # When
        run = loop.run
        again = await loop.submit(lambda run: [(a_save(), "id")])

        # Then
        assert (first[0].sequence, first[0].is_new) == (again[0].sequence, True)
        assert not again[0].is_new
        assert loop.run == run

    played(tmp_path, scenario)


def test_a_report_that_comes_twice_happens_once(tmp_path: Path) -> None:
    async def scenario(reconciler: Reconciler) -> None:
        # Given
        loop = await opened_run(reconciler)
        await until(loop, lambda run: bool(run.attempts))
        left_alone = RestoreLeftAlone(W0, 1, "/pretrained/ckpt-1")

        # When
        for _ in range(2):
            await loop.submit(lambda run: [(left_alone, "id"), (left_alone, "id")])

        # Then
        assert loop.run.attempts[0].left_alone == ("/pretrained/ckpt-1",)
        assert fold(reconciler.store.load(RUN)) == loop.run

    played(tmp_path, scenario)


def test_a_decision_that_the_disk_has_no_room_for_is_told_to_nobody_and_made_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("lastgood_controller.reconciler.RETRY_S", 0.05)
    told: list[bool] = []

    def end_when_asked(run: Run, now_s: float) -> Step:
        wants_end = run.stop_asked is not None and run.end is None
        return Step((RunEnded(Cause(Reason.INTERRUPTED, "x" * 90_000), 1),) if wants_end else ())

    async def scenario(reconciler: Reconciler) -> None:
        # Given
        loop = await opened_run(reconciler)
        stream = reconciler.actuator.open_stream(RUN, W0)
        limit_pages(reconciler.store, 1)

        # When
        await loop.submit(lambda run: [(StopAsked("me", "enough"), "id")])
        while not value(reconciler.metrics, "internal_errors_total", where="journal"):
            await asyncio.sleep(0)
        told.append(loop.run.end is not None)
        assert loop.trouble.endswith("database or disk is full; make room on that disk")
        limit_pages(reconciler.store, 1_000_000)

        # Then
        async for desired, _ in stream.states():
            if desired.end is not None:
                break
        told.append(isinstance(reconciler.store.load(RUN)[-1].event, RunEnded))

    with caplog.at_level(logging.CRITICAL, logger="lastgood_controller.reconciler"):
        played(tmp_path, scenario, decide=end_when_asked)
    assert told == [False, True]


def test_more_than_one_batch_of_submissions_is_answered_without_waiting_for_another(tmp_path: Path) -> None:
    async def scenario(reconciler: Reconciler) -> None:
        # Given
        loop = await opened_run(reconciler)

        # When
        posted = [loop.post(lambda run: []) for _ in range(MAX_BATCH + 1)]

        # Then
        assert await asyncio.gather(*posted) == [()] * (MAX_BATCH + 1)

    played(tmp_path, scenario)


def test_a_refused_submission_says_so_and_leaves_the_others_alone(tmp_path: Path) -> None:
    async def scenario(reconciler: Reconciler) -> None:
        # Given
        loop = await opened_run(reconciler)

        def broken(run: Run) -> list[tuple[StopAsked, str | None]]:
            raise ZeroDivisionError

        # When
        bad = loop.post(broken)
        good = loop.post(lambda run: [(StopAsked("me", "x"), None)])

        # Then
        with pytest.raises(ZeroDivisionError):
            await bad
        assert (await good)[0].is_new
        with pytest.raises(RefusedError, match="expected a job's name"):
            await reconciler.opened_by(replace(a_hello(job=""), sender=replace(a_sender(), run_id="another")))

    metrics = played(tmp_path, scenario)
    assert value(metrics, "internal_errors_total", where="request") == 1


def test_whoever_sends_what_the_run_cannot_take_is_answered(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(reconciler: Reconciler) -> None:
        # Given
        loop = await opened_run(reconciler)

        # When
        bad = loop.post(lambda run: [("no event", "id")])  # type: ignore[list-item]

        # Then
        with pytest.raises(AssertionError):
            await bad
        assert (await loop.submit(lambda run: [(a_save(), "id")]))[0].is_new

    with caplog.at_level(logging.CRITICAL, logger="lastgood_controller.reconciler"):
        metrics = played(tmp_path, scenario)
    assert value(metrics, "internal_errors_total", where="run") == 1


@pytest.mark.parametrize("where", ["judge", "decide"])
def test_a_fault_in_the_core_is_counted_and_decides_nothing(
    tmp_path: Path, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    # Given: a core that raises until it is mended
    is_broken = True
    rounds = asyncio.Event()

    def faulty(run: Run, *rest: object) -> None:
        if is_broken and run.sessions:
            rounds.set()
            raise KeyError("a fault of ours")

    def judge(run: Run, manifests: Mapping[str, Manifest], now_s: float) -> Judged:
        if where == "judge":
            faulty(run)
        return ()

    def decide(run: Run, now_s: float) -> Step:
        if where == "decide":
            faulty(run)
        return open_one_attempt(run, now_s)

    async def scenario(reconciler: Reconciler) -> None:
        nonlocal is_broken
        loop = await opened_run(reconciler)
        await rounds.wait()
        assert loop.run.attempts == ()

        # When
        is_broken = False
        await loop.submit(lambda run: [])

        # Then
        await until(loop, lambda run: bool(run.attempts))

    with caplog.at_level(logging.CRITICAL, logger="lastgood_controller.reconciler"):
        metrics = played(tmp_path, scenario, judge, decide)
    assert (value(metrics, "internal_errors_total", where=where) or 0) >= 1


def test_a_core_that_never_comes_to_an_end_is_a_fault(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # Given
    counted = asyncio.Event()

    def decide(run: Run, now_s: float) -> Step:
        if not run.sessions:
            return Step()
        counted.set()
        return Step((an_attempt(1),))

    async def scenario(reconciler: Reconciler) -> None:
        # When
        loop = await opened_run(reconciler, W0)
        await counted.wait()
        await loop.submit(lambda run: [])

        # Then
        assert loop.run.attempts == ()

    with caplog.at_level(logging.CRITICAL, logger="lastgood_controller.reconciler"):
        metrics = played(tmp_path, scenario, judge_nothing, decide)
    assert (value(metrics, "internal_errors_total", where="decide") or 0) >= 1


def test_a_deadline_makes_it_decide_again_without_a_fact(tmp_path: Path) -> None:
    # Given
    times: list[float] = []

    def decide(run: Run, now_s: float) -> Step:
        times.append(now_s)
        return Step((StopAsked("clock", ""),)) if len(times) == 3 else Step(deadline_s=now_s + 0.01)  # type: ignore[arg-type]

    async def scenario(reconciler: Reconciler) -> None:
        # When
        loop = await reconciler.opened_by(a_hello())

        # Then
        await until(loop, lambda run: run.stop_asked is not None)

    played(tmp_path, scenario, judge_nothing, decide)


def test_heartbeats_reach_the_planner_and_not_the_journal(tmp_path: Path) -> None:
    # Given
    now = [100.0]
    seen: list[float] = []

    def decide(run: Run, now_s: float) -> Step:
        seen.extend(session.last_heard_s for session in run.sessions.values())
        return Step()

    async def scenario(reconciler: Reconciler) -> None:
        loop = await opened_run(reconciler, W0)
        entries = len(reconciler.store.load(RUN))

        # When
        now[0] = 150.0
        loop.heard(W0, step=7)
        await loop.submit(lambda run: [(StopAsked("me", ""), None)])
        await until(loop, lambda run: run.stop_asked is not None)
        await loop.submit(lambda run: [])
        while seen[-1] != 150.0:
            await asyncio.sleep(0)

        # Then
        assert loop.steps == {W0: 7}
        assert loop.run.sessions[W0].last_heard_s == 100.0
        assert len(reconciler.store.load(RUN)) == entries + 1

    played(tmp_path, scenario, judge_nothing, decide, now_s=lambda: now[0])


def test_a_full_disk_refuses_facts_and_loses_none_that_were_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(reconciler: Reconciler) -> None:
        # Given
        loop = await opened_run(reconciler)
        await until(loop, lambda run: bool(run.attempts))
        run = loop.run
        limit_pages(reconciler.store, 1)

        # When
        with pytest.raises(StoreError) as failed:
            await loop.submit(lambda run: [(StopAsked("me", "x" * 90_000), "id")])

        # Then
        assert failed.value.is_retryable
        assert loop.run == run
        assert loop.trouble == failed.value.message
        assert loop.trouble.endswith("controller.db: database or disk is full; make room on that disk")
        limit_pages(reconciler.store, 1_000_000)
        assert (await loop.submit(lambda run: [(StopAsked("me", "x" * 90_000), "id")]))[0].is_new
        assert loop.trouble == ""

    with caplog.at_level(logging.CRITICAL, logger="lastgood_controller.reconciler"):
        metrics = played(tmp_path, scenario)
    assert value(metrics, "internal_errors_total", where="journal") == 1


def test_after_a_restart_the_run_is_the_same_but_for_its_connections(tmp_path: Path) -> None:
    # Given
    kept: list[Run] = []

    async def first(reconciler: Reconciler) -> None:
        loop = await opened_run(reconciler)
        await until(loop, lambda run: bool(run.attempts))
        await loop.submit(lambda run: [(a_save(), "id")])
        kept.append(loop.run)

    async def second(reconciler: Reconciler) -> None:
        # When
        loop = await reconciler.get(RUN)

        # Then
        assert loop is not None
        assert loop.run.attempts == kept[0].attempts
        assert loop.run.checkpoints == kept[0].checkpoints
        assert {worker: session.connected for worker, session in loop.run.sessions.items()} == {W0: False, W1: False}
        assert [entry.event for entry in reconciler.store.load(RUN)][-2:] == [
            WorkerDisconnected(W0, 1),
            WorkerDisconnected(W1, 1),
        ]

    played(tmp_path, first)
    played(tmp_path, second)


def test_of_an_ended_run_that_is_taken_up_again_nobody_counts_as_connected(tmp_path: Path) -> None:
    # Given
    async def killed_after_the_end(reconciler: Reconciler) -> None:
        loop = await opened_run(reconciler)
        await loop.submit(lambda run: [(RunEnded(Cause(Reason.INTERRUPTED, "enough"), 1), None)])

    async def reopened(reconciler: Reconciler) -> None:
        # When
        loop = await reconciler.get(RUN)
        assert loop is not None
        await loop.submit(lambda run: [(RunOpened(RUN, run.job, Policy()), None)])

        # Then
        assert {worker: session.connected for worker, session in loop.run.sessions.items()} == {W0: False, W1: False}
        assert loop.run.attempts == ()

    played(tmp_path, killed_after_the_end, decide=lambda run, now_s: Step())
    played(tmp_path, reopened, decide=plan.decide)


def test_a_manifest_that_arrives_lets_its_save_be_judged(tmp_path: Path) -> None:
    async def scenario(reconciler: Reconciler) -> None:
        # Given
        loop = await opened_run(reconciler)
        manifest = a_manifest(10)
        await loop.submit(lambda run: [(a_save(manifest_digest=manifest.digest), "id")])
        assert loop.wanted.ask(W0, 1.0) == (manifest.digest,)

        # When
        commits = commits_of(reconciler.store)
        await reconciler.keep_manifests(loop, [manifest])

        # Then: the manifest and the verdict are recorded together
        assert all(c.verdict.standing is Standing.GOOD for c in loop.run.checkpoints.values())
        assert len(commits) == 1
        assert reconciler.store.manifest(manifest.digest) == manifest
        assert loop.wanted.ask(W0, 2.0) == ()
        assert reconciler.shelf[manifest.digest] == manifest

    metrics = played(tmp_path, scenario, judge_good)
    assert value(metrics, "saves_total", verdict="Good") == 1


def test_a_controller_that_is_going_away_takes_nothing(tmp_path: Path) -> None:
    async def scenario(reconciler: Reconciler) -> None:
        # Given
        loop = await opened_run(reconciler)

        # When
        await reconciler.stop()

        # Then
        with pytest.raises(StoppingError):
            await loop.submit(lambda run: [(StopAsked("me", ""), None)])
        with pytest.raises(StoppingError):
            await reconciler.keep_manifests(loop, [])

    played(tmp_path, scenario)


def test_two_hellos_at_once_open_one_run(tmp_path: Path) -> None:
    async def scenario(reconciler: Reconciler) -> None:
        # When
        loops = await asyncio.gather(*(reconciler.opened_by(a_hello(worker)) for worker in MEMBERS * 5))

        # Then
        assert all(loop is loops[0] for loop in loops)
        assert [type(entry.event) for entry in reconciler.store.load(RUN)] == [RunOpened]

    played(tmp_path, scenario)


# ------------------------------------------------------------------------------------------------------------ manifests


def test_only_a_few_workers_are_asked_for_one_manifest(tmp_path: Path) -> None:
    # Given
    store = Store.open(tmp_path)
    workers = [type(W0)("worker", number) for number in range(ASKED_AT_ONCE + 2)]
    wanted = WantedManifests(Run(RUN, "job"), ManifestShelf(store))
    for worker in workers:
        wanted.note(worker, "d")

    # When, Then: the first ones, each as often as it asks; others once those are late; nobody who never had it
    assert [wanted.ask(worker, 1.0) for worker in workers] == [("d",)] * ASKED_AT_ONCE + [()] * 2
    assert wanted.ask(workers[0], 2.0) == ("d",)
    assert wanted.ask(workers[-1], 2.0 + ASKED_FOR_S) == ("d",)
    assert wanted.ask(type(W0)("chief", 0), 99.0) == ()
    wanted.delivered("d")
    assert wanted.ask(workers[0], 99.0) == ()
    store.close()


def test_a_controller_that_comes_back_asks_for_the_manifests_that_it_still_lacks(tmp_path: Path) -> None:
    with closing(Store.open(tmp_path)) as store:
        pending, settled = a_save(ordinal=1, manifest_digest="p"), a_save(ordinal=2, manifest_digest="s")
        verdict = VerdictReached(settled.save, Verdict(Standing.BAD))
        run = a_run(a_connection(), an_attempt(), pending, settled, verdict)

        wanted = WantedManifests(run, ManifestShelf(store))

        assert (wanted.is_wanted("p"), wanted.is_wanted("s")) == (True, False)
        assert wanted.ask(W0, 0.0) == ("p",)


def test_the_shelf_reads_what_it_has_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given
    monkeypatch.setattr("lastgood_controller.shelf.MAX_ENTRIES", 2)
    store = Store.open(tmp_path)
    manifests = [a_manifest(number) for number in range(5)]
    store.append(RUN, [], 1.0, manifests)

    # When
    shelf = ManifestShelf(store)

    # Then
    assert [shelf[manifest.digest] for manifest in manifests * 2] == manifests * 2
    assert len(shelf._recent) == 2
    assert (len(shelf), set(shelf)) == (5, {manifest.digest for manifest in manifests})
    with pytest.raises(KeyError):
        shelf["nothing"]
    store.close()


def test_a_shelf_with_more_on_it_has_both_and_leaves_the_shelf_as_it_is(tmp_path: Path) -> None:
    with closing(Store.open(tmp_path)) as store:
        # Given
        stored, arriving = a_manifest(1), a_manifest(2)
        store.append(RUN, [], 1.0, [stored])
        shelf = ManifestShelf(store)

        # When
        both = ShelfWith(shelf, [stored, arriving])

        # Then
        assert dict(both) == {stored.digest: stored, arriving.digest: arriving}
        assert (len(both), "nothing" in both, arriving.digest in shelf) == (2, False, False)
