"""Rewards: each equal to its definition, on recorded decodes and by hand."""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from attrs import evolve

from scalingar_fw.benchmark import Item
from scalingar_fw.decoding.components import Pool, Reward, Selector
from scalingar_fw.decoding.loop import decode, to_images
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.result import Status, Trajectory
from scalingar_fw.decoding.signals import compute_signals
from scalingar_fw.decoding.state import Grid, Logits
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.errors import ContractError, ScalingarError
from scalingar_fw.registry import Registry, default_registry
from scalingar_fw.testing import ReferenceModel
from scalingar_plugins.confidence.certainty import (
    SelfCertainty,
    TopTokenConfidence,
    self_certainty,
    top_confidence,
)
from scalingar_plugins.confidence.likelihood import LogProbConfidence
from scalingar_plugins.models.shapes.grammar import parse
from scalingar_plugins.models.shapes.scenes import render, sample_scene
from scalingar_plugins.rewards import images
from scalingar_plugins.rewards.confidence import (
    FinalSignal,
    LowestGroupConfidence,
    MeanSignal,
    TailConfidence,
)
from scalingar_plugins.rewards.images import ImageReward, OracleReward
from scalingar_plugins.rewards.likelihood import (
    LowestWindowLogProb,
    MeanLogProb,
    SelfCertaintyReward,
    SummedPmi,
)
from scalingar_plugins.selectors.rewarded import BestReward, RewardDraw, draw

CAT = Prompt("a cat")
MODEL = ReferenceModel(vocab_size=6, grid=Grid(2, 3), forbidden=2)


def candidate(number: int, **signals: Sequence[float]) -> Trajectory:
    length = len(next(iter(signals.values())))
    arrays = {k: np.array(v, dtype=np.float32) for k, v in signals.items()}
    tokens = np.zeros(length, dtype=np.int64)
    return Trajectory(0, number, Status.COMPLETED, "", tokens, arrays)


def pool(*candidates: Trajectory, seed: int = 0) -> Pool:
    return Pool(CAT, candidates, seed)


HAND = pool(
    candidate(
        0,
        log_prob_cond=[-1, -2, -3, -6],
        log_prob_uncond=[-2, -2, -2, -2],
        log_prob_guided=[-1, -1, -1, -1],
        confidence=[0.1, 0.2, 0.6, 0.3],
        token_confidence=[4, 2, 6, 8],
        self_certainty=[1, 2, 3, 2],
    )
)


@pytest.mark.parametrize(
    ("reward", "expected"),
    [
        (MeanLogProb(), -3.0),
        (MeanLogProb("guided"), -1.0),
        (MeanLogProb("unconditional"), -2.0),
        (SummedPmi(), -4.0),
        (LowestWindowLogProb(1), -6.0),
        (LowestWindowLogProb(2), -4.5),
        (LowestWindowLogProb(99), -3.0),
        (LowestWindowLogProb(2, "unconditional"), -2.0),
        (FinalSignal(), 0.3),
        (MeanSignal(), 0.3),
        (FinalSignal("token_confidence"), 8.0),
        (SelfCertaintyReward(), 2.0),
        (LowestGroupConfidence(window=2), 3.0),
        (LowestGroupConfidence(window=2, share=0.5), 3.5),
        (LowestGroupConfidence(window=2, share=1.0), 14 / 3),
        (TailConfidence(window=2), 7.0),
        (TailConfidence(window=99), 5.0),
    ],
)
def test_a_reward_is_its_definition(reward: Reward, expected: float) -> None:
    assert reward.score(HAND).tolist() == pytest.approx([expected])


def test_a_signal_that_was_not_recorded_is_an_error_with_its_name() -> None:
    with pytest.raises(ScalingarError, match="'self_certainty' is not recorded for candidate 3"):
        SelfCertaintyReward().score(pool(candidate(3, confidence=[0.5])))
    with pytest.raises(ScalingarError, match="not a finite number at every token"):
        MeanSignal().score(pool(candidate(0, confidence=[0.5, math.nan])))


@pytest.mark.parametrize(
    ("reward", "setting"),
    [
        (SelfCertaintyReward(), "confidence=self-certainty"),
        (LowestGroupConfidence(), "confidence=top-token"),
        (TailConfidence(), "confidence=top-token"),
    ],
)
@pytest.mark.parametrize("selector", [BestReward, RewardDraw])
def test_a_reward_without_its_estimator_is_refused_with_the_setting_that_helps(
    reward: Reward, setting: str, selector: type[Any]
) -> None:
    with pytest.raises(ScalingarError, match=setting):
        decode(MODEL, Strategy(selector=selector(reward)), [CAT], n=2)
    name = setting.split("=")[1]
    estimator = default_registry().get("confidence", name)()
    result = decode(MODEL, Strategy(confidence=estimator, selector=selector(reward)), [CAT], n=2)
    assert result.answer().completed


def logits(values: list[list[float]], forbid: int = 0) -> Logits:
    cond = torch.tensor(values)
    permitted = None
    if forbid:
        permitted = torch.ones_like(cond, dtype=torch.bool)
        permitted[:, -forbid:] = False
        cond = cond.masked_fill(~permitted, -math.inf)
    return Logits(cond, cond, permitted)


@pytest.mark.parametrize("forbid", [0, 2])
def test_self_certainty_is_the_divergence_from_uniform_over_permitted_tokens(forbid: int) -> None:
    values = [[1.0, 0.0, -2.0, 3.0, 0.5], [0.0] * 5, [80.0, 0.0, 0.0, 0.0, 0.0]]
    signals = compute_signals(logits(values, forbid))
    for row, line in enumerate(values):
        kept = np.array(line[: 5 - forbid])
        p = np.exp(kept - kept.max()) / np.exp(kept - kept.max()).sum()
        expected = np.mean(np.log(1.0 / len(p)) - np.log(p))
        assert self_certainty(signals)[row].item() == pytest.approx(expected, rel=1e-5, abs=1e-6)
    one = compute_signals(logits([[3.0, 1.0, 2.0]], 2))
    assert self_certainty(one).item() == 0.0


@pytest.mark.parametrize("forbid", [0, 3])
def test_token_confidence_is_minus_the_mean_of_the_highest_log_probabilities(forbid: int) -> None:
    signals = compute_signals(logits([[1.0, 0.0, -2.0, 3.0, 0.5]], forbid))
    kept = np.array([1.0, 0.0, -2.0, 3.0, 0.5][: 5 - forbid])
    log_p = np.sort(kept - np.log(np.exp(kept).sum()))[::-1]
    assert top_confidence(signals, 3).item() == pytest.approx(-log_p[:3].mean(), rel=1e-5)
    assert top_confidence(signals, 99).item() == pytest.approx(-log_p.mean(), rel=1e-5)


@pytest.mark.parametrize(
    ("estimator", "reward"),
    [
        (SelfCertainty(), SelfCertaintyReward()),
        (TopTokenConfidence(3), MeanSignal("token_confidence")),
        (LogProbConfidence(), MeanLogProb()),
        (LogProbConfidence("guided"), MeanLogProb("guided")),
    ],
)
def test_an_estimators_last_value_is_the_mean_of_what_it_recorded(
    estimator: Any, reward: Reward
) -> None:
    strategy = Strategy(confidence=estimator, selector=BestReward(reward))
    result = decode(MODEL, strategy, [CAT], n=3)
    made = Pool(CAT, result.trajectories, 0)
    np.testing.assert_allclose(FinalSignal().score(made), reward.score(made), rtol=1e-5)


def test_the_summed_log_probability_adds_up() -> None:
    result = decode(MODEL, Strategy(confidence=LogProbConfidence(total=True)), [CAT], n=3)
    for t in result.trajectories:
        assert t.final("confidence") == pytest.approx(t.signals["log_prob_cond"].sum(), rel=1e-5)


# --- selectors ---------------------------------------------------------------------------------


def test_the_best_reward_wins_and_ties_go_to_the_lower_id() -> None:
    made = pool(candidate(5, x=[1]), candidate(2, x=[3]), candidate(1, x=[3]), candidate(0, x=[2]))
    assert BestReward(FinalSignal("x")).select(made) == 2


def test_a_draw_follows_its_weights_and_not_the_order_of_the_pool() -> None:
    weights = np.array([0.5, 0.3, 0.2, 0.0])
    with np.errstate(divide="ignore"):
        logs = np.log(weights) + 700.0  # in log space, so that nothing overflows
    candidates = [candidate(i, x=[0.0]) for i in range(4)]
    counts = np.zeros(4)
    order = [2, 0, 3, 1]
    for seed in range(3000):
        picked = draw(logs, Pool(CAT, candidates, seed))
        shuffled = Pool(CAT, [candidates[i] for i in order], seed)
        assert order[draw(logs[order], shuffled)] == picked
        counts[picked] += 1
    assert counts[3] == 0
    expected = weights[:3] * 3000
    assert ((counts[:3] - expected) ** 2 / expected).sum() < 13.8  # chi-square, 2 dof, 0.1 %


def test_importance_weights_are_the_exponential_of_the_reward_over_tau() -> None:
    rewards = np.array([-1.0, -1.2, -1.1])
    made = [candidate(i, x=[r]) for i, r in enumerate(rewards)]
    selector = RewardDraw(FinalSignal("x"), tau=0.1)
    counts = np.bincount(
        [selector.select(Pool(CAT, made, seed)) for seed in range(3000)], minlength=3
    )
    expected = np.exp(rewards / 0.1) / np.exp(rewards / 0.1).sum() * 3000
    assert ((counts - expected) ** 2 / expected).sum() < 13.8


def test_the_draw_depends_on_seed_and_prompt_alone() -> None:
    made = [candidate(i, x=[0.0]) for i in range(8)]
    selector = RewardDraw(FinalSignal("x"))
    one = [selector.select(Pool(CAT, made, seed)) for seed in range(20)]
    torch.manual_seed(1)
    np.random.seed(1)
    assert one == [selector.select(Pool(CAT, made, seed)) for seed in range(20)]
    assert one != [selector.select(Pool(Prompt("a dog"), made, seed)) for seed in range(20)]


# --- rewards that look -------------------------------------------------------------------------


def brightness(prompts: Sequence[str], pictures: np.ndarray[Any, Any]) -> list[float]:
    assert list(prompts) == ["a cat"] * len(pictures)
    assert pictures.dtype == np.uint8
    assert pictures.ndim == 4
    return [float(p.mean()) for p in pictures]


class Scorer:
    def __call__(self, prompts: Sequence[str], pictures: np.ndarray[Any, Any]) -> list[float]:
        return [-b for b in brightness(prompts, pictures)]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> str:
    made = types.ModuleType("scorers_for_tests")
    made.brightness, made.Scorer, made.number = brightness, Scorer, 3  # type: ignore[attr-defined]
    made.nan = lambda prompts, pictures: [math.nan] * len(pictures)  # type: ignore[attr-defined]
    made.short = lambda prompts, pictures: [0.0]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "scorers_for_tests", made)
    images._load_scorer.cache_clear()
    return "scorers_for_tests"


def test_an_external_reward_sees_prompts_and_images(module: str) -> None:
    for name, sign in (("brightness", 1), ("Scorer", -1)):
        reward = ImageReward(f"{module}:{name}")
        result = decode(MODEL, Strategy(selector=BestReward(reward)), [CAT], n=4)
        light = [p.mean() for p in to_images(MODEL, result.trajectories)]
        assert result.chosen[0] == int(np.argmax(np.array(light) * sign))


@pytest.mark.parametrize(
    ("scorer", "message"),
    [
        ("", "needs its scorer"),
        ("no.such.module:f", "could not be loaded"),
        ("{}:nothing", "could not be loaded"),
        ("{}:number", "is no function"),
        ("plain", "could not be loaded"),
    ],
)
def test_a_bad_scorer_is_refused_before_the_first_token(
    module: str, scorer: str, message: str
) -> None:
    strategy = Strategy(selector=BestReward(ImageReward(scorer.format(module))))
    with pytest.raises(ScalingarError, match=message):
        decode(MODEL, strategy, [CAT], n=2)


@pytest.mark.parametrize("name", ["nan", "short"])
def test_a_scorer_that_gives_no_number_for_an_image_is_caught(module: str, name: str) -> None:
    with pytest.raises(ContractError, match="one finite number for each"):
        decode(MODEL, Strategy(selector=BestReward(ImageReward(f"{module}:{name}"))), [CAT], n=2)


def test_the_oracle_is_the_benchmarks_judge_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class Judge:
        name, splits = "lamp", ("test",)

        def items(self, split: str) -> list[Item]:
            return [Item(CAT, "bright", "cat")]

        def score(self, items: Sequence[Item], pictures: np.ndarray[Any, Any]) -> list[float]:
            assert [i.prompt for i in items] == [CAT] * len(pictures)
            return brightness([i.prompt.text for i in items], pictures)

    registry = Registry()
    registry.add("benchmark", "lamp", Judge)
    monkeypatch.setattr(images, "default_registry", lambda: registry)
    strategy = Strategy("best", selector=BestReward(OracleReward("lamp")))
    result = decode(MODEL, strategy, [CAT], n=4)
    light = [p.mean() for p in to_images(MODEL, result.trajectories)]
    assert result.chosen[0] == int(np.argmax(light))
    assert strategy.oracle
    assert strategy.label == "best (oracle)"
    assert not evolve(strategy, selector=BestReward()).oracle


def test_the_oracle_picks_the_picture_that_is_right() -> None:
    asked = Prompt("a red circle left of a blue square")
    rng = np.random.default_rng(0)
    wrong = ("a blue square left of a red circle", "a red circle", "a red square left of a circle")
    shown = [render(sample_scene(parse(p), rng)) for p in (*wrong, asked.text)]
    made = Pool(asked, [candidate(i, x=[0.0]) for i in range(4)], 0, lambda _: np.stack(shown))
    assert OracleReward().score(made).tolist() == [0.0, 0.0, 0.0, 1.0]
    assert BestReward(OracleReward()).select(made) == 3


def test_an_unknown_benchmark_is_refused_before_the_first_token() -> None:
    strategy = Strategy(selector=BestReward(OracleReward("shape")))
    with pytest.raises(ScalingarError, match="Did you mean 'shapes'"):
        decode(MODEL, strategy, [CAT], n=2)


def test_an_oracle_needs_a_benchmark_that_is_judged_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCALINGAR_GENEVAL_DETECTOR", raising=False)
    monkeypatch.delenv("SCALINGAR_GENEVAL_CLIP", raising=False)
    strategy = Strategy(selector=BestReward(OracleReward("geneval")))
    with pytest.raises(ScalingarError, match="not judged here.*scalingar export"):
        decode(MODEL, strategy, [CAT], n=2)


def test_rewards_and_selectors_are_components() -> None:
    registry = default_registry()
    for entry in registry.of_kind("reward"):
        assert isinstance(entry.load()(), Reward)
    for entry in registry.of_kind("selector"):
        assert isinstance(entry.load()(), Selector)
