"""Says what TensorFlow thinks of damaged checkpoints: one line for each case on stdout.

    python judge.py CORPUS CASES FIRST

CORPUS is a folder of checkpoints, CASES a file with one case in each line (JSON, see checkpoint_edits.py) that says
besides which checkpoints it may still be: "originals", folders below CORPUS. Case FIRST and all behind it are judged,
each twice: by the reader behind `tf.train.load_checkpoint`, tensor by tensor, and by RestoreV2, which
`Checkpoint.restore` uses.

    {"case": 7, "reader": VERDICT, "restore": VERDICT, "why": SENTENCE}

same: every key, type, shape and value is that of one of the originals. raises: TensorFlow says that something is wrong.
differs: it gives something else without a word. A line {"unreadable": FOLDER} says that this TensorFlow cannot read a
checkpoint of a newer one; cases of it are passed over. This process may die of a case, or hang: whoever started it
counts that as "raises" and begins anew behind it.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import tempfile
from urllib.parse import unquote_to_bytes

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import tensorflow as tf
from checkpoint_edits import write_case
from tensorflow_reading import read_everything, restore_everything

MAX_MEMORY_BYTES = 16 << 30


class Judge:
    """One TensorFlow, and the checkpoints that it has read undamaged."""

    def __init__(self, corpus, scratch):
        self.corpus = corpus
        self.scratch = scratch
        self.originals = {}
        with open(os.path.join(corpus, "known.json")) as file:
            #: {folder: {key: dtype}} of checkpoints whose keys are no text.
            self.known = {folder: unquoted(known) for folder, known in json.load(file).items()}

    def original(self, folder):
        """What it reads of an undamaged checkpoint; None where it cannot, as another TensorFlow wrote it."""
        if folder not in self.originals:
            self.originals[folder] = self.read_original(folder)
        return self.originals[folder]

    def read_original(self, folder):
        directory = tempfile.mkdtemp(dir=self.scratch)
        prefix = write_case(self.corpus, {"start": folder, "edits": []}, directory)
        try:
            found = read_everything(tf, prefix, self.known.get(folder))
            assert restore_everything(tf, prefix, types_of(found)) == found
        except (tf.errors.OpError, TypeError):  # a type that it does not know
            print(json.dumps({"unreadable": folder}), flush=True)
            return None
        finally:
            shutil.rmtree(directory)
        return found

    def judge(self, case):
        """(by the reader, by RestoreV2, why)."""
        originals = [self.original(folder) for folder in case["originals"]]
        if None in originals:
            return None
        directory = tempfile.mkdtemp(dir=self.scratch)
        try:
            prefix = write_case(self.corpus, case, directory)
            known = self.known.get(case["originals"][0])
            reader, why = verdict(lambda _: read_everything(tf, prefix, known), originals)
            restore, also_why = verdict(lambda rows: restore_everything(tf, prefix, types_of(rows)), originals)
            return reader, restore, why or also_why
        finally:
            shutil.rmtree(directory)


def verdict(read, originals):
    """What reading the keys of each original gives: "same" where one of them is what lies there."""
    said = ("same", "")
    for original in originals:
        try:
            found = read(original)
        except Exception as error:
            said = ("raises", "{}: {}".format(type(error).__name__, str(error)[:200]))
            continue
        if found == original:
            return "same", ""
        changed = [key for key in original if found.get(key) != original[key]]
        said = ("differs", ", ".join(changed)[:200])
    return said


def types_of(rows):
    return {unquote_to_bytes(key): row["dtype"] for key, row in rows.items()}


def unquoted(known):
    return {unquote_to_bytes(key): dtype for key, dtype in known.items()}


def main(corpus, cases, first):
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    scratch = tempfile.mkdtemp(prefix="judge-")
    judge = Judge(corpus, scratch)
    try:
        with open(cases) as file:
            for number, line in enumerate(file):
                if number < first:
                    continue
                said = judge.judge(json.loads(line))
                row = {"case": number}
                if said is not None:
                    row.update(zip(("reader", "restore", "why"), said))
                print(json.dumps(row), flush=True)
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
