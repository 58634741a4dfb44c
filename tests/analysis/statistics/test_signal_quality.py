"""AUROC against a count pair by pair and against theory; risk-coverage against its definition."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalingar_analysis.statistics.intervals import auroc_within
from scalingar_analysis.statistics.signal_quality import (
    auroc,
    auroc_over_steps,
    risk_coverage,
    steps_read,
)
from scalingar_fw.errors import ScalingarError

POOLS = st.tuples(st.integers(1, 4), st.integers(1, 5)).flatmap(
    lambda shape: st.tuples(
        *(
            st.lists(
                st.lists(st.sampled_from(v), min_size=shape[1], max_size=shape[1]),
                min_size=shape[0],
                max_size=shape[0],
            )
            for v in ([0.0, 1.0, 2.0], [0.0, 1.0])
        )
    )
)


@given(POOLS)
def test_auroc_counts_pairs_within_prompts_only(case):
    signal, scores = map(np.array, case)
    won = pairs = used = 0
    for values, right in zip(signal, scores, strict=True):
        mixed = 0
        for i in range(len(values)):
            for j in range(len(values)):
                if right[i] and not right[j]:
                    mixed = 1
                    pairs += 1
                    won += (values[i] > values[j]) + 0.5 * (values[i] == values[j])
        used += mixed
    found = auroc(signal, scores, [str(i) for i in range(len(signal))])
    assert (found.used, found.dropped) == (used, len(signal) - used)
    assert found.value == pytest.approx(won / pairs) if pairs else math.isnan(found.value)
    old, old_used, old_dropped = auroc_within(list(signal), list(scores))
    assert (old_used, old_dropped) == (found.used, found.dropped)
    assert old == pytest.approx(found.value, nan_ok=True)


def test_prompts_that_are_easy_do_not_make_a_signal_good():
    """The signal tells easy prompts from hard ones and nothing within a prompt."""
    rng = np.random.default_rng(0)
    ease = np.repeat(rng.random(400)[:, None], 8, axis=1)
    scores = (rng.random((400, 8)) < ease).astype(float)
    pooled = auroc(ease.reshape(1, -1), scores.reshape(1, -1), ["all"])
    within = auroc(ease, scores, [str(i) for i in range(400)])
    assert pooled.value > 0.75 and within.value == 0.5


def test_normal_signals_have_the_auroc_of_theory():
    """Right candidates lie one standard deviation higher: Phi(1 / sqrt 2). Error about 0.004."""
    rng = np.random.default_rng(1)
    scores = (rng.random((1500, 8)) < 0.5).astype(float)
    found = auroc(rng.normal(scores, 1.0), scores, [str(i) for i in range(1500)])
    truth = NormalDist().cdf(1 / math.sqrt(2))
    assert found.value == pytest.approx(truth, abs=0.015)
    assert found.low < truth < found.high and found.high - found.low < 0.04


def test_intervals_of_auroc_cover_chance():
    """0.95 nominal over 200 worlds without signal: a standard error of 0.015."""
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(200):
        scores = (rng.random((40, 6)) < 0.5).astype(float)
        found = auroc(rng.random((40, 6)), scores, [str(i) for i in range(40)])
        hits += found.low <= 0.5 <= found.high
    assert 0.89 <= hits / 200 <= 0.99


def test_a_perfect_signal_of_few_pools_is_not_certain():
    for pools in (2, 4):
        scores = np.tile([1.0, 0.0, 0.0], (pools, 1))
        found = auroc(scores, scores, [str(i) for i in range(pools)])
        assert found.value == 1 and math.isnan(found.low) and math.isnan(found.high)
    scores = np.tile([1.0, 0.0, 0.0], (8, 1))
    found = auroc(scores, scores, [str(i) for i in range(8)])
    assert found.value == found.high == 1 and found.low == pytest.approx(0.025 ** (1 / 8))


def test_one_outcome_everywhere_leaves_nothing_to_compare():
    found = auroc(np.ones((3, 4)), np.ones((3, 4)), list("abc"))
    assert math.isnan(found.value) and (found.used, found.dropped) == (0, 3)


def test_over_steps_the_mean_so_far_and_the_value_are_read_where_the_fraction_says():
    rng = np.random.default_rng(3)
    scores = (rng.random((50, 4)) < 0.5).astype(float)
    values = rng.normal(size=(50, 4, 8))
    values[:, :, 3] += 100 * scores  # the fourth of eight tokens gives it away
    clusters = [str(i) for i in range(50)]
    rows = auroc_over_steps({"x": values}, scores, clusters, fractions=(0.25, 0.5, 1.0))["x"]
    assert [r[1].value for r in rows][1] == 1.0 and rows[1][0].value == 1.0
    assert rows[2][0].value == 1.0 and rows[2][1].value < 0.7
    quarter = auroc(values[:, :, :2].mean(2), scores, clusters)
    assert rows[0][0] == quarter and rows[0][1] == auroc(values[:, :, 1], scores, clusters)


def test_fractions_are_shares_of_the_tokens():
    assert steps_read(144, (0.125, 0.25, 1.0)) == [18, 36, 144] and steps_read(4, (0.01,)) == [1]
    with pytest.raises(ScalingarError, match="fraction=1.5"):
        steps_read(4, (1.5,))


def test_a_perfect_confidence_errs_only_where_it_must():
    scores = np.array([1.0, 0.0, 1.0, 1.0])
    found = risk_coverage(np.array([0.9, 0.1, 0.8, 0.7]), scores)
    assert found.coverage == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert found.risk == pytest.approx([0, 0, 0, 0.25])
    assert found.area == pytest.approx(1 / 16) and found.random == pytest.approx(0.25)


def test_a_constant_confidence_has_the_same_risk_at_every_coverage():
    found = risk_coverage(np.full(5, 0.3), np.array([1.0, 0, 0, 1, 1]))
    assert found.risk == pytest.approx([0.4] * 5) and found.area == pytest.approx(found.random)


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.5, 0.9]), st.booleans()), min_size=1, max_size=6))
def test_risk_is_the_mean_over_all_orders_of_equals(answers):
    import itertools

    curves = []
    for order in itertools.permutations(range(len(answers))):
        if all(answers[a][0] >= answers[b][0] for a, b in itertools.pairwise(order)):
            wrong = np.array([1.0 - answers[i][1] for i in order])
            curves.append(np.cumsum(wrong) / np.arange(1, len(order) + 1))
    found = risk_coverage(
        np.array([c for c, _ in answers]), np.array([float(r) for _, r in answers])
    )
    assert found.risk == pytest.approx(np.mean(curves, axis=0))


def test_unknown_confidence_is_refused():
    with pytest.raises(ScalingarError, match="finite confidence"):
        risk_coverage(np.array([np.nan, 1.0]), np.ones(2))
