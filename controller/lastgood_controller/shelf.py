"""The manifests that digests stand for: which are there, which are still to be asked for.

`ManifestShelf` reads through to the store and keeps those used last in memory, so that a long run does not fill it.
`WantedManifests` asks the first few workers that report an unknown digest, not ten thousand of them at once; one of a
few is enough, and while none has delivered others are asked again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from lastgood.manifest import Manifest
from lastgood_controller.model import (
    Run,
    Standing,
    WorkerId,
)
from lastgood_controller.store import StoreReader

#: Entries of manifests that are kept in memory, about 0.4 kB each.
MAX_ENTRIES = 200_000

#: How many workers are asked for one digest at the same time, and how long they may take.
ASKED_AT_ONCE = 3
ASKED_FOR_S = 10.0


class ManifestShelf(Mapping[str, Manifest]):
    """Every stored manifest by its digest."""

    def __init__(self, store: StoreReader) -> None:
        self._store = store
        self._digests = set(store.manifest_digests())
        self._recent: OrderedDict[str, Manifest] = OrderedDict()
        self._entries = 0

    def add(self, manifest: Manifest) -> None:
        """Takes note of a manifest that has been stored; it is about to be judged, so that it stays in memory."""
        self._digests.add(manifest.digest)
        if manifest.digest not in self._recent:
            self._keep(manifest.digest, manifest)

    def __contains__(self, digest: object) -> bool:
        return digest in self._digests

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._digests))

    def __len__(self) -> int:
        return len(self._digests)

    def __getitem__(self, digest: str) -> Manifest:
        if digest not in self._digests:
            raise KeyError(digest)
        if digest in self._recent:
            self._recent.move_to_end(digest)
            return self._recent[digest]
        manifest = self._store.manifest(digest)
        if manifest is None:
            raise KeyError(digest)
        self._keep(digest, manifest)
        return manifest

    def _keep(self, digest: str, manifest: Manifest) -> None:
        self._recent[digest] = manifest
        self._entries += len(manifest.entries)
        while self._entries > MAX_ENTRIES and len(self._recent) > 1:
            _, oldest = self._recent.popitem(last=False)
            self._entries -= len(oldest.entries)


class ShelfWith(Mapping[str, Manifest]):
    """A shelf as it will be once some more manifests are stored."""

    def __init__(self, shelf: ManifestShelf, manifests: Iterable[Manifest]) -> None:
        self._shelf = shelf
        self._more = {manifest.digest: manifest for manifest in manifests}

    def __contains__(self, digest: object) -> bool:
        return digest in self._more or digest in self._shelf

    def __iter__(self) -> Iterator[str]:
        return iter({*self._shelf, *self._more})

    def __len__(self) -> int:
        return len({*self._shelf, *self._more})

    def __getitem__(self, digest: str) -> Manifest:
        return self._more[digest] if digest in self._more else self._shelf[digest]


@dataclass
class _Want:
    reporters: set[WorkerId] = field(default_factory=set)
    asked: dict[WorkerId, float] = field(default_factory=dict)


class WantedManifests:
    """The digests of one run that somebody has reported and nobody has delivered."""

    def __init__(self, run: Run, shelf: ManifestShelf) -> None:
        self._shelf = shelf
        self._wants: dict[str, _Want] = {}
        for checkpoint in run.checkpoints.values():
            if checkpoint.verdict.standing is Standing.PENDING:
                for report in checkpoint.reports.values():
                    self.note(report.worker, report.manifest_digest)

    def note(self, worker: WorkerId, digest: str) -> None:
        """A worker reported a save of this digest, perhaps not for the first time."""
        if digest and digest not in self._shelf:
            self._wants.setdefault(digest, _Want()).reporters.add(worker)

    def is_wanted(self, digest: str) -> bool:
        return digest in self._wants

    def delivered(self, digest: str) -> None:
        self._wants.pop(digest, None)

    def ask(self, worker: WorkerId, now_s: float) -> tuple[str, ...]:
        """The digests that this worker is to deliver now."""
        return tuple(digest for digest, want in self._wants.items() if self._may_ask(want, worker, now_s))

    def _may_ask(self, want: _Want, worker: WorkerId, now_s: float) -> bool:
        if worker not in want.reporters:
            return False
        others = [at_s for other, at_s in want.asked.items() if other != worker and now_s - at_s < ASKED_FOR_S]
        if len(others) >= ASKED_AT_ONCE:
            return False
        want.asked[worker] = now_s
        return True
