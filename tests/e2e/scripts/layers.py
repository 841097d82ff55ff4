"""A small MultiWorkerMirroredStrategy script with as many layers as it is told: restore, train, save every second step.

Knows nothing of lastgood. `--restore chief`: the chief alone restores, as scripts do that mean it well; outside or
inside `strategy.scope()`. `--share 1`: every worker saves into the chief's directory.
"""

import argparse
import contextlib
import json
import os

import tensorflow as tf

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--checkpoints", required=True)
parser.add_argument("--logs", required=True)
parser.add_argument("--steps", type=int, default=4)
parser.add_argument("--layers", type=int, default=2)
parser.add_argument("--restore", choices=("all", "chief", "chief-in-scope"), default="all")
parser.add_argument("--share", type=int, default=0)
arguments = parser.parse_args()

rank = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
strategy = tf.distribute.MultiWorkerMirroredStrategy()
os.makedirs(arguments.logs, exist_ok=True)


class Layer(tf.Module):
    def __init__(self, number):
        super().__init__()
        self.kernel = tf.Variable(tf.random.stateless_normal((4, 4), seed=[7, number]), name=f"layer{number}")


class Network(tf.Module):
    def __init__(self):
        super().__init__()
        self.layers = [Layer(number) for number in range(arguments.layers)]


with strategy.scope():
    network = Network()
    step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
local = tf.Variable(100 + rank, dtype=tf.int64, name="local")
checkpoint = tf.train.Checkpoint(network=network, step=step, local=local)
is_own = rank > 0 and not arguments.share
directory = os.path.join(arguments.checkpoints, f"workertemp_{rank}") if is_own else arguments.checkpoints
manager = tf.train.CheckpointManager(checkpoint, directory, max_to_keep=5)
with strategy.scope() if arguments.restore == "chief-in-scope" else contextlib.nullcontext():
    if arguments.restore == "all" or rank == 0:
        checkpoint.restore(tf.train.latest_checkpoint(arguments.checkpoints))


@tf.function
def train_step():
    summed = strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(lambda: tf.constant(0.5)), axis=None)
    for layer in network.layers:
        layer.kernel.assign_add(0.01 * summed * tf.ones((4, 4)))
    step.assign_add(1)


with open(os.path.join(arguments.logs, f"worker-{rank}.jsonl"), "a", buffering=1) as log:
    for number in range(int(step.numpy()) + 1, arguments.steps + 1):
        train_step()
        log.write(json.dumps({"event": "step", "step": number}) + "\n")
        if number % 2 == 0:
            manager.save()
            if is_own:
                tf.io.gfile.rmtree(directory)
