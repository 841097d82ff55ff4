"""Receipts: proof of what a restore has put into the live variables, compared with the plan's manifest key by key.

Decides by the rule of each key's kind what counts as restored. Refuses to wait or to start a collective: values are
compared as they are on this worker when the restore returns, and a variable that does not exist yet is compared where
it takes its value. Refuses to explain: where something is wrong, or the objects are not those that were saved, the
objects are described in a file beside the receipt, and the agent finds the words.
"""

import contextlib
import json
import os
import queue
import sys
import threading
import weakref
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Mapping, Optional, Set, Tuple
from urllib.parse import unquote_to_bytes

from .checksums import Checksums, find_checksums
from .describing import Live, describe_live, full_name_of
from .guard import describe
from .objects import IS_BUILT_BY_TRACING, looks_of
from .orders import OFF, PlannedSeries
from .saving import text_of
from .series import SAVE_COUNTER
from .session import Session
from .variables import PER_WORKER, SUM, children_of, descendants_of, kind_of, local_replicas, read_local

_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_ATTRIBUTES = "/.ATTRIBUTES/"

RESTORED, LEFT, WRONG, FROM_CHIEF, UNCHECKED = "restored", "left", "wrong", "from chief", "unchecked"

#: A description is written beside so many receipts of one restore: each later one says little more.
_MOST_DESCRIPTIONS = 4
#: Of so many wrong values it is told what they are instead.
_MOST_CHECKSUMS = 1000

#: Variables that are born one after the other are told together, once none has come for so long.
_LULL_S = 0.25


@dataclass(frozen=True)
class Entry:
    """One key of the plan's manifest, as `lastgood.manifest` writes it."""

    key: str
    dtype: str
    shape: Tuple[int, ...]
    crc32c: int
    size_bytes: int
    kind: str


@dataclass
class Proof:
    """What is known so far about one restored series.

    pending: keys by the node that has no live object yet. late: how many keys those were when findings were last added.
    live: the objects, once they had to be described. before: as they were when the restore returned, where Keras 3 has
        still to build some in a trace, in which values get lost.
    found: the checksums of wrong values, as they are instead.
    is_settled: a step has been made since. is_compared: False where receipts are switched off.
    """

    planned: PlannedSeries
    asked_prefix: str
    seconds: float
    findings: Dict[str, str] = field(default_factory=dict)
    pending: Dict[int, List[Entry]] = field(default_factory=dict)
    late: int = 0
    is_told: bool = False
    live: Optional[Live] = None
    before: Optional[Live] = None
    descriptions: int = 0
    found: Dict[str, int] = field(default_factory=dict)
    is_settled: bool = False
    is_compared: bool = True


@dataclass(frozen=True)
class Snapshot:
    """One key with what a live object holds for it now.

    values: one array per local replica. They share the variables' memory, and stay as they are: TensorFlow copies a
    buffer that somebody else looks at before it writes to it. verdict: set where there is nothing to compare.
    live_id: which object it was.
    """

    entry: Entry
    kind: str = ""
    values: Tuple[Any, ...] = ()
    stored: Any = None
    verdict: str = ""
    live_id: int = 0


@dataclass(frozen=True)
class Judged:
    """What comparing one key has found. crc32c: of the value that is there instead, where it is wrong and known."""

    verdict: str
    crc32c: Optional[int] = None


class Receipts:
    """Writes a receipt for each steered restore, and another one when late variables have taken their values.

    The script is held up only while the values are looked up; checksums are computed behind its back, while it goes
    on to the gate.
    """

    def __init__(self, session: Session, on_lost: Callable[[str], None]) -> None:
        self._session = session
        self._on_lost = on_lost
        self._checksums: Optional[Checksums] = None
        self._late: weakref.WeakKeyDictionary[Any, Proof] = weakref.WeakKeyDictionary()
        #: What was restored since the last step, with its proof: to be looked at once more after the next one.
        self._unsettled: List[Tuple[Any, Proof]] = []
        self._behind: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._has_thread = False
        #: Of the thread behind: what has findings that were not told yet.
        self._untold: Dict[int, Proof] = {}

    def tell_error(self, planned: PlannedSeries, asked: Any, error: str, seconds: float, view: Any = None) -> None:
        """Records that TensorFlow raised in a restore into the objects of this graph view."""
        proof = _proof(planned, asked, seconds)
        self._describe(proof, view)
        self._write(proof, error)

    def tell(self, planned: PlannedSeries, asked: Any, status: Any, seconds: float) -> None:
        """Compares the live variables with the manifest and records what was found."""
        proof = _proof(planned, asked, seconds)
        coordinator: Any = getattr(status, "_checkpoint", None)
        if self._session.state.receipts == OFF:
            proof.is_compared = False
            self._write(proof)
            return
        if not hasattr(coordinator, "object_graph_proto"):
            self._write(proof, "expected an object-based checkpoint, found {}".format(type(status).__name__))
            return
        snapshots = self._look_up(proof, coordinator, read_manifest(planned.manifest))
        if proof.pending:
            self._late[coordinator] = proof
        self._unsettled.append((coordinator, proof))
        is_left = any(snapshot.verdict == LEFT for snapshot in snapshots) or LEFT in proof.findings.values()
        if is_left or _has_other_names(coordinator) or _has_unbound(coordinator):
            self._describe(proof, coordinator.graph_view)
        if proof.pending and _builds_by_tracing(coordinator):
            proof.before = proof.live or self._described(coordinator.graph_view)
        self._judge_behind(proof, snapshots, coordinator.graph_view)

    def settle(self) -> None:
        """After the first step: what is not there now will not come, and what was made meanwhile is looked at too."""
        unsettled, self._unsettled = self._unsettled, []
        for coordinator, proof in unsettled:
            if proof.pending or _has_unbound(coordinator):
                proof.is_settled = True
                self._describe(proof, coordinator.graph_view)
                self._judge_behind(proof, [], coordinator.graph_view, is_urgent=True)

    def _describe(self, proof: Proof, view: Any) -> None:
        """Describes the objects as they are now. Without a description a receipt is given all the same."""
        proof.live = self._described(view)

    def _described(self, view: Any) -> Optional[Live]:
        with contextlib.suppress(Exception):  # whatever a script's objects do when they are looked at
            if view is not None:
                return describe_live(view, self._session.replicas, self._session.is_chief)
        return None

    def restored_late(self, coordinator: Any) -> None:
        """_CheckpointRestoreCoordinator.restore_saveables: a variable that was born later has taken its value."""
        proof = self._late.get(coordinator)
        if proof is None:
            return
        born = proof.pending.keys() & coordinator.matched_proto_ids
        snapshots: List[Snapshot] = []
        for node in born:
            live = coordinator.object_by_proto_id.get(node)
            snapshots += [self._snapshot(entry, live, coordinator, node) for entry in proof.pending.pop(node)]
        if snapshots:
            self._judge_behind(proof, snapshots, coordinator.graph_view)

    def has_pending(self, coordinator: Any) -> bool:
        """True while variables of this restore are still to be born."""
        return bool(self._late) and coordinator in self._late

    def _look_up(self, proof: Proof, coordinator: Any, entries: List[Entry]) -> List[Snapshot]:
        nodes = _nodes_by_key(coordinator.object_graph_proto)
        snapshots: List[Snapshot] = []
        orphans: List[Tuple[Entry, int]] = []
        for entry in entries:
            node = nodes.get(entry.key, nodes.get(_object_of(entry.key), -1))
            live = coordinator.object_by_proto_id.get(node) if node >= 0 else None
            if live is not None:
                snapshots.append(self._snapshot(entry, live, coordinator, node))
            elif not entry.key.startswith(SAVE_COUNTER + _ATTRIBUTES):
                orphans.append((entry, node))
        if orphans:
            self._sort_orphans(proof, coordinator, orphans)
        return snapshots

    def _snapshot(self, entry: Entry, live: Any, coordinator: Any, node: int) -> Snapshot:
        kind = kind_of(live) or entry.kind
        unused = coordinator.unused_attributes.get(node, ())
        if any(entry.key.endswith(_ATTRIBUTES + name) for name in unused):
            return Snapshot(entry, kind, verdict=LEFT, live_id=id(live))
        variables = local_replicas(live)
        if not variables:
            return Snapshot(entry, kind, verdict=RESTORED if kind == PER_WORKER else UNCHECKED)
        is_share = kind == SUM and self._session.replicas > 1
        stored = _read_stored(coordinator, entry.key) if is_share else None
        return Snapshot(entry, kind, tuple(read_local(one) for one in variables), stored, live_id=id(live))

    def _judge_behind(self, proof: Proof, snapshots: List[Snapshot], view: Any = None, is_urgent: bool = False) -> None:
        late = sum(len(entries) for entries in proof.pending.values())
        self._do_behind(lambda: self._judge_and_write(proof, snapshots, late, view, is_urgent))

    def after_told(self, body: Callable[[], None]) -> None:
        """Runs a body behind the script's back, once all that was compared so far has been told."""

        def tell_and_run() -> None:
            self._tell_untold()
            body()

        self._do_behind(tell_and_run)

    def _do_behind(self, body: Callable[[], None]) -> None:
        self._behind.put(body)
        if not self._has_thread:
            self._has_thread = True
            threading.Thread(target=self._run_behind, name="lastgood-receipt", daemon=True).start()

    def _run_behind(self) -> None:
        while True:
            try:
                work = self._behind.get(timeout=_LULL_S if self._untold else None)
            except queue.Empty:
                work = self._tell_untold
            try:
                work()
            except Exception as error:  # a hook's body, on a thread of its own
                self._on_lost(describe(error))
            del work

    def _judge_and_write(self, proof: Proof, snapshots: List[Snapshot], late: int, view: Any, is_urgent: bool) -> None:
        judged = _map_on_threads(self._judge, snapshots)
        verdicts = [one.verdict for one in judged]
        proof.findings.update(zip((snapshot.entry.key for snapshot in snapshots), verdicts))
        proof.late = late
        if WRONG in verdicts:
            self._note_wrong(proof, snapshots, judged, view)
        is_news = is_urgent or not proof.is_told or not late or WRONG in verdicts or LEFT in verdicts
        self._untold[id(proof)] = proof
        if is_news:
            self._tell_untold()

    def _note_wrong(self, proof: Proof, snapshots: List[Snapshot], judged: List[Judged], view: Any) -> None:
        """Keeps what wrong values are instead. The script may go on meanwhile, but no further than to the gate."""
        if proof.live is None:
            self._describe(proof, view)
        for snapshot, one in zip(snapshots, judged):
            if one.verdict != WRONG or one.crc32c is None or len(proof.found) >= _MOST_CHECKSUMS:
                continue
            proof.found[snapshot.entry.key] = one.crc32c
            if proof.live is not None:
                proof.live.note_checksum(snapshot.live_id, one.crc32c)

    def _tell_untold(self) -> None:
        while self._untold:
            _, proof = self._untold.popitem()
            proof.is_told = True
            self._write(proof, late=proof.late)

    def _sort_orphans(self, proof: Proof, coordinator: Any, orphans: List[Tuple[Entry, int]]) -> None:
        """Keys without a live object: either it is not born yet, or its place is taken by one that got no value."""
        parents = _parents(coordinator.object_graph_proto)
        for entry, node in orphans:
            ancestor = _nearest_live_ancestor(coordinator, parents, node)
            if ancestor is not None and _has_unbound_twin(coordinator, ancestor, entry):
                proof.findings[entry.key] = LEFT
            else:
                proof.pending.setdefault(node, []).append(entry)

    def _judge(self, snapshot: Snapshot) -> Judged:
        judged = Judged(snapshot.verdict) if snapshot.verdict else self._judge_values(snapshot)
        is_foreign = snapshot.kind == PER_WORKER and not self._session.is_chief
        return Judged(FROM_CHIEF) if judged.verdict == RESTORED and is_foreign else judged

    def _judge_values(self, snapshot: Snapshot) -> Judged:
        if snapshot.stored is not None:
            shares = [_is_share(value, snapshot.stored, self._session.replicas) for value in snapshot.values]
            return Judged(RESTORED if all(shares) else WRONG)
        found = [self._crc_of(value) for value in snapshot.values]
        if any(crc is None for crc in found):
            return Judged(UNCHECKED)
        wrong = [crc for crc in found if crc != snapshot.entry.crc32c]
        return Judged(WRONG, wrong[0]) if wrong else Judged(RESTORED)

    def _crc_of(self, value: Any) -> Optional[int]:
        checksums = self._find_checksums()
        if value.dtype.kind == "O":
            return checksums.of_strings([bytes(one) for one in value.reshape(-1)])
        if not value.flags["C_CONTIGUOUS"]:
            value = value.copy()
        return checksums.of_memory(value.ctypes.data, value.nbytes)

    def _find_checksums(self) -> Checksums:
        if self._checksums is None:
            package = os.path.dirname(sys.modules["tensorflow"].__file__ or "")
            self._checksums = find_checksums(os.path.join(package, "libtensorflow_framework.so.2"))
        return self._checksums

    def _write(self, proof: Proof, error: str = "", late: int = 0) -> None:
        by_verdict: Dict[str, List[str]] = {}
        for key, verdict in sorted(proof.findings.items()):
            by_verdict.setdefault(verdict, []).append(key)
        planned = proof.planned
        self._session.outbox.write(
            "receipt",
            series={
                "signature": planned.signature,
                "ordinal": planned.ordinal,
                "directory": os.path.dirname(planned.prefix),
            },
            asked_prefix=proof.asked_prefix,
            prefix=planned.prefix,
            digest=planned.digest,
            step=planned.step,
            is_compared=proof.is_compared,
            restored=len(by_verdict.get(RESTORED, ())) + len(by_verdict.get(FROM_CHIEF, ())),
            left_at_initial=by_verdict.get(LEFT, []),
            wrong_value=by_verdict.get(WRONG, []),
            deferred=late + len(by_verdict.get(UNCHECKED, ())),
            taken_from_chief=by_verdict.get(FROM_CHIEF, []),
            error=error,
            seconds=proof.seconds,
            found={key: crc for key, crc in proof.found.items() if proof.findings.get(key) == WRONG},
            is_settled=proof.is_settled,
            **self._write_descriptions(proof, bool(by_verdict.keys() & {LEFT, WRONG})),
        )

    def _write_descriptions(self, proof: Proof, is_bad: bool) -> Dict[str, str]:
        """Writes the objects down beside a receipt, where there is anything to explain."""
        if proof.live is None or proof.descriptions >= _MOST_DESCRIPTIONS:
            return {}
        proof.descriptions += 1
        described = {"live": proof.live, "before": proof.before if is_bad else None}
        return {
            name: self._session.outbox.write_beside(json.dumps(one.document, separators=(",", ":")), "." + name)
            for name, one in described.items()
            if one is not None
        }


def _proof(planned: PlannedSeries, asked: Any, seconds: float) -> Proof:
    return Proof(planned, "" if asked is None else text_of(asked) or "", seconds)


def _map_on_threads(judge: Callable[[Snapshot], Judged], snapshots: List[Snapshot]) -> List[Judged]:
    """What each is judged, in order, by a few daemon threads: those of a pool would hold up the end of the process."""
    judged = [Judged("")] * len(snapshots)
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    errors: List[BaseException] = []
    for number in range(len(snapshots)):
        todo.put(number)

    def work() -> None:
        while not errors:
            try:
                number = todo.get_nowait()
            except queue.Empty:
                return
            try:
                judged[number] = judge(snapshots[number])
            except Exception as error:  # a hook's body: told by the caller
                errors.append(error)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(4, os.cpu_count() or 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return judged


def read_manifest(path: str) -> List[Entry]:
    """The variables of a manifest file: without the object graph, and without sliced variables and their parts."""
    with open(path, encoding="utf-8") as file:
        document = json.load(file)
    entries = []
    for one in document["entries"]:
        key = unquote_to_bytes(one["key"])
        is_part = key.startswith(b"\0") or (not one["size_bytes"] and _size(one["shape"]) > 0)
        if key.decode("utf-8", "replace") == _OBJECT_GRAPH or is_part:
            continue
        entries.append(
            Entry(
                key=key.decode("utf-8", "surrogateescape"),
                dtype=str(one["dtype"]),
                shape=tuple(one["shape"]),
                crc32c=int(one["crc32c"]),
                size_bytes=int(one["size_bytes"]),
                kind=str(one.get("kind", "")),
            )
        )
    return entries


def _size(shape: Any) -> int:
    size = 1
    for length in shape:
        size *= length
    return size


def _object_of(key: str) -> str:
    """The part of a key that names the object: some objects store under another key than their graph says."""
    return key.partition(_ATTRIBUTES)[0] + _ATTRIBUTES


def _nodes_by_key(proto: Any) -> Mapping[str, int]:
    nodes: Dict[str, int] = {}
    for number, node in enumerate(proto.nodes):
        for attribute in node.attributes:
            nodes[attribute.checkpoint_key] = number
            nodes.setdefault(_object_of(attribute.checkpoint_key), number)
    return nodes


def _parents(proto: Any) -> Mapping[int, List[int]]:
    parents: Dict[int, List[int]] = {}
    for number, node in enumerate(proto.nodes):
        for child in node.children:
            parents.setdefault(child.node_id, []).append(number)
        for slot in node.slot_variables:
            parents.setdefault(slot.slot_variable_node_id, []).append(number)
    return parents


def _nearest_live_ancestor(coordinator: Any, parents: Mapping[int, List[int]], node: int) -> Optional[Any]:
    """The closest object above a node of the checkpoint that exists here, but the root, which says too little."""
    seen: Set[int] = {0}
    level = list(parents.get(node, ()))
    while level:
        for number in level:
            live = coordinator.object_by_proto_id.get(number)
            if live is not None:
                return live
        seen.update(level)
        level = [above for number in level for above in parents.get(number, ()) if above not in seen]
    return None


def _builds_by_tracing(coordinator: Any) -> bool:
    """True when a restored layer of Keras 3 is still to build others in a trace."""
    return any(IS_BUILT_BY_TRACING in looks_of(live) for live in list(coordinator.object_by_proto_id.values()))


def _has_other_names(coordinator: Any) -> bool:
    """True when a variable of the checkpoint met one of another name: they may have changed places, or were renamed."""
    for number, node in enumerate(coordinator.object_graph_proto.nodes):
        for attribute in node.attributes:
            live = coordinator.object_by_proto_id.get(number) if attribute.full_name else None
            own = full_name_of(live) if live is not None else ""
            if own and own != attribute.full_name:
                return True
    return False


def _has_unbound(coordinator: Any) -> bool:
    """True when a variable that the root leads to met nothing in the checkpoint."""
    view = coordinator.graph_view
    bound = {id(live) for live in coordinator.object_by_proto_id.values()}
    bound.update(id(live) for name, live in children_of(view, view.root) if name == SAVE_COUNTER)
    return any(id(live) not in bound and local_replicas(live) for live in descendants_of(view))


def _has_unbound_twin(coordinator: Any, ancestor: Any, entry: Entry) -> bool:
    """True when a variable of this shape hangs on the ancestor, and the checkpoint gave it no value."""
    view = coordinator.graph_view
    bound = {id(live) for live in coordinator.object_by_proto_id.values()}
    beside = [live for _, live in children_of(view, ancestor)] if ancestor is not view.root else descendants_of(view)
    below = [live for near in beside for _, live in children_of(view, near)] if ancestor is not view.root else []
    return any(id(live) not in bound and _is_like(live, entry) for live in beside + below)


def _is_like(live: Any, entry: Entry) -> bool:
    for variable in local_replicas(live)[:1]:
        return tuple(variable.shape.as_list()) == entry.shape and variable.dtype.name == entry.dtype
    return False


def _read_stored(coordinator: Any, key: str) -> Any:
    readers = sys.modules["tensorflow.python.training.py_checkpoint_reader"]
    reader = readers.NewCheckpointReader(coordinator.save_path_string)
    return reader.get_tensor(key)


def _is_share(live: Any, stored: Any, replicas: int) -> bool:
    """True when a live value is its share of a stored sum, up to the rounding of one division."""
    share = (stored / replicas).astype(live.dtype)
    if live.dtype.kind in "iub":
        return bool((live == share).all())
    return bool((abs(live - share) <= 2e-7 * abs(share) + 1e-37).all())
