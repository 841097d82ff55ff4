"""`lastgood verify`: what may be named, what is printed, manifests, and the document."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import bundle_builder as build
import jsonschema
import pytest

import lastgood
from lastgood.cli import main

SOURCE = Path(lastgood.__file__).parents[1]
SCHEMA = json.loads((SOURCE / "docs" / "schemas" / "verification.schema.json").read_text())
MWMS = build.DATA / "tf-2.21.0" / "mwms"
DATA = ".data-00000-of-00001"
NAN = b"\x00\x00\xc0\x7f"


@pytest.fixture
def directory(tmp_path):
    """ckpt-1 and ckpt-2, whole, ckpt-2 the newer one."""
    for path in MWMS.glob("ckpt-*"):
        shutil.copyfile(path, tmp_path / path.name)
    for number in (1, 2):
        os.utime(tmp_path / f"ckpt-{number}.index", (number, number))
    return tmp_path


def documents(capsys, *arguments):
    """(exit status, documents), checked against the schema."""
    status = main(["verify", "--json", *map(str, arguments)])
    found = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(found, SCHEMA)
    return status, found


def test_a_manifest_is_written_beside_each_whole_one_and_known_later(directory, capsys):
    os.truncate(directory / f"ckpt-2{DATA}", 5)

    assert main(["verify", "--write-manifest", str(directory)]) == 1
    assert f"        wrote {directory}/ckpt-1.lastgood.json\n" in capsys.readouterr().out
    assert sorted(path.name for path in directory.glob("*.json")) == ["ckpt-1.lastgood.json"]
    assert main(["verify", str(directory / "ckpt-1")]) == 0
    assert "6 tensors, 546 B, as its manifest says\n" in capsys.readouterr().out


def test_another_checkpoint_than_the_saved_one_is_bad(directory, capsys):
    main(["verify", "--write-manifest", str(directory / "ckpt-1")])
    for suffix in (".index", DATA):
        shutil.copyfile(directory / f"ckpt-2{suffix}", directory / f"ckpt-1{suffix}")
    capsys.readouterr()

    assert main(["verify", "--write-manifest", str(directory / "ckpt-1")]) == 1

    out = capsys.readouterr().out
    assert out.startswith(f"Bad     {directory}/ckpt-1  Vanished: another checkpoint than the one that ")
    assert out.splitlines()[0].endswith("(docs/reasons.md#vanished)")
    assert "wrote" not in out


def test_a_manifest_elsewhere_is_taken_when_it_is_named_and_must_be_of_use(directory, tmp_path, capsys):
    main(["verify", "--write-manifest", str(directory / "ckpt-1")])
    manifest = tmp_path / "kept.json"
    os.rename(directory / "ckpt-1.lastgood.json", manifest)
    (tmp_path / "damaged.json").write_bytes(manifest.read_bytes()[:100])
    capsys.readouterr()

    status, (found,) = documents(capsys, "--manifest", manifest, directory / "ckpt-1")
    assert (status, found["manifest"]) == (0, str(manifest))
    assert main(["verify", "--manifest", str(tmp_path / "damaged.json"), str(directory / "ckpt-1")]) == 3
    assert main(["verify", "--manifest", str(tmp_path / "none.json"), str(directory / "ckpt-1")]) == 3
    assert main(["verify", "--manifest", str(manifest), str(directory)]) == 2
    assert main(["verify", "--manifest", str(manifest), str(directory / "ckpt-1"), str(directory / "ckpt-2")]) == 2


def test_a_manifest_that_is_named_is_the_one_of_that_checkpoint_whatever_its_name(directory, tmp_path, capsys):
    # given
    main(["verify", "--write-manifest", str(directory / "ckpt-1")])
    manifest = str(directory / "ckpt-1.lastgood.json")
    for number, name in ((1, "best"), (2, "other")):
        for suffix in (".index", DATA):
            shutil.copyfile(directory / f"ckpt-{number}{suffix}", directory / (name + suffix))
    with zipfile.ZipFile(directory / "m.keras", "w") as file:
        file.writestr("config.json", "{}")
    capsys.readouterr()

    # when
    same, other = (documents(capsys, "--manifest", manifest, directory / name) for name in ("best", "other"))
    of_another_kind = main(["verify", "--manifest", manifest, str(directory / "m.keras")])

    # then
    assert (same[0], same[1][0]["manifest"], same[1][0]["causes"]) == (0, manifest, [])
    assert (other[0], [cause["reason"] for cause in other[1][0]["causes"]]) == (1, ["Vanished"])
    assert (of_another_kind, capsys.readouterr().err) == (
        3,
        f"lastgood: ForeignManifest: {manifest} does not describe a file of Keras's\n",
    )


def test_a_manifest_that_cannot_be_written_is_said_and_is_no_verdict(directory, capsys):
    os.mkdir(directory / "ckpt-1.lastgood.json")
    (directory / "ckpt-1.lastgood.json" / "file").touch()

    status, (found,) = documents(capsys, "--write-manifest", directory / "ckpt-1")

    assert (status, found["standing"], found["written_manifest"]) == (3, "Good", None)


def test_a_file_url_means_what_lies_at_the_path_in_it(directory, capsys):
    status, found = documents(capsys, "--write-manifest", f"file://{directory}/ckpt-1", f"file://{directory}")

    assert (status, [row["prefix"] for row in found]) == (0, [f"{directory}/ckpt-{number}" for number in (1, 2, 1)])
    assert {row["written_manifest"] for row in found} == {f"{directory}/ckpt-{n}.lastgood.json" for n in (1, 2)}
    assert main(["latest", f"file://{directory}"]) == 1
    assert f"newest whole     {directory}/ckpt-2\n" in capsys.readouterr().out


def test_neither_a_path_nor_a_key_can_steer_a_terminal(tmp_path, capsys):
    # given: a damaged tensor with such a key, in a directory with such a name
    (tmp_path / "a\x1b[2J\nb").mkdir()
    prefix = build.write_bundle(
        tmp_path / "a\x1b[2J\nb" / "ckpt-1", [build.Tensor(b"k\x1b[2J\ny\x9b", bytes(4), (1,), crc=7)]
    )

    # when
    for arguments in (
        ["verify", prefix],
        ["latest", os.path.dirname(prefix)],
        ["show", prefix],
        ["show", prefix + "0"],
    ):
        main(arguments)

    # then
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err
    assert [line for line in (out + err).splitlines() if line.startswith(("b", "y"))] == []
    assert "/a\\x1b[2J\\nb/ckpt-1  Corrupt: k\\x1b[2J\\ny\\x9b (4 bytes at 0 in " in out
    assert err.startswith("lastgood: Incomplete: ")


def test_a_note_is_printed_below_and_changes_no_verdict(directory, capsys):
    with open(directory / f"ckpt-1{DATA}", "ab") as file:
        file.write(b"more")

    assert main(["verify", str(directory / "ckpt-1")]) == 0
    lines = capsys.readouterr().out.splitlines()
    status, (found,) = documents(capsys, directory / "ckpt-1")

    assert lines[1].startswith("        note: TrailingBytes: ")
    assert lines[1].endswith(" has 550 bytes, and its tensors end after 546 (docs/reasons.md#trailingbytes)")
    assert (status, found["standing"]) == (0, "Good")
    assert [(note["remark"], note["see"]) for note in found["notes"]] == [
        ("TrailingBytes", "docs/reasons.md#trailingbytes")
    ]


def test_every_link_leads_to_an_entry(directory, capsys):
    os.truncate(directory / f"ckpt-1{DATA}", 5)
    os.truncate(directory / "ckpt-2.index", 0)
    headings = (SOURCE / "docs" / "reasons.md").read_text().splitlines()

    _, found = documents(capsys, directory)

    links = {cause["see"] for row in found for cause in row["causes"]}
    assert links == {"docs/reasons.md#torn", "docs/reasons.md#incomplete"}
    assert {link.partition("#")[2] for link in links} <= {line[4:].lower() for line in headings if line[:4] == "### "}


def test_nan_is_a_fault_unless_it_is_left_out(tmp_path, capsys):
    prefix = build.write_bundle(tmp_path / "ckpt-1", [build.Tensor(b"w", NAN, (1,))])

    status, (found,) = documents(capsys, prefix)

    assert (status, [cause["reason"] for cause in found["causes"]]) == (1, ["NotFinite"])
    assert documents(capsys, "--no-finite", prefix)[0] == 0


def test_what_was_written_a_moment_ago_is_still_changing_with_a_settle_time(directory, capsys):
    os.truncate(directory / f"ckpt-1{DATA}", 5)

    status, (found,) = documents(capsys, "--settle-s", "3600", directory / "ckpt-1")

    assert (status, found["standing"]) == (3, "Unknown")
    assert [cause["reason"] for cause in found["causes"]] == ["StillChanging"]


@pytest.mark.parametrize("option", ["--threads=0", "--threads=x", "--settle-s=-1", "--settle-s=soon", "--settle-s=nan"])
def test_a_number_that_makes_no_sense_is_wrong_usage(directory, option, capsys):
    assert main(["verify", option, str(directory)]) == 2
    assert "expected" in capsys.readouterr().err


def test_threads_change_no_outcome(directory, capsys):
    def told(threads):
        found = documents(capsys, "--threads", threads, directory)[1]
        return [{key: value for key, value in row.items() if key != "duration_s"} for row in found]

    assert told(1) == told(4)


def test_a_saved_model_means_its_variables_by_itself_and_in_a_directory(directory, capsys):
    for name in ("1", "2"):
        variables = directory / "export" / name / "variables"
        variables.mkdir(parents=True)
        (directory / "export" / name / "saved_model.pb").touch()
        for suffix in (".index", DATA):
            shutil.copyfile(MWMS / f"ckpt-1{suffix}", variables / f"variables{suffix}")
    os.unlink(directory / "export" / "2" / "variables" / f"variables{DATA}")
    (directory / "export" / "assets").mkdir()

    one = documents(capsys, directory / "export" / "1")
    both = documents(capsys, directory / "export")

    assert (one[0], [row["prefix"] for row in one[1]]) == (0, [f"{directory}/export/1/variables/variables"])
    assert (both[0], [(row["prefix"], row["standing"]) for row in both[1]]) == (
        1,
        [
            (f"{directory}/export/1/variables/variables", "Good"),
            (f"{directory}/export/2/variables/variables", "Bad"),
        ],
    )


def test_without_the_c_checksum_it_says_that_it_is_slow(directory, python38):
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONDONTWRITEBYTECODE": "1"}
    arguments = ["-m", "lastgood", "verify", str(directory / "ckpt-1")]

    slow = subprocess.run([python38, *arguments], env=environment, capture_output=True, text=True, timeout=60)
    fast = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=60)

    assert (slow.returncode, fast.returncode) == (0, 0)
    assert slow.stdout.endswith("; slowly, without crc32c in C: pip install crc32c\n")
    assert "slowly" not in fast.stdout
