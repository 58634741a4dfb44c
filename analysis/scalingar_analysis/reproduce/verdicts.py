"""Does ours agree with the paper? A sentence from two ratios, and nothing that intervals forbid."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scalingar_analysis.tables.render import fixed

#: A value with the bounds of its interval (NaN where there is none).
Interval = tuple[float, float, float]


def share(value: float) -> str:
    """ "+12.5 %"."""
    return f"{fixed(100 * value, 1, '+')} %"


def span(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return share(low) if low == high else f"{share(low)} to {share(high)}"


def verdict(ours: Interval, paper: Sequence[float], what: str) -> str:
    """Whether our interval holds what the paper reports, and whether that says anything: one that
    holds no change as well decides nothing.

    Args:
        ours: a relative change with its interval.
        paper: the same change as the paper reports it, of one or more models.
        what: the subject of the sentence.
    """
    value, low, high = ours
    if not paper:
        return ""
    if not all(map(math.isfinite, ours)):
        return f"{what}: inconclusive, there are too few items for an interval of ours."
    said = f"the paper reports {span(paper)}, we find {share(value)} [{share(low)}, {share(high)}]"
    if high < min(paper) or max(paper) < low:
        return f"{what}: **disagrees**; {said}."
    if low <= 0 <= high:
        return f"{what}: undecided, our interval holds no change as well; {said}."
    if all(low <= p <= high for p in paper):
        return f"{what}: agrees; {said}."
    return f"{what}: agrees in part; {said}."


def best_value(study: str, best: str, paper: str, gap: Interval) -> str:
    """Whether the value that the paper finds best is distinguishably worse than ours.

    `gap`: accuracy at our best value minus that at the paper's.
    """
    if best == paper:
        return f"{study}: agrees; {paper} is best here as well."
    value, low, high = (fixed(v, 3, "+") for v in gap)
    if not math.isfinite(gap[1]):
        return f"{study}: inconclusive, there are too few items for an interval."
    found = f"{best} is best here, {value} [{low}, {high}] against the paper's {paper}"
    if gap[1] > 0:
        return f"{study}: **disagrees**; {found}."
    return f"{study}: does not contradict the paper; {found}, an interval that holds 0."
