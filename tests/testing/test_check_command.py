"""`scalingar check`: what it takes, what it prints, and its exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from scalingar_fw.cli import main
from scalingar_fw.registry import default_registry
from scalingar_fw.testing import check_component
from scalingar_fw.testing.targets import resolve
from scalingar_fw.trust import allowed, only_named

MUTANTS = Path(__file__).with_name("mutants.py")


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["check", *words])


def test_a_registered_name_passes() -> None:
    result = run("entropy", "--kind", "confidence", "--examples", "3")
    assert result.exit_code == 0, result.output
    assert "confidence-finite" in result.output
    assert "22 passed" in result.output


def test_a_broken_component_in_a_file_exits_with_1_and_names_the_counter_example(
    tmp_path: Path,
) -> None:
    words = (f"{MUTANTS}:Cutoff", "--only", "termination-keeps-one", "--out", str(tmp_path))
    result = run(*words, "--json")
    assert result.exit_code == 1
    document = json.loads(result.output)
    assert (document["kind"], document["ok"]) == ("termination", False)
    [found] = document["checks"]
    assert found["status"] == "failed"
    assert "ended the last live candidate of prompt 0" in found["message"]
    again = run(f"{MUTANTS}:Cutoff", "--replay", found["counter_example"])
    assert again.exit_code == 1
    other = run(f"{MUTANTS}:Lowest", "--replay", found["counter_example"])
    assert other.exit_code == 0, other.output


def test_a_file_that_was_named_may_be_named_by_its_configuration() -> None:
    result = run(f"{MUTANTS}:Mean", "--only", "confidence-round-trip", "--json")
    assert result.exit_code == 0, result.output
    [found] = json.loads(result.output)["checks"]
    assert found["status"] == "passed"


def test_what_a_named_thing_is_made_of_is_named_with_it_and_nothing_else_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "a_part_elsewhere.py").write_text(
        "from scalingar_fw import Confidence, ConfidenceEstimator\n"
        "class Part(ConfidenceEstimator):\n"
        "    def update(self, state, signals, step):\n"
        "        return Confidence.of(signals.margin), state\n"
    )
    (tmp_path / "a_whole.py").write_text(
        "from a_part_elsewhere import Part\n"
        "from scalingar_fw import Strategy\n"
        "def whole():\n"
        "    return Strategy('whole', Part())\n"
    )
    with only_named():
        whole = resolve(f"{tmp_path / 'a_whole.py'}:whole", default_registry())
        names = allowed()
        [found] = check_component(whole, only=["confidence.confidence-round-trip"], examples=3)
    assert type(whole.confidence).__name__ == "Part"
    assert names is not None and "a_part_elsewhere" in names and "builtins" not in names
    assert found.status == "passed", found.message


def test_an_import_path_an_object_and_settings() -> None:
    words = ("--examples", "2", "--only", "guidance-bounds", "--json")
    result = run(
        "scalingar_plugins.guidance.adaptive:AdaptiveGuidance", "--set", "window=4", *words
    )
    assert result.exit_code == 0, result.output
    assert "window=4" in json.loads(result.output)["component"]
    nested = run(
        "patience", "--set", "policy=quantile", "--set", "policy.quantile=0.5",
        "--examples", "2", "--only", "termination-keeps-one", "--json",
    )  # fmt: skip
    assert nested.exit_code == 0, nested.output
    assert "QuantileTermination(quantile=0.5" in json.loads(nested.output)["component"]


def test_an_expected_failure_is_declared_with_a_reason(tmp_path: Path) -> None:
    result = run(
        f"{MUTANTS}:Cutoff", "--only", "termination-keeps-one", "--out", str(tmp_path), "--json",
        "--expect", "termination-keeps-one=a cut-off is a cut-off",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    [found] = json.loads(result.output)["checks"]
    assert found["status"] == "expected-failure"
    assert found["message"].startswith("a cut-off is a cut-off (")


def test_a_built_in_declares_what_it_breaks_by_design() -> None:
    result = run("global-multinomial", "--examples", "25", "--json")
    assert result.exit_code == 0, result.output
    expected = [
        c["id"] for c in json.loads(result.output)["checks"] if c["status"] == "expected-failure"
    ]
    assert expected == ["sampler-prompts-apart", "sampler-order", "sampler-take-update"]


def test_the_markdown_table_has_a_badge() -> None:
    result = run("first", "--examples", "2", "--markdown")
    assert result.exit_code == 0, result.output
    first, *_, last = result.output.strip().splitlines()
    assert first.startswith("![contracts kept: 11 of 11](https://img.shields.io/badge/")
    assert first.endswith("-11%2F11-brightgreen)")
    assert last.startswith("| ✓ | `selector-")


def test_a_model_is_checked_as_an_adapter() -> None:
    result = run("scalingar_fw.testing:ReferenceModel", "--json")
    document = json.loads(result.output)
    assert document["kind"] == "model"
    assert "cached-equals-uncached" in [c["id"] for c in document["checks"]]


MODEL = """
from scalingar_fw.testing import ReferenceModel

class Mixed(ReferenceModel):
    def step(self, cache, token, index):
        return super().step(cache, token.flip(0), index)

def load(*, device, dtype=None, weights=None, mixed: bool = False):
    model = (Mixed if mixed else ReferenceModel)(device=device)
    assert weights is None or weights.is_dir()
    return model
"""


def test_a_models_loader_is_checked_with_its_options_and_weights(tmp_path: Path) -> None:
    plugin = tmp_path / "my_model.py"
    plugin.write_text(MODEL)
    target, one = f"{plugin}:load", ("--only", "rows-are-independent", "--json")
    good = run(target, "--set", f"weights={tmp_path}", "--set", "device=cpu", *one)
    assert good.exit_code == 0, good.output
    bad = run(target, "--set", "mixed=true", *one)
    assert bad.exit_code == 1, bad.output
    [found] = json.loads(bad.output)["checks"]
    assert found["status"] == "failed" and found["message"]
    known = run(target, "--set", "mixed=true", "--expect", "rows-are-independent=mixed", *one)
    assert known.exit_code == 0, known.output
    stale = run(target, "--expect", "rows-are-independent=mixed", *one)
    assert stale.exit_code == 1 and "but it passes" in stale.output
    unknown = run(target, "--set", "mixd=true", *one)
    assert unknown.exit_code == 2 and "Did you mean 'mixed'?" in unknown.output


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("quantil", "Did you mean 'quantile'?"),
        ("entropy", "say --kind confidence or --kind guidance"),
        ("nowhere:Thing", "could not be imported"),
        ("nowhere.py:Thing", "does not exist"),
    ],
)
def test_a_target_that_means_nothing_is_refused_in_words(target: str, said: str) -> None:
    result = run(target)
    assert result.exit_code == 2
    assert said in result.output


PLUGIN = """
import torch
from scalingar_fw import Confidence, ConfidenceEstimator, Strategy, hookimpl

class Leaky(ConfidenceEstimator):
    '''Writes into the signals.'''
    def update(self, state, signals, step):
        return Confidence.of(signals.margin.mul_(0.5)), state

@hookimpl
def scalingar_register(registry):
    registry.add("strategy", "leaky", Strategy(name="leaky", confidence=Leaky()), "a broken part")
"""


def test_a_run_with_check_stops_at_a_broken_contract_and_names_it(tmp_path: Path) -> None:
    plugin = tmp_path / "leaky.py"
    plugin.write_text(PLUGIN)
    common = ("--plugin", str(plugin), "--model", "scalingar_fw.testing:ReferenceModel", "-n", "2")

    def generate(strategy: str, *words: str) -> Result:
        words = ("generate", "a red circle", "--strategy", strategy, *common, *words)
        return CliRunner().invoke(main, list(words))

    assert generate("leaky", "--out", str(tmp_path / "silent")).exit_code == 0
    result = generate("leaky", "--check", "--out", str(tmp_path / "loud"))
    assert result.exit_code == 1
    assert "Leaky changed its inputs in place" in result.output
    assert not (tmp_path / "loud").exists(), "nothing is left half-written"


def test_a_run_with_check_gives_the_same_picture_and_configuration(tmp_path: Path) -> None:
    for folder, words in (("plain", ()), ("held", ("--check",))):
        model = ("--model", "scalingar_fw.testing:ReferenceModel", "-n", "3", "--seed", "4")
        given = ("generate", "a red circle", *model, "--out", str(tmp_path / folder), *words)
        result = CliRunner().invoke(main, list(given))
        assert result.exit_code == 0, result.output
    for name in ("image.png", "config.yaml"):
        assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "held" / name).read_bytes()
