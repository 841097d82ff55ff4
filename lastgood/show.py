"""What a checkpoint holds, for people: its tensors as a tree by attribute path, sums, step and save counter.

Reads the index, and of the data files only the step and the save counter (and, when asked, names and small values).
Nothing is said about whether the rest is whole. Linear in the number of tensors: a checkpoint may have 100,000.
"""

from fnmatch import fnmatchcase
from itertools import zip_longest
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from lastgood.bundle.dtypes import INTEGERS
from lastgood.bundle.reader import label
from lastgood.checkpoint import BUNDLE, Checkpoint, TensorInfo
from lastgood.errors import BundleError
from lastgood.inspect import SAVE_COUNTER_NAME, STEP_NAMES, VALUE_SUFFIX

#: Where Keras keeps the steps that its optimizer has made, in its own files.
_KERAS_STEP = b"optimizer/vars/0"


class Progress(NamedTuple):
    """How far training was. Both None where the checkpoint has no such variable, or it cannot be read (`problem`)."""

    step: Optional[int]
    save_counter: Optional[int]
    problem: Optional[BundleError] = None


class Row(NamedTuple):
    """One line of the tree. tensor: None for an object that only holds others. tensors, size_bytes: with all below."""

    depth: int
    name: str
    tensor: Optional[TensorInfo]
    tensors: int
    size_bytes: int


class Totals(NamedTuple):
    """Sums over some tensors. by_dtype: (type, tensors, bytes), the largest first."""

    tensors: int
    elements: int
    size_bytes: int
    by_dtype: Tuple[Tuple[str, int, int], ...]


class Shown(NamedTuple):
    """All that is shown of a checkpoint.

    tensors: those that were asked for, sorted by key. names, values: by key. names: None where nobody asked.
    values: of small tensors, or why they could not be read.
    """

    format: str
    prefix: str
    progress: Progress
    tensors: Sequence[TensorInfo]
    tensors_in_all: int
    names: Optional[Mapping[bytes, str]]
    values: Mapping[bytes, Union[List[Any], BundleError]]

    @property
    def problems(self) -> List[BundleError]:
        """What could not be read."""
        found = [value for value in self.values.values() if isinstance(value, BundleError)]
        return found if self.progress.problem is None else [self.progress.problem, *found]


def read_progress(checkpoint: Checkpoint) -> Progress:
    """Step and save counter, from the variables that usually are."""
    try:
        if checkpoint.format != BUNDLE:
            return Progress(_integer(checkpoint, _KERAS_STEP), None)
        names = [(name + VALUE_SUFFIX).encode() for name in (*STEP_NAMES, SAVE_COUNTER_NAME)]
        found = [_integer(checkpoint, name) for name in names]
        return Progress(next((step for step in found[:-1] if step is not None), None), found[-1])
    except BundleError as error:
        return Progress(None, None, error)


def _integer(checkpoint: Checkpoint, key: bytes) -> Optional[int]:
    tensor = checkpoint.tensors.get(key)
    if tensor is None or tensor.shape != () or tensor.dtype not in INTEGERS:
        return None
    return int(checkpoint.values(key)[0])


def select(tensors: Mapping[bytes, TensorInfo], pattern: Optional[str]) -> List[TensorInfo]:
    """Those whose path has `pattern` in it, or matches it where it has a `*`, `?` or `[`. All of them for None."""
    if pattern is None:
        return list(tensors.values())
    is_matching: Callable[[str], bool]
    if any(wildcard in pattern for wildcard in "*?["):
        is_matching = lambda text: fnmatchcase(text, pattern)  # noqa: E731
    else:
        is_matching = lambda text: pattern in text  # noqa: E731
    return [tensor for tensor in tensors.values() if is_matching(tensor.label)]


def totals(tensors: Sequence[TensorInfo]) -> Totals:
    """Their sums."""
    counts: Dict[str, Tuple[int, int]] = {}
    elements = 0
    for tensor in tensors:
        count, size_bytes = counts.get(tensor.dtype, (0, 0))
        counts[tensor.dtype] = (count + 1, size_bytes + tensor.size_bytes)
        elements += tensor.elements
    by_dtype = sorted(((dtype, *sums) for dtype, sums in counts.items()), key=lambda row: (-row[2], row[0]))
    return Totals(len(tensors), elements, sum(row[2] for row in by_dtype), tuple(by_dtype))


def tree(tensors: Sequence[TensorInfo]) -> List[Row]:
    """The tensors by attribute path, objects that hold only one other thing joined with it. tensors: sorted by key.

    Keys that share a path lie side by side when sorted, so one pass finds every object and what is below it.
    """
    nodes: List[_Node] = []
    opened: List[_Node] = []  # from the outermost object to the one that the last tensor was
    for tensor in tensors:
        path = label(tensor.key).split("/")
        shared = 0
        for node, name in zip(opened, path):
            if node.name != name:
                break
            shared += 1
        if shared == len(path) and opened[shared - 1].tensor is not None:  # two keys that read alike
            shared -= 1
        _close(opened, shared)
        for name in path[shared:]:
            node = _Node(len(opened), name)
            opened.append(node)
            nodes.append(node)
        last = opened[-1]
        last.tensor = tensor
        last.tensors += 1
        last.size_bytes += tensor.size_bytes
    _close(opened, 0)
    return _joined(nodes)


class _Node:
    """An object or a tensor while the tree is made. tensors, size_bytes: of what is closed already, and of itself."""

    __slots__ = ("depth", "name", "size_bytes", "tensor", "tensors")

    def __init__(self, depth: int, name: str) -> None:
        self.depth = depth
        self.name = name
        self.tensor: Optional[TensorInfo] = None
        self.tensors = self.size_bytes = 0


def _close(opened: List[_Node], depth: int) -> None:
    """Nothing more comes below the objects from `depth` on: each counts with the one that holds it."""
    while len(opened) > depth:
        node = opened.pop()
        if opened:
            opened[-1].tensors += node.tensors
            opened[-1].size_bytes += node.size_bytes


def _joined(nodes: Sequence[_Node]) -> List[Row]:
    """The rows, with each object that only holds one other thing joined to it: `net/d1` instead of two lines."""
    rows: List[Row] = []
    before = ""  # the names of the objects that are joined to the next row
    joins: List[int] = []  # by depth: how many objects above it were joined to others
    for node, below in zip_longest(nodes, nodes[1:]):
        depth, tensor = node.depth, node.tensor
        del joins[depth:]
        above = joins[-1] if joins else 0
        if tensor is None and below.tensors == node.tensors:  # what is no tensor has something below it
            before += node.name + "/"
            joins.append(above + 1)
        else:
            rows.append(Row(depth - above, before + node.name, tensor, node.tensors, node.size_bytes))
            before = ""
            joins.append(above)
    return rows


def read_values(
    checkpoint: Checkpoint, tensors: Sequence[TensorInfo], max_elements: int
) -> Dict[bytes, Union[List[Any], BundleError]]:
    """The elements of each tensor that has no more than so many, row by row; or why they could not be read."""
    values: Dict[bytes, Union[List[Any], BundleError]] = {}
    for tensor in tensors:
        if tensor.elements <= max_elements:
            try:
                values[tensor.key] = checkpoint.values(tensor.key)
            except BundleError as error:
                values[tensor.key] = error
    return values
