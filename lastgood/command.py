"""What a subcommand of `lastgood` is. Other parts add theirs by the entry-point group `lastgood.commands`.

A module that defines a `Command` must be cheap to import: the heavy imports belong into `run`.
"""

from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from typing import Callable


@dataclass(frozen=True)
class Command:
    """One subcommand.

    summary: one line for `lastgood --help`.
    configure: adds the arguments.
    run: does the work and returns the exit status: 0 good, 1 a bad verdict, 2 wrong usage, 3 could not tell.
    """

    name: str
    summary: str
    configure: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int]
