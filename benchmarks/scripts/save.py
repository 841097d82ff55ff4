"""Saves a model of a given size again and again, with some training between two saves.

Writes how long each save took, in seconds, one a line, to LOG/worker-0.log. Knows nothing of lastgood.
"""

import argparse
import os
import time

import tensorflow as tf

parser = argparse.ArgumentParser()
parser.add_argument("--directory", required=True, help="for checkpoints")
parser.add_argument("--log", required=True)
parser.add_argument("--size-mb", type=int, default=300)
parser.add_argument("--saves", type=int, default=16)
parser.add_argument("--uncounted", type=int, default=6, help="saves before those that are counted")
parser.add_argument("--between-s", type=float, default=1.5, help="training between two saves")
options = parser.parse_args()

strategy = tf.distribute.MultiWorkerMirroredStrategy()
with strategy.scope():
    pieces = [tf.Variable(tf.random.normal((options.size_mb * 10**6 // 4 // 30,))) for _ in range(30)]
    step = tf.Variable(0, dtype=tf.int64, trainable=False)
checkpoint = tf.train.Checkpoint(pieces=pieces, step=step)
manager = tf.train.CheckpointManager(checkpoint, options.directory, max_to_keep=2)
latest = tf.train.latest_checkpoint(options.directory)
if latest:
    checkpoint.restore(latest)


@tf.function
def train_step():
    strategy.run(lambda: pieces[0].assign_add(tf.ones_like(pieces[0])))
    step.assign_add(1)


os.makedirs(options.log, exist_ok=True)
with open(os.path.join(options.log, "worker-0.log"), "a", buffering=1) as log:
    train_step()
    manager.save()  # builds the graph of the save
    for number in range(options.uncounted + options.saves):
        until = time.monotonic() + options.between_s
        while time.monotonic() < until:
            train_step()
        started = time.monotonic()
        manager.save()
        if number >= options.uncounted:
            log.write(f"{time.monotonic() - started:.6f}\n")
