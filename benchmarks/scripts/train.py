"""An ordinary MultiWorkerMirroredStrategy training that knows nothing of lastgood.

Appends `pid step seconds` to LOG/worker-I.log after each step, on the machine's monotonic clock, which all processes
share.
"""

import argparse
import json
import os
import time

import tensorflow as tf

parser = argparse.ArgumentParser()
parser.add_argument("--directory", required=True, help="for checkpoints")
parser.add_argument("--log", required=True, help="folder for the step logs")
parser.add_argument("--steps", type=int, required=True)
parser.add_argument("--save-every", type=int, default=10)
parser.add_argument("--width", type=int, default=256)
parser.add_argument("--batch", type=int, default=64)
options = parser.parse_args()

index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
strategy = tf.distribute.MultiWorkerMirroredStrategy()
with strategy.scope():
    tf.keras.utils.set_random_seed(7)
    model = tf.keras.Sequential(
        [
            tf.keras.layers.Input((64,)),
            tf.keras.layers.Dense(options.width, activation="relu"),
            tf.keras.layers.Dense(options.width, activation="relu"),
            tf.keras.layers.Dense(10),
        ]
    )
    optimizer = tf.keras.optimizers.Adam(1e-3)
    optimizer.build(model.trainable_variables)
    step = tf.Variable(0, dtype=tf.int64, trainable=False)
    loss_of = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="none")

checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer, step=step)
own = options.directory if index == 0 else os.path.join(options.directory, f"workertemp_{index}")
manager = tf.train.CheckpointManager(checkpoint, own, max_to_keep=3)
latest = tf.train.latest_checkpoint(options.directory)
if latest:
    checkpoint.restore(latest)


@tf.function
def train_step(images, labels):
    def on_replica(images, labels):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(loss_of(labels, model(images, training=True)))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        return loss

    loss = strategy.run(on_replica, args=(images, labels))
    step.assign_add(1)
    return strategy.reduce(tf.distribute.ReduceOp.SUM, loss, axis=None)


def batch_of(number):
    images = tf.random.stateless_normal((options.batch, 64), seed=[number, 3])
    return images, tf.random.stateless_uniform((options.batch,), seed=[number, 4], maxval=10, dtype=tf.int64)


def dataset(context):
    first = int(step.numpy())
    numbers = tf.data.Dataset.range(first, options.steps)
    return numbers.map(lambda n: batch_of(n * context.num_input_pipelines + context.input_pipeline_id))


os.makedirs(options.log, exist_ok=True)
with open(os.path.join(options.log, f"worker-{index}.log"), "a", buffering=1) as log:
    for images, labels in strategy.distribute_datasets_from_function(dataset):
        float(train_step(images, labels))
        number = int(step.numpy())
        log.write(f"{os.getpid()} {number} {time.monotonic():.6f}\n")
        if number % options.save_every == 0:
            manager.save()
