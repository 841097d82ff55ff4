"""What this worker still has to say, on disk: the outbox of the hooks, the agent's own reports, manifests, kinds.

Everything is one file per thing, written under another name and renamed, so that an agent that dies at any moment loses
nothing that was written and reads nothing that is half written. What cannot be read is moved aside, counted and told
about, never tried for ever.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf import json_format

from lastgood.manifest import Kind, Manifest, manifest_from_json, manifest_to_json
from lastgood.v1 import agent_service_pb2 as pb
from lastgood_agent.facts import FACT_NAME, Fact, FactError, Series, parse_fact

log = logging.getLogger(__name__)

#: A fact is a few KB; one of a model with a hundred thousand variables is about 10 MB.
MAX_FACT_BYTES = 32 << 20
MAX_INDEX_BYTES = 256 << 20
#: The fields of facts that name another file of the outbox.
_BESIDE = ("index_copy", "live", "before")
#: What was moved aside is kept for whoever looks, up to this many files.
MAX_REJECTED = 20
#: Copies and temporary files that no fact has claimed for this long belong to a process that died between two writes.
UNCLAIMED_S = 3600.0
MAX_KNOWN_SERIES = 64


class Spool:
    """The files of one worker. Used by the agent's own thread only, except for the reading of index copies."""

    def __init__(self, worker_directory: str) -> None:
        self.outbox = os.path.join(worker_directory, "outbox")
        self._reports = os.path.join(worker_directory, "spool", "reports")
        self._manifests = os.path.join(worker_directory, "spool", "manifests")
        self._rejected = os.path.join(worker_directory, "spool", "rejected")
        self._kinds_path = os.path.join(worker_directory, "spool", "kinds.json")
        self._session_path = os.path.join(worker_directory, "spool", "session.json")
        for directory in (self.outbox, self._reports, self._manifests, self._rejected):
            os.makedirs(directory, exist_ok=True)
        self.rejected_count = 0

    # -- sessions

    def next_session(self) -> int:
        """A number for this life of the agent, higher than every earlier one, whatever the clock does."""
        last = _read_object(self._session_path).get("agent_session")
        session = max(time.time_ns(), last + 1 if isinstance(last, int) else 0)
        _write(self._session_path, json.dumps({"agent_session": session}))
        return session

    # -- facts

    def fact_names(self) -> list[str]:
        """The facts in the outbox, in the order in which they were written."""
        with os.scandir(self.outbox) as entries:
            return sorted(entry.name for entry in entries if FACT_NAME.fullmatch(entry.name))

    def read_fact(self, name: str) -> Fact | None:
        """The fact of that name; None when it has gone. Raises FactError when it is none."""
        path = os.path.join(self.outbox, name)
        try:
            with open(path, "rb") as file:
                size_bytes = os.fstat(file.fileno()).st_size
                if size_bytes > MAX_FACT_BYTES:
                    raise FactError(f"{name}: {size_bytes} bytes, expected at most {MAX_FACT_BYTES}")
                return parse_fact(name, json.loads(file.read()))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise FactError(f"{name}: cannot be read: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise FactError(f"{name}: {error}") from error

    def forget_fact(self, fact: Fact) -> None:
        """Removes a fact, and the files beside it that it names."""
        for field in _BESIDE:
            name = _plain_name(fact.body.get(field))
            if name:
                _remove(os.path.join(self.outbox, name))
        _remove(os.path.join(self.outbox, fact.name))

    def reject(self, name: str, why: str) -> None:
        """Moves a file of the outbox aside."""
        self.rejected_count += 1
        log.warning("outbox: not a fact, moved to %s: %s", self._rejected, why)
        kept = os.listdir(self._rejected)
        try:
            if len(kept) < MAX_REJECTED:
                os.replace(os.path.join(self.outbox, name), os.path.join(self._rejected, name))
            else:
                os.unlink(os.path.join(self.outbox, name))
        except OSError as error:
            log.warning("outbox: %s cannot be moved away: %s", name, error)

    def read_index_copy(self, fact: Fact) -> bytes:
        """The copy of the index that was made when the save returned. Raises FactError."""
        copy = _plain_name(fact.body.get("index_copy"))
        if not copy:
            raise FactError(f"{fact.name}: expected index_copy to name a file of the outbox")
        try:
            with open(os.path.join(self.outbox, copy), "rb") as file:
                return file.read(MAX_INDEX_BYTES)
        except OSError as error:
            raise FactError(f"the copy of the index, {copy}, cannot be read: {error.strerror}") from error

    def read_description(self, fact: Fact, field: str) -> Any:
        """The description of live objects that a field of a fact names; None where there is none. Raises FactError."""
        name = _plain_name(fact.body.get(field))
        if not name:
            return None
        try:
            with open(os.path.join(self.outbox, name), "rb") as file:
                return json.loads(file.read(MAX_FACT_BYTES))
        except (OSError, ValueError, RecursionError) as error:
            raise FactError(f"the description of live objects, {name}, cannot be read: {error}") from error

    def remove_unclaimed(self, now_s: float) -> None:
        """Removes old files of the outbox that are no facts and that no fact names."""
        claimed: set[str] = set()
        for name in self.fact_names():
            try:
                fact = self.read_fact(name)
            except FactError:
                continue
            claimed.update({name, *(_plain_name(fact.body.get(field)) for field in _BESIDE)} if fact else ())
        with os.scandir(self.outbox) as entries:
            for entry in entries:
                is_old = entry.is_file(follow_symlinks=False) and now_s - entry.stat().st_mtime > UNCLAIMED_S
                if is_old and entry.name not in claimed and not FACT_NAME.fullmatch(entry.name):
                    _remove(entry.path)

    # -- the agent's own reports

    def keep_report(self, report: pb.Report) -> None:
        """Writes a report down until `forget_report`."""
        _write(self._report_path(report.report_id), json_format.MessageToJson(report, indent=None))

    def forget_report(self, report_id: str) -> None:
        """Removes a report that is durable elsewhere."""
        _remove(self._report_path(report_id))

    def kept_reports(self) -> Iterator[pb.Report]:
        """What an earlier agent still had to say, oldest first; what cannot be read is removed."""
        paths = [os.path.join(self._reports, name) for name in os.listdir(self._reports) if name.endswith(".json")]
        for path in sorted(paths, key=_modified_ns):
            try:
                with open(path) as file:
                    yield json_format.Parse(file.read(), pb.Report())
            except (OSError, ValueError, json_format.ParseError) as error:
                log.warning("spool: %s is no report and is removed: %s", path, error)
                _remove(path)

    def _report_path(self, report_id: str) -> str:
        return os.path.join(self._reports, report_id.replace("/", "_") + ".json")

    # -- manifests

    def keep_manifest(self, manifest: Manifest) -> None:
        """Writes a manifest down until `forget_manifest`."""
        _write(self._manifest_path(manifest.digest), json.dumps(manifest_to_json(manifest)))

    def read_manifest(self, digest: str) -> Manifest | None:
        """The manifest of that digest, if it is kept here."""
        document = _read_object(self._manifest_path(digest))
        try:
            return manifest_from_json(document) if document else None
        except ValueError as error:
            log.warning("spool: the manifest %s cannot be read and is removed: %s", digest, error)
            self.forget_manifest(digest)
            return None

    def forget_manifest(self, digest: str) -> None:
        """Removes a manifest that the controller has."""
        _remove(self._manifest_path(digest))

    def kept_manifests(self) -> list[str]:
        """The digests of the manifests that are kept here."""
        return [name.removesuffix(".json") for name in os.listdir(self._manifests) if name.endswith(".json")]

    def _manifest_path(self, digest: str) -> str:
        return os.path.join(self._manifests, _plain_name(digest) + ".json")

    # -- kinds

    def remember_kinds(self, series: Series, kinds: Mapping[str, Kind]) -> None:
        """Keeps what the newest save of a series said of its variables."""
        document = _read_object(self._kinds_path)
        stated = {key: kind.value for key, kind in kinds.items()}
        if not stated or document.get(series.key) == stated:
            return
        document.pop(series.key, None)
        newest = list(document.items())[-(MAX_KNOWN_SERIES - 1) :]
        _write(self._kinds_path, json.dumps(dict([*newest, (series.key, stated)])))

    def known_kinds(self, series: Series) -> dict[bytes, Kind]:
        """What is known of a series' variables, by bundle key."""
        found = _read_object(self._kinds_path).get(series.key)
        if not isinstance(found, dict):
            return {}
        values = {kind.value for kind in Kind}
        return {key.encode("utf-8"): Kind(kind) for key, kind in found.items() if kind in values}


def _plain_name(found: Any) -> str:
    """A file name without any path; "" for everything else."""
    is_plain = isinstance(found, str) and found not in ("", ".", "..") and "/" not in found and "\0" not in found
    return found if is_plain and len(found) < 200 else ""


def _modified_ns(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _read_object(path: str) -> dict[str, Any]:
    try:
        with open(path) as file:
            document = json.load(file)
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _write(path: str, text: str) -> None:
    temporary = f"{path}.{os.getpid()}.tmp"
    with open(temporary, "w") as file:
        file.write(text)
    os.replace(temporary, path)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as error:
        log.warning("%s cannot be removed: %s", path, error)
