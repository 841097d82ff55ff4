"""Which checkpoints outlive rotation: the newest good ones, one that is being decided on, and the newest save.

Pure, and the whole policy: what is held and the agent's last word in, what stays held out. Decides nothing about what
is good. The candidate, the one save besides the newest that nobody has judged yet, stays until it is judged: with saves
faster than reading, one that moved on at each save would be gone before it was read, every time. Where nobody judges
now (no agent, or its controller is away), it moves on, so that the newest two saves are held.
"""

import re
from dataclasses import dataclass, field
from typing import Any, FrozenSet, Iterable, List, Mapping, Optional, Tuple

#: What stands for the empty signature: a series that is known by its directory alone.
ANY = "any"

_NAME = re.compile(r"([0-9a-f]{1,64}|any)\.(\d{1,9})\.(\d{1,9})\.(\d{1,9})")


@dataclass(frozen=True, order=True)
class PinName:
    """A save, by the name of its pin: `SIGNATURE.RANK.ATTEMPT.ORDINAL`. Sorts by age within a series."""

    attempt: int
    ordinal: int
    signature: str
    rank: int

    def __str__(self) -> str:
        return "{}.{}.{}.{}".format(self.signature or ANY, self.rank, self.attempt, self.ordinal)

    @property
    def series(self) -> str:
        """The series as the word names it."""
        return "{}.{}".format(self.signature or ANY, self.rank)

    def is_of(self, signature: str, rank: int) -> bool:
        """True when it belongs to a series; one that is known by its directory alone belongs to each one there."""
        return not self.signature or (self.signature, self.rank) == (signature, rank)


def parse_pin_name(text: str) -> Optional[PinName]:
    """The save that a pin's name names; None for any other name."""
    found = _NAME.fullmatch(text)
    if found is None:
        return None
    signature, rank, attempt, ordinal = found.groups()
    return PinName(int(attempt), int(ordinal), "" if signature == ANY else signature, int(rank))


@dataclass(frozen=True)
class Word:
    """The agent's last word about what was saved.

    is_live: whoever judges hears of saves now. good: names of pins that must stay, with their prefixes.
    undecided: names that are known and not judged yet. through: by series, the (attempt, ordinal) up to which saves are
    known; later ones are undecided.
    """

    is_live: bool = False
    good: Mapping[str, str] = field(default_factory=dict)
    undecided: FrozenSet[str] = frozenset()
    through: Mapping[str, Tuple[int, int]] = field(default_factory=dict)


def read_word(document: Any) -> Word:
    """The word in the agent's state; an empty one where it says nothing that can be understood."""
    try:
        return Word(
            is_live=bool(document["live"]),
            good={str(one["name"]): str(one["prefix"]) for one in document["good"]},
            undecided=frozenset(str(name) for name in document["undecided"]),
            through={str(key): (int(pair[0]), int(pair[1])) for key, pair in document["through"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        return NO_WORD


#: Nothing was said yet.
NO_WORD = Word()


def to_keep(
    held: Iterable[PinName], newest: PinName, word: Word, former: FrozenSet[PinName] = frozenset()
) -> FrozenSet[PinName]:
    """What stays held of one series and directory, the newest save among it.

    Beyond the good ones these are at most two. former: those that were good by an earlier word. They stay as well; it
    is given only where what is good now has gone before anybody could say so.
    """
    known = set(held) - {newest}
    good = {name for name in known if str(name) in word.good or name in former}
    candidates: List[PinName] = sorted(name for name in known - good if _is_undecided(name, word))
    chosen = (candidates[:1] if word.is_live else candidates[-1:]) if candidates else []
    return frozenset({newest, *good, *chosen})


def _is_undecided(name: PinName, word: Word) -> bool:
    """What was there before the run (attempt 0) was decided on when it was planned."""
    if name.attempt == 0:
        return False
    return str(name) in word.undecided or (name.attempt, name.ordinal) > word.through.get(name.series, (-1, -1))
