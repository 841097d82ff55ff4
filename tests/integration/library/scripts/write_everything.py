"""Writes, with the TensorFlow at hand, what a checkpoint may hold, and prints as JSON what TensorFlow reads back.

    write_everything.py FOLDER

Per file: each tensor's dtype, shape and the SHA-256 of its bytes (of strings: joined by a zero byte).
"""

import hashlib
import json
import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import tensorflow as tf

#: Types of which numpy has none of its own, with their bits.
SMALL = {
    "int4": 4,
    "uint4": 4,
    "int2": 2,
    "uint2": 2,
    "float4_e2m1fn": 4,
    "float8_e5m2": 8,
    "float8_e4m3fn": 8,
    "float8_e4m3fnuz": 8,
    "float8_e4m3b11fnuz": 8,
    "float8_e5m2fnuz": 8,
}
QUANTISED = {"qint8": "int8", "quint8": "uint8", "qint16": "int16", "quint16": "uint16", "qint32": "int32"}


def everything():
    """Tensors by name: of every type that this TensorFlow has."""
    rng = np.random.RandomState(5)
    tensors = {b"\xff\xfe/\x80\x01 not UTF-8": tf.constant([1.0, 2.0])}
    for name in ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16"):
        tensors[name] = tf.constant((rng.rand(3, 5) * 100).astype(name))
    for name in ("uint32", "uint64"):
        tensors[name] = tf.constant((rng.rand(3, 5) * 1e9).astype(name))
    tensors["bfloat16"] = tf.cast(tf.constant(rng.rand(2, 3)), tf.bfloat16)
    tensors["complex64"] = tf.constant([1 + 2j, float("nan")], tf.complex64)
    tensors["complex128"] = tf.constant([1 + 2j, -3.5j], tf.complex128)
    tensors["bool"] = tf.constant([True, False])
    for name, stored in QUANTISED.items():
        tensors[name] = tf.bitcast(tf.constant([0, 1, 100], stored), getattr(tf, name))
    for name, bits in SMALL.items():
        dtype = _numpy_type(name)
        if dtype is not None:
            tensors[name] = tf.constant(np.arange(1 << bits, dtype=np.uint8).view(dtype))
    tensors["scalar"] = tf.constant(3, tf.int64)
    tensors["empty"] = tf.zeros([0, 4])
    tensors["no strings"] = tf.constant([], tf.string, shape=[0, 3])
    tensors["strings"] = tf.constant([[b"a", b""], [b"\xff\x00\n", b"x" * 70000]])
    return tensors


def _numpy_type(name):
    """numpy's type of that name, where this TensorFlow makes constants of it; None elsewhere."""
    try:
        import ml_dtypes

        dtype = np.dtype(getattr(ml_dtypes, name))
        tf.constant(np.zeros(1, np.uint8).view(dtype))
    except Exception:  # an older TensorFlow knows fewer types, and says so in its own ways
        return None
    return dtype


def save(prefix, tensors, places=None):
    """places: one slice specification per tensor, "" for a whole one."""
    names = list(tensors) if isinstance(tensors, dict) else [name for name, _ in tensors]
    values = list(tensors.values()) if isinstance(tensors, dict) else [value for _, value in tensors]
    places = places or [""] * len(names)
    tf.raw_ops.SaveV2(prefix=prefix, tensor_names=names, shape_and_slices=places, tensors=values)


def grid():
    """One tensor in four parts that lie side by side, one in rows, one in columns."""
    whole = tf.reshape(tf.range(24, dtype=tf.int32), [4, 6])
    rows, places = [], []
    for name, cuts in {
        "grid": ["0,1:0,2", "0,1:2,4", "1,3:0,2", "1,3:2,4"],
        "rows": ["0,1:-", "1,3:-"],
        "columns": ["-:4,2", "-:0,4"],
    }.items():
        for cut in cuts:
            first, second = [
                slice(None) if part == "-" else slice(int(part.split(",")[0]), sum(map(int, part.split(","))))
                for part in cut.split(":")
            ]
            rows.append((name, whole[first, second]))
            places.append("4 6 " + cut)
    return rows, places


def read_back(prefix):
    reader = tf.train.load_checkpoint(prefix)
    shapes = reader.get_variable_to_shape_map()
    rows = {}
    for key, dtype in reader.get_variable_to_dtype_map().items():
        value = reader.get_tensor(key)
        if dtype == tf.string:
            data = b"\0".join(np.ravel(value).tolist()) if isinstance(value, np.ndarray) else value
        else:
            data = np.ascontiguousarray(value).tobytes()
        rows[key] = [dtype.name, list(shapes[key]), hashlib.sha256(data).hexdigest()]
    return rows


def main(folder):
    os.chdir(folder)
    found = {}
    tensors = everything()
    save("everything", tensors)
    by_name = {key: value for key, value in tensors.items() if isinstance(key, str)}
    save("named", by_name)
    found["named"] = read_back("named")
    rows, places = grid()
    save("grid", rows, places)
    found["grid"] = read_back("grid")
    for number in range(3):
        save(f"part-{number}", {f"t{number}": tf.fill([5], float(number))})
    prefixes = [f"part-{number}" for number in range(3)]
    tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=prefixes, destination_prefix="merged", delete_old_dirs=False)
    found["merged"] = read_back("merged")
    module = tf.Module()
    module.w = tf.Variable([[1.0, 2.0]], name="weights")
    tf.saved_model.save(module, "saved")
    found["saved"] = read_back("saved/variables/variables")
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variable = tf.compat.v1.get_variable("a", initializer=tf.constant([1.0, 2.0]))
        session.run(variable.initializer)
        tf.compat.v1.train.Saver(write_version=1).save(session, "v1/model", write_meta_graph=False)
        sharded = tf.compat.v1.train.Saver(write_version=1, sharded=True)
        sharded.save(session, "v1/sharded", write_meta_graph=False)
    print(json.dumps({"version": tf.__version__, "files": found}))


if __name__ == "__main__":
    os.makedirs(os.path.join(sys.argv[1], "v1"))
    main(sys.argv[1])
