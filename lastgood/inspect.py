"""What a checkpoint says of itself without reading its tensors: manifest, step, save counter, names of variables.

Nothing here judges a checkpoint. `lastgood.verify` does, by reading the bytes.
"""

from contextlib import ExitStack
from dataclasses import replace
from typing import Dict, Mapping, Optional, Sequence, Tuple, Union

from lastgood.bundle.contents import read_integer, read_string_scalar
from lastgood.bundle.dtypes import INTEGERS
from lastgood.bundle.files import stat_file
from lastgood.bundle.graph import ObjectGraph, parse_graph
from lastgood.bundle.reader import Bundle, Entry, parse_bundle, read_bundle, shard_paths
from lastgood.bundle.shards import DATA_FILE, Shard
from lastgood.errors import BundleError
from lastgood.manifest import OBJECT_GRAPH_KEY, Kind, Manifest, ManifestEntry
from lastgood.reasons import Reason

#: Where training scripts keep their step, in the order of preference.
STEP_NAMES = (
    "step",
    "global_step",
    "iteration",
    "iterations",
    "optimizer/iter",
    "optimizer/_iterations",
    "optimizer/iterations",
    "model/optimizer/iter",
    "model/optimizer/_iterations",
    "model/optimizer/iterations",
)
SAVE_COUNTER_NAME = "save_counter"
VALUE_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"

#: A hundred times the graph of a model with ten thousand variables.
MAX_GRAPH_BYTES = 256 << 20

#: Kinds by bundle key, as the hooks report them: keys as text or bytes, kinds as `Kind` or its value.
Kinds = Mapping[Union[str, bytes], Union[str, Kind]]


def read_manifest(prefix: str, full_names: bool = False, kinds: Optional[Kinds] = None) -> Manifest:
    """The manifest of the checkpoint at `prefix`, from its index and the sizes of its data files.

    full_names: read the object graph too, and give each variable the name that it had when it was saved.
    kinds: what the training process knew.
    Raises BundleError when the index is damaged, or a data file is missing.
    """
    bundle = read_bundle(prefix)
    manifest = manifest_of_bundle(bundle, read_shard_sizes(prefix, bundle.num_shards), kinds)
    return _with_full_names(manifest, read_graph(prefix, bundle)) if full_names else manifest


def manifest_from_index(
    index_bytes: bytes, shard_sizes_bytes: Sequence[int], kinds: Optional[Kinds] = None, where: str = "the index"
) -> Manifest:
    """The manifest that an index describes, such as the copy that was made when the save returned.

    shard_sizes_bytes: size of each data file, in order. kinds: what the training process knew.
    full_name stays empty: the names are in a data file. Raises BundleError.
    """
    bundle = parse_bundle(index_bytes, where)
    if len(shard_sizes_bytes) != bundle.num_shards:
        raise BundleError(
            Reason.INCOMPLETE,
            "{} states {} data files, found {}".format(where, bundle.num_shards, len(shard_sizes_bytes)),
        )
    return manifest_of_bundle(bundle, shard_sizes_bytes, kinds)


def manifest_of_bundle(bundle: Bundle, shard_sizes_bytes: Sequence[int], kinds: Optional[Kinds] = None) -> Manifest:
    """The manifest of an index that was read already."""
    known = _kinds_by_key(kinds or {})
    return Manifest(
        entries=tuple(
            ManifestEntry(
                key=entry.key,
                dtype=entry.dtype,
                shape=entry.shape,
                crc32c=entry.crc32c,
                size_bytes=entry.size_bytes,
                kind=known.get(entry.key, Kind.UNKNOWN),
            )
            for entry in bundle.entries
        ),
        shard_sizes_bytes=tuple(shard_sizes_bytes),
    )


def read_shard_sizes(prefix: str, num_shards: int) -> Tuple[int, ...]:
    """The size of each data file. Raises BundleError: INCOMPLETE for a missing one, UNREADABLE."""
    return tuple(stat_file(path, DATA_FILE).size_bytes for path in shard_paths(prefix, num_shards))


def read_graph(prefix: str, bundle: Optional[Bundle] = None) -> ObjectGraph:
    """The object graph, empty for a checkpoint that has none (written by v1 savers). Raises BundleError."""
    bundle = bundle or read_bundle(prefix)
    entry = bundle.by_key().get(OBJECT_GRAPH_KEY)
    if entry is None:
        return ObjectGraph(())
    with Shard(prefix, entry.shard_id, bundle.num_shards) as shard:
        return parse_graph(read_string_scalar(shard, entry, MAX_GRAPH_BYTES))


def read_full_names(prefix: str) -> Mapping[bytes, str]:
    """The name that each variable had when it was saved, by bundle key. Raises BundleError."""
    return read_graph(prefix).full_names()


def read_step(prefix: str) -> Tuple[Optional[int], Optional[int]]:
    """(step, save counter), each None where the checkpoint has no such variable. Reads those few bytes only.

    Raises BundleError when the index or these bytes are damaged.
    """
    bundle = read_bundle(prefix)
    by_key = bundle.by_key()
    step = next((entry for entry in (_integer_at(by_key, name) for name in STEP_NAMES) if entry is not None), None)
    counter = _integer_at(by_key, SAVE_COUNTER_NAME)
    with ExitStack() as stack:
        shards: Dict[int, Shard] = {}
        for entry in (step, counter):
            if entry is not None and entry.shard_id not in shards:
                shards[entry.shard_id] = stack.enter_context(Shard(prefix, entry.shard_id, bundle.num_shards))
        return (
            None if step is None else read_integer(shards[step.shard_id], step),
            None if counter is None else read_integer(shards[counter.shard_id], counter),
        )


def _integer_at(by_key: Mapping[bytes, Entry], name: str) -> Optional[Entry]:
    """The entry of that name if it is an integer scalar, as a step must be."""
    entry = by_key.get((name + VALUE_SUFFIX).encode())
    return entry if entry is not None and entry.dtype in INTEGERS and entry.shape == () else None


def _kinds_by_key(kinds: Kinds) -> Mapping[bytes, Kind]:
    return {key.encode("utf-8") if isinstance(key, str) else key: Kind(kind) for key, kind in kinds.items()}


def _with_full_names(manifest: Manifest, graph: ObjectGraph) -> Manifest:
    names = graph.full_names()
    return replace(
        manifest, entries=tuple(replace(entry, full_name=names.get(entry.key, "")) for entry in manifest.entries)
    )
