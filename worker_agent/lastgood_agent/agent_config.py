"""What the launcher tells an agent on its command line: whose agent it is, and where everything lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lastgood_agent.gang import Gang


@dataclass(frozen=True)
class Config:
    """One agent's configuration.

    connect_s: the longest to wait for the controller's first answer. may_reopen: an interrupted run goes on because
    this agent's launcher was started.
    """

    controller: str
    run_id: str
    job: str
    gang: Gang
    worker_directory: str
    hooks_socket: str
    connect_s: float
    may_reopen: bool

    @property
    def worker(self) -> str:
        return self.gang.worker

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Config:
        """Raises KeyError or TypeError on what is no configuration."""
        gang = Gang(document["worker"], tuple(document["members"]), document["host"], document.get("tf_config"))
        return cls(
            controller=document["controller"],
            run_id=document["run_id"],
            job=document["job"],
            gang=gang,
            worker_directory=document["worker_directory"],
            hooks_socket=document["hooks_socket"],
            connect_s=float(document["connect_s"]),
            may_reopen=bool(document["may_reopen"]),
        )
