"""A script whose model keeps its layers in a list. usage: keeps_layers_in_a_list.py DIRECTORY"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import tensorflow as tf


class Net(tf.keras.Model):
    def __init__(self):
        super().__init__()
        self.blocks = [tf.keras.layers.Dense(4, name=f"block{number}") for number in range(2)]
        self.head = tf.keras.layers.Dense(1)

    def call(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(x)


strategy = tf.distribute.MultiWorkerMirroredStrategy()
with strategy.scope():
    net = Net()
    net(tf.zeros((1, 4)))
    more = tf.train.Checkpoint()
checkpoint = tf.train.Checkpoint(net=net, more=more)
manager = tf.train.CheckpointManager(checkpoint, sys.argv[1], max_to_keep=5)
manager.save()
manager.save()
with strategy.scope():
    more.w = tf.Variable([1.0, 2.0])
manager.save()
os._exit(0)
