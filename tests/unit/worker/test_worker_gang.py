"""Who a worker is: what TF_CONFIG and the command line may say, and the sentence for what they may not."""

from __future__ import annotations

import json

import pytest

from lastgood_agent.gang import Gang, GangError, gang_from_arguments, gang_from_tf_config, tf_config_for

CLUSTER = {"chief": ["a:1"], "worker": ["b:2", "c:3"]}


def config(cluster: object = CLUSTER, task: object = None, **more: object) -> str:
    return json.dumps({"cluster": cluster, "task": task or {"type": "worker", "index": 1}, **more})


def test_the_chief_comes_first_and_the_host_is_this_workers_own():
    text = config()
    assert gang_from_tf_config(text) == Gang("worker/1", ("chief/0", "worker/0", "worker/1"), "c", json.loads(text))


def test_an_index_as_text_is_a_number_as_tensorflow_takes_it():
    assert gang_from_tf_config(config(task={"type": "worker", "index": "0"})).worker == "worker/0"


def test_an_evaluator_belongs_to_no_gang():
    gang = gang_from_tf_config(config(task={"type": "evaluator", "index": 0}))
    assert (gang.worker, gang.members, gang.is_observed_only) == ("evaluator/0", (), True)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "expected a JSON object"),
        ("[1]", "expected a JSON object"),
        ("[" * 100_000, "expected a JSON object"),
        ("{}", 'expected "cluster"'),
        (json.dumps({"cluster": CLUSTER}), 'expected "task"'),
        (config(cluster={"worker": "a:1"}), "expected a list of host:port for cluster.worker"),
        (config(cluster={"worker": ["a"]}), "expected host:port in cluster.worker, found 'a'"),
        (config(cluster={"worker": ["a:99999"]}), "expected host:port"),
        (config(cluster={"worker": [7]}), "expected host:port"),
        (config(task={"type": "worker"}), '"task.index" to be a number from 0'),
        (config(task={"type": "worker", "index": -1}), '"task.index" to be a number from 0'),
        (config(task={"type": "worker", "index": True}), '"task.index" to be a number from 0'),
        (config(task={"index": 0}), '"task.type"'),
        (config(task={"type": "worker", "index": 2}), "the task is worker/2, and the cluster has 2 of type worker"),
        (config(task={"type": "master", "index": 0}), "expected the task type to be chief, worker or evaluator"),
        (config(cluster={**CLUSTER, "ps": ["d:4"]}), "ParameterServer jobs are not steered"),
        (config(task={"type": "ps", "index": 0}), "ParameterServer jobs are not steered"),
        (config(cluster={"chief": ["a:1", "b:1"], "worker": ["c:1", "d:1"]}), "at most one chief, found 2"),
        (config(cluster={"worker": ["a:1", "a:1"]}), "worker/0 and worker/1 have one address, a:1"),
    ],
)
def test_a_wrong_tf_config_is_refused_with_a_sentence_that_says_what_is_wrong(text: str, sentence: str):
    with pytest.raises(GangError) as caught:
        gang_from_tf_config(text)
    assert sentence in str(caught.value)
    assert len(str(caught.value)) < 300


def test_the_command_line_makes_a_gang_of_workers():
    assert gang_from_arguments("worker/1", 2, "h") == Gang("worker/1", ("worker/0", "worker/1"), "h")


@pytest.mark.parametrize(
    ("worker", "workers", "sentence"),
    [
        ("1", 2, "expected --worker as worker/INDEX"),
        ("chief/0", 2, "expected --worker as worker/INDEX"),
        ("worker/2", 2, "the highest is worker/1"),
        ("worker/0", 0, "at least 1, found 0"),
        ("worker/0", None, "--worker needs --workers"),
    ],
)
def test_a_wrong_command_line_is_refused(worker: str, workers: int | None, sentence: str):
    with pytest.raises(GangError, match=sentence):
        gang_from_arguments(worker, workers, "h")


def test_the_trainers_tf_config_has_the_new_addresses_and_keeps_everything_else():
    found = config({**CLUSTER, "evaluator": ["e:9"]}, {"type": "worker", "index": 1, "trial": "x"}, rpc_layer="grpc")
    gang = gang_from_tf_config(found)
    made = json.loads(tf_config_for(gang, list(gang.members), ["a:11", "b:12", "c:13"]))
    assert made == {
        "cluster": {"evaluator": ["e:9"], "chief": ["a:11"], "worker": ["b:12", "c:13"]},
        "task": {"type": "worker", "index": 1, "trial": "x"},
        "rpc_layer": "grpc",
    }
