"""TensorFlow's element types by the number they have in files: name, and bytes per element as stored.

Complete as of TensorFlow 2.21. A number that is not here is refused as Unsupported rather than guessed.
"""

from typing import Dict, NamedTuple


class Dtype(NamedTuple):
    """size_bytes: of one element; 0 where elements differ in size (string, variant)."""

    name: str
    size_bytes: int


STRING, VARIANT = "string", "variant"

BY_NUMBER: Dict[int, Dtype] = {
    1: Dtype("float32", 4),
    2: Dtype("float64", 8),
    3: Dtype("int32", 4),
    4: Dtype("uint8", 1),
    5: Dtype("int16", 2),
    6: Dtype("int8", 1),
    7: Dtype(STRING, 0),
    8: Dtype("complex64", 8),
    9: Dtype("int64", 8),
    10: Dtype("bool", 1),
    11: Dtype("qint8", 1),
    12: Dtype("quint8", 1),
    13: Dtype("qint32", 4),
    14: Dtype("bfloat16", 2),
    15: Dtype("qint16", 2),
    16: Dtype("quint16", 2),
    17: Dtype("uint16", 2),
    18: Dtype("complex128", 16),
    19: Dtype("float16", 2),
    21: Dtype(VARIANT, 0),
    22: Dtype("uint32", 4),
    23: Dtype("uint64", 8),
    24: Dtype("float8_e5m2", 1),
    25: Dtype("float8_e4m3fn", 1),
    26: Dtype("float8_e4m3fnuz", 1),
    27: Dtype("float8_e4m3b11fnuz", 1),
    28: Dtype("float8_e5m2fnuz", 1),
    29: Dtype("int4", 1),  # one byte per element in files
    30: Dtype("uint4", 1),
    31: Dtype("int2", 1),
    32: Dtype("uint2", 1),
    33: Dtype("float4_e2m1fn", 1),
}

BY_NAME: Dict[str, Dtype] = {dtype.name: dtype for dtype in BY_NUMBER.values()}


def is_opaque(dtype: str) -> bool:
    """Whether its elements are bytes of any length rather than numbers."""
    return dtype in (STRING, VARIANT)


#: Types of which `int.from_bytes` gives the value; True: signed.
INTEGERS: Dict[str, bool] = {
    "int8": True,
    "int16": True,
    "int32": True,
    "int64": True,
    "uint8": False,
    "uint16": False,
    "uint32": False,
    "uint64": False,
}
