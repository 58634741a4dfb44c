"""The passive checker: the same results, and a broken contract is named at once."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from scalingar_fw.config.serialization import build
from scalingar_fw.decoding.checked import checked
from scalingar_fw.decoding.loop import decode
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.strategy import FinalConfidence, Strategy
from scalingar_fw.errors import ContractError
from scalingar_fw.registry import default_registry
from scalingar_fw.testing import ReferenceModel
from scalingar_plugins.confidence.drift import PromptDrift


def loaded(file: str) -> Any:
    """The module, which another file of tests may have loaded already."""
    name = f"scalingar_{file}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{file}.py"))
        assert spec is not None and spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


mutants, beyond = loaded("mutants"), loaded("mutants_beyond")

PROMPTS = [Prompt("a red circle"), Prompt("a blue square")]
SCALE = Sampling(guidance=2.0)

#: A broken part in each place, and a piece of the message.
BROKEN = [
    (Strategy(confidence=mutants.OutOfRange()), "OutOfRange: confidence is .* outside its decla"),
    (Strategy(confidence=mutants.Half()), "Half: confidence is torch.float16; signals are float32"),
    (Strategy(confidence=mutants.InPlace()), "InPlace changed its inputs in place"),
    (Strategy(confidence=mutants.Buffer()), "Buffer changed its inputs in place"),
    (Strategy(confidence=mutants.Dropout()), "Dropout draws from the global random stream of tor"),
    (Strategy(confidence=mutants.NumpyNoise()), "NumpyNoise draws from .* numpy.random"),
    (Strategy(confidence=mutants.WrongAxis()), "WrongAxis: a per-candidate entry of its memory"),
    (
        Strategy(confidence=PromptDrift(), guidance=mutants.Infinite()),
        None,  # D is 0.5 at the start and never 0 here: nothing is broken in this run
    ),
    (Strategy(termination=mutants.Cutoff()), "Cutoff ended the last live candidate of prompt 0"),
    (Strategy(termination=mutants.Hasty()), "Hasty ended .* at step 0, but promises .* first 4"),
    (Strategy(termination=mutants.Greedy()), "Greedy left 1 candidates .* promises at least 2"),
    (Strategy(termination=mutants.Undead()), "Undead ends candidates with the status"),
    (Strategy(sampler=mutants.Forbidden()), "Forbidden chose the forbidden token"),
    (Strategy(sampler=mutants.LosesPrompts()), "LosesPrompts continues no row of prompt 1"),
    (Strategy(sampler=mutants.GlobalDraw()), "GlobalDraw draws from the global random stream"),
    (Strategy(confidence=beyond.ShadowsEntropy()), "'entropy' is recorded twice in one step"),
    (Strategy(termination=beyond.TracesScale()), "'scale' is recorded twice in one step"),
    (Strategy(sampler=beyond.TracesEntropy()), "'entropy' is recorded twice in one step"),
    (Strategy(termination=beyond.NoReason()), "NoReason gives the reason ' ': say in a sentence"),
    (
        Strategy(termination=beyond.UnknownField()),
        "UnknownField gives .* can not be filled in .*'threshold'.* Recorded at this step: token",
    ),
    (Strategy(selector=mutants.Coin()), "Coin draws from the global random stream of random"),
    (Strategy(selector=mutants.Sorts()), None),  # sorted already: nothing is broken in this run
]


@pytest.mark.parametrize(
    ("strategy", "message"), BROKEN, ids=lambda v: "" if isinstance(v, Strategy) else str(v)[:12]
)
def test_a_broken_contract_stops_the_run_and_is_named(strategy: Any, message: Any) -> None:
    model = ReferenceModel(vocab_size=8, forbidden=3)
    if message is None:
        decode(model, checked(strategy), PROMPTS, n=4, sampling=SCALE)
        return
    with pytest.raises(ContractError, match=message):
        decode(model, checked(strategy), PROMPTS, n=4, sampling=SCALE)


@pytest.mark.parametrize("name", ["scalingar", "smc", "beam", "confidence-beam", "best-of-n"])
def test_a_checked_strategy_gives_the_same_result(name: str) -> None:
    strategy = build("strategy", name, default_registry())
    plain = decode(ReferenceModel(), strategy, PROMPTS, n=4)
    held = decode(ReferenceModel(), checked(strategy), PROMPTS, n=4)
    assert [t.tokens.tolist() for t in held.trajectories] == [
        t.tokens.tolist() for t in plain.trajectories
    ]
    assert held.chosen == plain.chosen
    assert held.ledger.counts() == plain.ledger.counts()


def test_a_checked_strategy_says_what_it_needs_and_whether_it_is_an_oracle() -> None:
    strategy = Strategy("mine", confidence=mutants.Mean(), selector=FinalConfidence("score"))
    assert checked(strategy).selector.requires == strategy.selector.requires
    assert checked(strategy).label == "mine"
    assert checked(build("strategy", "best-of-n-oracle", default_registry())).oracle
