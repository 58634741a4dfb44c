"""Streaming statistics against numpy, over one and several prompts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from scalingar_fw.decoding.state import Rows, take
from scalingar_fw.decoding.statistics import (
    Extremes,
    Moments,
    ema,
    gather_groups,
    group_logistic_z,
    group_quantile,
    group_rank,
)

Array = np.ndarray[Any, Any]


def logistic(z: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-z))


def streams(seed: int, steps: int, rows: int) -> Array:
    """`[steps, rows]` values of an ordinary size, with repeats."""
    return np.random.default_rng(seed).normal(size=(steps, rows)).round(2).astype(np.float32)


seeds = st.integers(0, 2**32 - 1)


@given(seeds, st.integers(1, 40), st.floats(0.01, 1.0))
def test_an_ema_starts_at_its_first_value(seed: int, steps: int, rate: float) -> None:
    values = streams(seed, steps, 3)
    found = None
    for value in values:
        found = ema(found, torch.from_numpy(value), rate)
    expected = values[0].astype(np.float64)
    for value in values[1:]:
        expected = (1 - rate) * expected + rate * value
    assert found is not None
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-6)


@example(seed=2560, steps=2)  # one of the rows draws the same value twice
@given(seeds, st.integers(2, 60))
def test_running_moments_are_numpys_population_moments(seed: int, steps: int) -> None:
    values = streams(seed, steps, 4)
    moments, found = Moments(), torch.tensor(0.0)
    for value in values:
        found, moments = moments.observe(torch.from_numpy(value))
    assert moments.count == steps
    assert moments.mean is not None and moments.variance is not None
    history = values.astype(np.float64)
    np.testing.assert_allclose(moments.mean.numpy(), history.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(moments.variance.numpy(), history.var(0), rtol=1e-4, atol=1e-9)
    spread = history.std(0)
    # Where nothing has moved yet there is no z-score: neutral, the logistic's middle.
    moved = spread > 0
    z = (history[-1] - history.mean(0))[moved] / spread[moved]
    np.testing.assert_allclose(found.numpy()[moved], logistic(z), rtol=1e-4)
    assert (found.numpy()[~moved] == 0.5).all()


def test_one_observation_is_neutral() -> None:
    value = torch.tensor([3.0, -1.0])
    assert Moments().observe(value)[0].tolist() == [0.5, 0.5]
    assert Extremes().push(value).unit(value).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("value", [0.0, 0.1, 0.7, 9.7, 1e-30, -3.3e4])
def test_a_constant_history_is_neutral(value: float) -> None:
    moments, extremes, now = Moments(), Extremes(), torch.tensor([value])
    for _ in range(50):
        (found, moments), extremes = moments.observe(now), extremes.push(now)
        assert found.tolist() == [0.5]
    assert extremes.unit(now).tolist() == [0.5]


def test_a_small_spread_around_a_large_mean_is_not_lost() -> None:
    """Sums of squares would cancel here; Welford's recurrence does not."""
    moments, found = Moments(), torch.tensor(0.0)
    for value in (1000.0, 1000.5, 1001.0):
        found, moments = moments.observe(torch.tensor([value]))
    expected = logistic(np.array([0.5 / np.std([1000.0, 1000.5, 1001.0])]))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)


@given(seeds, st.integers(2, 30))
def test_extremes_place_a_value_between_minimum_and_maximum(seed: int, steps: int) -> None:
    values = streams(seed, steps, 4)
    extremes = Extremes()
    for value in values:
        extremes = extremes.push(torch.from_numpy(value))
    low, high = values.min(0), values.max(0)
    expected = np.where(high > low, (values[-1] - low) / np.where(high > low, high - low, 1), 0.5)
    found = extremes.unit(torch.from_numpy(values[-1])).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_pushing_changes_nothing_in_place() -> None:
    value = torch.tensor([1.0, 2.0])
    before = Moments().push(value)
    before.push(torch.tensor([5.0, 5.0]))
    assert before.count == 1
    assert before.mean is not None and before.mean.tolist() == [1.0, 2.0]
    assert value.tolist() == [1.0, 2.0]


def test_memory_moves_with_its_rows() -> None:
    moments = Moments().push(torch.tensor([1.0, 2.0, 3.0]))
    moved = take(moments, torch.tensor([2, 0]))
    assert moved.count == 1
    assert moved.mean is not None and moved.mean.tolist() == [3.0, 1.0]
    assert take(Moments(), torch.tensor([0])).mean is None


# Rows of several prompts with different numbers of live candidates, in an order that pruning and
# forking may have left behind.
cohorts = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=14, unique=True
)


def of_prompts(who: list[tuple[int, int]]) -> dict[int, list[int]]:
    places: dict[int, list[int]] = {}
    for place, (prompt, _) in enumerate(who):
        places.setdefault(prompt, []).append(place)
    return dict(sorted(places.items()))


def rows_of(who: list[tuple[int, int]]) -> Rows:
    return Rows.of([p for p, _ in who], [c for _, c in who], n_prompts=4)


@given(cohorts, seeds, st.floats(0.0, 1.0))
def test_a_quantile_is_numpys_over_each_prompts_live_rows(
    who: list[tuple[int, int]], seed: int, q: float
) -> None:
    values = streams(seed, 1, len(who))[0]
    found = group_quantile(torch.from_numpy(values), rows_of(who), q).numpy()
    expected = [np.quantile(values[p].astype(np.float64), q) for p in of_prompts(who).values()]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@given(cohorts, seeds)
def test_a_cohorts_z_score_is_numpys_over_each_prompts_live_rows(
    who: list[tuple[int, int]], seed: int
) -> None:
    values = streams(seed, 1, len(who))[0]
    found = group_logistic_z(torch.from_numpy(values), rows_of(who)).numpy()
    expected = np.full(len(who), 0.5)
    for places in of_prompts(who).values():
        own = values[places].astype(np.float64)
        if own.std() > 0:
            expected[places] = logistic((own - own.mean()) / own.std())
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("value", [0.1, 0.3, 0.7, 9.7, 100.1])
@pytest.mark.parametrize("prompts", [1, 2])
def test_equal_candidates_are_neutral_whatever_their_mean_rounds_to(
    value: float, prompts: int
) -> None:
    for live in range(1, 12):
        rows = rows_of([(p, c) for p in range(prompts) for c in range(live)])
        z = group_logistic_z(torch.full((prompts * live,), value), rows)
        assert z.tolist() == [0.5] * (prompts * live), live


@given(cohorts, seeds)
def test_ranks_go_down_from_the_best_and_ties_go_to_the_lower_candidate_id(
    who: list[tuple[int, int]], seed: int
) -> None:
    values = np.random.default_rng(seed).integers(0, 3, len(who)).astype(np.float32)  # many ties
    found = group_rank(torch.from_numpy(values), rows_of(who)).tolist()
    for places in of_prompts(who).values():
        ordered = sorted(places, key=lambda i: (-values[i], who[i][1]))
        assert [found[i] for i in ordered] == list(range(len(places)))


@given(cohorts, seeds, st.randoms(use_true_random=False))
def test_cohort_statistics_do_not_depend_on_the_order_of_rows(
    who: list[tuple[int, int]], seed: int, random: Any
) -> None:
    values = streams(seed, 1, len(who))[0]
    order = list(range(len(who)))
    random.shuffle(order)
    rows, shuffled = rows_of(who), rows_of([who[i] for i in order])
    moved = torch.from_numpy(values[order])
    still = torch.from_numpy(values)
    assert group_rank(moved, shuffled).tolist() == group_rank(still, rows)[order].tolist()
    np.testing.assert_array_equal(
        group_quantile(moved, shuffled, 0.3), group_quantile(still, rows, 0.3)
    )


def test_groups_are_laid_out_with_a_fill_in_empty_places() -> None:
    rows = rows_of([(1, 0), (0, 0), (1, 3)])
    laid = gather_groups(torch.tensor([1.0, 2.0, 3.0]), rows, fill=-9.0)
    assert laid.tolist() == [[2.0, -9.0], [1.0, 3.0]]
