"""Differences between values: the same with numpy and without, and the same as numpy's own words for them."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from lastgood.bundle.dtypes import BY_NUMBER
from lastgood.difference import deltas
from lastgood.difference.deltas import USUAL, Delta, NonFinite, Tolerance, compare_elements, compare_numbers

SIZES = {dtype.name: dtype.size_bytes for dtype in BY_NUMBER.values() if dtype.size_bytes}


@pytest.fixture(params=["numpy", "python"])
def compare(request, monkeypatch):
    """compare_numbers in its two ways, in blocks that are small enough to need several."""
    monkeypatch.setattr(deltas, "BLOCK_BYTES", 32)
    way = {"numpy": deltas._compare_in_numpy, "python": deltas._compare_in_python}[request.param]
    monkeypatch.setattr(deltas, "_block_comparison", lambda: way)
    return lambda one, other, *rest: compare_numbers([memoryview(one)], [memoryview(other)], *rest)


def floats(*numbers):
    return struct.pack(f"<{len(numbers)}f", *numbers)


def test_the_largest_difference_is_named_with_its_place(compare):
    before, after = np.zeros((5, 4), "<f4"), np.zeros((5, 4), "<f4")
    after[1, 2], after[4, 3] = 0.5, -2

    assert compare(before.tobytes(), after.tobytes(), "float32", (5, 4)) == Delta(20, 2, 2, 2.0, (4, 3))


def test_nan_and_inf_are_counted_on_both_sides_and_have_no_distance(compare):
    nan, inf = float("nan"), float("inf")

    found = compare(floats(nan, 1, inf, 4), floats(nan, nan, -inf, 5), "float32", (4,))

    assert found == Delta(4, 3, 3, 1.0, (3,), NonFinite(1, 1), NonFinite(2, 1))
    assert compare(floats(1, 2), floats(1, nan), "float32", (2,)) == Delta(2, 1, 1, None, (), NonFinite(0, 0), (1, 0))


def test_differences_within_the_tolerance_are_close(compare):
    found = compare(floats(1, 100, 0), floats(1.05, 104, 0.2), "float32", (3,), Tolerance(rtol=0.05, atol=0.01))

    assert (found.differing, found.beyond) == (3, 1)


def test_zero_and_minus_zero_differ_in_their_bits_and_are_close(compare):
    assert compare(floats(0.0), floats(-0.0), "float32", (1,)) == Delta(1, 1, 0, 0.0, (0,))


@pytest.mark.parametrize(
    ("dtype", "before", "after", "largest"),
    [
        ("int64", -(2**63), 2**63 - 1, 2**64 - 1),
        ("uint64", 0, 2**64 - 1, 2**64 - 1),
        ("int8", -128, 127, 255),
        ("bool", 0, 1, 1),
    ],
)
def test_differences_of_integers_are_exact(compare, dtype, before, after, largest):
    pack = {"int64": "<q", "uint64": "<Q", "int8": "<b", "bool": "<?"}[dtype]

    found = compare(struct.pack(pack, before), struct.pack(pack, after), dtype, ())

    assert found == Delta(1, 1, 1, largest, ())


def test_nothing_has_no_difference(compare):
    assert compare(b"", b"", "float32", (0, 3)) == Delta(0, 0, 0)


@pytest.mark.parametrize("dtype", sorted(SIZES))
@given(data=st.data())
def test_both_ways_find_the_same_for_any_bytes_of_any_type(dtype, data):
    size, count = SIZES[dtype], data.draw(st.integers(1, 6))
    content = st.binary(min_size=size * count, max_size=size * count)
    one, other = data.draw(content), data.draw(content)
    if dtype == "bool":
        one, other = (bytes(byte & 1 for byte in side) for side in (one, other))

    with_numpy = deltas._compare_in_numpy(one, other, dtype, USUAL)
    without = deltas._compare_in_python(one, other, dtype, USUAL)

    assert with_numpy._replace(largest=None, largest_at=0) == without._replace(largest=None, largest_at=0)
    if with_numpy.largest is None or without.largest is None:
        assert with_numpy.largest == without.largest
    else:
        assert with_numpy.largest == pytest.approx(without.largest, rel=1e-12, nan_ok=True)


@given(npst.arrays("<f8", 5), npst.arrays("<f8", 5))
def test_close_is_what_numpy_calls_close(before, after):
    found = compare_numbers([memoryview(before.tobytes())], [memoryview(after.tobytes())], "float64", (5,))

    differs = before.view("<u8") != after.view("<u8")
    with np.errstate(all="ignore"):
        close = np.isclose(after, before, equal_nan=True)
    assert (found.differing, found.beyond) == (int(differs.sum()), int((differs & ~close).sum()))


def test_pieces_may_be_cut_anywhere():
    one, other = np.arange(100, dtype="<i8").tobytes(), np.arange(1, 101, dtype="<i8").tobytes()
    cut = [memoryview(one)[at : at + 7] for at in range(0, len(one), 7)]

    found = compare_numbers(cut, [memoryview(other)], "int64", (100,))

    assert found == Delta(100, 100, 100, 1, (0,))


def test_strings_differ_or_do_not():
    assert compare_elements([b"a", b"b", b"c"], [b"a", b"x", b"c"]) == Delta(3, 1, 1)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.data())
def test_a_place_is_found_again_by_its_index(shape, data):
    place = data.draw(st.integers(0, int(np.prod(shape)) - 1))

    assert deltas.unravel(place, shape) == tuple(map(int, np.unravel_index(place, shape)))
