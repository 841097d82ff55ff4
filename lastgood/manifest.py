"""What one checkpoint holds, without its bytes: the manifest, and the digest that is a checkpoint's identity.

The digest covers only what the files themselves say (keys, dtypes, shapes, checksums, shard sizes), so that it can be
computed again from the files alone, by anybody, at any time. What only the training process knows (kinds) or what is
read for people (names) travels along and changes no digest.
"""

import hashlib
import json
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any, Dict, Mapping, Optional, Tuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

#: Version of the canonical form. A new one gives every checkpoint a new identity.
CANONICAL_VERSION = 1

#: The bundle key of the object graph: a description, not a variable.
OBJECT_GRAPH_KEY = b"_CHECKPOINTABLE_OBJECT_GRAPH"


class Kind(str, Enum):
    """How one variable's values on the workers relate to each other; from (synchronization, aggregation)."""

    MIRRORED = "mirrored"  # equal everywhere, always
    AGGREGATED_SUM = "aggregated_sum"  # equal when saved; restored as saved / replicas
    AGGREGATED_MEAN = "aggregated_mean"  # equal when saved; restored as saved
    PER_WORKER = "per_worker"  # may differ; reported, never compared
    UNKNOWN = "unknown"  # nobody said; compared like MIRRORED


@dataclass(frozen=True)
class ManifestEntry:
    """One key of a checkpoint.

    key: the bundle key; bytes, since the parts of sliced variables have binary keys.
    dtype: TensorFlow's name, such as "float32".
    shape: sizes of the dimensions; empty for a scalar.
    crc32c: unmasked crc32c of the stored bytes.
    size_bytes: what the entry occupies in its shard.
    full_name: the variable's name when it was saved, "" where unknown.
    """

    key: bytes
    dtype: str
    shape: Tuple[int, ...]
    crc32c: int
    size_bytes: int
    full_name: str = ""
    kind: Kind = Kind.UNKNOWN

    @property
    def label(self) -> str:
        """The key as people read it: an attribute path, without TensorFlow's suffix."""
        text = self.key.decode("utf-8", "backslashreplace")
        return text[: -len("/.ATTRIBUTES/VARIABLE_VALUE")] if text.endswith("/.ATTRIBUTES/VARIABLE_VALUE") else text


@dataclass(frozen=True)
class Manifest:
    """What one worker's save holds.

    entries: sorted by key, keys unique.
    shard_sizes_bytes: size of each data file, in order.
    """

    entries: Tuple[ManifestEntry, ...]
    shard_sizes_bytes: Tuple[int, ...]

    def __post_init__(self) -> None:
        keys = [entry.key for entry in self.entries]
        if any(later <= earlier for earlier, later in zip(keys, keys[1:])):
            raise ValueError("a manifest's entries must be sorted by key, each key once")

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical form, lower-case hex: the identity of a checkpoint's content."""
        return hashlib.sha256(self.canonical_bytes()).hexdigest()

    def canonical_bytes(self) -> bytes:
        """The one serialization that the digest is taken of: JSON without spaces, ASCII, keys percent-encoded."""
        document = {
            "version": CANONICAL_VERSION,
            "entries": [
                [quote_from_bytes(e.key, safe="/"), e.dtype, list(e.shape), e.crc32c, e.size_bytes]
                for e in self.entries
            ],
            "shards": list(self.shard_sizes_bytes),
        }
        return json.dumps(document, separators=(",", ":"), sort_keys=True, ensure_ascii=True).encode("ascii")

    def by_key(self) -> Mapping[bytes, ManifestEntry]:
        """The entries, for lookup."""
        return {entry.key: entry for entry in self.entries}


def manifest_to_json(manifest: Manifest) -> Dict[str, Any]:
    """The manifest as a JSON document; `manifest_from_json` is its inverse."""
    return {
        "version": CANONICAL_VERSION,
        "digest": manifest.digest,
        "shard_sizes_bytes": list(manifest.shard_sizes_bytes),
        "entries": [
            {
                "key": quote_from_bytes(e.key, safe="/"),
                "dtype": e.dtype,
                "shape": list(e.shape),
                "crc32c": e.crc32c,
                "size_bytes": e.size_bytes,
                "full_name": e.full_name,
                "kind": e.kind.value,
            }
            for e in manifest.entries
        ],
    }


def manifest_from_json(document: Mapping[str, Any]) -> Manifest:
    """The manifest that a document describes.

    Raises ValueError when the document is not a manifest, is of another version, or states a digest that its content
    does not have.
    """
    version = document.get("version")
    if version != CANONICAL_VERSION:
        raise ValueError("expected a manifest of version {}, found {!r}".format(CANONICAL_VERSION, version))
    try:
        manifest = Manifest(
            entries=tuple(
                ManifestEntry(
                    key=unquote_to_bytes(e["key"]),
                    dtype=str(e["dtype"]),
                    shape=tuple(int(size) for size in e["shape"]),
                    crc32c=int(e["crc32c"]),
                    size_bytes=int(e["size_bytes"]),
                    full_name=str(e.get("full_name", "")),
                    kind=Kind(e.get("kind", "unknown")),
                )
                for e in document["entries"]
            ),
            shard_sizes_bytes=tuple(int(size) for size in document["shard_sizes_bytes"]),
        )
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError("not a manifest: {!r} is missing or of the wrong type".format(error)) from error
    stated: Optional[str] = document.get("digest")
    if stated is not None and stated != manifest.digest:
        raise ValueError("the manifest states digest {} and its content has {}".format(stated, manifest.digest))
    return manifest
