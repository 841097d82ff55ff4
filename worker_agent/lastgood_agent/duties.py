"""The agent's work on files: sync and read what was saved, verify, list a directory, write a plan's manifests.

Everything here blocks on the disk and runs in a thread. Bad files are values in what is returned; nothing here decides
what they mean for the job.
"""

from __future__ import annotations

import json
import logging
import os
import re
import struct
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from google.protobuf.duration_pb2 import Duration

from lastgood import pins as library_pins
from lastgood.directory import Listed, list_checkpoints
from lastgood.durable import sync
from lastgood.errors import BundleError, WriteError
from lastgood.inspect import manifest_from_index, read_step
from lastgood.latest.examine import read_state_bytes
from lastgood.latest.state_file import parse
from lastgood.manifest import Kind, Manifest, manifest_from_json, manifest_to_json
from lastgood.v1 import agent_service_pb2 as pb
from lastgood.v1 import common_pb2
from lastgood.verify import Verification, verify
from lastgood_agent import manifests_beside
from lastgood_agent.facts import Fact, FactError, bounded, optional_number, reasons, seconds
from lastgood_agent.json_files import read_json, write_json
from lastgood_agent.pins import Located, locate_for_restore, sync_pin

log = logging.getLogger(__name__)

#: `progress-N`: completed calls, last completed step (-1: unknown), calls entered, 0.
_PROGRESS = struct.Struct("<QqQQ")
_NUMBER_AT_END = re.compile(r"-\d+$")
_NUMBER_IN_NAME = re.compile(r"(?:^|(?<=[-_.]))\d{1,18}(?=[-_.]|$)")
#: Of how many checkpoints of a directory the manifests are read for the attempt that they note.
MOST_MANIFESTS = 20
_MEDIA = {"disk": pb.MEDIUM_DISK, "cache": pb.MEDIUM_CACHE}


class PlanError(Exception):
    """What the plan names is not what lies there; the message says what was expected and found.

    series, prefix, digest: the planned series, and what was found ("" when it could not be read).
    """

    def __init__(self, planned: common_pb2.PlannedSeries, digest: str, detail: str) -> None:
        super().__init__(detail)
        self.planned = planned
        self.digest = digest


@dataclass(frozen=True)
class Progress:
    """How far a trainer has come. step: None when it has no step variable that the hooks could find."""

    step: int | None = None
    completed_calls: int = 0

    def to_proto(self) -> pb.Progress:
        """The progress as it travels."""
        return pb.Progress(step=self.step, completed_calls=self.completed_calls)


def read_progress(worker_directory: str, attempt: int) -> Progress:
    """What the trainer of that attempt has written into its mapped file; nothing when there is none."""
    try:
        with open(os.path.join(worker_directory, f"progress-{attempt}"), "rb") as file:
            calls, step, _, _ = _PROGRESS.unpack(file.read(_PROGRESS.size))
    except (OSError, struct.error):
        return Progress()
    return Progress(step if step >= 0 else None, min(calls, 2**63 - 1))


# -------------------------------------------------------------------------------------------------------------- saves


def manifest_of_save(fact: Fact, index_copy: bytes) -> Manifest:
    """The manifest of a save, from the index as it was when the save returned. Raises FactError."""
    sizes = fact.body.get("shard_sizes_bytes")
    if not isinstance(sizes, list) or any(optional_number(size) is None or size < 0 for size in sizes):
        raise FactError(f"{fact.name}: expected shard_sizes_bytes as a list of sizes, found {sizes!r:.80}")
    kinds: dict[str | bytes, str | Kind] = {key: kind for key, kind in kinds_of_save(fact).items()}  # noqa: C416
    try:
        return manifest_from_index(index_copy, sizes, kinds)
    except BundleError as error:
        raise FactError(f"the index of {bounded(fact.body.get('prefix'), 500)}: {error}") from error


def kinds_of_save(fact: Fact) -> dict[str, Kind]:
    """The kinds that a fact states and that exist; everything else is left out."""
    stated = fact.body.get("kinds")
    values = {kind.value for kind in Kind}
    return {key: Kind(kind) for key, kind in stated.items() if kind in values} if isinstance(stated, Mapping) else {}


def make_durable(prefix: str, num_shards: int, save: common_pb2.Save) -> bool:
    """Syncs the files of a checkpoint, its pin, and their directories.

    False when one of the files has gone or can't be synced, and no pin has them.
    """
    is_pinned = sync_pin(prefix, save)
    return _is_synced(prefix, num_shards) or is_pinned


def _is_synced(prefix: str, num_shards: int) -> bool:
    paths = [f"{prefix}.data-{shard:05d}-of-{num_shards:05d}" for shard in range(num_shards)]
    try:
        for path in [*paths, f"{prefix}.index", os.path.dirname(prefix)]:
            sync(path)
    except WriteError as error:
        log.info("%s is not durable: %s", prefix, error)
        return False
    return True


# ---------------------------------------------------------------------------------------------------------- verifying


@dataclass(frozen=True)
class Answer:
    """What reading a checkpoint has found. found: as the library says it, of the files that were read last."""

    report: pb.Verified
    found: Verification


def verified(task: pb.VerifyTask, is_training: bool) -> Answer:
    """The answer to a task: what reading every byte of the checkpoint has found, or else of its pin.

    While training goes on, the reading leaves the cache alone. Before a plan, a restore is about to read the same
    bytes: then the cache is filled anew, with what was verified.
    """
    expected = task.manifest_digest or None
    found = verify(task.prefix, expected, drop_cache=not is_training, bypass_cache=is_training, finite=False)
    pin = library_pins.find_pin(task.prefix, expected) if expected is not None and found.faults else None
    if pin is not None:  # rotated away, perhaps just now, or written again, or only its index is damaged
        other = verify(pin.prefix, expected, drop_cache=not is_training, bypass_cache=is_training, finite=False)
        found = found if other.faults else other
    report = pb.Verified(
        task_id=task.task_id,
        prefix=task.prefix,
        manifest_digest=found.digest,
        faults=reasons(found.faults),
        medium=_MEDIA[found.medium],
        bytes_read=found.bytes_read,
        duration=_duration(found),
        from_pin=found.prefix != task.prefix,
    )
    return Answer(report, found)


def _duration(found: Verification) -> Duration:
    return seconds(found.duration_s)


# ------------------------------------------------------------------------------------------------------------ listing


@dataclass(frozen=True)
class Listing:
    """What lies in a directory, newest first.

    other_entries: how many of its entries belong to no checkpoint. highest_attempt: that is noted there, 0 for none.
    """

    checkpoints: Sequence[pb.FoundCheckpoint] = ()
    other_entries: int = 0
    highest_attempt: int = 0


def list_directory(directory: str, wanted: str = "") -> Listing:
    """What lies in a directory, newest first, down to the first that is whole; those below it are left out.

    wanted: the prefix that the script itself names there. Where it is whole, it is all that is found: whoever names one
    may have left newer ones out on purpose, such as those of a model that somebody else has trained.

    Where none is whole, the pins follow: one that is whole can be put back under its own name, and is told by that.
    A directory that can't be read is one finding with a fault: it must never look like an empty one. "" lists nothing:
    the script has named no directory.
    """
    if not directory:
        return Listing()
    try:
        everything = list_checkpoints(directory, numbered_only=False)
    except BundleError as error:
        return Listing([pb.FoundCheckpoint(prefix=directory, faults=reasons([(error.reason, error.detail)]))])
    pins = _pins_of(directory)
    noted = _noted_attempt(pins, everything)
    stated = _names_in_state_file(directory)
    names = {os.path.basename(each.prefix): each for each in everything}
    if wanted and os.path.basename(wanted) in names:
        checkpoint = _find(names[os.path.basename(wanted)].prefix)
        if not checkpoint.faults:
            return Listing([checkpoint], highest_attempt=noted)
    in_line = _ones_to_go_on_from([*names, *(os.path.basename(pin.prefix) for pin in pins)], stated)
    found = []
    for each in (each for name, each in names.items() if name in in_line):
        checkpoint = _find(each.prefix)
        found.append(checkpoint)
        if not checkpoint.faults:
            return Listing(found, highest_attempt=noted)
    found += _find_pinned(pins, {*in_line, os.path.basename(wanted)})
    return Listing(found, 0 if found else _count_entries(directory), noted)


def _ones_to_go_on_from(names: Iterable[str], stated: Collection[str]) -> Collection[str]:
    """Those whose name is that of one checkpoint after others, and not of one that is kept for its own sake (`best`).

    A CheckpointManager's ends with its number, and the state file names the newest one. Keras' ModelCheckpoint formats
    the epoch into a name of the user's own, such as `cp-0005.ckpt` or `weights.05-0.87`: these count beside others of
    their kind, or alone. A `best-0.87` beside `ckpt-12` is no step of that way.
    """
    sure = {name for name in names if name in stated or _NUMBER_AT_END.search(name)}
    kinds = {_kind(name) for name in sure}
    return sure | {name for name in names if _NUMBER_IN_NAME.search(name) and (not kinds or _kind(name) in kinds)}


def _kind(name: str) -> str:
    return _NUMBER_IN_NAME.sub("#", name)


def _names_in_state_file(directory: str) -> set[str]:
    """The checkpoints that TensorFlow's state file names, whatever they are called; none where it is of no use."""
    try:
        state = parse(read_state_bytes(directory) or b"")
    except (BundleError, ValueError):
        return set()
    return {os.path.basename(prefix) for prefix in (state.latest, *state.all_paths)}


def _count_entries(directory: str) -> int:
    try:
        return sum(name != library_pins.OWN_DIRECTORY for name in os.listdir(directory))
    except OSError:  # a URL, or there is no such directory
        return 0


def _noted_attempt(pins: Sequence[library_pins.Pin], listed: Sequence[Listed]) -> int:
    """The highest attempt that manifests beside the newest checkpoints or the names of pins tell of; 0: none does."""
    return max(
        [0, *(pin.save.attempt for pin in pins), *(_noted_beside(each.prefix) for each in listed[:MOST_MANIFESTS])]
    )


def _noted_beside(prefix: str) -> int:
    beside = manifests_beside.read(prefix)
    return beside.attempt or 0 if beside is not None else 0


def _find_pinned(pins: Sequence[library_pins.Pin], names: Collection[str]) -> list[pb.FoundCheckpoint]:
    """The newest pin of one of the names that is whole, as the checkpoint that it was."""
    for pin in reversed(pins):
        if os.path.basename(pin.prefix) not in names:
            continue
        checkpoint = _find(pin.prefix)
        if not checkpoint.faults:
            checkpoint.prefix = pin.own_prefix
            return [checkpoint]
    return []


def _pins_of(directory: str) -> Sequence[library_pins.Pin]:
    try:
        return library_pins.list_pins(directory)
    except OSError as error:
        log.warning("the pins of %s can't be listed: %s", directory, error)
        return ()


def _find(prefix: str) -> pb.FoundCheckpoint:
    result = verify(prefix, drop_cache=True, finite=False)
    step = None
    if not result.faults:
        try:
            step, _ = read_step(prefix)
        except BundleError as error:
            log.warning("the step of %s cannot be read: %s", prefix, error)
    return pb.FoundCheckpoint(prefix=prefix, manifest_digest=result.digest, step=step, faults=reasons(result.faults))


# -------------------------------------------------------------------------------------------------------------- plans


@dataclass(frozen=True)
class ReadySeries:
    """One planned series as the hooks can follow it.

    manifest: the file with what it must hold. prefix: where it lies now. was_put_back: rotation had removed it.
    """

    manifest: str
    prefix: str
    was_put_back: bool = False


def prepare_plan(
    worker_directory: str,
    attempt: int,
    planned: Sequence[common_pb2.PlannedSeries],
    kinds: Sequence[dict[bytes, Kind]],
    may_put_back: bool = False,
) -> list[ReadySeries]:
    """Writes what each planned series must hold, for the hooks, and finds where it lies.

    kinds: per series, what is known of its variables. may_put_back: what only a pin has gets its own name again.
    Raises PlanError when something else lies at a prefix, and in no pin. What an earlier agent has written for this
    attempt stays: its checkpoint may have been restored and rotated away since.
    """
    ready = []
    for number, (each, known) in enumerate(zip(planned, kinds, strict=True)):
        path = os.path.join(worker_directory, "plans", f"attempt-{attempt}-{number}.json")
        if not _is_written(path, each.manifest_digest):
            found = _located(each, may_put_back)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            write_json(_place_of(path), {"prefix": found.prefix, "was_put_back": found.was_put_back})
            write_json(path, manifest_to_json(_with_kinds(found.manifest, known)))
        place = read_json(_place_of(path))
        ready.append(ReadySeries(path, str(place.get("prefix") or each.prefix), bool(place.get("was_put_back"))))
    return ready


def _place_of(path: str) -> str:
    return path.removesuffix(".json") + ".place.json"


def _with_kinds(manifest: Manifest, known: Mapping[bytes, Kind]) -> Manifest:
    return replace(manifest, entries=tuple(replace(e, kind=known.get(e.key, e.kind)) for e in manifest.entries))


def _is_written(path: str, digest: str) -> bool:
    """Whether a file holds the manifest of that digest, whole."""
    try:
        with open(path) as file:
            return manifest_from_json(json.load(file)).digest == digest
    except (OSError, ValueError):
        return False


def _located(planned: common_pb2.PlannedSeries, may_put_back: bool) -> Located:
    try:
        found = locate_for_restore(planned.prefix, planned.manifest_digest, may_put_back)
    except BundleError as error:
        detail = f"the plan's checkpoint {planned.prefix} cannot be read: {error}"
        raise PlanError(planned, "", detail) from error
    if found.manifest.digest != planned.manifest_digest:
        detail = (
            f"expected the checkpoint {planned.manifest_digest} at {planned.prefix}, found {found.manifest.digest}: "
            "the prefix was written again"
        )
        raise PlanError(planned, found.manifest.digest, detail)
    return found
