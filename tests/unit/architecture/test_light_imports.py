"""`lastgood verify` starts at once: what is heavy is imported by the command that needs it."""

import subprocess
import sys

from source_imports import PACKAGES, modules

#: What `lastgood` imports before it knows which command is meant.
LIGHT = ("lastgood.cli", "lastgood_agent.commands", "lastgood_controller.commands")

HEAVY = {
    "alembic",
    "asyncio",
    "google.protobuf",
    "grpc",
    "numpy",
    "prometheus_client",
    "rich",
    "sqlalchemy",
    "tenacity",
}


def test_finding_out_which_command_is_meant_imports_nothing_heavy() -> None:
    # given
    present = [module for module in LIGHT if module in modules()]
    program = f"import sys, {', '.join(['sys', *present])}; print(*sys.modules)"
    path = [str(folder.parent) for folder in PACKAGES.values()]

    # when
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}; {program}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)

    # then
    assert (done.stderr, done.returncode) == ("", 0)
    assert HEAVY & set(done.stdout.split()) == set()
