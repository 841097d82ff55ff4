"""What a benchmark found, as numbers that can be compared: medians of interleaved pairs and one figure against its aim.

Decides how a figure is made of the samples, and nothing about how they were taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Result:
    """Samples of a baseline and of lastgood, taken in turns in one run.

    unit: of the samples. what: one line that says what was measured. baseline_is: what the baseline is.
    aim: the figure should not be above it.
    whole: samples, in the same unit, of the thing that a cost is a share of. Empty: the figure is a ratio.
    """

    name: str
    what: str
    baseline_is: str
    unit: str
    baseline: tuple[float, ...]
    ours: tuple[float, ...]
    aim: float
    whole: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.baseline or len(self.baseline) != len(self.ours):
            raise ValueError(f"expected pairs, found {len(self.baseline)} of the baseline and {len(self.ours)} of ours")

    @property
    def figure(self) -> float:
        """Ours over the baseline; or what ours costs more, as a share of the whole."""
        if self.whole:
            return (median(self.ours) - median(self.baseline)) / median(self.whole)
        return median(self.ours) / median(self.baseline)

    @property
    def spread(self) -> tuple[float, float]:
        """The lowest and the highest figure of single pairs."""
        whole = median(self.whole) if self.whole else 0.0
        single = [
            (ours - base) / whole if whole else ours / base for base, ours in zip(self.baseline, self.ours, strict=True)
        ]
        return min(single), max(single)

    @property
    def is_met(self) -> bool:
        """The figure is within its aim."""
        return self.figure <= self.aim


def interleaved(
    pairs: int, baseline: Callable[[], float], ours: Callable[[], float]
) -> tuple[list[float], list[float]]:
    """Samples of both, in turns, each going first as often as the other, so that a slower hour harms both."""
    samples: tuple[list[float], list[float]] = ([], [])
    for number in range(pairs):
        order = ((0, baseline), (1, ours))
        for side, measure in order if number % 2 == 0 else reversed(order):
            samples[side].append(measure())
    return samples


def document(result: Result) -> dict[str, object]:
    """The result as `--json` prints it."""
    low, high = result.spread
    return {
        "name": result.name,
        "what": result.what,
        "baseline_is": result.baseline_is,
        "unit": result.unit,
        "pairs": len(result.ours),
        "baseline_median": median(result.baseline),
        "ours_median": median(result.ours),
        "figure": result.figure,
        "figure_is": "share" if result.whole else "ratio",
        "figure_lowest": low,
        "figure_highest": high,
        "aim": result.aim,
        "is_met": result.is_met,
        "baseline": list(result.baseline),
        "ours": list(result.ours),
        "whole": list(result.whole),
    }


TABLE_HEAD = (
    "| benchmark | what | baseline | median baseline | median lastgood | figure | single pairs | aim | pairs |",
    "|---|---|---|---|---|---|---|---|---|",
)


def table(results: Sequence[Result]) -> str:
    """A Markdown table, one row per result."""
    return "\n".join([*TABLE_HEAD, *map(row, results)])


def row(result: Result) -> str:
    """One result as a row of the table."""
    r = result
    low, high = r.spread
    sides = f"{median(r.baseline):.4g} {r.unit} | {median(r.ours):.4g} {r.unit}"
    verdict = "met" if r.is_met else "missed"
    return (
        f"| {r.name} | {r.what} | {r.baseline_is} | {sides} | **{shown(r, r.figure)}** |"
        f" {shown(r, low)} … {shown(r, high)} | ≤ {shown(r, r.aim)}, {verdict} | {len(r.ours)} |"
    )


def shown(result: Result, figure: float) -> str:
    """A ratio as 1.02x, a share as 0.8 %."""
    return f"{figure * 100:.2f} %" if result.whole else f"{figure:.3f}x"
