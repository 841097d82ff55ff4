"""Writes random checkpoints with the TensorFlow at hand, and what that TensorFlow reads back from each.

    python random_saves.py DIRECTORY SEED COUNT SAVES

Runs in an environment with TensorFlow and nothing of lastgood. Number n of a seed is made by a random generator of its
own, so it is the same whatever COUNT is. Each number is one object graph, or one set of tensors, that is saved SAVES
times with other values: DIRECTORY/0007/0/..., DIRECTORY/0007/1/... DIRECTORY/truth.json lists them all.
"""

from __future__ import annotations

import json
import os
import random
import sys
from urllib.parse import quote_from_bytes

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import tensorflow as tf
from tensorflow.python.distribute.sharded_variable import ShardedVariable
from tensorflow.python.framework import dtypes as all_dtypes
from tensorflow.python.ops.lookup_ops import MutableHashTable
from tensorflow_reading import MAX_NUMPY_RANK, read_everything

NARROW = {"int2": 4, "uint2": 4, "int4": 16, "uint4": 16, "float4_e2m1fn": 16}
NAMES = ("w", "kernel", "b", "step", "_hidden", "ключ", "层", "a/b", "a.b", ".S", "naïve name", "x" * 150, "\x01", "0")


def stored_dtypes():
    """Every type of this TensorFlow of which a tensor can be stored as numbers."""
    names = sorted(set(all_dtypes._TYPE_TO_STRING.values()))
    return [name for name in names if not name.endswith("_ref") and name not in ("resource", "string", "variant")]


def random_shape(rng, is_large):
    """Scalars, empty ones, vectors, and now and then one of many dimensions."""
    if is_large:
        return [rng.choice((3, 17, 60)), rng.choice((129, 200, 333))]
    rank = rng.choice((0, 0, 1, 1, 1, 2, 2, 3, 4, rng.randint(5, 9)))
    return [rng.choice((0, 1, 1, 2, 3, 4, 5)) if rank < 5 else rng.choice((1, 1, 2)) for _ in range(rank)]


def random_numbers(rng, name, shape):
    """A tensor of random bits: every NaN, every denormal number may come."""
    dtype = tf.as_dtype(name)
    count = int(np.prod(shape, dtype=np.int64))
    raw = np.random.RandomState(rng.getrandbits(32)).randint(0, 256, count * dtype.size).astype(np.uint8)
    if name == "bool":
        raw %= 2
    raw %= NARROW.get(name, 256) if name in NARROW else 255
    if name.startswith(("qint", "quint")):
        plain = name[1:]
        return tf.bitcast(tf.constant(np.frombuffer(raw.tobytes(), plain).reshape(shape)), dtype)
    flat = np.frombuffer(raw.tobytes(), dtype.as_numpy_dtype)
    if len(shape) > MAX_NUMPY_RANK:
        return tf.reshape(tf.constant(flat, dtype), shape)
    return tf.constant(flat.reshape(shape), dtype)


def random_text(rng):
    size = rng.choice((0, 1, 5, 20, 127, 128, 300, rng.randint(0, 3000)))
    return bytes(rng.getrandbits(8) for _ in range(size))


def random_strings(rng, shape):
    count = int(np.prod(shape, dtype=np.int64))
    texts = np.empty([count], dtype=object)
    for place in range(count):
        texts[place] = random_text(rng)
    return tf.constant(texts.reshape(shape), tf.string) if count else tf.zeros(shape, tf.string)


def random_tensor(rng, dtypes, is_large=False):
    name = rng.choice((*dtypes, "string", "string", "float32", "float32"))
    if name == "string":
        return random_strings(rng, random_shape(rng, False)[:2])
    return random_numbers(rng, name, random_shape(rng, is_large))


def like(rng, tensor):
    """Another value of the same type and shape."""
    if tensor.dtype == tf.string:
        return random_strings(rng, list(tensor.shape))
    return random_numbers(rng, tensor.dtype.name, list(tensor.shape))


def variable_dtypes():
    """Those of which this TensorFlow can make a variable."""
    able = []
    for name in stored_dtypes():
        try:
            tf.Variable(random_numbers(random.Random(0), name, [2]))
        except Exception:
            continue
        able.append(name)
    return able


class Objects:
    """Nested lists, dicts, tuples, modules and checkpoints, with variables of every type at their leaves."""

    def __init__(self, rng):
        self.rng = rng
        self.variables = []
        self.is_large = rng.random() < 0.3
        names = rng.sample(NAMES, rng.randint(1, 5))
        self.checkpoint = tf.train.Checkpoint(**{name: self.node(3) for name in names})

    def node(self, depth):
        kinds = (
            "variable",
            "variable",
            "list",
            "dict",
            "tuple",
            "module",
            "plain",
            "checkpoint",
            "generator",
            "sharded",
        )
        kind = self.rng.choice(kinds) if depth else "variable"
        if kind == "variable":
            return self.variable()
        if kind == "generator":
            return tf.random.Generator.from_seed(self.rng.getrandbits(31))
        if kind == "sharded":
            rows = [self.rng.randint(1, 3) for _ in range(self.rng.randint(2, 4))]
            parts = [tf.Variable(random_numbers(self.rng, "float32", [count, 2])) for count in rows]
            self.variables += parts
            return ShardedVariable(parts, name="sharded")
        if kind in ("list", "tuple"):
            nodes = [self.node(depth - 1) for _ in range(self.rng.randint(1, 4))]
            return nodes if kind == "list" else tuple(nodes)
        named = {name: self.node(depth - 1) for name in self.rng.sample(NAMES, self.rng.randint(1, 4))}
        if kind == "dict":
            return named
        if kind == "checkpoint":
            return tf.train.Checkpoint(**named)
        holder = tf.Module() if kind == "module" else AutoTrackable()
        for name, node in named.items():
            setattr(holder, name, node)
        return holder

    def variable(self):
        made = tf.Variable(
            self.value(self.is_large and self.rng.random() < 0.4), name="v{}".format(len(self.variables))
        )
        self.variables.append(made)
        return made

    def value(self, is_large):
        return random_tensor(self.rng, VARIABLE_DTYPES, is_large)

    def change(self):
        for variable in self.variables:
            variable.assign(like(self.rng, variable))

    def save(self, directory):
        if self.rng.random() < 0.5:
            return self.checkpoint.write(os.path.join(directory, "written"))
        return self.checkpoint.save(os.path.join(directory, "ckpt"))


class Keras(Objects):
    """A model and its optimizer, whose slots exist."""

    def __init__(self, rng):
        self.rng = rng
        keras = tf.keras
        layers = [keras.layers.InputLayer(**{"shape" if KERAS_3 else "input_shape": (6,)})]
        for _ in range(rng.randint(1, 4)):
            layers.append(keras.layers.Dense(rng.randint(1, 40), use_bias=rng.random() < 0.7))
            if rng.random() < 0.4:
                layers.append(keras.layers.BatchNormalization())
        model = keras.Sequential(layers)
        kinds = (keras.optimizers.Adam, keras.optimizers.RMSprop, keras.optimizers.Adagrad, keras.optimizers.Ftrl)
        optimizer = rng.choice((*kinds, lambda: keras.optimizers.SGD(0.1, momentum=0.9)))()
        optimizer.apply_gradients([(tf.ones_like(v), v) for v in model.trainable_variables])
        self.variables = list(model.variables)
        self.checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer, step=tf.Variable(0, dtype=tf.int64))

    def change(self):
        for variable in self.variables:
            variable.assign(random_numbers(self.rng, "float32", list(variable.shape)))
        self.checkpoint.step.assign_add(1)


class State(Objects):
    """Iterators and tables beside a few variables."""

    def __init__(self, rng):
        super().__init__(rng)
        numbers = tf.data.Dataset.range(rng.randint(5, 50))
        pipelines = (
            numbers.shuffle(rng.randint(2, 20), seed=rng.randint(1, 9)).batch(2),
            tf.data.Dataset.zip((numbers, tf.data.Dataset.from_tensor_slices([b"a", b"bb", b""]).repeat())),
            numbers.map(lambda x: x * 2).prefetch(2).repeat(3),
            numbers.window(3).flat_map(lambda window: window.batch(3)),
        )
        self.iterators = [iter(rng.choice(pipelines)) for _ in range(rng.randint(1, 2))]
        self.table = MutableHashTable(tf.string, tf.int64, -1)
        dense = tf.lookup.experimental.DenseHashTable
        self.dense = dense(tf.int64, tf.float32, -1.0, -1, -2, initial_num_buckets=16)
        self.checkpoint.iterators = self.iterators
        self.checkpoint.table = self.table
        self.checkpoint.dense = self.dense
        self.change()

    def change(self):
        super().change()
        for iterator in self.iterators:
            next(iterator)
        self.table.insert([random_text(self.rng)], [self.rng.getrandbits(40)])
        self.dense.insert([self.rng.getrandbits(30)], [self.rng.random()])


class InShards(Objects):
    """Cut into many data files by TensorFlow's own policy, which older versions do not have."""

    def value(self, is_large):
        """Of a type that the policy can cut, and neither empty nor an array of strings, which make it fail.

        Of few dimensions: where a slice of one row does not fit into a data file, it goes on for ever.
        """
        cut = ("float32", "float64", "bfloat16", "int32", "int64", "uint8", "bool", "complex64")
        while True:
            tensor = random_tensor(self.rng, cut, is_large)
            is_cut_by_rows = 0 not in tensor.shape and tensor.shape.rank <= 2
            if is_cut_by_rows and (tensor.dtype != tf.string or not tensor.shape.rank):
                return tensor

    def save(self, directory):
        sizes = (16384, 65536) if self.is_large else (256, 1024)
        policy = tf.train.experimental.MaxShardSizePolicy(self.rng.choice(sizes))
        options = tf.train.CheckpointOptions(experimental_sharding_callback=policy)
        return self.checkpoint.save(os.path.join(directory, "ckpt"), options=options)


class Exported(Objects):
    """The variables of a SavedModel."""

    def __init__(self, rng):
        self.rng = rng
        self.variables = []
        self.is_large = False
        self.module = tf.Module()
        for name in ("a", "b", "c"):
            setattr(self.module, name, tf.Variable(random_numbers(rng, rng.choice(("float32", "int64")), [3, 5])))
            self.variables.append(getattr(self.module, name))

    def save(self, directory):
        tf.saved_model.save(self.module, directory)
        return os.path.join(directory, "variables", "variables")


class Tensors:
    """Tensors by name, as TensorFlow 1 saved them: keys that are no text, sliced tensors, huge ranks, many files."""

    def __init__(self, rng, are_keys_text, many=0):
        self.rng = rng
        self.are_keys_text = are_keys_text
        self.shards = []
        used = set()
        for shard in range(1 if many else rng.choice((1, 1, 2, 3, 5))):
            tensors = {}
            for place in range(many or rng.randint(1, 8)):
                key = b"%0250x" % rng.getrandbits(1000) if many else self.key(shard, place)
                if key in used:
                    continue
                used.add(key)
                large = not many and rng.random() < 0.3
                tensors[key] = tf.constant(float(place)) if many else random_tensor(rng, STORED_DTYPES, large)
            if not many and rng.random() < 0.2:
                tensors[b"rank%d" % shard] = random_numbers(rng, "int32", [1] * 100 + [2, 3] + [1] * 98)
            self.shards.append(tensors)
        rows = [rng.randint(0, 4) for _ in range(rng.randint(1, 4))]
        self.sliced = None if many or rng.random() < 0.5 else [max(1, sum(rows)), 3]

    def key(self, shard, place):
        start = b"" if self.are_keys_text else bytes(self.rng.getrandbits(8) for _ in range(self.rng.randint(1, 4)))
        text = self.rng.choice(NAMES).encode() + b"/%d/%d" % (shard, place)
        return text if self.are_keys_text else b"\xff" + start + text

    def change(self):
        self.shards = [{key: like(self.rng, tensor) for key, tensor in shard.items()} for shard in self.shards]

    def save(self, directory):
        parts = []
        for number, tensors in enumerate(self.shards):
            parts.append(os.path.join(directory, "part-{}".format(number)))
            keys, slices, values = list(tensors), [""] * len(tensors), list(tensors.values())
            if self.sliced is not None:
                for spec, part in self.slices_for(number):
                    keys.append(b"sliced")
                    slices.append(spec)
                    values.append(part)
            tf.raw_ops.SaveV2(prefix=parts[-1], tensor_names=keys, shape_and_slices=slices, tensors=values)
        if len(parts) == 1:
            return parts[0]
        prefix = os.path.join(directory, "merged")
        tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=parts, destination_prefix=prefix, delete_old_dirs=False)
        return prefix

    def slices_for(self, number):
        """The rows of one sliced tensor that lie in this shard: each shard has its share of them."""
        rows, columns = self.sliced
        shards = len(self.shards)
        first, last = rows * number // shards, rows * (number + 1) // shards
        for row in range(first, last):
            part = random_numbers(self.rng, "float32", [1, columns])
            yield "{} {} {},1:-".format(rows, columns, row), part

    def known(self):
        """{key: dtype}, for keys that TensorFlow's reader cannot list; None where it can."""
        if self.are_keys_text:
            return None
        known = {key: tensor.dtype.name for tensors in self.shards for key, tensor in tensors.items()}
        return known if self.sliced is None else {**known, b"sliced": "float32"}


class Partitioned:
    """Partitioned variables, saved by TensorFlow 1's Saver."""

    def __init__(self, rng):
        self.rng = rng
        self.rows, self.parts, self.is_sharded = rng.randint(3, 9), rng.randint(2, 3), rng.random() < 0.5

    def change(self):
        """Each save draws new values anyway."""

    def save(self, directory):
        v1 = tf.compat.v1
        with tf.Graph().as_default():
            with v1.variable_scope("scope", partitioner=v1.fixed_size_partitioner(self.parts)):
                v1.get_variable(
                    "w", [self.rows, 3], initializer=v1.random_normal_initializer(seed=self.rng.randint(1, 99))
                )
            v1.get_variable("alone", [], initializer=v1.ones_initializer())
            saver = v1.train.Saver(sharded=self.is_sharded)
            with v1.Session() as session:
                session.run(v1.global_variables_initializer())
                return saver.save(session, os.path.join(directory, "v1"), write_meta_graph=False)


AutoTrackable = tf.train.Checkpoint.__mro__[1]  # its module has moved between versions
KERAS_3 = int(getattr(tf.keras, "__version__", "2").split(".")[0]) >= 3 if hasattr(tf.keras, "__version__") else False
HAS_POLICY = hasattr(getattr(tf.train, "experimental", None), "MaxShardSizePolicy")
STORED_DTYPES = stored_dtypes()
VARIABLE_DTYPES = variable_dtypes()

#: What is made, and how often.
KINDS = (
    *[("objects", Objects)] * 8,
    *[("state", State)] * 2,
    *[("keras", Keras)] * 2,
    *[("tensors", lambda rng: Tensors(rng, True))] * 4,
    *[("bytes as keys", lambda rng: Tensors(rng, False))] * 2,
    ("partitioned", Partitioned),
    ("exported", Exported),
    *([("in shards", InShards)] * 2 if HAS_POLICY else []),
)
#: An index of more than one block.
MANY = ("many", lambda rng: Tensors(rng, True, many=1300))


def write_one(directory, seed, number, saves):
    """One object graph, saved so many times; its line in truth.json."""
    rng = random.Random("{}/{}".format(seed, number))
    kind, make = MANY if saves > 1 and number == 0 else KINDS[number % len(KINDS)]
    made = make(rng)
    row = {"number": number, "kind": kind, "saves": []}
    for place in range(saves):
        if place:
            made.change()
        folder = os.path.join(directory, "{:04d}".format(number), str(place))
        os.makedirs(folder)
        prefix = made.save(folder)
        known = made.known() if isinstance(made, Tensors) else None
        keys = read_everything(tf, prefix, known, with_crc=kind != "many")
        quoted = None if known is None else {quote_from_bytes(key, safe="/"): name for key, name in known.items()}
        row["saves"].append({"prefix": os.path.relpath(prefix, directory), "known": quoted, "keys": keys})
        variants = [key for key, value in keys.items() if value["dtype"] == "variant"]
        if variants:
            row["saves"][-1]["again"] = save_again(directory, prefix, variants)
    return row


def save_again(directory, prefix, names):
    """The variants of a checkpoint as they are after one way through memory, in a checkpoint of their own.

    TensorFlow encodes the tensors in an iterator's state in one way when it saves them, and in another once it has
    restored them; from then on the bytes stay the same.
    """
    empty, types = [""] * len(names), [tf.variant] * len(names)
    tensors = tf.raw_ops.RestoreV2(prefix=prefix, tensor_names=names, shape_and_slices=empty, dtypes=types)
    again = prefix + "-again"
    tf.raw_ops.SaveV2(prefix=again, tensor_names=names, shape_and_slices=empty, tensors=tensors)
    return {"prefix": os.path.relpath(again, directory), "keys": read_everything(tf, again, None, with_crc=True)}


def main(directory, seed, count, saves):
    rows = [write_one(directory, seed, number, saves) for number in range(count)]
    with open(os.path.join(directory, "truth.json"), "w") as file:
        truth = {"tensorflow": tf.__version__, "dtypes": STORED_DTYPES, "checkpoints": rows}
        json.dump(truth, file, indent=0, sort_keys=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
