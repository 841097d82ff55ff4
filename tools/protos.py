"""Makes the code in lastgood/v1 from the sources in protos/, or checks that it is what they give.

Generated code is kept in the repository, so that neither an installation nor a test needs a compiler. Run it in the
development environment: its grpcio-tools is the version that the code is made by.

    python tools/protos.py write    write lastgood/v1 anew
    python tools/protos.py check    exit 1, naming the files, when something there is out of date
"""

from __future__ import annotations

import filecmp
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CLONE = Path(__file__).resolve().parent.parent
SOURCES = CLONE / "protos"
GENERATED = CLONE / "lastgood" / "v1"
PATTERN = "*_pb2*"


def generate(target: Path) -> Path:
    """Runs the compiler; returns the folder in `target` that holds what it wrote."""
    sources = sorted(str(source) for source in SOURCES.glob("lastgood/v1/*.proto"))
    outputs = [f"--{kind}={target}" for kind in ("python_out", "pyi_out", "grpc_python_out")]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", "-I", str(SOURCES), *outputs, *sources], check=True)
    return target / "lastgood" / "v1"


def names(folder: Path) -> set[str]:
    """The generated files of a folder."""
    return {path.name for path in folder.glob(PATTERN)}


def differences(fresh: Path) -> list[str]:
    """What has to change in the repository, one sentence per file; empty when all is up to date."""
    kept, made = names(GENERATED), names(fresh)
    changed = {name for name in kept & made if not filecmp.cmp(fresh / name, GENERATED / name, shallow=False)}
    return [
        *(f"lastgood/v1/{name} is out of date" for name in sorted(changed)),
        *(f"lastgood/v1/{name} is missing" for name in sorted(made - kept)),
        *(f"lastgood/v1/{name} has no source any more" for name in sorted(kept - made)),
    ]


def write(fresh: Path) -> None:
    """Replaces what is in the repository."""
    for name in names(GENERATED) - names(fresh):
        (GENERATED / name).unlink()
    for name in sorted(names(fresh)):
        shutil.copyfile(fresh / name, GENERATED / name)


def main(arguments: list[str]) -> int:
    """Runs one of the two commands."""
    if arguments not in (["write"], ["check"]):
        print("expected one of: write, check", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        fresh = generate(Path(folder))
        if arguments == ["write"]:
            write(fresh)
            return 0
        found = differences(fresh)
    for sentence in found:
        print(sentence)
    print("run `make proto` and commit what it writes" if found else "generated code is up to date")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
