"""NaN and Inf by their bit patterns, against numpy and ml_dtypes: every code of the narrow types, counted both ways."""

import ml_dtypes
import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood.bundle.dtypes import BY_NUMBER
from lastgood.finite import NONE, Counts, counter, has_non_finite

NARROW = {
    "float16": numpy.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "float8_e5m2": ml_dtypes.float8_e5m2,
    "float8_e4m3fn": ml_dtypes.float8_e4m3fn,
    "float8_e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
    "float8_e4m3b11fnuz": ml_dtypes.float8_e4m3b11fnuz,
    "float8_e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
}
WIDE = {
    "float32": numpy.float32,
    "float64": numpy.float64,
    "complex64": numpy.complex64,
    "complex128": numpy.complex128,
}
FLOATING = {**NARROW, **WIDE}

#: Where the exponent's ones end and a mantissa's begin, in codes of 4 and of 8 bytes.
EDGES = {
    4: [0x7F800000, 0x7F800001, 0x7FC00000, 0x7FFFFFFF, 0x7F7FFFFF, 0x7F000000, 0, 0x3F800000],
    8: [0x7FF0 << 48, (0x7FF0 << 48) + 1, 0x7FF8 << 48, (1 << 63) - 1, (0x7FF0 << 48) - 1, 0x7F00 << 48, 0, 1],
}


@pytest.fixture(params=["numpy", "pure Python"])
def count(request):
    """A function (dtype, bytes) -> Counts."""
    module = numpy if request.param == "numpy" else None
    return lambda dtype, data: counter(dtype, module)(memoryview(data))


def expected(dtype, data):
    values = numpy.frombuffer(data, dtype=FLOATING[dtype])
    with numpy.errstate(invalid="ignore"):
        return Counts(int(numpy.isnan(values).sum()), int(numpy.isinf(values).sum()))


@pytest.mark.parametrize("dtype", NARROW)
def test_every_code_of_a_narrow_type_is_told_apart(count, dtype):
    size = numpy.dtype(NARROW[dtype]).itemsize
    codes = [code.to_bytes(size, "little") for code in range(1 << 8 * size)]
    values = numpy.frombuffer(b"".join(codes), dtype=NARROW[dtype])
    with numpy.errstate(invalid="ignore"):  # signalling NaN
        kinds = list(zip(numpy.isnan(values).tolist(), numpy.isinf(values).tolist(), strict=True))

    found = [count(dtype, code) for code in codes]

    assert found == [Counts(int(nan), int(inf)) for nan, inf in kinds]
    assert count(dtype, b"".join(codes)) == expected(dtype, b"".join(codes))


@pytest.mark.parametrize("dtype", WIDE)
def test_codes_next_to_the_edges_of_a_wide_type_are_told_apart(count, dtype):
    part = numpy.dtype(WIDE[dtype]).itemsize // (2 if dtype.startswith("complex") else 1)
    sign = 1 << (8 * part - 1)
    codes = [code.to_bytes(part, "little") for edge in EDGES[part] for code in (edge, edge | sign)]
    elements = codes if part == numpy.dtype(WIDE[dtype]).itemsize else [a + b for a in codes for b in codes]

    for element in elements:
        assert count(dtype, element) == expected(dtype, element), element.hex()
    assert count(dtype, b"".join(elements)) == expected(dtype, b"".join(elements))


@pytest.mark.parametrize("dtype", WIDE)
@given(data=st.data())
def test_any_codes_of_a_wide_type_are_counted_as_numpy_counts_them(dtype, data):
    size = numpy.dtype(WIDE[dtype]).itemsize
    common = st.sampled_from([b"\0", b"\x7f", b"\xff", b"\x80", b"\xf0"])
    drawn = data.draw(st.lists(common | st.binary(min_size=1, max_size=1), max_size=6 * size))
    codes = b"".join(drawn[: len(drawn) // size * size])

    assert counter(dtype)(memoryview(codes)) == expected(dtype, codes)
    assert counter(dtype, numpy)(memoryview(codes)) == expected(dtype, codes)


@pytest.mark.parametrize("dtype", FLOATING)
def test_elements_at_an_odd_address_are_counted_too(count, dtype):
    values = numpy.array([1, -1, float("nan"), 0.5, float("inf"), 0.25], dtype=FLOATING[dtype]).tobytes()
    buffer = memoryview(bytearray(1) + values)

    assert count(dtype, buffer[1:]) == expected(dtype, values)


@pytest.mark.parametrize("dtype", FLOATING)
def test_no_elements_are_all_finite(count, dtype):
    assert count(dtype, b"") == NONE


def test_only_floating_types_have_values_that_are_not_finite():
    named = {dtype.name for dtype in BY_NUMBER.values()}

    assert {name for name in named if has_non_finite(name)} == set(FLOATING)
    assert {name for name in named if counter(name) is not None} == set(FLOATING)
    assert "float4_e2m1fn" in named
    assert numpy.isfinite(numpy.arange(16, dtype="u1").view(ml_dtypes.float4_e2m1fn).astype("f4")).all()
