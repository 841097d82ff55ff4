"""The command `lastgood`: verdicts, exit statuses, JSON, and commands of parts that are missing or broken."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import bundle_builder as build
import pytest

import lastgood
from lastgood.cli import BUILT_IN, main

SOURCE = Path(lastgood.__file__).parents[1]
MWMS = build.DATA / "tf-2.21.0" / "mwms"


@pytest.fixture
def checkpoints(tmp_path):
    """A directory with the whole ckpt-1 and the damaged ckpt-2, which is the newer one."""
    directory = tmp_path / "checkpoints"
    directory.mkdir()
    for path in MWMS.glob("ckpt-*"):
        shutil.copyfile(path, directory / path.name)
    data = directory / "ckpt-2.data-00000-of-00001"
    data.write_bytes(b"\xff" + data.read_bytes()[1:])
    for number in (1, 2):
        os.utime(directory / f"ckpt-{number}.index", (number, number))
    return directory


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a part with one command: `install(name, module's source)`."""

    def installed(name, source, package=None, attribute="COMMAND"):
        package = package or f"part_{name}"
        root = tmp_path / f"site-{name}"
        info = root / f"{package}-1.0.dist-info"
        info.mkdir(parents=True)
        (root / f"{package}.py").write_text(source)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[lastgood.commands]\n{name} = {package}:{attribute}\n")
        monkeypatch.syspath_prepend(str(root))

    return installed


def run(*arguments, **options):
    """`python -m lastgood` as a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-m", "lastgood", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, **options)


WORKING = """
from lastgood.command import Command
def configure(parser): parser.add_argument("--status", type=int)
COMMAND = Command("{name}", "does what it is told", configure, lambda arguments: {run})
"""


def test_a_whole_checkpoint_ends_with_0_and_one_line(checkpoints, capsys):
    status = main(["verify", str(checkpoints / "ckpt-1")])

    lines = capsys.readouterr().out.splitlines()
    assert status == 0
    assert lines[0] == f"Good    {checkpoints / 'ckpt-1'}  6 tensors, 546 B"
    assert lines[1].startswith("1 checkpoint: 1 good, 0 bad, 0 unknown; 546 B read in ")


def test_a_directory_means_each_checkpoint_in_it_newest_first(checkpoints, capsys):
    status = main(["verify", str(checkpoints)])

    lines = capsys.readouterr().out.splitlines()
    assert status == 1
    assert [line.split()[:2] for line in lines[:2]] == [
        ["Bad", str(checkpoints / "ckpt-2")],
        ["Good", str(checkpoints / "ckpt-1")],
    ]
    assert "  Corrupt: " in lines[0]
    assert lines[2].startswith("2 checkpoints: 1 good, 1 bad, 0 unknown; ")


def test_json_follows_the_documented_schema(checkpoints, capsys):
    status = main(["verify", "--json", str(checkpoints), str(checkpoints / "ckpt-9")])

    bad, good, missing = json.loads(capsys.readouterr().out)
    assert status == 1
    assert {key: good[key] for key in good if key != "duration_s"} == {
        "prefix": str(checkpoints / "ckpt-1"),
        "standing": "Good",
        "causes": [],
        "notes": [],
        "manifest": None,
        "written_manifest": None,
        "digest": "607287111d7d7c37f8d16f388822ba796afc8b91d3044f2354f9b9be8548b5ed",
        "tensors": 6,
        "bytes_read": 546,
    }
    assert (bad["standing"], [cause["reason"] for cause in bad["causes"]]) == ("Bad", ["Corrupt"])
    assert (missing["standing"], missing["digest"]) == ("Bad", None)
    assert [cause["reason"] for cause in missing["causes"]] == ["Incomplete"]
    assert all(isinstance(row["duration_s"], float) for row in (bad, good, missing))


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
def test_a_file_of_a_checkpoint_stands_for_the_checkpoint(checkpoints, capsys, suffix):
    assert main(["verify", str(checkpoints / f"ckpt-1{suffix}")]) == 0
    assert f"{checkpoints / 'ckpt-1'}  " in capsys.readouterr().out


def test_what_cannot_be_judged_ends_with_3(checkpoints, tmp_path, capsys):
    os.symlink("ckpt-3.index", checkpoints / "ckpt-3.index")
    (tmp_path / "empty").mkdir()

    assert main(["verify", str(checkpoints / "ckpt-3")]) == 3
    assert main(["verify", str(tmp_path / "empty")]) == 3
    assert main(["verify", str(checkpoints / "ckpt-3"), str(checkpoints / "ckpt-2")]) == 1
    assert f"no checkpoint lies in {tmp_path / 'empty'}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "usage: lastgood"),
        (["verify"], "usage: lastgood verify"),
        (["verify", "--colour", "x"], "usage: lastgood verify"),
        (["verfy"], "there is no command 'verfy'. The commands are: "),
        (["--verbose"], "there is no option --verbose"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_is_right(arguments, said, capsys):
    assert main(arguments) == 2
    assert said in capsys.readouterr().err


def test_version_and_help_end_with_0(capsys):
    assert main(["--version"]) == 0
    assert main(["--help"]) == 0
    assert main(["verify", "--help"]) == 0

    out = capsys.readouterr().out
    assert out.startswith(f"lastgood {lastgood.__version__}\n")
    assert "verify       read checkpoints' bytes" in out


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_command_is_where_the_list_says_and_says_the_same_of_itself(name):
    command = BUILT_IN[name].load()

    assert (command.name, command.summary) == (name, BUILT_IN[name].summary)


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_command_imports_no_other_command(name):
    code = (
        "import sys; from lastgood.cli import main; main([sys.argv[1], '--help']); "
        "print(sorted(name for name in sys.modules if name.startswith('lastgood.commands.')))"
    )
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}

    told = subprocess.run(
        [sys.executable, "-c", code, name], env=environment, capture_output=True, text=True, timeout=60
    )

    assert told.stdout.splitlines()[-1] == str([BUILT_IN[name].target.partition(":")[0]]), told.stderr


def test_a_command_of_another_part_is_found_and_gets_its_arguments(install, capsys):
    install("obey", WORKING.format(name="obey", run="arguments.status"))

    assert main(["obey", "--status", "1"]) == 1
    assert main(["--help"]) == 0
    assert "obey         does what it is told" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("package", "source", "said"),
    [
        ("lastgood_agent", "import not_installed_anywhere", "pip install 'lastgood[agent]'"),
        ("lastgood_controller", "import not_installed_anywhere", "pip install 'lastgood[controller]'"),
        ("lastgood_controller", WORKING.format(name="x", run="__import__('grpc_missing')"), "'lastgood[controller]'"),
        ("other", "import not_installed_anywhere", "reinstall the distribution of other"),
        ("other", "def (:", "needs a newer Python"),
        ("other", "1 / 0", "is broken: importing other:COMMAND failed with ZeroDivisionError"),
        ("other", "x = 1", "is broken: importing other:COMMAND failed with AttributeError"),
        ("other", "COMMAND = 1", "is broken: expected a Command at other:COMMAND, found int"),
    ],
)
def test_a_broken_part_gets_a_sentence_and_harms_no_other(install, package, source, said, monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, package, raising=False)
    install("frobnicate", source, package)

    status = main(["frobnicate"])

    said_on_stderr = capsys.readouterr().err
    monkeypatch.delitem(sys.modules, package, raising=False)
    assert status == 2
    assert said in said_on_stderr
    assert said_on_stderr.count("\n") == 1
    assert main(["--help"]) == 0
    assert main(["verify", str(MWMS / "ckpt-1")]) == 0


def test_a_fault_of_our_own_condemns_nothing(install, capsys):
    install("stumble", WORKING.format(name="stumble", run="1 // 0"))

    assert main(["stumble"]) == 3

    said = capsys.readouterr().err.splitlines()
    assert said[0] == "Traceback (most recent call last):"
    assert said[-2].startswith("ZeroDivisionError: ")
    assert said[-1] == "lastgood: this is a fault of lastgood's own; nothing is said about what it was asked for"


@pytest.mark.parametrize(
    ("failure", "status"),
    [("KeyboardInterrupt()", 130), ("BrokenPipeError()", 141), ("LastgoodError('it is away')", 3)],
)
def test_how_a_command_ends_is_told_by_the_exit_status(install, capsys, failure, status):
    name = f"end{status}"
    source = "from lastgood.errors import LastgoodError\n" + WORKING.format(
        name=name, run=f"(_ for _ in ()).throw({failure})"
    )
    install(name, source)

    assert main([name]) == status
    assert capsys.readouterr().err == ("lastgood: it is away\n" if status == 3 else "")


@pytest.mark.parametrize("module", ["lastgood.cli", "argparse", "lastgood.commands.verify", "lastgood.verify"])
def test_ctrl_c_while_a_command_is_still_being_imported_ends_it_quietly(module, checkpoints):
    # given: the signal comes in the middle of that import
    program = (
        "import os, runpy, signal, sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        f"sys.argv[1:] = ['verify', {str(checkpoints)!r}]\n"
        "runpy.run_module('lastgood', run_name='__main__')\n"
    )

    # when
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)

    # then
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_python_dash_m_works_and_nothing_is_said_when_nobody_listens(checkpoints):
    told = run("verify", checkpoints)
    reading, writing = os.pipe()
    os.close(reading)
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}

    unheard = subprocess.run(
        [sys.executable, "-m", "lastgood", "verify", str(checkpoints)],
        env=environment,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    os.close(writing)

    assert (told.returncode, told.stderr) == (1, "")
    assert (unheard.returncode, unheard.stderr) == (141, "")


def test_names_that_are_not_text_are_printed_escaped(checkpoints):
    odd = os.fsencode(checkpoints) + b"/odd\xff-1"
    for suffix in (b".index", b".data-00000-of-00001"):
        shutil.copyfile(os.fsencode(checkpoints / "ckpt-1") + suffix, odd + suffix)

    told = run("verify", os.fsdecode(odd))

    assert (told.returncode, told.stderr) == (0, "")
    assert "odd\\udcff-1" in told.stdout


def test_verify_imports_nothing_that_is_slow_or_not_in_the_standard_library():
    code = (
        "import sys; from lastgood.cli import main; main(['verify', sys.argv[1]]); "
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'grpc', 'google', 'numpy', 'rich', "
        "'sqlalchemy', 'tensorflow', 'lastgood_agent', 'lastgood_controller'}))"
    )
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}

    told = subprocess.run(
        [sys.executable, "-c", code, str(MWMS / "ckpt-1")], env=environment, capture_output=True, text=True, timeout=60
    )

    assert told.stdout.splitlines()[-1] == "[]", told.stderr


def test_the_library_works_on_python_3_8_with_nothing_installed(checkpoints, python38):
    code = (
        "import pkgutil, lastgood\n"
        "for module in pkgutil.walk_packages(lastgood.__path__, 'lastgood.'):\n"
        "    if not module.name.startswith(('lastgood.v1', 'lastgood.lanes', 'lastgood.__main__')):\n"
        "        __import__(module.name)"
    )
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONDONTWRITEBYTECODE": "1"}

    imported = subprocess.run([python38, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    told = subprocess.run(
        [python38, "-m", "lastgood", "verify", "--json", str(checkpoints)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    unknown = subprocess.run([python38, "-m", "lastgood", "nothing"], env=environment, capture_output=True, timeout=60)

    assert (imported.returncode, imported.stderr) == (0, "")
    assert [row["standing"] for row in json.loads(told.stdout)] == ["Bad", "Good"]
    assert (told.returncode, told.stderr, unknown.returncode) == (1, "", 2)


def test_a_full_disk_below_the_output_gets_a_sentence_and_status_3(checkpoints):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "lastgood", "verify", str(checkpoints)]
        environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
        done = subprocess.run(command, env=environment, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)

    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert "No space left on device" in done.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_command_that_is_started_with_closed_streams_works_all_the_same(checkpoints, closed):
    command = f'exec "$0" -m lastgood verify "$1" {closed}'
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}

    done = subprocess.run(["sh", "-c", command, sys.executable, checkpoints / "ckpt-1"], env=environment, timeout=60)

    assert done.returncode == 0


def test_a_locale_that_lacks_a_character_is_no_reason_to_fail(install):
    install("drawing", WORKING.format(name="drawing", run="print('step \\u2013')"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), *sys.path]), "PYTHONIOENCODING": "latin-1"}

    command = [sys.executable, "-m", "lastgood", "drawing"]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=60)

    assert (done.returncode, done.stdout) == (0, b"step ?\n"), done.stderr
