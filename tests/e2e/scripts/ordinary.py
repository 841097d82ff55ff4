"""An ordinary MultiWorkerMirroredStrategy script, as small as one can be: a custom loop, a manager, a directory.

Start it once per worker with TF_CONFIG set. It goes on from the newest checkpoint where there is one. Every step is a
function of its number and of the variables before it, so that two runs end alike; each step's digest goes to the log.
"""

import argparse
import hashlib
import json
import os
import time

import tensorflow as tf

SEED = 11
FEATURES = 16
RATE = 0.01
HOLD_TIMEOUT_S = 90.0


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoints", required=True, help="directory of the checkpoints, the same for all workers")
    parser.add_argument("--logs", required=True, help="directory of the step logs")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--save-every", type=int, default=5)
    parser.add_argument("--keep", type=int, default=1000, help="checkpoints that the manager keeps")
    parser.add_argument("--pace", type=float, default=0.0, help="seconds that a step takes at least")
    parser.add_argument("--hold-at", default="", help="wait after each of these steps, such as 20,40")
    parser.add_argument("--hold-until", default="", help="FILE: until FILE-20 exists, say")
    parser.add_argument("--ask", choices=("latest", "state"), default="latest", help="how to find the checkpoint")
    return parser.parse_args()


class Network(tf.Module):
    """Two layers with momentum."""

    def __init__(self):
        super().__init__()
        shapes = {"hidden": (FEATURES, 32), "output": (32, 1)}
        for index, (name, shape) in enumerate(shapes.items()):
            first = 0.2 * tf.random.stateless_normal(shape, seed=[SEED, index])
            setattr(self, name, tf.Variable(first, name=name))
            setattr(self, name + "_velocity", tf.Variable(tf.zeros(shape), trainable=False, name=name + "_velocity"))

    def loss(self, x):
        target = tf.reduce_sum(tf.sin(x), axis=1, keepdims=True)
        return tf.reduce_mean((tf.tanh(x @ self.hidden) @ self.output - target) ** 2)

    def learn(self, gradients):
        pairs = ((self.hidden, self.hidden_velocity), (self.output, self.output_velocity))
        for (variable, velocity), gradient in zip(pairs, gradients):
            velocity.assign(0.9 * velocity + gradient)
            variable.assign_sub(RATE * velocity)


class Log:
    """What this process did, one JSON object a line, each written at once."""

    def __init__(self, path):
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - for life

    def write(self, event, **more):
        line = {"event": event, "pid": os.getpid(), "at_s": time.time(), **more}
        self._file.write(json.dumps(line).encode() + b"\n")


def newest(arguments):
    """The prefix to restore, or None: by TensorFlow's own question, or by reading the state file itself."""
    if arguments.ask == "latest":
        return tf.train.latest_checkpoint(arguments.checkpoints)
    try:
        with open(os.path.join(arguments.checkpoints, "checkpoint")) as file:
            name = file.readline().split('"')[1]
    except OSError:
        return None
    return os.path.join(arguments.checkpoints, name)


def hold(path):
    deadline_s = time.monotonic() + HOLD_TIMEOUT_S
    while not os.path.exists(path) and time.monotonic() < deadline_s:
        time.sleep(0.02)


def digest(variables):
    return hashlib.sha256(b"".join(variable.numpy().tobytes() for variable in variables)).hexdigest()


def main():
    arguments = parse_arguments()
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    task_id = strategy.cluster_resolver.task_id or 0
    is_chief = task_id == 0
    os.makedirs(arguments.logs, exist_ok=True)
    log = Log(os.path.join(arguments.logs, f"worker-{task_id}.jsonl"))

    with strategy.scope():
        network = Network()
        step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
    checkpoint = tf.train.Checkpoint(network=network, step=step)
    write_directory = arguments.checkpoints
    if not is_chief:
        write_directory = os.path.join(arguments.checkpoints, f"workertemp_{task_id}")
    manager = tf.train.CheckpointManager(checkpoint, write_directory, max_to_keep=arguments.keep)

    prefix = newest(arguments)
    if prefix or arguments.ask == "state":
        checkpoint.restore(prefix)
    log.write("start", step=int(step.numpy()), asked=prefix)

    @tf.function
    def gradients(number):
        def of_replica():
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            x = tf.random.stateless_normal((8, FEATURES), seed=tf.stack([number, tf.cast(replica, tf.int64)]))
            with tf.GradientTape() as tape:
                loss = network.loss(x)
            return tape.gradient(loss, [network.hidden, network.output])

        return [strategy.reduce(tf.distribute.ReduceOp.SUM, each, axis=None) for each in strategy.run(of_replica)]

    @tf.function
    def train_step():
        network.learn(gradients(step.read_value()))
        step.assign_add(1)

    variables = [network.hidden, network.hidden_velocity, network.output, network.output_velocity]
    for number in range(int(step.numpy()) + 1, arguments.steps + 1):
        due_s = time.monotonic() + arguments.pace
        train_step()
        log.write("step", step=number, digest=digest(variables))
        if number % arguments.save_every == 0:
            saved = manager.save()
            log.write("saved", step=number, prefix=saved)
            if not is_chief:
                tf.io.gfile.rmtree(write_directory)
        if str(number) in arguments.hold_at.split(","):
            hold(f"{arguments.hold_until}-{number}")
        time.sleep(max(0.0, due_s - time.monotonic()))
    log.write("end", step=int(step.numpy()), digest=digest(variables))
    print(f"finished at step {int(step.numpy())}", flush=True)


if __name__ == "__main__":
    main()
