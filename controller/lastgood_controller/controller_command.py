"""`lastgood controller`: its arguments. Cheap to import: the work is imported when it is done."""

from argparse import ArgumentParser, Namespace
from dataclasses import fields

from lastgood.command import Command
from lastgood_controller.model import (
    Policy,
    ReceiptPolicy,
    SharedWritePolicy,
)

_POLICY_HELP = {
    "gather_s": "how long to wait for every member of the gang before the first attempt",
    "start_s": "from the opening of an attempt until every trainer runs",
    "listing_s": "from the first worker's look into its directory until the last one's",
    "verify_s": "how long an agent may take to read one checkpoint before another one is asked",
    "gate_s": "from the first worker's proof of what it restored until the last one's",
    "report_s": "from the first report of a save until the last one; afterwards the save is Incomplete",
    "settle_s": "the same, once the attempt's trainers have all ended",
    "stop_s": "how long a gang may take to be proven dead",
    "lost_s": "silence after which a worker counts as lost",
    "max_restarts": "restarts in a row without a new good checkpoint before the run is stopped",
    "first_step_s": "from the plan until every worker's first step, doubled after each time it was missed; 0: no limit",
    "back_off_s": "pause before the second restart without progress; doubles each time",
}


def add_guards(parser: ArgumentParser) -> None:
    """What is done about restores and saves that go wrong."""
    defaults = Policy()
    parser.add_argument(
        "--receipts",
        choices=[each.value for each in ReceiptPolicy],
        default=defaults.receipts.value,
        help="a restore that puts other values into the variables than were saved: enforce fails the attempt, warn only"
        f" tells, off compares nothing (default: {defaults.receipts.value})",
    )
    parser.add_argument(
        "--shared-write",
        choices=[each.value for each in SharedWritePolicy],
        default=defaults.shared_write.value,
        help="two workers that save to one prefix: warn only tells, redirect sends all but one's saves elsewhere, stop"
        f" ends the run (default: {defaults.shared_write.value})",
    )


def _configure(parser: ArgumentParser) -> None:
    parser.description = (
        "Serves one state directory: records what agents report, judges checkpoints, plans restarts."
        " Ends with 0 when told to stop, 2 for wrong usage, 3 when its journal cannot be read."
    )
    parser.add_argument("--state-dir", required=True, metavar="DIR", help="where the journal is kept")
    parser.add_argument(
        "--listen", default="127.0.0.1:0", metavar="HOST:PORT", help="where agents connect (default: a free port)"
    )
    parser.add_argument(
        "--metrics-listen", default="127.0.0.1:0", metavar="HOST:PORT", help="/metrics (default: a free port)"
    )
    parser.add_argument("--steering", choices=("on", "off"), default="on", help="off: observe only, steer nothing")
    add_guards(parser)
    policy = parser.add_argument_group("policy of new runs, times in seconds")
    defaults = Policy()
    for each in fields(Policy):
        name, default = each.name, getattr(defaults, each.name)
        if name not in _POLICY_HELP:
            continue
        meaning = _POLICY_HELP[name]
        policy.add_argument(
            "--" + name.replace("_", "-"),
            type=type(default),
            default=default,
            metavar="SECONDS" if name.endswith("_s") else "N",
            help=f"{meaning} (default: {default:g})",
        )


def _run(arguments: Namespace) -> int:
    from lastgood_controller.serve import run

    return run(arguments)


CONTROLLER = Command("controller", "serve: record, judge, plan, steer", _configure, _run)
