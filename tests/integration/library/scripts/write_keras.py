"""Writes Keras files with the Keras at hand, and prints as JSON what the model's variables hold.

    write_keras.py FOLDER

Writes model.keras, model.weights.h5, half.keras (bfloat16 weights), legacy.h5 and shards.weights.json.
"""

import hashlib
import json
import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras
import numpy as np

os.chdir(sys.argv[1])
keras.utils.set_random_seed(1)
layers = [keras.layers.Input((4,)), keras.layers.Dense(3, name="first"), keras.layers.BatchNormalization()]
model = keras.Sequential(layers)
model.compile("adam", "mse")
model.fit(np.ones((8, 4)), np.ones((8, 3)), verbose=0)
model.save("model.keras")
model.save_weights("model.weights.h5")
model.save("legacy.h5")
model.save_weights("shards.weights.json", max_shard_size=0.0001)
half = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3, dtype="bfloat16", name="half")])
half.save("half.keras")


def rows(variables):
    """[dtype, shape, SHA-256 of the bytes] of each, sorted."""
    values = [np.ascontiguousarray(keras.ops.convert_to_numpy(variable)) for variable in variables]
    shapes = [list(variable.shape) for variable in variables]
    digests = [hashlib.sha256(value.tobytes()).hexdigest() for value in values]
    return sorted([value.dtype.name, shape, digest] for value, shape, digest in zip(values, shapes, digests))


print(json.dumps({"model": rows(model.variables + model.optimizer.variables), "half": rows(half.variables)}))
