"""Each claim of the demo is refused when what it rests on is not so."""

from dataclasses import replace

import pytest
from job_documents import WORKERS, attempt, incident, job, plan, receipt, trainer, verdict_entry

from demo.verdict import Damage, Evidence, Life, judge, read_lives

RESULT = {"step": 40, "moved_in_last_step": 0.001, "digests": {"w": "aa", "m": "bb"}}


def evidence(**changes) -> Evidence:
    """A run of 40 steps that lost worker 1 after step 25 and went on from step 20: everything as it should be."""
    attempts = [
        attempt(1, plan=plan(0, "fresh"), trainers={"worker/0": _dead(10), "worker/1": _dead(11)}),
        attempt(
            2,
            plan=plan(20),
            receipts=[receipt("worker/0"), receipt("worker/1")],
            trainers={"worker/0": trainer(20), "worker/1": trainer(21)},
        ),
    ]
    lives = {
        "worker/0": (Life(10, 0, tuple(range(1, 26))), Life(20, 20, tuple(range(21, 41)))),
        "worker/1": (Life(11, 0, tuple(range(1, 26))), Life(21, 20, tuple(range(21, 41)))),
    }
    whole = Evidence(
        steps=40,
        plain=dict.fromkeys(WORKERS, RESULT),
        guarded=dict.fromkeys(WORKERS, RESULT),
        lives=lives,
        job=job(attempts=attempts, incidents=[incident()], end={"reason": "Finished", "detail": "", "exit_status": 0}),
        journal=[verdict_entry(1, 1, "Good"), verdict_entry(2, 2, "Good"), verdict_entry(3, 2, "Bad", "Corrupt")],
        launch_status=0,
        disturbances=1,
    )
    return replace(whole, **changes)


def _dead(pid: int) -> dict:
    return trainer(pid, phase="exited", signal=9, reached_step=25)


def refused(given: Evidence) -> list[str]:
    return [check.claim for check in judge(given) if not check.is_shown]


def test_a_run_in_which_everything_is_as_it_should_be_shows_every_claim():
    given = evidence(damage=Damage("9f3c1a2b.0/1.2", "/data/ckpt-2", 40, 2))

    checks = judge(given)

    assert [str(check) for check in checks if not check.is_shown] == []
    assert len(checks) == 8


def test_one_differing_variable_on_one_worker_is_named():
    other = {**RESULT, "digests": {"w": "aa", "m": "XX"}}

    checks = judge(evidence(guarded={"worker/0": RESULT, "worker/1": other}))

    failed = [check for check in checks if not check.is_shown]
    assert [check.detail for check in failed] == ["worker/1 of the guarded run differs in m"]


def test_a_worker_that_left_no_digests_shows_nothing():
    checks = judge(evidence(guarded={"worker/0": RESULT}))

    assert [c.detail for c in checks if not c.is_shown] == [
        "worker/1 of the guarded run left none",
        "the last step still moved a weight by 0",
    ]


def test_an_uninterrupted_run_without_digests_proves_no_equality():
    assert refused(evidence(plain={}, guarded={name: {**RESULT, "digests": {}} for name in WORKERS})) == [
        "final weights and optimizer state equal the uninterrupted run's, bit for bit, on every worker"
    ]


@pytest.mark.parametrize("first", [20, 22])
def test_an_attempt_that_began_with_another_step_than_its_plan_says_is_refused(first):
    lives = {**evidence().lives, "worker/1": (evidence().lives["worker/1"][0], Life(21, 20, tuple(range(first, 41))))}

    claims = refused(evidence(lives=lives))

    assert "each attempt's first executed step is its plan's step + 1" in claims
    assert "executed steps = asked steps + lost steps, per worker" in claims


def test_an_attempt_without_a_plan_is_refused():
    attempts = [evidence().job["attempts"][0], {**evidence().job["attempts"][1], "plan": None, "steered": False}]

    claims = refused(evidence(job={**evidence().job, "attempts": attempts}))

    assert "each attempt's first executed step is its plan's step + 1" in claims


def test_a_process_that_lastgood_does_not_know_is_refused():
    lives = {**evidence().lives, "worker/0": (*evidence().lives["worker/0"], Life(99, 40))}

    failed = [check.detail for check in judge(evidence(lives=lives)) if not check.is_shown]

    assert failed == ["process 99 of worker/0 trained, and lastgood does not know it"]


def test_lost_steps_that_do_not_fit_the_log_are_refused():
    wrong = incident(lost_steps_by_worker={"worker/0": 5, "worker/1": 4})

    failed = [
        check.detail for check in judge(evidence(job={**evidence().job, "incidents": [wrong]})) if not check.is_shown
    ]

    assert failed == ["worker/1 executed 45, expected 40 + 4 lost"]


def test_a_step_whose_log_line_the_kill_cut_off_still_counts():
    first, second = evidence().lives["worker/1"]
    lives = {**evidence().lives, "worker/1": (replace(first, steps=first.steps[:-1]), second)}

    checks = judge(evidence(lives=lives))

    assert [c.detail for c in checks if c.claim.startswith("executed")] == [
        "worker/0 executed 45 = 40 + 5; worker/1 executed 45 = 40 + 5 (1 of them died before its log line)"
    ]
    assert all(check.is_shown for check in checks)


@pytest.mark.parametrize(
    "receipts",
    [
        [receipt("worker/0")],
        [receipt("worker/0"), receipt("worker/1", good=False)],
        [receipt("worker/0"), receipt("worker/1", digest="another")],
        [receipt("worker/0"), receipt("worker/1", restored=0)],
    ],
)
def test_a_worker_without_a_good_receipt_of_the_plan_is_refused(receipts):
    attempts = [evidence().job["attempts"][0], {**evidence().job["attempts"][1], "receipts": receipts}]

    failed = [c.detail for c in judge(evidence(job={**evidence().job, "attempts": attempts})) if not c.is_shown]

    assert failed == ["no good receipt of the plan's checkpoint from worker/1 in attempt 2"]


def test_a_training_that_stood_still_is_refused():
    still = {**RESULT, "moved_in_last_step": 0.0}

    assert refused(evidence(guarded={"worker/0": RESULT, "worker/1": still})) == [
        "training had not converged, so that equal weights mean equal steps"
    ]


def test_damage_that_no_verdict_named_is_refused():
    journal = [verdict_entry(1, 2, "Good"), verdict_entry(3, 2, "Bad", "Vanished")]

    failed = [
        check.detail
        for check in judge(evidence(journal=journal, damage=Damage("9f3c1a2b.0/1.2", "/data/ckpt-2", 40, 1)))
        if not check.is_shown
    ]

    assert failed == ["no verdict Corrupt was ever reached about ckpt-2 (step 40)"]


def test_a_plan_that_names_the_damaged_checkpoint_is_refused():
    damage = Damage("9f3c1a2b.0/1.1", "/data/ckpt-1", 20, 1)

    failed = [check.detail for check in judge(evidence(damage=damage)) if not check.is_shown]

    assert failed == ["attempt 2 was planned from ckpt-1 (step 20)"]


def test_a_disturbance_without_an_incident_is_refused():
    assert refused(evidence(job={**evidence().job, "incidents": []}, disturbances=1))[0] == (
        "every disturbance became an incident, and each was recovered from"
    )


def test_a_launch_that_ended_badly_is_refused_with_the_reason():
    end = {"reason": "BudgetSpent", "detail": "4 failures in a row", "exit_status": 1}

    failed = [c.detail for c in judge(evidence(job={**evidence().job, "end": end}, launch_status=1)) if not c.is_shown]

    assert failed == ["launch ended with status 1, the run with BudgetSpent: 4 failures in a row"]


def test_lives_are_read_from_the_log_and_a_line_cut_short_is_left_out():
    log = "start 0 10\nstep 1 2.5 0.1 10\nstep 2 2.4 0.1 10\nstart 1 11\nstep 2 2.4 0.1 11\nstep 3 2.3 0."

    assert read_lives(log) == (Life(10, 0, (1, 2)), Life(11, 1, (2,)))


def test_steps_of_a_process_that_never_started_are_an_error():
    with pytest.raises(ValueError, match="expected a start line of process 12"):
        read_lives("start 0 10\nstep 1 2.5 0.1 12\n")
