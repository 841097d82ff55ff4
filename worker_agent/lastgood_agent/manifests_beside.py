"""PREFIX.lastgood.json beside what an agent has read and found whole, so that a person needs nothing but the directory.

Decides that a manifest that says the same already stays. Refuses to matter: what can't be written is logged, and a
manifest whose checkpoint has gone meanwhile goes as well.
"""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Mapping
from contextlib import suppress

from lastgood.attest import write_manifest
from lastgood.errors import LastgoodError
from lastgood.manifest import Kind
from lastgood.pins import digest_at
from lastgood.sidecar import Sidecar, read_sidecar
from lastgood.verify import Verification

log = logging.getLogger(__name__)


def read(prefix: str) -> Sidecar | None:
    """The manifest beside a checkpoint; None where there is none, or none that can be read."""
    try:
        return read_sidecar(prefix)
    except LastgoodError:
        return None


def note(found: Verification, attempt: int, kinds: Mapping[bytes, Kind], leaves_cache: bool) -> None:
    """Writes the manifest of a checkpoint that was just read.

    attempt: that saved it, 0 where none of this run did. leaves_cache: the checkpoint was read past the kernel's cache,
    and the few pages with its step and its graph are not to stay there either.
    """
    former = read(found.prefix)
    is_same = former is not None and former.manifest is not None and former.manifest.digest == found.digest
    if is_same and former is not None and attempt in (0, former.attempt):
        return
    stated: dict[str | bytes, str | Kind] = {key: kind for key, kind in kinds.items()}  # noqa: C416 - of wider types
    try:
        path = write_manifest(found, attempt=attempt or None, kinds=stated or None)
    except (LastgoodError, ValueError) as error:
        log.info("no manifest beside %s: %s", found.prefix, error)
        return
    if leaves_cache:
        _forget_pages(found.prefix)
    if digest_at(found.prefix) != found.digest:  # rotated away while it was written, or written over
        with suppress(OSError):
            os.unlink(path)


def _forget_pages(prefix: str) -> None:
    for path in glob.glob(glob.escape(prefix) + ".data-?????-of-?????"):
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)
