"""Where the checkpoint and the program have a different number of layers or elements.

Lists and models of layers are kept as numbered children (`0`, `layer-3`). Decides only how many there were and are.
"""

from dataclasses import dataclass
from typing import Dict, List, Mapping, Sequence

from lastgood.explanation.described import Description, with_values_below
from lastgood.explanation.matching import Matching

#: What TensorFlow's own numbered children are.
_WHAT = {"layer-": "layers", "layer_with_weights-": "layers with weights"}

#: What Keras 3's lists of them are, by the attribute that holds the list.
_WHAT_IN = {"_operations": "layers and inputs", "_layers": "layers", "layers": "layers"}

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
    def is_of_layers(self) -> bool:
        """Whether layers were counted, which make a model, and no other elements, of which a script may keep any."""
        return "layers" in self.what

    @property
    def is_ordered(self) -> bool:
        """Whether a child's number is its place, so that one more in the middle moves those behind it."""
        return bool(self.saved and self.live)


def find_count_differences(
    saved: Description, target: Description, matching: Matching, paths: Mapping[int, str]
) -> Sequence[CountDifference]:
    """Every difference, in the order of the program's paths. Objects that are still to be built may yet get more.

    But for those that hold no value at all, and children: the layers of a list are there before they are built.
    """
    found: List[CountDifference] = []
    filled = with_values_below(target.graph.nodes)
    for number, live in matching.bound.items():
        if live is None:
            continue
        is_unbuilt = target.traits_of(live).is_unbuilt
        before, now = _numbered(saved, number), _numbered(target, live)
        for stem in sorted(set(before) | set(now)):
            old, new = before.get(stem, ()), now.get(stem, ())
            is_there = len(new) > len(old) > 0 or (live not in filled and old and new)
            if len(old) != len(new) and (not is_unbuilt or is_there):
                are_layers = _are_layers(saved, old) and _are_layers(target, new)
                path = paths.get(live, "")
                found.append(CountDifference(live, path, stem, _what(path, stem, are_layers), len(old), len(new)))
    return sorted(found, key=lambda one: (one.path, one.stem))


def stem_of(child: str) -> str:
    """The name of a numbered child without its number; the whole name of any other."""
    return child.rstrip("0123456789")


def _numbered(side: Description, number: int) -> Mapping[str, Sequence[int]]:
    """The numbered children by the stem of their names."""
    found: Dict[str, List[int]] = {}
    for name, child in side.graph.nodes[number].children:
        stem = stem_of(name)
        if stem != name:
            found.setdefault(stem, []).append(child)
    return found


def _what(path: str, stem: str, are_layers: bool) -> str:
    if stem in _WHAT:
        return _WHAT[stem]
    holder = path.rpartition("/")[2]
    if not stem and holder in _WHAT_IN:
        return _WHAT_IN[holder]
    if are_layers:
        return "layers"
    return "elements" if not stem else "`{}`s".format(stem)


def _are_layers(side: Description, children: Sequence[int]) -> bool:
    return all(side.traits_of(child).is_layer or _looks_like_layer(side, child) for child in children)


def _looks_like_layer(side: Description, number: int) -> bool:
    return any(name in _OF_LAYERS for name, _ in side.graph.nodes[number].children)
