"""`scalingar reproduce` from its sweeps to its report, on a toy world of sixteen tokens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scalingar_analysis.reproduce import paper, sweeps
from scalingar_fw.experiments import open_store

WORLD = Path(__file__).parents[1] / "analysis" / "toy_world.py"


@pytest.fixture
def reproduce(cli, monkeypatch):
    monkeypatch.setenv("SCALINGAR_LOAD_PLUGINS", "plugins,strategies,analysis")

    def call(*arguments):
        return cli(
            "reproduce", "scalingar-2026", "--plugin", WORLD, "--model", "toy", "--benchmark",
            "toy", "--executor", "inline", "-n", 2, *arguments,
        )  # fmt: skip

    return call


def test_every_experiment_has_its_table_and_the_papers_figures(reproduce, tmp_path):
    """A minute of work for a real model, seconds here: all sweeps, with eight items."""
    result = reproduce("--limit", 8, "--out", tmp_path / "r", "--json")
    assert result.exit_code == 0, result.stderr
    data = json.loads(result.stdout)
    by_name = {s["name"]: s for s in data["sections"]}
    assert list(by_name) == list(sweeps.EXPERIMENTS)
    overall = {row[0]: row for row in by_name["overall"]["rows"]}
    assert set(overall) == {"base", *sweeps.METHODS, "oracle of best-of-n: no method"}
    assert overall["scalingar"][2:8] == ["0.36", "0.49", "0.67", "0.77", "46.47", "26.35"]
    assert overall["base"][-1] == "1.00" and overall["best-of-n"][-1] == "2.00"
    # The oracle is the better of two candidates: it can not fall below either pick.
    accuracy = {name: float(row[9].split()[0]) for name, row in overall.items()}
    assert accuracy["oracle of best-of-n: no method"] >= max(
        accuracy["base"], accuracy["best-of-n"]
    )
    assert len(by_name["sensitivity"]["rows"]) == sum(map(len, sweeps.SENSITIVITY.values()))
    assert [row[:2] for row in by_name["width"]["rows"]] == [
        [s, n] for s in ("best-of-n", "scalingar") for n in ("1", "2", "4")
    ]
    assert "intrinsic" in {row[0] for row in by_name["signals"]["rows"]}
    assert data["stores"]["test"]["items"] == 8

    text = (tmp_path / "r" / "report.md").read_text(encoding="utf-8")
    assert "--limit 8" in text and "-n 2" in text and "Table 5" in text
    for section in data["sections"]:
        assert section["title"] in text
        assert all(len(row) == len(section["columns"]) for row in section["rows"])
    # Nothing that the report is of was decoded twice.
    before = [u.key for u in open_store(tmp_path / "r" / "test").units()]
    again = reproduce("--limit", 8, "--out", tmp_path / "r")
    assert again.exit_code == 0 and again.stdout == text
    assert [u.key for u in open_store(tmp_path / "r" / "test").units()] == before


def test_one_experiment_alone_decodes_what_it_needs(reproduce, tmp_path):
    result = reproduce("--limit", 4, "--only", "policies", "--out", tmp_path / "r")
    assert result.exit_code == 0, result.stderr
    assert "Table 4" in result.stdout and "Table 1" not in result.stdout
    assert sorted(p.name for p in (tmp_path / "r").iterdir()) == ["report.md", "test"]


def test_a_dry_run_writes_nothing(reproduce, tmp_path):
    result = reproduce("--limit", 4, "--dry-run", "--out", tmp_path / "r")
    assert result.exit_code == 0, result.stderr
    assert not (tmp_path / "r").exists() and "test: base" in result.stderr


def test_mistakes_are_one_message(reproduce, cli, monkeypatch, tmp_path):
    monkeypatch.setenv("SCALINGAR_LOAD_PLUGINS", "plugins,strategies,analysis")
    for result, words in (
        (cli("reproduce", "scalingar-2025"), "scalingar-2026"),
        (reproduce("--only", "tabel1"), "overall"),
        (reproduce("--split", "tst", "--out", tmp_path / "r"), "test"),
        (reproduce("-n", "1"), "1"),
    ):
        assert result.exit_code == 2 and words in result.stderr and "Traceback" not in result.stderr


def test_the_experiments_are_listed(cli, monkeypatch):
    monkeypatch.setenv("SCALINGAR_LOAD_PLUGINS", "analysis")
    lines = cli("reproduce", "scalingar-2026", "--list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(sweeps.EXPERIMENTS)


def test_the_papers_figures_are_ratios_of_its_own_numbers():
    """By hand, from the abstract's and the tables' numbers."""
    llamagen = paper.OVERALL[0]
    assert llamagen.change("scalingar") == pytest.approx(0.125)
    assert llamagen.change("scalingar-literal") is None
    assert paper.ablated("scalingar-without-token") == pytest.approx(-0.1312, abs=1e-4)
    assert paper.ablated("scalingar-without-intrinsic") is None
