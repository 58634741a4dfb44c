"""Every part of these strategies is reached by name: `--set selector.reward=...` and deeper."""

from __future__ import annotations

from typing import Any

import pytest

from scalingar_fw.config.serialization import build, describe
from scalingar_fw.config.settings import override
from scalingar_fw.decoding.loop import decode
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.params import rules
from scalingar_fw.decoding.state import Grid
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.errors import ScalingarError
from scalingar_fw.reading import load_yaml
from scalingar_fw.registry import default_registry
from scalingar_fw.testing import ReferenceModel
from scalingar_plugins.rewards.confidence import LowestGroupConfidence
from scalingar_plugins.rewards.likelihood import SummedPmi
from scalingar_plugins.samplers.truncation import MinP
from scalingar_plugins.termination.quantile import QuantileTermination
from scalingar_plugins.termination.wrappers import Patience, TokenBudget

REGISTRY = default_registry()
KINDS = ("confidence", "guidance", "termination", "sampler", "selector", "reward")
OURS = [e for e in REGISTRY.of_kind(*KINDS) if e.package == "scalingar-fw"]


def made(name: str, **settings: Any) -> Strategy:
    strategy = REGISTRY.get("strategy", name)()
    dotted = {key.replace("__", "."): value for key, value in settings.items()}
    return override(strategy, dotted, REGISTRY)


def test_a_reward_is_chosen_and_set_by_name() -> None:
    assert made("best-of-n", selector__reward="summed-pmi").selector.reward == SummedPmi()  # type: ignore[attr-defined]
    strategy = made(
        "best-of-n",
        confidence="top-token",
        selector__reward="lowest-group",
        selector__reward__window="3",
        selector__reward__share="0.1",
    )
    assert strategy.selector.reward == LowestGroupConfidence(window=3, share=0.1)  # type: ignore[attr-defined]
    result = decode(ReferenceModel(grid=Grid(2, 3)), strategy, [Prompt("a")], n=2)
    assert result.answer().completed


def test_wrappers_nest_by_name() -> None:
    strategy = made(
        "scalingar",
        termination="token-budget",
        termination__budget="3",
        termination__policy="patience",
        termination__policy__policy="quantile",
        termination__policy__policy__quantile="0.3",
    )
    assert strategy.termination == TokenBudget(
        3.0, Patience(policy=QuantileTermination(quantile=0.3))
    )


def test_the_sampler_inside_a_sampler_is_set_by_name() -> None:
    strategy = made("smc", sampler__sampler="min-p", sampler__sampler__min_p="0.1")
    assert strategy.sampler.sampler == MinP(0.1)  # type: ignore[attr-defined]


def test_an_unknown_reward_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(ScalingarError, match="Did you mean 'summed-pmi'"):
        made("best-of-n", selector__reward="sumed-pmi")
    with pytest.raises(ScalingarError, match="Unknown setting .selector.reward.windw"):
        made("best-of-n", selector__reward="tail", selector__reward__windw="3")


@pytest.mark.parametrize("entry", REGISTRY.of_kind("strategy"), ids=lambda e: e.name)
def test_a_strategy_round_trips_through_plain_data(entry: Any) -> None:
    strategy = entry.load()()
    data = describe(strategy, REGISTRY)
    assert build("strategy", data, REGISTRY) == strategy
    text = str(data).replace("'", '"').replace("None", "null")
    again = load_yaml(text.replace("True", "true").replace("False", "false"), "text")
    assert build("strategy", again, REGISTRY) == strategy


@pytest.mark.parametrize("entry", OURS, ids=lambda e: f"{e.kind}-{e.name}")
def test_every_parameter_is_documented(entry: Any) -> None:
    for name, rule in rules(entry.load()).items():
        assert rule.doc, name
    assert entry.summary
    assert (entry.load().__doc__ or "").strip()
