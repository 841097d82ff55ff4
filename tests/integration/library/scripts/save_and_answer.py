"""Real saves, real deaths in them, and what TensorFlow itself makes of directories of checkpoints. Talks JSON by lines.

ROOT gets one directory for each way to die, with two good saves in it. Each is a process of its own that dies in its
third save: killed by the kernel where a file may not grow any further, or by itself in place of what comes next.
First line: {directory: exit status or minus the signal}. Then one answer for each question:
{"latest": DIR}: what `latest_checkpoint` gives and what restoring that does. {"manage": DIR}: what a CheckpointManager
that keeps two believes, then what it leaves after one more save.
"""

import json
import logging
import os
import resource
import signal
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import tensorflow as tf
from tensorflow.python.ops import gen_io_ops

try:
    from tensorflow.python.checkpoint import checkpoint_management
except ImportError:
    from tensorflow.python.training import checkpoint_management

ROOT = sys.argv[1]
PART_BYTES = 8000  # of the 16 kB that the data has


def die_when_a_file_outgrows(size_bytes):
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, size_bytes))


def dying_in_the_data():
    die_when_a_file_outgrows(PART_BYTES)


def dying_in_the_final_index():
    """The parts are written; their merging renames the data and opens the final index."""
    merge = gen_io_ops.merge_v2_checkpoints

    def merged(*arguments, **options):
        die_when_a_file_outgrows(0)
        return merge(*arguments, **options)

    gen_io_ops.merge_v2_checkpoints = merged


def dying_before_the_state_file():
    checkpoint_management.update_checkpoint_state_internal = lambda *_, **__: os._exit(9)


def train(directory, prepare_to_die):
    step = tf.Variable(0, dtype=tf.int64)
    kernel = tf.Variable(tf.zeros([64, 64]))
    manager = tf.train.CheckpointManager(tf.train.Checkpoint(step=step, kernel=kernel), directory, max_to_keep=5)
    for number in (1, 2, 3):
        step.assign(10 * number)
        kernel.assign_add(tf.ones([64, 64]))
        if number == 3:
            prepare_to_die()
        manager.save()


def in_a_process(work, *arguments):
    """Forked before TensorFlow has made a context, which does not survive a fork."""
    process = os.fork()
    if process == 0:
        work(*arguments)
        os._exit(0)
    status = os.waitpid(process, 0)[1]
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


WAYS = {
    "sound": lambda: None,
    "killed_in_the_data": dying_in_the_data,
    "killed_in_the_final_index": dying_in_the_final_index,
    "killed_before_the_state_file": dying_before_the_state_file,
}
print(json.dumps({name: in_a_process(train, os.path.join(ROOT, name), way) for name, way in WAYS.items()}), flush=True)

tf.get_logger().setLevel(logging.CRITICAL)


def make():
    return tf.train.Checkpoint(step=tf.Variable(0, dtype=tf.int64), kernel=tf.Variable(tf.zeros([64, 64])))


def name_of_error(work):
    try:
        work()
    except Exception as error:
        return type(error).__name__
    return None


def ask_latest(directory):
    try:
        prefix = tf.train.latest_checkpoint(directory)
    except Exception as error:
        return {"outcome": "Raises", "prefix": None, "error": type(error).__name__, "restore": None}
    if prefix is None:
        return {"outcome": "None", "prefix": None, "error": None, "restore": None}
    restore = name_of_error(lambda: make().restore(prefix).assert_existing_objects_matched())
    return {"outcome": "Prefix", "prefix": prefix, "error": None, "restore": restore}


def ask_manager(directory):
    checkpoint = make()
    manager = tf.train.CheckpointManager(checkpoint, directory, max_to_keep=2)
    before = {"latest": manager.latest_checkpoint, "checkpoints": manager.checkpoints}
    checkpoint.restore(manager.latest_checkpoint).assert_existing_objects_matched()
    step = int(checkpoint.step.numpy())
    saved = manager.save()
    return {**before, "step": step, "saved": saved, "left": sorted(os.listdir(directory))}


for line in sys.stdin:
    question = json.loads(line)
    if "manage" in question:
        print(json.dumps(ask_manager(question["manage"])), flush=True)
    else:
        print(json.dumps(ask_latest(question["latest"])), flush=True)
