"""Live variables by path, and values that no two of them share."""

import numpy as np
import tensorflow as tf

import lastgood.tf
from lastgood.explanation.described import paths_of
from lastgood.explanation.live import local_replicas


class Counter:
    def __init__(self):
        self.next = 1

    def fill(self, variables):
        """Gives each variable values that no other has."""
        for one in variables:
            first = local_replicas(one)[0]
            size = int(np.prod(first.shape.as_list() or [1]))
            values = np.arange(self.next, self.next + size).reshape(first.shape.as_list())
            self.next += size
            one.assign(tf.cast(values, first.dtype))


def variables_of(checkpoint_object):
    """Live variables by path."""
    description = lastgood.tf._Describer(tf, checkpoint_object, False)
    found = description.run()
    paths = {}
    for number, path in paths_of(found.graph).items():
        live = description._objects[number]
        if local_replicas(live):
            paths[path] = live
    return paths


def value_of(live):
    return local_replicas(live)[0].numpy().tolist()
