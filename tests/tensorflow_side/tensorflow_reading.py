"""What TensorFlow itself reads from a checkpoint: every key with its type, its shape and a digest of its value.

Runs in an environment with some TensorFlow (2.4 on Python 3.8 to the newest) and knows nothing of lastgood. What needs
no TensorFlow can be used by tests too: the digest of a value, and a crc32c that shares no code with the library's.
"""

from __future__ import annotations

import hashlib
import struct
from urllib.parse import quote_from_bytes

#: numpy has 32 dimensions, or 64; TensorFlow 254.
MAX_NUMPY_RANK = 32

_POLYNOMIAL = 0x82F63B78


def read_everything(tf, prefix, known=None, with_crc=False):
    """{key: {"dtype", "shape", "sha256"}} of all that lies at the prefix. Raises whatever TensorFlow raises.

    Keys are percent-encoded. known: {key: dtype} for checkpoints whose keys are no text, which TensorFlow's Python
    reader cannot list. with_crc: also the checksum that the value should have in the file, "crc32c", unmasked.
    """
    reader = None if known else tf.train.load_checkpoint(prefix)
    if reader is None:
        # Its own names do not pass through the Python reader; RestoreV2 takes them as bytes.
        types = {key: tf.as_dtype(name) for key, name in known.items()}
        shapes = {}
    else:
        types = {key.encode(): dtype for key, dtype in reader.get_variable_to_dtype_map().items()}
        shapes = {key.encode(): list(shape) for key, shape in reader.get_variable_to_shape_map().items()}
    found = {}
    for key in sorted(types):
        shape, elements = _value(tf, reader, prefix, key, types[key], shapes.get(key))
        row = {"dtype": types[key].name, "shape": shape, "sha256": digest_of(elements)}
        if with_crc:
            row["crc32c"] = checksum_of(elements, types[key].name)
        found[quote_from_bytes(key, safe="/")] = row
    return found


def restore_everything(tf, prefix, types):
    """The same by RestoreV2, which is what `Checkpoint.restore` uses, all keys in one call. types: {key: dtype}."""
    keys = sorted(types)
    dtypes = [tf.as_dtype(types[key]) for key in keys]
    tensors = tf.raw_ops.RestoreV2(prefix=prefix, tensor_names=keys, shape_and_slices=[""] * len(keys), dtypes=dtypes)
    found = {}
    for key, dtype, tensor in zip(keys, dtypes, tensors):
        row = {"dtype": dtype.name, "shape": list(tensor.shape), "sha256": digest_of(_elements(tf, tensor))}
        found[quote_from_bytes(key, safe="/")] = row
    return found


def _value(tf, reader, prefix, key, dtype, shape):
    """Its shape, and its elements: the bytes of all numbers, or a list of bytes."""
    if reader is not None and dtype not in (tf.variant, tf.string) and len(shape) <= MAX_NUMPY_RANK:
        return shape, reader.get_tensor(key.decode()).tobytes()
    tensor = tf.raw_ops.RestoreV2(prefix=prefix, tensor_names=[key], shape_and_slices=[""], dtypes=[dtype])[0]
    if shape is not None and list(tensor.shape) != shape:
        raise ValueError("the reader says {} and RestoreV2 {}".format(shape, list(tensor.shape)))
    return list(tensor.shape), _elements(tf, tensor)


def _elements(tf, tensor):
    if tensor.dtype == tf.variant:
        from tensorflow.core.framework import tensor_pb2

        message = tensor_pb2.TensorProto.FromString(tf.io.serialize_tensor(tensor).numpy())
        return _split_variants(message.tensor_content, int(tf.size(tensor)))
    flat = tf.reshape(tensor, [-1]) if len(tensor.shape) > MAX_NUMPY_RANK else tensor
    values = flat.numpy()
    if tensor.dtype == tf.string:
        return [values] if isinstance(values, bytes) else [bytes(element) for element in values.ravel()]
    return values.tobytes()


def _split_variants(content, count):
    """TensorFlow's encoding of a list of variants: all their lengths as varints, then their bytes."""
    sizes, position = [], 0
    for _ in range(count):
        size = shift = 0
        while True:
            byte = content[position]
            position += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        sizes.append(size)
    elements = []
    for size in sizes:
        elements.append(content[position : position + size])
        position += size
    if position != len(content):
        raise ValueError("{} bytes are left behind {} variants".format(len(content) - position, count))
    return elements


def digest_of(elements):
    """SHA-256 of a tensor's bytes; of strings with the length before each."""
    if not isinstance(elements, list):
        return hashlib.sha256(elements).hexdigest()
    digest = hashlib.sha256()
    for element in elements:
        digest.update(struct.pack("<Q", len(element)))
        digest.update(element)
    return digest.hexdigest()


def checksum_of(elements, dtype):
    """The crc32c that a bundle holds for such a tensor, made of the value alone."""
    if not isinstance(elements, list):
        return crc32c(elements)
    if dtype == "variant":
        crc = 0
        for element in elements:
            crc = crc32c(element, crc32c(struct.pack("<Q", len(element)), crc))
            crc = crc32c(struct.pack("<I", masked(crc)), crc)
        return crc
    crc = crc32c(b"".join(struct.pack("<I", len(element)) for element in elements))
    return crc32c(b"".join(elements), crc32c(struct.pack("<I", masked(crc)), crc))


def masked(crc):
    """The form in which files hold a checksum."""
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _table():
    table = []
    for crc in range(256):
        for _ in range(8):
            crc = (crc >> 1) ^ (_POLYNOMIAL if crc & 1 else 0)
        table.append(crc)
    return table


_TABLE = _table()


def crc32c(content, crc=0):
    """One byte after the other, by the definition."""
    crc ^= 0xFFFFFFFF
    for byte in content:
        crc = (crc >> 8) ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF
