"""An ordinary Keras 2 script: fit with BackupAndRestore under MultiWorkerMirroredStrategy, and nothing else.

Start it once per worker with TF_CONFIG set. What each process did goes to its log, one JSON object a line.
"""

import argparse
import hashlib
import json
import os
import time

import tensorflow as tf

HOLD_TIMEOUT_S = 90.0


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backup", required=True, help="directory of BackupAndRestore")
    parser.add_argument("--logs", required=True, help="directory of the logs")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--hold-at", type=int, default=-1, help="wait before this epoch")
    parser.add_argument("--hold-until", default="", help="until this file exists")
    return parser.parse_args()


class Note(tf.keras.callbacks.Callback):
    """Writes down which epochs were trained, and waits where it is told to."""

    def __init__(self, path, arguments):
        super().__init__()
        self._path = path
        self._arguments = arguments

    def on_epoch_begin(self, epoch, logs=None):
        deadline_s = time.monotonic() + HOLD_TIMEOUT_S
        while epoch == self._arguments.hold_at and not os.path.exists(self._arguments.hold_until):
            if time.monotonic() > deadline_s:
                break
            time.sleep(0.02)

    def on_epoch_end(self, epoch, logs=None):
        self.write(epoch=epoch)

    def on_train_end(self, logs=None):
        content = b"".join(variable.numpy().tobytes() for variable in self.model.variables)
        self.write(digest=hashlib.sha256(content).hexdigest())

    def write(self, **line):
        with open(self._path, "a") as file:
            file.write(json.dumps({"pid": os.getpid(), **line}) + "\n")


def main():
    arguments = parse_arguments()
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    tf.keras.utils.set_random_seed(5)
    with strategy.scope():
        layers = [tf.keras.layers.Dense(8, activation="tanh", input_shape=(4,)), tf.keras.layers.Dense(1)]
        model = tf.keras.Sequential(layers)
        model.compile(tf.keras.optimizers.Adam(0.01), "mse")
    x = tf.random.stateless_normal((32, 4), seed=[1, 2])
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    numbers = tf.data.Dataset.from_tensor_slices((x, tf.reduce_sum(x, 1, keepdims=True))).batch(8).with_options(options)
    os.makedirs(arguments.logs, exist_ok=True)
    note = Note(os.path.join(arguments.logs, f"worker-{strategy.cluster_resolver.task_id}.jsonl"), arguments)
    backup = tf.keras.callbacks.BackupAndRestore(arguments.backup)
    model.fit(numbers, epochs=arguments.epochs, callbacks=[backup, note], verbose=0)


if __name__ == "__main__":
    main()
