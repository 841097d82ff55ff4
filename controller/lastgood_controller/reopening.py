"""`lastgood reopen NAME`: a person's word that a run which has ended goes on, with a fresh budget.

Decides nothing and starts nothing: the controller records who asked, and the run waits for its workers. Exit status: 0
the run goes on, 2 wrong usage, 3 there is no controller that could be asked.
"""

from __future__ import annotations

import json
from argparse import Namespace

from lastgood_controller.client import JobClient, who_asks
from lastgood_controller.jobs import LiveSource, UnanswerableError, answered, find_job, sources


def run_reopen(arguments: Namespace) -> int:
    """`lastgood reopen NAME`."""
    return answered("reopen", lambda: _reopen(arguments))


def _reopen(arguments: Namespace) -> int:
    source, run_id = find_job(sources(arguments), arguments.name)
    if not isinstance(source, LiveSource):
        raise UnanswerableError(
            f"no controller serves the state of {run_id}. Start it with `lastgood controller --state-dir DIR` and ask"
            " again; a run of `lastgood launch` is opened by the same launch command",
            3,
        )
    with JobClient(source.address) as client:
        end = client.get_job(run_id)["end"]
        if end is not None:
            client.open_job(run_id, who_asks())
        job = client.get_job(run_id)
    if arguments.json:
        print(json.dumps(job, indent=1))
    elif end is None:
        print(f"{job['name']} has not ended: nothing was changed")
    else:
        print(f"{job['name']} had ended with {end['reason']} and goes on: start its workers now")
    return 0
