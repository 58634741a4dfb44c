"""`--option` and `--max-memory`: from the command line to the loader, the loop and the record."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from scalingar_fw.decoding.memory_budget import Cost
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.testing import ReferenceModel

PLUGIN = """
import torch
from attrs import frozen
from scalingar_fw import Strategy, Termination, Verdict, hookimpl
from scalingar_fw.testing import ReferenceModel


class Model(ReferenceModel):
    most = 99

    def prefill(self, conditioning, copies):
        if copies > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().prefill(conditioning, copies)


def load(*, device, dtype=torch.float32, weights=None, flavour: str = "plain", most: int = 99):
    model = Model(device=device, name="toy")
    object.__setattr__(model, "most", most)
    if flavour != "plain":
        object.__setattr__(model, "settings", {"flavour": flavour})
    return model


@frozen
class Comparing(Termination):
    scope = "cohort"

    def update(self, state, confidence, step):
        return Verdict(), None


@hookimpl
def scalingar_register(registry):
    registry.add("model", "toy", load, "a toy")
    registry.add("strategy", "alone", Strategy("alone"), "nothing is compared")
    registry.add("strategy", "together", Strategy("together", termination=Comparing()), "compares")
"""


@pytest.fixture
def run(cli, tmp_path):
    (tmp_path / "toy.py").write_text(PLUGIN)

    def invoke(*words, strategy="alone"):
        return cli("generate", "a", "--plugin", "toy.py", "--model", "toy", "--strategy", strategy,
                   "--device", "cpu", *words)  # fmt: skip

    return invoke


def read(folder: Path):
    record = json.loads((folder / "run.json").read_text())
    return record, yaml.safe_load((folder / "config.yaml").read_text())


def test_an_option_reaches_the_loader_and_the_record_and_the_next_run(run, cli, tmp_path):
    for folder, extra in (("plain", ()), ("mint", ("--option", "flavour=mint"))):
        result = run("-n", 2, *extra, "--out", folder)
        assert result.exit_code == 0, result.output
    (plain, first), (mint, second) = read(tmp_path / "plain"), read(tmp_path / "mint")
    assert plain["model"]["settings"] == {} and mint["model"]["settings"] == {"flavour": "mint"}
    assert "options" not in first and second["options"] == {"flavour": "mint"}
    again = cli("generate", "--plugin", "toy.py", "--config", "mint/config.yaml", "--out", "again")
    assert again.exit_code == 0, again.output
    assert read(tmp_path / "again")[0]["model"]["settings"] == {"flavour": "mint"}


def test_an_option_of_a_loader_that_records_no_settings_changes_the_runs_key(run, tmp_path):
    for folder, most in (("a", 50), ("b", 51)):
        assert run("-n", 2, "--option", f"most={most}", "--out", folder).exit_code == 0
    assert read(tmp_path / "a")[0]["key"] != read(tmp_path / "b")[0]["key"]


def test_a_bad_option_is_one_line_and_leaves_nothing(run, tmp_path):
    result = run("--option", "flavor=mint", "--out", "x")
    assert result.exit_code == 2 and "Did you mean 'flavour'?" in result.stderr
    assert run("--option", "flavour", "--out", "x").exit_code == 2
    assert not (tmp_path / "x").exists()


def test_a_budget_decodes_in_passes_with_the_same_answer(run, cli, tmp_path):
    cost = Cost.of(ReferenceModel(), Strategy("alone"))
    budget = cost.bytes(2)
    assert run("-n", 5, "--out", "whole").exit_code == 0
    assert run("-n", 5, "--max-memory", budget, "--out", "parts").exit_code == 0
    (whole, _), (parts, config) = read(tmp_path / "whole"), read(tmp_path / "parts")
    assert config["passes"] == 3 and "max_memory" not in config
    for key in ("answer", "candidates", "tokens"):
        assert whole[key] == parts[key]
    assert (tmp_path / "whole/image.png").read_bytes() == (
        tmp_path / "parts/image.png"
    ).read_bytes()
    assert whole["key"] != parts["key"], "matrix products round with the batch's shape"
    again = cli("generate", "--plugin", "toy.py", "--config", "parts/config.yaml", "--out", "again")
    assert again.exit_code == 0 and read(tmp_path / "again")[0]["key"] == parts["key"]
    free = cli("generate", "--plugin", "toy.py", "--config", "parts/config.yaml", "--out", "free",
               "--max-memory", "1GiB")  # fmt: skip
    assert free.exit_code == 0 and read(tmp_path / "free")[0]["key"] == whole["key"]


def test_a_budget_may_stand_in_a_file_but_not_beside_passes(run, cli, tmp_path):
    budget = Cost.of(ReferenceModel(), Strategy("alone")).bytes(1)
    text = f"prompt: a\nmodel: toy\nstrategy: alone\nn: 3\nmax_memory: {budget}\n"
    (tmp_path / "c.yaml").write_text(text)
    assert cli("generate", "--plugin", "toy.py", "--config", "c.yaml", "--out", "x").exit_code == 0
    assert read(tmp_path / "x")[1]["passes"] == 3
    (tmp_path / "c.yaml").write_text(text + "passes: 2\n")
    both = cli("generate", "--plugin", "toy.py", "--config", "c.yaml", "--out", "y")
    assert both.exit_code == 2 and "not both" in both.stderr


def test_prompts_share_a_batch_as_far_as_the_budget_goes(cli, run, tmp_path):
    (tmp_path / "p.txt").write_text("a\nb\nc\n")
    budget = 2 * Cost.of(ReferenceModel(), Strategy("alone")).bytes(2)
    result = cli("generate", "--prompts", "p.txt", "--plugin", "toy.py", "--model", "toy", "-n", 2,
                 "--strategy", "alone", "--max-memory", budget, "--out", "x")  # fmt: skip
    assert result.exit_code == 0, result.output
    config = yaml.safe_load((tmp_path / "x/config.yaml").read_text())
    assert config["batch"] == 2 and "passes" not in config


def test_a_strategy_that_compares_is_refused_with_the_arithmetic(run, tmp_path):
    budget = Cost.of(ReferenceModel(), Strategy("alone")).bytes(2)
    result = run("-n", 5, "--max-memory", budget, "--out", "x", strategy="together")
    assert result.exit_code == 2
    said = " ".join(result.stderr.split())
    assert "must be decoded together" in said and "10 caches" in said and "n <= " in said
    assert run("-n", 5, "--max-memory", "lots", "--out", "x").exit_code == 2
    assert not (tmp_path / "x").exists()


def test_memory_that_runs_out_ends_with_the_sum_and_the_way_out(run, tmp_path):
    result = run("-n", 5, "--option", "most=4", "--out", "x")
    said = " ".join(result.stderr.split())
    assert result.exit_code == 2 and "Traceback" not in said
    assert "cpu has not enough memory for 5 candidates of 'toy'" in said
    assert "--max-memory" in said and "--dtype bfloat16" in said
    assert not (tmp_path / "x").exists()
