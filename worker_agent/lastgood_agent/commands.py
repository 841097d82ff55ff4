"""What this part adds to the `lastgood` command line. Cheap to import."""

from argparse import ArgumentParser, Namespace

from lastgood.command import Command


def _configure(parser: ArgumentParser) -> None:
    from lastgood_agent import run_options

    run_options.configure(parser)


def _run(arguments: Namespace) -> int:
    from lastgood_agent import run_command

    return run_command.run(arguments)


RUN = Command("run", "run one worker of a gang under lastgood's guard", _configure, _run)
