"""Where the interpreters of this project are, and how they come to be.

Decides which environments there are, what goes into each (its lock file, by hash, nothing else) and when one has to be
made again. Makes nothing inside the clone, and changes no environment once it is made: a new lock file gets a new one.

    python3.11 tools/environment.py exec [--tf|--tf-all] -- COMMAND…   run COMMAND in the development environment
    python3.11 tools/environment.py path dev|tf|2.4|2.15|2.21          print an environment's interpreter
    python3.11 tools/environment.py lock [--upgrade]                   write the lock files anew
    python3.11 tools/environment.py clean                              remove all that was made

All of it lies in `${XDG_CACHE_HOME:-~/.cache}/lastgood`:
- `uv-KEY`, `dev-KEY`, `tf-VERSION-KEY`: third-party packages, one environment per lock file and Python, for all clones;
- `clone-PATHKEY-KEY`: one clone's own packages and the `lastgood` command, on top of `dev-KEY`. A few small files.

`--tf` adds the newest TensorFlow (LASTGOOD_TEST_TF_PYTHON names its interpreter), `--tf-all` each one that the project
is compared with (LASTGOOD_TEST_TF_2_4_PYTHON and so on). TensorFlow 2.4 runs on Python 3.8; where there is none it is
left out, and said so.

Needs Python 3.11 with nothing installed. Exit status 3: an environment could not be made.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

CLONE = Path(__file__).resolve().parent.parent
REQUIREMENTS = CLONE / "requirements"
BOOTSTRAP_LOCK = REQUIREMENTS / "bootstrap.lock"
DEV_LOCK = REQUIREMENTS / "dev.lock"

#: The TensorFlow versions that the project is compared with, oldest first, and the Python that each runs on.
TENSORFLOWS = {"2.4": "3.8", "2.15": "3.11", "2.21": "3.11"}
NEWEST_TENSORFLOW = "2.21"

#: What of the project's optional dependencies the development environment has: all of them.
EXTRAS = ("agent", "controller", "keras", "remote")

#: Where the packages of the clone lie, in the order of sys.path.
SOURCE_FOLDERS = (CLONE, CLONE / "controller", CLONE / "worker_agent")

#: Stands in an environment that is whole. One without it is left over from something that was interrupted.
READY = ".ready"

#: Longest that making one environment may take. TensorFlow over a slow line is 300 MB.
BUILD_LIMIT_S = 1800.0


class EnvironmentSetupError(Exception):
    """An environment could not be made; the message says which one and what to do."""


def cache_folder() -> Path:
    """The one folder that everything made here lies in."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "lastgood"


def key_of(*parts: bytes) -> str:
    """Names content: equal for equal parts on one sort of machine and Python."""
    digest = hashlib.sha256(f"{sys.version} {platform.machine()} {sys.base_prefix}".encode())
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:16]


# ------------------------------------------------------------------------------------------------------- environments


def dev_environment() -> tuple[Path, Path]:
    """This clone's own environment and the shared one beneath it; made when they are not there yet."""
    lock = DEV_LOCK.read_bytes()
    shared = ready(cache_folder() / f"dev-{key_of(lock)}", lambda folder: sync(folder, DEV_LOCK), "the tools")
    path_key = hashlib.sha256(os.fsencode(CLONE)).hexdigest()[:12]
    key = key_of(lock, (CLONE / "pyproject.toml").read_bytes(), Path(__file__).read_bytes())
    own = cache_folder() / f"clone-{path_key}-{key}"
    return ready(own, lambda folder: lay_over(folder, shared), "this clone"), shared


def tf_lock(version: str) -> Path:
    """The lock file of one TensorFlow."""
    return REQUIREMENTS / f"tf-{version}.lock"


def tf_environment(version: str) -> Path | None:
    """An environment with that TensorFlow and nothing of lastgood; None where the Python that it runs on is missing."""
    interpreter = sys.executable if TENSORFLOWS[version] == "3.11" else find_python38()
    if interpreter is None:
        return None
    lock = tf_lock(version)
    folder = cache_folder() / f"tf-{version}-{key_of(lock.read_bytes(), interpreter.encode())}"
    return ready(folder, lambda folder: sync(folder, lock, interpreter), f"TensorFlow {version}")


def ready(folder: Path, build: Callable[[Path], None], what: str) -> Path:
    """`folder`, built if it is not whole yet. Of several that want it at once, one builds and the others wait."""
    if (folder / READY).exists():
        return folder
    with alone(folder.name):
        if (folder / READY).exists():
            return folder
        started_s = time.monotonic()
        say(f"setting up {what} in {folder}")
        shutil.rmtree(folder, ignore_errors=True)
        build(folder)
        (folder / READY).touch()
        say(f"{what}: ready after {time.monotonic() - started_s:.1f} s")
    return folder


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Holds the lock of that name; waits for whoever holds it. The kernel frees it when its holder dies."""
    locks = cache_folder() / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    with (locks / name).open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another process is setting up {name}; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def sync(folder: Path, lock: Path, python: str = sys.executable) -> None:
    """Makes an environment that holds exactly what the lock file says, each file checked against its hash."""
    run_uv("venv", "--quiet", "--python", python, folder)
    interpreter = str(folder / "bin" / "python")
    run_uv("pip", "sync", "--quiet", "--require-hashes", "--compile-bytecode", "--python", interpreter, lock)


def lay_over(folder: Path, shared: Path) -> None:
    """Makes this clone importable and its command runnable, on top of the shared environment.

    What an editable install would do, without a build: that would write into the clone.
    """
    remove_environments_of_vanished_clones()
    run_uv("venv", "--quiet", "--python", sys.executable, folder)
    packages = site_packages(folder)
    (folder / "clone").write_text(f"{CLONE}\n", encoding="utf-8")
    (packages / "lastgood.pth").write_text("".join(f"{source}\n" for source in SOURCE_FOLDERS), encoding="utf-8")
    beneath = f"import site; site.addsitedir({str(site_packages(shared))!r})\n"
    (packages / "lastgood_shared.pth").write_text(beneath, encoding="utf-8")
    project = tomllib.loads((CLONE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    write_distribution(packages / f"lastgood-{project['version']}.dist-info", project)
    for name, target in project.get("scripts", {}).items():
        write_script(folder / "bin" / name, folder / "bin" / "python", target)


def write_distribution(folder: Path, project: Mapping[str, object]) -> None:
    """What importlib.metadata reads: the name, the version and the entry points."""
    folder.mkdir()
    head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (folder / "METADATA").write_text(head, encoding="utf-8")
    groups = {"console_scripts": project.get("scripts", {}), **dict(project.get("entry-points", {}))}  # type: ignore[call-overload]
    lines = [
        line
        for group, entries in groups.items()
        for line in (f"[{group}]", *(f"{name} = {target}" for name, target in entries.items()))
    ]
    (folder / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_script(path: Path, interpreter: Path, target: str) -> None:
    """A console script that calls `module:function`."""
    module, _, function = target.partition(":")
    path.write_text(
        f"#!{interpreter}\nimport sys\n\nfrom {module} import {function}\n\nsys.exit({function}())\n", encoding="utf-8"
    )
    path.chmod(0o755)


def site_packages(folder: Path) -> Path:
    """Where an environment keeps its packages."""
    return folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"


def remove_environments_of_vanished_clones() -> None:
    """Clones come and go in temporary folders; what was made for them must not pile up."""
    for note in cache_folder().glob("clone-*/clone"):
        if not Path(note.read_text(encoding="utf-8").strip()).is_dir():
            shutil.rmtree(note.parent, ignore_errors=True)


# ----------------------------------------------------------------------------------------------------------------- uv


def uv() -> Path:
    """The program that makes the other environments, fetched once by pip."""
    folder = cache_folder() / f"uv-{key_of(BOOTSTRAP_LOCK.read_bytes())}"
    return ready(folder, fetch_uv, "uv") / "bin" / "uv"


def fetch_uv(folder: Path) -> None:
    """Installs uv by its lock file. Debian's Python may lack ensurepip, or pip, but not both."""
    options = ["--quiet", "--disable-pip-version-check", "--require-hashes", "--requirement", str(BOOTSTRAP_LOCK)]
    if importlib.util.find_spec("ensurepip"):
        run([sys.executable, "-m", "venv", str(folder)])
        run([str(folder / "bin" / "python"), "-m", "pip", "install", *options])
    elif importlib.util.find_spec("pip"):
        run([sys.executable, "-m", "pip", "install", "--target", str(folder), *options])
    else:
        raise EnvironmentSetupError(
            f"expected ensurepip or pip in {sys.executable} and found neither; on Debian: apt install python3-venv"
        )


def run_uv(*arguments: str | Path) -> None:
    """Runs uv with its cache beside ours, so that packages are linked and not copied."""
    run([str(uv()), *map(str, arguments)], {"UV_CACHE_DIR": str(cache_folder() / "packages")})


def run(command: Sequence[str], extra: Mapping[str, str] | None = None) -> None:
    """Runs a command in the clone. Raises EnvironmentSetupError when it fails; what it printed stands above."""
    clean = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    settings = {"UV_PYTHON_DOWNLOADS": "never", **(extra or {})}
    try:
        status = subprocess.run(command, env=clean | settings, cwd=CLONE, timeout=BUILD_LIMIT_S).returncode
    except subprocess.TimeoutExpired as error:
        raise EnvironmentSetupError(f"gave up after {BUILD_LIMIT_S:.0f} s: {' '.join(command)}") from error
    if status:
        raise EnvironmentSetupError(
            f"expected this to end with status 0, and it ended with {status}: {' '.join(command)}\n"
            "what it printed above says why; packages come from the registry that pip and uv are configured for"
        )


# ----------------------------------------------------------------------------------------------------------- commands


def execute(arguments: list[str]) -> int:
    """Becomes COMMAND, with the development environment first on its PATH. Returns only when it could not."""
    versions = {"--tf": (NEWEST_TENSORFLOW,), "--tf-all": tuple(TENSORFLOWS)}.get(arguments[0] if arguments else "", ())
    command = arguments[1:] if versions else arguments
    if command[:1] != ["--"] or len(command) < 2:
        return misuse("expected: exec [--tf|--tf-all] -- COMMAND…")
    own, shared = dev_environment()
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    environment["VIRTUAL_ENV"] = str(own)
    environment["PATH"] = os.pathsep.join([str(own / "bin"), str(shared / "bin"), environment.get("PATH", os.defpath)])
    environment |= tf_interpreters(versions)
    python38 = find_python38()
    if python38:
        environment["LASTGOOD_TEST_PYTHON38"] = python38
    sys.stdout.flush()
    program = shutil.which(command[1], path=environment["PATH"])
    if program is None:
        return misuse(f"expected a command, found {command[1]!r}, which is not on the PATH")
    os.execve(program, command[1:], environment)
    raise AssertionError("exec does not return")


def tf_interpreters(versions: Sequence[str]) -> dict[str, str]:
    """The variables that name the interpreters of these TensorFlows."""
    variables = {}
    for version in versions:
        folder = tf_environment(version)
        if folder is None:
            say(f"left out TensorFlow {version}: it needs Python {TENSORFLOWS[version]}, which was not found here")
            continue
        interpreter = str(folder / "bin" / "python")
        variables[f"LASTGOOD_TEST_TF_{version.replace('.', '_')}_PYTHON"] = interpreter
        if version == NEWEST_TENSORFLOW:
            variables["LASTGOOD_TEST_TF_PYTHON"] = interpreter
    return variables


def find_python38() -> str | None:
    """An interpreter of the oldest Python that the launcher and the hooks support, where the machine has one."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    kept_by_pyenv = map(str, pyenv.glob("versions/3.8.*/bin/python3.8"))
    for candidate in (os.environ.get("LASTGOOD_TEST_PYTHON38"), shutil.which("python3.8"), *kept_by_pyenv):
        if candidate and answers(candidate, "import sys; sys.exit(sys.version_info[:2] != (3, 8))"):
            return candidate
    return None


def answers(interpreter: str, program: str) -> bool:
    """Whether the interpreter runs that program. A version manager's stand-in for a missing one does not."""
    try:
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
        return subprocess.run([interpreter, "-I", "-c", program], timeout=20, **silent).returncode == 0  # type: ignore[call-overload, no-any-return]
    except (OSError, subprocess.TimeoutExpired):
        return False


def print_path(arguments: list[str]) -> int:
    """Prints the interpreter of one environment."""
    names = ("dev", "tf", *TENSORFLOWS)
    if len(arguments) != 1 or arguments[0] not in names:
        return misuse(f"expected: path {'|'.join(names)}")
    name = NEWEST_TENSORFLOW if arguments[0] == "tf" else arguments[0]
    folder = dev_environment()[0] if name == "dev" else tf_environment(name)
    if folder is None:
        raise EnvironmentSetupError(f"TensorFlow {name} needs Python {TENSORFLOWS[name]}, which was not found here")
    print(folder / "bin" / "python")
    return 0


def write_locks(arguments: list[str]) -> int:
    """Writes every lock file from what it is made of. Pins stay as they are, except with --upgrade."""
    if arguments not in ([], ["--upgrade"]):
        return misuse("expected: lock [--upgrade]")
    pyproject = ["pyproject.toml", *(word for extra in EXTRAS for word in ("--extra", extra)), "--group", "dev"]
    sources = {
        BOOTSTRAP_LOCK: ("3.11", ["requirements/bootstrap.in"]),
        DEV_LOCK: ("3.11", pyproject),
        **{tf_lock(v): (python, [f"requirements/tf-{v}.in"]) for v, python in TENSORFLOWS.items()},
    }
    options = [
        "--quiet",
        "--generate-hashes",
        "--no-emit-index-url",
        "--custom-compile-command",
        "make lock",
        *arguments,
    ]
    for lock, (python, source) in sources.items():
        run_uv("pip", "compile", *options, *arguments, "--python-version", python, *source, "--output-file", lock)
        if "://" in lock.read_text(encoding="utf-8"):
            raise EnvironmentSetupError(f"{lock} names a host; a lock file says what, never where from")
        say(f"wrote {lock.relative_to(CLONE)}")
    return 0


def clean(arguments: list[str]) -> int:
    """Removes everything that was ever made here, for all clones."""
    if arguments:
        return misuse("expected: clean, without arguments")
    shutil.rmtree(cache_folder(), ignore_errors=True)
    say(f"removed {cache_folder()}")
    return 0


def misuse(sentence: str) -> int:
    """Prints what was expected. Returns the exit status of wrong usage."""
    say(sentence)
    return 2


def say(sentence: str) -> None:
    """Tells the person at the terminal; stdout belongs to the commands."""
    print(f"environment: {sentence}", file=sys.stderr, flush=True)


COMMANDS: Mapping[str, Callable[[list[str]], int]] = {
    "exec": execute,
    "path": print_path,
    "lock": write_locks,
    "clean": clean,
}


def main(arguments: list[str]) -> int:
    """Runs one of COMMANDS."""
    if sys.version_info[:2] != (3, 11):
        return misuse(f"expected Python 3.11, found {platform.python_version()}; say make PYTHON=/path/to/python3.11 …")
    if not arguments or arguments[0] not in COMMANDS:
        return misuse(f"expected one of {', '.join(COMMANDS)}")
    try:
        return COMMANDS[arguments[0]](arguments[1:])
    except EnvironmentSetupError as error:
        say(str(error))
        return 3
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        say(f"could not use {error.filename or cache_folder()}: {error.strerror}; XDG_CACHE_HOME names another place")
        return 3


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
