"""The bytes of a tensor as values: a numpy array where there is numpy, Python's own numbers anywhere.

Every element type that TensorFlow stores, without ml_dtypes. Of the types that numpy lacks an array holds the bits:
bfloat16 as uint16, the float8 types and float4 as uint8; `to_float32` makes numbers of them. The small integers (int4,
uint4, int2, uint2), which files keep one to a byte, come as int8 and uint8. Quantised types come as the integers that
they are stored as. Strings and variants are no numbers: `Checkpoint.elements` reads them.
"""

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Iterable, List, NamedTuple, Sequence, Tuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.generic]

#: What an element is stored as, in struct's letters.
_LETTERS = {
    "float16": "e",
    "float32": "f",
    "float64": "d",
    "int8": "b",
    "int16": "h",
    "int32": "i",
    "int64": "q",
    "uint8": "B",
    "uint16": "H",
    "uint32": "I",
    "uint64": "Q",
    "bool": "?",
    "qint8": "b",
    "qint16": "h",
    "qint32": "i",
    "quint8": "B",
    "quint16": "H",
    "bfloat16": "H",
    "float8_e5m2": "B",
    "float8_e4m3fn": "B",
    "float8_e4m3fnuz": "B",
    "float8_e4m3b11fnuz": "B",
    "float8_e5m2fnuz": "B",
    "float4_e2m1fn": "B",
    "int4": "b",
    "uint4": "B",
    "int2": "b",
    "uint2": "B",
}
_NUMPY_TYPES = {
    "e": "<f2",
    "f": "<f4",
    "d": "<f8",
    "b": "<i1",
    "h": "<i2",
    "i": "<i4",
    "q": "<i8",
    "B": "<u1",
    "H": "<u2",
    "I": "<u4",
    "Q": "<u8",
    "?": "?",
}
_COMPLEX = {"complex64": ("f", "<c8"), "complex128": ("d", "<c16")}

#: Integers of fewer than eight bits, in the lower bits of their byte: how many.
_NARROW = {"int4": 4, "uint4": 4, "int2": 2, "uint2": 2}


class _FloatFormat(NamedTuple):
    """A float type of at most eight bits.

    has_infinity: the highest exponent stands for infinity and NaN, as in IEEE 754.
    nan: the bits of NaN besides those; for the types without a negative zero, its bits.
    """

    exponent_bits: int
    mantissa_bits: int
    bias: int
    has_infinity: bool
    nan: Tuple[int, ...]


_SMALL_FLOATS = {
    "float8_e5m2": _FloatFormat(5, 2, 15, True, ()),
    "float8_e4m3fn": _FloatFormat(4, 3, 7, False, (0x7F, 0xFF)),
    "float8_e4m3fnuz": _FloatFormat(4, 3, 8, False, (0x80,)),
    "float8_e4m3b11fnuz": _FloatFormat(4, 3, 11, False, (0x80,)),
    "float8_e5m2fnuz": _FloatFormat(5, 2, 16, False, (0x80,)),
    "float4_e2m1fn": _FloatFormat(2, 1, 1, False, ()),
}

#: Types whose arrays hold bits rather than numbers.
BITS = frozenset(_SMALL_FLOATS) | {"bfloat16"}


def to_numpy(pieces: "Iterable[memoryview]", dtype: str, shape: Sequence[int]) -> "Array":
    """The elements as an array of that shape, its own memory. Raises ImportError where there is no numpy."""
    import numpy as np

    data = bytearray()
    for piece in pieces:
        data += piece
    form = _COMPLEX[dtype][1] if dtype in _COMPLEX else _NUMPY_TYPES[_LETTERS[dtype]]
    array: Array = np.frombuffer(data, dtype=form).reshape(tuple(shape))
    if dtype in _NARROW:
        return _narrow_in_numpy(array, dtype)
    return array


def _narrow_in_numpy(array: "Any", dtype: str) -> "Array":
    bits = _NARROW[dtype]
    if dtype.startswith("u"):
        return array & ((1 << bits) - 1)  # type: ignore[no-any-return]
    return (array << (8 - bits)) >> (8 - bits)  # type: ignore[no-any-return]


def to_float32(array: "Any", dtype: str) -> "npt.NDArray[np.float32]":
    """The numbers in an array that `to_numpy` made of a float type; exact for all but float64, which is rounded."""
    import numpy as np

    if dtype == "bfloat16":
        return (array.astype(np.uint32) << np.uint32(16)).view(np.float32).reshape(array.shape)  # type: ignore[no-any-return]
    if dtype in _SMALL_FLOATS:
        return np.take(np.array(small_float_table(dtype), dtype=np.float32), array)  # type: ignore[no-any-return]
    return array.astype(np.float32)  # type: ignore[no-any-return]


def to_list(pieces: "Iterable[memoryview]", dtype: str) -> List[Any]:
    """The elements in a list: int, float, complex or bool."""
    data = b"".join(map(bytes, pieces))
    if dtype in _COMPLEX:
        flat = _unpack(data, _COMPLEX[dtype][0])
        return [complex(real, imaginary) for real, imaginary in zip(flat[0::2], flat[1::2])]
    numbers = _unpack(data, _LETTERS[dtype])
    if dtype == "bfloat16":
        return list(_unpack(b"".join(struct.pack("<HH", 0, number) for number in numbers), "f"))
    if dtype in _SMALL_FLOATS:
        table = small_float_table(dtype)
        return [table[number] for number in numbers]
    if dtype in _NARROW:
        return [_narrow(number, dtype) for number in numbers]
    return list(numbers)


def _unpack(data: bytes, letter: str) -> Tuple[Any, ...]:
    return struct.unpack("<{}{}".format(len(data) // struct.calcsize("<" + letter), letter), data)


def _narrow(number: int, dtype: str) -> int:
    bits = _NARROW[dtype]
    low = number & ((1 << bits) - 1)
    return low - (1 << bits) if dtype.startswith("i") and low >> (bits - 1) else low


@lru_cache(maxsize=None)
def small_float_table(dtype: str) -> Tuple[float, ...]:
    """The number that each byte stands for, of a float type of at most eight bits; bits above those are ignored."""
    form = _SMALL_FLOATS[dtype]
    width = 1 + form.exponent_bits + form.mantissa_bits
    return tuple(_small_float(byte & ((1 << width) - 1), form) for byte in range(256))


def _small_float(bits: int, form: _FloatFormat) -> float:
    if bits in form.nan:
        return float("nan")
    sign = -1.0 if bits >> (form.exponent_bits + form.mantissa_bits) else 1.0
    exponent = bits >> form.mantissa_bits & ((1 << form.exponent_bits) - 1)
    mantissa = bits & ((1 << form.mantissa_bits) - 1)
    if form.has_infinity and exponent == (1 << form.exponent_bits) - 1:
        return float("nan") if mantissa else sign * float("inf")
    if exponent == 0:
        return sign * mantissa * 2.0 ** (1 - form.bias - form.mantissa_bits)
    return sign * ((1 << form.mantissa_bits) + mantissa) * 2.0 ** (exponent - form.bias - form.mantissa_bits)
