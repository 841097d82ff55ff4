"""The journal on disk, on a real one."""

import errno
import fcntl
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from shell_builders import JOB, RUN, a_connection, a_manifest, a_save, an_attempt

import lastgood_controller.store as store_module
from lastgood.reasons import Reason
from lastgood_controller.events import (
    Event,
    RunEnded,
    RunOpened,
    StopAsked,
)
from lastgood_controller.journal import Entry
from lastgood_controller.model import (
    Cause,
    Policy,
)
from lastgood_controller.store import (
    DATABASE_NAME,
    LOCK_NAME,
    REVISIONS,
    RecordedAlreadyError,
    RunRow,
    StateDirectoryInUseError,
    Store,
    StoreError,
    StoreReader,
    choose_run,
)

OPENED = RunOpened(RUN, JOB, Policy(max_restarts=7))


@pytest.fixture
def store(tmp_path: Path):
    opened = Store.open(tmp_path / "state")
    yield opened
    opened.close()


def test_what_was_appended_is_there_after_the_directory_is_opened_again(tmp_path: Path) -> None:
    # Given
    events: list[Event] = [OPENED, a_connection(), an_attempt(), a_save()]
    store = Store.open(tmp_path)

    # When
    recorded = store.append(RUN, [(event, None) for event in events], 12.5)
    store.close()

    # Then
    again = Store.open(tmp_path)
    assert recorded == (1, 2, 3, 4)
    assert again.load(RUN) == tuple(Entry(number, 12.5, event) for number, event in enumerate(events, 1))
    assert again.last_at_s() == 12.5
    assert again.append(RUN, [(an_attempt(2), None)], 13.0) == (5,)
    again.close()


def test_a_report_has_one_place_in_the_journal_and_is_refused_another_with_all_that_comes_with_it(store: Store) -> None:
    # Given
    store.append(RUN, [(OPENED, None), (a_save(ordinal=1), "a")], 1.0)

    # When
    with pytest.raises(RecordedAlreadyError) as refused:
        store.append(RUN, [(a_save(ordinal=2), "b"), (a_save(ordinal=1), "a")], 2.0, [a_manifest(1)])

    # Then
    assert not refused.value.is_retryable
    assert store.recorded_reports(RUN, ["a", "b"]) == {"a": 2}
    assert [entry.event for entry in store.load(RUN)] == [OPENED, a_save(ordinal=1)]
    assert store.manifest_digests() == frozenset()
    assert store.append(RUN, [(a_save(ordinal=2), "b")], 3.0) == (3,)


def test_the_same_report_id_in_another_run_is_another_report(store: Store) -> None:
    other = RunOpened("run-2", JOB, Policy())
    store.append(RUN, [(OPENED, None), (a_save(), "a")], 1.0)
    assert store.append("run-2", [(other, None), (a_save(), "a")], 2.0) == (3, 4)
    assert store.recorded_reports("run-2", ["a"]) == {"a": 4}


def test_more_reports_than_one_query_can_name_are_all_known_again(store: Store) -> None:
    # Given
    many = [(StopAsked("me", str(number)), f"id-{number}") for number in range(1_300)]
    store.append(RUN, [(OPENED, None), *many], 1.0)

    # When
    known = store.recorded_reports(RUN, [report_id for _, report_id in many] + ["another"])

    # Then
    assert known == {f"id-{number}": number + 2 for number in range(1_300)}


def test_a_journal_is_read_in_pages(store: Store) -> None:
    store.append(RUN, [(OPENED, None), *((an_attempt(number), None) for number in range(1, 6))], 1.0)
    assert [entry.sequence for entry in store.load(RUN, after_sequence=2, limit=3)] == [3, 4, 5]
    assert store.load("nobody") == ()


def test_the_table_of_runs_follows_openings_and_ends(store: Store) -> None:
    # Given
    store.append(RUN, [(OPENED, None)], 1.0)
    assert store.runs() == (RunRow(RUN, JOB, "digits", 1.0, None),)

    # When it ends, Then
    store.append(RUN, [(RunEnded(Cause(Reason.FINISHED), 0), None)], 2.0)
    assert store.runs() == (RunRow(RUN, JOB, "digits", 1.0, 2.0),)

    # When it is opened again, Then
    store.append(RUN, [(OPENED, None)], 3.0)
    assert store.runs() == (RunRow(RUN, JOB, "digits", 1.0, None),)


def test_an_append_that_fails_in_its_middle_leaves_nothing(store: Store) -> None:
    # Given: the disk is full after the next pages
    store.append(RUN, [(OPENED, None)], 1.0)
    full = store._writer.exec_driver_sql("PRAGMA page_count").scalar()
    store._writer.exec_driver_sql(f"PRAGMA max_page_count={full}")
    store._writer.rollback()

    # When
    with pytest.raises(StoreError) as failed:
        store.append(RUN, [(StopAsked("me", "x" * 4_000), f"id-{number}") for number in range(50)], 2.0)

    # Then
    assert failed.value.is_retryable
    assert "database or disk is full" in failed.value.message
    assert len(store.load(RUN)) == 1

    # When there is room again, Then the same is recorded
    store._writer.exec_driver_sql("PRAGMA max_page_count=1000000")
    store._writer.rollback()
    assert store.append(RUN, [(StopAsked("me", "x"), "id-1")], 3.0) == (2,)


def test_every_append_is_synced_before_it_returns(store: Store) -> None:
    pragmas = {
        name: store._writer.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")
    }
    store._writer.rollback()
    assert pragmas == {"journal_mode": "wal", "synchronous": 2}


def test_a_second_controller_is_told_who_holds_the_directory(store: Store) -> None:
    with pytest.raises(StateDirectoryInUseError) as refused:
        Store.open(store.directory)

    assert refused.value.is_misuse
    assert refused.value.message == (
        f"the state directory {store.directory} belongs to a live controller (pid {os.getpid()}): "
        "use that one, stop it, or give another directory by --state-dir"
    )


def test_a_child_that_outlives_its_controller_does_not_hold_the_directory(tmp_path: Path) -> None:
    # Given: a controller with a child of its own, which goes on
    store = Store.open(tmp_path)
    command = [sys.executable, "-c", "print('here', flush=True); input()"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False)
    assert child.stdout is not None
    assert child.stdout.readline() == b"here\n"

    # When
    store.close()

    # Then
    try:
        Store.open(tmp_path).close()
    finally:
        child.communicate(b"\n", timeout=10)


def test_the_lock_is_let_go_when_the_database_cannot_be_opened(tmp_path: Path) -> None:
    # Given
    (tmp_path / DATABASE_NAME).write_bytes(b"this is not a database, it is something else entirely")

    # When
    with pytest.raises(StoreError) as failed:
        Store.open(tmp_path)

    # Then
    assert not failed.value.is_retryable
    assert "file is not a database" in failed.value.message
    descriptor = os.open(tmp_path / LOCK_NAME, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)


def test_a_directory_that_cannot_be_made_is_a_misuse(tmp_path: Path) -> None:
    # Given
    (tmp_path / "file").write_text("")

    # When
    with pytest.raises(StoreError) as failed:
        Store.open(tmp_path / "file" / "state")

    # Then
    assert failed.value.is_misuse
    assert os.strerror(errno.ENOTDIR) in failed.value.message


def test_a_database_of_a_newer_lastgood_is_left_alone(tmp_path: Path) -> None:
    # Given
    Store.open(tmp_path).close()
    with sqlite3.connect(tmp_path / DATABASE_NAME) as connection:
        connection.execute("UPDATE alembic_version SET version_num='9999'")
    connection.close()

    # When, Then
    for opening in (Store, StoreReader):
        with pytest.raises(StoreError, match=r"found 9999: another version of lastgood wrote it") as failed:
            opening.open(tmp_path)
        assert not failed.value.is_retryable


def test_the_revisions_that_the_store_names_are_those_that_alembic_finds() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(store_module.__file__).parent / "migrations"))
    found = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert tuple(reversed(found)) == REVISIONS


def test_a_reader_reads_beside_the_controller_and_after_it(store: Store) -> None:
    # Given
    store.append(RUN, [(OPENED, None)], 1.0)
    reader = StoreReader.open(store.directory)

    # When
    store.append(RUN, [(an_attempt(), None)], 2.0)

    # Then
    assert [entry.event for entry in reader.load(RUN)] == [OPENED, an_attempt()]
    reader.close()


def test_a_directory_that_no_controller_used_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"expected the journal of a controller at .*, found none"):
        StoreReader.open(tmp_path)


def test_a_row_that_makes_no_sense_is_an_error_and_not_a_gap(store: Store) -> None:
    # Given
    store.append(RUN, [(OPENED, None)], 1.0)
    with sqlite3.connect(store.directory / DATABASE_NAME) as connection:
        connection.execute("UPDATE journal SET kind='Nonsense'")
    connection.close()

    # When, Then
    with pytest.raises(StoreError, match="cannot be read: expected a kind of event"):
        store.load(RUN)


def test_a_manifest_comes_back_by_its_digest(store: Store) -> None:
    # When
    store.append(RUN, [(OPENED, None)], 1.0, [a_manifest(1), a_manifest(2)])
    store.append(RUN, [], 2.0, [a_manifest(1)])
    store.append(RUN, [], 3.0)

    # Then
    assert store.manifest_digests() == {a_manifest(1).digest, a_manifest(2).digest}
    assert store.manifest(a_manifest(2).digest) == a_manifest(2)
    assert store.manifest("0" * 64) is None


def test_a_name_means_the_live_run_before_an_ended_one_and_then_the_newest() -> None:
    old, ended, live = (
        RunRow("r1", JOB, "digits", 1.0, 2.0),
        RunRow("r2", JOB, "digits", 5.0, 6.0),
        RunRow("r3", JOB, "digits", 3.0, None),
    )
    assert choose_run((old, ended, live), "digits") == live
    assert choose_run((old, ended), JOB) == ended
    assert choose_run((old, ended, live), "r1") == old
    assert choose_run((old,), "") == old
    assert choose_run((old, live), "") is None
    assert choose_run((old,), "other") is None


@pytest.mark.parametrize("what", ["removed", "emptied", "replaced"])
def test_a_journal_that_is_taken_away_is_noticed(store: Store, what: str) -> None:
    path = store.directory / DATABASE_NAME
    store.check_place()

    if what == "emptied":
        os.truncate(path, 0)
    else:
        path.rename(path.with_name("elsewhere"))
    if what == "replaced":
        path.write_text("another one")

    with pytest.raises(StoreError, match="was removed, emptied or replaced while it was in use"):
        store.check_place()
