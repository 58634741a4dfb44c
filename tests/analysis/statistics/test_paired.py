"""Paired differences: exact permutation by enumeration, calibration by simulation, power in closed
form."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalingar_analysis.statistics.clusters import Groups
from scalingar_analysis.statistics.intervals import task_mean
from scalingar_analysis.statistics.paired import difference, holm, sign_flip
from scalingar_analysis.statistics.student import t_quantile
from scalingar_fw.errors import ScalingarError


def by_enumeration(values, tasks, clusters):
    """All sign patterns over (task, cluster), statistic computed anew for each."""
    names = list(dict.fromkeys(zip(tasks, clusters, strict=True)))
    observed = abs(task_mean(values, tasks))
    hits = 0
    for signs in itertools.product((1, -1), repeat=len(names)):
        sign = dict(zip(names, signs, strict=True))
        flipped = [v * sign[t, c] for v, t, c in zip(values, tasks, clusters, strict=True)]
        hits += abs(task_mean(flipped, tasks)) >= observed - 1e-12
    return hits / 2 ** len(names)


SMALL = st.integers(3, 14).flatmap(
    lambda n: st.tuples(
        st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0]), min_size=n, max_size=n),
        st.lists(st.sampled_from("ab"), min_size=n, max_size=n),
        st.lists(st.sampled_from("uvwx"), min_size=n, max_size=n),
    )
)


@given(SMALL)
def test_the_p_value_is_the_share_of_sign_patterns_at_least_as_extreme(case):
    values, tasks, clusters = case
    found = sign_flip(np.array(values), Groups.of(tasks, clusters))
    assert found == pytest.approx(by_enumeration(values, tasks, clusters), abs=1e-12)


def test_many_clusters_are_drawn_and_agree_with_the_enumeration():
    rng = np.random.default_rng(0)
    values = rng.normal(0.25, 1, 16)
    groups = Groups.of(["t"] * 16, [str(i) for i in range(16)])
    signs = np.array(list(itertools.product((1, -1), repeat=16)))
    exact = (np.abs(signs @ values) >= abs(values.sum()) - 1e-12).mean()
    assert sign_flip(values, groups) == pytest.approx(exact, abs=0.01)


def test_under_no_difference_small_p_values_are_as_rare_as_they_say():
    """500 worlds: a standard error of 0.010 at 0.05."""
    rng = np.random.default_rng(1)
    small = 0
    for _ in range(500):
        shift = np.repeat(rng.normal(0, 1, 20), 3)  # clusters of three items that move together
        values = shift + rng.normal(0, 0.3, 60)
        groups = Groups.of(["t"] * 60, np.repeat(np.arange(20), 3).astype(str).tolist())
        small += sign_flip(values, groups, draws=1000) <= 0.05
    assert 0.02 <= small / 500 <= 0.08


def test_equal_strategies_differ_by_nothing_that_so_few_items_could_show():
    scores = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0]
    found = difference(scores, scores, list("aaabbb"), list("uvwxyz"))
    assert found.estimate.mean == 0 and found.p == 1
    assert found.estimate.low == -found.estimate.high < 0
    assert found.relative[0] == 0 and found.relative[1] < 0 < found.relative[2]
    assert found.stderr > 0 and found.prompts_needed(0.05) > 6


def test_common_random_numbers_narrow_the_interval():
    rng = np.random.default_rng(2)
    hard = rng.random(200)
    base = (rng.random(200) < hard).astype(float)
    better = np.maximum(base, rng.random(200) < 0.1)
    tasks, clusters = ["t"] * 200, [str(i) for i in range(200)]
    paired = difference(better, base, tasks, clusters)
    shuffled = difference(better, rng.permutation(base), tasks, clusters)
    width = paired.estimate.high - paired.estimate.low
    assert width < 0.6 * (shuffled.estimate.high - shuffled.estimate.low)
    # Ten items differ, all in favour: two of 2 ** 10 sign patterns are as extreme.
    assert paired.p == pytest.approx(2 / 2**10) and paired.estimate.low > 0


def test_a_relative_change_is_the_difference_over_the_baseline():
    found = difference([1, 1, 0, 1], [1, 0, 0, 1], ["t"] * 4, list("abcd"))
    assert found.relative[0] == pytest.approx(0.5) and math.isnan(found.relative[1])
    nothing = difference([1, 1, 0, 1], [0, 0, 0, 0], ["t"] * 4, list("abcd"))
    assert math.isinf(nothing.relative[0]) and math.isnan(nothing.relative[1])


def test_prompts_needed_is_the_textbook_number_for_independent_items():
    rng = np.random.default_rng(3)
    gap = rng.choice([-1.0, 0.0, 1.0], 400, p=[0.1, 0.6, 0.3])
    found = difference(gap, np.zeros(400), ["t"] * 400, [str(i) for i in range(400)])
    textbook = (1.959964 * gap.std(ddof=1) / 0.03) ** 2
    assert found.prompts_needed(0.03) == pytest.approx(textbook, rel=0.01)
    # With so many items, the interval is as wide as was asked for.
    more = rng.choice([-1.0, 0.0, 1.0], found.prompts_needed(0.03), p=[0.1, 0.6, 0.3])
    names = [str(i) for i in range(len(more))]
    there = difference(more, 0 * more, ["t"] * len(more), names)
    assert (there.estimate.high - there.estimate.low) / 2 == pytest.approx(0.03, rel=0.15)
    with pytest.raises(ScalingarError, match="resolution=3"):
        found.prompts_needed(3)


@given(st.integers(6, 40), st.integers(0, 10**6), st.floats(0.005, 0.2))
def test_as_many_prompts_as_needed_give_an_interval_as_narrow_as_asked(clusters, seed, wanted):
    """One estimator: with the clusters needed, its standard error times its own t is the width."""
    rng = np.random.default_rng(seed)
    gap = rng.choice([-1.0, 0.0, 1.0], clusters, p=[0.1, 0.6, 0.3])
    found = difference(gap, 0 * gap, ["t"] * clusters, [str(i) for i in range(clusters)])
    needed = found.prompts_needed(wanted)
    factor = needed / clusters
    if factor * found.estimate.df < 1:
        return
    half = t_quantile(0.95, found.estimate.df * factor) * found.stderr / math.sqrt(factor)
    fewer = (needed - 1) / clusters
    assert half <= wanted * (1 + 1e-6)
    if fewer * found.estimate.df > 1:
        wider = t_quantile(0.95, found.estimate.df * fewer) * found.stderr / math.sqrt(fewer)
        assert wider >= wanted * (1 - 1e-6)
    assert found.resolution == pytest.approx(
        found.estimate.high - found.estimate.mean, abs=1e-9
    ) or (found.estimate.high == 1)


def test_one_cluster_in_a_task_promises_no_number_of_prompts():
    found = difference([1.0, 0.0], [0.0, 0.0], ["a", "b"], ["x", "y"])
    assert found.prompts_needed(0.1) is None


def test_holm_adjusts_as_published():
    # Holm 1979 by hand: 4 x 0.005, 3 x 0.01, then 2 x 0.03 = 0.06, which 0.04 may not undercut.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == [] and holm([0.7, 0.9]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_the_step_down_procedure_rejects(p_values):
    for alpha in (0.01, 0.05, 0.3):
        rejected, left = set(), sorted(range(len(p_values)), key=lambda i: p_values[i])
        while left and p_values[left[0]] * len(left) <= alpha:
            rejected.add(left.pop(0))
        assert {i for i, p in enumerate(holm(p_values)) if p <= alpha} == rejected
