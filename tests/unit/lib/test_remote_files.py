"""Checkpoints below a URL: the same answers as from a disk, by way of fsspec's own memory store."""

import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import bundle_builder as build
import fsspec
import pytest

from lastgood import reading
from lastgood.bundle.files import is_directory, is_url, join, list_files, open_file, stat_file
from lastgood.bundle.open_file import Named
from lastgood.directory import list_checkpoints
from lastgood.errors import BundleError, MissingFileError
from lastgood.inspect import read_full_names, read_manifest, read_step
from lastgood.reasons import Reason
from lastgood.verify import verify


@pytest.fixture
def store():
    """fsspec's memory store, empty before and after."""
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    yield memory
    memory.store.clear()


def upload(store, prefix, directory="/ckpts"):
    """The files beside a local prefix, in the store; the prefix of the copy."""
    for path in Path(prefix).parent.iterdir():
        if path.is_file():
            store.pipe_file(f"{directory}/{path.name}", path.read_bytes())
    return f"memory:/{directory}/{Path(prefix).name}"


def reasons(verification):
    return [fault.reason for fault in verification.faults]


@pytest.mark.parametrize("local", build.real_prefixes("tf-2.21.0"))
def test_every_real_checkpoint_reads_the_same_from_a_store_as_from_a_disk(store, local):
    prefix = upload(store, local)

    here, there = verify(local), verify(prefix)

    assert (there.faults, there.digest) == ((), here.digest)
    assert (there.tensors, there.bytes_read) == (here.tensors, here.bytes_read)
    assert read_manifest(prefix, full_names=True) == read_manifest(local, full_names=True)
    assert (read_step(prefix), read_full_names(prefix)) == (read_step(local), read_full_names(local))


def test_damage_in_a_store_is_found(store):
    prefix = upload(store, build.real_prefixes("tf-2.21.0", "sharded")[0])
    data = prefix + ".data-00002-of-00005"
    whole = store.cat_file(data)
    found = []
    for content in (whole[:-1], bytes([whole[0] ^ 1]) + whole[1:]):
        store.pipe_file(data, content)
        found += reasons(verify(prefix))
    store.rm_file(data)
    found += reasons(verify(prefix))

    assert found == [Reason.TORN, Reason.CORRUPT, Reason.INCOMPLETE]


def test_a_store_that_bears_one_reader_at_a_time_has_one(store, monkeypatch):
    # given: a store that counts who is in it, and takes its time
    monkeypatch.setattr(reading, "REMOTE_JOB_BYTES", 1 << 16)
    content = os.urandom(4 << 20)
    store.pipe_file("/big.data-00000-of-00001", content)
    store.pipe_file("/big.index", build.index_of([build.Tensor(b"t", content, (1 << 20,), dtype=3)]))
    readers, seen = [], []
    cat_file = type(store).cat_file

    def slowly(*arguments, **options):
        readers.append(1)
        seen.append(len(readers))
        time.sleep(0.001)
        try:
            return cat_file(*arguments, **options)
        finally:
            readers.pop()

    monkeypatch.setattr(type(store), "cat_file", slowly)

    # then
    assert verify("memory://big", threads=8).faults == ()
    assert set(seen) == {1}


def test_an_object_that_is_replaced_while_it_is_read_leaves_all_open(store):
    prefix = upload(store, build.real_prefixes("tf-2.21.0", "mwms")[0])
    data = prefix + ".data-00000-of-00001"

    verification = verify(prefix, on_progress=lambda *_: store.pipe_file(data, store.cat_file(data)))

    assert reasons(verification) == [Reason.STILL_CHANGING]


def test_a_directory_below_a_url_is_listed(store):
    upload(store, str(build.DATA / "tf-2.21.0" / "keras_adam" / "ckpt-2"))

    assert {os.path.basename(listed.prefix) for listed in list_checkpoints("memory://ckpts")} == {"ckpt-2", "ckpt-3"}
    assert all(verify(listed.prefix).faults == () for listed in list_checkpoints("memory://ckpts"))
    assert list_checkpoints("memory://nothing") == ()
    assert (is_directory("memory://ckpts"), is_directory("memory://ckpts/ckpt-2.index")) == (True, False)


def test_what_is_missing_or_no_object_is_told_apart(store):
    store.pipe_file("/dir/file", b"12345")

    with pytest.raises(MissingFileError):
        stat_file("memory://dir/nothing", "the index")
    with pytest.raises(BundleError, match="found no regular file"):
        stat_file("memory://dir", "the index")
    assert stat_file("memory://dir/file", "the index").size_bytes == 5


def test_a_read_ends_where_the_object_ended_when_it_was_opened(store):
    store.pipe_file("/file", b"12345")
    buffer = bytearray(4)

    with open_file("memory://file", "a data file") as file:
        counts = [file.read_into(buffer, offset) for offset in (0, 3, 5, 9)]

    assert (counts, bytes(buffer)) == ([4, 2, 0, 0], b"4534")


def test_without_fsspec_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec.core", None)

    (fault,) = verify("s3://bucket/ckpt-1").faults

    assert fault.reason is Reason.UNREADABLE
    assert fault.detail == "reading s3://bucket/ckpt-1.index needs fsspec: pip install 'lastgood[remote]'"


def test_an_fsspec_that_cannot_be_imported_says_so(monkeypatch, tmp_path):
    for name in [name for name in sys.modules if name.partition(".")[0] == "fsspec"]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "fsspec.py").write_text("raise RuntimeError('of another Python')")
    monkeypatch.syspath_prepend(tmp_path)

    (fault,) = verify("s3://bucket/ckpt-1").faults

    assert fault.reason is Reason.UNREADABLE
    assert fault.detail == (
        "reading s3://bucket/ckpt-1.index needs an fsspec that works: pip install 'lastgood[remote]' "
        "(RuntimeError: of another Python)"
    )


def test_without_the_package_of_a_store_fsspec_says_what_to_install():
    (fault,) = verify("gs://bucket/ckpt-1").faults

    assert fault.reason is Reason.UNREADABLE
    assert "gcsfs" in fault.detail


class Answers(BaseHTTPRequestHandler):
    """Says the status that is the first part of the path."""

    def do_GET(self):
        self.send_error(int(self.path.split("/")[1]))

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_):
        pass


@pytest.mark.parametrize(
    ("status", "reason"),
    [(404, Reason.INCOMPLETE), (410, Reason.INCOMPLETE), (403, Reason.UNREADABLE), (500, Reason.UNREADABLE)],
)
def test_over_http_only_what_is_not_there_is_missing(status, reason):
    pytest.importorskip("aiohttp")
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        answered = reasons(verify(f"http://127.0.0.1:{server.server_port}/{status}/ckpt-1"))
        server.shutdown()

    refused = reasons(verify(f"http://127.0.0.1:{server.server_port}/404/ckpt-1"))

    assert (answered, refused) == ([reason], [Reason.UNREADABLE])


def test_an_unknown_scheme_is_unreadable():
    assert reasons(verify("nowhere://bucket/ckpt-1")) == [Reason.UNREADABLE]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("s3://bucket/a", True),
        ("simplecache::s3://bucket/a", True),
        ("/a/b", False),
        ("a:b", False),
        ("C:/a", False),
        ("./s3://a", False),
        ("file:///a", False),
    ],
)
def test_a_url_is_told_from_a_path(path, expected):
    assert is_url(path) is expected


def test_a_file_url_is_the_path_in_it(tmp_path):
    prefix = build.write_bundle(tmp_path / "ckpt-1", [build.Tensor(b"t", bytes(4), (1,))])

    assert verify("file://" + prefix).faults == ()
    assert [listed.prefix for listed in list_checkpoints(f"file://{tmp_path}")] == ["file://" + prefix]


def test_links_that_lead_nowhere_that_we_may_look_are_named_and_hide_nothing_else(tmp_path):
    prefix = build.write_bundle(tmp_path / "ckpt-1", [build.Tensor(b"t", bytes(4), (1,))])
    os.symlink("loop-2.index", tmp_path / "loop-2.index")

    found = {listed.prefix: reasons(verify(listed.prefix)) for listed in list_checkpoints(str(tmp_path))}

    assert found == {prefix: [], str(tmp_path / "loop-2"): [Reason.UNREADABLE]}


def test_links_are_followed_and_only_files_are_listed(tmp_path):
    prefix = build.write_bundle(tmp_path / "ckpt-1", [build.Tensor(b"t", bytes(4), (1,))])
    (tmp_path / "linked").mkdir()
    for suffix in (".index", ".data-00000-of-00001"):
        os.symlink(prefix + suffix, tmp_path / "linked" / ("ckpt-9" + suffix))
    os.symlink("nowhere", tmp_path / "linked" / "ckpt-8.index")
    (tmp_path / "linked" / "ckpt-7.index").mkdir()

    linked = str(tmp_path / "linked" / "ckpt-9")
    assert {file.name for file in list_files(str(tmp_path / "linked"))} == {
        "ckpt-9.index",
        "ckpt-9.data-00000-of-00001",
    }
    assert all(isinstance(file, Named) and file.mtime_ns for file in list_files(str(tmp_path / "linked")))
    assert (verify(linked).faults, verify(linked).digest) == ((), verify(prefix).digest)


def test_names_are_joined_below_directories_and_urls():
    assert join("/a", "b") == "/a/b"
    assert join("s3://bucket/a", "b") == "s3://bucket/a/b"
    assert join("s3://bucket/a", "gs://other/b") == "gs://other/b"
