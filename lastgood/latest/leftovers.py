"""What lies orphaned or leaked in a directory of checkpoints, told by names and sizes alone.

Leaked is what an interrupted save, a killed worker or a deleted checkpoint left behind. Orphaned is a checkpoint that
the state file does not list: TensorFlow neither takes it for the latest nor ever deletes it. Decides only, and deletes
nothing; whether a checkpoint is whole is not said here.
"""

import re
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import Dict, List, Mapping, Optional, Sequence, Set, Tuple

from lastgood import sidecar
from lastgood.latest.decide import series_of

_TEMPORARY_SAVE = re.compile(r"_temp(_[0-9a-f]+)?\Z")
_TEMPORARY_FILE = re.compile(r"(\.tempstate\w*|\.lastgood\.json\.tmp[0-9a-f]+)\Z")
_WORKER_DIRECTORY = re.compile(r"workertemp_\d+\Z")
_STATE_TEMPORARY = re.compile(r"checkpoint\.tmp\w*\Z")
_DATA_FILE = re.compile(r"(.+)\.data-(\d{5})-of-(\d{5})\Z", re.DOTALL)
_INDEX = ".index"


@dataclass(frozen=True)
class Seen:
    """One name in the directory. size_bytes: of a directory, what lies in it."""

    name: str
    is_directory: bool
    size_bytes: int


class Leftover(str, Enum):
    """What lies in a checkpoint directory and is of no use to TensorFlow; or a checkpoint that it does not know of."""

    ORPHAN = "Orphan"  # a checkpoint, complete by its files' names, that the state file does not list
    EMPTY_INDEX = "EmptyIndex"
    DATA_WITHOUT_INDEX = "DataWithoutIndex"
    INDEX_WITHOUT_DATA = "IndexWithoutData"
    TEMPORARY_SAVE = "TemporarySave"
    TEMPORARY_FILE = "TemporaryFile"
    TEMPORARY_STATE = "TemporaryState"
    WORKER_DIRECTORY = "WorkerDirectory"
    LONE_MANIFEST = "LoneManifest"


MEANINGS: Mapping[Leftover, str] = {
    Leftover.ORPHAN: "a checkpoint that the state file does not list: kept on purpose, or saved and not noted any more",
    Leftover.EMPTY_INDEX: "an index that was opened and never written: the save was interrupted",
    Leftover.DATA_WITHOUT_INDEX: "data without an index: nothing can be restored from it",
    Leftover.INDEX_WITHOUT_DATA: "an index whose data files are not all there",
    Leftover.TEMPORARY_SAVE: "parts of a save: it goes on right now, or was interrupted",
    Leftover.TEMPORARY_FILE: "a file of a save, or a manifest, that is being written right now, or was interrupted",
    Leftover.TEMPORARY_STATE: "a state file that was never renamed",
    Leftover.WORKER_DIRECTORY: "what a worker that is not the chief has saved for nobody",
    Leftover.LONE_MANIFEST: "a manifest whose checkpoint is gone",
}


@dataclass(frozen=True)
class Left:
    """One leftover. size_bytes: of all its files together."""

    kind: Leftover
    name: str
    size_bytes: int


def leftovers(seen: Sequence[Seen], listed_names: Set[str]) -> Tuple[Left, ...]:
    """What lies orphaned or leaked, by kind and name.

    seen: everything in the directory. listed_names: of the checkpoints that the state file lists.
    """
    found: List[Left] = [left for left in map(_left_of_one, seen) if left is not None]
    sizes = {row.name: row.size_bytes for row in seen if not row.is_directory}
    stems = {name[: -len(_INDEX)] for name in sizes if name.endswith(_INDEX)}
    shards: Dict[str, List[int]] = {stem: [] for stem in stems}  # of how many each data file says it is
    size_of = {stem: sizes[stem + _INDEX] for stem in stems}
    for name, size_bytes in sizes.items():
        data_file = _DATA_FILE.match(name)
        if data_file:
            stem = data_file.group(1)
            shards.setdefault(stem, []).append(int(data_file.group(3)))
            size_of[stem] = size_of.get(stem, 0) + size_bytes
    for stem in sorted(set(shards) - {""}):
        kind = _kind_of(stem, stem in stems, sizes.get(stem + _INDEX, 0), shards[stem], listed_names)
        if kind is not None and not _TEMPORARY_FILE.search(stem):
            found.append(Left(kind, stem, size_of[stem]))
    owners = stems | {row.name for row in seen}
    for name in sizes:
        if name.endswith(sidecar.SUFFIX) and name[: -len(sidecar.SUFFIX)] not in owners:
            found.append(Left(Leftover.LONE_MANIFEST, name, sizes[name]))
    order = list(Leftover)
    return tuple(sorted(found, key=lambda left: (order.index(left.kind), left.name)))


def _left_of_one(row: Seen) -> Optional[Left]:
    """What a name says by itself."""
    if row.is_directory:
        if _TEMPORARY_SAVE.search(row.name):
            return Left(Leftover.TEMPORARY_SAVE, row.name, row.size_bytes)
        if _WORKER_DIRECTORY.match(row.name):
            return Left(Leftover.WORKER_DIRECTORY, row.name, row.size_bytes)
    elif _STATE_TEMPORARY.match(row.name):
        return Left(Leftover.TEMPORARY_STATE, row.name, row.size_bytes)
    elif _TEMPORARY_FILE.search(row.name):
        return Left(Leftover.TEMPORARY_FILE, row.name, row.size_bytes)
    return None


def _kind_of(
    stem: str, has_index: bool, index_bytes: int, counts: Sequence[int], listed_names: Set[str]
) -> Optional[Leftover]:
    if not has_index:
        return Leftover.DATA_WITHOUT_INDEX
    if not counts and series_of(stem) == stem and stem not in listed_names:
        return None  # some other program's index
    if index_bytes == 0:
        return Leftover.EMPTY_INDEX
    if not any(found == of for of, found in Counter(counts).items()):
        return Leftover.INDEX_WITHOUT_DATA
    return None if stem in listed_names else Leftover.ORPHAN
