"""What is fuzzed, and what may come of it: a verdict, or an error of the kind that is documented.

Each target takes any bytes and raises whatever the library should not have raised. It also raises `StrayError` when a
file outside the input's own directory was opened: names of files are part of what is fuzzed.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from sealing import seal_checkpoint, seal_index

from lastgood.attest import verify_saved
from lastgood.bundle.contents import read_string_scalar
from lastgood.bundle.graph import parse_graph
from lastgood.bundle.reader import parse_bundle, read_bundle
from lastgood.bundle.shards import Shard
from lastgood.bundle.snappy import decompress
from lastgood.bundle.wire import WireError
from lastgood.checkpoint import Checkpoint, open_checkpoint
from lastgood.errors import BundleError
from lastgood.inspect import read_full_names, read_manifest, read_step
from lastgood.keras.files import check_archive, read_model_config
from lastgood.latest import state_file as state_files
from lastgood.manifest import OBJECT_GRAPH_KEY, manifest_from_json, manifest_to_json
from lastgood.sidecar import FileSum, Sidecar, SidecarError, sidecar_from_bytes, sidecar_to_bytes
from lastgood.verify import verify

DATA = Path(__file__).parents[1] / "data"
REAL = DATA / "checkpoints"
#: Inputs that something was wrong with once, by target.
FOUND = DATA / "fuzz"

#: Where files cost no wait for a disk, if there is such a place.
IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None

NAME, SHARD = "ckpt-1", ".data-00000-of-00001"
#: Small ones are read thousands of times a minute.
MAX_SEED_BYTES = 2600


class StrayError(Exception):
    """The library opened a file that is none of the checkpoint's."""


# ------------------------------------------------------------------------------------------------------ opened files


class _Watch:
    """Python's own hook on every `open`. It cannot be removed, so it looks only while a directory is set."""

    def __init__(self) -> None:
        self.directory = ""
        self.strays: list[str] = []
        self._is_installed = False

    def install(self) -> None:
        if not self._is_installed:
            sys.addaudithook(self._hear)
            self._is_installed = True

    def _hear(self, event: str, arguments: tuple[object, ...]) -> None:
        if event != "open" or not self.directory or isinstance(arguments[0], int):
            return
        path = os.path.realpath(os.fsdecode(arguments[0]))  # type: ignore[arg-type]
        is_import = path.endswith((".py", ".pyc", ".so"))
        if not is_import and path != os.devnull and not path.startswith(self.directory + os.sep):
            self.strays.append(path)


_WATCH = _Watch()


@contextmanager
def directory_of_its_own() -> Iterator[Path]:
    """An empty directory. Raises StrayError when meanwhile anything outside it was opened."""
    _WATCH.install()
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as directory:
        real = os.path.realpath(directory)
        _WATCH.strays, _WATCH.directory = [], real
        try:
            yield Path(real)
        finally:
            _WATCH.directory = ""
    if _WATCH.strays:
        raise StrayError(f"opened {_WATCH.strays}")


# ----------------------------------------------------------------------------------------------------------- targets


def index(data: bytes) -> None:
    """Any bytes as an index: a bundle or a BundleError."""
    with suppress(BundleError):
        parse_bundle(data)


def sealed_index(data: bytes) -> None:
    """The same behind checksums that are right."""
    index(seal_index(data))


def graph(data: bytes) -> None:
    """Any bytes as an object graph: a graph or a BundleError."""
    with suppress(BundleError):
        parse_graph(data).full_names()


def snappy(data: bytes) -> None:
    """Any bytes as a compressed block: bytes or a WireError."""
    with suppress(WireError):
        decompress(data)


def manifest(data: bytes) -> None:
    """Any JSON object as a manifest: a manifest that comes back as it went, or a ValueError."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return
    if not isinstance(document, dict):
        return
    try:
        found = manifest_from_json(document)
    except ValueError:
        return
    assert manifest_from_json(manifest_to_json(found)) == found


def checkpoint(data: bytes) -> None:
    """Any bytes as index and data file: a verdict from `verify`, a BundleError or an answer from whatever reads."""
    index_bytes, shard = split(data)
    with directory_of_its_own() as directory:
        prefix = str(directory / NAME)
        Path(prefix + ".index").write_bytes(index_bytes)
        Path(prefix + SHARD).write_bytes(shard)
        is_whole = verify(prefix).is_whole
        if is_whole:
            read_manifest(prefix)
        for read in (read_manifest, read_step, read_full_names, _read_every_value):
            with suppress(BundleError):
                read(prefix)


def sealed_checkpoint(data: bytes) -> None:
    """The same with right checksums of blocks and tensors."""
    index_bytes, shard = split(data)
    checkpoint(join(*seal_checkpoint(index_bytes, shard)))


def _read_every_value(prefix: str) -> None:
    with open_checkpoint(prefix) as opened:
        for key in opened.tensors:
            for read in (_read_raw, Checkpoint.array, Checkpoint.values):
                with suppress(BundleError):
                    read(opened, key)
        opened.graph.full_names()


def _read_raw(opened: Checkpoint, key: bytes) -> None:
    for _ in opened.raw(key):
        pass


def join(index_bytes: bytes, shard: bytes) -> bytes:
    """A checkpoint of one data file as one input."""
    return struct.pack("<I", len(index_bytes)) + index_bytes + shard


def split(data: bytes) -> tuple[bytes, bytes]:
    """(index, data file)."""
    size = int.from_bytes(data[:4], "little") % (len(data) + 1)
    return data[4 : 4 + size], data[4 + size :]


def sidecar(data: bytes) -> None:
    """Any bytes as the manifest beside a checkpoint, as they are and with the checksum that they should have."""
    for content in (data, _sealed_document(data)):
        with suppress(SidecarError):
            sidecar_to_bytes(sidecar_from_bytes(content, "the manifest"))


def _sealed_document(data: bytes) -> bytes:
    try:
        document = json.loads(data)
        del document["checksum"]
        canonical = json.dumps(document, separators=(",", ":"), sort_keys=True, allow_nan=False)
    except (ValueError, TypeError, KeyError, RecursionError):
        return data
    return json.dumps({**document, "checksum": hashlib.sha256(canonical.encode()).hexdigest()}).encode()


def state_text(data: bytes) -> None:
    """Any bytes as a state file for `latest`: what TensorFlow understands, which is written as it was read."""
    state_files.salvage(data)
    try:
        state = state_files.parse(data)
    except state_files.StateFileError:
        return
    with suppress(UnicodeEncodeError):  # a path that is no text
        assert state_files.parse(state_files.render(state)) == state


def weights_h5(data: bytes) -> None:
    """Any bytes as a Keras file of weights: what it holds, or a BundleError; and a verdict."""
    _read_keras_file("m.weights.h5", data)


def keras(data: bytes) -> None:
    """Any bytes as a Keras archive."""
    _read_keras_file("m.keras", data)


def _read_keras_file(name: str, data: bytes) -> None:
    with directory_of_its_own() as directory:
        path = directory / name
        path.write_bytes(data)
        for read in (_read_every_value, check_archive, read_model_config):
            if read is _read_every_value or name.endswith(".keras"):
                with suppress(BundleError):
                    read(str(path))
        verify_saved(str(path))


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "index": index,
    "sealed_index": sealed_index,
    "graph": graph,
    "snappy": snappy,
    "manifest": manifest,
    "checkpoint": checkpoint,
    "sealed_checkpoint": sealed_checkpoint,
    "sidecar": sidecar,
    "state_text": state_text,
    "weights_h5": weights_h5,
    "keras": keras,
}

# ------------------------------------------------------------------------------------------------------------- seeds


def seeds(target: str) -> list[bytes]:
    """Real inputs of a target, and those that something was once wrong with."""
    found = [path.read_bytes() for path in sorted((FOUND / target).glob("*"))]
    prefixes = [str(path)[: -len(".index")] for path in sorted(REAL.glob("tf-*/**/*.index"))]
    alone = [prefix for prefix in prefixes if os.path.exists(prefix + SHARD)]
    small = [prefix for prefix in alone if os.path.getsize(prefix + SHARD) < MAX_SEED_BYTES]
    if target in ("index", "sealed_index"):
        return found + [Path(prefix + ".index").read_bytes() for prefix in prefixes]
    if target == "graph":
        return found + [_graph_bytes(prefix) for prefix in alone]
    if target == "snappy":
        return [*found, b"\x05\x10hello", b"\x40\x04ab\xfa\x02\x00", b"\x14\x10abcde\x3a\x05\x00"]
    if target == "sidecar":
        return found + [_sidecar_bytes(prefix) for prefix in alone[:6]]
    if target in ("weights_h5", "keras"):
        return [*found, _keras_bytes(target)]
    if target == "state_text":
        return found + [path.read_bytes() for path in sorted(REAL.glob("tf-*/**/checkpoint"))]
    if target == "manifest":
        return found + [
            _manifest_bytes(prefix, is_digest_stated) for prefix in alone[:6] for is_digest_stated in (0, 1)
        ]
    return found + [join(Path(prefix + ".index").read_bytes(), Path(prefix + SHARD).read_bytes()) for prefix in small]


def _manifest_bytes(prefix: str, is_digest_stated: int) -> bytes:
    """Without a digest, whatever is changed in it leaves a manifest."""
    document = manifest_to_json(read_manifest(prefix))
    if not is_digest_stated:
        del document["digest"]
    return json.dumps(document).encode()


def _sidecar_bytes(prefix: str) -> bytes:
    files = (FileSum(NAME + ".index", 1), FileSum(NAME + SHARD, 2))
    return sidecar_to_bytes(Sidecar(read_manifest(prefix), files, 7, 7, (), None, 1.5, "0.1"))


def _keras_bytes(target: str) -> bytes:
    """A small file of weights, alone or in an archive."""
    import h5py
    import numpy as np

    content = io.BytesIO()
    with h5py.File(content, "w", libver="latest") as file:
        group = file.create_group("layers/dense/vars")
        group.attrs["name"] = "first"
        group["0"] = np.arange(12, dtype="float32").reshape(4, 3)
        group["1"] = np.zeros(3, "float16")
        file["optimizer/vars/0"] = np.int64(41)
    if target == "weights_h5":
        return content.getvalue()
    archive_bytes = io.BytesIO()
    with zipfile.ZipFile(archive_bytes, "w") as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.15.1"}')
        archive.writestr("config.json", '{"class_name": "Sequential"}')
        archive.writestr("model.weights.h5", content.getvalue())
    return archive_bytes.getvalue()


def _graph_bytes(prefix: str) -> bytes:
    bundle = read_bundle(prefix)
    entry = bundle.by_key()[OBJECT_GRAPH_KEY]
    with Shard(prefix, entry.shard_id, bundle.num_shards) as shard:
        return read_string_scalar(shard, entry, 1 << 20)
