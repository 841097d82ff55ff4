"""crc32c: the published vectors, and pure Python against C."""

import random
import subprocess
import sys
from types import SimpleNamespace

import crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood import checksum


def test_crc32c_gives_the_published_vectors():
    vectors = {b"": 0, b"123456789": 0xE3069283, bytes(32): 0x8A9136AA, b"\xff" * 32: 0x62A8AB43}

    computed = {data: (checksum.crc32c(data), checksum.crc32c_in_python(data)) for data in vectors}

    assert computed == {data: (crc, crc) for data, crc in vectors.items()}


@given(st.binary(max_size=100), st.integers(0, 0xFFFFFFFF))
def test_pure_python_agrees_with_the_implementation_in_use(data, value):
    assert checksum.crc32c_in_python(data, value) == checksum.crc32c(data, value)


@given(st.binary(max_size=60), st.integers(0, 60))
def test_a_checksum_can_be_taken_in_two_parts(data, cut):
    first = checksum.crc32c_in_python(memoryview(data)[:cut])

    assert checksum.crc32c_in_python(memoryview(data)[cut:], first) == checksum.crc32c(data)


@given(st.integers(0, 0xFFFFFFFF))
def test_unmask_undoes_mask(crc):
    assert checksum.unmask(checksum.mask(crc)) == crc
    assert 0 <= checksum.mask(crc) <= 0xFFFFFFFF


@pytest.mark.parametrize("size", [(1 << 18) - 1, 1 << 18, (1 << 18) + 5, 1 << 20, (1 << 20) + 16383, 3 << 20])
def test_large_data_has_the_same_checksum_in_numpy(size):
    pytest.importorskip("numpy")
    data = random.Random(size).randbytes(size)

    for value in (0, 0x12345678):
        assert checksum.crc32c_without_c(data, value) == checksum.crc32c_in_python(data, value)


def test_without_numpy_large_data_has_the_same_checksum(monkeypatch):
    monkeypatch.setattr(checksum, "_advance_in_numpy", lambda: None)

    assert checksum.crc32c_without_c(bytes(1 << 18)) == checksum.crc32c(bytes(1 << 18))


def test_the_c_implementation_is_used_without_what_its_package_imports():
    program = (
        "import sys, lastgood.checksum as c; print(c.IS_FAST, {'crc32c', 'importlib.metadata'} & set(sys.modules))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)

    assert (done.stdout, done.stderr) == ("True set()\n", "")


def test_a_package_that_was_imported_already_is_used(monkeypatch):
    monkeypatch.setitem(sys.modules, "crc32c", crc32c)

    assert checksum._import_c() is crc32c.crc32c


@pytest.mark.parametrize("package", [None, SimpleNamespace(crc32c=lambda *_: 1), SimpleNamespace()])
def test_a_missing_wrong_or_broken_c_implementation_is_not_used(monkeypatch, package):
    monkeypatch.setitem(sys.modules, "crc32c", package)

    assert checksum._import_c() is None
