"""The documents of docs/json.md from a state directory alone, for when no controller serves it. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lastgood_controller.documents import Document, job_document, job_summary, journal_entries
from lastgood_controller.journal import Entry, JournalError, fold
from lastgood_controller.store import RunRow, StoreError, StoreReader, choose_run

EXIT_MISUSED, EXIT_UNREADABLE = 2, 3


class ReadingError(Exception):
    """A state directory does not tell. exit_status: 2 when the question was wrong, 3 when nobody could tell."""

    def __init__(self, message: str, exit_status: int = EXIT_UNREADABLE) -> None:
        super().__init__(message)
        self.message = message
        self.exit_status = exit_status


def read_jobs(state_dir: Path | str) -> list[Document]:
    """Every run of a state directory, as job-summary documents. Raises ReadingError, as all of these do."""
    with _opened(state_dir) as reader:
        runs = [fold(reader.load(row.run_id)) for row in reader.runs()]
        return [job_summary(run) for run in runs if run is not None]


def read_job(state_dir: Path | str, name: str = "") -> Document:
    """One run, by its id, job or name, as a job document; "" means the only one there is."""
    with _opened(state_dir) as reader:
        run = fold(_journal(reader, name))
        if run is None:
            raise ReadingError(f"the journal of {name!r} in {state_dir} is empty")
        return job_document(run)


def read_journal(state_dir: Path | str, name: str = "") -> list[Document]:
    """One run's journal, as journal-entry documents."""
    with _opened(state_dir) as reader:
        return list(journal_entries(_journal(reader, name)))


def _journal(reader: StoreReader, name: str) -> tuple[Entry, ...]:
    rows: tuple[RunRow, ...] = reader.runs()
    row = choose_run(rows, name)
    if row is None:
        known = ", ".join(each.name for each in rows) or "none"
        raise ReadingError(
            f"no job and no run is called {name!r} in {reader.directory}; there is {known}", EXIT_MISUSED
        )
    return reader.load(row.run_id)


@contextmanager
def _opened(state_dir: Path | str) -> Iterator[StoreReader]:
    try:
        reader = StoreReader.open(Path(state_dir))
        try:
            yield reader
        finally:
            reader.close()
    except StoreError as error:
        raise ReadingError(error.message) from error
    except JournalError as error:
        raise ReadingError(f"the journal in {state_dir} cannot be read: {error}") from error
