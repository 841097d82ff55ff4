"""What the hooks see and do at saves: what is left out of them, and who else writes there. On real TensorFlow."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hooked_worker import DEADLINE_S, FakeAgent, finish, free_address, start

from lastgood.verify import verify

#: Seconds for one test on a machine that does other things, too.
pytestmark = pytest.mark.timeout(400)

FRESH = {"kind": "fresh", "series": []}
Agents = Callable[..., FakeAgent]


def test_what_a_save_leaves_out_is_told_at_the_first_save_and_when_another_number_of_objects_is_saved(
    tf_python: str, tmp_path: Path, agents: Agents
) -> None:
    # given a model of Keras 3 that keeps two layers in a list
    agent = agents()
    agent.say(plan=FRESH)

    # when it is saved twice, and once more with another variable
    script = "keeps_layers_in_a_list.py"
    finish(start(tf_python, agent.home, script, str(tmp_path / "ck"), addresses=[free_address()], agent=agent))

    # then
    unsaved = [
        f"net/blocks/{number}/{name} (held in the list `blocks` of `net`)"
        for number in (0, 1)
        for name in ("kernel", "bias")
    ]
    assert [fact["unsaved"] for fact in agent.facts("saved")] == [unsaved, [], unsaved]
    assert agent.facts("hook_failed") == []


def share(python: str, tmp_path: Path, agents: Agents, policy: str) -> tuple[list[FakeAgent], list[dict[str, Any]]]:
    """Two workers whose managers have one directory: their agents, and what each ended with."""
    gang = [agents(f"worker-{rank}") for rank in (0, 1)]
    addresses = [free_address(), free_address()]
    other = tmp_path / "mount"
    (tmp_path / "ck").mkdir()
    other.symlink_to(tmp_path / "ck")
    trainers = []
    for rank, agent in enumerate(gang):
        agent.say(plan=FRESH, shared_write=policy)
        own = tmp_path / "ck" if rank == 0 else other  # each has a path of its own for it
        arguments = (str(own), str(tmp_path / f"outcome-{rank}.json"))
        trainers.append(start(python, agent.home, "share.py", *arguments, rank=rank, addresses=addresses, agent=agent))
    for trainer in trainers:
        finish(trainer) if policy == "redirect" else trainer.communicate(timeout=DEADLINE_S)
    if policy != "redirect":  # two that write into the same files may die of it
        return gang, []
    return gang, [json.loads((tmp_path / f"outcome-{rank}.json").read_text()) for rank in (0, 1)]


def assert_redirected(gang: list[FakeAgent], outcomes: list[dict[str, Any]], directory: Path) -> None:
    seen = [agent.facts("shared_write") for agent in gang]
    assert any(seen), "nobody has seen that both write there"
    for rank, facts in enumerate(seen):
        for fact in facts:
            assert (fact["other"], fact["is_redirected"]) == (f"worker/{1 - rank}", rank == 1)
            assert fact["directory"] == str(directory)
    saves = [agent.facts("saved") for agent in gang]
    assert [[(one["ordinal"], one["step"]) for one in own] for own in saves] == [[(1, 2), (2, 4), (3, 6), (4, 8)]] * 2
    assert [bool(one["redirected_from"]) for one in saves[1]] == [True] * 4, "its manager's place was known before"
    assert [bool(one["redirected_from"]) for one in saves[0]] == [False] * 4
    elsewhere = directory / ".lastgood" / "elsewhere" / f"worker-1-{hashlib.sha256(b'ckpt').hexdigest()[:8]}"
    for one in saves[1]:
        assert one["prefix"] == str(elsewhere / f"ckpt-{one['ordinal']}")
        assert one["redirected_from"] == str(directory / f"ckpt-{one['ordinal']}")
    # the script is told of what it asked for, and the chief's checkpoints are whole
    assert [Path(path).name for path in outcomes[1]["saved"]] == ["ckpt-1", "ckpt-2", "ckpt-3", "ckpt-4"]
    assert {Path(path).parent.name for path in outcomes[1]["saved"]} == {"mount"}
    assert outcomes[1]["kinds"] == outcomes[0]["kinds"] == ["str"]
    for number in (1, 2, 3, 4):
        assert verify(str(directory / f"ckpt-{number}")).faults == ()
    assert not list((directory / ".lastgood" / "elsewhere").glob("*"))
    assert outcomes[0]["digest"] == outcomes[1]["digest"]
    failed = [fact["hook"] for agent in gang for fact in agent.facts("hook_failed") + agent.facts("steering_lost")]
    assert [hook for hook in failed if hook != "patch"] == []  # 2.4 lacks one of the targets


def test_a_worker_that_saves_where_the_chief_saves_is_named_and_its_next_saves_go_elsewhere(
    tf_python: str, tmp_path: Path, agents: Agents
) -> None:
    # when two workers save into one directory, by two paths
    gang, outcomes = share(tf_python, tmp_path, agents, "redirect")

    # then
    assert_redirected(gang, outcomes, tmp_path / "ck")


@pytest.mark.breadth
def test_saves_are_sent_elsewhere_on_every_tensorflow(each_tensorflow: Any, tmp_path: Path, agents: Agents) -> None:
    gang, outcomes = share(each_tensorflow.python, tmp_path, agents, "redirect")
    assert_redirected(gang, outcomes, tmp_path / "ck")


@pytest.mark.breadth
@pytest.mark.parametrize("policy", ["warn", "stop"])
def test_where_the_policy_does_not_redirect_everybody_saves_where_the_script_says(
    tf_python: str, tmp_path: Path, agents: Agents, policy: str
) -> None:
    # when
    gang, _ = share(tf_python, tmp_path, agents, policy)

    # then
    seen = [fact for agent in gang for fact in agent.facts("shared_write")]
    assert seen
    assert not any(fact["is_redirected"] for fact in seen)
    saves = [one for agent in gang for one in agent.facts("saved")]
    assert {Path(one["prefix"]).parent for one in saves} == {tmp_path / "ck"}
    assert {one["redirected_from"] for one in saves} == {""}
