"""The parts of `reproduce`: sweeps that mean what they say, and verdicts that intervals allow."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scalingar_analysis.reproduce import paper, sweeps
from scalingar_analysis.reproduce.robustness import less_hurt
from scalingar_analysis.reproduce.sweeps import Plan
from scalingar_analysis.reproduce.verdicts import best_value, share, span, verdict
from scalingar_analysis.statistics.clusters import Groups
from scalingar_fw.errors import ScalingarError
from scalingar_fw.experiments.store import strategy_content
from scalingar_fw.experiments.sweep import make_sweep, parse_sweep
from scalingar_fw.registry import default_registry
from scalingar_plugins.benchmarks.shapes import ShapesBenchmark


def every_sweep(n=8):
    plan = Plan.of(ShapesBenchmark().splits)
    for store, given in sweeps.sweeps(plan, list(sweeps.EXPERIMENTS), n):
        yield store, make_sweep(parse_sweep({"model": "shapes", **given}), default_registry())


def test_studies_that_choose_never_touch_the_split_of_the_tables():
    splits = {store: sweep.split for store, sweep in every_sweep()}
    assert splits == {
        "test": "test",
        "validation-sensitivity": "validation",
        "beyond": "beyond",
        "validation-signals": "validation",
    }
    assert Plan.of(("test",)) == Plan("test", "test", None)


def test_one_store_holds_no_label_with_two_meanings():
    known = {}
    for store, sweep in every_sweep():
        for entry in sweep.entries:
            content = strategy_content(entry.strategy)
            assert known.setdefault((store, entry.label), content) == content


def test_the_preset_is_the_papers_value_in_every_study():
    preset = None
    contents = {}
    for store, sweep in every_sweep():
        if store == "validation-sensitivity":
            contents = {e.label: strategy_content(e.strategy) for e in sweep.entries}
            preset = contents["scalingar"]
    for study, values in sweeps.SENSITIVITY.items():
        assert contents[sweeps.setting_label(study, paper.BEST[study])] == preset
        assert len({contents[sweeps.setting_label(study, v)] for v in values}) == len(values)


def test_widths_run_from_one_to_twice_n():
    widths = [s.n for store, s in every_sweep() if store == "test" and len(s.n) > 1]
    assert widths == [(1, 2, 4, 8, 16)]


def test_too_few_candidates_are_refused():
    with pytest.raises(ScalingarError, match="n=1"):
        sweeps.sweeps(Plan("test", "test", None), ["overall"], 1)


@pytest.mark.parametrize(
    ("ours", "reported", "word"),
    [
        ((0.10, 0.05, 0.20), [0.125], "agrees;"),
        ((0.10, 0.05, 0.20), [0.06, 0.19], "agrees;"),
        ((0.10, 0.05, 0.20), [0.125, 0.60], "agrees in part"),
        ((-0.03, -0.06, 0.01), [0.125, 0.60], "**disagrees**"),
        ((0.90, 0.80, 0.99), [0.125, 0.60], "**disagrees**"),
        ((0.10, -0.20, 0.40), [0.125], "undecided"),
        ((0.30, 0.00, 0.40), [0.125], "undecided"),
        ((0.00, -0.02, 0.02), [-0.53, 0.42], "undecided"),
        ((0.10, math.nan, math.nan), [0.125], "inconclusive"),
        ((math.inf, math.nan, math.nan), [0.125], "inconclusive"),
    ],
)
def test_a_verdict_follows_from_the_interval(ours, reported, word):
    assert word in verdict(ours, reported, "x")


def test_a_verdict_quotes_both_sides_and_claims_nothing_without_the_paper():
    text = verdict((-0.03, -0.06, 0.01), [0.125, 0.6], "`scalingar`")
    assert "+12.5 % to +60.0 %" in text and "-3.0 % [-6.0 %, +1.0 %]" in text
    assert verdict((0.1, 0.0, 0.2), [], "x") == ""
    assert span([0.26]) == share(0.26) == "+26.0 %"


@pytest.mark.parametrize(
    ("best", "gap", "word"),
    [
        ("0.2", (0.0, 0.0, 0.0), "agrees"),
        ("0.1", (0.05, 0.01, 0.09), "**disagrees**"),
        ("0.1", (0.05, -0.01, 0.09), "does not contradict"),
        ("0.1", (0.05, math.nan, math.nan), "inconclusive"),
    ],
)
def test_another_best_value_disagrees_only_if_it_is_distinguishable(best, gap, word):
    assert word in best_value("p", best, "0.2", gap)


def scored(rng, items, method, base):
    columns = np.stack([rng.random(items) < method, rng.random(items) < base], axis=1)
    groups = Groups.of(["ab"[i % 2] for i in range(items)], [str(i // 3) for i in range(items)])
    return columns.astype(float), groups


def test_less_hurt_is_the_formula_on_means_over_tasks():
    rng = np.random.default_rng(0)
    easy, hard = scored(rng, 120, 0.8, 0.6), scored(rng, 90, 0.4, 0.2)

    def mean(pair, column):
        columns, groups = pair
        task = groups.task_of[groups.index]
        return np.mean([columns[task == t, column].mean() for t in (0, 1)])

    drops = [1 - mean(hard, c) / mean(easy, c) for c in (0, 1)]
    value, low, high = less_hurt(easy, hard)
    assert value == pytest.approx(1 - drops[0] / drops[1])
    assert low < value < high


def test_the_interval_of_less_hurt_covers_the_truth():
    """0.95 nominal, a ratio of drops: 200 worlds, a standard error of 0.015."""
    rng = np.random.default_rng(1)
    truth = 1 - (1 - 0.5 / 0.8) / (1 - 0.3 / 0.6)
    hits = 0
    for _ in range(200):
        easy, hard = scored(rng, 240, 0.8, 0.6), scored(rng, 180, 0.5, 0.3)
        _, low, high = less_hurt(easy, hard)
        hits += low <= truth <= high
    assert 0.88 <= hits / 200 <= 0.99


def test_a_base_that_is_never_right_leaves_no_interval():
    rng = np.random.default_rng(2)
    value, low, high = less_hurt(scored(rng, 60, 0.5, 0.0), scored(rng, 60, 0.5, 0.0))
    assert math.isnan(value) and math.isnan(low) and math.isnan(high)
