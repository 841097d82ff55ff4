"""How a benchmark's figure is made of its samples."""

import pytest

from benchmarks.report import page
from benchmarks.results import Result, document, interleaved, table


def result(
    baseline: tuple[float, ...] = (1.0, 2.0, 4.0), ours: tuple[float, ...] = (1.0, 3.0, 2.0), **changes: object
) -> Result:
    fields: dict[str, object] = {"name": "n", "what": "w", "baseline_is": "b", "unit": "s", "aim": 1.5, **changes}
    return Result(baseline=baseline, ours=ours, **fields)  # type: ignore[arg-type]


def test_a_figure_is_a_ratio_of_medians_and_its_spread_is_that_of_single_pairs() -> None:
    # given
    found = result()

    # then
    assert (found.figure, found.spread, found.is_met) == (1.0, (0.5, 1.5), True)


def test_a_cost_is_a_share_of_the_whole() -> None:
    # given: 2 µs more per call, on steps of 1000 µs
    found = result(baseline=(10.0, 11.0, 12.0), ours=(12.0, 13.0, 15.0), whole=(900.0, 1000.0, 1100.0), aim=0.001)

    # then
    assert (found.figure, found.spread, found.is_met) == (0.002, (0.002, 0.003), False)


def test_a_figure_above_its_aim_is_shown_as_missed() -> None:
    # when
    row = table([result(aim=0.9)]).splitlines()[-1]

    # then
    assert row == "| n | w | b | 2 s | 2 s | **1.000x** | 0.500x … 1.500x | ≤ 0.900x, missed | 3 |"


def test_a_row_of_the_page_stays_until_its_benchmark_is_run_again() -> None:
    # given
    first = page("", [result(), result(name="other")], "yesterday, commit a")

    # when
    second = page(first, [result(aim=0.9)], "today, commit b")

    # then
    former, now = first.splitlines(), second.splitlines()
    assert now[:-2] == former[:-2]
    assert (
        now[-2] == "| n | w | b | 2 s | 2 s | **1.000x** | 0.500x … 1.500x | ≤ 0.900x, missed | 3 | today, commit b |"
    )
    assert now[-1] == former[-1]


def test_the_json_document_carries_every_sample() -> None:
    # when
    found = document(result())

    # then
    assert (found["figure_is"], found["baseline"], found["ours"]) == ("ratio", [1.0, 2.0, 4.0], [1.0, 3.0, 2.0])


def test_samples_without_partners_are_refused() -> None:
    with pytest.raises(ValueError, match="expected pairs, found 1 of the baseline and 0 of ours"):
        result(baseline=(1.0,), ours=())


def test_each_side_goes_first_as_often_as_the_other() -> None:
    # given
    order: list[str] = []

    # when
    samples = interleaved(2, lambda: order.append("baseline") or 1.0, lambda: order.append("ours") or 2.0)  # type: ignore[func-returns-value]

    # then
    assert samples == ([1.0, 1.0], [2.0, 2.0])
    assert order == ["baseline", "ours", "ours", "baseline"]
