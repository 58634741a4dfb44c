"""Success at equal cost: Pareto fronts, and strategies compared at the same budget.

"N = 4 against N = 8" compares two costs as much as two methods. Between two widths of a strategy its
accuracy is interpolated in a straight line against its cost, which is what one gets by tossing a
coin between them for each prompt; nothing is extrapolated.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from attrs import frozen

from scalingar_fw.decoding.result import Array


@frozen(eq=False)
class Point:
    """One strategy at one width: what it costs for each prompt, and each item's success."""

    family: str
    n: int
    cost: float
    values: Array


def pareto(costs: Sequence[float], accuracies: Sequence[float]) -> list[bool]:
    """Who is on the front: nobody is at most as costly and at least as good, and better in one."""
    cost, good = np.asarray(costs, float), np.asarray(accuracies, float)
    out = []
    for c, a in zip(cost, good, strict=True):
        beaten = (cost <= c) & (good >= a) & ((cost < c) | (good > a))
        out.append(not bool(beaten.any()))
    return out


def at_budget(points: Sequence[Point], budget: float) -> Array | None:
    """Each item's success of one family at a mean cost of `budget`, `[items]`; None where the
    budget lies outside of what its widths cost.

    Of two widths that cost the same, the wider one counts.
    """
    ordered = sorted(points, key=lambda p: (p.cost, p.n))
    if not ordered or not ordered[0].cost <= budget <= ordered[-1].cost:
        return None
    above = next(i for i, p in enumerate(ordered) if p.cost >= budget)
    while above + 1 < len(ordered) and ordered[above + 1].cost == budget:
        above += 1
    high = ordered[above]
    if high.cost == budget:
        return high.values
    low = ordered[above - 1]
    way = (budget - low.cost) / (high.cost - low.cost)
    return np.asarray((1 - way) * low.values + way * high.values)


def area(points: Sequence[Point]) -> float:
    """Mean accuracy over the logarithm of the budget, between a family's cheapest and dearest
    width; NaN for a single cost."""
    ordered = sorted(points, key=lambda p: (p.cost, p.n))
    cost = np.log([p.cost for p in ordered])
    good = np.array([p.values.mean() for p in ordered])
    if cost[-1] == cost[0]:
        return float("nan")
    return float(((good[1:] + good[:-1]) / 2 * np.diff(cost)).sum() / (cost[-1] - cost[0]))
