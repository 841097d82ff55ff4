"""What `lastgood show --json` prints: the document `show` of docs/json.md, line by line. Decides nothing."""

import json
from typing import Any, Dict, Iterator, Optional
from urllib.parse import quote_from_bytes

from lastgood.checkpoint import TensorInfo
from lastgood.errors import BundleError
from lastgood.show import Shown, totals


def lines(path: str, shown: Shown) -> Iterator[str]:
    """The document, a tensor a line, so that a large one is never held as a whole."""
    sums = totals(shown.tensors)
    head = {
        "path": path,
        "format": shown.format,
        "prefix": shown.prefix,
        "step": shown.progress.step,
        "save_counter": shown.progress.save_counter,
        "problem": problem_to_json(shown.progress.problem),
        "totals": {
            "tensors": sums.tensors,
            "tensors_in_all": shown.tensors_in_all,
            "elements": sums.elements,
            "size_bytes": sums.size_bytes,
            "by_dtype": [
                {"dtype": dtype, "tensors": count, "size_bytes": size} for dtype, count, size in sums.by_dtype
            ],
        },
    }
    yield json.dumps(head, indent=2)[:-2] + ',\n  "tensors": ['
    last = len(shown.tensors) - 1
    for place, tensor in enumerate(shown.tensors):
        yield "    {}{}".format(json.dumps(_tensor_to_json(tensor, shown)), "" if place == last else ",")
    yield "  ]\n}"


def _tensor_to_json(tensor: TensorInfo, shown: Shown) -> Dict[str, Any]:
    values = shown.values.get(tensor.key)
    return {
        "key": quote_from_bytes(tensor.key, safe="/"),
        "path": tensor.label,
        "dtype": tensor.dtype,
        "shape": list(tensor.shape),
        "size_bytes": tensor.size_bytes,
        "crc32c": tensor.crc32c,
        "is_sliced": tensor.is_sliced,
        "full_name": shown.names[tensor.key] if shown.names is not None else None,
        "values": [_plain(value) for value in values] if isinstance(values, list) else None,
        "problem": problem_to_json(values) if isinstance(values, BundleError) else None,
    }


def _plain(value: Any) -> Any:
    """A value as JSON has it: NaN and the infinities as text, complex numbers as pairs, bytes as text."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, complex):
        return [_plain(value.real), _plain(value.imag)]
    if isinstance(value, float) and value - value != 0:
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    return value


def problem_to_json(error: Optional[BundleError]) -> Optional[Dict[str, str]]:
    """Why something could not be read; None where all was."""
    return None if error is None else {"reason": error.reason.value, "detail": error.detail}
