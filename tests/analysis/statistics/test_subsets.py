"""Exact best-of-k against every subset written out."""

from __future__ import annotations

import itertools
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalingar_analysis.statistics.subsets import between, oracle_at, selected_at, top_weights
from scalingar_fw.errors import ScalingarError

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
    for subset in itertools.combinations(range(len(scores)), k):
        best.append(max(scores[i] for i in subset))
        pick = max(subset, key=lambda i: (signal[i], -i))  # ties to the lower id, as selectors
        chosen.append(scores[pick])
    s, r = np.array([scores]), np.array([signal])
    assert oracle_at(s, k)[0] == pytest.approx(np.mean(best), abs=1e-12)
    assert selected_at(s, r, k)[0] == pytest.approx(np.mean(chosen), abs=1e-12)


@given(POOLS)
def test_one_of_one_is_the_mean_of_all_and_all_of_all_is_the_first_of_the_highest(case):
    scores, signal, _ = case
    s, r = np.array([scores]), np.array([signal])
    assert selected_at(s, r, 1)[0] == pytest.approx(np.mean(scores))
    assert selected_at(s, r, len(scores))[0] == scores[signal.index(max(signal))]


def test_binary_scores_give_the_published_pass_at_k():
    """1 - C(n - c, k) / C(n, k) (arXiv 2107.03374)."""
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


@given(POOLS, st.floats(1, 6))
def test_between_whole_budgets_lies_the_straight_line(case, k):
    scores = np.array([case[0]])
    count = scores.shape[1]
    if k > count:
        with pytest.raises(ScalingarError, match=f"of a pool of {count}"):
            between(lambda n: oracle_at(scores, n), k, count)
        return
    found = between(lambda n: oracle_at(scores, n), k, count)[0]
    low = int(k)
    ends = oracle_at(scores, low)[0], oracle_at(scores, min(low + 1, count))[0]
    assert found == pytest.approx(ends[0] + (k - low) * (ends[1] - ends[0]))
