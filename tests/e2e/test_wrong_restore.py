"""A restore that gives one worker other values than the plan's checkpoint holds must not go on to train."""

from __future__ import annotations

import pytest
from operating import Start
from training import Plain, Training, executed_steps

#: Seconds for one test on a machine that does other things, too.
pytestmark = pytest.mark.timeout(400)


def test_a_worker_that_was_given_the_checkpoint_before_is_named_with_its_variables(
    launch: Start, training: Training, plain: Plain
) -> None:
    """The fault lies below the hooks; without lastgood both workers train on, with the same loss and other weights."""
    plain(2).hand_over(training)
    stale = Training(training.python, training.directory, script="stale_reader.py")

    run = launch(stale.command(steps=20, save_every=5), options=["--max-restarts", "0"])
    done = run.finish()

    assert done.status == 1, done.output
    attempt = run.job()["attempts"][-1]
    assert (attempt["failure"]["worker"], attempt["failure"]["reason"]) == ("worker/1", "RestoredWrong")
    for name in ("network/hidden", "network/output", "step"):
        assert name in attempt["failure"]["detail"]
    assert "RestoredWrong" in done.output
    assert "worker/1" in done.output
    receipts = {receipt["worker"]: receipt for receipt in attempt["receipts"]}
    assert (receipts["worker/0"]["good"], receipts["worker/1"]["good"]) == (True, False)
    assert receipts["worker/1"]["wrong_value"]
    assert [executed_steps(training, task_id) for task_id in (0, 1)] == [10, 10], "a step was made from wrong values"
    verdicts = {c["step"]: c["verdict"] for c in run.job()["checkpoints"]}
    assert verdicts[10] == "Good", "one worker's wrong reading is no fault of the checkpoint"
