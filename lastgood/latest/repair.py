"""Makes a directory's state file name the newest whole checkpoint, after a copy of the old one was kept.

Writes the state file and that copy, and nothing else; deletes no checkpoint. Refuses where no checkpoint is whole,
where a newer one cannot be judged (it may be the better one), where several series lie there and nothing says which is
meant, where TensorFlow could not find what would be named, and where the state file changed meanwhile.
"""

import os
import stat
from dataclasses import dataclass
from typing import Optional

from lastgood.durable import keep_copy, replace_file
from lastgood.errors import LastgoodError
from lastgood.latest import decide
from lastgood.latest.decide import Outcome, Standing, Verdict
from lastgood.latest.examine import Examination, read_state_bytes
from lastgood.latest.path_patterns import finds
from lastgood.latest.state_file import STATE_FILE, render

#: What the copy of the old state file is called, followed by a number.
BACKUP_SUFFIX = ".before-repair-"


class RepairRefusedError(LastgoodError):
    """The state file was left as it is. is_hopeless: there is nothing whole that it could name."""

    def __init__(self, sentence: str, is_hopeless: bool = False) -> None:
        super().__init__(sentence)
        self.is_hopeless = is_hopeless


@dataclass(frozen=True)
class Repair:
    """prefix: what the state file names now. backup: the copy of the old one; None where there was none."""

    prefix: str
    backup: Optional[str]


def repair(found: Examination) -> Optional[Repair]:
    """Repairs what was examined, with every listed checkpoint read. None where there is nothing to repair.

    Raises RepairRefusedError, or WriteError when the file system refuses.
    """
    if found.answer.verdict is Verdict.AGREES:
        return None
    newest = found.answer.newest
    if newest is None:
        raise RepairRefusedError("no whole checkpoint lies in {}".format(found.directory), is_hopeless=True)
    for row in found.judged[: found.judged.index(newest)]:
        if row.standing is Standing.UNKNOWN:
            raise RepairRefusedError(
                "{} is newer than {} and cannot be judged ({}: {}); make it readable, or move it away".format(
                    row.prefix, newest.prefix, row.reason, row.detail
                )
            )
    if len(found.series) > 1 and decide.series_of(found.state.latest) not in found.series:
        raise RepairRefusedError(
            "checkpoints of several series lie in {}; say which is meant with --series: {}".format(
                found.directory, ", ".join(found.series)
            )
        )
    return _write(found, newest)


def _write(found: Examination, newest: decide.Judged) -> Repair:
    had_state = found.says.state is not None
    new = decide.repaired_state(found.directory, found.state, had_state, found.judged, newest, found.times_are_right)
    try:
        content = render(new)
    except ValueError as error:
        raise RepairRefusedError("a state file cannot name {!r}, which is not UTF-8".format(newest.prefix)) from error
    foreseen = decide.tensorflow_says(found.directory, content, finds)
    if foreseen.outcome is not Outcome.PREFIX:
        raise RepairRefusedError("TensorFlow would not find it: {}; rename the directory".format(foreseen.why))
    path = os.path.join(found.directory, STATE_FILE)
    if read_state_bytes(found.directory) != found.content or (found.content is None and os.path.lexists(path)):
        raise RepairRefusedError("{} changed meanwhile, or cannot be read: is training going on?".format(path))
    backup = None if found.content is None else keep_copy(path, found.content, BACKUP_SUFFIX)
    replace_file(path, content, _permissions(path))
    return Repair(newest.prefix, backup)


def _permissions(path: str) -> Optional[int]:
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except OSError:
        return None
