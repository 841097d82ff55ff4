"""What scripts write for others to use: SavedModels and Keras files are read once and told; nothing is planned by them.

Decides that only what still lies there as it was saved is told: a worker's temporary copy is gone a moment later, and a
file that was written again is told with its next save. Refuses to call damaged what changes while it is read.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from lastgood.attest import verify_saved
from lastgood.reasons import Reason
from lastgood.v1 import agent_service_pb2 as pb
from lastgood_agent import facts
from lastgood_agent.background import Background
from lastgood_agent.facts import Fact, FactError
from lastgood_agent.outbox import Outbox
from lastgood_agent.pools import Pools

log = logging.getLogger(__name__)

KINDS = {
    "saved_model": pb.EXPORT_KIND_SAVED_MODEL,
    "hdf5": pb.EXPORT_KIND_HDF5,
    "keras": pb.EXPORT_KIND_KERAS,
}
#: The file of a SavedModel that is written last.
_GRAPH = "saved_model.pb"


class Exports:
    """The exports of one worker that are not told yet."""

    def __init__(self, worker: str, outbox: Outbox, pools: Pools, background: Background) -> None:
        self._worker = worker
        self._outbox = outbox
        self._pools = pools
        self._background = background

    def add(self, fact: Fact) -> None:
        """Takes a fact of the type `exported`. Raises FactError."""
        exported = message_of(fact)
        self._background.start(self._tell(fact, exported), lambda: self._outbox.reject(fact.name, "it cannot be read"))

    async def _tell(self, fact: Fact, exported: pb.Exported) -> None:
        if not exported.error:
            found = await self._pools.read(read_export, exported.path, fact.body)
            if found is None:
                log.info("%s lies at %s no more as it was saved: left out", fact.name, exported.path)
                self._outbox.drop(fact)
                return
            exported.MergeFrom(found)
        report = facts.new_report(self._worker, fact)
        report.exported.CopyFrom(exported)
        self._outbox.tell(report, fact)


def message_of(fact: Fact) -> pb.Exported:
    """What a fact says by itself. Raises FactError."""
    body = fact.body
    kind = KINDS.get(str(body.get("kind")))
    if kind is None:
        raise FactError(f"{fact.name}: expected kind to be one of {sorted(KINDS)}, found {body.get('kind')!r:.80}")
    path = facts.bounded(body.get("path"))
    if not path:
        raise FactError(f"{fact.name}: expected the path of what was exported, found nothing")
    return pb.Exported(
        kind=kind,
        path=path,
        step=facts.optional_number(body.get("step")),
        duration=facts.seconds(body.get("seconds")),
        error=facts.bounded(body.get("error")),
    )


def read_export(path: str, body: Mapping[str, Any]) -> pb.Exported | None:
    """What reading it finds; None when it is gone, or something else lies there than what was saved."""
    file = os.path.join(path, _GRAPH) if body.get("kind") == "saved_model" else path
    saved = body.get("identity")
    if identity(file) != saved:
        return None
    result = verify_saved(path, finite=False)
    faults = [] if _is_without_variables(path, result.faults) else result.faults
    if identity(file) != saved or any(fault.reason is Reason.STILL_CHANGING for fault in result.faults):
        return None
    return pb.Exported(faults=facts.reasons(faults), bytes_read=result.bytes_read)


def identity(path: str) -> list[int] | None:
    """[size in bytes, time of its last change in nanoseconds] of a file, as the hooks note them; None: not there."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def _is_without_variables(path: str, faults: Any) -> bool:
    """A SavedModel may hold functions alone; TensorFlow then writes no variables."""
    return (
        bool(faults)
        and os.path.isfile(os.path.join(path, _GRAPH))
        and not os.path.exists(os.path.join(path, "variables", "variables.index"))
    )
