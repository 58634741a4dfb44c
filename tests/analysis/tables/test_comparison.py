"""`compare` on made tables: every number checked against one worked out beside it."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from attrs import evolve

from scalingar_analysis.statistics.intervals import task_mean
from scalingar_analysis.statistics.paired import difference, holm
from scalingar_analysis.tables import render
from scalingar_analysis.tables.arms import (
    Arm,
    cells_of,
    complete,
    in_common,
    judged,
    merged,
    oracle_of,
)
from scalingar_analysis.tables.comparison import baseline_for, compare
from scalingar_analysis.tables.costs import cost_of
from scalingar_fw.errors import ScalingarError
from scalingar_fw.experiments.tables import candidate_schema
from scalingar_fw.registry import default_registry

ITEMS = 12


def item_of(i):
    return {"item": i, "task": "ab"[i % 2], "cluster": f"c{i // 4}", "prompt": f"prompt {i}"}


def rows_of(label, n, rng, *, seeds=(0,), items=range(ITEMS), right=0.5, pruned=0, oracle=False):
    """Candidates of one arm: `pruned` of each pool ended at 3 of 16 tokens."""
    rows = []
    for seed in seeds:
        for i in items:
            scores = (rng.random(n) < right).astype(float)
            for c in range(n):
                gone = c >= n - pruned
                rows.append(
                    {
                        **item_of(i), "unit": f"{label}-{n}-{seed}", "model": "toy",
                        "strategy": label, "benchmark": "toy", "split": "test", "n": n,
                        "seed": seed, "replica": 0, "candidate": c, "parent": None,
                        "forked_at": 0, "length": 3 if gone else 16, "tokens": 3 if gone else 16,
                        "status": "pruned" if gone else "completed", "reason": "", "chosen": c == 0,
                        "score": None if gone else scores[c], "oracle": oracle, "confidence": None,
                        "recoveries": int(c == 0 and pruned > 0),
                        "mean_log_prob_cond": float(scores[c]) + 0.01 * c, "mean_kl": 1.0,
                        "mean_entropy": rng.random(),
                    }
                )  # fmt: skip
    return rows


def config_of(label, termination="never", **more):
    neutral = {k: {"name": f"scalingar-fw/{v}"} for k, v in (
        ("confidence", "none"), ("guidance", "constant"), ("sampler", "multinomial"),
        ("selector", "first"))}  # fmt: skip
    strategy = {"name": label, **neutral, "termination": {"name": f"scalingar-fw/{termination}"}}
    frame = {"benchmark": "toy", "split": "test", "model_hash": "m", "record": False}
    return {**frame, "strategy": strategy, **more}


def unit(key, n, seed, items, tokens, seconds=2.0):
    return SimpleNamespace(
        key=key,
        n=n,
        seed=seed,
        items=list(items),
        ledger={"prefill_rows": 2 * len(items), "decode_rows": 2 * tokens, "model_calls": 16},
        flops={"model": 1000.0 * tokens, "decoder": 10.0, "reward": 0.0},
        receipt={
            "seconds": {"model": seconds, "image": 0.8, "score": 5.0, "write": 7.0},
            "peak_bytes": 100 * n,
        },
    )


def arm(label, n, seed=0, *, termination="never", oracle=False, **kwargs):
    rows = rows_of(label, n, np.random.default_rng([seed, n]), oracle=oracle, **kwargs)
    table = pa.Table.from_pylist(rows, schema=candidate_schema())
    ((_, cells),) = cells_of(table).values()
    units = []
    for s in sorted({s for _, s in cells}):
        items = sorted(i for i, other in cells if other == s)
        tokens = sum(cells[i, s].tokens for i in items)
        units.append(unit(f"{label}{n}{s}", n, s, items, tokens))
    return Arm(label, n, oracle, config_of(label, termination), 16, cells, units, "run")


def answers(a, items=range(ITEMS), seeds=(0,)):
    return np.array([np.mean([a.cells[i, s].score for s in seeds]) for i in items])


TASKS = [item_of(i)["task"] for i in range(ITEMS)]
CLUSTERS = [item_of(i)["cluster"] for i in range(ITEMS)]


def test_accuracy_and_costs_are_means_over_prompts():
    base, pruning = arm("base", 1, 1), arm("cut", 4, 2, pruned=2, termination="quantile")
    data = compare([base, pruning])
    first, second = data["strategies"]
    assert first["accuracy"]["mean"] == pytest.approx(task_mean(answers(base), TASKS))
    assert (first["accuracy"]["items"], first["accuracy"]["clusters"]) == (12, 6)
    even = answers(pruning)[::2]
    assert second["tasks"]["a"]["mean"] == pytest.approx(even.mean())
    assert second["tasks"]["a"]["clusters"] == 3
    assert second["tokens"] == 2 * 16 + 2 * 3 and second["images_of_tokens"] == 38 / 16
    assert second["forward_rows"] == pytest.approx(2 + 2 * 38)
    assert second["flops"] == pytest.approx(1000 * 38 + 10 / 12)
    # Judging and writing are not the method's; of 24 images decoded, 12 are answers.
    assert second["seconds"] == pytest.approx((2.0 + 0.8 * 12 / 24) / 12)
    assert second["pruned"] == 2 and second["recoveries"] == 1 and second["peak_bytes"] == 400


def test_differences_are_paired_and_corrected_over_the_table():
    arms = [arm("base", 1, 1), arm("x", 4, 2, right=0.9), arm("y", 4, 3, right=0.6)]
    data = compare(arms)
    assert data["baselines"] == ["base"]
    expected = [difference(answers(a), answers(arms[0]), TASKS, CLUSTERS) for a in arms[1:]]
    for row, one in zip(data["differences"], expected, strict=True):
        assert row["difference"] == one.estimate.mean and row["p"] == one.p
        assert (row["low"], row["high"]) == (one.estimate.low, one.estimate.high)
        assert row["prompts_needed"] == one.prompts_needed(0.03)
    assert [r["p_holm"] for r in data["differences"]] == holm([e.p for e in expected])
    assert data["family"]["tests"] == 2


def test_an_items_seeds_are_averaged_and_not_taken_for_more_items():
    data = compare([arm("base", 1, 1, seeds=(0, 1)), arm("x", 2, 2, seeds=(0, 1))])
    assert data["items"] == 12 and data["cells"] == 24 and data["seeds"] == [0, 1]
    both = answers(arm("x", 2, 2, seeds=(0, 1)), seeds=(0, 1))
    assert data["strategies"][1]["accuracy"]["mean"] == pytest.approx(task_mean(both, TASKS))


def test_what_a_run_lacks_is_left_out_of_all_and_said():
    short = arm("x", 2, 2, items=range(8))
    data = compare([arm("base", 1, 1), short])
    assert data["items"] == 8 and data["left_out"] == [
        {"strategy": "base", "n": 1, "cells": 8, "of": 12}
    ]
    assert any("8 cells" in note and "x (n=2)" in note for note in data["notes"])
    first = arm("base", 1, 1)
    mean = task_mean(answers(first, range(8)), TASKS[:8])
    assert data["strategies"][0]["accuracy"]["mean"] == pytest.approx(mean)
    assert "8 cells" in render.text(data)


def test_nothing_in_common_is_refused():
    with pytest.raises(ScalingarError, match="No item was done by every strategy"):
        compare([arm("base", 1, seeds=(0,)), arm("x", 2, seeds=(1,))])


def test_another_prompt_under_the_same_number_is_refused():
    base, other = arm("base", 1), arm("x", 2)
    other.cells[3, 0] = evolve(other.cells[3, 0], prompt="else")
    with pytest.raises(ScalingarError, match="Item 3 is 'else' and 'prompt 3'"):
        in_common([base, other])


def test_an_answer_without_a_score_points_to_the_evaluator():
    rows = rows_of("x", 2, np.random.default_rng(0))
    rows[0]["score"] = None
    with pytest.raises(ScalingarError, match="scalingar import"):
        cells_of(pa.Table.from_pylist(rows, schema=candidate_schema()))


def test_a_policy_that_never_acted_is_named():
    idle, busy = (
        arm("idle", 4, termination="quantile"),
        arm("busy", 4, pruned=1, termination="quantile"),
    )
    data = compare([arm("base", 1), idle, busy])
    assert [r["warnings"] for r in data["strategies"]] == [
        [],
        ["its termination (quantile) never ended a candidate"],
        [],
    ]
    assert any("idle (n=4)" in note for note in data["notes"])
    # One candidate can not be ended, so that is no news.
    alone = compare([arm("idle", 1, termination="quantile")])
    assert not any("idle" in note for note in alone["notes"])


def test_means_without_an_interval_are_named_with_the_reason():
    data = compare([arm("base", 1, 1)])
    (note,) = data["notes"]
    assert "a has 3 clusters, fewer than 5; b has 3 clusters, fewer than 5" in note
    row = data["strategies"][0]
    assert row["accuracy"]["low"] is not None and row["tasks"]["a"]["low"] is None
    short = compare([arm("base", 1, 1, items=range(4))])
    assert "No overall intervals: one cluster only in a, b" in short["notes"][0]


def test_a_schedule_that_never_moved_is_named():
    still = arm("s", 2)
    still.config["strategy"]["guidance"] = {"name": "scalingar-fw/adaptive"}
    still.scale = (1.5, 1.5)
    assert compare([still])["strategies"][0]["warnings"] == [
        "its guidance (adaptive) never moved from 1.5"
    ]
    still.scale = (1.4, 1.6)
    assert not compare([still])["strategies"][0]["warnings"]


def test_risk_coverage_ranks_answers_by_their_own_confidence():
    sure = arm("x", 2, 3)
    for i, (key, cell) in enumerate(sorted(sure.cells.items())):
        sure.cells[key] = evolve(cell, confidence=1.0 - i / 10, score=float(i < 6))
    data = compare([arm("base", 1), sure])
    assert data["strategies"][0]["risk_coverage"] is None
    found = data["strategies"][1]["risk_coverage"]
    assert found["all"] == 0.5 and found["half"] == 0
    # Six right answers first: at coverage k / 12, k > 6, the error rate is (k - 6) / k.
    assert found["area"] == pytest.approx(sum((k - 6) / k for k in range(7, 13)) / 12)
    assert "surest half" in render.text(data)


def test_an_oracle_is_labelled_and_compared_with_nobody():
    data = compare([arm("base", 1), arm("best", 4, oracle=True), arm("x", 4)])
    assert [r["oracle"] for r in data["strategies"]] == [False, True, False]
    assert all(r["strategy"] != "best" for r in data["differences"] + data["matched"])
    assert all(a["strategy"] != "best" for front in data["fronts"].values() for a in front)
    text = render.markdown({"benchmark": "toy", "split": "test", **data})
    assert "best (oracle)" in text and "no method" in text


def test_the_baseline_is_taken_at_the_same_n_or_the_next_below():
    family = [arm("best-of-n", n) for n in (2, 8, 4)]
    for n, expected in ((1, 2), (2, 2), (5, 4), (8, 8), (16, 8)):
        assert baseline_for(arm("x", n), "best-of-n", family).n == expected
    assert baseline_for(family[0], "best-of-n", family) is None
    with pytest.raises(ScalingarError, match="Unknown baseline 'bse'"):
        compare(family, baselines=["bse"])


def test_at_an_equal_budget_the_baseline_is_interpolated_between_its_widths():
    two, four, x = arm("best-of-n", 2, 5), arm("best-of-n", 4, 6), arm("x", 4, 7, pruned=1)
    data = compare([two, four, x])
    row = next(r for r in data["matched"] if r["axis"] == "tokens")
    assert row["budget"] == 51  # 3 x 16 + 3
    way = (51 - 32) / (64 - 32)
    there = (1 - way) * answers(two) + way * answers(four)
    expected = difference(answers(x), there, TASKS, CLUSTERS)
    assert row["difference"] == pytest.approx(expected.estimate.mean)
    assert row["low"] == pytest.approx(expected.estimate.low)
    assert row["baseline_accuracy"] == pytest.approx(task_mean(there, TASKS))


def test_a_complete_pool_gives_a_ladder_and_others_do_not():
    make = lambda _: default_registry().get("strategy", "base")()  # noqa: E731
    whole, cut = arm("best-of-n", 4, 1), arm("cut", 8, 2, pruned=3, termination="quantile")
    cut.config["strategy"]["guidance"] = {"name": "scalingar-fw/linear"}
    data = compare([whole, arm("best-of-n", 2, 3), cut], make=make)
    (pool,) = data["ladders"]
    assert (pool["strategy"], pool["n"], pool["pools"]) == ("best-of-n", 4, 12)
    assert [r["k"] for r in pool["rungs"]] == [1, 2, 4]
    # The log-probability of the made table knows the score, so it selects what an oracle does.
    top = pool["rungs"][-1]
    assert top["selected"]["mean_log_prob_cond"]["mean"] == top["oracle"]["mean"]
    assert top["efficiency"]["mean_log_prob_cond"]["mean"] == pytest.approx(1)
    assert pool["auroc"]["mean_log_prob_cond"]["value"] == 1
    assert "mean_kl" not in pool["auroc"] and "confidence" not in pool["auroc"]  # constant; absent
    used = pool["auroc"]["-mean_entropy"]
    assert used["used"] + used["dropped"] == 12


def test_where_the_answers_alone_were_judged_there_is_no_ladder_and_no_oracle():
    make = lambda _: default_registry().get("strategy", "base")()  # noqa: E731
    pool = arm("best-of-n", 4, 1)
    assert judged(pool.cells.values()) and compare([pool], make=make)["ladders"]
    best = oracle_of(pool)
    assert best.oracle and all(best.cells[k].score == max(c.scores) for k, c in pool.cells.items())
    for cell in pool.cells.values():
        cell.scores[1:] = np.nan
    data = compare([pool], make=make)
    assert not judged(pool.cells.values()) and not data["ladders"] and not data["gaps"]


def test_the_gap_to_the_oracle_is_taken_at_a_strategys_own_budget():
    make = lambda _: default_registry().get("strategy", "base")()  # noqa: E731
    pool, cut = arm("best-of-n", 4, 1), arm("cut", 4, 2, pruned=1, right=0.8)
    data = compare([arm("base", 1), pool, cut], make=make)
    row = next(r for r in data["gaps"] if r["strategy"] == "cut")
    assert row["k"] == pytest.approx(51 / 16) and row["pool"] == "best-of-n (n=4)"
    scores = np.stack([pool.cells[i, 0].scores for i in range(ITEMS)])
    # Three of four candidates, and all four: by counting subsets.
    three = np.mean([np.delete(scores, gone, 1).max(1) for gone in range(4)], axis=0)
    way = 51 / 16 - 3
    best = task_mean((1 - way) * three + way * scores.max(1), TASKS)
    alone = task_mean(scores.mean(1), TASKS)
    assert row["oracle"] == pytest.approx(best) and row["random"] == pytest.approx(alone)
    ours = task_mean(answers(cut), TASKS)
    assert row["closed"]["mean"] == pytest.approx((ours - alone) / (best - alone))
    assert row["closed"]["low"] < row["closed"]["mean"] < row["closed"]["high"]
    assert {r["strategy"] for r in data["gaps"]} == {"best-of-n", "cut"}  # base is one sample
    assert "oracle there" in render.text(data)


def test_strategies_that_compare_candidates_get_no_ladder_even_if_all_are_complete():
    make = lambda _: default_registry().get("strategy", "scalingar")()  # noqa: E731
    assert not compare([arm("scalingar", 4)], make=make)["ladders"]
    assert not complete(arm("cut", 4, pruned=1).cells.values())


def test_the_same_strategy_of_two_runs_is_one_arm():
    one, two = arm("x", 2, 1, seeds=(0,)), arm("x", 2, 1, seeds=(0, 1))
    (both,) = merged([[one], [two]])
    assert {s for _, s in both.cells} == {0, 1} and len(both.cells) == 24
    assert len(both.units) == 2


def test_one_label_with_two_meanings_is_told_apart_by_its_run():
    one, two = arm("x", 2), arm("x", 2, termination="quantile")
    one.source, two.source = "left", "right"
    assert [a.label for a in merged([[one], [two]])] == ["x [left]", "x [right]"]


def test_costs_count_the_units_that_hold_a_cell():
    a = arm("x", 2, seeds=(0, 1))
    cheap = [key for key in a.cells if key[1] == 0]
    a.units[1].ledger["decode_rows"] = 10**9
    assert cost_of(a, cheap).forward_rows < 10**6
    a.units[0].flops = {}
    assert cost_of(a, cheap).flops is None and cost_of(a, cheap).total_flops is None


def test_tables_for_people_hold_what_the_document_holds():
    arms = [arm("base", 1), arm("best-of-n", 2), arm("best-of-n", 8, 4), arm("x|y", 4)]
    data = {"benchmark": "toy", "split": "test", **compare(arms)}
    for text in (render.text(data), render.markdown(data)):
        for row in data["strategies"]:
            assert f"{row['accuracy']['mean']:.3f}" in text
        for row in data["differences"] + data["matched"]:
            assert render.fixed(row["difference"], 3) in text
    assert "x\\|y" in render.markdown(data)
    assert all(
        line.startswith("|") is not (line[:1] in "#-")
        for line in render.markdown(data).splitlines()
        if line
    )


def test_flat_rows_are_one_for_each_task_and_one_overall():
    data = {"benchmark": "toy", "split": "test", **compare([arm("base", 1), arm("x", 4)])}
    rows = render.flat(data)
    assert [r["task"] for r in rows] == ["overall", "a", "b"] * 2
    assert {tuple(r) for r in rows} == {tuple(rows[0])}
    assert rows[3]["difference_to_base"] == data["differences"][0]["difference"]
    assert rows[0]["difference_to_base"] is None and rows[4]["tokens"] is None
    assert rows[3]["tokens"] == 64


def test_numbers_that_round_to_nothing_have_no_sign():
    assert render.fixed(-1e-9, 3) == "0.000" and render.fixed(-0.0004, 3, "+") == "+0.000"
    assert render.percent({"mean": -0.125, "low": None, "high": None}) == "-12.5 %"
    assert render.ci({"mean": 0.5, "low": 0.25, "high": 0.75}) == "0.500 [0.250, 0.750]"
    assert render.engineering(3.21e9) == "3.21 G" and render.engineering(None) == "-"


def test_levels_that_are_no_coverage_are_refused():
    for level in (0.4, 1.0, math.nan):
        with pytest.raises(ScalingarError, match="level="):
            compare([arm("base", 1)], level=level)
