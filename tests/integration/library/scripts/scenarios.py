"""Every way in which a restore goes wrong in silence, and some that go right: what is saved, and into what it goes.

A scenario is a function that makes a `Case`; `restores.py` explains it, does it, and compares.
"""

import os
import pathlib
import sys
import types

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import tensorflow as tf
from live_values import Counter

import lastgood.tf
from lastgood.explanation.live import local_replicas

FOLDER = sys.argv[1]
SCENARIOS = {}
KEPT = []
KERAS3 = hasattr(tf.keras, "version") and tf.keras.version().startswith("3")


def scenario(function):
    SCENARIOS[function.__name__] = function
    return function


class Case:
    """What a scenario hands over.

    save: the object to save; None: prefix says what is restored. restore: the object to restore into.
    rightful: by path of a variable the key of the value that it ought to have; "" where none is.
    later: called after the restore; gives objects that were born then, by path.
    same: (path of a saved variable, path of a live one) that holds the same value before the restore.
    """

    def __init__(self, save, restore, rightful=None, later=None, prefix=None, trained=(), watch=None, same=()):
        self.save, self.restore, self.rightful, self.later = save, restore, rightful or {}, later
        self.prefix, self.trained, self.watch, self.same = prefix, trained, watch or {}, same


def variable(name, shape=(4,), dtype=tf.float32):
    return tf.Variable(tf.zeros(shape, dtype), name=name)


def checkpoint(**things):
    return tf.train.Checkpoint(**things)


@scenario
def the_same_again():
    def make():
        return checkpoint(net=checkpoint(a=variable("a"), b=[variable("b"), variable("c")]))

    return Case(make(), make())


@scenario
def a_list_in_another_order():
    """A custom loop's list of variables."""
    saved = checkpoint(variables=[variable("a"), variable("b"), variable("c", (2,))])
    live = checkpoint(variables=[variable("b"), variable("a"), variable("c", (2,))])
    return Case(saved, live, {"variables/0": "variables/1", "variables/1": "variables/0"})


@scenario
def layers_of_a_sequential_change_places():
    def model(names):
        made = tf.keras.Sequential([tf.keras.layers.Dense(4, name=name) for name in names])
        made.build((None, 4))
        return checkpoint(model=made)

    return Case(model(["first", "second"]), model(["second", "first"]), "swap layers")


@scenario
def equal_names_under_a_name_scope():
    def make():
        made = []
        for _ in range(2):
            with tf.name_scope("scope"):
                made.append(variable("w"))
        return checkpoint(x=made[0], y=made[1])

    return Case(make(), make())


@scenario
def renamed_variables():
    return Case(checkpoint(x=variable("old")), checkpoint(x=variable("new")))


@scenario
def the_same_model_built_once_more():
    """Keras numbers its layers on: other names, nothing else."""

    def model():
        made = tf.keras.Sequential([tf.keras.layers.Dense(4), tf.keras.layers.Dense(4), tf.keras.layers.Dense(4)])
        made.build((None, 4))
        return checkpoint(model=made)

    return Case(model(), model())


@scenario
def more_layers_than_saved():
    return Case(*blocks(2, 3))


@scenario
def fewer_layers_than_saved():
    return Case(*blocks(3, 2))


@scenario
def more_layers_than_saved_and_not_built_yet():
    def model(count):
        return tf.keras.Sequential([tf.keras.layers.Dense(4, name="block{}".format(n)) for n in range(count)])

    saved, live = model(2), model(3)
    saved.build((None, 4))
    made = checkpoint(model=live)
    return Case(checkpoint(model=saved), made, later=(lambda: live.build((None, 4)), made))


@scenario
def fewer_layers_than_saved_and_not_built_yet():
    class Net(tf.Module):
        def __init__(self, count):
            super().__init__()
            self.blocks = [tf.keras.layers.Dense(4, name="block{}".format(n)) for n in range(count)]

        def __call__(self, x):
            for block in self.blocks:
                x = block(x)
            return x

    saved, live = Net(3), Net(2)
    saved(tf.zeros((1, 4)))
    made = checkpoint(model=live)
    return Case(checkpoint(model=saved), made, later=(lambda: live(tf.zeros((1, 4))), made))


@scenario
def fewer_layers_of_a_sequential_not_built_yet():
    def model(count):
        return tf.keras.Sequential([tf.keras.layers.Dense(4, name="block{}".format(n)) for n in range(count)])

    saved, live = model(3), model(2)
    saved.build((None, 4))
    made = checkpoint(model=live)
    return Case(checkpoint(model=saved), made, later=(lambda: live.build((None, 4)), made))


def blocks(saved, live):
    def model(count):
        class Net(tf.Module):
            def __init__(self):
                super().__init__()
                self.blocks = [tf.keras.layers.Dense(4, name="block{}".format(n)) for n in range(count)]
                for block in self.blocks:
                    block.build((None, 4))

        return checkpoint(model=Net())

    return model(saved), model(live)


@scenario
def inserted_at_the_front_of_a_list():
    saved = checkpoint(variables=[variable("a"), variable("b")])
    live = checkpoint(variables=[variable("new"), variable("a"), variable("b")])
    return Case(saved, live, {"variables/0": "", "variables/1": "variables/0", "variables/2": "variables/1"})


@scenario
def renamed_attribute():
    return Case(checkpoint(net=checkpoint(w1=variable("w"))), checkpoint(net=checkpoint(w2=variable("w"))))


@scenario
def dtype_changed():
    saved = checkpoint(a=variable("a"), b=variable("b"))
    return Case(saved, checkpoint(a=variable("a"), b=variable("b", dtype=tf.float64)))


@scenario
def shape_changed():
    saved = checkpoint(a=variable("a"), b=variable("b"), c=variable("c"), d=checkpoint(e=variable("e")))
    live = checkpoint(a=variable("a"), b=variable("b", (5,)), c=variable("c"), d=checkpoint(e=variable("e")))
    return Case(saved, live)


@scenario
def two_objects_where_one_was():
    shared = variable("w")
    return Case(checkpoint(x=shared, y=shared), checkpoint(x=variable("w"), y=variable("v")))


@scenario
def one_object_where_two_were():
    shared = variable("w")
    return Case(checkpoint(x=variable("w"), y=variable("v")), checkpoint(x=shared, y=shared))


def trained(optimizer, variables):
    optimizer.apply_gradients([(tf.ones_like(local_replicas(one)[0]), one) for one in variables])
    return optimizer


def three():
    return [variable("a"), variable("b"), variable("c")]


@scenario
def optimizer_built_in_another_order():
    def make(order):
        a, b, c = three()
        chosen = [{"a": a, "b": b, "c": c}[name] for name in order]
        optimizer = trained(tf.keras.optimizers.SGD(0.1, momentum=0.9), chosen)
        return checkpoint(a=a, b=b, c=c, optimizer=optimizer)

    return Case(make("abc"), make("cba"), "by slot")


@scenario
def optimizer_of_another_class():
    def make(kind):
        a, b, c = three()
        return checkpoint(a=a, b=b, c=c, optimizer=trained(kind(), [a, b, c]))

    return Case(make(tf.keras.optimizers.Adam), make(lambda: tf.keras.optimizers.SGD(0.1, momentum=0.9)), "other class")


@scenario
def optimizer_left_out():
    def make(with_optimizer):
        a, b, c = three()
        optimizer = trained(tf.keras.optimizers.Adam(), [a, b, c])
        return checkpoint(a=a, b=b, c=c, **({"optimizer": optimizer} if with_optimizer else {}))

    return Case(make(True), make(False))


@scenario
def optimizer_not_saved():
    def make(with_optimizer):
        a, b, c = three()
        optimizer = trained(tf.keras.optimizers.Adam(), [a, b, c])
        return checkpoint(a=a, b=b, c=c, **({"optimizer": optimizer} if with_optimizer else {}))

    return Case(make(False), make(True))


@scenario
def optimizer_not_built_yet():
    def make(is_built):
        a, b, c = three()
        optimizer = tf.keras.optimizers.Adam()
        if is_built:
            trained(optimizer, [a, b, c])
        return checkpoint(a=a, b=b, c=c, optimizer=optimizer)

    live = make(False)

    def later():
        if hasattr(live.optimizer, "build"):
            live.optimizer.build([live.a, live.b, live.c])
        else:
            live.optimizer._create_all_weights([live.a, live.b, live.c])

    return Case(make(True), live, later=(later, live))


@scenario
def optimizer_of_another_class_not_built_yet():
    def make(optimizer):
        a, b, c = three()
        return checkpoint(a=a, b=b, c=c, optimizer=optimizer)

    saved, live = make(tf.keras.optimizers.Adam()), make(tf.keras.optimizers.RMSprop())
    trained(saved.optimizer, [saved.a, saved.b, saved.c])

    def later():
        if hasattr(live.optimizer, "build"):
            live.optimizer.build([live.a, live.b, live.c])
        else:
            live.optimizer._create_all_weights([live.a, live.b, live.c])

    return Case(saved, live, later=(later, live))


class Lazy(tf.Module):
    """Makes its variable when it is first asked for."""

    def __init__(self):
        super().__init__()
        self.holder = tf.Module()

    def born(self):
        self.holder.w = variable("w")
        return self.holder.w


@scenario
def born_later():
    saved, live = Lazy(), Lazy()
    saved.born()
    made = checkpoint(net=live)
    return Case(checkpoint(net=saved), made, later=(live.born, made))


@scenario
def born_later_when_the_files_are_gone():
    saved, live = Lazy(), Lazy()
    saved.born()
    made = checkpoint(net=live)

    def later():
        for name in os.listdir(FOLDER):
            if name.startswith("born_later_when_the_files_are_gone-"):
                os.remove(os.path.join(FOLDER, name))
        live.born()

    return Case(checkpoint(net=saved), made, later=(later, made))


@scenario
def born_later_when_the_prefix_was_written_again():
    saved, live = Lazy(), Lazy()
    saved.born()
    made = checkpoint(net=live)
    writer = checkpoint(net=saved)

    def later():
        saved.holder.w.assign([7e6, 7e6, 7e6, 7e6])
        writer.write(os.path.join(FOLDER, "born_later_when_the_prefix_was_written_again-1"))
        live.born()

    return Case(writer, made, later=(later, made))


def two_layers():
    return [tf.keras.layers.Dense(4, name="first"), tf.keras.layers.Dense(4, name="second")]


class Subclassed(tf.keras.Model):
    """Its layers are built when it is called."""

    def __init__(self):
        super().__init__()
        self.first, self.second = two_layers()

    def call(self, x):
        return self.second(self.first(x))


class BuildsItsLayers(Subclassed):
    def build(self, shape):
        self.first.build(shape)
        self.second.build(shape)
        self.built = True


class HasSomeOfItsVariables(tf.keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.scale = self.add_weight(shape=(4,), name="scale", initializer="zeros")

    def build(self, shape):
        self.kernel = self.add_weight(shape=(4, 4), name="kernel", initializer="zeros")

    def call(self, x):
        return tf.matmul(x, self.kernel) * self.scale


def built_by_its_first_call(make):
    saved, live = make(), make()
    saved(tf.zeros((1, 4)))
    made = checkpoint(model=live)
    return Case(checkpoint(model=saved), made, later=(lambda: live(tf.zeros((1, 4))), made))


@scenario
def a_subclassed_model_not_built_yet():
    return built_by_its_first_call(Subclassed)


@scenario
def a_model_that_builds_its_layers_not_built_yet():
    return built_by_its_first_call(BuildsItsLayers)


@scenario
def a_sequential_not_built_yet():
    return built_by_its_first_call(lambda: tf.keras.Sequential(two_layers()))


@scenario
def a_layer_that_has_some_of_its_variables():
    return built_by_its_first_call(HasSomeOfItsVariables)


@scenario
def a_sequential_of_a_layer_that_has_some_of_its_variables():
    return built_by_its_first_call(lambda: tf.keras.Sequential([HasSomeOfItsVariables()]))


@scenario
def a_copy_of_what_the_other_one_is_initialised_with():
    """A target network: saved with the values that a seed gives to the other one, which holds them again."""
    saved = checkpoint(online=variable("w"), target=variable("w"))
    live = checkpoint(online=variable("w"), target=variable("w"))
    return Case(saved, live, same=(("target", "online"),))


@scenario
def variables_of_nobodys_naming_beside_it():
    """Accumulators, say, which are not kept."""

    def make():
        return checkpoint(w=tf.Variable(tf.zeros([5])))

    KEPT.append(tf.Variable(tf.zeros([5])))
    return Case(make(), make())


@scenario
def two_generators_that_were_made_in_the_other_order():
    """One optimizer trains both, and names its variables by theirs."""

    def make(order):
        made = {}
        for name in order:
            made[name] = tf.keras.Sequential([tf.keras.layers.Dense(4)])
            made[name].build((None, 4))
        variables = made["one"].trainable_variables + made["other"].trainable_variables
        optimizer = trained(tf.keras.optimizers.Adam(), variables)
        return checkpoint(one=made["one"], other=made["other"], optimizer=optimizer)

    tf.keras.backend.clear_session()
    saved = make(["one", "other"])
    tf.keras.backend.clear_session()
    return Case(saved, make(["other", "one"]))


def layers_in(container):
    class Net(tf.keras.Model):
        def __init__(self):
            super().__init__()
            self.out = tf.keras.layers.Dense(4, name="out")
            self.hidden = container([tf.keras.layers.Dense(4, name="hidden{}".format(n)) for n in range(2)])

        def call(self, x):
            for layer in self.hidden.values() if isinstance(self.hidden, dict) else self.hidden:
                x = layer(x)
            return self.out(x)

    made = Net()
    made(tf.zeros((1, 4)))
    return made


@scenario
def layers_in_a_list():
    saved, live = layers_in(list), layers_in(list)
    return Case(checkpoint(model=saved), checkpoint(model=live), trained=saved.weights, watch={"weights": live})


@scenario
def layers_in_a_dict():
    def container(layers):
        return {"layer{}".format(n): layer for n, layer in enumerate(layers)}

    saved, live = layers_in(container), layers_in(container)
    return Case(checkpoint(model=saved), checkpoint(model=live), trained=saved.weights, watch={"weights": live})


@scenario
def variables_and_modules_in_containers_of_a_layer():
    class Holder(tf.keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.alone = variable("alone")
            self.listed = [variable("listed0"), variable("listed1")]
            self.named = {"one": [tf.Module()]}
            self.named["one"][0].w = variable("in_module")

        def call(self, x):
            return x

    def outside(holder):
        return [*holder.listed, holder.named["one"][0].w]

    saved, live = Holder(), Holder()
    watch = {"weights": types.SimpleNamespace(weights=outside(live))}
    return Case(checkpoint(layer=saved), checkpoint(layer=live), trained=outside(saved), watch=watch)


@scenario
def a_layer_without_variables_where_one_with_was():
    """It is built, and will not make any."""

    def model(*layers):
        made = tf.keras.Sequential(list(layers))
        made.build((None, 4))
        return checkpoint(model=made)

    saved = model(tf.keras.layers.Dense(4), tf.keras.layers.Dense(4, name="last"))
    return Case(saved, model(tf.keras.layers.Dense(4), tf.keras.layers.Dropout(0.5, name="last")))


@scenario
def an_optimizer_in_an_optimizer():
    def make():
        a, b, c = three()
        inner = tf.keras.optimizers.SGD(0.1, momentum=0.9)
        optimizer = tf.keras.mixed_precision.LossScaleOptimizer(inner)
        if hasattr(optimizer, "build"):
            optimizer.build([a, b, c])
        else:
            trained(optimizer, [a, b, c])
        return checkpoint(a=a, b=b, c=c, optimizer=optimizer)

    return Case(make(), make())


@scenario
def layers_in_a_tuple():
    saved, live = layers_in(tuple), layers_in(tuple)
    return Case(checkpoint(model=saved), checkpoint(model=live), trained=saved.weights)


@scenario
def a_new_object_is_built():
    """The checkpoint object holds the old one."""
    old = tf.keras.Sequential([tf.keras.layers.Dense(4, name="only")])
    old.build((None, 4))
    made = checkpoint(model=old)
    new = tf.keras.Sequential([tf.keras.layers.Dense(4, name="only")])
    new.build((None, 4))
    return Case(made, made, watch={"weights": new})


@scenario
def nothing_to_restore():
    return Case(None, checkpoint(a=variable("a"), b=variable("b")), prefix=(None,))


@scenario
def the_name_that_save_was_given():
    made = checkpoint(a=variable("a"))
    path = os.path.join(FOLDER, "given")
    made.save(path)
    return Case(None, checkpoint(a=variable("a")), prefix=(path,))


@scenario
def the_file_of_its_index():
    made = checkpoint(a=variable("a"), b=variable("b"))
    path = made.save(os.path.join(FOLDER, "index"))
    return Case(None, checkpoint(a=variable("a"), b=variable("b")), prefix=(path + ".index",))


def saved_by_names(name, values):
    """Such a checkpoint; its variables stay alive, in their graph."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        KEPT.extend(tf.Variable(value, name=one) for one, value in values.items())
        session.run(tf.compat.v1.global_variables_initializer())
        return tf.compat.v1.train.Saver().save(session, os.path.join(FOLDER, name))


@scenario
def saved_by_names_and_restored_by_objects():
    path = saved_by_names("by_names", {"a": [901.0] * 4, "only": [902.0] * 4})
    return Case(None, checkpoint(a=variable("a"), b=variable("b"), table=a_table()), prefix=(path,))


@scenario
def saved_by_names_with_another_shape():
    path = saved_by_names("names", {"a": [903.0] * 4, "b": [904.0] * 5, "c": [905.0] * 4})
    return Case(None, checkpoint(a=variable("a"), b=variable("b"), c=variable("c")), prefix=(path,))


@scenario
def saved_by_names_with_another_type():
    path = saved_by_names("types", {"a": [906.0] * 4, "b": [907] * 4, "c": [908.0] * 4})
    return Case(None, checkpoint(a=variable("a"), b=variable("b"), c=variable("c")), prefix=(path,))


def prefixes_of_other_types():
    """What is predicted for what is no str, and for what is no object that can be saved."""
    made = checkpoint(a=variable("a"))
    prefix = made.save(os.path.join(FOLDER, "typed"))
    found = [lastgood.tf.explain(made, one).is_good for one in (prefix, prefix.encode(), pathlib.Path(prefix))]
    try:
        lastgood.tf.explain(3, prefix)
    except TypeError as raised:
        found.append(str(raised))
    return found


def a_list_changed_in_its_middle():
    """What is predicted, and what is raised; nobody can tell what such a list leads to."""
    made = tf.Module()
    made.variables_ = [variable("a"), variable("b")]
    prefix = checkpoint(m=made).save(os.path.join(FOLDER, "changed"))
    made.variables_.insert(0, variable("first"))
    live = checkpoint(m=made)
    explanation = lastgood.tf.explain(live, prefix)
    try:
        live.restore(prefix)
    except ValueError as raised:
        return [one.reason for one in explanation.predictions], type(raised).__name__
    return [one.outcome.value for one in explanation.predictions], ""


@scenario
def a_root_and_something_attached():
    def make():
        net = checkpoint(w=variable("w"))
        return tf.train.Checkpoint(net, extra=variable("extra"))

    return Case(make(), make())


@scenario
def written_and_not_saved():
    made = checkpoint(a=variable("a"))
    path = os.path.join(FOLDER, "written")
    Counter().fill([made.a])
    made.write(path)
    return Case(None, checkpoint(a=variable("a")), prefix=(path,))


@scenario
def sums_over_replicas():
    devices = tf.config.list_logical_devices("CPU")
    strategy = tf.distribute.MirroredStrategy([device.name for device in devices])

    def make():
        with strategy.scope():
            mirrored = tf.Variable(tf.zeros([4]), name="mirrored")
            total = tf.Variable(
                tf.zeros([4]),
                name="total",
                synchronization=tf.VariableSynchronization.ON_READ,
                aggregation=tf.VariableAggregation.SUM,
            )
        return checkpoint(mirrored=mirrored, total=total)

    return Case(make(), make())


def a_table():
    table = tf.lookup.experimental.DenseHashTable(tf.int64, tf.int64, default_value=-1, empty_key=0, deleted_key=-1)
    table.insert([1, 2], [3, 4])
    return table


@scenario
def a_table_and_an_iterator():
    def make():
        return checkpoint(w=variable("w"), table=a_table(), data=iter(tf.data.Dataset.range(9)))

    return Case(make(), make())


@scenario
def a_table_where_a_variable_is_now():
    return Case(checkpoint(w=variable("w"), x=a_table()), checkpoint(w=variable("w"), x=variable("x")))


@scenario
def a_variable_where_a_table_is_now():
    return Case(checkpoint(w=variable("w"), x=variable("x")), checkpoint(w=variable("w"), x=a_table()))


# ------------------------------------------------------------ checkpoints of another version


def a_layer():
    layer = tf.keras.layers.Dense(4, name="layer")
    layer.build((None, 4))
    return checkpoint(layer=layer)


def an_optimizer():
    a = variable("a")
    return checkpoint(a=a, optimizer=trained(tf.keras.optimizers.Adam(), [a]))


def exported_by_another_version(folder):
    return {
        "a_layer": lambda: Case(None, a_layer(), prefix=(os.path.join(folder, "layer-1"),)),
        "an_optimizer": lambda: Case(
            None, an_optimizer(), {"optimizer/_variables/2": ""}, prefix=(os.path.join(folder, "optimizer-1"),)
        ),
    }
