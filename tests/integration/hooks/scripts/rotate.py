"""Saves again and again with a manager that keeps few. usage: rotate.py DIRECTORY KEEP SAVES MEGABYTES [NUMBERS]

NUMBERS: the numbers of the saves, such as 1,2,3,2 after a rollback; by default 1, 2, 3...; "background": those that
a manager finds itself which saves in the background. Prints what failed.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import tensorflow as tf

directory, keep, saves, megabytes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
word = sys.argv[5] if len(sys.argv) > 5 else ""
in_background = word == "background"
numbers = [int(each) for each in word.split(",")] if word[:1].isdigit() else range(1, saves + 1)
options = tf.train.CheckpointOptions(experimental_enable_async_checkpoint=True) if in_background else None
strategy = tf.distribute.MultiWorkerMirroredStrategy()
with strategy.scope():
    weight = tf.Variable(tf.zeros([int(megabytes * (1 << 18))]))
    step = tf.Variable(0, dtype=tf.int64, trainable=False)
checkpoint = tf.train.Checkpoint(weight=weight, step=step)
manager = tf.train.CheckpointManager(checkpoint, directory, max_to_keep=keep)
manager.restore_or_initialize()
for number in numbers:
    weight.assign_add(tf.ones_like(weight))
    step.assign_add(1)
    try:
        if in_background:
            manager.save(options=options)
            checkpoint.sync()
        else:
            manager.save(checkpoint_number=number)
    except tf.errors.OpError as error:
        print("failed:", number, type(error).__name__, flush=True)
print("managed:", [os.path.basename(prefix) for prefix in manager.checkpoints], flush=True)
os._exit(0)
