"""What lies at a path: which kind of checkpoint, and the prefix or file to read it by.

Looks at names and at the first and last bytes of a file, and believes the bytes. Takes a bundle's prefix, any of its
files, a SavedModel's directory, a `.keras` archive, a `.weights.h5` file. Of what it knows and lastgood does not read
(V1 checkpoints, lists of Keras shards, several checkpoints in one directory) it says what to do; of anything else, what
was expected and what was found. Nothing is said here about whether a checkpoint is whole.
"""

import glob
import os
import re
from enum import Enum
from typing import List, NamedTuple, Optional, Tuple

from lastgood.bundle.files import is_url, local_path
from lastgood.bundle.reader import index_path
from lastgood.bundle.table import FOOTER_BYTES, MAGIC
from lastgood.errors import BundleError, MissingFileError
from lastgood.reasons import Reason
from lastgood.window import Window

_FILE_OF_BUNDLE = re.compile(r"\.(index|data-\d{5}-of-\d{5})$")
_DATA_FILES = ".data-?????-of-?????"
_V1_SHARDS = "-?????-of-?????"
_HDF5, _ZIP = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"
_WHERE_A_SAVED_MODEL_HAS_ITS_VARIABLES = os.path.join("variables", "variables")
_SAVED_MODEL = "saved_model.pb"

EXPECTED = "a checkpoint's prefix (such as ckpts/ckpt-7), a SavedModel's directory, a .keras or a .weights.h5 file"

_SAVE_ANEW_V1 = (
    "{} is a V1 checkpoint, which is recognised and not supported: restore it with tf.compat.v1.train.Saver and save "
    "it with tf.train.Checkpoint"
)


class Kind(str, Enum):
    """How what lies there is read. The values are those of `Checkpoint.format`."""

    BUNDLE = "bundle"
    KERAS = "keras"
    WEIGHTS_H5 = "weights.h5"


class Recognised(NamedTuple):
    """location: a bundle's prefix, or the path of the Keras file."""

    kind: Kind
    location: str


def recognise(path: str) -> Recognised:
    """What lies at `path`. Raises BundleError: INCOMPLETE (nothing, or not all), UNSUPPORTED, CORRUPT, UNREADABLE."""
    path = local_path(path)
    if is_url(path):
        return Recognised(Kind.BUNDLE, _FILE_OF_BUNDLE.sub("", path))
    if os.path.isdir(path):
        return Recognised(Kind.BUNDLE, _prefix_in_directory(path))
    if os.path.exists(index_path(path)):
        return Recognised(Kind.BUNDLE, path)
    if _FILE_OF_BUNDLE.search(path):
        return Recognised(Kind.BUNDLE, _FILE_OF_BUNDLE.sub("", path))
    if os.path.exists(path):
        return _recognise_file(path)
    raise _nothing_at(path)


def prefix_in_saved_model(directory: str) -> Optional[str]:
    """The prefix of a SavedModel's variables, given its directory or that of the variables; None for another one."""
    if os.path.basename(os.path.normpath(directory)) == "variables":
        inner = os.path.join(directory, "variables")
        if os.path.exists(index_path(inner)):
            return inner
    inner = os.path.join(directory, _WHERE_A_SAVED_MODEL_HAS_ITS_VARIABLES)
    if os.path.exists(os.path.join(directory, _SAVED_MODEL)) or os.path.exists(index_path(inner)):
        return inner
    return None


def _prefix_in_directory(directory: str) -> str:
    prefix = prefix_in_saved_model(directory)
    if prefix is not None:
        if not os.path.exists(index_path(prefix)) and not _matches(prefix, _DATA_FILES):
            raise BundleError(Reason.INCOMPLETE, "the SavedModel in {} holds no variables".format(directory))
        return prefix
    try:
        names = sorted(name[: -len(".index")] for name in os.listdir(directory) if name.endswith(".index"))
    except OSError as error:
        raise BundleError.from_os(error, "a directory", directory) from error
    if names:
        raise BundleError(
            Reason.UNSUPPORTED,
            "{} is a directory of {} checkpoints, and one is expected: name it, such as {}".format(
                directory, len(names), os.path.join(directory, names[-1])
            ),
        )
    raise BundleError(Reason.INCOMPLETE, "expected {}, found the directory {} without one".format(EXPECTED, directory))


def _recognise_file(path: str) -> Recognised:
    head, tail, size_bytes = _ends_of(path)
    if size_bytes == 0:
        raise BundleError(Reason.INCOMPLETE, "{} is empty: its save was interrupted".format(path))
    if head.startswith(_HDF5):
        return Recognised(Kind.WEIGHTS_H5, path)
    if head.startswith(_ZIP):
        return Recognised(Kind.KERAS, path)
    if tail.endswith(MAGIC.to_bytes(8, "little")):
        raise _table_without_the_name_of_one(path, head)
    raise _unknown_file(path, head)


def _ends_of(path: str) -> Tuple[bytes, bytes, int]:
    """The first and the last bytes of a file, and its size."""
    with Window(path, "a checkpoint") as file:
        head = file.read(64)
        file.seek(max(0, file.size_bytes - FOOTER_BYTES))
        return head, file.read(FOOTER_BYTES), file.size_bytes


def _table_without_the_name_of_one(path: str, head: bytes) -> BundleError:
    """A table of LevelDB's. The first value of a V1 checkpoint is a message that begins with its field 1, a message."""
    if len(head) > 3 and head[:2] == b"\0\0" and head[3:4] == b"\x0a":
        return BundleError(Reason.UNSUPPORTED, _SAVE_ANEW_V1.format(path))
    return BundleError(
        Reason.UNSUPPORTED,
        "{} is an index under another name, so its data files cannot be found: call it PREFIX.index".format(path),
    )


def _unknown_file(path: str, head: bytes) -> BundleError:
    name = os.path.basename(path)
    if name == _SAVED_MODEL:
        directory = os.path.dirname(path) or "."
        return BundleError(
            Reason.UNSUPPORTED, "{} is a SavedModel's graph: name its directory, {}".format(path, directory)
        )
    if name == "checkpoint":
        return BundleError(
            Reason.UNSUPPORTED,
            "{} is TensorFlow's state file, which only names checkpoints: `lastgood latest {}` reads it".format(
                path, os.path.dirname(path) or "."
            ),
        )
    if name.endswith(".weights.json"):
        return BundleError(
            Reason.UNSUPPORTED,
            "{} lists the files of weights that Keras saved in shards, which is recognised and not supported: "
            "name one of the .weights.h5 files".format(path),
        )
    if name.endswith((".keras", ".h5", ".hdf5")):
        wanted = "a zip archive" if name.endswith(".keras") else "HDF5"
        return BundleError(
            Reason.CORRUPT, "expected {} at {}, found a file that begins {!r}".format(wanted, path, head[:16])
        )
    return BundleError(
        Reason.UNSUPPORTED, "expected {}, found at {} a file that begins {!r}".format(EXPECTED, path, head[:16])
    )


def _nothing_at(path: str) -> BundleError:
    """Why nothing can be read at a path where nothing is: with what lies near it, where that helps."""
    for name in (index_path(path), path):
        hidden = _why_hidden(name)
        if hidden is not None:
            return hidden
    if ("?" in path and glob.glob(path)) or _matches(path, _V1_SHARDS):
        return BundleError(Reason.UNSUPPORTED, _SAVE_ANEW_V1.format(path))
    if _matches(path, _DATA_FILES):
        return MissingFileError("the index", index_path(path))
    numbered = [found[: -len(".index")] for found in _matches(path, "-*.index")]
    if numbered:
        return BundleError(
            Reason.INCOMPLETE,
            "expected {}, and there is none at {}: give the name that save() returned, such as {}".format(
                EXPECTED, path, numbered[-1]
            ),
        )
    return BundleError(Reason.INCOMPLETE, "expected {}, and there is none at {}".format(EXPECTED, path))


def _why_hidden(path: str) -> Optional[BundleError]:
    """Why it cannot be said whether anything lies there; None where nothing does."""
    try:
        os.stat(path)
    except OSError as error:
        found = BundleError.from_os(error, "a checkpoint", path)
        return None if isinstance(found, MissingFileError) else found
    except ValueError:  # no file can have such a path
        return None
    return None


def _matches(path: str, pattern: str) -> List[str]:
    try:
        return sorted(glob.glob(glob.escape(path) + pattern))
    except ValueError:  # no file can have such a path
        return []
