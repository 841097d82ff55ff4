"""Small JSON documents on disk that outlive the process that wrote them.

Decides how they are written: under another name, then renamed, so that a reader finds the old one or the new one. One
that cannot be read counts as none.
"""

import json
import os
from typing import Any, Dict, Mapping


def write_json(path: str, document: Mapping[str, Any], is_durable: bool = False) -> None:
    """Writes a small document so that a reader finds the old one or the new one; is_durable: after a power loss too."""
    temporary = "{}.{}.tmp".format(path, os.getpid())
    with open(temporary, "w") as file:
        json.dump(document, file)
        file.flush()
        if is_durable:
            os.fsync(file.fileno())
    os.replace(temporary, path)


def read_json(path: str) -> Dict[str, Any]:
    """The document, or an empty one when there is none or it cannot be read."""
    try:
        with open(path) as file:
            document = json.load(file)
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
