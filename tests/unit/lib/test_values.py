"""Bytes to values: every element type, with numpy and without it."""

import math
import struct

import bundle_builder as build
import ml_dtypes
import numpy as np
import pytest

from lastgood.bundle import dtypes
from lastgood.checkpoint import open_checkpoint
from lastgood.values import BITS, small_float_table, to_float32, to_list

NUMBERS = [(number, dtype) for number, dtype in dtypes.BY_NUMBER.items() if dtype.size_bytes]


def bits_of(value):
    """Tells NaN, and the zeros, from each other."""
    return "nan" if value != value else struct.pack("<d", value)


@pytest.mark.parametrize(("number", "dtype"), NUMBERS, ids=lambda value: getattr(value, "name", None))
def test_every_type_gives_the_same_numbers_with_numpy_and_without_it(tmp_path, number, dtype):
    # given: every byte value, in an order that makes each element of several bytes another one; no bool but 0 and 1
    pattern = bytes(range(256)) if dtype.name != "bool" else bytes([0, 1] * 128)
    tensor = build.Tensor(b"w", pattern, (4, 256 // 4 // dtype.size_bytes), number)

    # when
    with open_checkpoint(build.write_bundle(tmp_path / "ckpt", [tensor])) as checkpoint:
        array, numbers = checkpoint.array(b"w"), checkpoint.values(b"w")

    # then
    if dtype.name in BITS:
        assert array.tobytes() == pattern
        array = to_float32(array, dtype.name)
    assert array.shape == tensor.shape
    if isinstance(numbers[0], (float, complex)):
        numbers = [part for value in numbers for part in (complex(value).real, complex(value).imag)]
        flat = [part for value in array.ravel().tolist() for part in (complex(value).real, complex(value).imag)]
        assert list(map(bits_of, flat)) == list(map(bits_of, numbers))
    else:
        assert array.ravel().tolist() == numbers
        assert {type(value) for value in numbers} == {bool if dtype.name == "bool" else int}


@pytest.mark.parametrize("dtype", sorted(BITS - {"bfloat16"}))
def test_a_small_float_is_the_number_that_its_definition_says(dtype):
    # given
    bits = np.arange(16 if dtype == "float4_e2m1fn" else 256, dtype=np.uint8)
    expected = bits.view(getattr(ml_dtypes, dtype)).astype(np.float64).tolist()

    # when
    found = small_float_table(dtype)

    # then
    assert list(map(bits_of, found[: len(bits)])) == list(map(bits_of, expected))


def test_bfloat16_is_the_upper_half_of_a_float32():
    bits = np.arange(1 << 16, dtype=np.uint16)

    found = to_float32(bits, "bfloat16")

    expected = bits.view(ml_dtypes.bfloat16).astype(np.float32)
    assert np.array_equal(found.view(np.uint32), expected.view(np.uint32))


@pytest.mark.parametrize(
    ("dtype", "stored", "expected"),
    [
        ("int4", b"\x08\x0f\x00\x07", [-8, -1, 0, 7]),
        ("int4", b"\xf8\xff\x10\xf7", [-8, -1, 0, 7]),
        ("uint4", b"\x00\x0f\xff", [0, 15, 15]),
        ("int2", b"\x02\x03\x00\x01", [-2, -1, 0, 1]),
        ("uint2", b"\x03\xfe", [3, 2]),
    ],
)
def test_a_narrow_integer_is_in_the_lower_bits_of_its_byte(dtype, stored, expected):
    assert to_list([memoryview(stored)], dtype) == expected


def test_an_element_may_lie_across_two_pieces():
    data = memoryview(struct.pack("<3f", 1.5, -2, 1e30))

    assert to_list([data[:3], data[3:9], data[9:]], "float32") == list(struct.unpack("<3f", data))


@pytest.mark.parametrize("shape", [(0,), (0, 4), (3, 0, 2), ()])
def test_empty_and_scalar_tensors_have_their_shape(tmp_path, shape):
    tensor = build.Tensor(b"w", bytes(4 * math.prod(shape)), shape)

    with open_checkpoint(build.write_bundle(tmp_path / "ckpt", [tensor])) as checkpoint:
        assert checkpoint.array(b"w").shape == shape
        assert checkpoint.values(b"w") == [0.0] * math.prod(shape)


def test_an_array_may_be_written_to(tmp_path):
    with open_checkpoint(build.write_bundle(tmp_path / "ckpt", [build.Tensor(b"w", bytes(8), (2,))])) as checkpoint:
        array = checkpoint.array(b"w")

    array += 1
    assert array.tolist() == [1, 1]
