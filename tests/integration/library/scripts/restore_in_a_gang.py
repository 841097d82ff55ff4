"""A gang of two workers saves; worker 1 explains the restore, alone, and then both do it.

Run by an interpreter with TensorFlow, with the clone on PYTHONPATH: `python restore_in_a_gang.py FOLDER`. Starts itself
once per worker. Each writes FOLDER/INDEX.json: what the variables held before and after, and worker 1's predictions.
"""

import json
import os
import socket
import subprocess
import sys

FOLDER = sys.argv[1]


def start_gang():
    sockets = [socket.socket() for _ in range(2)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    addresses = ["127.0.0.1:{}".format(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    workers = []
    for index in range(2):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = dict(os.environ, TF_CONFIG=json.dumps(task), TF_CPP_MIN_LOG_LEVEL="3")
        workers.append(subprocess.Popen([sys.executable, __file__, FOLDER], env=environment))
    return max(worker.wait() for worker in workers)


def work():
    import tensorflow as tf

    import lastgood.tf

    index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
    make = getattr(tf.distribute, "MultiWorkerMirroredStrategy", None)
    strategy = (make or tf.distribute.experimental.MultiWorkerMirroredStrategy)()
    with strategy.scope():
        mirrored = tf.Variable(tf.ones([4]), name="mirrored")
        total = tf.Variable(
            0.0,
            name="total",
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.SUM,
        )
    own = tf.Variable([100.0 + index] * 4, name="own")

    @tf.function
    def step():
        def in_replica():
            total.assign_add(5.0)
            return tf.distribute.get_replica_context().all_reduce("sum", tf.constant(1.0))

        return strategy.run(in_replica)

    def values():
        return {"mirrored": mirrored.values[0].numpy().tolist(), "total": float(total.values[0]), "own": float(own[0])}

    step()
    checkpoint = tf.train.Checkpoint(mirrored=mirrored, total=total, own=own)
    checkpoint.save(os.path.join(FOLDER, "chief" if index == 0 else "other", "ckpt"))
    step()  # nobody is past this before the chief has saved
    prefix = os.path.join(FOLDER, "chief", "ckpt-1")
    before = values()
    explanation = lastgood.tf.explain(checkpoint, prefix) if index == 1 else None
    checkpoint.restore(prefix)
    told = [] if explanation is None else explanation.predictions
    document = {
        "before": before,
        "after": values(),
        "predictions": {one.key: [one.outcome.value, one.reason] for one in told},
    }
    with open(os.path.join(FOLDER, "{}.json".format(index)), "w") as file:
        json.dump(document, file)
    step()  # and leaves together


if __name__ == "__main__":
    if "TF_CONFIG" in os.environ:
        work()
    else:
        sys.exit(start_gang())
