"""A MultiWorkerMirroredStrategy script as small as one can be, that ends in the way it is told to.

Start it once per worker with TF_CONFIG set. Each life appends its lines to LOGS/worker-N.jsonl. What `--once` is given
is done by worker 1 in the first life of the gang only: FILE is made then.
"""

import argparse
import json
import os
import time

ONCE = ("die-before-strategy", "sleep-before-strategy", "raise")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoints", required=True)
    parser.add_argument("--logs", required=True)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--save-every", type=int, default=1000)
    parser.add_argument("--pace", type=float, default=0.05, help="seconds that a step takes at least")
    parser.add_argument("--handler", action="store_true", help="save and leave by PreemptionCheckpointHandler")
    parser.add_argument("--once", choices=ONCE)
    parser.add_argument("--always-raise-at", type=int, default=0, help="worker 0 raises at this step, in each life")
    return parser.parse_args()


def is_first(arguments):
    """Whether this process is the one that does what `--once` says."""
    config = json.loads(os.environ["TF_CONFIG"])
    mark = os.path.join(arguments.logs, "once")
    if arguments.once is None or config["task"]["index"] != 1 or os.path.exists(mark):
        return False
    open(mark, "w").close()
    return True


def wait_for_peer(arguments):
    """Until worker 0 is about to make its strategy: from then on it waits for us."""
    while not os.path.exists(os.path.join(arguments.logs, "peer-waits")):
        time.sleep(0.01)
    time.sleep(0.5)


def main():
    arguments = parse_arguments()
    os.makedirs(arguments.logs, exist_ok=True)
    does_it = is_first(arguments)
    if does_it and arguments.once != "raise":
        wait_for_peer(arguments)
        if arguments.once == "die-before-strategy":
            raise SystemExit(3)
        time.sleep(600)

    import tensorflow as tf

    task_id = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
    if task_id == 0:
        open(os.path.join(arguments.logs, "peer-waits"), "w").close()
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    log = open(os.path.join(arguments.logs, f"worker-{task_id}.jsonl"), "ab", buffering=0)  # noqa: SIM115 - for life
    with strategy.scope():
        weight = tf.Variable(0.0, name="weight")
        step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
    checkpoint = tf.train.Checkpoint(weight=weight, step=step)
    directory = arguments.checkpoints
    if task_id != 0:
        directory = os.path.join(arguments.checkpoints, f"workertemp_{task_id}")
    manager = tf.train.CheckpointManager(checkpoint, directory, max_to_keep=5)
    checkpoint.restore(tf.train.latest_checkpoint(arguments.checkpoints))

    @tf.function
    def train_step():
        def of_replica():
            return tf.ones([]) * tf.cast(step.read_value() + 1, tf.float32)

        weight.assign_add(strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(of_replica), axis=None))
        step.assign_add(1)

    run = train_step
    if arguments.handler:
        handler = tf.distribute.experimental.PreemptionCheckpointHandler(strategy.cluster_resolver, manager)

        def run():
            handler.run(train_step)

    log.write(json.dumps({"event": "start", "step": int(step.numpy())}).encode() + b"\n")
    for number in range(int(step.numpy()) + 1, arguments.steps + 1):
        if does_it and number == 5:
            raise ValueError("worker 1 is broken")
        if task_id == 0 and number == arguments.always_raise_at:
            raise ValueError("the script is broken")
        run()
        log.write(json.dumps({"event": "step", "step": number, "weight": float(weight.numpy())}).encode() + b"\n")
        if number % arguments.save_every == 0:
            manager.save()
        time.sleep(arguments.pace)
    log.write(json.dumps({"event": "end", "step": int(step.numpy())}).encode() + b"\n")


if __name__ == "__main__":
    main()
