"""What `make check`, `make test` and `make test-full` say at their end."""

from pathlib import Path

import pytest

from tools.suite import HEAD, Outcome, Part, closing_line, read_counts, report, summary, without_silent_failure


def outcome(name: str = "core", passed: int = 3, failed: int = 0, skipped: int = 0, took_s: float = 1.0) -> Outcome:
    return Outcome(Part(name, budget_s=10), passed, failed, skipped, took_s)


def test_the_closing_line_adds_up_all_parts() -> None:
    # given
    outcomes = [outcome(passed=3, failed=1), outcome(passed=1)]

    # then
    assert closing_line(outcomes) == "4 passed, 1 failed"


def test_the_closing_line_hides_no_skipped_test() -> None:
    assert closing_line([outcome(skipped=2)]) == "3 passed, 0 failed, 2 skipped"


def test_the_summary_shows_each_part_against_its_budget_and_ends_with_the_closing_line() -> None:
    # given
    outcomes = [outcome("quick", took_s=1.0), outcome("slow", took_s=12.0)]

    # when
    lines = summary(outcomes).splitlines()

    # then
    assert [line.split() for line in lines if line] == [
        ["part", "passed", "failed", "skipped", "took", "budget"],
        ["quick", "3", "0", "0", "1.0", "s", "10", "s"],
        ["slow", "3", "0", "0", "12.0", "s", "10", "s", "over", "its", "budget"],
        ["13.0", "s", "20", "s"],
        ["6", "passed,", "0", "failed"],
    ]


def test_a_run_that_ended_badly_without_naming_a_failure_still_counts_as_failed() -> None:
    # given: pytest died before it could write a word about it
    counts = (5, 0, 0)

    # then
    assert without_silent_failure(counts, status=2) == (5, 1, 0)
    assert without_silent_failure(counts, status=0) == (5, 0, 0)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('<testsuites><testsuite tests="9" failures="1" errors="1" skipped="2"/></testsuites>', (5, 2, 2)),
        ("<testsuites>", (0, 1, 0)),
        (None, (0, 1, 0)),
    ],
)
def test_a_report_that_is_cut_off_or_missing_is_a_failure(
    tmp_path: Path, content: str | None, expected: tuple[int, int, int]
) -> None:
    # given
    result = tmp_path / "result.xml"
    if content is not None:
        result.write_text(content, encoding="utf-8")

    # then
    assert read_counts(result) == expected


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
