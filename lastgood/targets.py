"""Which checkpoints are meant by what somebody names: a prefix, a file of one, a directory.

A directory means each checkpoint in it, newest first, and the variables of the SavedModels in it; a SavedModel's own
directory means its variables. Nothing below that is searched, and nothing is read but names.
"""

import os
import re
from typing import Iterator, Optional

from lastgood.bundle.files import is_directory, is_url, list_directories
from lastgood.directory import list_checkpoints

#: A shell completes to the name of a file; what is meant is the checkpoint that it belongs to.
_FILE_OF_CHECKPOINT = re.compile(r"\.(index|data-\d{5}-of-\d{5})$")


def targets(path: str) -> Iterator[str]:
    """What to verify, one prefix after the other. Raises BundleError for a directory that cannot be read."""
    if not is_directory(path):
        yield _FILE_OF_CHECKPOINT.sub("", path)
        return
    saved_model = None if is_url(path) else _variables_of_saved_model(path)
    if saved_model is not None:
        yield saved_model
        return
    for listed in list_checkpoints(path, numbered_only=False):
        yield listed.prefix
    for name in [] if is_url(path) else list_directories(path):
        saved_model = _variables_of_saved_model(os.path.join(path, name))
        if saved_model is not None:
            yield saved_model


def _variables_of_saved_model(directory: str) -> Optional[str]:
    if not os.path.isfile(os.path.join(directory, "saved_model.pb")):
        return None
    return os.path.join(directory, "variables", "variables")
