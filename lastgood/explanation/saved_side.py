"""The checkpoint's side of an explanation: opened as `restore` would, or why a restore from there raises.

Reads the index and the object graph, and no other tensor. Refuses to guess where the file system does not answer.
"""

import os
import re
from typing import Mapping, Union

from lastgood.checkpoint import BUNDLE, open_checkpoint
from lastgood.directory import list_checkpoints
from lastgood.errors import BundleError
from lastgood.explain import Explanation, failed
from lastgood.explanation.described import Description, describe_checkpoint
from lastgood.manifest import Kind
from lastgood.reasons import Reason
from lastgood.sidecar import SidecarError, read_sidecar

#: Nothing is known about what lies there.
_UNDECIDED = (Reason.UNREADABLE, Reason.UNSUPPORTED)


def describe_saved(prefix: str) -> Union[Description, Explanation]:
    """The checkpoint at `prefix`; where `restore` would raise, what it would raise for.

    Raises BundleError where that cannot be told: UNREADABLE, UNSUPPORTED.
    """
    try:
        with open_checkpoint(prefix) as checkpoint:
            if checkpoint.format != BUNDLE:
                raise BundleError(
                    Reason.UNSUPPORTED, "{} is a Keras file, which `restore` does not read".format(prefix)
                )
            return describe_checkpoint(checkpoint, _kinds_beside(checkpoint.prefix))
    except BundleError as error:
        if error.reason in _UNDECIDED:
            raise
        meant = _meant_by(prefix) if error.reason is Reason.INCOMPLETE else ""
        if meant:
            why = "no checkpoint lies there: `save()` adds a number to the name that it is given"
            return failed(prefix, why, "restore `{}`, which is what save() returned".format(meant))
        fix = "`lastgood verify {}` says more; `lastgood latest {}` finds the newest whole one".format(
            prefix, os.path.dirname(prefix) or "."
        )
        return failed(prefix, "restore() raises: {}".format(error.detail), fix)


def _kinds_beside(prefix: str) -> Mapping[bytes, Kind]:
    """What the manifest beside the checkpoint knows of its variables; nothing where there is none of use."""
    try:
        sidecar = read_sidecar(prefix)
    except SidecarError:
        return {}
    manifest = sidecar.manifest if sidecar is not None else None
    return {} if manifest is None else {entry.key: entry.kind for entry in manifest.entries}


def _meant_by(prefix: str) -> str:
    """The newest checkpoint that was saved under this name, "" where there is none."""
    try:
        listed = list_checkpoints(os.path.dirname(prefix) or ".")
    except BundleError:
        return ""
    base = os.path.basename(prefix)
    named = [one.prefix for one in listed if re.fullmatch(re.escape(base) + r"-\d+", os.path.basename(one.prefix))]
    return max(named, key=lambda one: int(one.rpartition("-")[2]), default="")
