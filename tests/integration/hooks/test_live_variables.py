"""What the hooks take for a variable among TensorFlow's live objects."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

INJECT = Path(__file__).resolve().parents[3] / "worker_agent" / "lastgood_agent" / "inject"

SCRIPT = """
import json
import tensorflow as tf
from _lastgood_hooks.variables import kind_of, local_replicas

with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
    mirrored = tf.Variable(1.0)
root = tf.train.Checkpoint(pair=(tf.Module(), tf.Module()), named={"a": tf.Variable(1.0)}, listed=[tf.Variable(1.0)])
lives = {"plain": tf.Variable(1.0), "mirrored": mirrored}
lives.update((name, getattr(root, name)) for name in ("pair", "named", "listed"))
print(json.dumps({name: [len(local_replicas(live)), kind_of(live)] for name, live in lives.items()}))
"""


def test_a_tuple_a_dict_and_a_list_that_tensorflow_tracks_are_no_variables(each_tensorflow: Any) -> None:
    environment = {**os.environ, "PYTHONPATH": str(INJECT), "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}

    done = subprocess.run(
        [each_tensorflow.python, "-c", SCRIPT], capture_output=True, text=True, env=environment, timeout=120
    )

    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "plain": [1, "per_worker"],
        "mirrored": [1, "mirrored"],
        "pair": [0, None],
        "named": [0, None],
        "listed": [0, None],
    }
