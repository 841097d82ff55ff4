"""The manifest that an agent puts beside what it has read: of that, or none."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from lastgood.attest import write_manifest
from lastgood.sidecar import read_sidecar
from lastgood.verify import verify
from lastgood_agent import manifests_beside

CHECKPOINTS = Path(__file__).parents[2] / "data" / "checkpoints" / "tf-2.21.0"


def lay(directory: Path, number: int) -> str:
    """A real checkpoint as ckpt-1; its prefix."""
    source = sorted(CHECKPOINTS.rglob("*.index"))[number]
    for path in source.parent.glob(source.stem + ".*"):
        shutil.copy(path, directory / path.name.replace(source.stem, "ckpt-1", 1))
    return str(directory / "ckpt-1")


def test_what_was_read_whole_has_its_manifest_and_the_attempt_beside_it(tmp_path: Path) -> None:
    prefix = lay(tmp_path, 0)
    found = verify(prefix)

    manifests_beside.note(found, 3, {}, leaves_cache=True)

    beside = read_sidecar(prefix)
    assert beside is not None
    assert beside.manifest is not None
    assert (beside.manifest.digest, beside.attempt) == (found.digest, 3)


@pytest.mark.parametrize("other", [None, 1], ids=["rotated away", "written over"])
def test_a_checkpoint_that_goes_while_its_manifest_is_written_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: int | None
) -> None:
    # given a save, or a sweep, that comes just when the manifest is there
    prefix = lay(tmp_path, 0)
    found = verify(prefix)

    def write_too_late(*arguments: Any, **options: Any) -> str:
        path = write_manifest(*arguments, **options)
        Path(prefix + ".index").unlink()
        if other is not None:
            lay(tmp_path, other)
        return path

    monkeypatch.setattr(manifests_beside, "write_manifest", write_too_late)

    # when
    manifests_beside.note(found, 3, {}, leaves_cache=False)

    # then nothing speaks of what is not there
    assert read_sidecar(prefix) is None
