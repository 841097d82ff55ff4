"""Whether the manifests that the workers reported for one save hold the same values, and who differs if not.

What may differ in a healthy job is not compared: variables of each worker's own, and the object graph, which is a
description. What is compared: dtype, shape and checksum of everything else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from lastgood.manifest import OBJECT_GRAPH_KEY, Kind, Manifest, ManifestEntry
from lastgood.reasons import Reason
from lastgood_controller.model import (
    Cause,
    WorkerId,
)
from lastgood_controller.step import named


def disagreement(manifests: Mapping[WorkerId, Manifest]) -> Cause | None:
    """Diverged, naming variables and, where a majority agrees, the odd ones out; None when all agree."""
    entries = {worker: manifest.by_key() for worker, manifest in manifests.items()}
    if len({id(manifest) for manifest in manifests.values()}) < 2:
        return None
    keys = sorted({key for each in entries.values() for key in each} - {OBJECT_GRAPH_KEY})
    labels: list[str] = []
    odd: set[WorkerId] = set()
    for key in keys:
        values = {worker: _value(each.get(key)) for worker, each in entries.items()}
        if _is_per_worker(key, entries) or len(set(values.values())) < 2:
            continue
        labels.append(next(each[key].label for each in entries.values() if key in each))
        odd |= _outvoted(values)
    if not labels:
        return None
    return Cause(Reason.DIVERGED, f"{_who(entries, odd)} in {_of(labels, keys)}: {named(labels)}")


def lost_variables(before: Manifest, after: Manifest) -> tuple[str, ...]:
    """Variables that one manifest has and a later one lacks. Of sliced variables the whole counts, not the parts."""
    kept = {entry.key for entry in after.entries}
    return tuple(
        entry.label
        for entry in before.entries
        if entry.key not in kept and entry.key != OBJECT_GRAPH_KEY and not entry.key.startswith(b"\0")
    )


def _value(entry: ManifestEntry | None) -> tuple[str, tuple[int, ...], int] | None:
    return (entry.dtype, entry.shape, entry.crc32c) if entry is not None else None


def _is_per_worker(key: bytes, entries: Mapping[WorkerId, Mapping[bytes, ManifestEntry]]) -> bool:
    return any(key in each and each[key].kind is Kind.PER_WORKER for each in entries.values())


def _outvoted(values: Mapping[WorkerId, object]) -> set[WorkerId]:
    """Workers that a majority contradicts; nobody when there is no majority."""
    common, votes = Counter(values.values()).most_common(1)[0]
    if votes * 2 <= len(values):
        return set()
    return {worker for worker, value in values.items() if value != common}


def _who(entries: Mapping[WorkerId, object], odd: set[WorkerId]) -> str:
    if odd and len(entries) > 2 and len(odd) < len(entries):
        return f"{named(sorted(odd))} differ{'s' if len(odd) == 1 else ''} from the {len(entries) - len(odd)} others"
    return f"{' and '.join(str(worker) for worker in sorted(entries)[:3])} differ"


def _of(labels: list[str], keys: list[bytes]) -> str:
    return f"{len(labels)} of {len(keys)} variable{'s' if len(keys) != 1 else ''}"
