"""The manifest that lies beside a checkpoint as PREFIX.lastgood.json: written, read, and compared with what lies there.

Files that are whole cannot show that they are not the ones that were saved: a rollback writes `ckpt-3` again, a copy
goes to the wrong place. The manifest can. It is written only for what was just read and found whole. Its digest is that
of docs/manifest.md; all else in it is for people, and a checksum over the whole document tells damage in it from
another checkpoint. What cannot be used is a `SidecarError` with a remark, never a verdict about the checkpoint.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from lastgood import __version__
from lastgood.bundle.files import is_url, local_path, read_whole
from lastgood.errors import LastgoodError, MissingFileError
from lastgood.manifest import OBJECT_GRAPH_KEY, Manifest, ManifestEntry, manifest_from_json, manifest_to_json
from lastgood.notes import Remark

SUFFIX = ".lastgood.json"
VERSION = 1
MAX_BYTES = 512 << 20

#: What marks the document as ours, and its version.
_MARK = "lastgood_manifest"

#: How many keys a sentence names.
_NAMED_KEYS = 3


class SidecarError(LastgoodError):
    """The manifest beside a checkpoint is of no use. remark: why; detail: what was expected and found, and where."""

    def __init__(self, remark: Remark, detail: str) -> None:
        super().__init__("{}: {}".format(remark.value, detail))
        self.remark = remark
        self.detail = detail


@dataclass(frozen=True)
class FileSum:
    """One file of a checkpoint. sha256: lower-case hex, where the format has no checksums of its own; else ""."""

    name: str
    size_bytes: int
    sha256: str = ""


@dataclass(frozen=True)
class Sidecar:
    """What the document says.

    manifest: None for Keras files, whose identity is that of their one file.
    objects: the object graph in readable form. model: the model's configuration and where it is from; None where it is
    not known. verified_at_s: seconds since the epoch. attempt: of the gang that saved it; None where nobody said.
    """

    manifest: Optional[Manifest]
    files: Tuple[FileSum, ...]
    step: Optional[int] = None
    save_counter: Optional[int] = None
    objects: Tuple[Mapping[str, Any], ...] = ()
    model: Optional[Mapping[str, Any]] = None
    verified_at_s: float = 0.0
    lastgood_version: str = __version__
    attempt: Optional[int] = None


def sidecar_path(prefix: str) -> str:
    """Where the manifest of the checkpoint at `prefix` lies."""
    return prefix + SUFFIX


def sidecar_to_bytes(sidecar: Sidecar) -> bytes:
    """The document, docs/schemas/manifest.schema.json."""
    document: Dict[str, Any] = {
        _MARK: VERSION,
        "manifest": None if sidecar.manifest is None else manifest_to_json(sidecar.manifest),
        "files": [_file_to_json(file) for file in sidecar.files],
        "step": sidecar.step,
        "save_counter": sidecar.save_counter,
        "objects": list(sidecar.objects),
        "lastgood_version": sidecar.lastgood_version,
        "verified_at_s": sidecar.verified_at_s,
    }
    if sidecar.attempt is not None:
        document["attempt"] = sidecar.attempt
    if sidecar.model is not None:
        document["model"] = sidecar.model
    document["checksum"] = _checksum(document)
    return json.dumps(document, indent=1, ensure_ascii=True, allow_nan=False).encode("ascii") + b"\n"


def sidecar_from_bytes(content: bytes, where: str) -> Sidecar:
    """The inverse. `where` names the file in errors. Raises SidecarError."""
    document = _parse(content, where)
    version = document.get(_MARK)
    if not isinstance(version, int) or isinstance(version, bool):
        raise SidecarError(Remark.FOREIGN_MANIFEST, "{} is not a manifest of lastgood's".format(where))
    if version > VERSION:
        detail = "{} has version {}, and this lastgood ({}) reads up to {}: use a newer one"
        raise SidecarError(Remark.NEWER_MANIFEST, detail.format(where, version, __version__, VERSION))
    stated = document.pop("checksum", None)
    try:
        if stated != _checksum(document):
            raise ValueError("its checksum does not match")
        return _sidecar_from_json(document)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise SidecarError(Remark.DAMAGED_MANIFEST, "{} was changed: {}".format(where, error)) from error


def read_sidecar(prefix: str, path: Optional[str] = None) -> Optional[Sidecar]:
    """The manifest at `path`, by default beside the checkpoint; None where there is none beside it.

    Raises SidecarError, and BundleError: UNREADABLE, or INCOMPLETE where `path` was given and nothing lies there.
    """
    where = path or sidecar_path(prefix)
    try:
        content = read_whole(where, "a manifest", MAX_BYTES + 1)
    except MissingFileError:
        if path is not None:
            raise
        return None
    if len(content) > MAX_BYTES:
        raise SidecarError(Remark.FOREIGN_MANIFEST, "{} has more than {} bytes".format(where, MAX_BYTES))
    return sidecar_from_bytes(content, where)


def write_sidecar(prefix: str, sidecar: Sidecar) -> str:
    """Writes it beside the checkpoint, whole or not at all. Returns the path. Raises WriteError."""
    from lastgood.durable import replace_file

    path = sidecar_path(prefix)
    if is_url(path):
        raise LastgoodError("{} cannot be written: manifests are written to local directories only".format(path))
    replace_file(local_path(path), sidecar_to_bytes(sidecar))
    return path


def what_differs(saved: Manifest, found: Manifest) -> Optional[str]:
    """In what the checkpoint that lies there is another than the one that was saved; None if it is the same.

    Bytes behind the last tensor make no other checkpoint: they have a note of their own.
    """
    before, after = saved.by_key(), found.by_key()
    gone = [before[key] for key in before if key not in after]
    new = [after[key] for key in after if key not in before]
    both = [(before[key], after[key]) for key in before if key in after]
    retyped = [now for then, now in both if (then.dtype, then.shape) != (now.dtype, now.shape)]
    changed = [now for then, now in both if _form(then) == _form(now) and _value(then) != _value(now)]
    kinds = (("gone", gone), ("new", new), ("of another type or shape", retyped), ("of another value", changed))
    said = ["{} {} ({})".format(len(rows), what, _names(rows)) for what, rows in kinds if rows]
    return "of {} entries {}".format(len(before), ", ".join(said)) if said else None


def describes(sidecar: Sidecar, name: str) -> bool:
    """Whether the manifest was written for a checkpoint of that name."""
    return any(file.name == name or file.name.startswith(name + ".") for file in sidecar.files)


def _form(entry: ManifestEntry) -> Tuple[str, Tuple[int, ...]]:
    return entry.dtype, entry.shape


def _value(entry: ManifestEntry) -> Tuple[int, int]:
    return entry.crc32c, entry.size_bytes


def _names(rows: Sequence[ManifestEntry]) -> str:
    variables = [row.label for row in rows if row.key != OBJECT_GRAPH_KEY]
    labels = variables or [row.label for row in rows]
    more = ", and {} more".format(len(labels) - _NAMED_KEYS) if len(labels) > _NAMED_KEYS else ""
    return ", ".join(labels[:_NAMED_KEYS]) + more


def _checksum(document: Mapping[str, Any]) -> str:
    """SHA-256 over the document without this field, in the form in which equal documents are equal bytes."""
    rest = {name: value for name, value in document.items() if name != "checksum"}
    canonical = json.dumps(rest, separators=(",", ":"), sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def _parse(content: bytes, where: str) -> Dict[str, Any]:
    try:
        document = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        ours = _MARK.encode() in content[:200]
        remark = Remark.DAMAGED_MANIFEST if ours else Remark.FOREIGN_MANIFEST
        raise SidecarError(remark, "{} is no JSON: {}".format(where, str(error)[:200])) from error
    if not isinstance(document, dict):
        raise SidecarError(Remark.FOREIGN_MANIFEST, "{} is not a manifest of lastgood's".format(where))
    return document


def _sidecar_from_json(document: Mapping[str, Any]) -> Sidecar:
    manifest = document["manifest"]
    files = tuple(
        FileSum(str(row["name"]), int(row["size_bytes"]), str(row.get("sha256", ""))) for row in document["files"]
    )
    return Sidecar(
        manifest=None if manifest is None else manifest_from_json(manifest),
        files=files,
        step=_integer_or_none(document["step"]),
        save_counter=_integer_or_none(document["save_counter"]),
        objects=tuple(document["objects"]),
        model=document.get("model"),
        verified_at_s=float(document["verified_at_s"]),
        lastgood_version=str(document["lastgood_version"]),
        attempt=_integer_or_none(document.get("attempt")),
    )


def _integer_or_none(value: Any) -> Optional[int]:
    return None if value is None else int(value)


def _file_to_json(file: FileSum) -> Dict[str, Any]:
    row: Dict[str, Any] = {"name": file.name, "size_bytes": file.size_bytes}
    if file.sha256:
        row["sha256"] = file.sha256
    return row


def objects_of(graph: Any) -> Tuple[Mapping[str, Any], ...]:
    """The object graph as people read it: each object by the path that leads to it, in the order of the nodes.

    graph: a `lastgood.bundle.graph.ObjectGraph`. What no path leads to is called by its number, such as "#7".
    """
    paths = _paths_to_objects(graph)
    return tuple(_object_to_json(node, paths[index], paths) for index, node in enumerate(graph.nodes))


def _paths_to_objects(graph: Any) -> List[str]:
    """The shortest path to each object, of equally short ones the one that was saved first; "" is the root."""
    found: Dict[int, str] = {0: ""}
    waiting = [0] if graph.nodes else []
    for index in waiting:
        for name, child in graph.nodes[index].children:
            if child not in found:
                found[child] = "{}/{}".format(found[index], name) if found[index] else name
                waiting.append(child)
    return [found.get(index, "#{}".format(index)) for index in range(len(graph.nodes))]


def _object_to_json(node: Any, path: str, paths: Sequence[str]) -> Mapping[str, Any]:
    row: Dict[str, Any] = {"path": path}
    if node.children:
        row["children"] = {name: paths[child] for name, child in node.children}
    if node.attributes:
        row["attributes"] = [
            {
                "name": attribute.name,
                "full_name": attribute.full_name,
                "checkpoint_key": attribute.checkpoint_key.decode("utf-8", "backslashreplace"),
            }
            for attribute in node.attributes
        ]
    if node.slot_variables:
        row["slot_variables"] = [
            {"name": slot.name, "of": paths[slot.original_node], "variable": paths[slot.slot_node]}
            for slot in node.slot_variables
        ]
    if node.registered_saver is not None:
        row["registered_saver"] = {
            "name": node.registered_saver.name,
            "object_name": node.registered_saver.object_name,
        }
    return row
