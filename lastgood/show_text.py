"""What `lastgood show` prints for people: a line for each tensor and each object that holds several. Decides nothing.

Lines are shortened where a terminal has no room for them, and never elsewhere.
"""

from functools import lru_cache
from typing import Any, Iterator, Optional, Sequence, Tuple

from lastgood.errors import BundleError
from lastgood.show import Row, Shown, Totals, totals, tree
from lastgood.wording import printable, reason_link, size_in_words

_BOLD, _DIM, _PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[0m"
_NARROWEST_NAME = 20
_SIZE_WIDTH = 8
_MAX_STRING = 60


def lines(path: str, shown: Shown, width: Optional[int], is_colourful: bool) -> Iterator[str]:
    """The lines. width: of the terminal, in characters; None where the output is none."""
    bold, dim, plain = (_BOLD, _DIM, _PLAIN) if is_colourful else ("", "", "")
    yield "{}{}{}  {}".format(bold, printable(path), plain, _headline(shown))
    rows = tree(shown.tensors)
    name_width, type_width = _widths(rows)
    if width is not None:
        name_width = max(_NARROWEST_NAME, min(name_width, width - type_width - _SIZE_WIDTH - 4))
    has_remarks = bool(shown.names or shown.values)
    for row in rows:
        depth, name, tensor, tensors, size_bytes = row
        name = "  " * depth + name
        if width is not None:
            name = _fit(name, name_width)
        if tensor is None:
            yield bold + name.ljust(name_width) + plain + "  " + dim + _below(tensors, size_bytes) + plain
            continue
        type_and_size = _type(tensor.dtype, tensor.shape).ljust(type_width) + "  " + _size(tensor.size_bytes)
        remarks = _remarks(row, shown) if has_remarks or tensors > 1 or tensor.is_sliced else ""
        yield name.ljust(name_width) + "  " + type_and_size + remarks
    yield _totals_line(totals(shown.tensors), shown.tensors_in_all)
    for problem in shown.problems:
        yield "{} ({})".format(printable(str(problem)), reason_link(problem.reason.value))


def _widths(rows: Sequence[Row]) -> Tuple[int, int]:
    """How wide the widest name, with what it is indented, and the widest type are."""
    forms = {(tensor.dtype, tensor.shape) for _, _, tensor, _, _ in rows if tensor is not None}
    names = (2 * depth + len(name) for depth, name, _, _, _ in rows)
    return max(names, default=0), max((len(_type(*form)) for form in forms), default=0)


@lru_cache(maxsize=4096)
def _size(size_bytes: int) -> str:
    return size_in_words(size_bytes).rjust(_SIZE_WIDTH)


def _headline(shown: Shown) -> str:
    step, counter, problem = shown.progress
    parts = [shown.format]
    if problem is not None:
        parts.append("step unknown")
    if step is not None:
        parts.append("step {}".format(step))
    if counter is not None:
        parts.append("save counter {}".format(counter))
    return ", ".join(parts)


@lru_cache(maxsize=4096)
def _type(dtype: str, shape: Tuple[int, ...]) -> str:
    return "{} [{}]".format(dtype, ", ".join(map(str, shape)))


def _below(tensors: int, size_bytes: int) -> str:
    return "{} {}, {}".format(tensors, "tensor" if tensors == 1 else "tensors", size_in_words(size_bytes))


def _remarks(row: Row, shown: Shown) -> str:
    tensor = row.tensor
    if tensor is None:
        return ""
    remarks = ["in parts"] if tensor.is_sliced else []
    if row.tensors > 1:
        remarks.append("and below it " + _below(row.tensors - 1, row.size_bytes - tensor.size_bytes))
    if shown.names and shown.names[tensor.key]:
        remarks.append("named " + printable(shown.names[tensor.key]))
    if tensor.key in shown.values:
        found = shown.values[tensor.key]
        remarks.append(found.reason.value if isinstance(found, BundleError) else "= " + _in_words(found))
    return "  " + "  ".join(remarks) if remarks else ""


def _in_words(values: Sequence[Any]) -> str:
    return ", ".join(map(_one_in_words, values)) if values else "nothing"


def _one_in_words(value: Any) -> str:
    if isinstance(value, bytes):
        return repr(value)[1:] if len(value) <= _MAX_STRING else "a string of {} bytes".format(len(value))
    return "{:g}".format(value) if isinstance(value, float) else str(value)


def _totals_line(sums: Totals, in_all: int) -> str:
    kinds = ["{} {} {}".format(count, dtype, size_in_words(size)) for dtype, count, size in sums.by_dtype]
    return "{}{} {}, {} {}, {}{}".format(
        sums.tensors,
        "" if sums.tensors == in_all else " of {}".format(in_all),
        "tensor" if in_all == 1 else "tensors",
        sums.elements,
        "element" if sums.elements == 1 else "elements",
        size_in_words(sums.size_bytes),
        " ({})".format(", ".join(kinds)) if len(kinds) > 1 else "",
    )


def _fit(name: str, width: int) -> str:
    """The name, shortened in the middle where there is no room for it."""
    if len(name) <= width:
        return name
    head = (width - 1) // 2
    return name[:head] + "…" + name[len(name) - (width - 1 - head) :]
