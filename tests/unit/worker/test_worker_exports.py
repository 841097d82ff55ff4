"""What an agent makes of exports, and of the names that lie in a directory."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from lastgood.v1 import agent_service_pb2 as pb
from lastgood_agent.duties import list_directory
from lastgood_agent.exports import identity, message_of, read_export
from lastgood_agent.facts import FactError, parse_fact, report_of

DATA = Path(__file__).resolve().parents[2] / "data"
NAME = "000001-00000000000000000001-1-1.json"


def fact(**fields: Any) -> Any:
    return parse_fact(NAME, {"attempt": 1, "type": "exported", **fields})


def archive(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("config.json", json.dumps({}))
        file.writestr("model.weights.h5", b"\x89HDF\r\n\x1a\n" + bytes(100))
    return path


def test_a_whole_archive_is_read_and_said_to_be_whole(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.keras")

    found = read_export(str(path), {"kind": "keras", "identity": identity(str(path))})

    assert found is not None
    assert (list(found.faults), found.bytes_read > 0) == ([], True)


def test_a_damaged_archive_is_named_with_its_reason(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.keras")
    content = bytearray(path.read_bytes())
    content[content.index(bytes(50)) + 10] ^= 1
    path.write_bytes(content)

    found = read_export(str(path), {"kind": "keras", "identity": identity(str(path))})

    assert found is not None
    assert [fault.reason for fault in found.faults] == ["Corrupt"]


def test_of_hdf5_it_is_said_that_it_has_no_checksum(tmp_path: Path) -> None:
    path = tmp_path / "w.weights.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))

    found = read_export(str(path), {"kind": "hdf5", "identity": identity(str(path))})

    assert found is not None
    assert [fault.reason for fault in found.faults] == ["NoChecksum"]


def test_what_is_gone_or_was_written_again_is_left_out(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.keras")
    saved = {"kind": "keras", "identity": identity(str(path))}
    path.write_bytes(b"another one, which is told by itself")
    again = read_export(str(path), saved)
    path.unlink()

    assert (again, read_export(str(path), saved)) == (None, None)


def test_a_saved_model_without_variables_is_whole(tmp_path: Path) -> None:
    graph = tmp_path / "saved_model.pb"
    graph.write_bytes(b"graph")

    found = read_export(str(tmp_path), {"kind": "saved_model", "identity": identity(str(graph))})

    assert found is not None
    assert list(found.faults) == []


@pytest.mark.parametrize("fields", [{"kind": "painting", "path": "/x"}, {"kind": "keras"}, {"path": "/x"}])
def test_a_fact_of_an_export_that_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(FactError, match="expected"):
        message_of(fact(**fields))


def test_a_notice_makes_a_report_by_itself_and_one_of_the_future_makes_none() -> None:
    told = report_of("worker/0", parse_fact(NAME, {"attempt": 2, "type": "noticed", "kind": "read", "path": "/p"}))
    unknown = report_of("worker/0", parse_fact(NAME, {"attempt": 2, "type": "noticed", "kind": "smell", "path": "/p"}))

    assert told is not None
    assert told.noticed == pb.Noticed(kind=pb.NOTICE_KIND_READ, path="/p")
    assert unknown is None


@pytest.fixture
def a_checkpoint() -> Path:
    """The prefix of a small whole one."""
    return next(DATA.rglob("*.index")).with_suffix("")


def copy(prefix: Path, to: Path) -> None:
    for part in prefix.parent.glob(prefix.name + ".*"):
        if part.name.startswith((prefix.name + ".index", prefix.name + ".data-")):
            shutil.copy(part, to.parent / (to.name + part.name[len(prefix.name) :]))


def names(directory: Path, wanted: str = "") -> tuple[list[str], int]:
    listing = list_directory(str(directory), wanted)
    return [Path(found.prefix).name for found in listing.checkpoints], listing.other_entries


def test_names_that_a_user_formats_numbers_into_are_found_and_one_that_is_kept_for_itself_is_not(
    tmp_path: Path, a_checkpoint: Path
) -> None:
    copy(a_checkpoint, tmp_path / "cp-0005.ckpt")
    copy(a_checkpoint, tmp_path / "best")

    assert names(tmp_path) == (["cp-0005.ckpt"], 0)


def test_the_best_one_with_its_score_in_its_name_is_not_the_newest_of_those_beside_it(
    tmp_path: Path, a_checkpoint: Path
) -> None:
    for each in ("managed", "keras"):
        (tmp_path / each).mkdir()
    # given checkpoints of a manager and, written last, the best one; and those of Keras with epoch and score
    copy(a_checkpoint, tmp_path / "managed" / "ckpt-12")
    copy(a_checkpoint, tmp_path / "managed" / "best-0.87")
    copy(a_checkpoint, tmp_path / "keras" / "weights.04-0.91")
    copy(a_checkpoint, tmp_path / "keras" / "weights.05-0.87")
    copy(a_checkpoint, tmp_path / "keras" / "best.1")
    (tmp_path / "keras" / "checkpoint").write_text('model_checkpoint_path: "weights.05-0.87"\n')
    (tmp_path / "keras" / "weights.05-0.87.index").write_bytes(b"torn")

    found = [names(tmp_path / each)[0] for each in ("managed", "keras")]

    assert found == [["ckpt-12"], ["weights.05-0.87", "weights.04-0.91"]]


def test_a_name_without_a_number_is_found_where_the_state_file_says_so(tmp_path: Path, a_checkpoint: Path) -> None:
    copy(a_checkpoint, tmp_path / "weights")
    before = names(tmp_path)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "weights"\n')

    assert (before[0], names(tmp_path)) == ([], (["weights"], 0))


def test_an_empty_state_file_hides_nothing(tmp_path: Path, a_checkpoint: Path) -> None:
    copy(a_checkpoint, tmp_path / "ckpt-3")
    (tmp_path / "checkpoint").touch()

    assert names(tmp_path) == (["ckpt-3"], 0)


def test_the_one_that_the_script_names_comes_before_newer_ones_if_it_is_whole(
    tmp_path: Path, a_checkpoint: Path
) -> None:
    copy(a_checkpoint, tmp_path / "model-1")
    copy(a_checkpoint, tmp_path / "model-2")

    wanted = names(tmp_path, str(tmp_path / "model-1"))
    (tmp_path / "model-1.index").write_bytes(b"torn")

    assert wanted == (["model-1"], 0)
    assert names(tmp_path, str(tmp_path / "model-1"))[0] == ["model-1", "model-2"]


def test_what_else_lies_there_is_counted_where_no_checkpoint_does(tmp_path: Path) -> None:
    for name in ("checkpoint", "events.out", "notes.txt"):
        (tmp_path / name).touch()

    assert (names(tmp_path), names(tmp_path / "gone"), list_directory("").other_entries) == (([], 3), ([], 0), 0)
