"""`lastgood latest` says what TensorFlow does, and TensorFlow goes on well with what `--repair` writes.

Every way in which saves tear (killed at each point of a save), and every fault that a directory can have later, on real
TensorFlow: the directories come from real saves that really died, and TensorFlow itself is asked what it makes of them.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lastgood.commands.latest import latest_to_json
from lastgood.latest.decide import tensorflow_says
from lastgood.latest.examine import Examination, examine
from lastgood.latest.path_patterns import finds
from lastgood.latest.repair import repair
from lastgood.verify import Verification, verify

SCRIPTS = Path(__file__).parent / "scripts"
DATA, INDEX = ".data-00000-of-00001", ".index"


def read(prefix: str) -> Verification:
    return verify(prefix, finite=False)


class TornSaves:
    """Directories of real saves by one TensorFlow, and that TensorFlow to be asked about copies of them."""

    def __init__(self, python: str, root: Path) -> None:
        self.root, self.copies = root, 0
        command = [python, str(SCRIPTS / "save_and_answer.py"), str(root)]
        self.log = (root / "log").open("w")
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True
        )
        self.ends = self._answer()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.log.close()

    def _answer(self) -> Any:
        line = self.process.stdout.readline() if self.process.stdout else ""
        assert line, (self.root / "log").read_text()[-2000:]
        return json.loads(line)

    def copy(self, name: str, to: str = "") -> Path:
        """A copy with the files' times, in a directory of its own."""
        self.copies += 1
        return Path(shutil.copytree(self.root / name, self.root / f"copy-{self.copies}" / (to or name)))

    def ask(self, questions: list[dict[str, str]]) -> list[Any]:
        """TensorFlow's answers, in order."""
        answers = []
        for question in questions:
            assert self.process.stdin is not None
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()
            answers.append(self._answer())
        return answers


@pytest.fixture(scope="module")
def torn(each_tensorflow: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TornSaves]:
    saves = TornSaves(each_tensorflow.python, tmp_path_factory.mktemp(f"tf-{each_tensorflow.version}"))
    yield saves
    saves.close()


def nothing(_: Path) -> None:
    """The fault is in the directory already."""


def cut_data(directory: Path) -> None:
    os.truncate(f"{directory}/ckpt-3{DATA}", 9000)


def flip_bit(directory: Path) -> None:
    path = directory / f"ckpt-3{DATA}"
    content = path.read_bytes()
    path.write_bytes(content[:5000] + bytes([content[5000] ^ 4]) + content[5001:])


def break_index(directory: Path) -> None:
    os.truncate(directory / f"ckpt-3{INDEX}", 100)


def take_stale_data(directory: Path) -> None:
    shutil.copyfile(directory / f"ckpt-2{DATA}", directory / f"ckpt-3{DATA}")


def delete(name: str) -> Callable[[Path], None]:
    return lambda directory: (directory / name).unlink()


def name_in_state(text: str) -> Callable[[Path], None]:
    return lambda directory: (directory / "checkpoint").write_text(text.replace("DIR", str(directory))) and None


def cut_state(size_bytes: int) -> Callable[[Path], None]:
    return lambda directory: os.truncate(directory / "checkpoint", size_bytes)


@dataclass(frozen=True)
class Row:
    """One fault. says: the outcome of `latest_checkpoint`, or the prefix that it gives; newest: the whole one."""

    start: str
    damage: Callable[[Path], None]
    says: str
    newest: str | None
    verdict: str
    left: tuple[str, ...] = ()
    restore: str | None = None
    directory: str = "ck"


#: What restoring a damaged checkpoint raises differs between the versions; that it raises does not.
RAISES = "raises"

#: TENSORFLOW's own answer and the truth, fault by fault.
ROWS = {
    "a sound directory": Row("sound", nothing, "ckpt-3", "ckpt-3", "Agrees"),
    "killed in the data": Row(
        "killed_in_the_data", nothing, "ckpt-2", "ckpt-2", "Agrees", ("TemporarySave ckpt-3_temp",)
    ),
    "killed after the final index is opened": Row(
        "killed_in_the_final_index",
        nothing,
        "ckpt-2",
        "ckpt-2",
        "Agrees",
        ("EmptyIndex ckpt-3", "TemporarySave ckpt-3_temp"),
    ),
    "killed before the state file is renamed": Row(
        "killed_before_the_state_file", nothing, "ckpt-2", "ckpt-3", "Differs", ("Orphan ckpt-3",)
    ),
    "truncated data": Row("sound", cut_data, "ckpt-3", "ckpt-2", "Differs", restore=RAISES),
    "a flipped bit": Row("sound", flip_bit, "ckpt-3", "ckpt-2", "Differs", restore=RAISES),
    "a broken index": Row("sound", break_index, "ckpt-3", "ckpt-2", "Differs", restore=RAISES),
    "a deleted shard": Row(
        "sound", delete(f"ckpt-3{DATA}"), "ckpt-3", "ckpt-2", "Differs", ("IndexWithoutData ckpt-3",), RAISES
    ),
    "a stale data file": Row("sound", take_stale_data, "ckpt-3", "ckpt-2", "Differs", restore=RAISES),
    "a deleted index": Row(
        "sound", delete(f"ckpt-3{INDEX}"), "None", "ckpt-2", "Differs", ("DataWithoutIndex ckpt-3",)
    ),
    "a missing prefix": Row(
        "sound",
        name_in_state('model_checkpoint_path: "ckpt-9"\n'),
        "None",
        "ckpt-3",
        "Differs",
        ("Orphan ckpt-1", "Orphan ckpt-2", "Orphan ckpt-3"),
    ),
    "a moved absolute path": Row(
        "sound",
        name_in_state('model_checkpoint_path: "/old/place/ckpt-3"\nall_model_checkpoint_paths: "/old/place/ckpt-3"\n'),
        "None",
        "ckpt-3",
        "Differs",
        ("Orphan ckpt-1", "Orphan ckpt-2"),
    ),
    "an absolute path": Row(
        "sound",
        name_in_state('model_checkpoint_path: "DIR/ckpt-3"\n'),
        "ckpt-3",
        "ckpt-3",
        "Agrees",
        ("Orphan ckpt-1", "Orphan ckpt-2"),
    ),
    "a truncated state file": Row(
        "sound", cut_state(60), "None", "ckpt-3", "Differs", ("Orphan ckpt-1", "Orphan ckpt-2")
    ),
    "a missing state file": Row(
        "sound",
        delete("checkpoint"),
        "None",
        "ckpt-3",
        "Differs",
        ("Orphan ckpt-1", "Orphan ckpt-2", "Orphan ckpt-3"),
    ),
    "an empty state file": Row(
        "sound",
        cut_state(0),
        "ValueError",
        "ckpt-3",
        "Differs",
        ("Orphan ckpt-1", "Orphan ckpt-2", "Orphan ckpt-3"),
    ),
    "a state file of zeros": Row(
        "sound",
        lambda directory: (directory / "checkpoint").write_bytes(bytes(300)) and None,
        "None",
        "ckpt-3",
        "Differs",
        ("Orphan ckpt-1", "Orphan ckpt-2", "Orphan ckpt-3"),
    ),
    "a state file that is not text": Row(
        "sound",
        lambda directory: (directory / "checkpoint").write_bytes(b'model_checkpoint_path: "ckpt-\xff"\n') and None,
        "UnicodeDecodeError",
        "ckpt-3",
        "Differs",
        ("Orphan ckpt-1", "Orphan ckpt-2", "Orphan ckpt-3"),
    ),
    "brackets in the directory's name": Row("sound", nothing, "None", "ckpt-3", "Differs", directory="lr=[0.1]"),
    "nothing whole": Row(
        "sound",
        lambda directory: [os.truncate(path, 5) for path in directory.glob("*.index")] and None,
        "ckpt-3",
        None,
        "Differs",
        restore=RAISES,
    ),
}


def answered(directory: Path, found: Examination) -> dict[str, Any]:
    """What lastgood says, in the words of the rows."""
    document = latest_to_json(found, None, None)
    taken = document["tensorflow"]
    newest = document["newest_whole"]
    return {
        "says": os.path.relpath(taken["prefix"], directory) if taken["prefix"] else taken["error"] or taken["outcome"],
        "newest": newest and os.path.relpath(newest["prefix"], directory),
        "verdict": document["verdict"],
        "left": tuple(f"{left['kind']} {left['name']}" for left in document["left"]),
    }


def test_every_way_to_tear_is_answered_as_tensorflow_answers_it_and_as_it_is(torn: TornSaves) -> None:
    # given
    directories = {name: torn.copy(row.start, row.directory) for name, row in ROWS.items()}
    for name, row in ROWS.items():
        row.damage(directories[name])

    # when
    found = {name: examine(str(directory), read) for name, directory in directories.items()}
    real = dict(zip(ROWS, torn.ask([{"latest": str(path)} for path in directories.values()]), strict=True))

    # then
    assert torn.ends == {
        "sound": 0,
        "killed_in_the_data": -25,
        "killed_in_the_final_index": -25,
        "killed_before_the_state_file": 9,
    }
    for name, row in ROWS.items():
        says = found[name].says
        assert (says.outcome.value, says.prefix, says.error or None) == (
            real[name]["outcome"],
            real[name]["prefix"],
            real[name]["error"],
        ), name
        assert bool(real[name]["restore"]) == (row.restore == RAISES), name
        expected = {"says": row.says, "newest": row.newest, "verdict": row.verdict, "left": row.left}
        assert answered(directories[name], found[name]) == expected, name


def test_a_repaired_directory_is_one_that_tensorflow_goes_on_with(torn: TornSaves) -> None:
    # given
    repairable = {name: row for name, row in ROWS.items() if row.newest and row.directory == "ck"}
    directories = {name: torn.copy(row.start) for name, row in repairable.items()}
    before = {}
    for name, row in repairable.items():
        row.damage(directories[name])
        before[name] = {path.name: path.read_bytes() for path in directories[name].glob("ckpt-*-of-*")}
        repair(examine(str(directories[name]), read, reads_all_listed=True))
        assert {path.name: path.read_bytes() for path in directories[name].glob("ckpt-*-of-*")} == before[name]

    # when
    again = {name: examine(str(directory), read) for name, directory in directories.items()}
    latest = dict(zip(repairable, torn.ask([{"latest": str(d)} for d in directories.values()]), strict=True))
    managed = dict(zip(repairable, torn.ask([{"manage": str(d)} for d in directories.values()]), strict=True))

    # then
    for name, row in repairable.items():
        directory = directories[name]
        newest = f"{directory}/{row.newest}"
        step = 10 * int(str(row.newest)[-1])
        assert answered(directory, again[name])["verdict"] == "Agrees", name
        assert latest[name] == {"outcome": "Prefix", "prefix": newest, "error": None, "restore": None}, name
        assert (managed[name]["latest"], managed[name]["step"]) == (newest, step), name
        kept = managed[name]["checkpoints"]
        assert kept == [] or kept[-1] == newest, name  # without times a manager rotates nothing away
        assert read(managed[name]["saved"]).is_whole, name
        assert f"{row.newest}{INDEX}" in managed[name]["left"], name


def test_rotation_after_a_repair_takes_no_checkpoint_that_the_old_state_file_did_not_list(torn: TornSaves) -> None:
    # given
    lost, damaged = torn.copy("sound"), torn.copy("sound")
    (lost / "checkpoint").unlink()
    cut_data(damaged)

    # when
    for directory in (lost, damaged):
        repair(examine(str(directory), read, reads_all_listed=True))
    of_lost, of_damaged = torn.ask([{"manage": str(lost)}, {"manage": str(damaged)}])

    # then
    assert of_lost["checkpoints"] == [f"{lost}/ckpt-3"]
    assert {"ckpt-1.index", "ckpt-2.index", "ckpt-3.index", "ckpt-4.index"} <= set(of_lost["left"])
    assert of_damaged["checkpoints"] == [f"{damaged}/ckpt-1", f"{damaged}/ckpt-2"]
    assert of_damaged["saved"] == f"{damaged}/ckpt-3"  # the damaged one is written again
    assert [name for name in of_damaged["left"] if name.endswith(INDEX)] == ["ckpt-2.index", "ckpt-3.index"]


#: State files that no TensorFlow writes, or that something else has touched.
ODD_STATES = [
    b"  \n",
    b"# said nothing\n",
    b'all_model_checkpoint_paths: "ckpt-3"\n',
    b"model_checkpoint_path: 'ck' \"pt-3\" # in two parts\n",
    b'model_checkpoint_path:"ckpt-3"all_model_checkpoint_paths:["ckpt-1", "ckpt-2"];',
    b'model_checkpoint_path: "ckpt-3", all_model_checkpoint_paths: []',
    b'model_checkpoint_path: "ckpt-3"\nall_model_checkpoint_paths: ["ckpt-1",]\n',
    b'model_checkpoint_path: "ckpt-9"\nmodel_checkpoint_path: "ckpt-3"\n',
    b'model_checkpoint_path: "ckpt-3"\r\n',
    b'\xef\xbb\xbfmodel_checkpoint_path: "ckpt-3"\n',
    b'model_checkpoint_path "ckpt-3"\n',
    b"model_checkpoint_path: ckpt-3\n",
    b'model_checkpoint_path: "\\x63k\\160t-\\u0033"\n',
    b'model_checkpoint_path: "ckpt\\q-3"\n',
    b'model_checkpoint_path: "\\777"\n',
    b'model_checkpoint_path: "ckpt-\\377"\n',
    b'model_checkpoint_path: "ckpt-3\\000"\n',
    b'model_checkpoint_path: "ckpt-3"\nlast_preserved_timestamp: - 17\n',
    b'model_checkpoint_path: "ckpt-3"\nlast_preserved_timestamp: -Infinity\n',
    b'model_checkpoint_path: "ckpt-3"\nlast_preserved_timestamp: nan\n',
    b'model_checkpoint_path: "ckpt-3"\nlast_preserved_timestamp: 17f\n',
    b'model_checkpoint_path: "ckpt-3"\nlast_preserved_timestamp: 1.2.3\n',
    b'model_checkpoint_path: "ckpt-3"\nlast_preserved_timestamp: 0x10\n',
    b'model_checkpoint_path: "ckpt-3"\nlast_preserved_timestamp: "1"\n',
    b'model_checkpoint_path: "ckpt-3"\nall_model_checkpoint_timestamps: 17.',
    b'model_checkpoint_path: "ck*-3"\n',
    b'model_checkpoint_path: "ckpt-?"\n',
    b'model_checkpoint_path: "ckpt-[!1-2]"\n',
    b'model_checkpoint_path: "ckpt-[^3]?"\n',
    b'model_checkpoint_path: "ckpt\\\\-3"\n',
    b'model_checkpoint_path: "sub[d]ir/../ckpt-3"\n',
    b'model_checkpoint_path: "./ckpt-3"\n',
    b'model_checkpoint_path: "."\n',
    b'model_checkpoint_path: "nowhere://x/ckpt-3"\n',
    b'model_checkpoint_path: "unfinished[1"\n',
]


def test_any_state_file_means_to_us_what_it_means_to_tensorflow(torn: TornSaves) -> None:
    # given
    chance = random.Random(20)
    written = (torn.root / "sound" / "checkpoint").read_bytes()
    cut = [written[:size] for size in range(0, len(written), 7)]
    contents = ODD_STATES + cut + [changed(written, chance) for _ in range(150)]
    directories = []
    for number, content in enumerate(contents):
        directory = torn.root / f"state-{number}"
        directory.mkdir()
        (directory / "checkpoint").write_bytes(content)
        for name in ("ckpt-3.index", "ckpt-2.index", "unfinished[1.index"):
            (directory / name).touch()
        directories.append(str(directory))

    # when
    real = torn.ask([{"latest": directory} for directory in directories])

    # then
    for content, directory, answer in zip(contents, directories, real, strict=True):
        says = tensorflow_says(directory, content, finds)
        found = (says.outcome.value, says.prefix, says.error or None)
        assert found == (answer["outcome"], answer["prefix"], answer["error"]), content


def changed(content: bytes, chance: random.Random) -> bytes:
    """A state file with a few bytes replaced, dropped or put in; never a zero, on which the versions differ."""
    output = bytearray(content)
    for _ in range(chance.randint(1, 3)):
        place = chance.randrange(len(output))
        piece = chance.choice([b'"', b"\\", b":", b"\n", b"#", b"[", b"]", b",", b";", b"'", b" ", b"\xc3", b"-", b"x"])
        how = chance.randrange(3)
        output[place : place + (how < 2)] = b"" if how == 0 else piece
    return bytes(output)
