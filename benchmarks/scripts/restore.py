"""Restores a model of a given size again and again, each time in a process of its own.

Writes how long the restore took until the script went on, in seconds, to LOG/worker-0.log. Knows nothing of lastgood.
"""

import argparse
import os
import time

import tensorflow as tf

parser = argparse.ArgumentParser()
parser.add_argument("--directory", required=True, help="for checkpoints")
parser.add_argument("--log", required=True)
parser.add_argument("--size-mb", type=int, default=300)
options = parser.parse_args()

strategy = tf.distribute.MultiWorkerMirroredStrategy()
with strategy.scope():
    pieces = [tf.Variable(tf.random.normal((options.size_mb * 10**6 // 4 // 120,)), name=f"p{n}") for n in range(120)]
    step = tf.Variable(0, dtype=tf.int64, trainable=False)
checkpoint = tf.train.Checkpoint(pieces=pieces, step=step)
manager = tf.train.CheckpointManager(checkpoint, options.directory, max_to_keep=2)
latest = tf.train.latest_checkpoint(options.directory)


@tf.function
def train_step():
    strategy.run(lambda: pieces[0].assign_add(tf.ones_like(pieces[0])))
    step.assign_add(1)


os.makedirs(options.log, exist_ok=True)
if latest:
    started = time.monotonic()
    checkpoint.restore(latest)
    restored = time.monotonic()
    train_step()
    with open(os.path.join(options.log, "worker-0.log"), "a", buffering=1) as log:
        log.write(f"{restored - started:.6f}\n")
else:
    train_step()
    manager.save()
