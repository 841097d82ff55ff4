"""Is a Keras file whole? A `.keras` archive says so by the CRC-32 of its members; a `.weights.h5` file cannot say.

HDF5 carries no checksum of its values, so such a file is proven right only by the checksum that its manifest notes, or
wrong where it does not parse. Values that are NaN or Inf are found in both; what cannot be looked at is a note.
"""

import os
import time
from typing import List, NamedTuple, Optional, Tuple

from lastgood.bundle.files import open_file, stat_file
from lastgood.errors import BundleError
from lastgood.file_digest import digest_file
from lastgood.keras.files import NO_CHECKSUM, check_archive
from lastgood.keras.values import look_for_nan, why_unread
from lastgood.notes import Note, Remark
from lastgood.opened import KERAS, WEIGHTS_H5
from lastgood.reasons import Reason
from lastgood.recognition import Kind
from lastgood.sidecar import FileSum
from lastgood.stillness import Sight
from lastgood.verify import Fault, Verification, unrest

_WHAT = "a checkpoint"


class Options(NamedTuple):
    """Those of `verify` that mean something for one file."""

    drop_cache: bool = False
    finite: bool = True
    settle_s: float = 0.0
    now_s: Optional[float] = None


_NO_OPTIONS = Options()


def verify_keras(
    path: str, kind: Kind, saved: Optional[FileSum] = None, manifest_path: str = "", options: Options = _NO_OPTIONS
) -> Verification:
    """Reads the file. saved: what its manifest, at `manifest_path`, notes of it."""
    started_s = time.monotonic()
    faults: List[Fault] = []
    bytes_read = 0
    before = _see(path)
    is_from_disk = False
    try:
        if options.drop_cache:
            with open_file(path, _WHAT) as file:
                is_from_disk = file.drop_cached_pages()
        if kind is Kind.KERAS:
            check = check_archive(path)
            bytes_read = check.bytes_read
            faults += [Fault(check.problem.reason, check.problem.detail)] if check.problem else []
        if saved is not None and not faults:
            found, bytes_read = _digest(path)
            faults += _differences(path, kind, saved, found, manifest_path)
        elif kind is Kind.WEIGHTS_H5 and not faults:
            faults.append(Fault(Reason.NO_CHECKSUM, NO_CHECKSUM.format(path)))
    except BundleError as error:
        faults.append(Fault(error.reason, error.detail))
    is_as_noted = saved is not None and not faults
    notes: List[Note] = []
    if options.finite and all(fault.reason is Reason.NO_CHECKSUM for fault in faults):
        faults, notes = _with_values(path, kind, faults)
    faults = _settled(before, path, faults, options)
    return Verification(
        prefix=path,
        digest="",
        faults=tuple(faults),
        notes=tuple(notes),
        tensors=0,
        bytes_read=bytes_read,
        duration_s=time.monotonic() - started_s,
        medium="disk" if is_from_disk and bytes_read else "cache",
        manifest=manifest_path if is_as_noted else "",
    )


def _with_values(path: str, kind: Kind, faults: List[Fault]) -> Tuple[List[Fault], List[Note]]:
    """The faults, with those of the values; a file that is not proven right and does not parse is damaged."""
    values = look_for_nan(path, KERAS if kind is Kind.KERAS else WEIGHTS_H5)
    if values.unread is None:
        return [*values.faults, *faults], []
    if faults and isinstance(values.unread, BundleError) and values.unread.reason is Reason.CORRUPT:
        return [Fault(Reason.CORRUPT, values.unread.detail)], []
    return [*values.faults, *faults], [Note(Remark.VALUES_UNREAD, why_unread(values.unread))]


def verify_unknown(path: str, error: BundleError, options: Options) -> Verification:
    """Of a file that is no checkpoint, for the reason that is given; or not one yet."""
    faults = _settled(_see(path), path, [Fault(error.reason, error.detail)], options)
    return Verification(path, "", tuple(faults), tensors=0, bytes_read=0, duration_s=0.0, medium="cache")


def _see(path: str) -> Sight:
    try:
        return {path: stat_file(path, _WHAT)}
    except BundleError:
        return {path: None}


def _settled(before: Sight, path: str, faults: List[Fault], options: Options) -> List[Fault]:
    """The faults; or only that the file is not at rest."""
    changing = unrest(before, _see(path), faults, options.settle_s, options.now_s)
    return faults if changing is None else [changing]


def file_sum(path: str) -> FileSum:
    """What a manifest notes of a Keras file. Raises BundleError."""
    return _digest(path)[0]


def _digest(path: str) -> Tuple[FileSum, int]:
    digest = digest_file(path)
    return FileSum(os.path.basename(path), digest.size_bytes, digest.sha256), digest.size_bytes


def _differences(path: str, kind: Kind, saved: FileSum, found: FileSum, where: str) -> List[Fault]:
    """An archive whose own checksums are right is another one; of HDF5 nobody knows whether it is damaged."""
    if found.sha256 == saved.sha256:
        return []
    if kind is Kind.KERAS:
        return [Fault(Reason.VANISHED, "another file than the one that {} describes lies at {}".format(where, path))]
    if found.size_bytes < saved.size_bytes:
        detail = "{} has {} bytes, and {} notes {}".format(path, found.size_bytes, where, saved.size_bytes)
        return [Fault(Reason.TORN, detail)]
    detail = "{} does not have the SHA-256 that {} notes: it is damaged, or was written again since".format(path, where)
    return [Fault(Reason.CORRUPT, detail)]
