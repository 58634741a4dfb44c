"""The cluster bootstrap against a plain loop, closed forms, and simulated coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalingar_analysis.statistics.intervals import estimate, task_mean
from scalingar_analysis.statistics.resampling import Groups, bootstrap, standard_error
from scalingar_fw.errors import ScalingarError


def world(rng, tasks=3, clusters=8, size=3, spread=0.2):
    """Items of several tasks whose clusters share a shift: values, tasks, clusters."""
    values, names, homes = [], [], []
    for task in range(tasks):
        for cluster in range(clusters):
            shift = rng.normal(0, spread)
            for _ in range(rng.integers(1, size + 1)):
                values.append(0.5 + 0.1 * task + shift + rng.normal(0, 0.1))
                names.append(f"t{task}")
                homes.append(f"c{cluster}")  # the same name in each task: not the same cluster
    return np.array(values), names, homes


def by_loop(values, tasks, clusters, draws, seed):
    """The same bootstrap, one draw and one cluster at a time."""
    rng = np.random.Generator(np.random.Philox(seed))
    order = list(dict.fromkeys(tasks))
    spread = np.zeros(draws)
    for task in order:
        inside = [i for i, t in enumerate(tasks) if t == task]
        names = list(dict.fromkeys(clusters[i] for i in inside))
        picks = rng.integers(0, len(names), size=(draws, len(names)))
        for draw in range(draws):
            drawn = [
                values[i] for pick in picks[draw] for i in inside if clusters[i] == names[pick]
            ]
            spread[draw] += np.mean(drawn) / len(order)
    return spread


def test_the_interval_is_that_of_a_plain_loop():
    values, tasks, clusters = world(np.random.default_rng(1))
    found = estimate(values, tasks, clusters, draws=300, seed=7)
    low, high = np.quantile(by_loop(values, tasks, clusters, 300, 7), [0.025, 0.975])
    assert found.mean == pytest.approx(task_mean(values, tasks), abs=1e-12)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-12)
    assert found.clusters == 24 and found.items == len(values)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    """0.95 nominal, 20 clusters in each task: percentile intervals are known to fall a little
    short. 400 worlds leave a standard error of 0.011."""
    rng = np.random.default_rng(0)
    hits = naive = 0
    for world_number in range(400):
        values, tasks, clusters = world(rng, tasks=2, clusters=20, spread=0.3)
        found = estimate(values, tasks, clusters, draws=400, seed=world_number)
        hits += found.low <= 0.55 <= found.high
        alone = estimate(values, tasks, [str(i) for i in range(len(values))], draws=400)
        naive += alone.low <= 0.55 <= alone.high
    assert 0.90 <= hits / 400 <= 0.98
    assert naive < hits - 20  # items taken for independent: too narrow, which is why clusters


def test_the_standard_error_is_the_spread_of_means_over_worlds():
    rng = np.random.default_rng(2)
    means, errors = [], []
    for _ in range(400):
        values, tasks, clusters = world(rng, tasks=2, clusters=15)
        means.append(task_mean(values, tasks))
        errors.append(standard_error(values, Groups.of(tasks, clusters)))
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(means), rel=0.1)


def test_clusters_of_one_item_give_the_textbook_standard_error():
    values = np.array([0.0, 1.0, 1.0, 0.0, 1.0])
    groups = Groups.of(["t"] * 5, list("abcde"))
    assert standard_error(values, groups) == pytest.approx(np.std(values, ddof=1) / math.sqrt(5))


def test_a_ratio_is_resampled_with_its_parts_together():
    """b is twice a on every item, so the ratio is 2 in each resample, however much a varies."""
    values, tasks, clusters = world(np.random.default_rng(3))
    groups = Groups.of(tasks, clusters)
    both = np.stack([2 * values, values], axis=1)
    found = bootstrap(both, groups, lambda m: m[..., 0] / m[..., 1], draws=200)
    assert found == pytest.approx((2, 2, 2))


def test_a_task_with_one_cluster_has_no_interval_rather_than_one_of_no_width():
    found = estimate([0.0, 1.0, 1.0], ["a", "a", "b"], ["x", "y", "z"])
    assert found.mean == pytest.approx(0.75)
    assert math.isnan(found.low) and math.isnan(found.high)
    assert str(found) == "0.750 [too few clusters]"
    assert math.isnan(standard_error(np.ones(3), Groups.of(["a", "a", "b"], ["x", "y", "z"])))


def test_an_undefined_statistic_has_no_interval():
    groups = Groups.of(["t"] * 4, list("aabb"))
    columns = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    value, low, high = bootstrap(columns, groups, lambda m: m[..., 0] / m[..., 1], draws=50)
    assert math.isinf(value) and math.isnan(low) and math.isnan(high)


@given(st.integers(2, 12), st.integers(0, 5))
def test_as_many_clusters_are_drawn_as_there_are(clusters, seed):
    tasks = ["a"] * clusters + ["b"] * 2
    groups = Groups.of(tasks, [str(i) for i in range(clusters + 2)])
    weights = groups.resample(20, seed)
    assert (weights[:, :clusters].sum(1) == clusters).all() and (
        weights[:, clusters:].sum(1) == 2
    ).all()


def test_uneven_lengths_are_refused():
    with pytest.raises(ScalingarError, match="2 values, 1 tasks"):
        estimate([1.0, 0.0], ["a"], ["b"])
    with pytest.raises(ScalingarError, match="give a row for each"):
        bootstrap(np.zeros((3, 1)), Groups.of(["a"], ["b"]), lambda m: m[..., 0])
