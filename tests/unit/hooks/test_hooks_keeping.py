"""What outlives rotation: the whole policy, alone. test_hooks_pins.py has it act on files."""

from __future__ import annotations

import pytest

from _lastgood_hooks.keeping import NO_WORD, PinName, Word, parse_pin_name, read_word, to_keep
from lastgood.pins import PinnedSave
from lastgood.pins import parse_pin_name as library_parse_pin_name


def save(ordinal: int, attempt: int = 1) -> PinName:
    return PinName(attempt, ordinal, "aa", 0)


def word(good: int | None = None, undecided: tuple[int, ...] = (), through: int = 0, is_live: bool = True) -> Word:
    named = {} if good is None else {str(save(good)): f"/ck/ckpt-{good}"}
    return Word(is_live, named, frozenset(str(save(each)) for each in undecided), {"aa.0": (1, through)})


def kept(held: tuple[int, ...], newest: int, said: Word) -> list[int]:
    return sorted(name.ordinal for name in to_keep([save(each) for each in held], save(newest), said))


@pytest.mark.parametrize(
    ("held", "newest", "said", "expected"),
    [
        ((), 1, NO_WORD, [1]),
        ((1,), 2, NO_WORD, [1, 2]),
        ((1, 2), 3, NO_WORD, [2, 3]),  # nobody judges: the newest two
        ((1, 2), 3, word(through=0), [1, 3]),  # somebody does: the first stays until it is judged
        ((1, 2), 3, word(undecided=(1, 2), through=2), [1, 3]),
        ((1, 2), 3, word(good=1, undecided=(2,), through=2), [1, 2, 3]),
        ((1, 2), 3, word(good=2, through=2), [2, 3]),
        ((1, 2), 3, word(through=2), [3]),  # both judged, and neither is good
        ((1, 2, 4), 5, word(good=1, through=2), [1, 4, 5]),
        ((1, 4), 5, word(good=1, undecided=(4,), through=4, is_live=False), [1, 4, 5]),
        ((1, 4, 5), 6, word(good=1, undecided=(4,), through=4, is_live=False), [1, 5, 6]),  # the candidate moves on
    ],
)
def test_the_newest_good_one_one_candidate_and_the_newest_save_are_kept(
    held: tuple[int, ...], newest: int, said: Word, expected: list[int]
) -> None:
    assert kept(held, newest, said) == expected


def test_what_was_there_before_the_run_is_kept_for_as_long_as_it_is_good_and_never_as_a_candidate() -> None:
    adopted = PinName(0, 1, "", 0)
    named = Word(True, {"any.0.0.1": "/ck/ckpt-9"}, frozenset(), {"aa.0": (1, 1)})

    assert adopted.is_of("aa", 0)
    assert to_keep([adopted, save(1)], save(2), named) == {adopted, save(2)}
    assert to_keep([adopted, save(1)], save(2), word(good=1, through=1)) == {save(1), save(2)}


@pytest.mark.parametrize(
    "text", ["9f3c2ab0deadbeef.0.3.7", "any.0.0.1", "any.0.0", "x.0.0.1", ".0.0.1", "aa.0.0.1.tmp"]
)
def test_hooks_and_library_read_a_pins_name_alike(text: str) -> None:
    mine, theirs = parse_pin_name(text), library_parse_pin_name(text)

    assert (mine is None) == (theirs is None)
    if mine is not None:
        assert theirs == PinnedSave(mine.signature, mine.rank, mine.attempt, mine.ordinal)
        assert str(mine) == str(theirs) == text


@pytest.mark.parametrize(
    "garbage", [None, [], 3, {"live": True}, {"live": True, "good": [{}], "undecided": [], "through": {}}]
)
def test_a_word_that_makes_no_sense_says_nothing(garbage: object) -> None:
    assert read_word(garbage) == NO_WORD


def test_a_word_is_read_as_the_agent_writes_it() -> None:
    document = {
        "live": True,
        "good": [{"name": "aa.0.1.3", "prefix": "/ck/ckpt-3"}],
        "undecided": ["aa.0.1.4"],
        "through": {"aa.0": [1, 4]},
    }

    assert read_word(document) == Word(True, {"aa.0.1.3": "/ck/ckpt-3"}, frozenset({"aa.0.1.4"}), {"aa.0": (1, 4)})
