"""Trains for ever, a step every so many seconds, and says each completed step. usage: steps.py SECONDS"""

import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import tensorflow as tf

strategy = tf.distribute.MultiWorkerMirroredStrategy()
with strategy.scope():
    step = tf.Variable(0, dtype=tf.int64, trainable=False)
checkpoint = tf.train.Checkpoint(step=step)


@tf.function
def train_step():
    step.assign_add(1)


done = 0
while True:
    train_step()
    done += 1
    os.write(1, b"%d\n" % done)
    time.sleep(float(sys.argv[1]))
