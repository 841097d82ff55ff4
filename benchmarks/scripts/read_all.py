"""Writes a checkpoint of 1.07 GB; then, for each line that comes in, reads every tensor of it and prints the seconds.

Knows nothing of lastgood.
"""

import argparse
import sys
import time

import numpy as np
import tensorflow as tf

TENSORS, ROWS, COLUMNS = 64, 4096, 1024


class Model(tf.Module):
    """A list of variables with values that no compression could guess."""

    def __init__(self) -> None:
        super().__init__()
        generator = np.random.default_rng(1)
        self.weights = [
            tf.Variable(generator.standard_normal((ROWS, COLUMNS), dtype=np.float32)) for _ in range(TENSORS)
        ]


def read_all(prefix: str) -> float:
    """The seconds that reading every tensor takes, the object graph too."""
    started_s = time.perf_counter()
    reader = tf.train.load_checkpoint(prefix)
    for key in reader.get_variable_to_shape_map():
        reader.get_tensor(key)
    return time.perf_counter() - started_s


def main() -> None:
    """Serves until its input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("prefix")
    prefix = parser.parse_args().prefix
    tf.train.Checkpoint(model=Model()).write(prefix)
    print("written", flush=True)
    for _ in sys.stdin:
        print(read_all(prefix), flush=True)


if __name__ == "__main__":
    main()
