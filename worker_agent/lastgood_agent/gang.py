"""Who this worker is and who belongs to its gang: from TF_CONFIG, or from the command line where there is none.

Refuses, with a sentence, whatever it cannot be sure of: a TF_CONFIG that is no JSON, that lacks its cluster or its
task, or whose task is not in its cluster. Refuses ParameterServer jobs, which lastgood does not steer. An evaluator
belongs to no gang: it is observed only.
"""

import json
import re
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple

#: Task types that live and die together, in TF_CONFIG's order: the chief comes first.
GANG_TYPES = ("chief", "worker")


class GangError(ValueError):
    """The worker's identity cannot be told. The message says what was expected, what was found, and what to do."""


@dataclass(frozen=True)
class Gang:
    """One worker and its gang.

    worker: `task_type/task_id`. members: all of them, chief first; empty for one that is observed only.
    host: the host part of the addresses that this worker's trainers listen on.
    tf_config: TF_CONFIG as it was found, or None.
    """

    worker: str
    members: Tuple[str, ...]
    host: str
    tf_config: Optional[Mapping[str, Any]] = None

    @property
    def is_observed_only(self) -> bool:
        return not self.members

    @property
    def directory_name(self) -> str:
        """The worker's name as a file name."""
        return self.worker.replace("/", "-")


def gang_from_arguments(worker: str, workers: Optional[int], host: str) -> Gang:
    """The gang of worker/0 ... worker/N-1, without TF_CONFIG. Raises GangError."""
    match = re.fullmatch(r"worker/([0-9]{1,6})", worker)
    if match is None:
        raise GangError("expected --worker as worker/INDEX, such as worker/1, found {!r}".format(worker))
    if workers is None or workers < 1:
        raise GangError("--worker needs --workers with the size of the gang, at least 1, found {}".format(workers))
    index = int(match.group(1))
    if index >= workers:
        raise GangError(
            "--worker {} is not one of a gang of {}: the highest is worker/{}".format(worker, workers, workers - 1)
        )
    return Gang("worker/{}".format(index), tuple("worker/{}".format(i) for i in range(workers)), host)


def gang_from_tf_config(text: str) -> Gang:
    """The gang that TF_CONFIG describes. Raises GangError."""
    config = _parse(text)
    cluster = _cluster(config)
    task_type, index = _task(config)
    if cluster.get("ps") or task_type == "ps":
        raise GangError(
            "Refused: TF_CONFIG names parameter servers (ps), and ParameterServer jobs are not steered by lastgood. "
            "Run the command without lastgood."
        )
    if task_type == "evaluator":
        return Gang("evaluator/{}".format(index), (), "", config)
    if task_type not in GANG_TYPES:
        raise GangError(
            "TF_CONFIG: expected the task type to be chief, worker or evaluator, found {!r}".format(task_type)
        )
    addresses = cluster.get(task_type, [])
    if index >= len(addresses):
        raise GangError(
            "TF_CONFIG: the task is {}/{}, and the cluster has {} of type {}: the index counts from 0".format(
                task_type, index, len(addresses), task_type
            )
        )
    if len(cluster.get("chief", [])) > 1:
        raise GangError("TF_CONFIG: expected at most one chief, found {}".format(len(cluster["chief"])))
    members = tuple("{}/{}".format(kind, i) for kind in GANG_TYPES for i in range(len(cluster.get(kind, []))))
    _refuse_shared_addresses(cluster)
    return Gang("{}/{}".format(task_type, index), members, addresses[index].rpartition(":")[0], config)


def tf_config_for(gang: Gang, members: List[str], addresses: List[str]) -> str:
    """TF_CONFIG of this worker's next trainer: the gang at these addresses, everything else as it was found."""
    config: Dict[str, Any] = dict(gang.tf_config or {})
    old_cluster = config.get("cluster")
    cluster = {kind: list(old) for kind, old in (old_cluster or {}).items() if kind not in GANG_TYPES}
    for member, address in zip(members, addresses):
        cluster.setdefault(member.rpartition("/")[0], []).append(address)
    task_type, _, index = gang.worker.rpartition("/")
    config["cluster"] = cluster
    config["task"] = {**(config.get("task") or {}), "type": task_type, "index": int(index)}
    return json.dumps(config)


def _parse(text: str) -> Dict[str, Any]:
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise GangError("TF_CONFIG: expected a JSON object, found {}: {}".format(_short(text), error)) from error
    if not isinstance(config, dict):
        raise GangError("TF_CONFIG: expected a JSON object, found {}".format(_short(text)))
    return config


def _cluster(config: Mapping[str, Any]) -> Dict[str, List[str]]:
    cluster = config.get("cluster")
    if not isinstance(cluster, dict) or not cluster:
        raise GangError(
            'TF_CONFIG: expected "cluster" with the addresses of each task type, found {}'.format(_short(cluster))
        )
    for kind, addresses in cluster.items():
        if not isinstance(addresses, list):
            raise GangError(
                "TF_CONFIG: expected a list of host:port for cluster.{}, found {}".format(kind, _short(addresses))
            )
        for address in addresses:
            if not isinstance(address, str) or not is_address(address):
                raise GangError("TF_CONFIG: expected host:port in cluster.{}, found {}".format(kind, _short(address)))
    return cluster


def _task(config: Mapping[str, Any]) -> Tuple[str, int]:
    task = config.get("task")
    if not isinstance(task, dict):
        raise GangError('TF_CONFIG: expected "task" with "type" and "index", found {}'.format(_short(task)))
    task_type, index = task.get("type"), task.get("index")
    if not isinstance(task_type, str) or not task_type:
        raise GangError('TF_CONFIG: expected "task.type" such as "worker", found {}'.format(_short(task_type)))
    if isinstance(index, str) and re.fullmatch("[0-9]{1,6}", index):
        index = int(index)
    if not isinstance(index, int) or isinstance(index, bool) or index < 0:
        raise GangError(
            'TF_CONFIG: expected "task.index" to be a number from 0, found {}'.format(_short(task.get("index")))
        )
    return task_type, index


def _refuse_shared_addresses(cluster: Mapping[str, List[str]]) -> None:
    seen: Dict[str, str] = {}
    for kind in GANG_TYPES:
        for index, address in enumerate(cluster.get(kind, [])):
            name = "{}/{}".format(kind, index)
            if address in seen:
                raise GangError("TF_CONFIG: {} and {} have one address, {}".format(seen[address], name, address))
            seen[address] = name


def is_address(text: str) -> bool:
    """The text is host:port."""
    host, separator, port = text.rpartition(":")
    return bool(separator and host and re.fullmatch("[0-9]{1,5}", port) and 0 < int(port) < 65536)


def _short(found: Any) -> str:
    text = found if isinstance(found, str) else json.dumps(found)
    return repr(text if len(text) <= 80 else text[:77] + "...")
