"""Runs another training script, and makes worker 1 restore an older checkpoint than the one it was given.

It does so beneath `TrackableSaver.restore`, as a stale cache of a file system would: everybody above is told that the
restore went well. Usage: restores_behind.py OLDER_PREFIX SCRIPT ARGS...
"""

import json
import os
import runpy
import sys

older, script = sys.argv[1], sys.argv[2]
sys.argv = sys.argv[2:]

if json.loads(os.environ["TF_CONFIG"])["task"]["index"] == 1:
    import tensorflow as tf
    from tensorflow.python.checkpoint import checkpoint

    honest = checkpoint._CheckpointRestoreCoordinator.__init__

    def restore_the_older_one(self, *positional, **named):
        named["save_path"] = older
        named["save_path_tensor"] = tf.constant(older)
        named["reader"] = tf.train.load_checkpoint(older)
        honest(self, *positional, **named)

    checkpoint._CheckpointRestoreCoordinator.__init__ = restore_the_older_one

runpy.run_path(script, run_name="__main__")
