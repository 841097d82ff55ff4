"""`lastgood run`: from the command line to the launcher that it starts, once the worker's directory is its own.

Decides only the exit status of what can't be meant: 2, with one sentence, and nothing was started. An evaluator
belongs to no gang: its command takes the place of this process.
"""

import argparse
import os
import sys
from typing import List, Optional

from lastgood_agent.launcher import launch, say
from lastgood_agent.run_options import MisuseError, configure, settings_from
from lastgood_agent.worker_directory import lock_directory, prepare_directory

EXIT_WRONG_USAGE = 2


def run(arguments: argparse.Namespace) -> int:
    """Does what `lastgood run` was asked for; the exit status of the run."""
    try:
        settings = settings_from(arguments, os.environ)
        if settings.gang.is_observed_only:
            say(settings, "an evaluator belongs to no gang: the command runs as it is, observed by nobody")
            os.execvp(settings.command[0], list(settings.command))
        prepare_directory(settings)
        lock = lock_directory(settings)
    except MisuseError as error:
        print("lastgood run: {}".format(error), file=sys.stderr)
        return EXIT_WRONG_USAGE
    try:
        return launch(settings)
    finally:
        os.close(lock)


def main(argv: Optional[List[str]] = None) -> int:
    """`python -m lastgood_agent.run_command`: the same as `lastgood run`, with nothing but this package."""
    parser = argparse.ArgumentParser(prog="lastgood run", description="Runs one worker of a gang.")
    configure(parser)
    try:
        return run(parser.parse_args(argv))
    except KeyboardInterrupt:  # before the launcher's own handlers were there, and so before it started anything
        return 130


if __name__ == "__main__":
    sys.exit(main())
