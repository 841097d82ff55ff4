"""The progress line: what it says, and when it says nothing."""

import io

import pytest

from lastgood.progress import Bar, render
from lastgood.wording import size_in_words


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


class Terminal(io.StringIO):
    """A stream that a person looks at."""

    def isatty(self):
        return True


class Gone(Terminal):
    """A terminal that was closed."""

    def write(self, _):
        raise OSError("gone")


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self):
        self.time_s = 100.0

    def __call__(self):
        return self.time_s


@pytest.mark.parametrize(
    ("size_bytes", "expected"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_340_000_000, "1.3 GB"), (5e15, "5000.0 TB")],
)
def test_sizes_are_told_in_decimal_units(size_bytes, expected):
    assert size_in_words(size_bytes) == expected


@pytest.mark.parametrize(
    ("done", "whole", "elapsed_s", "expected"),
    [
        (0, 1000, 0.0, "ckpt-7  [........................]    0 %  0 B of 1.0 kB  0 B/s"),
        (250, 1000, 1.0, "ckpt-7  [######..................]   25 %  250 B of 1.0 kB  250 B/s  3 s left"),
        (10**9, 10**12, 1.0, "ckpt-7  [........................]    0 %  1.0 GB of 1.0 TB  1.0 GB/s  16:39 min left"),
        (10**9, 10**13, 1.0, "ckpt-7  [........................]    0 %  1.0 GB of 10.0 TB  1.0 GB/s  2:46 h left"),
        (1000, 1000, 2.0, "ckpt-7  [########################]  100 %  1.0 kB of 1.0 kB  500 B/s"),
        (0, 0, 2.0, "ckpt-7  [########################]  100 %  0 B of 0 B  0 B/s"),
    ],
)
def test_a_line_says_how_far_how_fast_and_how_long_still(done, whole, elapsed_s, expected):
    assert render("ckpt-7", done, whole, elapsed_s, 200) == expected


def test_in_a_narrow_terminal_the_label_gives_way_and_then_the_rest():
    whole = render("/a/long/directory/ckpt-7", 250, 1000, 1.0, 200)

    assert render("/a/long/directory/ckpt-7", 250, 1000, 1.0, len(whole) - 10) == "...tory/ckpt-7" + whole[24:]
    assert render("/a/long/directory/ckpt-7", 250, 1000, 1.0, len(whole) - 22) == whole[26:]
    assert [len(render("ckpt-7", 250, 1000, 1.0, width)) for width in (0, 1, 10)] == [0, 1, 10]


def test_a_bar_shows_itself_after_a_while_not_too_often_and_goes_without_a_trace():
    # given
    stream, clock = Terminal(), Clock()

    # when: a sixteenth of a second passes before each of these
    with Bar("ckpt-7", stream, clock) as bar:
        for step in range(1, 21):
            clock.time_s = 100 + step / 16
            bar.update(step, 20)
        shown = stream.getvalue()

    # then
    assert shown.count("\r\x1b[K") == 7
    assert "\r\x1b[Kckpt-7  [############............]   50 %  10 B of 20 B  16 B/s  1 s left" in shown
    assert stream.getvalue() == shown + "\r\x1b[K"


def test_what_is_over_at_once_shows_no_bar():
    stream, clock = Terminal(), Clock()

    with Bar("ckpt-7", stream, clock) as bar:
        bar.update(20, 20)

    assert stream.getvalue() == ""


@pytest.mark.parametrize("stream", [io.StringIO(), Gone()])
def test_on_no_terminal_or_one_that_is_gone_nothing_happens(stream):
    clock = Clock()

    with Bar("ckpt-7", stream, clock) as bar:
        clock.time_s += 10
        bar.update(10, 20)

    assert stream.getvalue() == ""


def test_a_name_cannot_command_the_terminal():
    stream, clock = Terminal(), Clock()

    with Bar("evil\x1b[2Jé", stream, clock) as bar:
        clock.time_s += 10
        bar.update(10, 20)

    assert "evil\\x1b[2J\\xe9" in stream.getvalue()
