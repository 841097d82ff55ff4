"""Which checkpoints lie in a directory, and in which order."""

import os

import pytest

from lastgood.directory import Listed, list_checkpoints
from lastgood.errors import BundleError
from lastgood.reasons import Reason


def touch(directory, name, time_s=1000.0):
    path = directory / name
    path.write_bytes(b"")
    os.utime(path, (time_s, time_s))


def names(directory, **options):
    return [os.path.basename(listed.prefix) for listed in list_checkpoints(str(directory), **options)]


def test_the_newest_comes_first_whatever_its_number(tmp_path):
    for name, time_s in [("ckpt-4.index", 40), ("ckpt-5.index", 50), ("ckpt-3.index", 60)]:
        touch(tmp_path, name, time_s)

    listed = list_checkpoints(str(tmp_path))

    assert listed == (
        Listed(str(tmp_path / "ckpt-3"), 60.0, 3),
        Listed(str(tmp_path / "ckpt-5"), 50.0, 5),
        Listed(str(tmp_path / "ckpt-4"), 40.0, 4),
    )


def test_of_equally_old_ones_the_higher_number_comes_first(tmp_path):
    for name in ("ckpt-9.index", "ckpt-10.index", "ckpt-2.index"):
        touch(tmp_path, name)

    assert names(tmp_path) == ["ckpt-10", "ckpt-9", "ckpt-2"]


def test_temporary_files_and_other_things_are_no_checkpoints(tmp_path):
    for name in ("ckpt-1_temp.index", "ckpt-1.tempstate123.index", ".index", ".hidden-1.index", "vocabulary.index"):
        touch(tmp_path, name)
    for name in ("checkpoint", "ckpt-7.data-00000-of-00001", "ckpt-8.index.bak", "ckpt-.index"):
        touch(tmp_path, name)
    (tmp_path / "ckpt-6.index").mkdir()
    (tmp_path / "ckpt-5_temp").mkdir()
    os.symlink("nowhere", tmp_path / "ckpt-4.index")
    touch(tmp_path, "model.ckpt-100-3.index")

    assert names(tmp_path) == ["model.ckpt-100-3"]
    assert names(tmp_path, numbered_only=False) == ["model.ckpt-100-3"]


def test_a_checkpoint_without_a_number_is_listed_only_when_asked_for(tmp_path):
    touch(tmp_path, "best.index", 20)
    touch(tmp_path, "best.data-00000-of-00001", 20)
    touch(tmp_path, "ckpt-1.index", 10)

    assert names(tmp_path) == ["ckpt-1"]
    assert names(tmp_path, numbered_only=False) == ["best", "ckpt-1"]


def test_a_missing_directory_holds_no_checkpoint(tmp_path):
    touch(tmp_path, "file")

    assert list_checkpoints(str(tmp_path / "nowhere")) == ()
    assert list_checkpoints(str(tmp_path / "file")) == ()


def test_a_directory_that_cannot_be_read_is_not_an_empty_one(tmp_path):
    os.symlink("loop", tmp_path / "loop")

    for directory in (str(tmp_path / "loop"), "nul\0byte"):
        with pytest.raises(BundleError) as raised:
            list_checkpoints(directory)
        assert raised.value.reason is Reason.UNREADABLE


def test_a_name_with_a_line_break_in_it_is_a_checkpoint_s_like_any(tmp_path):
    for name in ("a\nb-1.index", "a\nb.index", "a\nb.data-00000-of-00001", "c-1\n.index"):
        touch(tmp_path, name)

    assert names(tmp_path) == ["a\nb-1"]
    assert sorted(names(tmp_path, numbered_only=False)) == ["a\nb", "a\nb-1"]
