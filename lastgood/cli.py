"""The command `lastgood`: finds the subcommand that was asked for, loads that one alone, and runs it.

The library's own commands are listed here by name; none of them is imported before it is asked for. The others belong
to parts that may not be installed and are found by the entry-point group `lastgood.commands`; a part that is missing or
broken gives a sentence and harms no other command. Exit status: 0 good, 1 a bad verdict, 2 wrong usage (or a part that
is not installed), 3 could not tell (a fault of our own among it), 130 interrupted, 141 when nobody reads the output any
more.
"""

import sys
from argparse import ArgumentParser
from contextlib import suppress
from typing import TYPE_CHECKING, Dict, List, NamedTuple, Optional, Sequence

from lastgood import __version__, streams
from lastgood.command import Command
from lastgood.errors import LastgoodError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINT_GROUP = "lastgood.commands"

GOOD, BAD, USAGE, UNKNOWN, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 3, 130, 141


class BuiltIn(NamedTuple):
    """Where one of the library's own commands is, as "module:ATTRIBUTE", and what `--help` says of it."""

    target: str
    summary: str

    def load(self) -> Command:
        """Imports it."""
        from importlib import import_module

        module, _, attribute = self.target.partition(":")
        command: Command = getattr(import_module(module), attribute)
        return command


#: By name. Each summary stands here too, so that `--help` imports none of them; a test keeps the two equal.
BUILT_IN: Dict[str, BuiltIn] = {
    "diff": BuiltIn("lastgood.commands.diff:DIFF", "say in words what changed between two checkpoints"),
    "explain": BuiltIn("lastgood.commands.explain:EXPLAIN", "predict key by key what restoring a checkpoint would do"),
    "latest": BuiltIn(
        "lastgood.commands.latest:LATEST", "say which checkpoint TensorFlow would restore, and which it should"
    ),
    "pins": BuiltIn(
        "lastgood.commands.pins:PINS", "list the checkpoints that lastgood keeps from rotation, or remove them"
    ),
    "show": BuiltIn("lastgood.commands.show:SHOW", "print what a checkpoint holds, as a tree or as JSON"),
    "verify": BuiltIn("lastgood.commands.verify:VERIFY", "read checkpoints' bytes and say whether they are whole"),
}

#: What must be installed for the commands of which package.
_EXTRA_BY_PACKAGE = {"lastgood_agent": "agent", "lastgood_controller": "controller"}

_DESCRIPTION = "Guards the checkpoints of distributed TensorFlow training."


class _UnavailableError(Exception):
    """A command that exists and cannot be loaded or run here. The text says what to do."""


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Runs one command; `argv` as in `sys.argv[1:]`. Returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    streams.prepare()
    try:
        status = _run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        streams.silence(sys.stdout)
        return BROKEN_PIPE
    except OSError as error:  # the output's disk is full, say: nothing that a stack would explain
        streams.silence(sys.stdout)
        return _fail(str(error), UNKNOWN)
    except LastgoodError as error:
        return _fail(str(error), UNKNOWN)
    except _UnavailableError as error:
        return _fail(str(error), USAGE)
    except Exception:  # a fault of ours, and no verdict: 1, as Python has it, would condemn what was asked about
        _print_traceback()
        return _fail("this is a fault of lastgood's own; nothing is said about what it was asked for", UNKNOWN)
    except SystemExit as ended:  # argparse, after it has said what is wrong
        return ended.code if isinstance(ended.code, int) else (GOOD if ended.code is None else USAGE)
    return status


def _run(arguments: List[str]) -> int:
    if not arguments or arguments[0].startswith("-"):
        return _run_without_command(arguments)
    name, rest = arguments[0], arguments[1:]
    built_in = BUILT_IN.get(name)
    if built_in is not None:
        return _run_command(built_in.load(), rest)
    entry_point = _entry_points().get(name)
    if entry_point is None:
        return _fail("there is no command {!r}. The commands are: {}".format(name, ", ".join(_names())), USAGE)
    try:
        return _run_command(_load(entry_point), rest)
    except ImportError as error:
        raise _UnavailableError(_what_to_install(entry_point, error)) from error


def _run_without_command(arguments: List[str]) -> int:
    if not arguments:
        print(_help(), file=sys.stderr)
        return USAGE
    if arguments[0] in ("-h", "--help"):
        print(_help())
        return GOOD
    if arguments[0] == "--version":
        print("lastgood {}".format(__version__))
        return GOOD
    return _fail("there is no option {}. `lastgood --help` lists the commands".format(arguments[0]), USAGE)


def _run_command(command: Command, arguments: List[str]) -> int:
    parser = ArgumentParser(prog="lastgood {}".format(command.name), description=command.summary)
    command.configure(parser)
    return command.run(parser.parse_args(arguments))


def _help() -> str:
    """What `--help` prints: loads every other part that is installed, for the one line that it says of itself."""
    commands = "\n".join("  {:<12} {}".format(name, _summary(name)) for name in _names())
    return "usage: lastgood [--version] COMMAND ...\n\n{}\n\ncommands:\n{}\n\n{}".format(
        _DESCRIPTION, commands, "`lastgood COMMAND --help` says what a command takes."
    )


def _names() -> List[str]:
    return sorted(set(BUILT_IN) | set(_entry_points()))


def _summary(name: str) -> str:
    if name in BUILT_IN:
        return BUILT_IN[name].summary
    try:
        return _load(_entry_points()[name]).summary
    except _UnavailableError as error:
        return "(not available: {})".format(error)


def _entry_points() -> Dict[str, "EntryPoint"]:
    """The commands of all installed parts, by name; nothing of them is imported yet."""
    from importlib.metadata import entry_points  # takes longer to import than `verify` needs in all

    found = entry_points()
    selected = found.select(group=ENTRY_POINT_GROUP) if hasattr(found, "select") else found.get(ENTRY_POINT_GROUP, ())
    return {entry_point.name: entry_point for entry_point in selected}


def _load(entry_point: "EntryPoint") -> Command:
    """Imports the command. Raises _UnavailableError with a sentence that says what to do."""
    try:
        command = entry_point.load()
    except ImportError as error:
        raise _UnavailableError(_what_to_install(entry_point, error)) from error
    except SyntaxError as error:
        raise _UnavailableError(
            "`lastgood {}` needs a newer Python; this is {}.{}".format(entry_point.name, *sys.version_info[:2])
        ) from error
    except Exception as error:  # another distribution's module: whatever it raises, the other commands work
        raise _UnavailableError(
            "`lastgood {}` is broken: importing {} failed with {}: {}".format(
                entry_point.name, entry_point.value, type(error).__name__, error
            )
        ) from error
    if not isinstance(command, Command):
        raise _UnavailableError(
            "`lastgood {}` is broken: expected a Command at {}, found {}".format(
                entry_point.name, entry_point.value, type(command).__name__
            )
        )
    return command


def _what_to_install(entry_point: "EntryPoint", error: ImportError) -> str:
    package = entry_point.value.partition(":")[0].partition(".")[0]
    extra = _EXTRA_BY_PACKAGE.get(package)
    cure = "pip install 'lastgood[{}]'".format(extra) if extra else "reinstall the distribution of {}".format(package)
    return "`lastgood {}` needs {} ({})".format(entry_point.name, cure, error)


def _print_traceback() -> None:
    from traceback import print_exc

    with suppress(OSError):
        print_exc()


def _fail(sentence: str, status: int) -> int:
    streams.complain(sentence)
    return status
