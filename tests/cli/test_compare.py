"""`scalingar compare` on stores of real sweeps, in all its forms."""

from __future__ import annotations

import csv
import json
import runpy
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from scalingar_analysis.tables.published import drawn, read
from scalingar_fw.experiments.driver import run_sweep
from scalingar_fw.experiments.sweep import make_sweep, parse_sweep
from scalingar_fw.registry import load_registry

WORLD = Path(__file__).parents[1] / "analysis" / "toy_world.py"


def sweep(folder: Path, strategies, **more):
    registry = load_registry([WORLD])
    given = {"model": "toy", "benchmark": "toy", "split": "test", "batch": 6, **more}
    asked = make_sweep(parse_sweep({**given, "strategies": strategies}), registry)
    ended = run_sweep(asked, folder, executor="inline", registry=registry)
    assert ended.finished == ended.units
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return sweep(
        tmp_path_factory.mktemp("runs") / "one",
        ["base", {"strategy": "best-of-n", "n": [2, 4]}, {"strategy": "scalingar", "n": 4}],
    )


@pytest.fixture
def compare(cli, monkeypatch):
    monkeypatch.setenv("SCALINGAR_LOAD_PLUGINS", "plugins,strategies,analysis")
    return lambda *arguments: cli("compare", "--plugin", WORLD, *arguments)


def test_the_terminal_begins_with_a_verdict_and_has_one_table_of_80_columns(compare, run):
    result = compare(run)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    first = " ".join(lines[: lines.index("")])
    for strategy in ("best-of-n (n = 4) is", "scalingar (n = 4) is"):
        assert strategy in first
    assert sum("tokens / T" in line for line in lines) == 1
    assert "--all" in result.stdout


def test_all_of_it_is_accuracy_costs_differences_and_the_ladder(compare, run):
    result = compare(run, "--all")
    assert result.exit_code == 0, result.stderr
    for text in (
        "base",
        "scalingar",
        "forward rows",
        "p (Holm)",
        "against",
        "Oracle ladder",
        "AUROC",
    ):
        assert text in result.stdout


def test_json_holds_what_the_store_holds(compare, run):
    data = json.loads(compare(run, "--json").stdout)
    assert (data["benchmark"], data["split"], data["items"]) == ("toy", "test", 12)
    rows = {(r["strategy"], r["n"]): r for r in data["strategies"]}
    assert rows["base", 1]["tokens"] == 16 and rows["best-of-n", 4]["tokens"] == 64
    # Two rows for each prompt of the prefill, two for each token but the last.
    assert rows["best-of-n", 4]["forward_rows"] == 2 + 2 * 4 * 15
    assert rows["scalingar", 4]["pruned"] > 0 and rows["scalingar", 4]["tokens"] < 64
    assert {(d["strategy"], d["baseline"]) for d in data["differences"]} == {
        ("best-of-n", "base"), ("scalingar", "base"), ("scalingar", "best-of-n"),
    }  # fmt: skip
    (pool,) = data["ladders"]
    assert (pool["strategy"], pool["n"]) == ("best-of-n", 4)
    # best-of-n picks by the mean log-probability: its accuracy is the ladder's top rung.
    top = pool["rungs"][-1]["selected"]["mean_log_prob_cond"]["mean"]
    assert top == pytest.approx(rows["best-of-n", 4]["accuracy"]["mean"])
    assert any(m["axis"] == "tokens" and m["strategy"] == "scalingar" for m in data["matched"])


def test_files_hold_a_row_for_each_task(compare, run, tmp_path):
    result = compare(run, "--csv", tmp_path / "a" / "t.csv", "--parquet", tmp_path / "t.parquet")
    assert result.exit_code == 0, result.stderr
    with (tmp_path / "a" / "t.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    table = pq.read_table(tmp_path / "t.parquet").to_pylist()
    assert len(rows) == len(table) == 4 * 3
    for row, same in zip(rows, table, strict=True):
        assert row["strategy"] == same["strategy"]
        assert float(row["accuracy"]) == pytest.approx(same["accuracy"])
    assert not list(tmp_path.rglob("*.partial"))


def test_each_table_is_a_file_that_a_document_can_show(compare, run, tmp_path):
    result = compare(run, "--tables", tmp_path / "results", "--baseline", "base", "--json")
    assert result.exit_code == 0, result.stderr
    data = json.loads(result.stdout)
    files = {p.stem: read(p) for p in (tmp_path / "results").glob("*.csv")}
    assert set(files) == {
        "accuracy", "tasks", "differences", "best_of_k", "gaps", "ladder", "auroc",
    }  # fmt: skip
    for file in files.values():
        assert file.about["seeds"] == ["0"]
        (weights,) = file.about["weights"]
        assert weights == data["models"][0] and weights.startswith("toy_world/toy ")
        (command,) = file.about["command"]
        assert command == f"scalingar compare {run} --baseline base"
        assert file.table().count("\n") == len(file.rows) + 1
    for row, known in zip(files["differences"].rows, data["differences"], strict=True):
        assert float(row["difference"]) == known["difference"]
        assert float(row["p_holm"]) == known["p_holm"]
    first = data["strategies"][0]
    (base,) = (r for r in files["accuracy"].rows if r["strategy"] == "base")
    assert float(base["accuracy"]) == first["accuracy"]["mean"]
    document = tmp_path / "d.md"
    document.write_text("<!-- table: results/best_of_k.csv -->\n", encoding="utf-8")
    assert "mean_log_prob_cond" in drawn(document)


def test_markdown_is_a_document(compare, run):
    text = compare(run, "--markdown").stdout
    assert text.startswith("## toy, split test\n") and "| strategy | n | accuracy |" in text


def test_a_run_with_fewer_items_is_compared_on_those(compare, run, tmp_path):
    less = sweep(tmp_path / "two", ["importance-sampling"], limit=6)
    data = json.loads(compare(run, less, "--json").stdout)
    assert data["items"] == 6 and {r["strategy"] for r in data["strategies"]} >= {
        "base", "importance-sampling",
    }  # fmt: skip
    assert "6 cells" in " ".join(data["notes"])


def test_a_choice_of_strategies_and_baseline(compare, run):
    data = json.loads(
        compare(run, "--json", "--strategy", "base", "--strategy", "scalingar",
                "--baseline", "scalingar").stdout
    )  # fmt: skip
    assert [(d["strategy"], d["baseline"]) for d in data["differences"]] == [("base", "scalingar")]


def test_mistakes_are_one_message_and_exit_code_2(compare, run, tmp_path):
    for arguments, words in (
        ((run, "--strategy", "scalingr"), "scalingar"),
        ((run, "--baseline", "bas"), "base"),
        ((run, "--split", "tset"), "test"),
        ((run, "--level", "2"), "level=2"),
        ((run, "--resolution", "0"), "resolution=0"),
        ((run, "--csv", "table.txt"), ".csv"),
        ((tmp_path,), "scalingar bench"),
        ((run, "--json", "--markdown"), "Give one of"),
        ((), "RUN"),
    ):
        result = compare(*arguments)
        assert result.exit_code == 2 and words in result.stderr, (arguments, result.stderr)
        assert "Traceback" not in result.stderr


def test_two_splits_are_not_mixed(compare, run, tmp_path):
    other = sweep(tmp_path / "other", ["base"], split="other")
    result = compare(run, other)
    assert result.exit_code == 2 and "toy/test, toy/other" in result.stderr
    assert json.loads(compare(run, other, "--split", "other", "--json").stdout)["items"] == 12


def test_the_toy_world_judges_by_brightness():
    world = runpy.run_path(str(WORLD))["ToyBenchmark"]()
    import numpy as np

    images = np.stack([np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)])
    assert world.score(world.items("test")[:2], images) == [0.0, 1.0]
