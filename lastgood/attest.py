"""A checkpoint against the manifest that was written beside it, and the writing of that manifest.

`verify` says whether the files are whole. This adds whether they are the ones that were saved: where the manifest
describes another checkpoint than the one that lies there, the saved one has Vanished, however whole the other one is.
A manifest that cannot be used is a note.
"""

import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Mapping, NamedTuple, Optional, Tuple

from lastgood.bundle.files import is_url, stat_file
from lastgood.bundle.reader import INDEX_FILE, index_path, read_bundle, shard_paths
from lastgood.bundle.shards import DATA_FILE
from lastgood.errors import BundleError, LastgoodError
from lastgood.inspect import Kinds, read_graph, read_manifest, read_step
from lastgood.keras.model_config import config_from_json, config_of_saved_model
from lastgood.notes import Note, Remark
from lastgood.reasons import Reason
from lastgood.sidecar import (
    FileSum,
    Sidecar,
    SidecarError,
    describes,
    objects_of,
    read_sidecar,
    sidecar_path,
    what_differs,
    write_sidecar,
)
from lastgood.verify import Fault, Verification, verify

if TYPE_CHECKING:
    from lastgood.keras.verify import Options


_WRITTEN_AGAIN = "{} was written again after it was verified: verify it once more"


class NotTheSameError(LastgoodError):
    """The checkpoint changed after it was verified, so no manifest was written for it."""


def verify_saved(path: str, manifest_path: Optional[str] = None, **options: Any) -> Verification:
    """`verify` of whatever lies at `path`, and whether it is what the manifest beside it describes, if there is one.

    path: a prefix, a `.keras` or a `.weights.h5` file. Anything else that is recognised is Unsupported.
    manifest_path: of another manifest, which must be there and of use: raises SidecarError otherwise. Whoever names it
        says that it is this checkpoint's, whatever that is called by now.
    options: those of `verify`.
    """
    saved: Optional[Sidecar] = None
    notes: Tuple[Note, ...] = ()
    if manifest_path is not None:
        saved = _read_named(path, manifest_path)
    else:
        try:
            saved = read_sidecar(path)
        except SidecarError as error:
            notes = (Note(error.remark, error.detail),)
        except BundleError as error:
            notes = (Note(Remark.DAMAGED_MANIFEST, error.detail),)
    expected = _Expected(saved, manifest_path or sidecar_path(path), manifest_path is not None)
    found = _verified(path, expected, options)
    return replace(found, notes=(*found.notes, *notes))


class _Expected(NamedTuple):
    """What a checkpoint is compared with. saved: None without a manifest. where: its path. is_named: by a person."""

    saved: Optional[Sidecar]
    where: str
    is_named: bool


def _verified(path: str, expected: _Expected, options: Mapping[str, Any]) -> Verification:
    """By what lies there, and a bundle's prefix where nothing does."""
    if is_url(path) or os.path.exists(index_path(path)):
        return _compared(verify(path, **options), expected)
    from lastgood.recognition import Kind, recognise

    try:
        recognised = recognise(path)
    except BundleError as error:
        return _unrecognised(path, error, options)
    if recognised.kind is Kind.BUNDLE:
        return _compared(verify(recognised.location, **options), expected)
    from lastgood.keras.verify import verify_keras

    rest = _options_of_one_file(options)
    saved, where = expected.saved, expected.where
    if saved is not None and (saved.manifest is not None or len(saved.files) != 1):
        found = verify_keras(recognised.location, recognised.kind, options=rest)
        return _foreign(found, expected, "{} does not describe a file of Keras's".format(where))
    return verify_keras(recognised.location, recognised.kind, saved.files[0] if saved else None, where, rest)


def _unrecognised(path: str, error: BundleError, options: Mapping[str, Any]) -> Verification:
    """What is not all there may be on its way, which `verify` knows; why it is not there is known here."""
    if os.path.isfile(path):
        from lastgood.keras.verify import verify_unknown

        return verify_unknown(path, error, _options_of_one_file(options))
    if error.reason is not Reason.INCOMPLETE:
        return _unread(path, Fault(error.reason, error.detail))
    found = verify(path, **options)
    if [fault.reason for fault in found.faults] != [Reason.INCOMPLETE]:
        return found
    return replace(found, faults=(Fault(error.reason, error.detail),))


def _options_of_one_file(options: Mapping[str, Any]) -> "Options":
    from lastgood.keras.verify import Options

    return Options(**{name: value for name, value in options.items() if name in Options._fields})


def _unread(path: str, fault: Fault) -> Verification:
    return Verification(path, "", (fault,), tensors=0, bytes_read=0, duration_s=0.0, medium="cache")


def _read_named(prefix: str, path: str) -> Optional[Sidecar]:
    try:
        return read_sidecar(prefix, path)
    except BundleError as error:
        raise SidecarError(Remark.DAMAGED_MANIFEST, error.detail) from error


def _compared(found: Verification, expected: _Expected) -> Verification:
    saved, where = expected.saved, expected.where
    if saved is None or not found.digest or found.is_pending:
        return found  # without a manifest, or where nothing can be compared: a missing file is said already
    if saved.manifest is None:
        return _foreign(found, expected, "{} describes a file of Keras's".format(where))
    if saved.manifest.digest == found.digest:
        return replace(found, manifest=where)
    manifest = read_manifest(found.prefix)
    difference = what_differs(saved.manifest, manifest)
    if difference is None:
        return replace(found, manifest=where)
    if not expected.is_named and not describes(saved, os.path.basename(found.prefix)):
        names = ", ".join(file.name for file in saved.files[:1])
        return _foreign(found, expected, "{} describes another checkpoint, {}".format(where, names))
    detail = "another checkpoint than the one that {} describes lies at {}: {}".format(where, found.prefix, difference)
    return replace(found, faults=(Fault(Reason.VANISHED, detail), *found.faults))


def _foreign(found: Verification, expected: _Expected, detail: str) -> Verification:
    """The manifest cannot be used. Raises SidecarError where a person named it."""
    if expected.is_named:
        raise SidecarError(Remark.FOREIGN_MANIFEST, detail)
    return replace(found, notes=(*found.notes, Note(Remark.FOREIGN_MANIFEST, detail)))


def may_be_attested(found: Verification) -> bool:
    """Whether a manifest may be written for it: it is whole, or of a format that only a manifest can prove whole."""
    return all(fault.reason in (Reason.NOT_FINITE, Reason.NO_CHECKSUM) for fault in found.faults)


def write_manifest(
    found: Verification, now_s: Optional[float] = None, attempt: Optional[int] = None, kinds: Optional[Kinds] = None
) -> str:
    """Writes the manifest of a checkpoint that was just verified whole. Returns its path.

    attempt, kinds: what only a job knows of a bundle; without them what an older manifest of the same content says.
    Of a `.weights.h5` file, which cannot be, it notes what the file is now. Replaces an older manifest.
    Raises ValueError for one that is not whole, NotTheSameError where something else lies there by now, BundleError,
    and WriteError.
    """
    if not may_be_attested(found):
        raise ValueError("expected a whole checkpoint, found {}".format(found.faults[0].reason.value))
    at_s = round(time.time() if now_s is None else now_s, 3)
    sidecar = _of_bundle(found, at_s, attempt, kinds) if found.digest else _of_keras(found.prefix, at_s)
    return write_sidecar(found.prefix, sidecar)


def _of_bundle(found: Verification, at_s: float, attempt: Optional[int], kinds: Optional[Kinds]) -> Sidecar:
    former = _former(found)
    if former is not None and former.manifest is not None:
        attempt = former.attempt if attempt is None else attempt
        kinds = {entry.key: entry.kind for entry in former.manifest.entries} if kinds is None else kinds
    manifest = read_manifest(found.prefix, full_names=True, kinds=kinds)
    step, save_counter = read_step(found.prefix)
    sidecar = Sidecar(
        manifest=manifest,
        files=_files(found.prefix),
        step=step,
        save_counter=save_counter,
        objects=objects_of(read_graph(found.prefix)),
        model=config_of_saved_model(found.prefix),
        verified_at_s=at_s,
        attempt=attempt,
    )
    if manifest.digest != found.digest or read_manifest(found.prefix).digest != found.digest:
        raise NotTheSameError(_WRITTEN_AGAIN.format(found.prefix))
    return sidecar


def _former(found: Verification) -> Optional[Sidecar]:
    """The manifest that lies beside it already, if it is of the same content."""
    try:
        former = read_sidecar(found.prefix)
    except LastgoodError:
        return None
    is_same = former is not None and former.manifest is not None and former.manifest.digest == found.digest
    return former if is_same else None


def _of_keras(path: str, at_s: float) -> Sidecar:
    from lastgood.keras.files import read_model_config
    from lastgood.keras.verify import Options, file_sum, verify_keras
    from lastgood.recognition import Kind, recognise

    kind, noted = recognise(path).kind, file_sum(path)
    again = verify_keras(path, kind, noted, options=Options(finite=False))
    if again.faults:  # what was verified may have been another file than the one noted
        raise NotTheSameError(_WRITTEN_AGAIN.format(path))
    model = None
    if kind is Kind.KERAS:
        model = config_from_json("config.json", read_model_config(path).decode("utf-8", "replace"))
    return Sidecar(manifest=None, files=(noted,), model=model, verified_at_s=at_s)


def _files(prefix: str) -> Tuple[FileSum, ...]:
    """The index and the data files, by name and size."""
    sizes = [(index_path(prefix), stat_file(index_path(prefix), INDEX_FILE).size_bytes)]
    for path in shard_paths(prefix, read_bundle(prefix).num_shards):
        sizes.append((path, stat_file(path, DATA_FILE).size_bytes))
    return tuple(FileSum(os.path.basename(path), size_bytes) for path, size_bytes in sizes)
