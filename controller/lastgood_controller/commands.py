"""The controller's subcommands of `lastgood`: their arguments. Cheap to import: the work is imported when done."""

from argparse import REMAINDER, ArgumentParser, Namespace, RawDescriptionHelpFormatter

from lastgood.command import Command
from lastgood_controller.controller_command import CONTROLLER, add_guards

__all__ = ["CONTROLLER", "JOB", "JOBS", "LAUNCH", "REOPEN", "WATCH"]


#: What `lastgood launch` ends with, for its help.
EXIT_STATUSES = """exit status:
  0      the run finished: every worker's trainer ended with status 0
  1      the run ended for a reason that is printed (BudgetSpent, ScriptFails, NoGoodCheckpoint, ...)
  2      wrong usage; nothing was started
  3      could not tell: a part of lastgood does not work here
  128+N  told to end by signal N: 143 for SIGTERM, 130 for SIGINT, 129 for SIGHUP

SIGTERM leaves the gang the grace period, where there is something to win by it: a script that saves and ends by itself
when it is told to, or a save that is due. SIGINT and SIGHUP end everything within 8 s, a second signal at once. What a
trainer's own exit statuses mean: docs/endings.md.
"""


def _configure_launch(parser: ArgumentParser) -> None:
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.description = "Runs CMD once per worker as one guarded gang on this machine."
    parser.epilog = EXIT_STATUSES
    parser.add_argument("--workers", type=int, required=True, metavar="N", help="size of the gang")
    parser.add_argument("--state-dir", metavar="DIR", help="where the run is kept (default: .lastgood/JOB)")
    parser.add_argument("--job", metavar="NAME", help="the job's name (default: the script's)")
    parser.add_argument(
        "--steering", choices=("on", "off"), default="on", help="off: observe only, restores are the script's own"
    )
    add_guards(parser)
    parser.add_argument(
        "--max-restarts", type=int, metavar="N", help="restarts in a row without a new good checkpoint before it stops"
    )
    parser.add_argument(
        "--start-timeout",
        type=float,
        metavar="S",
        help="from the plan until every worker's first step (default: 600; 0: no limit)",
    )
    parser.add_argument(
        "--grace",
        type=float,
        default=30.0,
        metavar="S",
        help="from SIGTERM until somebody kills this process: the gang gets some seconds less to save (default: 30)",
    )
    parser.add_argument(
        "--listen", default="127.0.0.1:0", metavar="HOST:PORT", help="the controller's address (default: a free port)"
    )
    parser.add_argument("--plain", action="store_true", help="plain lines, also on a terminal")
    parser.add_argument(
        "--json-events", metavar="FILE", help="append each journal entry to FILE, one JSON document a line"
    )
    parser.add_argument("command", nargs=REMAINDER, metavar="-- CMD", help="the training command")


def _run_launch(arguments: Namespace) -> int:
    from lastgood_controller.launch import run

    return run(arguments)


def _add_sources(parser: ArgumentParser) -> None:
    sources = parser.add_mutually_exclusive_group()
    sources.add_argument("--state-dir", metavar="DIR", help="one run's directory (default: every run in .lastgood)")
    sources.add_argument("--controller", metavar="HOST:PORT", help="ask this controller")
    parser.add_argument("--json", action="store_true", help="print the documents of docs/json.md")


def _configure_job(parser: ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="the job's name or run id; needless when there is one")
    _add_sources(parser)


def _run_jobs(arguments: Namespace) -> int:
    from lastgood_controller.jobs import run_jobs

    return run_jobs(arguments)


def _run_job(arguments: Namespace) -> int:
    from lastgood_controller.jobs import run_job

    return run_job(arguments)


def _run_watch(arguments: Namespace) -> int:
    from lastgood_controller.jobs import run_watch

    return run_watch(arguments)


def _run_reopen(arguments: Namespace) -> int:
    from lastgood_controller.reopening import run_reopen

    return run_reopen(arguments)


LAUNCH = Command(
    "launch", "train on this machine, guarded: one command, nothing else to start", _configure_launch, _run_launch
)
JOBS = Command("jobs", "every run and where it stands", _add_sources, _run_jobs)
JOB = Command("job", "one run: its checkpoints with verdicts, attempts and incidents", _configure_job, _run_job)
WATCH = Command("watch", "what happens to one run, as it happens", _configure_job, _run_watch)
REOPEN = Command("reopen", "let a run that has ended go on; then start its workers again", _configure_job, _run_reopen)
