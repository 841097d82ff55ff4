"""What is done to the files of a checkpoint to damage it: a list of small edits, and the function that makes them.

Used on both sides, by the test that asks `lastgood.verify` and by the process that asks TensorFlow, so that both see
the same bytes. Needs neither. A file is named by what follows the prefix: ".index", ".data-00000-of-00002", or
"_temp/..." for what an interrupted save leaves behind.

A case is a dict: {"start": FOLDER or None, "edits": [[edit, suffix, ...], ...]}; FOLDER names a checkpoint below the
corpus, and None begins with nothing.

    flip SUFFIX BYTE BIT        one bit the other way
    cut SUFFIX SIZE             no more than its first bytes
    zero SUFFIX START END       zeros instead of what lies there
    append SUFFIX HEX           bytes behind its end
    delete SUFFIX
    copy SUFFIX FOLDER OTHER    the file OTHER of another checkpoint in its place
    tail SUFFIX FOLDER OTHER AT from byte AT on what the file OTHER of another checkpoint has there
"""

from __future__ import annotations

import os
from functools import lru_cache

NAME = "ckpt"


@lru_cache(maxsize=4096)
def files_of(folder):
    """{suffix: bytes} of the one checkpoint in that folder."""
    (index,) = [name for name in os.listdir(folder) if name.endswith(".index")]
    stem = index[: -len(".index")]
    files = {}
    for name in sorted(os.listdir(folder)):
        if name.startswith((stem + ".index", stem + ".data-")):
            with open(os.path.join(folder, name), "rb") as file:
                files[name[len(stem) :]] = file.read()
    return files


def edited_files(corpus, case):
    """{suffix: bytes} of a case."""
    files = dict(files_of(os.path.join(corpus, case["start"]))) if case["start"] is not None else {}
    for edit, suffix, *rest in case["edits"]:
        content = files.get(suffix, b"")
        if edit == "flip":
            byte, bit = rest
            files[suffix] = content[:byte] + bytes([content[byte] ^ (1 << bit)]) + content[byte + 1 :]
        elif edit == "cut":
            files[suffix] = content[: rest[0]]
        elif edit == "zero":
            start, end = rest
            files[suffix] = content[:start] + bytes(len(content[start:end])) + content[end:]
        elif edit == "append":
            files[suffix] = content + bytes.fromhex(rest[0])
        elif edit == "delete":
            del files[suffix]
        elif edit == "copy":
            files[suffix] = files_of(os.path.join(corpus, rest[0]))[rest[1]]
        elif edit == "tail":
            folder, other, start = rest
            files[suffix] = content[:start] + files_of(os.path.join(corpus, folder))[other][start:]
        else:
            raise ValueError(edit)
    return files


def write_case(corpus, case, directory):
    """Writes the case into an empty directory; returns its prefix."""
    prefix = os.path.join(directory, NAME)
    for suffix, content in edited_files(corpus, case).items():
        path = prefix + suffix
        if "/" in suffix:
            os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
    return prefix
