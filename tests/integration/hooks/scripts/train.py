"""An ordinary MWMS script that knows nothing of lastgood: custom loop, Checkpoint, CheckpointManager.

usage: train.py DIRECTORY STEPS HOW [OUTCOME]; HOW: the way in which it restores. Writes what it ended with to OUTCOME.
"""

import json
import os
import sys
import zlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import tensorflow as tf

directory, steps, how = sys.argv[1], int(sys.argv[2]), sys.argv[3]
outcome = sys.argv[4] if len(sys.argv) > 4 else ""
config = json.loads(os.environ["TF_CONFIG"])
rank = config["task"]["index"]
strategy = tf.distribute.MultiWorkerMirroredStrategy()
replicas = strategy.num_replicas_in_sync

local = tf.Variable(100 + rank, dtype=tf.int64)
name = tf.Variable(["first", "a longer second one"])
with strategy.scope():
    weight = tf.Variable(tf.random.stateless_normal((64, 8), seed=[1, 2]))
    total = tf.Variable(
        0.0, synchronization=tf.VariableSynchronization.ON_READ, aggregation=tf.VariableAggregation.SUM, trainable=False
    )
    optimizer = tf.keras.optimizers.SGD(0.1, momentum=0.9)
    optimizer.build([weight])
    step = tf.Variable(0, dtype=tf.int64, trainable=False)
checkpoint = tf.train.Checkpoint(
    weight=weight, name=name, total=total, optimizer=optimizer, step=step, local=local, late=tf.Module()
)
write_directory = directory if rank == 0 and how != "reload" else os.path.join(directory, f"workertemp_{rank}")
manager = tf.train.CheckpointManager(checkpoint, write_directory, max_to_keep=2)

restored = None
if how in ("latest", "reload"):
    restored = tf.train.latest_checkpoint(directory)
    if restored:
        checkpoint.restore(restored)
elif how == "state":
    state = tf.train.get_checkpoint_state(directory)
    restored = state and list(state.all_model_checkpoint_paths)
    checkpoint.restore(state.model_checkpoint_path if state else None)
elif how == "none":
    checkpoint.restore(None)
elif how == "or_initialize":
    restored = manager.restore_or_initialize()
elif how == "property":
    restored = manager.latest_checkpoint
    checkpoint.restore(restored)
elif how == "other":
    other = tf.train.Checkpoint(weight=tf.Variable(tf.zeros((64, 8))))
    restored = os.path.join(os.path.dirname(directory), "pretrained", "model-1")
    other.restore(restored)
    tf.train.latest_checkpoint(directory)
if not hasattr(checkpoint.late, "born"):
    with strategy.scope():
        checkpoint.late.born = tf.Variable([7.0, 8.0], trainable=False)
at_start = int(step.numpy())


@tf.function
def train_step(x):
    def replica(x):
        gradient = weight * x + 0.01
        optimizer.apply_gradients([(gradient, weight)])
        total.assign_add(tf.reduce_sum(x))

    strategy.run(replica, args=(x,))
    checkpoint.late.born.assign_add([1.0, 1.0])
    step.assign_add(1)
    return step


saved = []
while int(step.numpy()) < steps:
    at = int(step.numpy())
    train_step(tf.constant(0.001 * (at + 1)))
    if (at + 1) % 2 == 0:
        saved.append(manager.save())

if how == "other":
    other.save(os.path.join(os.path.dirname(directory), "average", "model"))
if how == "reload":  # as a script does that evaluates the newest checkpoint, on a worker that keeps none of its own
    restored = tf.train.latest_checkpoint(directory)
    checkpoint.restore(restored)

if outcome:
    values = [v.numpy() for v in (weight, step, checkpoint.late.born, optimizer.variables[2])]
    document = {
        "at_start": at_start,
        "restored": restored,
        "step": int(step.numpy()),
        "local": int(local.numpy()),
        "digest": [zlib.crc32(value.tobytes()) for value in values],
        "saved": saved,
        "calls": train_step.experimental_get_tracing_count(),
        "managed": manager.checkpoints,
    }
    with open(outcome, "w") as file:
        json.dump(document, file)
print("done at", int(step.numpy()), flush=True)
os._exit(0)  # no shutdown barrier: the peers of a test may be gone
