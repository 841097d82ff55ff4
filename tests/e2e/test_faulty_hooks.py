"""No fault of a hook reaches the training: it goes on by TensorFlow's own means, and the job says so loudly."""

from __future__ import annotations

from pathlib import Path

import pytest
from operating import Start
from training import Plain, Training, assert_trained_truly

#: Seconds for one test on a machine that does other things, too.
pytestmark = pytest.mark.timeout(400)

FAULTS = Path(__file__).resolve().parent / "faults"


def with_faults(command: list[str]) -> list[str]:
    """The command with a `sitecustomize` that puts faults into the hooks, behind whatever is on its path."""
    return ["sh", "-c", f'PYTHONPATH="$PYTHONPATH:{FAULTS}" exec "$@"', "sh", *command]


@pytest.mark.parametrize("fault", [pytest.param("raise", marks=pytest.mark.breadth), "block"])
def test_a_script_trains_to_its_end_when_every_hook_fails(
    launch: Start, training: Training, plain: Plain, fault: str
) -> None:
    plain(1).hand_over(training)

    run = launch(with_faults(training.command(steps=20, save_every=5)), workers=1, environment={"HOOK_FAULT": fault})
    done = run.finish()

    assert done.status == 0, done.output
    assert [life.start for life in training.lives(0)] == [0, 10]
    assert_trained_truly(training, plain(1), steps=20, workers=1)
    job = run.job()
    attempt = job["attempts"][0]
    assert (len(job["attempts"]), job["end"]["reason"]) == (1, "Finished")
    assert (attempt["steered"], attempt["unsteered"]["reason"]) == (False, "Unsteered")
    failures = attempt["hook_failures"]
    assert len(failures) >= 3
    assert all(name.startswith("worker/0 ") and count >= 1 for name, count in failures.items())
    assert "Unsteered" in done.output


def test_a_steering_hook_that_fails_on_one_worker_switches_steering_off_for_all(
    launch: Start, training: Training, plain: Plain
) -> None:
    plain(2).hand_over(training)

    run = launch(
        with_faults(training.command(steps=20, save_every=5)),
        environment={"HOOK_FAULT": "raise", "HOOK_FAULT_WORKER": "worker/1"},
    )
    done = run.finish()

    assert done.status == 0, done.output
    assert [[life.start for life in training.lives(task_id)] for task_id in (0, 1)] == [[0, 10]] * 2
    assert_trained_truly(training, plain(2), steps=20)
    attempt = run.job()["attempts"][0]
    assert attempt["steered"] is False
    assert "worker/1" in attempt["unsteered"]["detail"]
    assert {name.split()[0] for name in attempt["hook_failures"]} == {"worker/1"}
    assert "Unsteered" in done.output
