"""A sweep's store as the plots and the report take it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from scalingar_analysis.plots.plot_registry import figure
from scalingar_analysis.report.page import page
from scalingar_analysis.runs.run import open_run
from scalingar_fw.errors import ScalingarError
from scalingar_fw.experiments.driver import run_sweep
from scalingar_fw.experiments.sweep import make_sweep, parse_sweep
from scalingar_fw.registry import load_registry

TOY = Path(__file__).parents[2] / "experiments" / "toy.py"


def sweep(out, **changes):
    registry = load_registry([TOY])
    given = {"model": "toy", "benchmark": "toy", "limit": 6, "batch": 3, **changes}
    run_sweep(
        make_sweep(parse_sweep(given), registry),
        out,
        executor="inline",
        registry=registry,
        plugins=[TOY],
    )
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("store") / "run"
    return sweep(out, strategies=["base", "best-of-n", "scalingar"], n=[2, 4], images="all")


def test_examples_are_the_stores_pools_with_scores_and_images(folder):
    from scalingar_fw.experiments import open_store

    run, store = open_run(folder), open_store(folder)
    assert run.strategies == store.labels() and run.judged
    for label in run.strategies:
        pools, examples = store.trajectories(label), run.examples(label)
        assert [e.item for e in examples] == [p.item for p in pools]
        for e, p in zip(examples, pools, strict=True):
            assert (e.strategy, e.n, e.task, e.cluster) == (label, p.n, p.task, p.cluster)
            np.testing.assert_array_equal(e.scores, p.scores)
            assert e.answer.image is not None


def test_the_table_is_the_stores_own(folder):
    from scalingar_fw.experiments import open_store

    table, whole = open_run(folder).table(), open_store(folder).candidates()
    assert len(table["n"]) == len(whole)
    for name in ("tokens", "chosen", "item"):
        assert table[name].tolist() == whole[name].to_pylist()


@pytest.mark.parametrize("kind", ["pareto", "budget", "strategies", "dynamics", "maps", "bands"])
def test_kinds_are_drawn_from_a_folder(kind, folder):
    assert figure(folder, kind).axes


def test_the_report_compares_strategies_and_shows_each_prompt_under_all(folder):
    text = page(open_run(folder))
    assert "Accuracy against tokens" in text and "data:image/png" in text
    data = json.loads(text.split('id="data">')[1].split("</script>")[0])
    assert {(e["strategy"], e["n"]) for e in data["examples"]} == {
        (s, n) for s in ("base", "best-of-n", "scalingar") for n in (2, 4)
    }


def test_without_recorded_steps_it_still_compares(tmp_path):
    run = open_run(sweep(tmp_path / "run", strategies=["base"], n=2, record=False))
    text = page(run)
    assert "Accuracy of each strategy" in text and "holds no steps" in text
    with pytest.raises(ScalingarError, match="holds no steps"):
        figure(run, "dynamics")


def test_settings_that_vary_make_a_heat_map(tmp_path):
    strategies = [
        {
            "name": f"p{p} r{r}",
            "strategy": "scalingar",
            "set": {"termination.quantile": p, "termination.rate": r},
        }
        for p in (0.1, 0.3)
        for r in (0.2, 0.5)
    ]
    made = figure(sweep(tmp_path / "run", strategies=strategies, n=4), "sensitivity")
    ax = made.axes[0]
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("termination.quantile", "termination.rate")
    assert len(ax.texts) == 4


def test_an_unfinished_or_empty_store_says_so(tmp_path):
    (tmp_path / "store.json").write_text('{"format": "scalingar-store", "schema": 1}')
    with pytest.raises(ScalingarError, match="no finished unit"):
        open_run(tmp_path)
