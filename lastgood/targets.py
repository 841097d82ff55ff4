"""Which checkpoints are meant by what somebody names: a prefix, a file, a directory.

A directory means each checkpoint in it: those of TensorFlow, newest first, then the SavedModels and Keras files in it;
a SavedModel's own directory means its variables. Nothing below that is searched, and nothing is read but names.
"""

import os
import re
from typing import Iterator, List

from lastgood.bundle.files import is_directory, is_url
from lastgood.directory import list_checkpoints
from lastgood.errors import BundleError, describe
from lastgood.reasons import Reason

KERAS_SUFFIXES = (".keras", ".weights.h5")

#: A shell completes to the name of a file; what is meant is the checkpoint that it belongs to.
_FILE_OF_CHECKPOINT = re.compile(r"\.(index|data-\d{5}-of-\d{5})$")
_SAVED_MODEL = "saved_model.pb"


def targets(path: str) -> Iterator[str]:
    """What to verify, one prefix or file after the other. Raises BundleError for a directory that cannot be read."""
    if not is_directory(path):
        yield _FILE_OF_CHECKPOINT.sub("", path)
    elif is_url(path):
        yield from (listed.prefix for listed in list_checkpoints(path, numbered_only=False))
    elif _is_saved_model(path):
        yield _variables_of(path)
    else:
        yield from (listed.prefix for listed in list_checkpoints(path, numbered_only=False))
        yield from _others(path)


def _others(directory: str) -> List[str]:
    """SavedModels and Keras files in the directory, by name."""
    try:
        paths = [os.path.join(directory, name) for name in sorted(os.listdir(directory))]
    except OSError as error:
        detail = "the directory {} cannot be read: {}".format(directory, describe(error))
        raise BundleError(Reason.UNREADABLE, detail) from error
    found = []
    for path in paths:
        if _is_saved_model(path):
            found.append(_variables_of(path))
        elif path.endswith(KERAS_SUFFIXES) and os.path.isfile(path):
            found.append(path)
    return found


def _is_saved_model(directory: str) -> bool:
    return os.path.isfile(os.path.join(directory, _SAVED_MODEL))


def _variables_of(saved_model: str) -> str:
    return os.path.join(saved_model, "variables", "variables")
