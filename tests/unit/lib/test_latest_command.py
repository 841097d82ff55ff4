"""`lastgood latest` on real checkpoints: exit statuses, the document, and what a repair writes and leaves alone."""

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import bundle_builder as build
import jsonschema
import pytest

import lastgood
from lastgood.cli import main
from lastgood.errors import WriteError
from lastgood.latest.decide import Answer, Verdict
from lastgood.latest.examine import examine
from lastgood.latest.repair import RepairRefusedError, repair
from lastgood.latest.state_file import State, render
from lastgood.verify import Verification, verify

SOURCE = Path(lastgood.__file__).parents[1]
KERAS = build.DATA / "tf-2.21.0" / "keras_adam"
DATA = ".data-00000-of-00001"
SCHEMA = json.loads((SOURCE / "docs" / "schemas" / "latest.schema.json").read_text())


@pytest.fixture
def directory(tmp_path):
    """ckpt-2 and ckpt-3, whole, with the times that the state file notes."""
    copied = Path(shutil.copytree(KERAS, tmp_path / "ck"))
    for number, saved_s in ((2, 1795349960.799163), (3, 1795349960.8122675)):
        os.utime(copied / f"ckpt-{number}.index", (saved_s, saved_s))
    return copied


def cut(directory, number):
    os.truncate(directory / f"ckpt-{number}{DATA}", 20)


def contents(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


def read_listed(directory, series=None):
    return examine(str(directory), lambda prefix: verify(prefix, finite=False), series, reads_all_listed=True)


def test_where_tensorflow_is_right_the_status_is_0(directory, capsys):
    assert main(["latest", str(directory)]) == 0

    assert capsys.readouterr().out.splitlines() == [
        f"TensorFlow says  {directory}/ckpt-3, step 3",
        f"newest whole     {directory}/ckpt-3, step 3",
        "verdict          Agrees: that is right",
    ]


def test_where_tensorflow_is_wrong_the_status_is_1_and_the_reason_is_linked(directory, capsys):
    cut(directory, 3)
    (directory / "ckpt-4_temp").mkdir()

    assert main(["latest", str(directory)]) == 1

    torn = f"Torn: {directory}/ckpt-3{DATA} has 20 bytes, expected "
    out = capsys.readouterr().out
    assert f"newest whole     {directory}/ckpt-2, step 2\nverdict          Differs: that is wrong\n" in out
    assert f"  - {directory}/ckpt-3 is damaged ({torn}" in out
    assert "  see docs/reasons.md#torn\nleft behind, or not listed\n  TemporarySave     ckpt-4_temp, 0 B: " in out


def pin(directory, number):
    """What the hooks make of a checkpoint."""
    place = directory / ".lastgood" / "pins" / f"0123456789abcdef.0.1.{number}"
    place.mkdir(parents=True)
    os.link(directory / f"ckpt-{number}{DATA}", place / f"ckpt-{number}{DATA}")
    shutil.copyfile(directory / f"ckpt-{number}.index", place / f"ckpt-{number}.index")
    return place


def replace_by_a_torn_one(directory, number):
    """As a save over it does, which leaves the pin's data alone."""
    os.unlink(directory / f"ckpt-{number}{DATA}")
    (directory / f"ckpt-{number}{DATA}").write_bytes(b"torn")


def test_where_only_a_pin_is_whole_it_is_named_with_what_to_do_and_doing_it_helps(directory, capsys):
    # given the newest one, rotated away and pinned, and an older one that is damaged
    place = pin(directory, 3)
    for suffix in (".index", DATA):
        os.unlink(directory / f"ckpt-3{suffix}")
    cut(directory, 2)

    # when, then
    assert main(["latest", "--repair", str(directory)]) == 1
    out = capsys.readouterr().out
    assert (
        f"  - {directory}/ckpt-3 is whole in its pin, {place}: start the training with lastgood, which goes on from "
        f"it; or copy the pin's files to {directory}, then `lastgood latest --repair`\n"
    ) in out

    for path in place.iterdir():
        shutil.copy(path, directory)
    assert main(["latest", "--repair", str(directory)]) == 0
    capsys.readouterr()
    assert main(["latest", str(directory)]) == 0
    assert "in its pin" not in capsys.readouterr().out


def test_a_newer_one_that_is_whole_in_its_pin_alone_is_named_where_an_older_one_is_whole(directory, capsys):
    # given
    place = pin(directory, 3)
    replace_by_a_torn_one(directory, 3)

    # when
    assert main(["latest", str(directory)]) == 1

    # then
    out = capsys.readouterr().out
    assert f"newest whole     {directory}/ckpt-2, step 2\n" in out
    assert f"  - {directory}/ckpt-3 is whole in its pin, {place}: " in out
    assert f"copy the pin's files to {directory} in the place of the files that have its name, then" in out


def test_a_pin_that_is_damaged_or_older_than_what_is_whole_is_no_advice(directory, capsys):
    # given a newest one whose damage its pin shares, and the pin of the one that is whole
    pin(directory, 3)
    pin(directory, 2)
    cut(directory, 3)

    # when, then
    assert main(["latest", str(directory)]) == 1
    assert "in its pin" not in capsys.readouterr().out


def test_what_cannot_be_told_is_status_3(directory, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    os.unlink(directory / "ckpt-3.index")
    os.symlink("ckpt-3.index", directory / "ckpt-3.index")

    assert main(["latest", str(tmp_path / "empty")]) == 3
    assert main(["latest", str(tmp_path / "nowhere")]) == 3
    assert "no checkpoint lies there" in capsys.readouterr().out


def test_a_newer_one_that_cannot_be_judged_leaves_it_open_and_nothing_is_repaired(directory, capsys):
    for suffix in (".index", DATA):
        shutil.copyfile(directory / f"ckpt-3{suffix}", directory / f"ckpt-4{suffix}")
    os.unlink(directory / f"ckpt-4{DATA}")
    os.mkdir(directory / f"ckpt-4{DATA}")
    before = contents(directory)

    assert main(["latest", str(directory)]) == 3
    assert main(["latest", "--repair", str(directory)]) == 3
    assert "ckpt-4 is newer than" in capsys.readouterr().err
    assert contents(directory) == before


def test_the_document_says_all_of_it(directory, capsys):
    cut(directory, 3)
    (directory / "checkpoint.tmp12ab").write_bytes(b"x")

    assert main(["latest", "--json", "--repair", str(directory)]) == 0

    document = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(document, SCHEMA)
    torn = next(row for row in document["checkpoints"] if row["prefix"].endswith("ckpt-3"))
    assert [cause["reason"] for cause in torn.pop("causes")] == ["Torn"]
    why = document.pop("why")
    assert ["restoring it raises" in sentence for sentence in why] == [True]
    assert document == {
        "directory": str(directory),
        "verdict": "Differs",
        "tensorflow": {
            "outcome": "Prefix",
            "prefix": f"{directory}/ckpt-3",
            "error": None,
            "why": None,
            "manager_prefix": f"{directory}/ckpt-3",
            "step": 3,
        },
        "newest_whole": {
            "prefix": f"{directory}/ckpt-2",
            "digest": verify(f"{directory}/ckpt-2").digest,
            "step": 2,
        },
        "times_are_right": True,
        "checkpoints": [
            {
                "prefix": f"{directory}/ckpt-3",
                "standing": "Bad",
                "time_s": 1795349960.8122675,
                "is_listed": True,
            },
            {
                "prefix": f"{directory}/ckpt-2",
                "standing": "Whole",
                "causes": [],
                "time_s": 1795349960.799163,
                "is_listed": True,
            },
        ],
        "left": [
            {
                "kind": "TemporaryState",
                "name": "checkpoint.tmp12ab",
                "size_bytes": 1,
                "meaning": "a state file that was never renamed",
            }
        ],
        "repair": {
            "done": True,
            "prefix": f"{directory}/ckpt-2",
            "backup": f"{directory}/checkpoint.before-repair-1",
            "refused": None,
        },
    }


def test_the_document_fits_its_schema_whatever_lies_there(directory, tmp_path, capsys):
    lost, hopeless = (Path(shutil.copytree(directory, tmp_path / name)) for name in ("lost", "hopeless"))
    os.truncate(lost / "checkpoint", 0)
    cut(hopeless, 2)
    cut(hopeless, 3)
    (tmp_path / "empty").mkdir()

    for arguments in ([directory], [lost], [hopeless, "--repair"], [tmp_path / "empty"], [lost, "--repair"]):
        main(["latest", "--json", *map(str, arguments)])
        jsonschema.validate(json.loads(capsys.readouterr().out), SCHEMA)


def test_a_repair_writes_the_state_file_keeps_the_old_one_and_touches_nothing_else(directory):
    cut(directory, 3)
    os.chmod(directory / "checkpoint", 0o640)
    before = contents(directory)

    assert main(["latest", "--repair", str(directory)]) == 0

    after = contents(directory)
    state = after.pop("checkpoint")
    assert after.pop("checkpoint.before-repair-1") == before.pop("checkpoint")
    assert after == before
    assert stat.S_IMODE(os.stat(directory / "checkpoint").st_mode) == 0o640
    assert state == (
        b'model_checkpoint_path: "ckpt-2"\n'
        b'all_model_checkpoint_paths: "ckpt-2"\n'
        b"all_model_checkpoint_timestamps: 1795349960.799163\n"
        b"last_preserved_timestamp: 1795349959.6814997\n"
    )


def test_a_second_repair_finds_nothing_to_do(directory, capsys):
    cut(directory, 3)

    assert main(["latest", "--repair", str(directory)]) == 0
    repaired = contents(directory)
    assert main(["latest", "--repair", str(directory)]) == 0

    assert contents(directory) == repaired
    assert capsys.readouterr().out.count("repaired: ") == 1


def test_a_backup_overwrites_no_older_one(directory):
    (directory / "checkpoint.before-repair-1").write_text("older")
    cut(directory, 3)

    done = repair(read_listed(directory))

    assert done.backup == f"{directory}/checkpoint.before-repair-2"
    assert (directory / "checkpoint.before-repair-1").read_text() == "older"


def test_a_missing_state_file_is_written_and_lists_the_newest_alone(directory):
    os.unlink(directory / "checkpoint")

    done = repair(read_listed(directory))

    assert (done.prefix, done.backup) == (f"{directory}/ckpt-3", None)
    assert (directory / "checkpoint").read_bytes() == (
        b'model_checkpoint_path: "ckpt-3"\nall_model_checkpoint_paths: "ckpt-3"\n'
        b"all_model_checkpoint_timestamps: 1795349960.8122675\n"
    )


def test_a_damaged_state_file_keeps_the_list_that_is_left_of_it(directory):
    content = (directory / "checkpoint").read_bytes()
    (directory / "checkpoint").write_bytes(content[: content.index(b"last_preserved") + 3])

    repair(read_listed(directory))

    assert (directory / "checkpoint").read_bytes() == content[: content.index(b"last_preserved")]


def test_nothing_is_repaired_where_nothing_is_whole(directory, capsys):
    cut(directory, 2)
    cut(directory, 3)
    before = contents(directory)

    assert main(["latest", "--repair", str(directory)]) == 1

    assert "nothing was repaired: no whole checkpoint lies in" in capsys.readouterr().err
    assert contents(directory) == before


def test_of_several_series_the_one_is_repaired_that_the_state_file_or_the_person_names(directory, capsys):
    for suffix in (".index", DATA):
        shutil.copyfile(directory / f"ckpt-2{suffix}", directory / f"ema-9{suffix}")
    cut(directory, 3)
    named = read_listed(directory)
    os.unlink(directory / "checkpoint")

    assert named.answer.newest.prefix == f"{directory}/ckpt-2"
    assert main(["latest", "--repair", str(directory)]) == 3
    assert "say which is meant with --series: ckpt, ema" in capsys.readouterr().err
    assert main(["latest", "--repair", "--series", "ckpt", str(directory)]) == 0
    assert b'"ckpt-2"' in (directory / "checkpoint").read_bytes()


def test_where_tensorflow_would_find_nothing_nothing_is_written(directory, tmp_path):
    odd = Path(shutil.copytree(directory, tmp_path / "lr=[0.1]"))
    before = contents(odd)

    with pytest.raises(RepairRefusedError, match="which takes brackets and backslashes in a path for a pattern"):
        repair(read_listed(odd))

    assert contents(odd) == before


def test_a_name_that_no_state_file_can_hold_is_refused(directory):
    os.unlink(directory / "checkpoint")
    for suffix in (b".index", DATA.encode()):
        os.rename(os.fsencode(directory) + b"/ckpt-3" + suffix, os.fsencode(directory) + b"/ck\xff-3" + suffix)

    with pytest.raises(RepairRefusedError, match="which is not UTF-8"):
        repair(read_listed(directory, os.fsdecode(b"ck\xff")))


def test_a_state_file_that_changes_meanwhile_is_left_alone(directory):
    cut(directory, 3)
    found = read_listed(directory)
    (directory / "checkpoint").write_text('model_checkpoint_path: "ckpt-4"\n')
    before = contents(directory)

    with pytest.raises(RepairRefusedError, match="changed meanwhile"):
        repair(found)

    assert contents(directory) == before


def test_a_pipe_in_the_state_file_s_place_keeps_nobody_waiting(directory, capsys):
    os.unlink(directory / "checkpoint")
    os.mkfifo(directory / "checkpoint")

    assert main(["latest", str(directory)]) == 1
    assert f"expected the state file at {directory}/checkpoint, found no regular file: " in capsys.readouterr().out
    assert main(["latest", "--repair", str(directory)]) == 3
    assert stat.S_ISFIFO(os.stat(directory / "checkpoint").st_mode)


def test_a_state_file_that_lists_thousands_is_compared_with_a_directory_of_thousands(tmp_path):
    # given: what a quadratic step would take minutes for
    names = [f"ckpt-{number}" for number in range(10_000)]
    for number, name in enumerate(names):
        (tmp_path / f"{name}.index").touch()
        os.utime(tmp_path / f"{name}.index", (number, number))
    (tmp_path / "checkpoint").write_bytes(render(State(names[-1], tuple(names))))

    # when
    found = examine(str(tmp_path), lambda prefix: Verification(prefix, "digest", (), 1, 1, 0.0, "cache"))

    # then
    assert [row.candidate.position for row in found.judged] == list(range(9_999, -1, -1))
    assert found.answer == Answer(Verdict.AGREES, found.judged[0], ())


def test_a_state_file_that_cannot_be_read_is_not_called_missing(directory, capsys):
    os.unlink(directory / "checkpoint")
    os.symlink("checkpoint", directory / "checkpoint")

    assert main(["latest", str(directory)]) == 1
    assert (
        f"  - the state file at {directory}/checkpoint cannot be read: Too many levels of symbolic links: "
        "training starts afresh, in silence\n"
    ) in capsys.readouterr().out


def test_a_state_file_that_is_too_large_to_be_read_whole_leaves_all_open(directory, capsys):
    with open(directory / "checkpoint", "ab") as file:
        file.write(b"# more\n" * (1 << 20))

    assert main(["latest", "--repair", str(directory)]) == 3

    assert capsys.readouterr() == (
        "",
        f"lastgood: Unsupported: {directory}/checkpoint has more than 4194304 bytes, and no more are read\n",
    )


def test_a_series_that_is_not_there_is_no_series_that_agrees(directory, capsys):
    assert main(["latest", "--series", "ckp", str(directory)]) == 3

    assert capsys.readouterr() == (
        "",
        f"lastgood: Incomplete: no checkpoint of the series ckp lies in {directory}; those there are called ckpt\n",
    )


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1", "soon"])
def test_a_time_that_makes_no_sense_is_wrong_usage(directory, seconds, capsys):
    assert main(["latest", f"--settle-s={seconds}", str(directory)]) == 2
    assert f"expected seconds, 0 or more, found '{seconds}'" in capsys.readouterr().err


def test_a_directory_in_the_state_file_s_place_is_left_alone(directory):
    os.unlink(directory / "checkpoint")
    os.mkdir(directory / "checkpoint")

    with pytest.raises(RepairRefusedError, match="cannot be read"):
        repair(read_listed(directory))


def test_a_full_disk_leaves_the_old_state_file(directory):
    cut(directory, 3)
    before = contents(directory)
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10)); "
        "from lastgood.cli import main; sys.exit(main(['latest', '--repair', sys.argv[1]]))"
    )
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONDONTWRITEBYTECODE": "1"}

    done = subprocess.run(
        [sys.executable, "-c", code, str(directory)], env=environment, capture_output=True, text=True, timeout=60
    )

    assert (done.returncode, "Traceback" in done.stderr) == (3, False)
    assert "cannot be written: File too large" in done.stderr
    assert contents(directory) == before


def test_a_write_that_fails_leaves_no_temporary_file(tmp_path):
    from lastgood.durable import replace_file

    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()

    with pytest.raises(WriteError, match="cannot be written"):
        replace_file(str(tmp_path / "taken"), b"x")

    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_repair_works_on_python_3_8_with_nothing_installed(directory, python38):
    cut(directory, 3)
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONDONTWRITEBYTECODE": "1"}

    done = subprocess.run(
        [python38, "-m", "lastgood", "latest", "--repair", "--json", str(directory)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["repair"]["prefix"] == f"{directory}/ckpt-2"
    assert (directory / "checkpoint").read_bytes().startswith(b'model_checkpoint_path: "ckpt-2"\n')
