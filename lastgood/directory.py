"""Which checkpoints lie in a directory, newest first.

The order is that of the index files' times, and of the numbers only where times are equal: after a rollback `ckpt-3` is
written again and is newer than the abandoned `ckpt-5`. Nothing is said here about whether a checkpoint is whole.
"""

import re
from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple

from lastgood.bundle.files import join, list_files

_SUFFIX = ".index"
_NUMBERED = re.compile(r".+-(\d{1,18})\Z", re.DOTALL)
_TEMPORARY = re.compile(r"(_temp|\.tempstate\w*)\Z")
_DATA_FILE = re.compile(r"(.+)\.data-\d{5}-of-\d{5}\Z", re.DOTALL)


@dataclass(frozen=True)
class Listed:
    """One checkpoint in a directory.

    prefix: the directory as it was given, and the name. mtime_s: when the index was last written.
    save_number: the number at the end of its name; None for one that `Checkpoint.write` gave a name without.
    """

    prefix: str
    mtime_s: float
    save_number: Optional[int]


def list_checkpoints(directory: str, numbered_only: bool = True) -> Tuple[Listed, ...]:
    """The checkpoints whose index lies in `directory`, newest first; whole or not. None in a directory that is missing.

    numbered_only: leave out those without a number (`best`), which TensorFlow never restores by itself. With False
        they are listed if a data file lies beside them.
    Raises BundleError(UNREADABLE) when the directory cannot be read: that is not an empty one.
    """
    found = _scan(directory, numbered_only)
    found.sort(key=lambda row: (row[0], -1 if row[1].save_number is None else row[1].save_number), reverse=True)
    return tuple(listed for _, listed in found)


def _scan(directory: str, numbered_only: bool) -> List[Tuple[int, Listed]]:
    """Each checkpoint with the time of its index in nanoseconds, which a float would round."""
    stems: Dict[str, int] = {}
    with_data = set()
    for file in list_files(directory):
        data_file = _DATA_FILE.match(file.name)
        if data_file:
            with_data.add(data_file.group(1))
        elif file.name.endswith(_SUFFIX):
            stems[file.name[: -len(_SUFFIX)]] = file.mtime_ns or 0
    found = []
    for stem, time_ns in stems.items():
        if not stem or stem.startswith(".") or _TEMPORARY.search(stem):
            continue
        number = _NUMBERED.match(stem)
        if number is None and (numbered_only or stem not in with_data):
            continue
        save_number = int(number.group(1)) if number else None
        found.append((time_ns, Listed(join(directory, stem), time_ns / 1e9, save_number)))
    return found
