"""Ordinary one-worker scripts that know nothing of lastgood, each saving and restoring in its own way.

usage: ways.py WAY DIRECTORY OUTCOME. Trains STEPS steps in all and writes what it ended with to OUTCOME.
"""

import json
import os
import subprocess
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import tensorflow as tf

STEPS = 4


class Net(tf.Module):
    """One matrix, and what a step adds to it."""

    def __init__(self):
        super().__init__()
        self.weight = tf.Variable(tf.ones((4, 3)))

    @tf.function
    def train_step(self, step):
        self.weight.assign_add(0.5 * self.weight)
        step.assign_add(1)


def custom_loop(strategy, directory, options=None, every=None, net=None):
    """A loop with a manager, as in the guide."""
    with strategy.scope():
        net = net or Net()
        step = tf.Variable(0, dtype=tf.int64, trainable=False)
    checkpoint = tf.train.Checkpoint(net=net, step=step)
    manager = tf.train.CheckpointManager(checkpoint, directory, max_to_keep=3)
    restored = manager.restore_or_initialize()
    at_start = int(step.numpy())
    while int(step.numpy()) < STEPS:
        net.train_step(step)
        if options is None:
            manager.save()
        else:
            manager.save(options=options)
        if every:
            every(net, int(step.numpy()))
    if options is not None:
        manager.sync()
    return {
        "at_start": at_start,
        "restored": restored,
        "weight": float(net.weight.numpy()[0, 0]),
        "step": int(step.numpy()),
    }


def gang(directory):
    return custom_loop(tf.distribute.MultiWorkerMirroredStrategy(), directory)


def mirrored(directory):
    return custom_loop(tf.distribute.MirroredStrategy(["/cpu:0"]), directory)


def one_device(directory):
    return custom_loop(tf.distribute.OneDeviceStrategy("/cpu:0"), directory)


def no_strategy(directory):
    return custom_loop(tf.distribute.get_strategy(), directory)


def in_the_background(directory):
    options = tf.train.CheckpointOptions(experimental_enable_async_checkpoint=True)
    return custom_loop(tf.distribute.MultiWorkerMirroredStrategy(), directory, options)


def with_exports(directory):
    """A SavedModel at each second step, and one of them is loaded again."""

    def export(net, step):
        if step % 2 == 0:
            tf.saved_model.save(net, os.path.join(directory, "export", str(step)))

    outcome = custom_loop(tf.distribute.MultiWorkerMirroredStrategy(), directory, every=export)
    loaded = tf.saved_model.load(os.path.join(directory, "export", str(STEPS)))
    return {**outcome, "loaded": float(loaded.weight.numpy()[0, 0])}


def fine_tuning(directory):
    """Weights that somebody else has trained are restored before anything of the job's own is made."""
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    with strategy.scope():
        net = Net()
    tf.train.Checkpoint(net=net).restore(os.path.join(directory, "pretrained", "model-1")).expect_partial()
    before = float(net.weight.numpy()[0, 0])
    return {**custom_loop(strategy, os.path.join(directory, "own"), net=net), "before": before}


def fine_tuning_from_the_newest(directory):
    """The same, from whatever is the newest there: that of a whole job, with a step of its own."""
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    with strategy.scope():
        net = Net()
    pretrained = tf.train.latest_checkpoint(os.path.join(directory, "pretrained"))
    tf.train.Checkpoint(net=net).restore(pretrained).expect_partial()
    before = float(net.weight.numpy()[0, 0])
    return {**custom_loop(strategy, os.path.join(directory, "own"), net=net), "before": before}


def write_and_read(directory):
    """Checkpoint.write and read, which number nothing and keep no state file."""
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    with strategy.scope():
        net = Net()
        step = tf.Variable(0, dtype=tf.int64, trainable=False)
    checkpoint = tf.train.Checkpoint(net=net, step=step)
    prefix = os.path.join(directory, "model")
    if os.path.exists(prefix + ".index"):
        checkpoint.read(prefix)
    at_start = int(step.numpy())
    for _ in range(STEPS):
        net.train_step(step)
        checkpoint.write(prefix)
    return {"at_start": at_start, "weight": float(net.weight.numpy()[0, 0]), "step": int(step.numpy())}


def with_a_reader(directory):
    """Another process evaluates what the first one has saved."""
    code = (
        "import sys, tensorflow as tf; v = tf.Variable(tf.zeros((4, 3))); net = tf.Module(); net.weight = v\n"
        "tf.train.Checkpoint(net=net).restore(tf.train.latest_checkpoint(sys.argv[1])).expect_partial()\n"
        "print(float(v[0, 0]))"
    )
    outcome = gang(directory)
    done = subprocess.run([sys.executable, "-c", code, directory], stdout=subprocess.PIPE, check=True)
    return {**outcome, "read": float(done.stdout.split()[-1])}


def keras_model():
    model = tf.keras.Sequential([tf.keras.layers.Dense(1, kernel_initializer="ones", input_shape=(3,))])
    model.compile("sgd", "mse")
    return model


def numbers():
    return tf.data.Dataset.from_tensors((tf.ones((2, 3)), tf.zeros((2, 1)))).repeat(2)


def keras_weights(directory):
    """save_weights in TensorFlow's format, with the epoch in the name, and the newest one loaded at the start."""
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    with strategy.scope():
        model = keras_model()
    latest = tf.train.latest_checkpoint(directory)
    at_start = 0
    if latest:
        model.load_weights(latest)
        at_start = int(os.path.basename(latest).split("-")[1].split(".")[0])
    save = tf.keras.callbacks.ModelCheckpoint(os.path.join(directory, "cp-{epoch:04d}.ckpt"), save_weights_only=True)
    model.fit(numbers(), epochs=STEPS, initial_epoch=at_start, callbacks=[save], verbose=0)
    return {"at_start": at_start, "restored": latest, "weight": float(model.weights[0].numpy()[0, 0])}


def fit(directory):
    """Nothing but fit."""
    with tf.distribute.MultiWorkerMirroredStrategy().scope():
        model = keras_model()
    model.fit(numbers(), epochs=STEPS, verbose=0)
    return {}


def backup_and_restore(directory):
    """fit with BackupAndRestore; with `stop` in the directory it ends in the middle, as a killed one does."""
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    with strategy.scope():
        model = keras_model()
    callbacks = (
        getattr(tf.keras.callbacks, "BackupAndRestore", None) or tf.keras.callbacks.experimental.BackupAndRestore
    )
    epochs = []

    class Note(tf.keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2 and os.path.exists(os.path.join(directory, "stop")):
                os._exit(0)
            epochs.append(epoch)

    model.fit(numbers(), epochs=STEPS, callbacks=[callbacks(os.path.join(directory, "backup")), Note()], verbose=0)
    return {"epochs": epochs, "weight": float(model.weights[0].numpy()[0, 0])}


def keras_files(directory):
    """Keras' own files beside checkpoints."""
    weights, archive = os.path.join(directory, "w.weights.h5"), os.path.join(directory, "m.keras")
    outcome = custom_loop(tf.distribute.get_strategy(), directory)
    model = keras_model()
    model.save_weights(weights)
    model.save(archive)
    model.load_weights(weights)
    return outcome


def sessions(directory):
    """A graph, a session and tf.compat.v1.train.Saver."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        step = tf.compat.v1.train.get_or_create_global_step()
        weight = tf.compat.v1.get_variable("w", initializer=tf.ones((4, 3)))
        train = tf.group(weight.assign_add(0.5 * weight), step.assign_add(1))
        saver = tf.compat.v1.train.Saver(max_to_keep=3)
        latest = tf.train.latest_checkpoint(directory)
        session.run(tf.compat.v1.global_variables_initializer())
        if latest:
            saver.restore(session, latest)
        at_start = int(session.run(step))
        while int(session.run(step)) < STEPS:
            session.run(train)
            saver.save(session, os.path.join(directory, "model.ckpt"), global_step=step)
        return {"at_start": at_start, "restored": latest, "weight": float(session.run(weight)[0, 0])}


def estimator(directory):
    """An Estimator, which goes on from its own directory."""

    def model_fn(features, labels, mode):
        weight = tf.compat.v1.get_variable("w", initializer=tf.ones((3, 1)))
        loss = tf.reduce_mean((tf.matmul(features, weight) - labels) ** 2)
        step = tf.compat.v1.train.get_global_step()
        train = tf.compat.v1.train.GradientDescentOptimizer(0.1).minimize(loss, global_step=step)
        return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train)

    config = tf.estimator.RunConfig(model_dir=directory, save_checkpoints_steps=1)
    trained = tf.estimator.Estimator(model_fn, config=config)
    before = trained.latest_checkpoint()
    trained.train(lambda: numbers().repeat(), max_steps=STEPS)
    return {"restored": before, "step": int(trained.get_variable_value("global_step"))}


def parameter_server(directory):
    """Parameter servers on this machine."""
    cluster = tf.train.ClusterSpec({"ps": ["127.0.0.1:1"], "worker": ["127.0.0.1:2"], "chief": ["127.0.0.1:3"]})
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(cluster, task_type="chief", rpc_layer="grpc")
    make = getattr(tf.distribute, "ParameterServerStrategy", None)
    (make or tf.distribute.experimental.ParameterServerStrategy)(resolver)


def tpu(directory):
    tf.distribute.TPUStrategy(tf.distribute.cluster_resolver.SimpleClusterResolver(tf.train.ClusterSpec({})))


if __name__ == "__main__":
    way, where, result = sys.argv[1:]
    found = globals()[way](where)
    with open(result, "w") as file:
        json.dump(found, file)
    os._exit(0)  # no shutdown barrier of a gang
