"""Interpreters of the Python versions that the library promises to work on, wherever this machine has them.

Looks on the PATH, among pyenv's versions, and in the cache folder; a version that Debian ships in another release than
this one is unpacked there, with the C library that it was built for, and changes nothing of the system. Needs no root.

    python3.11 tools/pythons.py [VERSION…]      print each version's interpreter, or why there is none

Exit status 1: one of them could not be had.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools.environment import answers, cache_folder, key_of, ready

#: What the library promises, oldest first.
VERSIONS = ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14")

#: Debian's release that has a version which the one before it lacks.
RELEASES = {"3.9": "bullseye", "3.13": "trixie", "3.14": "forky"}

DEBIAN_SOURCES = (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list"))
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

#: Longest that one call of apt may take.
APT_LIMIT_S = 600.0


class NoPythonError(Exception):
    """A version that cannot be had here; the message says what was looked for."""


def find(version: str) -> str:
    """An interpreter of that version. Raises NoPythonError."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    kept_by_pyenv = sorted(map(str, pyenv.glob(f"versions/{version}.*/bin/python{version}")))
    check = f"import sys; sys.exit('%d.%d' % sys.version_info[:2] != {version!r})"
    for candidate in (shutil.which(f"python{version}"), *kept_by_pyenv):
        if candidate and answers(candidate, check):
            return candidate
    return from_debian(version, check)


def from_debian(version: str, check: str) -> str:
    """The interpreter that another Debian release ships, unpacked in the cache folder. Raises NoPythonError."""
    release, mirror = RELEASES.get(version), debian_mirror()
    if release is None or mirror is None or not shutil.which("apt-get"):
        raise NoPythonError(f"expected python{version} on the PATH or among pyenv's versions, and found neither")
    folder = cache_folder() / f"python-{version}-{key_of(release.encode(), Path(__file__).read_bytes())}"
    ready(folder, lambda folder: unpack(folder, version, release, mirror), f"Python {version} of Debian's {release}")
    interpreter = str(folder / "bin" / f"python{version}")
    if not answers(interpreter, check):
        raise NoPythonError(f"expected {interpreter}, unpacked from Debian's {release}, to run, and it does not")
    return interpreter


def debian_mirror() -> str | None:
    """Where this machine's own packages of Debian come from."""
    for path in DEBIAN_SOURCES:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        found = re.search(r"^(?:URIs:|deb(?: \[[^]]*\])?) +(\S+)", text, re.MULTILINE)
        if found:
            return found.group(1)
    return None


def unpack(folder: Path, version: str, release: str, mirror: str) -> None:
    """Fetches the interpreter with all that it needs, down to the C library, and unpacks it below `folder`."""
    state = folder / "apt"
    for each in ("lists/partial", "archives/partial"):
        (state / each).mkdir(parents=True)
    (state / "status").touch()
    source = f"deb [signed-by={KEYRING}] {mirror} {release} main\n"
    (state / "sources.list").write_text(source, encoding="utf-8")
    apt(state, "update")
    packages = (f"python{version}-minimal", f"libpython{version}-stdlib")
    apt(state, "install", "--yes", "--download-only", "--no-install-recommends", *packages)
    root = folder / "root"
    for package in sorted((state / "archives").glob("*.deb")):
        run("dpkg-deb", "--extract", str(package), str(root))
    shutil.rmtree(state)
    write_starter(folder / "bin" / f"python{version}", root, version)


def apt(state: Path, *arguments: str) -> None:
    """apt-get with lists, archives and a system of its own, in which nothing is installed."""
    settings = {
        "Dir::Etc::SourceList": state / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": state / "lists",
        "Dir::State::status": state / "status",
        "Dir::Cache::archives": state / "archives",
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "APT::Sandbox::User": "root",
        "Debug::NoLocking": "true",
    }
    run("apt-get", "-qq", *(f"-o{name}={value}" for name, value in settings.items()), *arguments)


def run(*command: str) -> None:
    """Runs a command quietly. Raises NoPythonError with what it said when it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=APT_LIMIT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoPythonError(f"expected {command[0]} to do its work: {error}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise NoPythonError(f"expected {command[0]} to end with status 0, found {done.returncode}: {' '.join(said)}")


def write_starter(path: Path, root: Path, version: str) -> None:
    """A command that runs the interpreter with its own loader and libraries, as a virtual environment of itself.

    The environment tells it where its standard library is, even when it is told to ignore the caller's variables.
    """
    libraries = f"{root}/usr/lib/{platform.machine()}-linux-gnu:{root}/lib/{platform.machine()}-linux-gnu"
    loader = next(found for found in root.glob("**/ld-linux-*.so.*") if found.is_file())
    program = root / "usr" / "bin" / path.name
    path.parent.mkdir()
    (path.parent.parent / "pyvenv.cfg").write_text(f"home = {program.parent}\nversion = {version}\n", encoding="utf-8")
    path.write_text(
        f"#!/bin/sh\nexec '{loader}' --library-path '{libraries}' --argv0 \"$0\" '{program}' \"$@\"\n", encoding="utf-8"
    )
    path.chmod(0o755)


def main(arguments: list[str]) -> int:
    """Prints what is there."""
    status = 0
    for version in arguments or VERSIONS:
        try:
            print(f"{version} {find(version)}")
        except NoPythonError as error:
            print(f"{version} {error}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
