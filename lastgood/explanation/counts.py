"""Where the checkpoint and the program have a different number of layers or elements.

Lists and models of layers are kept as numbered children (`0`, `layer-3`). Decides only how many there were and are.
"""

import re
from collections import Counter
from dataclasses import dataclass
from typing import List, Mapping, Sequence, Tuple

from lastgood.explanation.described import Description
from lastgood.explanation.matching import Matching

_NUMBERED = re.compile(r"(.*?)(\d+)\Z", re.DOTALL)

#: What TensorFlow's own numbered children are.
_WHAT = {"layer-": "layers", "layer_with_weights-": "layers with weights"}

#: A child that has one of these is a layer.
_OF_LAYERS = frozenset(
    {"kernel", "_kernel", "bias", "gamma", "beta", "embeddings", "_embeddings", "depthwise_kernel", "recurrent_kernel"}
)


@dataclass(frozen=True)
class CountDifference:
    """One object with more or fewer numbered children than it had. parent, path: of the program's object."""

    parent: int
    path: str
    stem: str
    what: str
    saved: int
    live: int

    @property
    def sentence(self) -> str:
        """It in words, without a stop."""
        where = "`{}` was".format(self.path) if self.path else "it was"
        return "{} saved with {} {}, the program builds {}".format(where, self.saved, self.what, self.live)

    @property
    def is_ordered(self) -> bool:
        """Whether a child's number is its place, so that one more in the middle moves those behind it."""
        return bool(self.saved and self.live)

    def covers(self, child: str) -> bool:
        """Whether a child is one of those that were counted."""
        found = _NUMBERED.match(child)
        return found is not None and found.group(1) == self.stem


def find_count_differences(
    saved: Description, target: Description, matching: Matching, paths: Mapping[int, str]
) -> Sequence[CountDifference]:
    """Every difference, in the order of the program's paths. Objects that are still to be built have none."""
    found: List[CountDifference] = []
    for number, live in matching.bound.items():
        if live is None or target.traits_of(live).is_unbuilt:
            continue
        before, now = _counts(saved, number), _counts(target, live)
        for stem in sorted(set(before) | set(now)):
            if before[stem] != now[stem]:
                what = _what(stem, [(saved, number), (target, live)])
                found.append(CountDifference(live, paths.get(live, ""), stem, what, before[stem], now[stem]))
    return sorted(found, key=lambda one: (one.path, one.stem))


def _counts(side: Description, number: int) -> "Counter[str]":
    matches = (_NUMBERED.match(name) for name, _ in side.graph.nodes[number].children)
    return Counter(match.group(1) for match in matches if match)


def _what(stem: str, owners: Sequence[Tuple[Description, int]]) -> str:
    if stem in _WHAT:
        return _WHAT[stem]
    children = [
        (side, child)
        for side, number in owners
        for name, child in side.graph.nodes[number].children
        if (match := _NUMBERED.match(name)) and match.group(1) == stem
    ]
    if all(side.traits_of(child).is_layer or _looks_like_layer(side, child) for side, child in children):
        return "layers"
    return "elements" if not stem else "`{}`s".format(stem)


def _looks_like_layer(side: Description, number: int) -> bool:
    return any(name in _OF_LAYERS for name, _ in side.graph.nodes[number].children)
