"""The configuration of a Keras model, where it lies beside its weights: what is needed to build the model again.

A SavedModel that Keras 2 wrote has it in `keras_metadata.pb`, a `.keras` archive in `config.json`. Elsewhere it is not
known, and nothing is guessed. What cannot be read is as good as absent: no checkpoint is worse for it.
"""

import json
import os
from typing import Any, Mapping, Optional

from lastgood.bundle.files import read_whole
from lastgood.bundle.wire import WireError, as_bytes, as_text, read_fields
from lastgood.errors import BundleError

MAX_BYTES = 64 << 20

_KERAS_METADATA = "keras_metadata.pb"


def config_of_saved_model(prefix: str) -> Optional[Mapping[str, Any]]:
    """{"source", "config"} of the model whose variables lie at `prefix`; None where that is not known."""
    directory, name = os.path.split(prefix)
    if name != "variables" or os.path.basename(directory) != "variables":
        return None
    try:
        message = read_whole(os.path.join(os.path.dirname(directory), _KERAS_METADATA), "Keras's metadata", MAX_BYTES)
        text = _metadata_of_root(message)
        return None if text is None else config_from_json(_KERAS_METADATA, text, "config")
    except (BundleError, WireError):
        return None


def config_from_json(source: str, text: str, field: Optional[str] = None) -> Optional[Mapping[str, Any]]:
    """The configuration in a JSON text, or in one field of it. NaN and Infinity, which JSON lacks, become strings."""
    try:
        config = json.loads(text, parse_constant=str)
    except (ValueError, RecursionError):
        return None
    if field is not None:
        config = config.get(field) if isinstance(config, dict) else None
    return {"source": source, "config": config} if isinstance(config, dict) else None


def _metadata_of_root(message: bytes) -> Optional[str]:
    """SavedMetadata.nodes (1) of SavedObject: node_path (3), metadata (5)."""
    for number, wire_type, value in read_fields(message):
        if number != 1:
            continue
        path = metadata = ""
        for field, field_type, field_value in read_fields(as_bytes(wire_type, value)):
            if field == 3:
                path = as_text(field_type, field_value)
            elif field == 5:
                metadata = as_text(field_type, field_value)
        if path == "root":
            return metadata
    return None
