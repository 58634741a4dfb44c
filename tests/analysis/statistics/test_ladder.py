"""The oracle ladder, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from scalingar_analysis.statistics.ladder import check_independent, ladder
from scalingar_analysis.statistics.subsets import oracle_at
from scalingar_fw.errors import ScalingarError
from scalingar_fw.registry import default_registry


def made(rng, prompts=60, n=8):
    scores = (rng.random((prompts, n)) < 0.4).astype(float)
    tasks = ["a" if i % 2 else "b" for i in range(prompts)]
    return scores, tasks, [str(i // 4) for i in range(prompts)]


def test_efficiency_runs_from_nothing_to_all():
    rng = np.random.default_rng(1)
    scores, tasks, clusters = made(rng)
    signals = {"judge": scores, "noise": rng.random(scores.shape), "wrong": -scores}
    found = ladder(scores, signals, tasks, clusters)
    top = found.rungs[-1]
    assert top.k == 8 and top.efficiency["judge"][0] == pytest.approx(1)
    assert top.efficiency["judge"][1] < 1 < top.efficiency["judge"][2]
    assert top.efficiency["noise"][1] < 0 < top.efficiency["noise"][2]
    assert top.efficiency["wrong"][2] < 0
    first = found.rungs[0]
    assert first.selected["judge"].mean == pytest.approx(found.random.mean)
    assert first.oracle.mean == pytest.approx(found.random.mean) and not first.efficiency
    means = [r.oracle.mean for r in found.rungs]
    assert means == sorted(means)


def test_the_oracle_at_a_budget_lies_between_its_whole_numbers():
    scores, tasks, clusters = made(np.random.default_rng(2))
    found = ladder(scores, {}, tasks, clusters, ks=[1])
    two, three = oracle_at(scores, 2), oracle_at(scores, 3)
    assert np.allclose(found.oracle_for(2), two) and np.allclose(
        found.oracle_for(8), oracle_at(scores, 8)
    )
    assert np.allclose(found.oracle_for(2.25), 0.75 * two + 0.25 * three)
    for k in (0.5, 8.5):
        with pytest.raises(ScalingarError, match=r"must be in \[1, 8\]"):
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
