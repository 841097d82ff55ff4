"""What outlives rotation: the whole policy, alone and against everything that may happen around it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _lastgood_hooks.keeping import NO_WORD, PinName, Word, parse_pin_name, read_word, to_keep
from lastgood.pins import PinnedSave
from lastgood.pins import parse_pin_name as library_parse_pin_name
from tests.breadth import IS_FULL


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


def test_what_was_there_before_the_run_is_kept_for_as_long_as_it_is_the_newest_good_one() -> None:
    adopted = PinName(0, 1, "", 0)
    named = Word(True, {"any.0.0.1": "/ck/ckpt-9"}, frozenset(), {"aa.0": (1, 1)})

    assert adopted.is_of("aa", 0)
    assert to_keep([adopted, save(1)], save(2), named) == {adopted, save(2)}
    passed = word(good=1, through=1)
    decided = Word(passed.is_live, passed.good, passed.undecided, {**passed.through, "any.0": (0, 1)})
    assert to_keep([adopted, save(1)], save(2), decided) == {save(1), save(2)}


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


# ------------------------------------------------------------------------------------------------- against everything


@dataclass
class Rotating:
    """One series whose manager keeps some, its hooks, and a judge that takes one after the other; any of them late.

    The judge reads first what the hooks have told that they hold besides the newest, else the newest that it knows.
    """

    max_to_keep: int
    saves: int = 0
    own: list[int] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    told: list[tuple[int, list[int], list[int]]] = field(default_factory=list)
    known: list[int] = field(default_factory=list)
    known_held: list[int] = field(default_factory=list)
    verdicts: dict[int, bool] = field(default_factory=dict)
    reading: int | None = None
    said: Word = NO_WORD
    safe: int | None = None
    last_good: list[int] = field(default_factory=list)
    is_away: bool = False
    missed: int = 0

    @property
    def good(self) -> int | None:
        return max((number for number, is_good in self.verdicts.items() if is_good), default=None)

    def exists(self, number: int) -> bool:
        return number in self.own or number in self.held

    def save(self) -> None:
        """TensorFlow saves, the hooks hold, the manager sweeps; never more than its keep and two lie there."""
        self.saves += 1
        self.own.append(self.saves)
        said = self.said if not self.is_away else Word(False, self.said.good, self.said.undecided, self.said.through)
        good = [number for number in [*self.held, *self.own] if str(save(number)) in said.good]
        if good:
            self.last_good = [number for number in good if number in self.held]
        former = frozenset(save(number) for number in self.last_good)
        names = to_keep([save(each) for each in self.held], save(self.saves), said, former)
        self.held = sorted(name.ordinal for name in names)
        aside = [number for number in self.own if number in good and number not in self.held]  # kept from rotation
        self.own = sorted({*aside, *self.own[-self.max_to_keep :]})
        self.told.append((self.saves, self.held, self.own))
        self.check()

    def hear(self) -> None:
        """The judge hears of the next save."""
        if self.told and not self.is_away:
            number, self.known_held, own = self.told.pop(0)
            self.known.append(number)
            gone = {each for each in self.verdicts if each not in self.known_held and each not in own}
            self.verdicts.update(dict.fromkeys(gone, False))

    def begin(self) -> None:
        """The judge begins to read."""
        waiting = [number for number in self.known if number not in self.verdicts]
        if self.is_away or self.reading is not None or not waiting:
            return
        kept_ones = [number for number in waiting[:-1] if number in self.known_held]
        self.reading = max(kept_ones or waiting)

    def end(self, is_good: bool) -> None:
        """The judge has read. What is gone by then is no good."""
        if self.reading is not None and not self.is_away:
            self.missed += not self.exists(self.reading)
            self.verdicts[self.reading] = is_good and self.exists(self.reading)
            self.reading = None

    def say(self) -> None:
        """The judge's word comes to the hooks."""
        if not self.is_away:
            undecided = tuple(number for number in self.known if number not in self.verdicts)
            self.said = word(self.good, undecided, max(self.known, default=0))
            if self.good is not None and self.exists(self.good):
                self.safe = self.good

    def check(self) -> None:
        assert len({*self.own, *self.held}) <= self.max_to_keep + 2
        assert self.safe is None or self.exists(self.safe), "what was told to be the newest good one is gone"


ACTIONS = st.sampled_from(
    ["save", "save", "save", "hear", "hear", "begin", "good", "bad", "say", "say", "away", "back"]
)


@settings(max_examples=4000 if IS_FULL else 300, deadline=None)
@given(st.integers(1, 4), st.lists(ACTIONS, max_size=120))
def test_whatever_comes_between_saves_readings_and_words_the_newest_good_one_stays_and_the_disk_is_bounded(
    max_to_keep: int, actions: list[str]
) -> None:
    world = Rotating(max_to_keep)
    for action in actions:
        match action:
            case "save":
                world.save()
            case "hear":
                world.hear()
            case "begin":
                world.begin()
            case "good" | "bad":
                world.end(is_good=action == "good")
            case "say":
                world.say()
            case "away":
                world.is_away = True
            case "back":
                world.is_away = False
        world.check()


@pytest.mark.parametrize("max_to_keep", [1, 2, 3, 5])
@pytest.mark.parametrize("saves_in_a_reading", [1, 3, 7])
def test_with_saves_faster_than_reading_the_newest_good_one_is_never_older_than_two_readings(
    max_to_keep: int, saves_in_a_reading: int
) -> None:
    # given a judge that needs the time of several saves for one
    world = Rotating(max_to_keep)
    world.say()
    ages: list[int] = []

    # when, for long
    for number in range(300):
        world.save()
        world.hear()
        if number % saves_in_a_reading == saves_in_a_reading - 1:
            world.end(is_good=True)
            world.begin()
            world.say()
        world.begin()
        if world.good is not None:
            ages.append(world.saves - world.good)

    # then
    assert ages
    assert max(ages) <= 2 * saves_in_a_reading + 2
    assert world.missed == 0


def test_a_good_one_that_was_rotated_away_before_its_word_came_costs_nothing_of_what_was_good_before() -> None:
    # given 1, told to be good; 2, no good, which the hooks still take for undecided; and 3, which nobody holds any more
    world = Rotating(max_to_keep=2)
    world.say()
    world.save()
    world.hear()
    world.begin()
    world.end(is_good=True)
    world.say()
    world.save()
    world.save()
    world.hear()
    world.begin()
    world.end(is_good=False)
    world.hear()
    world.save()
    world.begin()

    # when 3 is judged to be good, rotated away, and only then said to be good
    world.end(is_good=True)
    world.save()
    world.say()
    world.save()

    # then
    assert (world.good, world.exists(3)) == (3, False)
    assert world.held == [1, 5, 6]
    # and once the judge has heard of it, that one is the newest good one again
    for _ in range(3):
        world.hear()
    world.say()
    assert world.good == 1
