"""The oracle ladder against the mean over all subsets, and what it refuses."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalingar_analysis.statistics.ladder import (
    check_independent,
    ladder,
    oracle_at,
    selected_at,
    top_weights,
)
from scalingar_fw.errors import ScalingarError
from scalingar_fw.registry import default_registry


def subsets(count, k):
    return list(itertools.combinations(range(count), k))


POOLS = st.integers(1, 6).flatmap(
    lambda n: st.tuples(
        st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=n, max_size=n),
        st.lists(st.sampled_from([-2.0, 0.0, 1.0, 3.5]), min_size=n, max_size=n),
        st.integers(1, n),
    )
)


@given(POOLS)
def test_oracle_and_selected_are_means_over_all_subsets(case):
    scores, signal, k = case
    best, chosen = [], []
    for subset in subsets(len(scores), k):
        best.append(max(scores[i] for i in subset))
        pick = max(subset, key=lambda i: (signal[i], -i))  # ties to the lower id, as selectors
        chosen.append(scores[pick])
    s, r = np.array([scores]), np.array([signal])
    assert oracle_at(s, k)[0] == pytest.approx(np.mean(best), abs=1e-12)
    assert selected_at(s, r, k)[0] == pytest.approx(np.mean(chosen), abs=1e-12)


def test_binary_scores_give_the_published_pass_at_k():
    """1 - C(n - c, k) / C(n, k) (arXiv 2107.03374)."""
    from math import comb

    for right in range(9):
        scores = np.array([[1.0] * right + [0.0] * (8 - right)])
        for k in range(1, 9):
            assert oracle_at(scores, k)[0] == pytest.approx(1 - comb(8 - right, k) / comb(8, k))


def test_a_small_k_of_a_large_pool_is_unbiased_for_a_small_pool():
    """Right with probability 0.3: pass@3 is 1 - 0.7^3. 4000 pools leave an error of about 0.003."""
    scores = (np.random.default_rng(0).random((4000, 16)) < 0.3).astype(float)
    assert oracle_at(scores, 3).mean() == pytest.approx(1 - 0.7**3, abs=0.012)


def test_weights_of_a_large_pool_neither_overflow_nor_vanish():
    weights = top_weights(512, 256)
    assert weights.sum() == pytest.approx(1) and weights[-1] == pytest.approx(0.5)
    assert (weights >= 0).all() and (weights[:255] == 0).all()
    for k in (0, 5):
        with pytest.raises(ScalingarError, match=r"k=\d must be in \[1, 4\]"):
            top_weights(4, k)


def made(rng, prompts=60, n=8):
    scores = (rng.random((prompts, n)) < 0.4).astype(float)
    tasks = ["a" if i % 2 else "b" for i in range(prompts)]
    return scores, tasks, [str(i // 4) for i in range(prompts)]


def test_efficiency_runs_from_nothing_to_all():
    rng = np.random.default_rng(1)
    scores, tasks, clusters = made(rng)
    signals = {"judge": scores, "noise": rng.random(scores.shape), "wrong": -scores}
    found = ladder(scores, signals, tasks, clusters, draws=300)
    top = found.rungs[-1]
    assert top.k == 8 and top.efficiency["judge"][0] == pytest.approx(1)
    assert top.efficiency["judge"][1:] == pytest.approx((1, 1))
    assert top.efficiency["noise"][1] < 0 < top.efficiency["noise"][2]
    assert top.efficiency["wrong"][2] < 0
    first = found.rungs[0]
    assert first.selected["judge"].mean == pytest.approx(found.random.mean)
    assert first.oracle.mean == pytest.approx(found.random.mean) and not first.efficiency
    means = [r.oracle.mean for r in found.rungs]
    assert means == sorted(means)


def test_the_oracle_at_a_budget_lies_between_its_whole_numbers():
    scores, tasks, clusters = made(np.random.default_rng(2))
    found = ladder(scores, {}, tasks, clusters, ks=[1], draws=10)
    two, three = oracle_at(scores, 2), oracle_at(scores, 3)
    assert np.allclose(found.oracle_for(2), two) and np.allclose(
        found.oracle_for(8), oracle_at(scores, 8)
    )
    assert np.allclose(found.oracle_for(2.25), 0.75 * two + 0.25 * three)
    for k in (0.5, 8.5):
        with pytest.raises(ScalingarError, match="lies outside"):
            found.oracle_for(k)


def test_pools_with_ended_candidates_are_refused():
    scores, tasks, clusters = made(np.random.default_rng(3))
    scores[3, 2] = np.nan
    with pytest.raises(ScalingarError, match="complete and scored"):
        ladder(scores, {}, tasks, clusters)


@pytest.mark.parametrize("name", ["beam", "smc", "diverse-beam", "confidence-beam", "scalingar"])
def test_strategies_whose_candidates_depend_on_one_another_are_refused(name):
    strategy = default_registry().get("strategy", name)()
    with pytest.raises(ScalingarError, match="compares candidates"):
        check_independent(strategy)


@pytest.mark.parametrize("name", ["base", "best-of-n", "importance-sampling", "guidance-linear"])
def test_independent_candidates_are_accepted(name):
    check_independent(default_registry().get("strategy", name)())
