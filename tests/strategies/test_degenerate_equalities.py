"""Where two methods coincide, they coincide to the last token: the issue's list, one by one."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from attrs import evolve, frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from scalingar_fw.decoding.components import ConfidenceEstimator, Step
from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.loop import decode
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.result import Decoded, Status
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.signals import Signals
from scalingar_fw.decoding.state import Grid
from scalingar_fw.decoding.strategy import ConstantGuidance, FinalConfidence, Strategy
from scalingar_fw.registry import default_registry
from scalingar_fw.testing import ReferenceModel
from scalingar_plugins.confidence.likelihood import EntropyConfidence
from scalingar_plugins.guidance.adaptive import AdaptiveGuidance
from scalingar_plugins.guidance.schedules import (
    CosineGuidance,
    EntropyGuidance,
    IntervalGuidance,
    LinearGuidance,
)
from scalingar_plugins.rewards.confidence import FinalSignal
from scalingar_plugins.samplers.beam import BeamSampler, DiverseBeamSampler
from scalingar_plugins.samplers.confidence_beam import ConfidenceBeamSampler
from scalingar_plugins.samplers.smc import ParticleSampler
from scalingar_plugins.samplers.truncation import EntropyTemperature, MinP
from scalingar_plugins.selectors.rewarded import BestReward

PROMPTS = [Prompt("a red circle"), Prompt("two squares")]
MODEL = ReferenceModel(vocab_size=7, grid=Grid(3, 4), forbidden=2)


def strategy(name: str) -> Strategy:
    made = default_registry().get("strategy", name)()
    assert isinstance(made, Strategy)
    return made


def tokens(result: Decoded) -> list[list[int]]:
    return [t.tokens.tolist() for t in result.trajectories]


def answers(result: Decoded) -> list[list[int]]:
    return [result.answer(p).tokens.tolist() for p in range(len(result.prompts))]


SAMPLING_ONE_BY_ONE = (
    "best-of-n",
    "best-of-n-self-certainty",
    "best-of-n-deepconf",
    "importance-sampling",
    "smc",
    "confidence-beam",
    "scalingar-termination",
)


@pytest.mark.parametrize("name", SAMPLING_ONE_BY_ONE)
def test_one_candidate_under_constant_guidance_is_base(name: str) -> None:
    for seed in range(3):
        one = decode(MODEL, strategy(name), PROMPTS, n=1, seed=seed)
        base = decode(MODEL, strategy("base"), PROMPTS, n=1, seed=seed)
        assert tokens(one) == tokens(base)
        assert one.ledger.counts() == base.ledger.counts()


@pytest.mark.parametrize("name", ["scalingar", "scalingar-termination"])
def test_pruning_quantile_zero_is_best_of_n_by_final_confidence(name: str) -> None:
    method = strategy(name)
    never = evolve(method, termination=evolve(method.termination, quantile=0.0))  # type: ignore[misc]
    best = evolve(
        strategy("best-of-n"),
        confidence=method.confidence,
        guidance=method.guidance,
        selector=BestReward(FinalSignal()),
    )
    for seed in range(3):
        mine = decode(MODEL, never, PROMPTS, n=5, seed=seed)
        theirs = decode(MODEL, best, PROMPTS, n=5, seed=seed)
        assert mine.count(Status.COMPLETED) == 10
        assert tokens(mine) == tokens(theirs)
        assert mine.chosen == theirs.chosen


@pytest.mark.parametrize("sampler", [BeamSampler(1, 1), DiverseBeamSampler(1, 0.5, 1, 1)])
@pytest.mark.parametrize("temperature", [0.0, 0.01, 1.0])
def test_one_beam_that_offers_one_token_is_greedy(sampler: Any, temperature: float) -> None:
    sampling = evolve(MODEL.preset, temperature=temperature)
    greedy = evolve(MODEL.preset, temperature=0.0)
    one = decode(MODEL, Strategy(sampler=sampler), PROMPTS, n=1, sampling=sampling)
    assert tokens(one) == tokens(decode(MODEL, Strategy(), PROMPTS, n=1, sampling=greedy))


def test_greedy_is_what_sampling_tends_to_as_the_temperature_falls() -> None:
    cold = evolve(MODEL.preset, temperature=1e-3)
    one = decode(MODEL, Strategy(), PROMPTS, n=1, sampling=cold)
    assert tokens(one) == tokens(decode(MODEL, Strategy(sampler=BeamSampler(1)), PROMPTS, n=1))


def log_probability(model: ReferenceModel, prompt: Prompt, image: Sequence[int]) -> float:
    """Summed guided log-probability of a whole image, by the definition, in float64."""
    total, scale = 0.0, model.preset.guidance
    for t, token in enumerate(image):
        cond, uncond = (np.float64(np.float32(x)) for x in model.rule(prompt, tuple(image[:t])))
        guided = uncond + scale * (cond - uncond)
        total += guided[token] - np.log(np.exp(guided - guided.max()).sum()) - guided.max()
    return float(total)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_wide_beam_is_exhaustive_search(prompt: Prompt) -> None:
    model = ReferenceModel(vocab_size=3, grid=Grid(2, 2), sharpness=1.0)
    every = {i: log_probability(model, prompt, i) for i in itertools.product(range(3), repeat=4)}
    result = decode(model, strategy("beam"), [prompt], n=3**3)
    best = max(every, key=lambda i: every[i])
    assert tuple(result.answer().tokens.tolist()) == best
    assert result.answer().final("score") == pytest.approx(every[best], abs=1e-5)
    found = sorted((t.final("score") for t in result.trajectories if t.completed), reverse=True)
    assert found == pytest.approx(sorted(every.values(), reverse=True)[:27], abs=1e-5)


@frozen
class Level(ConfidenceEstimator):
    """The same potential for everyone, at every step another one."""

    def update(self, state: None, signals: Signals, step: Step) -> tuple[Confidence, None]:
        return Confidence.of(torch.full_like(signals.entropy, float(step.index**2 % 5))), None


@pytest.mark.parametrize("scheme", ["systematic", "stratified", "multinomial"])
@pytest.mark.parametrize("threshold", [0.5, 1.0])
def test_smc_with_constant_potentials_is_independent_sampling(
    scheme: str, threshold: float
) -> None:
    sampler = ParticleSampler(gain=3.0, threshold=threshold, scheme=scheme)
    smc = evolve(strategy("smc"), confidence=Level(), sampler=sampler)
    result = decode(MODEL, smc, PROMPTS, n=6, seed=1)
    free = decode(MODEL, Strategy(), PROMPTS, n=6, seed=1)
    assert tokens(result) == tokens(free)
    assert result.ledger.counts() == free.ledger.counts()


def test_smc_without_gain_is_independent_sampling_with_a_fair_draw() -> None:
    sampler = ParticleSampler(gain=0.0, threshold=1.0)
    smc = evolve(strategy("smc"), sampler=sampler)
    free = evolve(strategy("importance-sampling"), selector=evolve_tau(1e12))
    for seed in range(4):
        mine, theirs = (decode(MODEL, s, PROMPTS, n=6, seed=seed) for s in (smc, free))
        assert tokens(mine) == tokens(theirs)
        assert mine.chosen == theirs.chosen


def evolve_tau(tau: float) -> Any:
    return evolve(strategy("importance-sampling").selector, tau=tau)  # type: ignore[misc]


def test_importance_sampling_at_low_tau_is_best_of_n() -> None:
    cold = evolve(strategy("importance-sampling"), selector=evolve_tau(1e-9))
    for seed in range(4):
        mine = decode(MODEL, cold, PROMPTS, n=6, seed=seed)
        best = decode(MODEL, strategy("best-of-n"), PROMPTS, n=6, seed=seed)
        assert answers(mine) == answers(best)  # equal images may differ in their candidate's id


scales = st.floats(-3.0, 20.0, allow_nan=False)


@given(scales)
@settings(max_examples=8)
def test_guidance_without_gains_is_constant_at_any_scale(scale: float) -> None:
    model = ReferenceModel(vocab_size=5, grid=Grid(2, 2))
    sampling = Sampling(guidance=scale)
    unified = strategy("scalingar").confidence
    constant = decode(model, Strategy(), PROMPTS, n=2, sampling=sampling)
    neutral: list[tuple[Any, Any]] = [
        (unified, AdaptiveGuidance(alpha=0.0, beta=0.0, gamma=0.0)),
        (EntropyConfidence(), EntropyGuidance(gain=0.0)),
        (unified, LinearGuidance(None, None)),
        (unified, CosineGuidance(None, None, 2.0)),
        (unified, IntervalGuidance(-1)),
    ]
    for confidence, guidance in neutral:
        assert guidance.bounds(sampling)[0] <= scale <= guidance.bounds(sampling)[1]
        same = decode(
            model,
            Strategy(confidence=confidence, guidance=guidance),
            PROMPTS,
            n=2,
            sampling=sampling,
        )
        assert tokens(same) == tokens(constant)
        for mine, theirs in zip(same.trajectories, constant.trajectories, strict=True):
            np.testing.assert_array_equal(mine.signals["scale"], theirs.signals["scale"])


def test_branches_of_a_fork_never_share_noise() -> None:
    """One row, forked into eight at step 1, each then on its own: with noise in common, forks that
    draw from the same distribution would draw the same tokens."""
    flat = ReferenceModel(vocab_size=4096, grid=Grid(4, 4), sharpness=0.0)
    forking = ConfidenceBeamSampler(every=4, keep=0.01)
    result = decode(flat, Strategy(sampler=forking), [PROMPTS[0]], n=8)
    done = [t for t in result.trajectories if t.completed]
    assert len(done) == 8
    for a, b in itertools.combinations(done, 2):
        shared = max(a.forked_at, b.forked_at)
        assert (a.tokens[:12] == b.tokens[:12]).all()
        assert shared == 12
        # Four uniform draws of 4096 tokens: one coincidence in a thousand pairs is chance.
        assert (a.tokens[12:] == b.tokens[12:]).sum() == 0


@pytest.mark.parametrize("sampler", [MinP(0.0), EntropyTemperature(amplitude=0.0, floor=1.0)])
def test_neighbours_of_sampling_have_a_neutral_setting(sampler: Any) -> None:
    for sampling in (MODEL.preset, evolve(MODEL.preset, top_k=3), evolve(MODEL.preset, top_p=0.7)):
        mine = decode(MODEL, Strategy(sampler=sampler), PROMPTS, n=3, sampling=sampling)
        assert tokens(mine) == tokens(decode(MODEL, Strategy(), PROMPTS, n=3, sampling=sampling))


def test_min_p_of_one_and_temperature_zero_are_greedy() -> None:
    greedy = evolve(MODEL.preset, temperature=0.0)
    best = tokens(decode(MODEL, Strategy(), PROMPTS, n=2, sampling=greedy))
    assert tokens(decode(MODEL, Strategy(sampler=MinP(1.0)), PROMPTS, n=2)) == best
    for sampler in (MinP(), EntropyTemperature()):
        cold = decode(MODEL, Strategy(sampler=sampler), PROMPTS, n=2, sampling=greedy)
        assert tokens(cold) == best


def test_one_group_of_a_diverse_search_is_beam_search() -> None:
    one = DiverseBeamSampler(groups=1, strength=9.0)
    diverse = decode(MODEL, evolve(strategy("diverse-beam"), sampler=one), PROMPTS, n=4)
    plain = decode(MODEL, strategy("beam"), PROMPTS, n=4)
    assert tokens(diverse) == tokens(plain)
    assert answers(diverse) == answers(plain)


def test_confidence_beams_that_never_select_are_independent_sampling() -> None:
    late = Strategy(sampler=ConfidenceBeamSampler(every=MODEL.grid.size))
    assert tokens(decode(MODEL, late, PROMPTS, n=4)) == tokens(
        decode(MODEL, Strategy(), PROMPTS, n=4)
    )


def test_scalingars_variants_share_what_they_do_not_switch_off() -> None:
    full = strategy("scalingar")
    assert strategy("scalingar-termination") == evolve(
        full, name="scalingar-termination", guidance=ConstantGuidance()
    )
    scheduler = strategy("scalingar-scheduler")
    assert scheduler.guidance == full.guidance
    assert isinstance(scheduler.selector, FinalConfidence)
    assert decode(MODEL, scheduler, PROMPTS, n=4).count(Status.COMPLETED) == 8
