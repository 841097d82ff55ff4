"""What is worth knowing about a checkpoint or a job and is no fault of it: a note changes no verdict.

Bytes that nobody reads may be damaged (TensorFlow would restore every value all the same), and a manifest beside the
checkpoint may be of no use. A job may train well and lose something at its next restart. Decides nothing.
"""

from enum import Enum
from typing import NamedTuple


class Remark(str, Enum):
    """What a note is about; spelled like a reason. docs/reasons.md has an entry for each."""

    FOOTER_PADDING = "FooterPadding"  # bytes of the index's footer that nobody reads are not what a writer leaves there
    METAINDEX = "Metaindex"  # the index's block of meta information, which bundles do not use, is damaged
    TRAILING_BYTES = "TrailingBytes"  # a data file is longer than its tensors
    VALUES_UNREAD = "ValuesUnread"  # NaN and Inf were not looked for, since the values cannot be read here
    DAMAGED_MANIFEST = "DamagedManifest"  # the manifest beside it is not what was written
    FOREIGN_MANIFEST = "ForeignManifest"  # what lies in the manifest's place is no manifest, or another checkpoint's
    NEWER_MANIFEST = "NewerManifest"  # the manifest is of a version that this lastgood does not read
    NOT_SAVED = "NotSaved"  # a live variable of a layer that is saved is not in the checkpoint
    TAKEN_FROM_CHIEF = "TakenFromChief"  # what each worker has of its own came back as the chief's
    UNMATCHED = "Unmatched"  # in a restore, values met nothing on the other side, and nobody is blamed for it


class Note(NamedTuple):
    """detail: what was expected, found, and where."""

    remark: Remark
    detail: str
