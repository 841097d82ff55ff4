"""What changed between two checkpoints: keys, types, shapes and values, and what merely changed its place.

Checksums say which tensors differ, and only those are read. Says what it sees and judges neither checkpoint; the one
decision is what counts as a change at all, by a tolerance that the caller gives.
"""

from dataclasses import dataclass
from typing import Callable, Dict, Iterator, List, Mapping, Optional, Tuple

from lastgood.bundle.dtypes import is_opaque
from lastgood.checkpoint import Checkpoint, TensorInfo
from lastgood.checksum import crc32c
from lastgood.difference.deltas import USUAL, Delta, Tolerance, compare_elements, compare_numbers
from lastgood.difference.moves import Moves, Print, find_moves

#: A value of one element may be equal to another one's by chance.
_TELLING_ELEMENTS = 2

#: Called with (bytes read so far, bytes to read).
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Retyped:
    """A key whose dtype or shape is another one."""

    before: TensorInfo
    after: TensorInfo


@dataclass(frozen=True)
class Changed:
    """A key of the same type and shape with other values."""

    tensor: TensorInfo
    delta: Delta


@dataclass(frozen=True)
class Diff:
    """What is different; everything sorted by key.

    close: tensors whose values differ within the tolerance that was asked for. same: how many tensors are the same.
    moves: what of all this is explained by a tensor that stands elsewhere.
    """

    gone: Tuple[TensorInfo, ...]
    new: Tuple[TensorInfo, ...]
    retyped: Tuple[Retyped, ...]
    changed: Tuple[Changed, ...]
    close: Tuple[Changed, ...]
    same: int
    moves: Moves

    @property
    def is_empty(self) -> bool:
        """Nothing differs, or nothing beyond the tolerance."""
        return not (self.gone or self.new or self.retyped or self.changed)

    @property
    def compared(self) -> int:
        """How many keys were looked at."""
        return self.same + sum(map(len, (self.gone, self.new, self.retyped, self.changed, self.close)))


def diff_checkpoints(
    before: Checkpoint,
    after: Checkpoint,
    *,
    allclose: Optional[Tolerance] = None,
    wanted: Callable[[TensorInfo], bool] = lambda tensor: True,
    on_progress: Optional[Progress] = None,
) -> Diff:
    """Compares two checkpoints.

    allclose: differences within this tolerance are no changes. wanted: which tensors to look at.
    Raises BundleError where one of the two is damaged.
    """
    old, new = ({key: t for key, t in side.tensors.items() if wanted(t)} for side in (before, after))
    reading = _Reading(before, after, on_progress)
    retyped: List[Retyped] = []
    changed: List[Changed] = []
    close: List[Changed] = []
    same = 0
    for key in (key for key in old if key in new):
        if _form(old[key]) != _form(new[key]):
            retyped.append(Retyped(old[key], new[key]))
        elif reading.are_same(old[key], new[key]):
            same += 1
        else:
            change = Changed(new[key], reading.delta(old[key], allclose or USUAL))
            if not change.delta.differing:  # strings that are stored in other parts
                same += 1
            else:
                (close if allclose is not None and not change.delta.beyond else changed).append(change)
    return Diff(
        gone=tuple(tensor for key, tensor in old.items() if key not in new),
        new=tuple(tensor for key, tensor in new.items() if key not in old),
        retyped=tuple(retyped),
        changed=tuple(changed),
        close=tuple(close),
        same=same,
        moves=find_moves(_prints(old, reading.before_checksum), _prints(new, reading.after_checksum)),
    )


def _form(tensor: TensorInfo) -> Tuple[str, Tuple[int, ...]]:
    return tensor.dtype, tensor.shape


def _prints(tensors: Mapping[bytes, TensorInfo], checksum: Callable[[TensorInfo], int]) -> Dict[bytes, Print]:
    return {
        key: Print(
            form=_form(tensor),
            value=checksum(tensor) if tensor.elements >= _TELLING_ELEMENTS else None,
            name=tensor.full_name or None,
        )
        for key, tensor in tensors.items()
    }


class _Reading:
    """What is read of the two checkpoints, once each and no more than is needed."""

    def __init__(self, before: Checkpoint, after: Checkpoint, on_progress: Optional[Progress]) -> None:
        self._before, self._after = before, after
        self._on_progress = on_progress
        self._checksums: Dict[Tuple[bool, bytes], int] = {}
        self._read = 0
        self._in_all = sum(
            2 * new.size_bytes
            for key, new in after.tensors.items()
            for old in (before.tensors.get(key),)
            if old is not None and _form(old) == _form(new) and (old.crc32c is None or old.crc32c != new.crc32c)
        )

    def are_same(self, old: TensorInfo, new: TensorInfo) -> bool:
        """Whether two tensors of one form hold the same, by their checksums."""
        return self.before_checksum(old) == self.after_checksum(new)

    def before_checksum(self, tensor: TensorInfo) -> int:
        """The checksum of a tensor of the first checkpoint; computed where its files have none."""
        return self._checksum(self._before, tensor)

    def after_checksum(self, tensor: TensorInfo) -> int:
        """The same for the second one."""
        return self._checksum(self._after, tensor)

    def _checksum(self, checkpoint: Checkpoint, tensor: TensorInfo) -> int:
        if tensor.crc32c is not None:
            return tensor.crc32c
        name = (checkpoint is self._before, tensor.key)
        if name not in self._checksums:
            crc = 0
            for piece in checkpoint.raw(tensor.key):
                crc = crc32c(piece, crc)
            self._checksums[name] = crc
        return self._checksums[name]

    def delta(self, tensor: TensorInfo, tolerance: Tolerance) -> Delta:
        """How the values of a tensor differ, which has one form in both."""
        key = tensor.key
        if is_opaque(tensor.dtype):
            return compare_elements(self._before.elements(key), self._after.elements(key))
        one, other = (self._counted(checkpoint.raw(key)) for checkpoint in (self._before, self._after))
        return compare_numbers(one, other, tensor.dtype, tensor.shape, tolerance)

    def _counted(self, pieces: Iterator[memoryview]) -> Iterator[memoryview]:
        for piece in pieces:
            self._read += len(piece)
            if self._on_progress is not None:
                self._on_progress(min(self._read, self._in_all), self._in_all)
            yield piece
