"""Tensors that are stored in parts: put together as they were, whatever the cuts; and layouts that are none."""

import math

import bundle_builder as build
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lastgood import bundle_checkpoint
from lastgood.bundle import ordered_code, slices
from lastgood.bundle.reader import parse_bundle
from lastgood.bundle.slices import Box, have_overlap
from lastgood.checkpoint import open_checkpoint
from lastgood.errors import BundleError
from lastgood.reasons import Reason


@st.composite
def tilings(draw, max_rank=4):
    """A shape, and boxes that make it up exactly: cut again and again along any axis."""
    shape = tuple(draw(st.lists(st.integers(1, 7), min_size=1, max_size=max_rank)))
    boxes = [Box((0,) * len(shape), shape)]
    for _ in range(draw(st.integers(0, 6))):
        box = boxes.pop(draw(st.integers(0, len(boxes) - 1)))
        axis = draw(st.integers(0, len(shape) - 1))
        at = draw(st.integers(0, box.shape[axis]))
        for start, size in ((0, at), (at, box.shape[axis] - at)):
            boxes.append(
                Box(
                    tuple(first + start * (place == axis) for place, first in enumerate(box.start)),
                    tuple(size if place == axis else length for place, length in enumerate(box.shape)),
                )
            )
    boxes = [box for place, box in enumerate(boxes) if box not in boxes[:place]]  # empty ones may be there twice
    return shape, draw(st.permutations(boxes))


def write_parts(prefix, array, boxes, dtype=1):
    """A bundle with the tensor `s` in these parts; an extent that is complete is written as -1, as TensorFlow does."""
    whole = build.field(1, dtype) + build.field(2, b"".join(build.field(2, build.field(1, n)) for n in array.shape))
    rows, data = {}, b""
    for box in boxes:
        extents = [
            (start, -1 if size == length else size) for start, size, length in zip(*box, array.shape, strict=True)
        ]
        message = b"".join(
            build.field(1, b"" if size == -1 else build.field(1, start) + build.field(2, size))
            for start, size in extents
        )
        whole += build.field(7, message)
        part = array[tuple(slice(a, a + n) for a, n in zip(*box, strict=True))].tobytes()
        tensor = build.Tensor(ordered_code.encode_slice_key(b"s", extents), part, box.shape, dtype)
        rows[tensor.key] = build.entry(tensor, len(data))
        data += part
    index = build.table(build.block([(b"", build.HEADER), *sorted([*rows.items(), (b"s", whole)])]))
    prefix.with_suffix(".index").write_bytes(index)
    prefix.with_suffix(".data-00000-of-00001").write_bytes(data)
    return str(prefix)


@settings(max_examples=150)
@given(tilings(), st.sampled_from([1, 48, 1 << 18]))
def test_parts_are_put_together_whatever_the_cuts(tmp_path_factory, tiling, band_bytes):
    # given
    shape, boxes = tiling
    array = np.arange(math.prod(shape), dtype="<i4").reshape(shape)
    prefix = write_parts(tmp_path_factory.mktemp("parts") / "ckpt", array, boxes, dtype=3)

    # when
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle_checkpoint, "_BAND_BYTES", band_bytes)
        with open_checkpoint(prefix) as checkpoint:
            found, tensors = checkpoint.array(b"s"), checkpoint.tensors

    # then
    assert np.array_equal(found, array)
    assert [(key, tensor.size_bytes) for key, tensor in tensors.items()] == [(b"s", array.nbytes)]


@given(tilings())
def test_a_layout_that_makes_up_the_shape_has_no_overlap_and_one_with_a_box_twice_has(tiling):
    _, boxes = tiling

    assert have_overlap(boxes) is False
    assert have_overlap([*boxes, max(boxes, key=lambda box: box.volume)]) is True


def test_a_layout_that_no_cut_takes_apart_is_compared_pair_by_pair():
    pinwheel = [
        Box((0, 0), (1, 2)),
        Box((0, 2), (2, 1)),
        Box((2, 1), (1, 2)),
        Box((1, 0), (2, 1)),
        Box((1, 1), (1, 1)),
    ]

    assert have_overlap(pinwheel) is False
    assert have_overlap([*pinwheel[:4], Box((1, 1), (2, 1))]) is True


def test_a_layout_that_would_take_hours_is_neither_confirmed_nor_denied():
    staircase = [Box((place, place), (1_000_000, 1_000_000)) for place in range(100_000)]

    assert have_overlap(staircase) is None


def test_a_layout_of_many_parts_takes_no_time():
    grid = [Box((row * 4, column), (4, 1)) for row in range(300) for column in range(300)]

    assert have_overlap(grid) is False


@pytest.mark.parametrize(
    "boxes",
    [
        [Box((0, 0), (1, 2)), Box((0, 0), (1, 2)), Box((1, 0), (1, 2))],  # one twice, one missing: as many elements
        [Box((0, 0), (2, 2)), Box((1, 0), (1, 2))],  # overlapping, with a hole: as many elements
        [Box((0, 0), (2, 2)), Box((1, 0), (2, 2))],  # overlapping
        [Box((0, 0), (2, 2))],  # a hole
    ],
)
def test_parts_that_overlap_or_leave_a_hole_are_damage(tmp_path, boxes):
    array = np.zeros((3, 2), "<f4")
    prefix = write_parts(tmp_path / "ckpt", array, boxes)

    with pytest.raises(BundleError) as raised:
        open_checkpoint(prefix)

    assert raised.value.reason is Reason.CORRUPT


def test_a_damaged_part_is_found_when_the_tensor_is_read(tmp_path):
    array = np.arange(12, dtype="<f4").reshape(3, 4)
    for name, boxes in {
        "rows": [Box((0, 0), (1, 4)), Box((1, 0), (2, 4))],
        "columns": [Box((0, 0), (3, 1)), Box((0, 1), (3, 3))],
    }.items():
        prefix = write_parts(tmp_path / name, array, boxes)
        data = tmp_path / f"{name}.data-00000-of-00001"
        data.write_bytes(data.read_bytes()[:-1] + b"\x01")

        with open_checkpoint(prefix) as checkpoint, pytest.raises(BundleError) as raised:
            checkpoint.array(b"s")

        assert raised.value.reason is Reason.CORRUPT


def test_the_parts_of_several_data_files_are_joined():
    with open_checkpoint(str(build.DATA / "tf-2.21.0" / "sharded" / "ckpt-1")) as checkpoint:
        big = checkpoint.array(b"big/.ATTRIBUTES/VARIABLE_VALUE")

    assert np.array_equal(big, np.arange(4096, dtype="float32").reshape(64, 64))


def test_two_tensors_of_one_checkpoint_can_be_read_at_once(tmp_path):
    one, other = (np.full(1 << 20, value, "<f4") for value in (1, 2))
    tensors = [build.Tensor(key, array.tobytes(), array.shape) for key, array in ((b"a", one), (b"b", other))]

    with open_checkpoint(build.write_bundle(tmp_path / "ckpt", tensors)) as checkpoint:
        pairs = [(bytes(a[:4]), bytes(b[:4])) for a, b in zip(checkpoint.raw(b"a"), checkpoint.raw(b"b"), strict=True)]

    assert set(pairs) == {(one[:1].tobytes(), other[:1].tobytes())}


@given(tilings(), st.integers(1, 40))
def test_bands_lie_one_behind_the_other_and_are_not_too_large(tiling, max_elements):
    shape, _ = tiling

    bands = list(slices.bands(shape, max_elements))

    places = np.arange(math.prod(shape)).reshape(shape)
    cut = [places[tuple(slice(a, a + n) for a, n in zip(*band, strict=True))].ravel() for band in bands]
    assert np.concatenate(cut).tolist() == list(range(math.prod(shape)))
    assert max(band.volume for band in bands) <= max_elements


def test_the_sliced_entries_of_an_index_are_those_that_were_written(tmp_path):
    prefix = write_parts(tmp_path / "ckpt", np.zeros((2, 2), "<f4"), [Box((0, 0), (1, 2)), Box((1, 0), (1, 2))])

    whole = parse_bundle((tmp_path / "ckpt.index").read_bytes()).by_key()[b"s"]

    assert whole.slices == (((0, 1), (0, -1)), ((1, 1), (0, -1)))
    assert prefix.endswith("ckpt")
