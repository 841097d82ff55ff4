"""What lies on the disk, whatever happens around a manager that rotates: the real hooks, and real files."""

from __future__ import annotations

import errno
import os
import shutil
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _lastgood_hooks.keeping import NO_WORD, PinName, Word, parse_pin_name
from _lastgood_hooks.orders import Plan, PlannedSeries, State
from _lastgood_hooks.pins import Pins
from _lastgood_hooks.rotation import Rotation
from _lastgood_hooks.series import Series
from lastgood.pins import list_pins, put_back
from tests.breadth import IS_FULL

SHARD = ".data-00000-of-00001"


def refuse_to_link(*_: object, **__: object) -> None:
    raise OSError(errno.EPERM, "no links")


@dataclass
class Trainer:
    """What pins and rotation need of the session of a process. A body that fails, fails the test."""

    attempt: int
    pin_word: Word = NO_WORD
    plan: Plan | None = None
    is_claimed = is_chief = has_strategy = True

    def __post_init__(self) -> None:
        self.settings = SimpleNamespace(attempt=self.attempt, worker="worker/0")
        self.state = State(plan=self.plan)
        self.guard = SimpleNamespace(run=lambda _, body: SimpleNamespace(value=body()))
        self.outbox = SimpleNamespace(write=lambda *_, **__: None)


@dataclass(frozen=True)
class Told:
    """What the judge hears of a save. there: the saves whose own files lay there after the sweep."""

    save: PinName
    held: frozenset[PinName]
    there: frozenset[PinName]


@dataclass
class Rotating:
    """One series whose manager keeps some, its hooks, and a judge that takes one after the other; any of them late.

    The judge reads first what the hooks have told that they hold besides the newest, else the newest that it knows. A
    file of a checkpoint contains nothing but the name of its save. adopted: what lies there before the run.
    """

    directory: Path
    max_to_keep: int
    has_links: bool = True
    adopted: str = ""
    attempt: int = 0
    number: int = 0
    managed: OrderedDict[str, float] = field(default_factory=OrderedDict)
    saves: list[PinName] = field(default_factory=list)
    prefixes: dict[PinName, str] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)
    known: list[PinName] = field(default_factory=list)
    known_held: frozenset[PinName] = frozenset()
    verdicts: dict[PinName, bool] = field(default_factory=dict)
    reading: PinName | None = None
    safe: PinName | None = None
    is_away: bool = False
    missed: int = 0

    def __post_init__(self) -> None:
        if self.adopted:
            before, prefix = PinName(0, 1, "", 0), str(self.directory / self.adopted)
            self._write(prefix, before)
            self.managed[prefix], self.prefixes[before], self.verdicts[before] = 0.0, prefix, True
        self.begin_attempt()

    # -- the script and its hooks

    def begin_attempt(self, numbers_go_on: bool = True) -> None:
        """A new process. It restores the newest good one, read once more; what is undecided by now is no good."""
        while self.told:
            self.hear()
        self.verdicts = {save: self.verdicts.get(save, False) and self.exists(save) for save in self.prefixes}
        good, self.reading = self.good, None
        plan = None if good is None else Plan("restore", (self._planned(good),))
        self.attempt, self.ordinal = self.attempt + 1, 0
        self.number = int(self.prefixes[good].rpartition("-")[2]) if good and numbers_go_on else 0
        self.trainer = Trainer(self.attempt, self._word(), plan)
        self.hooks: Any = Pins(self.trainer)  # type: ignore[arg-type]
        self.rotation = Rotation(self.trainer, self.hooks)  # type: ignore[arg-type]
        self._note_word()
        with self.file_system():
            for planned in plan.series if plan else ():
                self.hooks.keep_planned(planned)

    def _planned(self, good: PinName) -> PlannedSeries:
        """As the agent prepares it: where only a pin is left, that gets its own name again, or is restored itself."""
        prefix, was_put_back = self.prefixes[good], False
        if self.at(prefix) != good:
            (pin,) = (each for each in list_pins(str(self.directory)) if each.name == str(good))
            with self.file_system():
                was_put_back = put_back(pin)
            prefix = prefix if was_put_back else pin.prefix
        return PlannedSeries("aa", 0, (str(self.directory),), prefix, "", None, "", str(good), was_put_back)

    def save(self, step_back: int = 0) -> None:
        """TensorFlow saves, the hooks hold, the manager sweeps. step_back: by how much the number is an older one."""
        self.ordinal += 1
        self.number = max(1, self.number + 1 - step_back)
        newest = PinName(self.attempt, self.ordinal, "aa", 0)
        prefix = str(self.directory / f"ckpt-{self.number}")
        with self.file_system():
            self.hooks.prepare(prefix)
            self._write(prefix, newest)
            held = self.hooks.keep(Series("aa", 0, str(self.directory)), self.ordinal, prefix)
            self.managed.pop(prefix, None)
            self.managed[prefix] = float(self.ordinal)
            manager = SimpleNamespace(
                _maybe_delete=self.managed, _directory=str(self.directory), _last_preserved_timestamp=0.0
            )
            self.rotation.sweep(self._sweep, manager)
        assert list(self.managed)[-1] == prefix  # what TensorFlow insists on
        self.saves.append(newest)
        self.prefixes[newest] = prefix
        there = frozenset(save for each in self.directory.glob("*.index") if (save := self.at(str(each)[:-6])))
        names = frozenset(name for text in held if (name := parse_pin_name(text)) is not None)
        self.told.append(Told(newest, names, there))
        self.check()

    def _write(self, prefix: str, save: PinName) -> None:
        self.directory.mkdir(exist_ok=True)
        Path(prefix + ".tmp").write_text(str(save))
        os.rename(prefix + ".tmp", prefix + SHARD)
        Path(prefix + ".index").write_text(str(save))  # in place, as TensorFlow does

    def _sweep(self, manager: Any) -> None:
        while len(manager._maybe_delete) > self.max_to_keep:
            prefix, _ = manager._maybe_delete.popitem(last=False)
            for suffix in (".index", SHARD):
                Path(prefix + suffix).unlink(missing_ok=True)

    def remove_directory(self) -> None:
        shutil.rmtree(self.directory)
        self.safe = None

    @contextmanager
    def file_system(self) -> Iterator[None]:
        with mock.patch("os.link", os.link if self.has_links else refuse_to_link):
            yield

    # -- the judge

    @property
    def good(self) -> PinName | None:
        return max((save for save, is_good in self.verdicts.items() if is_good), default=None)

    def hear(self) -> None:
        """The judge hears of the next save, and so of what is there no more."""
        if self.told and not self.is_away:
            told = self.told.pop(0)
            self.known.append(told.save)
            self.known_held = told.held
            gone = {save for save in self.verdicts if save not in told.held | told.there}
            self.verdicts.update(dict.fromkeys(gone, False))

    def begin(self) -> None:
        """The judge begins to read."""
        waiting = [save for save in self.known if save not in self.verdicts]
        if not self.is_away and self.reading is None and waiting:
            self.reading = max([save for save in waiting[:-1] if save in self.known_held] or waiting)

    def end(self, is_good: bool) -> None:
        """The judge has read. What is gone by then is no good."""
        if self.reading is not None and not self.is_away:
            self.missed += not self.exists(self.reading)
            self.verdicts[self.reading] = is_good and self.exists(self.reading)
            self.reading = None

    def say(self) -> None:
        """The judge's word comes to the hooks."""
        if not self.is_away:
            self.trainer.pin_word = self._word()
            self._note_word()

    def go_away(self) -> None:
        self.is_away = True
        self.trainer.pin_word = replace(self.trainer.pin_word, is_live=False)

    def _word(self) -> Word:
        good = {} if self.good is None else {str(self.good): self.prefixes[self.good]}
        undecided = frozenset(str(save) for save in self.known if save in self.known_held and save not in self.verdicts)
        newest = max(self.known, default=None)
        through = {} if newest is None else {"aa.0": (newest.attempt, newest.ordinal)}
        return Word(True, good, undecided, through)

    def _note_word(self) -> None:
        if self.good is not None and self.exists(self.good):
            self.safe = self.good

    # -- what lies there

    def at(self, prefix: str) -> PinName | None:
        """The save whose whole files lie at a prefix."""
        try:
            index, shard = Path(prefix + ".index").read_text(), Path(prefix + SHARD).read_text()
        except FileNotFoundError:
            return None
        return parse_pin_name(index) if index == shard else None

    def exists(self, save: PinName) -> bool:
        name = os.path.basename(self.prefixes[save])
        pin = self.directory / ".lastgood" / "pins" / str(save) / name
        return save in (self.at(self.prefixes[save]), self.at(str(pin)))

    @property
    def held(self) -> list[int]:
        """The ordinals of what is pinned."""
        return [pin.save.ordinal for pin in list_pins(str(self.directory))]

    def check(self) -> None:
        assert len({path.stat().st_ino for path in self.directory.rglob("*" + SHARD)}) <= self.max_to_keep + 2
        for pin in list_pins(str(self.directory)):
            assert str(self.at(pin.prefix)) == pin.name, "a pin holds what is not its own"
        assert self.safe is None or self.exists(self.safe), "what was told to be the newest good one is gone"


@pytest.fixture
def rotating(tmp_path: Path) -> Callable[..., Rotating]:
    def make(max_to_keep: int = 1, **changes: Any) -> Rotating:
        return Rotating(tmp_path / "ck", max_to_keep, **changes)

    return make


def call_good(world: Rotating) -> None:
    """The newest save is heard of, read, and found to be good."""
    while world.told:
        world.hear()
    world.begin()
    world.end(is_good=True)
    world.say()


# -------------------------------------------------------------------------------------------------------- everything


COMPOUND = {each: each.split() for each in ("hear begin good", "hear begin good say")}
ACTIONS = st.sampled_from(
    ["save"] * 8 + ["hear", "begin", "good", "say"] * 2 + ["bad", "hear begin good", "hear begin good say"]
    + ["away", "back", "save an older number", "restart", "restart and number from 1", "remove"]
)  # fmt: skip


@settings(max_examples=3000 if IS_FULL else 150, deadline=None)
@given(st.integers(1, 4), st.booleans(), st.sampled_from(["", "ckpt-2"]), st.lists(ACTIONS, max_size=100))
def test_whatever_comes_between_saves_readings_and_words_the_newest_good_one_stays_and_the_disk_is_bounded(
    max_to_keep: int, has_links: bool, adopted: str, actions: list[str]
) -> None:
    with TemporaryDirectory() as home:
        world = Rotating(Path(home) / "ck", max_to_keep, has_links, adopted)
        for action in (single for each in actions for single in COMPOUND.get(each, [each])):
            match action:
                case "save":
                    world.save()
                case "save an older number":
                    world.save(step_back=2)
                case "hear":
                    world.hear()
                case "begin":
                    world.begin()
                case "good" | "bad":
                    world.end(is_good=action == "good")
                case "say":
                    world.say()
                case "away":
                    world.go_away()
                case "back":
                    world.is_away = False
                case "restart" | "restart and number from 1" if not world.is_away and world.directory.exists():
                    world.begin_attempt(numbers_go_on=action == "restart")
                case "remove" if world.directory.exists():
                    world.remove_directory()


@pytest.mark.parametrize("max_to_keep", [1, 2, 5])
@pytest.mark.parametrize("saves_in_a_reading", [1, 3, 7])
def test_with_saves_faster_than_reading_the_newest_good_one_is_never_older_than_two_readings(
    rotating: Callable[..., Rotating], max_to_keep: int, saves_in_a_reading: int
) -> None:
    # given a judge that needs the time of several saves for one
    world = rotating(max_to_keep)
    world.say()
    ages: list[int] = []

    # when, for long
    for number in range(100):
        world.save()
        world.hear()
        if number % saves_in_a_reading == saves_in_a_reading - 1:
            world.end(is_good=True)
            world.begin()
            world.say()
        world.begin()
        if world.good is not None:
            ages.append(world.ordinal - world.good.ordinal)

    # then
    assert ages
    assert max(ages) <= 2 * saves_in_a_reading + 2
    assert world.missed == 0


# ------------------------------------------------------------------------------------------------------ one at a time


@pytest.mark.parametrize("step_back", [0, 2], ids=["rotated away", "written over"])
def test_a_good_one_that_was_rotated_away_before_its_word_came_costs_nothing_of_what_was_good_before(
    rotating: Callable[..., Rotating], step_back: int
) -> None:
    # given 1, told to be good; 2, no good, which the hooks still take for undecided; and 3, which nobody holds any more
    world = rotating(max_to_keep=2)
    world.say()
    world.save()
    call_good(world)
    first = world.good
    world.save()
    world.save()
    world.hear()
    world.begin()
    world.end(is_good=False)
    world.hear()
    world.save()
    world.begin()

    # when 3 is judged to be good, rotated away or written over, and only then said to be good
    world.end(is_good=True)
    world.save(step_back)
    world.say()
    third = world.good
    world.save()

    # then
    assert third is not None
    assert (third.ordinal, world.exists(third)) == (3, False)
    assert world.held == [1, 5, 6]
    # and once the judge has heard of it, that one is the newest good one again
    for _ in range(3):
        world.hear()
    world.say()
    assert world.good == first


@pytest.mark.parametrize("has_links", [True, False])
def test_a_restart_that_numbers_from_1_again_writes_over_good_files_and_takes_none(
    rotating: Callable[..., Rotating], has_links: bool
) -> None:
    # given two saves, the second good, and a manager that has not saved its counter, as one in the background
    world = rotating(max_to_keep=2, has_links=has_links)
    for _ in range(2):
        world.save()
        call_good(world)
    good = world.good
    world.begin_attempt(numbers_go_on=False)

    # when both names are used again, before anything is judged
    world.save()
    world.save()

    # then
    assert good is not None
    assert world.prefixes[good] == world.prefixes[world.saves[-1]] == str(world.directory / "ckpt-2")
    assert world.at(world.prefixes[good]) == world.saves[-1]
    assert world.exists(good)


def test_what_a_killed_process_has_left_half_made_is_no_pin_and_goes(rotating: Callable[..., Rotating]) -> None:
    # given a pin without an index
    world = rotating()
    world.save()
    half = world.directory / ".lastgood" / "pins" / "aa.0.1.7"
    half.mkdir()
    (half / ("ckpt-7" + SHARD)).write_text("")

    # when
    world.save()

    # then
    assert not half.exists()


def test_what_was_there_before_the_run_stays_until_a_save_of_its_own_is_good(rotating: Callable[..., Rotating]) -> None:
    # given a checkpoint that was adopted
    world = rotating(adopted="ckpt-9")
    adopted = world.good
    assert adopted is not None

    # when
    world.save()
    world.save()

    # then
    assert world.at(world.prefixes[adopted]) is None
    assert world.exists(adopted)
    call_good(world)
    world.save()
    assert not world.exists(adopted)


def test_what_is_restored_from_a_pin_of_a_run_that_nobody_remembers_is_pinned_for_this_one(
    rotating: Callable[..., Rotating],
) -> None:
    # given a pin of the seventh attempt of another run, and another checkpoint that has its name
    world = rotating()
    world.save()
    other = world.directory / ".lastgood" / "pins" / "aa.0.7.1" / "ckpt-1"
    other.parent.mkdir()
    for suffix in (".index", SHARD):
        Path(str(other) + suffix).write_text("aa.0.7.1")
    planned = PlannedSeries("aa", 0, (str(world.directory),), str(other), "", None, "", "aa.0.0.1")

    # when
    world.hooks.keep_planned(planned)

    # then it is there under the name by which this run knows it
    adopted = world.directory / ".lastgood" / "pins" / "aa.0.0.1" / "ckpt-1"
    assert world.at(str(adopted)) == PinName(7, 1, "aa", 0)


def test_a_checkpoint_that_was_put_back_is_rotated_away_again(rotating: Callable[..., Rotating]) -> None:
    # given one that only a pin has
    world = rotating()
    world.save()
    call_good(world)
    world.save()
    assert world.good is not None
    first = world.prefixes[world.good]
    assert world.at(first) is None

    # when a restart puts it back
    world.begin_attempt()
    assert world.at(first) == world.good
    world.save()

    # then its name does not stay for ever
    assert world.at(first) is None
    assert world.exists(world.good)
