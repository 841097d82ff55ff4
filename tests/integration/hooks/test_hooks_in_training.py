"""The hooks in real training processes: what they steer, what they prove, and that they harm nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hooked_worker import DEADLINE_S, FakeAgent, finish, free_address, plan_of, read_progress, start

from lastgood.inspect import manifest_from_index, read_manifest
from lastgood.manifest import manifest_to_json

#: Seconds for one test on a machine that does other things, too.
pytestmark = pytest.mark.timeout(400)

FAULTS = str(Path(__file__).parent / "faults")
FRESH = {"kind": "fresh", "series": []}
STEPS = 4
Agents = Callable[..., FakeAgent]


def broad(value: str) -> Any:
    """A parameter for `make test-full` alone."""
    return pytest.param(value, marks=pytest.mark.breadth)


class Trained:
    """What an uninterrupted run without hooks' steering left: ckpt-1 at step 2, ckpt-2 at step 4."""

    def __init__(self, root: Path, facts: list[dict[str, Any]], outcome: dict[str, Any], progress: Any) -> None:
        self.root, self.facts, self.outcome, self.progress = root, facts, outcome, progress
        self.series = {"signature": facts[-1]["series"]["signature"], "ordinal": 0}

    def copy(self, to: Path) -> Path:
        """The directory as it was left, to be restored from."""
        return Path(shutil.copytree(self.root / "ck", to / "ck"))


@pytest.fixture(scope="module")
def trained(tf_python: str, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    root = tmp_path_factory.mktemp("trained")
    agent = FakeAgent(root / "worker")
    agent.answer = lambda fact: agent.say(plan=FRESH) if fact["type"] == "asked" else None
    try:
        run(tf_python, root, root / "ck", "latest", agent)
    finally:
        agent.close()
    return Trained(root, agent.facts(), read_outcome(root), read_progress(agent.home))


def run(python: str, root: Path, directory: Path, how: str, agent: FakeAgent | None, **options: Any) -> str:
    home = agent.home if agent else root / "worker"
    arguments = (str(directory), str(STEPS), how, str(root / "outcome.json"))
    trainer = start(python, home, "train.py", *arguments, addresses=[free_address()], agent=agent, **options)
    return finish(trainer)


def read_outcome(root: Path, name: str = "outcome.json") -> dict[str, Any]:
    document: dict[str, Any] = json.loads((root / name).read_text())
    return document


def steer(agent: FakeAgent, plan: dict[str, Any]) -> None:
    """Plans once the script asks, and opens the gate at the first receipt."""

    def answer(fact: dict[str, Any]) -> None:
        if fact["type"] == "asked":
            agent.say(plan=plan)
        if fact["type"] == "receipt":
            agent.say(gate_open=True)

    agent.answer = answer


def test_a_fresh_run_tells_what_it_saves_and_how_far_it_is(trained: Trained) -> None:
    saves = [fact for fact in trained.facts if fact["type"] == "saved"]
    directory = str(trained.root / "ck")
    outbox = trained.root / "worker" / "outbox"

    assert [fact["type"] for fact in trained.facts] == ["strategy_made", "asked", "first_step", "saved", "saved"]
    assert trained.facts[1]["series"] == {"signature": "", "ordinal": 0, "directory": directory}
    assert trained.facts[2]["step"] == 1
    assert [(one["ordinal"], one["step"], one["save_counter"]) for one in saves] == [(1, 2, 1), (2, 4, 2)]
    assert [one["prefix"] for one in saves] == trained.outcome["saved"]
    assert trained.progress == (STEPS, STEPS, STEPS)
    kinds = {key.partition("/.ATTRIBUTES")[0]: kind for key, kind in saves[0]["kinds"].items()}
    assert kinds.pop("local") == kinds.pop("name") == "per_worker"
    assert kinds.pop("total") == "aggregated_sum"
    assert set(kinds.values()) == {"mirrored"}
    assert "save_counter" in kinds
    for one in saves:
        index = (outbox / one["index_copy"]).read_bytes()
        manifest = manifest_from_index(index, one["shard_sizes_bytes"])
        assert manifest.digest == read_manifest(one["prefix"]).digest
        assert {entry.key.decode() for entry in manifest.entries} == {*one["kinds"], "_CHECKPOINTABLE_OBJECT_GRAPH"}


@pytest.mark.parametrize("how", ["latest", "none", broad("state"), broad("or_initialize"), broad("property")])
def test_whichever_way_a_script_asks_it_gets_the_plan_and_proves_it(
    tf_python: str, trained: Trained, tmp_path: Path, agents: Agents, how: str
) -> None:
    # given a directory whose state file is gone, and whose newest checkpoint is not the plan's
    directory = trained.copy(tmp_path)
    (directory / "checkpoint").unlink()
    agent = agents(attempt=2)
    plan = plan_of(tmp_path, [{**trained.series, "directories": [str(directory)]}], str(directory / "ckpt-1"))
    steer(agent, plan)

    # when the script asks in its own way
    run(tf_python, tmp_path, directory, how, agent)

    # then it goes on from the plan's step and ends as if nothing had happened
    outcome = read_outcome(tmp_path)
    assert (outcome["at_start"], outcome["digest"]) == (2, trained.outcome["digest"])
    receipts = agent.facts("receipt")
    assert [(one["restored"], one["deferred"], one["seconds"] > 0) for one in receipts] == [(8, 1, True), (9, 0, True)]
    assert {(*one["left_at_initial"], *one["wrong_value"], one["error"], one["digest"]) for one in receipts} == {
        ("", plan["series"][0]["digest"])
    }
    assert agent.facts("hook_failed") == agent.facts("steering_lost") == agent.facts("left_alone") == []
    assert [fact["step"] for fact in agent.facts("first_step")] == [3]
    assert [fact["step"] for fact in agent.facts("saved")] == [4]
    assert str(directory / "ckpt-1") not in outcome["managed"] or how != "or_initialize"


def test_a_state_file_is_read_as_if_the_plans_checkpoint_were_the_newest(
    tf_python: str, trained: Trained, tmp_path: Path, agents: Agents
) -> None:
    # given a state file whose newest checkpoint is not the plan's
    directory = trained.copy(tmp_path)
    first, second = (str(directory / name) for name in ("ckpt-1", "ckpt-2"))
    agent = agents(attempt=2)
    steer(agent, plan_of(tmp_path, [{**trained.series, "directories": [str(directory)]}], first))

    # when
    run(tf_python, tmp_path, directory, "state", agent)

    # then the script sees both, the plan's last; the manager, made before, knows them as they lie there
    outcome = read_outcome(tmp_path)
    assert (outcome["restored"], outcome["at_start"]) == ([second, first], 2)
    assert outcome["digest"] == trained.outcome["digest"]
    asked = agent.facts("asked")
    assert [one["via"] for one in asked] == ["checkpoint_state", "restore"]
    assert {one["series"]["directory"] for one in asked} == {str(directory)}
    assert agent.facts("hook_failed") == agent.facts("steering_lost") == agent.facts("left_alone") == []


def test_what_was_not_restored_is_named_and_the_gate_stays_shut_for_its_time(
    tf_python: str, trained: Trained, tmp_path: Path, agents: Agents
) -> None:
    # given a manifest that says something else of one variable, and knows one that the model has not
    directory = trained.copy(tmp_path)
    plan = plan_of(tmp_path, [{**trained.series, "directories": [str(directory)]}], str(directory / "ckpt-1"))
    path = Path(plan["series"][0]["manifest"])
    document = manifest_to_json(read_manifest(str(directory / "ckpt-1")))
    for entry in document["entries"]:
        if entry["key"].startswith("weight/"):
            entry["crc32c"] ^= 1
    path.write_text(json.dumps(document))
    agent = agents(attempt=2)
    agent.answer = lambda fact: agent.say(plan=plan) if fact["type"] == "asked" else None

    # when nobody opens the gate
    run(tf_python, tmp_path, directory, "latest", agent, settings={"gate_s": 0.5})

    # then the variable is named, and training goes on when the gate's time is over
    assert [one["wrong_value"] for one in agent.facts("receipt")] == [["weight/.ATTRIBUTES/VARIABLE_VALUE"]] * 2
    failures = [(one["hook"], one["count"]) for one in agent.facts("hook_failed")]
    assert failures == [("gate", 1)]
    assert read_outcome(tmp_path)["digest"] == trained.outcome["digest"]


def test_pretrained_weights_are_left_alone_and_a_call_without_a_restore_is_told(
    tf_python: str, trained: Trained, tmp_path: Path, agents: Agents
) -> None:
    directory = trained.copy(tmp_path)
    pretrained = tmp_path / "pretrained"
    pretrained.mkdir()
    for source in (trained.root / "ck").glob("ckpt-1.*"):
        shutil.copy(source, pretrained / source.name.replace("ckpt-1", "model-1"))
    agent = agents(attempt=2)
    agent.say(plan=plan_of(tmp_path, [{**trained.series, "directories": [str(directory)]}], str(directory / "ckpt-1")))

    run(tf_python, tmp_path, directory, "other", agent)

    assert [one["prefix"] for one in agent.facts("left_alone")] == [str(pretrained / "model-1")]
    assert len(agent.facts("call_entered")) == 1
    assert agent.facts("receipt") == agent.facts("first_step") == agent.facts("hook_failed") == []
    assert read_outcome(tmp_path)["step"] == STEPS


def test_weights_of_somebody_else_are_no_question_for_the_newest_that_lies_there(
    tf_python: str, trained: Trained, tmp_path: Path, agents: Agents
) -> None:
    # given a script with a manager, that restores a pretrained model before it asks for its own checkpoints
    shutil.copytree(trained.root / "ck", tmp_path / "pretrained")
    for source in (tmp_path / "pretrained").glob("ckpt-*"):
        source.rename(source.with_name(source.name.replace("ckpt", "model")))
    agent = agents(attempt=1)
    agent.answer = lambda fact: agent.say(plan=FRESH) if fact["type"] == "asked" else None

    # when nothing is planned yet
    run(tf_python, tmp_path, tmp_path / "ck", "other", agent)

    # then only the directory of its own is asked about
    assert [fact["directory"] for fact in agent.facts("asked")] == [str(tmp_path / "ck")]
    assert [fact["prefix"] for fact in agent.facts("left_alone")] == [str(tmp_path / "pretrained" / "model-1")]
    # and what it saves without a step is told with that of the training
    average = [fact for fact in agent.facts("saved") if fact["series"]["directory"] == str(tmp_path / "average")]
    assert [fact["step"] for fact in average] == [STEPS]


def test_what_a_script_restores_after_it_has_trained_is_its_own_affair(
    tf_python: str, trained: Trained, tmp_path: Path, agents: Agents
) -> None:
    # given a worker that was steered to ckpt-1, saves into a directory of its own, and knows the plan
    directory = trained.copy(tmp_path)
    agent = agents(attempt=2)
    steer(agent, plan_of(tmp_path, [{**trained.series, "directories": [str(directory)]}], str(directory / "ckpt-1")))

    # when it restores the newest checkpoint of the gang at its end
    run(tf_python, tmp_path, directory, "reload", agent)

    # then it gets what every other worker gets
    outcome = read_outcome(tmp_path)
    assert (outcome["at_start"], outcome["restored"]) == (2, str(directory / "ckpt-2"))
    assert {fact["prefix"] for fact in agent.facts("receipt")} == {str(directory / "ckpt-1")}
    assert agent.facts("hook_failed") == agent.facts("steering_lost") == agent.facts("left_alone") == []


def test_a_restore_that_raises_is_told_and_raises_all_the_same(
    tf_python: str, trained: Trained, tmp_path: Path, agents: Agents
) -> None:
    directory = trained.copy(tmp_path)
    plan = plan_of(tmp_path, [{**trained.series, "directories": [str(directory)]}], str(directory / "ckpt-1"))
    (directory / "ckpt-1.data-00000-of-00001").write_bytes(b"torn")
    agent = agents(attempt=2)
    agent.say(plan=plan)

    with pytest.raises(AssertionError, match="Error"):
        run(tf_python, tmp_path, directory, "latest", agent)

    receipts = agent.facts("receipt")
    assert [(one["restored"], bool(re.search("Error", one["error"]))) for one in receipts] == [(0, True)]
    assert agent.facts("hook_failed") == []


@pytest.mark.parametrize("fault", ["raise", broad("block"), "slow"])
def test_no_fault_of_a_hook_changes_what_is_trained(
    tf_python: str, trained: Trained, tmp_path: Path, agents: Agents, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given hooks whose every body but the claim fails
    directory = trained.copy(tmp_path)
    agent = agents(attempt=2)
    plan = plan_of(tmp_path, [{**trained.series, "directories": [str(directory)]}], str(directory / "ckpt-2"))
    steer(agent, plan)
    monkeypatch.setenv("HOOK_FAULT", fault)
    monkeypatch.setenv("HOOK_SPARED", "Strategies.tell_gang,Restoring.answer_directory")
    settings = {"plan_s": 0.3, "gate_s": 0.3, "body_s": 0.3} if fault == "block" else {}
    directory_of_run = tmp_path / "new"

    # when a script trains from the start
    agent.say(plan=FRESH)
    run(tf_python, tmp_path, directory_of_run, "or_initialize", agent, settings=settings, extra_path=[FAULTS])

    # then it ends with the right values, and the failures are told
    assert read_outcome(tmp_path)["digest"] == trained.outcome["digest"]
    failed = {fact["hook"] for fact in agent.facts("hook_failed")}
    assert failed == (set() if fault == "slow" else {"save", "manager", "progress", "sweep"})
    assert [fact["hook"] for fact in agent.facts("steering_lost")] == ([] if fault == "slow" else ["manager"])
    assert len(agent.facts("saved")) == (2 if fault == "slow" else 0)


@pytest.mark.parametrize("fault", [broad("raise"), "block"])
def test_a_receipt_that_cannot_be_given_ends_steering_and_not_training(
    tf_python: str, trained: Trained, tmp_path: Path, agents: Agents, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = trained.copy(tmp_path)
    agent = agents(attempt=2)
    steer(agent, plan_of(tmp_path, [{**trained.series, "directories": [str(directory)]}], str(directory / "ckpt-1")))
    monkeypatch.setenv("HOOK_FAULT", fault)
    monkeypatch.setenv("HOOK_SPARED", "Strategies.tell_gang,Restoring.answer_directory,Restoring.answer_restore")
    settings = {"gate_s": 0.3, "body_s": 0.5}

    run(tf_python, tmp_path, directory, "latest", agent, settings=settings, extra_path=[FAULTS])

    assert (read_outcome(tmp_path)["at_start"], read_outcome(tmp_path)["digest"]) == (2, trained.outcome["digest"])
    assert {"receipt", "save"} <= {fact["hook"] for fact in agent.facts("hook_failed")}
    assert [fact["hook"] for fact in agent.facts("steering_lost")] == ["receipt"]


def test_without_an_agent_training_goes_on_by_tensorflows_own_means(
    tf_python: str, trained: Trained, tmp_path: Path
) -> None:
    directory = trained.copy(tmp_path)

    run(tf_python, tmp_path, directory, "latest", None, settings={"plan_s": 0.3})

    facts = [json.loads(path.read_text()) for path in sorted((tmp_path / "worker" / "outbox").glob("*.json"))]
    assert [fact["type"] for fact in facts] == ["strategy_made", "asked", "hook_failed", "steering_lost"]
    assert "no plan came within 0.3 s" in facts[-1]["error"]
    assert read_outcome(tmp_path)["digest"] == trained.outcome["digest"]


def test_an_agent_that_talks_garbage_and_never_reads_harms_nothing(
    tf_python: str, trained: Trained, tmp_path: Path, agents: Agents
) -> None:
    directory = trained.copy(tmp_path)
    agent = agents(attempt=2, reads=False)
    agent.preamble = b"\x00\xff\n{\n[]\n" + b'{"type": "state", "attempt": 2, "plan": {"kind": "restore"}}\n'
    steer(agent, plan_of(tmp_path, [{**trained.series, "directories": [str(directory)]}], str(directory / "ckpt-1")))

    run(tf_python, tmp_path, directory, "latest", agent)

    assert {(one["hook"], one["count"]) for one in agent.facts("hook_failed")} == {("channel", n) for n in (1, 2, 4)}
    assert (read_outcome(tmp_path)["at_start"], read_outcome(tmp_path)["digest"]) == (2, trained.outcome["digest"])


def test_two_workers_with_directories_of_their_own_restore_one_plan(
    tf_python: str, tmp_path: Path, agents: Agents
) -> None:
    # given a gang that has saved: the chief its directory, the other one a temporary one
    directory = tmp_path / "ck"

    def run_gang(attempt: int, how: str, plan: dict[str, Any] | None) -> list[FakeAgent]:
        gang = [agents(f"worker-{rank}-{attempt}", attempt) for rank in (0, 1)]
        addresses = [free_address(), free_address()]
        trainers = []
        for rank, agent in enumerate(gang):
            agent.say(plan=plan or FRESH)
            arguments = (str(directory), str(STEPS), how, str(tmp_path / f"outcome-{rank}-{attempt}.json"))
            trainers.append(
                start(tf_python, agent.home, "train.py", *arguments, rank=rank, addresses=addresses, agent=agent)
            )

        def open_gate(fact: dict[str, Any]) -> None:
            if all(agent.facts("receipt") for agent in gang):
                for agent in gang:
                    agent.say(gate_open=True)

        for agent in gang:
            agent.answer = open_gate
        for trainer in trainers:
            finish(trainer)
        return gang

    first = run_gang(1, "or_initialize", None)
    saves = [agent.facts("saved") for agent in first]
    assert [[(one["series"]["ordinal"], one["ordinal"], one["step"]) for one in own] for own in saves] == [
        [(0, 1, 2), (0, 2, 4)]
    ] * 2

    # when all are steered back to the chief's first checkpoint, and worker 1's own manager finds nothing
    shutil.rmtree(directory / "workertemp_1")
    directories = [str(directory), str(directory / "workertemp_1")]
    series = {"signature": saves[0][0]["series"]["signature"], "ordinal": 0, "directories": directories}
    second = run_gang(2, "or_initialize", plan_of(tmp_path, [series], str(directory / "ckpt-1")))

    # then both go on from step 2, by the same way, to the same end
    outcomes = [read_outcome(tmp_path, f"outcome-{rank}-{attempt}.json") for attempt in (1, 2) for rank in (0, 1)]
    assert [outcome["at_start"] for outcome in outcomes] == [0, 0, 2, 2]
    assert len({tuple(outcome["digest"]) for outcome in outcomes}) == 1
    receipts = [agent.facts("receipt")[-1] for agent in second]
    assert [(one["restored"], one["wrong_value"], one["deferred"]) for one in receipts] == [(9, [], 0)] * 2
    assert [one["taken_from_chief"] for one in receipts] == [
        [],
        ["local/.ATTRIBUTES/VARIABLE_VALUE", "name/.ATTRIBUTES/VARIABLE_VALUE"],
    ]
    assert [outcome["local"] for outcome in outcomes] == [100, 101, 100, 100]
    assert [agent.facts("hook_failed") for agent in second] == [[], []]


def test_the_progress_file_holds_the_last_completed_call_after_kill_9_and_a_step_that_is_not_beyond_it(
    tf_python: str, tmp_path: Path, agents: Agents
) -> None:
    agent = agents()
    agent.say(plan=FRESH)
    trainer = start(tf_python, agent.home, "steps.py", "0.02", addresses=[free_address()], agent=agent)
    deadline_s = time.monotonic() + DEADLINE_S
    while not (tmp_path / "worker" / "progress").exists() or read_progress(agent.home)[0] < 60:
        assert time.monotonic() < deadline_s, "no progress"
        time.sleep(0.01)

    trainer.send_signal(signal.SIGKILL)
    output, _ = trainer.communicate(timeout=DEADLINE_S)

    completed, step, entered = read_progress(agent.home)
    last_said = int(output.split()[-1])
    assert trainer.returncode == -signal.SIGKILL
    assert 0 <= completed - last_said <= 1
    assert 0 < step <= completed  # on a busy machine not every step is read, and the kill may come between the two
    assert 0 <= entered - completed <= 1
    assert os.path.getsize(agent.home / "progress") == 32
