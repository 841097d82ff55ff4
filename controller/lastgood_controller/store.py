"""The journal on disk: SQLite, one writer, nothing acknowledged before it is synced.

One transaction per `append`, write-ahead logging with synchronous FULL, so that what `append` returned from survives a
killed controller and a lost machine. A report has one place in the journal, by its id: one that comes a second time is
refused, with all that is appended with it, and `recorded_reports` says where the first one is. The store decides
nothing and knows no event but by its kind; two events also keep the table of runs: `RunOpened` and `RunEnded`.

`Store` belongs to the one controller of a state directory: a flock on `controller.lock`, held for life, refuses a
second one. `StoreReader` reads beside it, or when there is no controller, and changes nothing.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from lastgood.manifest import Manifest, manifest_from_json, manifest_to_json
from lastgood_controller.codec import CodecError, decode_event, encode_event, kind_of
from lastgood_controller.events import (
    Event,
    RunEnded,
    RunOpened,
)
from lastgood_controller.journal import Entry, attempt_of

DATABASE_NAME = "controller.db"
LOCK_NAME = "controller.lock"

#: Every revision that this version can read or migrate from, oldest first; the last one is what it writes.
REVISIONS = ("0001",)

#: How long a write waits for another connection's before it says that the database is busy.
BUSY_TIMEOUT_S = 5.0

_VARIABLES_PER_QUERY = 500

_METADATA = sa.MetaData()
_RUNS = sa.Table(
    "runs",
    _METADATA,
    sa.Column("run_id", sa.String, primary_key=True),
    sa.Column("job", sa.String),
    sa.Column("name", sa.String),
    sa.Column("opened_s", sa.Float),
    sa.Column("ended_s", sa.Float),
)
_JOURNAL = sa.Table(
    "journal",
    _METADATA,
    sa.Column("sequence", sa.Integer, primary_key=True),
    sa.Column("run_id", sa.String),
    sa.Column("at_s", sa.Float),
    sa.Column("kind", sa.String),
    sa.Column("attempt", sa.Integer),
    sa.Column("report_id", sa.String),
    sa.Column("body", sa.Text),
)
_MANIFESTS = sa.Table(
    "manifests",
    _METADATA,
    sa.Column("digest", sa.String, primary_key=True),
    sa.Column("body", sa.LargeBinary),
)


class StoreError(Exception):
    """The store could not do its job.

    is_retryable: the same call may succeed later; nothing was recorded.
    is_misuse: the directory is not one that a store can be kept in, or not now.
    """

    def __init__(self, message: str, *, is_retryable: bool = False, is_misuse: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.is_retryable = is_retryable
        self.is_misuse = is_misuse


class RecordedAlreadyError(StoreError):
    """A report of what was to be recorded is in the journal already. Nothing was recorded."""


class StateDirectoryInUseError(StoreError):
    """Another live controller holds the state directory."""


@dataclass(frozen=True)
class RunRow:
    """One run as the table of runs has it. name: the last part of the job. ended_s: None while it is live."""

    run_id: str
    job: str
    name: str
    opened_s: float
    ended_s: float | None


def name_of(job: str) -> str:
    """The last part of `cluster/namespace/kind/name`."""
    return job.rpartition("/")[2]


def choose_run(rows: Sequence[RunRow], name: str) -> RunRow | None:
    """The run that a person means by a run's id, a whole job or its name; "" means the only one there is.

    Of several, a live one comes before an ended one, then the one that was opened last.
    """
    if not name:
        return rows[0] if len(rows) == 1 else None
    meant = [row for row in rows if name in (row.run_id, row.job, row.name)]
    return max(meant, key=lambda row: (row.ended_s is None, row.opened_s), default=None)


class StoreReader:
    """Reads a state directory's journal. Usable from any thread, and beside a live controller."""

    def __init__(self, directory: Path, engine: sa.Engine) -> None:
        self.directory = directory
        self._engine = engine

    @classmethod
    def open(cls, directory: Path) -> StoreReader:
        """The reader of a directory that a controller has used. Raises StoreError when none has, or a newer one has."""
        path = directory / DATABASE_NAME
        if not path.is_file():
            raise StoreError(
                f"expected the journal of a controller at {path}, found none: is this the state directory?"
            )
        reader = cls(directory, _engine(path, is_read_only=True))
        with _translated(directory, "read"), reader._engine.connect() as connection:
            revision = _revision(connection)
        if revision != REVISIONS[-1]:
            raise StoreError(_foreign_revision(path, revision))
        return reader

    def close(self) -> None:
        self._engine.dispose()

    def runs(self) -> tuple[RunRow, ...]:
        """Every run, in the order in which they were first opened."""
        with self._reading() as connection:
            return tuple(RunRow(*row) for row in connection.execute(sa.select(_RUNS).order_by(_RUNS.c.opened_s)))

    def load(self, run_id: str, after_sequence: int = 0, limit: int | None = None) -> tuple[Entry, ...]:
        """A run's journal in its order; empty for an unknown run. Raises StoreError for a row that makes no sense."""
        query = (
            sa.select(_JOURNAL.c.sequence, _JOURNAL.c.at_s, _JOURNAL.c.kind, _JOURNAL.c.body)
            .where(_JOURNAL.c.run_id == run_id, _JOURNAL.c.sequence > after_sequence)
            .order_by(_JOURNAL.c.sequence)
            .limit(limit)
        )
        with self._reading() as connection:
            rows = connection.execute(query).all()
        try:
            return tuple(Entry(sequence, at_s, decode_event(kind, body)) for sequence, at_s, kind, body in rows)
        except CodecError as error:
            raise StoreError(f"the journal in {self.directory / DATABASE_NAME} cannot be read: {error}") from error

    def recorded_reports(self, run_id: str, report_ids: Sequence[str]) -> dict[str, int]:
        """Those of a run's reports that are recorded already, with their places in the journal."""
        recorded: dict[str, int] = {}
        for start in range(0, len(report_ids), _VARIABLES_PER_QUERY):
            query = sa.select(_JOURNAL.c.report_id, _JOURNAL.c.sequence).where(
                _JOURNAL.c.run_id == run_id,
                _JOURNAL.c.report_id.in_(report_ids[start : start + _VARIABLES_PER_QUERY]),
            )
            with self._reading() as connection:
                recorded.update((report_id, sequence) for report_id, sequence in connection.execute(query))
        return recorded

    def last_at_s(self) -> float:
        """When the last entry of any run was recorded; 0 for an empty journal."""
        with self._reading() as connection:
            at_s: float | None = connection.execute(sa.select(sa.func.max(_JOURNAL.c.at_s))).scalar()
        return at_s or 0.0

    def manifest_digests(self) -> frozenset[str]:
        """The digests of every manifest that is stored."""
        with self._reading() as connection:
            return frozenset(connection.execute(sa.select(_MANIFESTS.c.digest)).scalars())

    def manifest(self, digest: str) -> Manifest | None:
        """What a digest stands for, or None when nobody has delivered it."""
        with self._reading() as connection:
            body = connection.execute(sa.select(_MANIFESTS.c.body).where(_MANIFESTS.c.digest == digest)).scalar()
        if body is None:
            return None
        try:
            return manifest_from_json(json.loads(zlib.decompress(body)))
        except (ValueError, zlib.error) as error:
            path = self.directory / DATABASE_NAME
            raise StoreError(f"the manifest {digest} in {path} cannot be read: {error}") from error

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with _translated(self.directory, "read"), self._engine.connect() as connection:
            yield connection


class Store(StoreReader):
    """The journal of the one controller of a state directory. Writes come from one thread at a time."""

    def __init__(self, directory: Path, engine: sa.Engine, lock_descriptor: int) -> None:
        super().__init__(directory, engine)
        self._lock_descriptor = lock_descriptor
        self._path = directory / DATABASE_NAME
        self._identity = _identity_of(self._path)
        self._writer = engine.connect().execution_options(writes=True)
        with self._writer.begin():
            self._last_sequence: int = self._writer.execute(sa.select(sa.func.max(_JOURNAL.c.sequence))).scalar() or 0

    @classmethod
    def open(cls, directory: Path) -> Store:
        """Takes a state directory into use: makes it where it is missing, locks it, migrates its database.

        Raises StateDirectoryInUseError when another controller lives there, StoreError when it cannot be written or
        holds a database that a newer lastgood wrote.
        """
        lock_descriptor = _lock(directory)
        try:
            path = directory / DATABASE_NAME
            engine = _engine(path, is_read_only=False)
            with _translated(directory, "open"):
                with engine.connect() as connection:
                    _migrate(path, connection)
                return cls(directory, engine, lock_descriptor)
        except BaseException:
            os.close(lock_descriptor)
            raise

    def close(self) -> None:
        """Ends all connections, which folds the write-ahead log into the database, and lets the directory go."""
        self._writer.close()
        super().close()
        os.close(self._lock_descriptor)

    def check_place(self) -> None:
        """Raises StoreError when the database is not where it was: what is written to it then, nobody finds again."""
        if _identity_of(self._path) != self._identity:
            raise StoreError(f"the journal at {self._path} was removed, emptied or replaced while it was in use")

    def append(
        self,
        run_id: str,
        events: Sequence[tuple[Event, str | None]],
        at_s: float,
        manifests: Sequence[Manifest] = (),
    ) -> tuple[int, ...]:
        """Records events, each with its report's id or None, and manifests, in one transaction: all of them, or none.

        Returns the events' sequence numbers, and only when everything is on disk. A manifest that is already there
        stays as it is. Raises RecordedAlreadyError, or StoreError, retryable when the disk is full or busy.
        """
        try:
            bodies = [encode_event(event) for event, _ in events]
        except CodecError as error:
            raise StoreError(str(error)) from error
        sequences = tuple(range(self._last_sequence + 1, self._last_sequence + 1 + len(events)))
        rows = [
            _row(sequence, run_id, at_s, event, report_id, body)
            for sequence, (event, report_id), body in zip(sequences, events, bodies)
        ]
        kept = [
            {"digest": manifest.digest, "body": zlib.compress(json.dumps(manifest_to_json(manifest)).encode(), 1)}
            for manifest in manifests
        ]
        with _translated(self.directory, "write"), self._writer.begin():
            for event, _ in events:
                self._keep_runs(run_id, event, at_s)
            if rows:
                self._writer.execute(sa.insert(_JOURNAL), rows)
            if kept:
                self._writer.execute(sa.insert(_MANIFESTS).prefix_with("OR IGNORE"), kept)
        self._last_sequence += len(rows)
        return sequences

    def _keep_runs(self, run_id: str, event: Event, at_s: float) -> None:
        if isinstance(event, RunOpened):
            row = {"run_id": run_id, "job": event.job, "name": name_of(event.job), "opened_s": at_s}
            self._writer.execute(sa.insert(_RUNS).prefix_with("OR IGNORE"), row)
            self._writer.execute(sa.update(_RUNS).where(_RUNS.c.run_id == run_id).values(ended_s=None))
        elif isinstance(event, RunEnded):
            self._writer.execute(sa.update(_RUNS).where(_RUNS.c.run_id == run_id).values(ended_s=at_s))


def _identity_of(path: Path) -> tuple[int, int] | None:
    """What tells a file from another one of the same name; None where there is none, or nothing in it."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found.st_size else None


def _row(sequence: int, run_id: str, at_s: float, event: Event, report_id: str | None, body: str) -> dict[str, Any]:
    return {
        "sequence": sequence,
        "run_id": run_id,
        "at_s": at_s,
        "kind": kind_of(event),
        "attempt": attempt_of(event),
        "report_id": report_id,
        "body": body,
    }


# ----------------------------------------------------------------------------------------------- directory and lock


def _lock(directory: Path) -> int:
    """A descriptor that holds the directory for one controller. Not inherited by children: they must not outlive it."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StoreError(
            f"the state directory {directory} cannot be written ({error.strerror}): give one that can, by --state-dir",
            is_misuse=True,
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise StateDirectoryInUseError(
            f"the state directory {directory} belongs to a live controller (pid {holder}): "
            "use that one, stop it, or give another directory by --state-dir",
            is_misuse=True,
        ) from None
    except OSError as error:
        os.close(descriptor)
        raise StoreError(f"the state directory {directory} cannot be locked: {error.strerror}") from error
    return descriptor


# --------------------------------------------------------------------------------------------------------- database


def _engine(path: Path, *, is_read_only: bool) -> sa.Engine:
    location = f"file:{quote(str(path.absolute()))}"
    if is_read_only:
        location += "?mode=ro"
        # Without a write-ahead log nobody writes; where we may not make its index either, SQLite needs to be told so.
        if not path.with_name(path.name + "-wal").exists() and not os.access(path.parent, os.W_OK):
            location += "&immutable=1"

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            location, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )

    engine = sa.create_engine("sqlite://", creator=connect, poolclass=QueuePool)

    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        if not is_read_only:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA foreign_keys=ON")

    def begin(connection: sa.Connection) -> None:
        # sqlite3's own begin waits for the first write, which leaves a gap between what was read and what is written.
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    sa.event.listen(engine, "connect", prepare)
    sa.event.listen(engine, "begin", begin)
    return engine


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    return revision


def _migrate(path: Path, connection: sa.Connection) -> None:
    revision = _revision(connection)
    connection.rollback()
    if revision == REVISIONS[-1]:
        return
    if revision is not None and revision not in REVISIONS:
        raise StoreError(_foreign_revision(path, revision))
    from alembic import command  # imported here: most openings find the database as it should be
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    connection.commit()


def _foreign_revision(path: Path, revision: str | None) -> str:
    return (
        f"expected a database of revision {REVISIONS[-1]} at {path}, found {revision or 'none'}: "
        "another version of lastgood wrote it; use that version"
    )


_RETRYABLE = ("SQLITE_FULL", "SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_IOERR", "SQLITE_NOMEM")


_MOVE_AWAY = "; move it away with its -wal, and the run begins with the checkpoints that the script finds"
#: What to do about a fault that does not go away by itself.
_CURES = {
    "SQLITE_NOTADB": _MOVE_AWAY,
    "SQLITE_CORRUPT": _MOVE_AWAY,
    "SQLITE_FULL": "; make room on that disk",
    "SQLITE_IOERR": "; see whether that disk is full, over quota or broken",
}


def _cure(name: str) -> str:
    return next((cure for prefix, cure in _CURES.items() if name.startswith(prefix)), "")


@contextmanager
def _translated(directory: Path, verb: str) -> Iterator[None]:
    """Every fault of SQLAlchemy and SQLite, as a StoreError."""
    try:
        yield
    except DBAPIError as error:
        name = getattr(error.orig, "sqlite_errorname", "") or ""
        kind = RecordedAlreadyError if name == "SQLITE_CONSTRAINT_UNIQUE" else StoreError
        raise kind(
            f"could not {verb} the journal at {directory / DATABASE_NAME}: {error.orig}{_cure(name)}",
            is_retryable=name.startswith(_RETRYABLE),
        ) from error
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise StoreError(f"could not {verb} the journal at {directory / DATABASE_NAME}: {error}") from error
