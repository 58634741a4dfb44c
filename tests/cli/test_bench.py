"""`scalingar bench`: from flags or YAML to a store, with a forecast before and an exit code after."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from scalingar_fw.experiments import open_store

TOY = Path(__file__).parents[1] / "experiments" / "toy.py"
SMALL = ("--model", "toy", "--benchmark", "toy", "--limit", 3, "-n", 2)


@pytest.fixture
def bench(cli):
    def call(*arguments: object):
        return cli("bench", "--plugin", TOY, "--executor", "inline", *arguments)

    return call


def events(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_flags_make_a_store_and_the_summary_says_what_is_in_it(bench):
    result = bench(*SMALL, "--strategy", "base", "--strategy", "scalingar", "--out", "runs/a")
    assert result.exit_code == 0, result.stderr
    assert "2 units (base, scalingar), 0 finished already" in result.stderr
    # 2 strategies x 3 items x n = 2 x 16 tokens
    assert "at most 192 tokens" in result.stderr
    assert "100 %  2/2 units" in result.stderr
    assert "2 of 2" in result.stdout and "runs/a" in result.stdout
    assert open_store("runs/a").labels() == ["base", "scalingar"]


def test_yaml_has_the_same_keys_and_flags_win(bench):
    Path("sweep.yaml").write_text(
        yaml.safe_dump(
            {
                "model": "toy",
                "benchmark": "toy",
                "limit": 3,
                "n": [1, 2],
                "seeds": "0-1",
                "strategies": ["base", {"scalingar": {"termination.quantile": 0.3}}],
            }
        )
    )
    result = bench("--config", "sweep.yaml", "--seeds", "5", "--out", "r", "--json")
    assert result.exit_code == 0, result.stderr
    units = [e for e in events(result) if e["event"] == "unit"]
    assert {(u["n"], u["seed"]) for u in units} == {(1, 5), (2, 5)}
    assert {u["label"] for u in units} == {"base", "scalingar termination.quantile=0.3"}


def test_the_folder_alone_goes_on_with_its_sweep(bench):
    first = bench(*SMALL, "--strategy", "base", "--out", "r", "--json")
    again = bench("--out", "r", "--json")
    assert again.exit_code == 0, again.stderr
    assert [e["event"] for e in events(again)] == ["planned", "ended"]
    assert events(again)[-1]["accuracy"] == events(first)[-1]["accuracy"]
    more = bench("--out", "r", "--seeds", "0-2", "--json")
    assert sum(e["event"] == "unit" for e in events(more)) == 2


def test_a_folder_without_a_sweep_cannot_be_gone_on_with(bench):
    result = bench("--out", "nothing")
    assert result.exit_code == 2
    assert "--config FILE, or --strategy NAME" in result.stderr
    assert not Path("nothing").exists()


def test_a_dry_run_prints_units_and_tokens_and_writes_nothing(bench):
    result = bench(*SMALL, "--strategy", "base", "--out", "r", "--dry-run")
    assert result.exit_code == 0, result.stderr
    assert "1 units (base), 0 finished already" in result.stderr
    assert "at most 96 tokens" in result.stderr
    assert not Path("r").exists()


def test_a_budget_stops_cleanly_and_says_so(bench):
    budget = ("--max-tokens", 96)
    result = bench(*SMALL, "--seeds", "0-3", "--strategy", "base", "--out", "r", *budget)
    assert result.exit_code == 0, result.stderr
    assert "1 of 4" in result.stdout and "max_tokens=96: run it again" in result.stdout


def test_units_that_fail_make_the_exit_code_1_and_are_said_once(bench):
    result = bench(*SMALL, "--seeds", "0-3", "--strategy", "fails", "--out", "r")
    assert result.exit_code == 1
    assert result.stderr.count("never chooses") == 1
    assert "4 failed" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--strategy", "bse"), "Did you mean 'base'"),
        (("--strategy", "base", "--seeds", "x"), "seeds='x'"),
        (("--strategy", "base", "--set", "x"), "--set 'x' must have the form"),
        (("--strategy", "base", "--executor", "lokal"), "Did you mean 'local'"),
        (("--strategy", "base", "--tracker", "x"), "Unknown tracker 'x'"),
        (("--strategy", "base", "--max-hours", "0"), "max_hours=0"),
        (("--strategy", "base", "--split", "x"), "Unknown split 'x'"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_code_2(bench, arguments, said):
    result = bench(*SMALL, *arguments, "--out", "r")
    assert result.exit_code == 2, result.stdout
    assert said in result.stderr and "Traceback" not in result.stderr
