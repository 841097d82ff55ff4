"""Learns to read handwritten digits on several workers: an ordinary MultiWorkerMirroredStrategy script.

Start it once per worker with TF_CONFIG set. It goes on from the newest checkpoint in `--checkpoints` where there is
one, and begins anew where there is none. Every step is a function of its number alone, so that two runs end alike.
"""

import argparse
import hashlib
import json
import os
import time

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

BATCH_PER_WORKER = 128
SEED = 7


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoints", required=True, help="directory of the checkpoints, the same for all workers")
    parser.add_argument("--logs", required=True, help="directory of the step logs and the final digests")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--save-every", type=int, default=20)
    parser.add_argument("--width", type=int, default=1280, help="units of the hidden layers")
    return parser.parse_args()


class StepLog:
    """What this process did, one line at a time, each of them written at once."""

    def __init__(self, path):
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115

    def write(self, *words):
        self._file.write((" ".join(str(word) for word in (*words, os.getpid())) + "\n").encode())


def sample_order(first_step, last_step, global_batch, samples):
    """Which samples each step learns from: an array [steps, global_batch]; every epoch is shuffled by its number."""
    first, last = first_step * global_batch, last_step * global_batch
    epochs = range(first // samples, last // samples + 1)
    order = np.concatenate([np.random.default_rng([SEED, epoch]).permutation(samples) for epoch in epochs])
    start = first - epochs[0] * samples
    return order[start : start + last - first].reshape(-1, global_batch)


def digests(variables):
    return {name: hashlib.sha256(variable.numpy().tobytes()).hexdigest() for name, variable in variables.items()}


def main():
    arguments = parse_arguments()
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    task_id = strategy.cluster_resolver.task_id or 0
    is_chief = task_id == 0
    os.makedirs(arguments.logs, exist_ok=True)
    log = StepLog(os.path.join(arguments.logs, f"steps-worker-{task_id}.log"))

    images, labels = load_digits(return_X_y=True)
    images = (images / 16.0).astype(np.float32)
    labels = labels.astype(np.int64)
    global_batch = BATCH_PER_WORKER * strategy.num_replicas_in_sync

    with strategy.scope():
        tf.keras.utils.set_random_seed(SEED)
        model = tf.keras.Sequential(
            [
                tf.keras.layers.Input((64,)),
                tf.keras.layers.Dense(arguments.width, activation="relu"),
                tf.keras.layers.Dense(arguments.width, activation="relu"),
                tf.keras.layers.Dense(10),
            ]
        )
        optimizer = tf.keras.optimizers.Adam(1e-4)
        optimizer.build(model.trainable_variables)
        step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        loss_of_samples = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="none")

    checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer, step=step)
    write_directory = arguments.checkpoints
    if not is_chief:
        write_directory = os.path.join(arguments.checkpoints, f"workertemp_{task_id}")
    manager = tf.train.CheckpointManager(checkpoint, write_directory, max_to_keep=5)

    latest = tf.train.latest_checkpoint(arguments.checkpoints)
    if latest:
        checkpoint.restore(latest)
    first_step = int(step.numpy())
    log.write("start", first_step)

    def load_shard(context):
        order = sample_order(first_step, arguments.steps, global_batch, len(images))
        shard = order[:, context.input_pipeline_id :: context.num_input_pipelines]
        return tf.data.Dataset.from_tensor_slices(shard).map(lambda i: (tf.gather(images, i), tf.gather(labels, i)))

    @tf.function
    def train_step(samples):
        def learn(x, y):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(loss_of_samples(y, model(x, training=True))) / global_batch
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply_gradients(zip(gradients, model.trainable_variables))
            return loss

        loss = strategy.run(learn, args=samples)
        step.assign_add(1)
        return strategy.reduce(tf.distribute.ReduceOp.SUM, loss, axis=None)

    before = [variable.numpy() for variable in model.variables]
    if first_step < arguments.steps:
        for samples in strategy.distribute_datasets_from_function(load_shard):
            number = int(step.numpy()) + 1
            if number == arguments.steps:
                before = [variable.numpy().copy() for variable in model.variables]
            started = time.monotonic()
            loss = train_step(samples)
            log.write("step", number, repr(float(loss)), f"{time.monotonic() - started:.4f}")
            if number % arguments.save_every == 0:
                manager.save()
                if not is_chief:
                    tf.io.gfile.rmtree(write_directory)

    moved = max(float(np.abs(variable.numpy() - old).max()) for variable, old in zip(model.variables, before))
    named = {f"model/{i}/{v.path}": v for i, v in enumerate(model.variables)}
    named.update({f"optimizer/{i}/{v.path}": v for i, v in enumerate(optimizer.variables)})
    result = {"step": int(step.numpy()), "moved_in_last_step": moved, "digests": digests(named)}
    path = os.path.join(arguments.logs, f"result-worker-{task_id}.json")
    with open(path + ".new", "w") as file:
        json.dump(result, file, indent=1)
    os.replace(path + ".new", path)
    print("finished at step", result["step"], flush=True)


if __name__ == "__main__":
    main()
