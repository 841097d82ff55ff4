"""What `make check`, `make test` and `make test-full` say at their end."""

import subprocess
import sys
from pathlib import Path

import pytest

from tools.suite import (
    CLONE,
    HEAD,
    Counts,
    Outcome,
    Part,
    closing_line,
    read_counts,
    report,
    run_tests,
    summary,
    without_silent_failure,
)


def outcome(
    name: str = "core", passed: int = 3, failed: int = 0, left_out: tuple[str, ...] = (), took_s: float = 1.0
) -> Outcome:
    return Outcome(Part(name, budget_s=10), Counts(passed, failed, left_out), took_s)


def test_the_closing_line_adds_up_all_parts() -> None:
    # given
    outcomes = [outcome(passed=3, failed=1), outcome(passed=1)]

    # then
    assert closing_line(outcomes) == "4 passed, 1 failed"


def test_the_closing_line_hides_no_skipped_test() -> None:
    assert closing_line([outcome(left_out=("needs root", "needs Go"))]) == "3 passed, 0 failed, 2 skipped"


def test_the_summary_ends_with_what_was_left_out_the_time_against_the_budget_and_the_counts() -> None:
    # given
    outcomes = [outcome("quick", took_s=1.0, left_out=("needs root", "needs Go")), outcome("slow", took_s=12.0)]
    outcomes.append(outcome("rooted", took_s=2.0, left_out=("needs root",)))

    # when
    lines = summary(outcomes).splitlines()

    # then
    assert [line.split() for line in lines[1:5]] == [
        ["part", "passed", "failed", "skipped", "took", "budget"],
        ["quick", "3", "0", "2", "1.0", "s", "10", "s"],
        ["slow", "3", "0", "0", "12.0", "s", "10", "s", "over", "its", "budget"],
        ["rooted", "3", "0", "1", "2.0", "s", "10", "s"],
    ]
    assert lines[5:] == [
        "",
        "left out: 2 tests, needs root",
        "left out: 1 test, needs Go",
        "took 15 s, within the budget of 30 s; over its own: slow",
        "9 passed, 0 failed, 3 skipped",
    ]


def test_the_summary_says_so_when_all_parts_together_are_over_the_budget() -> None:
    assert summary([outcome(took_s=11.0)]).splitlines()[-2:] == [
        "took 11 s, over the budget of 10 s; over its own: core",
        "3 passed, 0 failed",
    ]


def test_a_run_that_ended_badly_without_naming_a_failure_still_counts_as_failed() -> None:
    # given: pytest died before it could write a word about it
    counts = Counts(5, 0)

    # then
    assert without_silent_failure(counts, status=2) == Counts(5, 1)
    assert without_silent_failure(counts, status=0) == Counts(5, 0)


@pytest.mark.parametrize("content", ["<testsuites>", None])
def test_a_report_that_is_cut_off_or_missing_is_a_failure(tmp_path: Path, content: str | None) -> None:
    # given
    result = tmp_path / "result.xml"
    if content is not None:
        result.write_text(content, encoding="utf-8")

    # then
    assert read_counts(result) == Counts(0, 1)


EVERY_ENDING = """
import pytest

@pytest.fixture
def a_thing():
    pytest.skip("needs a thing")

@pytest.fixture
def a_broken_thing():
    raise ValueError

def test_passes(): pass
def test_fails(): raise ValueError
def test_is_skipped(): pytest.skip("needs something")
def test_lacks_a_fixture(a_thing): pass
def test_has_a_broken_fixture(a_broken_thing): pass
@pytest.mark.xfail
def test_is_known_to_fail(): raise ValueError
"""


def test_the_counts_are_those_of_pytest_and_say_why_a_test_was_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    (tmp_path / "test_it.py").write_text(EVERY_ENDING, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    monkeypatch.setattr("tools.suite.CLONE", tmp_path.parent)

    # when
    counts = run_tests(Part("it", 60, tests=(tmp_path.name,), processes=2))

    # then
    assert (counts.passed, counts.failed) == (1, 2)
    assert sorted(counts.left_out) == ["needs a thing", "needs something"]


def test_a_part_that_is_run_again_replaces_its_own_row_alone() -> None:
    # given
    first = report("", [outcome("loop"), outcome("core")], "2026-11-23 10:00", "aaaa", "2 cores")

    # when
    second = report(first, [outcome("core", passed=4, failed=1)], "2026-11-24 10:00", "bbbb+", "2 cores")

    # then
    assert second == (
        HEAD
        + "| core | 2026-11-24 10:00 | bbbb+ | failed | 4 | 1 | 0 | 1 s on 2 cores |\n"
        + "| loop | 2026-11-23 10:00 | aaaa | passed | 3 | 0 | 0 | 1 s on 2 cores |\n"
    )


PATIENT_CHILD = """
import time
try:
    print("runs", flush=True)
    time.sleep(100)
except KeyboardInterrupt:
    print("ended", flush=True)
"""

SUITE = """
import sys
from tools import suite
suite.TEST = (suite.Part("patient", 100, (sys.executable, "-c", sys.argv[1])),)
sys.exit(suite.main(["test"]))
"""


def test_whoever_ends_the_suite_ends_what_it_runs() -> None:
    command = [sys.executable, "-c", SUITE, PATIENT_CHILD]
    with subprocess.Popen(command, cwd=CLONE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        started = "runs\n" in iter(process.stdout.readline, "")
        process.terminate()
        rest, _ = process.communicate(timeout=20)

    assert (started, process.returncode, rest) == (True, 130, "ended\n")
