"""Pins in real training processes: what rotation removes lies there all the same, and nothing else does."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hooked_worker import FakeAgent, finish, free_address, plan_of, start

from lastgood.inspect import manifest_from_index
from lastgood.latest.examine import examine
from lastgood.pins import list_pins
from lastgood.verify import verify

#: Seconds for one test on a machine that does other things, too.
pytestmark = pytest.mark.timeout(400)

FRESH = {"kind": "fresh", "series": []}
#: Whoever judges is there, and has judged nothing yet.
NOTHING_YET = {"live": True, "good": [], "undecided": [], "through": {}}
Agents = Callable[..., FakeAgent]


def rotate(
    python: str,
    agent: FakeAgent,
    directory: Path,
    *arguments: object,
    said: dict[str, Any] | None = None,
    **options: Any,
) -> list[str]:
    """Runs the script under the hooks; the lines that it printed. said: the agent's first word."""
    agent.say(**{"plan": FRESH, "pins": NOTHING_YET, **(said or {})})
    words = (str(directory), *map(str, arguments))
    trainer = start(python, agent.home, "rotate.py", *words, addresses=[free_address()], agent=agent, **options)
    return [line for line in finish(trainer).splitlines() if line.startswith(("failed", "managed"))]


def names(directory: Path) -> list[str]:
    return sorted(path.stem for path in directory.glob("*.index"))


def pinned(directory: Path) -> dict[str, str]:
    """By the name of the checkpoint, the digest of what was found whole in its pin."""
    found = {Path(pin.prefix).name: verify(pin.prefix) for pin in list_pins(str(directory))}
    assert [each.faults for each in found.values()] == [()] * len(found)
    return {name: each.digest for name, each in found.items()}


def digests(agent: FakeAgent) -> list[str]:
    """Of each save, as it was when it returned."""
    return [
        manifest_from_index((agent.outbox / fact["index_copy"]).read_bytes(), fact["shard_sizes_bytes"]).digest
        for fact in agent.facts("saved")
    ]


def held(agent: FakeAgent) -> list[list[int]]:
    """By each save, which ones were held when it returned."""
    return [[int(name.rpartition(".")[2]) for name in fact["held"]] for fact in agent.facts("saved")]


def inodes(directory: Path) -> int:
    """How many data files take room."""
    return len({path.stat().st_ino for path in directory.rglob("*.data-*")})


@pytest.mark.parametrize(
    "each_tensorflow", ["2.4", pytest.param("2.15", marks=pytest.mark.breadth), "2.21"], indirect=True
)
def test_what_a_manager_removes_is_held_until_it_is_judged(
    each_tensorflow: Any, tmp_path: Path, agents: Agents
) -> None:
    # given nobody who judges anything, and a manager that keeps one
    agent, directory = agents(), tmp_path / "ck"

    # when
    assert rotate(each_tensorflow.python, agent, directory, 1, 4, 0.1) == ["managed: ['ckpt-4']"]

    # then the first save is held, whole, and the newest one; and no room is taken for others
    saved = digests(agent)
    assert names(directory) == ["ckpt-4"]
    assert pinned(directory) == {"ckpt-1": saved[0], "ckpt-4": saved[3]}
    assert held(agent) == [[1], [1, 2], [1, 3], [1, 4]]
    assert inodes(directory) == 2
    assert [fact["prefixes"] for fact in agent.facts("removed")] == [[f"{directory}/ckpt-{n}"] for n in (1, 2, 3)]
    assert [fact for fact in agent.facts("hook_failed") if fact["hook"] != "patch"] == []  # 2.4 lacks a target
    assert examine(str(directory), verify).left == ()


@pytest.mark.breadth
def test_a_prefix_that_is_written_again_does_not_hurt_what_was_pinned_from_it(
    tf_python: str, tmp_path: Path, agents: Agents
) -> None:
    # given a save that is good
    agent, directory = agents(), tmp_path / "ck"

    def call_it_good(fact: dict[str, Any]) -> None:
        if fact["type"] == "saved" and fact["ordinal"] == 1:
            named = {"name": fact["held"][0], "prefix": fact["prefix"]}
            agent.say(pins={**NOTHING_YET, "good": [named]})

    agent.answer = call_it_good

    # when its name is used again
    rotate(tf_python, agent, directory, 2, 0, 0.1, "1,2,1")

    # then both are there
    saved = digests(agent)
    found = {pin.save.ordinal: verify(pin.prefix).digest for pin in list_pins(str(directory))}
    assert (found[1], found[3]) == (saved[0], saved[2])
    assert verify(str(directory / "ckpt-1")).digest == saved[2]


REFUSE_LINKS = "import errno, os\ndef link(*a, **k):\n    raise OSError(errno.EPERM, 'no links')\nos.link = link\n"


@pytest.fixture
def no_links(tmp_path: Path) -> list[str]:
    """What makes a file system that refuses links, on the path of a script."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text(REFUSE_LINKS)
    return [str(tmp_path / "path")]


@pytest.mark.parametrize(
    ("each_tensorflow", "has_links"),
    [
        ("2.21", True),
        *(
            pytest.param(*each, marks=pytest.mark.breadth)
            for each in (("2.21", False), ("2.15", True), ("2.15", False))
        ),
    ],
    indirect=["each_tensorflow"],
)
def test_a_manager_that_saves_in_the_background_begins_again_with_ckpt_1_and_hurts_nothing_good(
    each_tensorflow: Any, tmp_path: Path, agents: Agents, no_links: list[str], has_links: bool
) -> None:
    # given a first life, whose newest save is good
    first, second, directory = agents("first"), agents("second", attempt=2), tmp_path / "ck"
    options: dict[str, Any] = {"extra_path": [] if has_links else no_links}
    rotate(each_tensorflow.python, first, directory, 2, 2, 0.1, "background", **options)
    newest = first.facts("saved")[-1]
    good = {"name": newest["held"][-1], "prefix": newest["prefix"]}
    series = {**newest["series"], "directories": [str(directory)]}
    plan = plan_of(tmp_path, [series], newest["prefix"])
    plan["series"][0]["pin"] = good["name"]

    # when the second life restores it, and uses both names again, with nothing judged
    decided = {good["name"].rpartition(".1.")[0]: [1, 2]}
    said = {"plan": plan, "pins": {**NOTHING_YET, "good": [good], "through": decided}}
    rotate(each_tensorflow.python, second, directory, 2, 2, 0.1, "background", said=said, **options)

    # then it is there as it was, in its pin, and so are both new ones
    saved = digests(second)
    assert [Path(fact["prefix"]).name for fact in second.facts("saved")] == ["ckpt-1", "ckpt-2"]
    assert [verify(str(directory / name)).digest for name in ("ckpt-1", "ckpt-2")] == saved
    held_now = {pin.name: verify(pin.prefix) for pin in list_pins(str(directory))}
    assert (held_now[good["name"]].digest, held_now[good["name"]].faults) == (digests(first)[-1], ())
    assert inodes(directory) == 3
    assert second.facts("hook_failed") == []


def test_where_there_are_no_hard_links_rotation_is_kept_from_what_is_needed(
    tf_python: str, tmp_path: Path, agents: Agents, no_links: list[str]
) -> None:
    # given
    agent, directory = agents(), tmp_path / "ck"

    # when
    said = rotate(tf_python, agent, directory, 1, 4, 0.1, extra_path=no_links)

    # then the first save was not removed, and the manager knows of it, for when it is needed no more
    saved = digests(agent)
    assert said == ["managed: ['ckpt-1', 'ckpt-4']"]
    assert names(directory) == ["ckpt-1", "ckpt-4"]
    assert [verify(str(directory / name)).digest for name in names(directory)] == [saved[0], saved[3]]
    assert held(agent) == [[1], [1, 2], [1, 3], [1, 4]]
    assert pinned(directory) == {}
    assert agent.facts("hook_failed") == []


@pytest.mark.breadth
def test_a_worker_that_is_not_the_chief_pins_nothing(tf_python: str, tmp_path: Path, agents: Agents) -> None:
    # given a gang of two, the second of which saves into a temporary directory of its own
    chief, other = agents("chief"), agents("other")
    addresses = [free_address(), free_address()]
    places = {chief: tmp_path / "ck", other: tmp_path / "ck" / "workertemp_1"}

    # when
    trainers = []
    for rank, (agent, place) in enumerate(places.items()):
        agent.say(plan=FRESH, pins=NOTHING_YET)
        words = (str(place), "1", "3", "0.1")
        options: dict[str, Any] = {"rank": rank, "addresses": addresses, "agent": agent}
        trainers.append(start(tf_python, agent.home, "rotate.py", *words, **options))
    for trainer in trainers:
        finish(trainer)

    # then nothing of ours lies in its directory
    assert sorted(path.name for path in places[other].iterdir()) == [
        "checkpoint", "ckpt-3.data-00000-of-00001", "ckpt-3.index",
    ]  # fmt: skip
    assert (held(chief), held(other)) == ([[1], [1, 2], [1, 3]], [[], [], []])
    assert sorted(pinned(places[chief])) == ["ckpt-1", "ckpt-3"]
    assert chief.facts("hook_failed") == other.facts("hook_failed") == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with room for two and a half checkpoints of a megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2600k", "tmpfs", place], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("needs to mount a tmpfs: be root")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.breadth
def test_pins_are_not_what_fills_a_disk(tf_python: str, tmp_path: Path, agents: Agents, small_disk: Path) -> None:
    # given room for what TensorFlow alone needs, and no more
    agent, directory = agents(), small_disk / "ck"

    # when
    said = rotate(tf_python, agent, directory, 1, 5, 1)

    # then no save has failed
    assert said == ["managed: ['ckpt-5']"]
    assert agent.facts("save_failed") == []
    assert verify(str(directory / "ckpt-5")).faults == ()


def test_a_save_that_finds_no_room_is_told_and_leaves_the_good_one_alone(
    tf_python: str, tmp_path: Path, agents: Agents, small_disk: Path
) -> None:
    # given room for one more than the good one
    agent, directory = agents(), small_disk / "ck"

    def call_it_good(fact: dict[str, Any]) -> None:
        if fact["type"] == "saved" and fact["ordinal"] == 1:
            agent.say(pins={**NOTHING_YET, "good": [{"name": fact["held"][0], "prefix": fact["prefix"]}]})

    agent.answer = call_it_good
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 500_000)

    # when
    said = rotate(tf_python, agent, directory, 1, 3, 1)

    # then
    failed = agent.facts("save_failed")
    assert len(failed) >= 1
    assert {"failed: 3 ResourceExhaustedError"} <= set(said)
    assert {fact["prefix"] for fact in failed} == {str(directory / "ckpt-3")}
    assert pinned(directory)["ckpt-1"] == digests(agent)[0]
