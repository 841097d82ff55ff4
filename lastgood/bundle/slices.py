"""The parts of a sliced tensor as boxes within its shape: do they make it up exactly, and how are they put together?

Pure: knows shapes and places, reads nothing. TensorFlow refuses parts that overlap and parts that leave a hole; so
does whoever asks here. A layout that would take too long to check is neither confirmed nor denied.
"""

from itertools import product
from typing import Iterator, List, NamedTuple, Optional, Sequence, Tuple

Shape = Tuple[int, ...]

#: Checking a layout may look at each box so many times on average, and at so many in any case.
_LOOKS_PER_BOX, _LOOKS_AT_LEAST = 64, 1 << 20


class Box(NamedTuple):
    """A part's place in its tensor."""

    start: Shape
    shape: Shape

    @property
    def volume(self) -> int:
        """How many elements it has."""
        return volume(self.shape)


class Run(NamedTuple):
    """Elements that lie side by side both in the whole and in a part. All in elements."""

    at_in_whole: int
    at_in_part: int
    length: int


def volume(shape: Sequence[int]) -> int:
    """How many elements a shape has: 1 for a scalar's."""
    result = 1
    for size in shape:
        result *= size
    return result


def have_overlap(boxes: Sequence[Box]) -> Optional[bool]:
    """Whether any two boxes share an element; None where finding out would take too long.

    Every layout that TensorFlow's own partitioners make falls apart when it is cut along one axis after the other,
    which is fast. What does not is compared pair by pair.
    """
    looks = _LOOKS_AT_LEAST + _LOOKS_PER_BOX * len(boxes)
    todo = [[box for box in boxes if box.volume]]
    while todo:
        group = todo.pop()
        if len(group) < 2:
            continue
        looks -= len(group) * len(group[0].shape)
        if looks < 0:
            return None
        pieces = _cut_apart(group)
        if len(pieces) > 1:
            todo += pieces
            continue
        looks -= len(group) * len(group)
        if looks < 0:
            return None
        if any(_overlap(one, other) for place, one in enumerate(group) for other in group[:place]):
            return True
    return False


def _cut_apart(group: List[Box]) -> List[List[Box]]:
    """The boxes on either side of each cut that goes through none of them, along the first axis that has one."""
    for axis in range(len(group[0].shape)):
        pieces: List[List[Box]] = []
        end = 0
        for box in sorted(group, key=lambda box: box.start[axis]):
            if not pieces or box.start[axis] >= end:
                pieces.append([])
            pieces[-1].append(box)
            end = max(end, box.start[axis] + box.shape[axis])
        if len(pieces) > 1:
            return pieces
    return [group]


def _overlap(one: Box, other: Box) -> bool:
    return all(a < b + n and b < a + m for a, m, b, n in zip(*one, *other))


def in_row_order(whole: Shape, boxes: Sequence[Box]) -> Optional[List[int]]:
    """The places of the boxes in `boxes`, in the order in which their bytes, one behind the other, are the tensor's.

    None where they lie side by side, so that their rows alternate.
    """
    if any(box.shape[1:] != whole[1:] for box in boxes):
        return None
    rows = sorted((box.start[:1], place) for place, box in enumerate(boxes))
    return [place for _, place in rows]


def bands(whole: Shape, max_elements: int) -> Iterator[Box]:
    """The tensor cut into boxes that lie one behind the other, each of at most `max_elements` (but at least one)."""
    depth, inner = len(whole), 1
    while depth and inner * whole[depth - 1] <= max_elements:
        depth -= 1
        inner *= whole[depth]
    if not depth:
        yield Box((0,) * len(whole), whole)
        return
    axis, rest = depth - 1, whole[depth:]
    step = max(1, max_elements // inner)
    for outer in product(*(range(size) for size in whole[:axis])):
        for start in range(0, whole[axis], step):
            count = min(step, whole[axis] - start)
            yield Box((*outer, start) + (0,) * len(rest), (1,) * axis + (count,) + rest)


def intersection(one: Box, other: Box) -> Optional[Box]:
    """What two boxes share; None where that is nothing."""
    start = tuple(max(a, b) for a, b in zip(one.start, other.start))
    end = tuple(min(a + m, b + n) for a, m, b, n in zip(*one, *other))
    if any(last <= first for first, last in zip(start, end)):
        return None
    return Box(start, tuple(last - first for first, last in zip(start, end)))


def span(shared: Box, part: Box) -> Run:
    """From the first to the last element of `shared` within `part`, with whatever lies between them."""
    strides = _strides(part.shape)
    first = sum((at - start) * stride for at, start, stride in zip(shared.start, part.start, strides))
    last = first + sum((size - 1) * stride for size, stride in zip(shared.shape, strides))
    return Run(0, first, last - first + 1)


def runs(shared: Box, whole: Box, part: Box) -> Iterator[Run]:
    """The elements of `shared`, a box within both others, as runs that are contiguous in both."""
    rank = len(shared.shape)
    depth = rank  # the axes from here on are complete in all three
    while depth and shared.shape[depth - 1] == whole.shape[depth - 1] == part.shape[depth - 1]:
        depth -= 1
    run_axis = max(0, depth - 1)
    count = volume(shared.shape[run_axis:])
    in_whole, in_part = _strides(whole.shape), _strides(part.shape)
    first = shared.start
    at_whole = sum((first[axis] - whole.start[axis]) * in_whole[axis] for axis in range(rank))
    at_part = sum((first[axis] - part.start[axis]) * in_part[axis] for axis in range(rank))
    for steps in product(*(range(size) for size in shared.shape[:run_axis])):
        yield Run(
            at_whole + sum(step * stride for step, stride in zip(steps, in_whole)),
            at_part + sum(step * stride for step, stride in zip(steps, in_part)),
            count,
        )


def _strides(shape: Shape) -> List[int]:
    strides = [1] * len(shape)
    for axis in range(len(shape) - 1, 0, -1):
        strides[axis - 1] = strides[axis] * shape[axis]
    return strides
