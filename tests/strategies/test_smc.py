"""SMC: weights, trigger, schemes, and that the answer follows the target distribution."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from attrs import evolve, frozen
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from scalingar_fw.decoding.components import ConfidenceEstimator, Context, Step
from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.loop import decode
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.result import Decoded, Status
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.signals import Signals
from scalingar_fw.decoding.state import Chosen, Grid
from scalingar_fw.decoding.strategy import FinalConfidence, Strategy
from scalingar_fw.errors import ScalingarError
from scalingar_fw.testing import ReferenceModel
from scalingar_plugins.confidence.drift import PromptDrift
from scalingar_plugins.samplers.beam import BeamSampler
from scalingar_plugins.samplers.confidence_beam import ConfidenceBeamSampler
from scalingar_plugins.samplers.smc import SCHEMES, ParticleSampler, effective_size, resample
from scalingar_strategies.smc import smc

PROMPTS = [Prompt("a"), Prompt("b"), Prompt("c")]
MODEL = ReferenceModel(vocab_size=5, grid=Grid(3, 4))

weights = st.lists(st.floats(-30, 0), min_size=1, max_size=9)


@given(weights, st.sampled_from(sorted(SCHEMES)), st.integers(0, 2**32 - 1))
def test_ancestors_are_sorted_and_particles_without_weight_have_none(
    logs: list[float], scheme: str, seed: int
) -> None:
    logs = [*logs, -math.inf]
    rng = np.random.default_rng(seed)
    ancestors = resample(np.array(logs), scheme, rng.random)
    assert len(ancestors) == len(logs)
    assert (np.diff(ancestors) >= 0).all()
    assert ancestors.max() < len(logs) - 1


@given(weights, st.integers(0, 2**32 - 1), st.floats(-900, 900))
def test_systematic_copies_differ_from_their_expectation_by_less_than_one(
    logs: list[float], seed: int, shift: float
) -> None:
    rng = np.random.default_rng(seed)
    counts = np.bincount(
        resample(np.array(logs) + shift, "systematic", rng.random), minlength=len(logs)
    )
    w = np.exp(np.array(logs) - max(logs))
    expected = len(logs) * w / w.sum()
    assert (np.abs(counts - expected) < 1 + 1e-9).all()


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_every_scheme_gives_the_expected_number_of_copies(scheme: str) -> None:
    w = np.array([0.55, 0.25, 0.15, 0.05])
    rng = np.random.default_rng(0)
    counts = sum(
        np.bincount(resample(np.log(w), scheme, rng.random), minlength=4) for _ in range(4000)
    )
    np.testing.assert_allclose(np.asarray(counts) / 4000, 4 * w, atol=0.05)


def test_the_effective_size_is_the_inverse_of_the_summed_squares() -> None:
    assert effective_size(np.log([0.5, 0.5])) == 2.0
    assert effective_size(np.zeros(7) - 1000) == 7.0
    assert effective_size(np.log([0.8, 0.2])) == pytest.approx(1 / (0.64 + 0.04))
    assert effective_size(np.array([0.0, -math.inf])) == 1.0


@frozen
class Scripted(ConfidenceEstimator):
    """phi from the tokens of a row: a table of running sums, committed with each token."""

    weight: float = 1.0

    def init(self, context: Context) -> Tensor:
        return context.full(0.0)

    def update(self, state: Tensor, signals: Signals, step: Step) -> tuple[Confidence, Tensor]:
        return Confidence.of(state), state

    def commit(
        self, state: Tensor, confidence: Confidence, chosen: Chosen, step: Step
    ) -> tuple[Confidence, Tensor]:
        value = state + self.weight * chosen.token * (step.index + 1)
        return Confidence.of(value), value


def run(n: int = 6, seed: int = 0, model: ReferenceModel = MODEL, **changes: Any) -> Decoded:
    sampler = ParticleSampler(**{"gain": 0.2, **changes})
    strategy = evolve(smc(), confidence=Scripted(), sampler=sampler)
    return decode(model, strategy, PROMPTS, n=n, seed=seed)


def test_weights_telescope_and_start_again_at_a_resampling() -> None:
    result = run()
    fired = 0
    for t in result.trajectories:
        phi = t.signals["phi_confidence"].astype(np.float64)
        gained = np.diff(phi, prepend=0.0) * 0.2
        weight = 0.0
        for step in range(len(t)):
            weight += gained[step]
            if t.signals["resampled"][step]:
                weight, fired = 0.0, fired + 1
            assert t.signals["log_weight"][step] == pytest.approx(weight, abs=1e-5)
    assert fired > 0


def live_at(result: Decoded, prompt: int, step: int) -> list[Any]:
    """The rows of a step: each place of the tree once."""
    return [t for t in result.of_prompt(prompt) if len(t) > step and t.forked_at <= step]


def test_resampling_happens_exactly_where_the_effective_size_is_strictly_below() -> None:
    result = run(threshold=0.6)
    seen = set()
    for prompt, step in itertools.product(range(3), range(1, 12)):
        before = live_at(result, prompt, step - 1)
        now = live_at(result, prompt, step)
        assert len(now) == len(before) == 6
        logs = []
        for t in before:
            later = t if len(t) > step else None
            phi = t.signals["phi_confidence"]
            following = (
                later.signals["phi_confidence"][step]
                if later is not None
                else t.signals["confidence"][-1]
            )
            logs.append(t.signals["log_weight"][step - 1] + 0.2 * (following - phi[step - 1]))
        size = effective_size(np.array(logs))
        due = {bool(t.signals["resampled"][step]) for t in now}
        assert len(due) == 1
        if abs(size - 3.6) > 1e-3:
            assert due == {size < 3.6}
        seen |= due
    assert seen == {False, True}


def test_a_threshold_of_zero_never_resamples_and_leaves_the_draw_to_the_end() -> None:
    result = run(threshold=0.0, gain=5.0)
    assert result.count(Status.DROPPED) == 0
    assert all(not t.signals["resampled"].any() for t in result.trajectories)


def test_every_scheme_keeps_the_number_of_particles_and_the_ledger() -> None:
    for scheme, every in itertools.product(SCHEMES, (1, 5)):
        result = run(scheme=scheme, threshold=1.0, every=every)
        assert result.count(Status.COMPLETED) == 18
        assert result.ledger.tokens == 18 * 12
        forks = [t for t in result.trajectories if t.parent is not None]
        assert forks
        assert all(t.forked_at % every == 0 for t in forks)


@pytest.mark.parametrize(
    ("scheme", "threshold"),
    [("systematic", 0.0), ("systematic", 0.7)] + [(scheme, 1.0) for scheme in SCHEMES],
)
def test_the_answer_follows_the_models_distribution_tilted_by_the_potential(
    scheme: str, threshold: float
) -> None:
    """Two tokens, three steps: eight images whose exact weights are p(x) exp(gain phi(x)); the
    last token's share of phi counts too."""
    model = ReferenceModel(vocab_size=2, grid=Grid(1, 3), branches=1, preset=Sampling())
    gain, prompt = 0.4, PROMPTS[0]
    exact = {}
    for image in itertools.product(range(2), repeat=3):
        log_p = phi = 0.0
        for t, token in enumerate(image):
            line, _ = model.rule(prompt, image[:t])
            log_p += line[token] - np.log(np.exp(line).sum())
            phi += token * (t + 1)
        exact[image] = math.exp(log_p + gain * phi)
    sampler = ParticleSampler(gain=gain, threshold=threshold, scheme=scheme)
    strategy = evolve(smc(), confidence=Scripted(), sampler=sampler)
    counts = dict.fromkeys(exact, 0)
    seeds = range(200)
    result = decode(model, strategy, [prompt] * len(seeds), n=12, seed=seeds)
    for number in range(len(seeds)):
        counts[tuple(result.answer(number).tokens.tolist())] += 1
    total = sum(exact.values())
    expected = np.array([exact[i] / total * len(seeds) for i in exact])
    statistic = ((np.array(list(counts.values())) - expected) ** 2 / expected).sum()
    assert statistic < 24.3  # chi-square, 7 degrees of freedom, 0.1 %


def test_a_prompts_particles_do_not_depend_on_its_company() -> None:
    together = run(seed=5)
    sampler = ParticleSampler(gain=0.2)
    strategy = evolve(smc(), confidence=Scripted(), sampler=sampler)
    for number, prompt in enumerate(PROMPTS):
        alone = decode(MODEL, strategy, [prompt], n=6, seed=5)
        mine = [(t.candidate, t.tokens.tolist()) for t in together.of_prompt(number)]
        assert mine == [(t.candidate, t.tokens.tolist()) for t in alone.trajectories]
        assert together.answer(number).candidate == alone.answer().candidate


def test_any_signal_of_the_estimator_can_be_the_potential() -> None:
    strategy = evolve(smc(), confidence=PromptDrift(), sampler=ParticleSampler("drift"))
    result = decode(MODEL, strategy, PROMPTS, n=3)
    assert "phi_drift" in result.trajectories[0].signals
    with pytest.raises(ScalingarError, match="Unknown signal of the confidence estimator 'drifd'"):
        decode(MODEL, evolve(strategy, sampler=ParticleSampler("drifd")), PROMPTS, n=3)


def test_the_draw_needs_the_weights() -> None:
    with pytest.raises(ScalingarError, match="--set sampler=smc"):
        decode(MODEL, evolve(smc(), sampler=Strategy().sampler), PROMPTS, n=2)


@pytest.mark.parametrize("inner", [BeamSampler(), ConfidenceBeamSampler(every=1)])
def test_a_sampler_that_moves_rows_can_not_draw_the_tokens_inside_another(inner: Any) -> None:
    strategy = Strategy(sampler=ParticleSampler(gain=50.0, sampler=inner), confidence=Scripted())
    with pytest.raises(ScalingarError, match="use (a sampler without|one that does not)"):
        decode(MODEL, strategy, PROMPTS, n=3)


def test_the_highest_potential_can_be_the_answer_instead() -> None:
    strategy = evolve(
        smc(), confidence=Scripted(), sampler=ParticleSampler(gain=0.2), selector=FinalConfidence()
    )
    result = decode(MODEL, strategy, PROMPTS, n=6)
    for number in range(3):
        done = [t for t in result.of_prompt(number) if t.completed]
        assert result.answer(number).final("confidence") == max(t.final("confidence") for t in done)


def test_nothing_reads_global_randomness() -> None:
    torch.manual_seed(1)
    one = run()
    torch.manual_seed(2)
    np.random.seed(3)
    assert [t.tokens.tolist() for t in one.trajectories] == [
        t.tokens.tolist() for t in run().trajectories
    ]
