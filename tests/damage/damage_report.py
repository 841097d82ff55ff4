"""What came of all cases: the library's mistakes, and the table in docs/damage.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from judging import Verdict

DOCUMENT = Path(__file__).parents[2] / "docs" / "damage.md"

#: Of these kinds most cases, or all, are of bytes that nobody reads.
HARMLESS = ("bit: metaindex", "bit: metaindex handle", "bit: footer padding", "tail: behind the data", "untouched")


@dataclass(frozen=True)
class Row:
    """One case. said: what each TensorFlow says that can read the original. is_whole: what the library says."""

    kind: str
    case: Mapping[str, object]
    said: Mapping[str, Verdict]
    is_whole: bool
    reason: str

    @property
    def is_damaged(self) -> bool:
        return any(verdict.is_damaged for verdict in self.said.values())

    @property
    def is_silent(self) -> bool:
        """Some TensorFlow gives something else than was saved, without an error."""
        return any("differs" in (verdict.reader, verdict.restore) for verdict in self.said.values())


def rows_of(
    cases: Sequence[Mapping[str, object]],
    verdicts: Mapping[str, Sequence[Verdict | None]],
    ours: Sequence[tuple[bool, str]],
) -> list[Row]:
    """The cases that at least one TensorFlow can say something of."""
    rows = []
    for number, (case, (is_whole, reason)) in enumerate(zip(cases, ours, strict=True)):
        said = {version: found[number] for version, found in verdicts.items()}
        known = {version: verdict for version, verdict in said.items() if verdict is not None}
        assert known, f"no TensorFlow can read the original of {case}"
        rows.append(Row(str(case["kind"]), case, known, is_whole, reason))
    return rows


def mistakes(rows: Sequence[Row]) -> list[str]:
    """Each case in which the library is wrong, as a line."""
    lines = []
    for row in rows:
        if row.is_damaged == row.is_whole:
            called = "whole" if row.is_whole else row.reason
            said = {version: (verdict.reader, verdict.restore, verdict.why) for version, verdict in row.said.items()}
            lines.append(f"{row.kind}: called {called}; TensorFlow says {said}; {row.case}")
    return lines


def kinds_with_fewer(rows: Sequence[Row], count: int) -> list[str]:
    """The kinds of damage of which there are fewer damaged cases than that."""
    damaged = Counter(row.kind for row in rows if row.is_damaged)
    return [kind for kind in dict.fromkeys(row.kind for row in rows) if kind not in HARMLESS and damaged[kind] < count]


def table(rows: Sequence[Row]) -> str:
    """Kinds and counts."""
    lines = [
        "| kind | cases | damaged | found | unharmed | called damaged | TensorFlow says nothing |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for kind in (*dict.fromkeys(row.kind for row in rows), ""):
        some = [row for row in rows if not kind or row.kind == kind]
        damaged = [row for row in some if row.is_damaged]
        found = sum(not row.is_whole for row in damaged)
        wrongly = sum(not row.is_whole for row in some if not row.is_damaged)
        counts = (len(some), len(damaged), found, len(some) - len(damaged), wrongly, sum(row.is_silent for row in some))
        lines.append(f"| {kind or '**all**'} | {' | '.join(map(str, counts))} |")
    return "\n".join(lines)


def how_tensorflow_finds_it(rows: Sequence[Row]) -> str:
    """How often each version raises, dies, or gives wrong values in silence."""
    lines = [
        "| TensorFlow | cases | both readers raise | dies or hangs | other values, in silence | the readers disagree |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for version in dict.fromkeys(version for row in rows for version in row.said):
        said = [row.said[version] for row in rows if version in row.said]
        raising = sum((verdict.reader, verdict.restore) == ("raises", "raises") for verdict in said)
        dying = sum(verdict.reader in ("died", "hung") for verdict in said)
        silent = sum("differs" in (verdict.reader, verdict.restore) for verdict in said)
        disagreeing = sum(verdict.reader != verdict.restore for verdict in said)
        lines.append(f"| {version} | {len(said)} | {raising} | {dying} | {silent} | {disagreeing} |")
    return "\n".join(lines)


HEAD = """# What the damage corpus shows

Written by `make test-full PART=damage`, seed {seed}. Real checkpoints, written by TensorFlow 2.4, 2.15 and 2.21 for
this run (tests/tensorflow_side/random_saves.py), are damaged in every way that is listed here
(tests/damage/damage_corpus.py).

Whether a case is damaged is not assumed. Each TensorFlow that can read the original is asked, in a process of its own:
by `tf.train.load_checkpoint`, tensor by tensor, and by RestoreV2. *Damaged*: one of them raises, dies, or gives a key,
a type, a shape or a value that the original does not have. *Unharmed*: none does. `lastgood.verify` is then asked about
the same bytes: it should have *found* every damaged one and *called damaged* no unharmed one. *TensorFlow says
nothing*: in so many cases one of them gives something else than was saved, without an error.

"""

KINDS = """
## Kinds

- *torn*: TensorFlow's order of writing, stopped anywhere: parts in the temporary folder, data files under their own
  names one after the other, the index opened and empty, the index written in part. Over nothing, or over an older save.
- *cut*: a file that ends where something begins or ends (a tensor, a string, a block, an entry, a handle), or a byte
  beside that.
- *bit*: one flipped bit in one kind of bytes. The regions come from a description of the format that shares no code
  with the library (tests/damage/bundle_layout.py).
- *zeros*: a page, a sector, or the rest of a file that never reached the disk.
- *files*: deleted, emptied, under each other's names, of another save of the same object; of two processes that saved
  to one prefix at once, where a file may begin as one's and end as the other's.
- *tail*: bytes behind the end of a file.
- *untouched*: as saved, with or without what an interrupted save left beside it.
"""


def write(rows: Sequence[Row], verdicts: Mapping[str, object], seed: int) -> None:
    """Writes docs/damage.md."""
    parts = [
        HEAD.format(seed=seed),
        table(rows),
        "",
        "## How TensorFlow itself finds it",
        "",
        how_tensorflow_finds_it(rows),
        KINDS,
    ]
    DOCUMENT.write_text("\n".join(parts), encoding="utf-8")
