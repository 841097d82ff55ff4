"""Damaged checkpoints of every kind, drawn at random from real ones, the same ones for the same seed.

A corpus is a folder of real checkpoints in families (one object, or set of tensors, saved several times with other
values) and a list of cases: what is done to the files of one (tests/tensorflow_side/checkpoint_edits.py). Nothing here
knows whether a case is damaged: a flipped bit may lie where nobody reads, zeros may replace zeros. TensorFlow says
that.

Kinds and what they stand for: docs/damage.md.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from bundle_layout import Layout, layout_of
from checkpoint_edits import files_of

PAGE_BYTES, SECTOR_BYTES = 4096, 512
INDEX = ".index"

Case = dict[str, object]


@dataclass(frozen=True)
class Family:
    """Saves of one object, oldest first: folders below `root`."""

    root: Path
    saves: tuple[str, ...]

    def files(self, save: str) -> Mapping[str, bytes]:
        return files_of(str(self.root / save))

    def layout(self, save: str) -> Layout:
        return _layout(str(self.root / save))


@lru_cache(maxsize=4096)
def _layout(folder: str) -> Layout:
    return layout_of(files_of(folder))


# ------------------------------------------------------------------------------------------------------------- corpora


def collect(root: Path, families: Sequence[Sequence[tuple[Path, Mapping[str, str] | None]]]) -> list[Family]:
    """Copies checkpoints, given by their prefixes family by family, below `root`. With each prefix: {key: dtype} where
    its keys are no text."""
    collected, known = [], {}
    for number, prefixes in enumerate(families):
        saves = []
        for place, (prefix, types) in enumerate(prefixes):
            save = f"{number:04d}/{place}"
            (root / save).mkdir(parents=True)
            for path in prefix.parent.glob(f"{prefix.name}.*"):
                if path.name[len(prefix.name) :].startswith((INDEX, ".data-")):
                    shutil.copy(path, root / save / f"ckpt{path.name[len(prefix.name) :]}")
            saves.append(save)
            if types:
                known[save] = types
        collected.append(Family(root, tuple(saves)))
    (root / "known.json").write_text(json.dumps(known))
    return collected


def draw(families: Sequence[Family], seed: int, per_kind: int) -> Iterator[Case]:
    """So many different cases of each kind, from all families in turn; fewer where there are no more."""
    for kind, make in KINDS.items():
        rng = random.Random(f"{seed}/{kind}")
        able = [family for family in families if _is_able(make, family)]
        drawn: set[str] = set()
        wanted = per_kind * OFTENER.get(kind, 1)
        for attempt in range(wanted * 12):
            if len(drawn) == wanted or not able:
                break
            case = make(rng, able[attempt % len(able)])
            text = json.dumps(case, sort_keys=True)
            if case is None or text in drawn:
                continue
            drawn.add(text)
            yield {"kind": kind, **case}


def _is_able(make: Callable[[random.Random, Family], Case | None], family: Family) -> bool:
    rng = random.Random(0)
    return any(make(rng, family) is not None for _ in range(20))


# --------------------------------------------------------------------------------------------------------------- kinds


def _case(start: str | None, edits: Sequence[Sequence[object]], *originals: str) -> Case:
    return {"start": start, "edits": [list(edit) for edit in edits], "originals": list(originals)}


def _flip(region_name: str) -> Callable[[random.Random, Family], Case | None]:
    """One bit of one kind of bytes."""

    def make(rng: random.Random, family: Family) -> Case | None:
        save = rng.choice(family.saves)
        regions = family.layout(save).regions.get(region_name)
        if not regions:
            return None
        region = rng.choice(regions)
        return _case(save, [["flip", region.suffix, rng.randrange(region.start, region.end), rng.randrange(8)]], save)

    return make


def _cut(is_index: bool) -> Callable[[random.Random, Family], Case | None]:
    """A file that ends where something begins or ends, or a byte beside it."""

    def make(rng: random.Random, family: Family) -> Case | None:
        save = rng.choice(family.saves)
        suffixes = [suffix for suffix in family.layout(save).boundaries if (suffix == INDEX) == is_index]
        if not suffixes:
            return None
        suffix = rng.choice(sorted(suffixes))
        size = len(family.files(save)[suffix])
        cut = rng.choice(sorted(family.layout(save).boundaries[suffix])) + rng.choice((-1, 0, 0, 1))
        return _case(save, [["cut", suffix, cut]], save) if 0 <= cut < size else None

    return make


def _zeroed(is_index: bool) -> Callable[[random.Random, Family], Case | None]:
    """A page or a sector of zeros: what a file system gives for blocks that never reached the disk."""

    def make(rng: random.Random, family: Family) -> Case | None:
        save = rng.choice(family.saves)
        suffix = rng.choice([suffix for suffix in family.files(save) if (suffix == INDEX) == is_index])
        size = len(family.files(save)[suffix])
        block_bytes = rng.choice((PAGE_BYTES, SECTOR_BYTES, 64 if is_index else SECTOR_BYTES))
        start = rng.randrange(0, size + 1, block_bytes)
        return _case(save, [["zero", suffix, start, start + block_bytes]], save) if start < size else None

    return make


def _zero_tail(rng: random.Random, family: Family) -> Case | None:
    """A file of the right size of which only the beginning was written."""
    save = rng.choice(family.saves)
    suffix = rng.choice(sorted(family.files(save)))
    size = len(family.files(save)[suffix])
    return _case(save, [["zero", suffix, rng.randrange(size), size]], save) if size else None


def _deleted(rng: random.Random, family: Family) -> Case | None:
    save = rng.choice(family.saves)
    suffixes = sorted(family.files(save))
    gone = rng.sample(suffixes, rng.randint(1, len(suffixes)))
    return _case(save, [["delete", suffix] for suffix in sorted(gone)], save)


def _emptied(rng: random.Random, family: Family) -> Case | None:
    """Files of no bytes: opened, and never written."""
    save = rng.choice(family.saves)
    suffixes = sorted(family.files(save))
    empty = rng.sample(suffixes, rng.randint(1, len(suffixes)))
    return _case(save, [["cut", suffix, 0] for suffix in sorted(empty)], save)


def _swapped(rng: random.Random, family: Family) -> Case | None:
    """Data files under each other's names."""
    save = rng.choice(family.saves)
    shards = [suffix for suffix in sorted(family.files(save)) if suffix != INDEX]
    if len(shards) < 2:
        return None
    chosen = sorted(rng.sample(shards, rng.randint(2, len(shards))))
    turned = chosen[1:] + chosen[:1]
    return _case(save, [["copy", suffix, save, other] for suffix, other in zip(chosen, turned, strict=True)], save)


def _stale(rng: random.Random, family: Family) -> Case | None:
    """Some data files are those of another save."""
    save, other = _two_saves(rng, family)
    shards = [suffix for suffix in sorted(family.files(save)) if suffix != INDEX and suffix in family.files(other)]
    if len(shards) < 2:
        return None
    stale = sorted(rng.sample(shards, rng.randint(1, len(shards) - 1)))
    return _case(save, [["copy", suffix, other, suffix] for suffix in stale], save)


def _foreign_data(rng: random.Random, family: Family) -> Case | None:
    """The index of one save with all the data of another."""
    save, other = _two_saves(rng, family)
    shards = [suffix for suffix in sorted(family.files(save)) if suffix != INDEX]
    if set(family.files(other)) != set(family.files(save)) or save == other:
        return None
    return _case(save, [["copy", suffix, other, suffix] for suffix in shards], save)


def _two_processes(rng: random.Random, family: Family) -> Case | None:
    """Two processes saved to one prefix at once: each file is of one of them, or begins as one's and ends as the
    other's, as both write into the same inode."""
    first, second = _two_saves(rng, family)
    if set(family.files(first)) != set(family.files(second)) or first == second:
        return None
    edits: list[list[object]] = []
    for suffix, content in sorted(family.files(first).items()):
        fate = rng.choice(("first", "second", "mixed"))
        if fate == "second":
            edits.append(["copy", suffix, second, suffix])
        elif fate == "mixed":
            edits.append(["tail", suffix, second, suffix, rng.randrange(len(content) + 1)])
    return _case(first, edits, first, second) if edits else None


def _two_saves(rng: random.Random, family: Family) -> tuple[str, str]:
    first = rng.choice(family.saves)
    return first, rng.choice([save for save in family.saves if save != first] or [first])


def _torn(is_over_another: bool) -> Callable[[random.Random, Family], Case | None]:
    """A save that was killed: TensorFlow's order of writing, stopped anywhere. Over nothing, or over an older save."""

    def make(rng: random.Random, family: Family) -> Case | None:
        old, new = _two_saves(rng, family)
        if is_over_another and old == new:
            return None
        stages = list(_stages(family, new, rng))
        edits: list[Sequence[object]] = []
        for stage in stages[: rng.randint(1, len(stages))]:
            edits += stage
        return _case(old, edits, old, new) if is_over_another else _case(None, edits, new)

    return make


def _stages(family: Family, save: str, rng: random.Random) -> Iterator[list[Sequence[object]]]:
    """The steps of one save, each as edits of what lies there: data and index into a temporary folder, each in parts,
    then the data under its own name, then the index, in place."""
    files = family.files(save)
    parts = {suffix: f"_temp/part{suffix}" for suffix in sorted(files, key=lambda suffix: suffix == INDEX)}
    for suffix, part in parts.items():
        yield [["copy", part, save, suffix], ["cut", part, rng.randrange(len(files[suffix]) + 1)]]
        yield [["copy", part, save, suffix]]
    for suffix in parts:
        if suffix != INDEX:
            yield [["copy", suffix, save, suffix], ["delete", parts[suffix]]]
    yield [["cut", INDEX, 0]]
    yield [["copy", INDEX, save, INDEX], ["cut", INDEX, rng.randrange(len(files[INDEX]) + 1)]]
    yield [["copy", INDEX, save, INDEX]]
    yield [["delete", parts[INDEX]]]


def _appended(is_index: bool) -> Callable[[random.Random, Family], Case | None]:
    """Bytes behind the end: zeros, noise, or what an older and longer file had there."""

    def make(rng: random.Random, family: Family) -> Case | None:
        save = rng.choice(family.saves)
        suffix = rng.choice([suffix for suffix in sorted(family.files(save)) if (suffix == INDEX) == is_index])
        count = rng.choice((1, 5, 48, 512, 4096))
        tail = rng.choice((bytes(count), rng.randbytes(count), family.files(save)[suffix][-count:]))
        return _case(save, [["append", suffix, tail.hex()]], save) if tail else None

    return make


def _untouched(rng: random.Random, family: Family) -> Case | None:
    """As it was saved; what an interrupted save of another step left behind lies beside it."""
    save, other = _two_saves(rng, family)
    suffix = rng.choice(sorted(family.files(other)))
    part = f"_temp/part{suffix}"
    cut = rng.randrange(len(family.files(other)[suffix]) + 1)
    return _case(save, rng.choice(([], [["copy", part, other, suffix], ["cut", part, cut]])), save)


FLIPPED = (
    "numbers",
    "strings",
    "string lengths",
    "checksum of string lengths",
    "iterator state",
    "object graph",
    "header proto",
    "entry keys",
    "entry proto",
    "restart points",
    "compression byte",
    "block checksum",
    "index block",
    "index handle",
    "magic",
    "metaindex",
    "metaindex handle",
    "footer padding",
)

#: Most cases of these kinds leave an older save as it was: so many times as many are drawn.
OFTENER: Mapping[str, int] = {"torn: over an older save": 3}

KINDS: Mapping[str, Callable[[random.Random, Family], Case | None]] = {
    "torn: first save of the prefix": _torn(False),
    "torn: over an older save": _torn(True),
    "cut: data": _cut(False),
    "cut: index": _cut(True),
    **{f"bit: {name}": _flip(name) for name in FLIPPED},
    "zeros: block of data": _zeroed(False),
    "zeros: block of the index": _zeroed(True),
    "zeros: from somewhere to the end": _zero_tail,
    "files: deleted": _deleted,
    "files: emptied": _emptied,
    "files: data files swapped": _swapped,
    "files: some data files of another save": _stale,
    "files: all data of another save": _foreign_data,
    "files: two processes at once": _two_processes,
    "tail: behind the data": _appended(False),
    "tail: behind the index": _appended(True),
    "untouched": _untouched,
}
