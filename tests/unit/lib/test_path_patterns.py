"""Which paths TensorFlow takes for patterns, and what it finds at them."""

import os
import re
from fnmatch import translate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood.latest.path_patterns import _expression, finds, is_pattern


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


@given(st.text("ab*?", max_size=12), st.text("ab", max_size=12))
def test_each_star_matches_anything_though_only_the_first_place_is_tried(pattern, name):
    expected = re.match(translate(pattern), name) is not None

    assert (_expression(pattern.encode()).match(name.encode()) is not None) == expected


@pytest.mark.parametrize("pattern", ["*a" * 60 + "b", "d*/../" * 40 + "no*ne"])
def test_a_pattern_of_many_stars_takes_no_longer_than_others(tmp_path, pattern):
    # given: what trying each place for each star, or each way through the directories, would never be done with
    (tmp_path / ("a" * 200)).touch()
    for number in range(9):
        (tmp_path / f"d{number}").mkdir()

    assert not finds(f"{tmp_path}/{pattern}")
