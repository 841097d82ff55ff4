"""Which paths TensorFlow takes for patterns, and what it finds at them."""

import os

import pytest

from lastgood.path_patterns import finds, is_pattern


@pytest.fixture
def directory(tmp_path):
    for name in ("ckpt-1.index", ".hidden", "open[1", "größe", "a]b"):
        (tmp_path / name).touch()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "ckpt-2.index").touch()
    os.symlink("nowhere", tmp_path / "dangling")
    return tmp_path


@pytest.mark.parametrize(
    ("path", "is_found"),
    [
        ("ckpt-1.index", True),
        ("ckpt-9.index", False),
        ("sub", True),
        ("dangling", False),
        ("dang*", True),  # listed, and not looked at
        ("nul\0byte", False),
        ("ck*.index", True),
        ("*idden", True),
        ("ckpt-?.index", True),
        ("ckpt-[0-9].index", True),
        ("ckpt-[!1].index", False),
        ("ckpt-[^2-9].index", True),
        ("ckpt-[9-0].index", False),
        ("s*ckpt-2.index", False),  # no pattern crosses a slash
        ("s*/ckpt-2.index", True),
        ("s*/../ckpt-1.index", True),
        ("[n]owhere/ckpt-1.index", False),
        ("ckpt\\-1.index", True),
        ("ckpt-1.inde\\", False),
        ("open[1", True),  # never closed, so it stands for itself
        ("a[]]b", True),
        ("gr??*e", True),
    ],
)
def test_a_path_is_a_pattern_for_tensorflow(directory, path, is_found):
    assert finds(f"{directory}/{path}") is is_found


@pytest.mark.parametrize(
    ("name", "is_found"), [("lr=[0.1]", False), ("a*b", True), ("que?", True), ("back\\slash", False)]
)
def test_in_a_directory_named_like_a_pattern_a_file_may_not_be_found(tmp_path, name, is_found):
    (tmp_path / name).mkdir()
    (tmp_path / name / "ckpt-1.index").touch()

    assert is_pattern(name)
    assert finds(f"{tmp_path}/{name}/ckpt-1.index") is is_found


def test_a_relative_pattern_begins_where_we_are(directory, monkeypatch):
    monkeypatch.chdir(directory)

    assert finds("ck*.index")
    assert finds("./s*b/ckpt-2.index")
    assert not finds("x*")
