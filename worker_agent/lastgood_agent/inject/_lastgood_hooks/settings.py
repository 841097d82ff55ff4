"""What the launcher tells the hooks, read once from LASTGOOD_HOOKS. Decides nothing; refuses what it cannot read."""

import json
import os
from dataclasses import dataclass
from typing import Any, Mapping

#: The version of docs/wire.md that these hooks speak.
VERSION = 1


@dataclass(frozen=True)
class Settings:
    """The launcher's word about this process. Every time is in seconds.

    worker: task_type/task_id. workers: how many the gang has, 0: TF_CONFIG tells.
    socket: path of the agent's socket. outbox: directory for facts.
    progress: the file that is mapped, 32 bytes. steering: False observes only.
    plan_s: the longest wait for a plan; gate_s: the longest wait at the gate.
    body_s: the longest that any other work of a hook may hold up the script; a hook that takes longer is switched off.
    """

    run_id: str
    worker: str
    attempt: int
    socket: str
    outbox: str
    progress: str
    workers: int = 0
    steering: bool = True
    plan_s: float = 120.0
    gate_s: float = 90.0
    body_s: float = 60.0

    @property
    def claim(self) -> str:
        """The file whose creation makes one process of this attempt the one that steers."""
        directory = os.path.dirname(self.outbox.rstrip("/"))
        return os.path.join(directory, "claim-{}".format(self.attempt))


def read_settings(text: str) -> Settings:
    """The settings in a JSON document. Raises ValueError that says what is wrong with it."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ValueError("LASTGOOD_HOOKS: expected a JSON object, found {!r}: {}".format(text[:80], error)) from error
    if not isinstance(document, dict):
        raise ValueError("LASTGOOD_HOOKS: expected a JSON object, found {!r}".format(text[:80]))
    if document.get("version") != VERSION:
        raise ValueError("LASTGOOD_HOOKS: expected version {}, found {!r}".format(VERSION, document.get("version")))
    return _settings(document)


def _settings(document: Mapping[str, Any]) -> Settings:
    try:
        return Settings(
            run_id=str(document.get("run_id", "")),
            worker=str(document["worker"]),
            attempt=int(document["attempt"]),
            socket=str(document["socket"]),
            outbox=str(document["outbox"]),
            progress=str(document["progress"]),
            workers=int(document.get("workers", 0)),
            steering=bool(document.get("steering", True)),
            plan_s=float(document.get("plan_s", Settings.plan_s)),
            gate_s=float(document.get("gate_s", Settings.gate_s)),
            body_s=float(document.get("body_s", Settings.body_s)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError("LASTGOOD_HOOKS: missing or of the wrong type: {}".format(error)) from error
