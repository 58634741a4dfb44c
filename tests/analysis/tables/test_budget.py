"""Exact best-of-k as a baseline: every number against subsets written out, and who is tested."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from attrs import evolve

from scalingar_analysis.statistics.intervals import task_mean
from scalingar_analysis.statistics.paired import difference, holm
from scalingar_analysis.tables import render
from scalingar_analysis.tables.arms import with_held_out
from scalingar_analysis.tables.comparison import compare
from scalingar_fw.benchmark import Item
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.registry import default_registry

from .test_comparison import CLUSTERS, ITEMS, TASKS, answers, arm


def make(_):
    return default_registry().get("strategy", "base")()


def by_subsets(pool, signal, k):
    """Each item's expected success of the best of k by a signal, subset by subset."""
    out = []
    for i in range(ITEMS):
        cell = pool.cells[i, 0]
        values = (cell.signals | cell.controls)[signal]
        subsets = list(itertools.combinations(range(pool.n), k))
        picks = [max(s, key=lambda c: (values[c], -c)) for s in subsets]
        out.append(np.mean([cell.scores[c] for c in picks]))
    return np.array(out)


def rows_of(data, label, **wanted):
    return [
        r
        for r in data["best_of_k"]
        if r["strategy"] == label and all(r[k] == v for k, v in wanted.items())
    ]


@pytest.fixture
def arms():
    # The reference scores are noisy, so that the score that selects is not the judge's own.
    pool = arm("best-of-n", 4, 1)
    rng = np.random.default_rng(5)
    for key, cell in pool.cells.items():
        noisy = {n: v + rng.normal(0, 0.5, 4) for n, v in cell.signals.items()}
        noisy["mean_log_prob_uncond"] = rng.normal(0, 1, 4)
        controls = {"fewest objects": -rng.integers(1, 4, 4).astype(float)}
        pool.cells[key] = evolve(cell, signals=noisy, controls=controls)
    return [arm("base", 1, 1), pool, arm("cut", 4, 2, pruned=1, termination="quantile")]


@pytest.mark.parametrize("score", ["mean_log_prob_cond", "mean_log_prob_uncond", "fewest objects"])
def test_at_equal_tokens_a_strategy_meets_the_mean_over_all_subsets(arms, score):
    data = compare(arms, make=make)
    (row,) = rows_of(data, "cut", axis="tokens", score=score)
    k = (3 * 16 + 3) / 16  # three complete candidates, and 3 tokens of a fourth
    assert row["k"] == pytest.approx(k) and row["pool"] == "best-of-n (n=4)"
    three, four = by_subsets(arms[1], score, 3), by_subsets(arms[1], score, 4)
    there = (4 - k) * three + (k - 3) * four
    expected = difference(answers(arms[2]), there, TASKS, CLUSTERS)
    assert row["baseline"]["mean"] == pytest.approx(task_mean(there, TASKS))
    assert row["difference"] == pytest.approx(expected.estimate.mean)
    assert (row["low"], row["high"]) == pytest.approx(
        (expected.estimate.low, expected.estimate.high)
    )


def test_at_equal_flops_k_lies_on_the_line_through_the_measured_widths(arms):
    base, pool, cut = arms
    # 7 for the prompt, 2 for each candidate, paid by two widths and by a strategy in between.
    for one, flops in ((base, 9.0), (pool, 15.0), (cut, 12.0)):
        for unit in one.units:
            unit.flops = {"model": flops * len(unit.items)}
    data = compare(arms, make=make)
    (row,) = rows_of(data, "cut", axis="flops", score="mean_log_prob_cond")
    assert row["k"] == pytest.approx(2.5)
    two, three = (by_subsets(pool, "mean_log_prob_cond", k) for k in (2, 3))
    assert row["baseline"]["mean"] == pytest.approx(task_mean((two + three) / 2, TASKS))


def test_without_a_second_width_nobody_knows_what_a_candidate_costs(arms):
    data = compare(arms[1:], make=make)
    assert {r["axis"] for r in data["best_of_k"]} == {"one sample", "tokens"}


def test_beyond_the_pool_and_below_one_sample_there_is_no_best_of_k(arms):
    data = compare([*arms, arm("wide", 8, 3), arm("tiny", 1, 4, pruned=0)], make=make)
    assert {r["axis"] for r in rows_of(data, "cut")} >= {"one sample", "tokens"}
    wide = compare(
        [arms[0], arms[1], arm("wide", 8, 3, pruned=1, termination="quantile")], make=make
    )
    assert [r["axis"] for r in rows_of(wide, "wide")] == ["one sample"]


def test_one_sample_is_the_mean_over_all_candidates(arms):
    data = compare(arms, make=make)
    mean = np.array([arms[1].cells[i, 0].scores.mean() for i in range(ITEMS)])
    (one,) = data["one_sample"]
    assert one["accuracy"]["mean"] == pytest.approx(task_mean(mean, TASKS))
    (row,) = rows_of(data, "cut", axis="one sample")
    assert row["difference"] == pytest.approx(task_mean(answers(arms[2]) - mean, TASKS))


def test_holm_is_over_one_family_and_other_rows_have_no_p(arms):
    data = compare(arms, make=make)
    tested = [r for r in [*data["differences"], *data["best_of_k"]] if r["p"] is not None]
    assert [r["p_holm"] for r in tested] == holm([r["p"] for r in tested])
    # Against base and best-of-n (and these against each other), and best-of-k at tokens and FLOPs.
    assert len(data["differences"]) == 3 and data["family"]["tests"] == len(tested) == 5
    other = [r for r in data["best_of_k"] if r["p"] is None]
    assert other and all(r["p_holm"] is None for r in other)
    assert {(r["axis"], r["score"]) for r in tested[3:]} == {
        ("tokens", "mean_log_prob_cond"), ("flops", "mean_log_prob_cond"),
    }  # fmt: skip


def test_without_pools_of_plain_samples_there_is_no_best_of_k(arms):
    for one in arms:
        one.config["strategy"]["guidance"] = {"name": "scalingar-fw/linear"}
    data = compare(arms, make=make)
    assert not data["best_of_k"] and not data["one_sample"]
    assert not compare(arms)["best_of_k"]


# --- held out and in distribution --------------------------------------------------------------


def marked(a, held=lambda i: i % 2 == 0):
    """Task a held out, task b not."""
    for (i, seed), cell in a.cells.items():
        a.cells[i, seed] = evolve(cell, held_out=held(i))
    return a


def test_every_table_shows_held_out_and_in_distribution_items_apart(arms):
    data = compare([marked(a) for a in arms], make=make)
    even, odd = list(range(0, ITEMS, 2)), list(range(1, ITEMS, 2))
    for row, one in zip(data["strategies"], arms, strict=True):
        assert row["parts"]["held out"]["mean"] == pytest.approx(answers(one)[even].mean())
        assert row["parts"]["in distribution"]["mean"] == pytest.approx(answers(one)[odd].mean())
        assert row["parts"]["held out"]["items"] == 6
    gaps = answers(arms[2]) - answers(arms[0])
    (row,) = (r for r in data["differences"] if (r["strategy"], r["baseline"]) == ("cut", "base"))
    assert row["parts"]["held out"]["difference"] == pytest.approx(gaps[even].mean())
    assert row["parts"]["in distribution"]["difference"] == pytest.approx(gaps[odd].mean())
    (row,) = rows_of(data, "cut", axis="tokens", score="fewest objects")
    assert set(row["parts"]) == {"held out", "in distribution"}
    assert [p["part"] for p in data["ladders"]] == [None, "held out", "in distribution"]
    assert data["ladders"][1]["pools"] == 6
    assert all(set(g["parts"]) == set(row["parts"]) for g in data["gaps"])
    text = render.text(data)
    assert text.count("held out") >= 6 and "one sample, mean of best-of-n (n=4)" in text


def test_items_that_are_all_of_one_kind_or_unknown_are_not_split(arms):
    assert not compare(arms, make=make)["strategies"][0]["parts"]
    everything = [marked(a, lambda i: True) for a in arms]
    data = compare(everything, make=make)
    assert not data["strategies"][0]["parts"] and "in distribution" not in render.text(data)


def test_what_an_earlier_version_did_not_record_comes_from_the_benchmark(arms):
    items = [Item(Prompt(f"prompt {i}"), "a", "c", held_out=i < 3) for i in range(ITEMS - 1)]
    items[1] = evolve(items[1], prompt=Prompt("another text by now"))
    with_held_out(arms, items)
    found = [arms[0].cells[i, 0].held_out for i in range(ITEMS)]
    assert found == [True, None, True] + [False] * (ITEMS - 4) + [None]


def test_best_of_k_is_shown_with_what_it_costs(arms):
    text = render.text(compare(arms, make=make))
    assert "best of 3.19 by mean_log_prob_cond" in text and "one sample" in text
    assert "p (Holm, 5 tests)" in text


def test_flat_rows_hold_the_parts_and_the_differences_to_best_of_k(arms):
    data = compare([marked(a) for a in arms], make=make)
    rows = render.flat({"benchmark": "toy", "split": "test", **data})
    assert [r["task"] for r in rows[:5]] == ["overall", "a", "b", "held out", "in distribution"]
    (row,) = (r for r in rows if (r["strategy"], r["task"]) == ("cut", "overall"))
    (known,) = rows_of(data, "cut", axis="tokens", score="mean_log_prob_cond")
    assert row["difference_to_best_of_k_tokens"] == known["difference"]
    assert row["difference_p_holm_to_best_of_k_tokens"] == known["p_holm"]
    assert rows[0]["difference_to_best_of_k_tokens"] is None
