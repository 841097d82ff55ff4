"""The ordinary script on a machine whose file system hands worker 1 the bytes of the checkpoint before the asked one.

The fault lies below everything that decides what to restore: in the operation that reads tensors from a prefix.
"""

import json
import os
import re

import ordinary
import tensorflow as tf
from tensorflow.python.ops import io_ops

_read = io_ops.restore_v2


def _one_back(prefix):
    name = tf.get_static_value(prefix).decode()
    return re.sub(r"-(\d+)$", lambda number: f"-{int(number[1]) - 1}", name)


def _read_stale(prefix, *arguments, **options):
    return _read(_one_back(prefix), *arguments, **options)


if json.loads(os.environ["TF_CONFIG"])["task"]["index"] == 1:
    io_ops.restore_v2 = _read_stale
ordinary.main()
