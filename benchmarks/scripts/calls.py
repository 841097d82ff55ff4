"""Calls a function that does next to nothing, many times, and a training step of an ordinary size a few times.

Appends to LOG/worker-0.log: the CPU time of the calling thread per small call, and the time of one training step, both
in seconds. Knows nothing of lastgood.
"""

import argparse
import os
import statistics
import time

import tensorflow as tf

parser = argparse.ArgumentParser()
parser.add_argument("--directory", required=True, help="for checkpoints")
parser.add_argument("--log", required=True)
parser.add_argument("--rounds", type=int, default=15)
parser.add_argument("--calls", type=int, default=2000, help="in one round")
options = parser.parse_args()

strategy = tf.distribute.MultiWorkerMirroredStrategy()
with strategy.scope():
    weights = tf.Variable(tf.random.normal((1024, 1024)) / 32.0)
    step = tf.Variable(0, dtype=tf.int64, trainable=False)
checkpoint = tf.train.Checkpoint(weights=weights, step=step)
checkpoint.restore(tf.train.latest_checkpoint(options.directory))
images = tf.random.normal((512, 1024))


@tf.function
def small(value):
    return value + 1.0


@tf.function
def train_step():
    def on_replica():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((images @ weights) ** 2)
        weights.assign_sub(1e-3 * tape.gradient(loss, weights))
        return loss

    loss = strategy.run(on_replica)
    step.assign_add(1)
    return loss


def cpu_per_call_s():
    one = tf.constant(1.0)
    started = time.thread_time()
    for _ in range(options.calls):
        small(one)
    return (time.thread_time() - started) / options.calls


def step_s():
    started = time.monotonic()
    float(train_step())
    return time.monotonic() - started


train_step()
cpu_per_call_s()
os.makedirs(options.log, exist_ok=True)
cpu = statistics.median(cpu_per_call_s() for _ in range(options.rounds))
whole = statistics.median(step_s() for _ in range(30))
with open(os.path.join(options.log, "worker-0.log"), "a") as log:
    log.write(f"{cpu:.9f} {whole:.9f}\n")
