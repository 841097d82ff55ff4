"""A checkpoint against the manifest that was written beside it, and the writing of that manifest.

`verify` says whether the files are whole. This adds whether they are the ones that were saved: where the manifest
describes another checkpoint than the one that lies there, the saved one has Vanished, however whole the other one is.
A manifest that cannot be used is a note.
"""

import os
import time
from dataclasses import replace
from typing import Any, Optional, Tuple

from lastgood.bundle.files import stat_file
from lastgood.bundle.reader import INDEX_FILE, index_path, read_bundle, shard_paths
from lastgood.bundle.shards import DATA_FILE
from lastgood.errors import BundleError, LastgoodError
from lastgood.inspect import read_graph, read_manifest, read_step
from lastgood.model_config import config_of_saved_model
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


class NotTheSameError(LastgoodError):
    """The checkpoint changed after it was verified, so no manifest was written for it."""


def verify_saved(prefix: str, manifest_path: Optional[str] = None, **options: Any) -> Verification:
    """`verify`, and whether it is the checkpoint that the manifest beside it describes, if there is one.

    manifest_path: of another manifest, which must be there and of use: raises SidecarError otherwise.
    options: those of `verify`.
    """
    if manifest_path is not None:
        saved = _read_named(prefix, manifest_path)
        return _compared(verify(prefix, **options), saved, manifest_path)
    found = verify(prefix, **options)
    try:
        return _compared(found, read_sidecar(prefix), sidecar_path(prefix))
    except SidecarError as error:
        return _noted(found, Note(error.remark, error.detail))
    except BundleError as error:
        return _noted(found, Note(Remark.DAMAGED_MANIFEST, error.detail))


def _read_named(prefix: str, path: str) -> Optional[Sidecar]:
    try:
        return read_sidecar(prefix, path)
    except BundleError as error:
        raise SidecarError(Remark.DAMAGED_MANIFEST, error.detail) from error


def _compared(found: Verification, saved: Optional[Sidecar], where: str) -> Verification:
    if saved is None or not found.digest or found.is_pending:
        return found  # without a manifest, or where nothing can be compared: a missing file is said already
    if saved.manifest is None:
        return _noted(found, Note(Remark.FOREIGN_MANIFEST, "{} describes a file of Keras's".format(where)))
    if saved.manifest.digest == found.digest:
        return replace(found, manifest=where)
    manifest = read_manifest(found.prefix)
    difference = what_differs(saved.manifest, manifest)
    if difference is None:
        return replace(found, manifest=where)
    if not describes(saved, os.path.basename(found.prefix)):
        names = ", ".join(file.name for file in saved.files[:1])
        return _noted(found, Note(Remark.FOREIGN_MANIFEST, "{} describes another checkpoint, {}".format(where, names)))
    detail = "another checkpoint than the one that {} describes lies at {}: {}".format(where, found.prefix, difference)
    return replace(found, faults=(Fault(Reason.VANISHED, detail), *found.faults))


def _noted(found: Verification, note: Note) -> Verification:
    return replace(found, notes=(*found.notes, note))


def write_manifest(found: Verification, now_s: Optional[float] = None) -> str:
    """Writes the manifest of a checkpoint that was just verified whole. Returns its path.

    Replaces an older manifest. Raises ValueError for one that is not whole, NotTheSameError where something else lies
    there by now, BundleError, and WriteError.
    """
    if not found.is_whole:
        raise ValueError("expected a whole checkpoint, found {}".format(found.faults[0].reason.value))
    manifest = read_manifest(found.prefix, full_names=True)
    step, save_counter = read_step(found.prefix)
    sidecar = Sidecar(
        manifest=manifest,
        files=_files(found.prefix),
        step=step,
        save_counter=save_counter,
        objects=objects_of(read_graph(found.prefix)),
        model=config_of_saved_model(found.prefix),
        verified_at_s=round(time.time() if now_s is None else now_s, 3),
    )
    if manifest.digest != found.digest or read_manifest(found.prefix).digest != found.digest:
        raise NotTheSameError("{} was written again after it was verified: verify it once more".format(found.prefix))
    return write_sidecar(found.prefix, sidecar)


def _files(prefix: str) -> Tuple[FileSum, ...]:
    """The index and the data files, by name and size."""
    sizes = [(index_path(prefix), stat_file(index_path(prefix), INDEX_FILE).size_bytes)]
    for path in shard_paths(prefix, read_bundle(prefix).num_shards):
        sizes.append((path, stat_file(path, DATA_FILE).size_bytes))
    return tuple(FileSum(os.path.basename(path), size_bytes) for path, size_bytes in sizes)
