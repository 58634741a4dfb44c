"""Equal budgets: the front by its definition, interpolation in closed form, nothing extrapolated."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalingar_analysis.statistics.matched import Point, area, at_budget, pareto


def line(*costs):
    return [Point("f", n + 1, c, np.array([c / 10, 0.5])) for n, c in enumerate(costs)]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=7))
def test_the_front_is_everyone_whom_nobody_dominates(points):
    front = pareto([c for c, _ in points], [a for _, a in points])
    for (cost, good), on in zip(points, front, strict=True):
        beaten = any(c <= cost and a >= good and (c, a) != (cost, good) for c, a in points)
        assert on is not beaten
    assert any(front)


def test_between_two_widths_success_lies_on_a_straight_line():
    points = line(1.0, 2.0, 4.0)
    assert at_budget(points, 3.0) == pytest.approx([0.3, 0.5])
    assert at_budget(points, 2.5) == pytest.approx([0.25, 0.5])
    for cost in (1.0, 2.0, 4.0):
        assert at_budget(points[::-1], cost) == pytest.approx([cost / 10, 0.5])


def test_nothing_is_extrapolated():
    points = line(1.0, 4.0)
    assert at_budget(points, 0.99) is None and at_budget(points, 4.01) is None
    assert at_budget([], 1.0) is None and at_budget(line(2.0), 1.0) is None
    assert at_budget(line(2.0), 2.0) == pytest.approx([0.2, 0.5])


def test_of_equal_costs_the_wider_counts():
    points = [Point("f", n, 2.0, np.array([n / 10])) for n in (1, 2)]
    assert at_budget(points, 2.0) == pytest.approx([0.2])


def test_the_coin_that_the_interpolation_means_has_that_success():
    """Tossing for each prompt, at budget 3 of widths 2 and 4: half of each. 20000 tosses: 0.003."""
    rng = np.random.default_rng(0)
    low, high = (rng.random(20_000) < 0.4).astype(float), (rng.random(20_000) < 0.6).astype(float)
    coin = np.where(rng.random(20_000) < 0.5, high, low)
    mixed = at_budget([Point("f", 1, 2.0, low), Point("f", 2, 4.0, high)], 3.0)
    assert mixed.mean() == pytest.approx(coin.mean(), abs=0.012)


def test_the_area_over_log_budget_of_a_constant_is_the_constant():
    flat = [Point("f", n, c, np.full(3, 0.7)) for n, c in ((1, 1.0), (2, 2.0), (8, 8.0))]
    assert area(flat) == pytest.approx(0.7)
    rising = [Point("f", 1, 1.0, np.zeros(1)), Point("f", 2, math.e, np.ones(1))]
    assert area(rising) == pytest.approx(0.5)
    assert math.isnan(area(flat[:1]))
