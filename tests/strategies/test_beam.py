"""Beam search against a slow one of a few lines, and its place among prompts and policies."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from attrs import evolve, frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from scalingar_fw.decoding.components import Step, Termination, Verdict
from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.loop import decode
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.result import Decoded, Status
from scalingar_fw.decoding.state import Grid
from scalingar_fw.decoding.strategy import FinalConfidence, Strategy
from scalingar_fw.errors import ScalingarError
from scalingar_fw.testing import ReferenceModel
from scalingar_plugins.confidence.likelihood import LogProbConfidence
from scalingar_plugins.samplers.beam import BeamSampler, DiverseBeamSampler
from scalingar_plugins.samplers.confidence_beam import ConfidenceBeamSampler
from scalingar_strategies.beam import beam
from scalingar_strategies.confidence_beam import confidence_beam
from scalingar_strategies.diverse_beam import diverse_beam

PROMPTS = [Prompt("a"), Prompt("b"), Prompt("c")]
MODEL = ReferenceModel(vocab_size=6, grid=Grid(3, 3), forbidden=2, sharpness=1.0)
T = MODEL.grid.size


def log_p(model: ReferenceModel, prompt: Prompt, history: tuple[int, ...]) -> list[float]:
    cond, uncond = (np.float64(np.float32(x)) for x in model.rule(prompt, history))
    guided = np.asarray(uncond + model.preset.guidance * (cond - uncond))
    start = prompt.key % model.vocab_size
    for k in range(model.forbidden):
        guided[(start + k) % model.vocab_size] = -math.inf
    top = guided.max()
    return list(guided - top - math.log(np.exp(guided - top).sum()))


def slow_search(
    model: ReferenceModel, prompt: Prompt, width: int, branching: int
) -> list[tuple[float, tuple[int, ...]]]:
    """Beam search by the book, one prompt at a time, on the model's own definition."""
    beams: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    for step in range(model.grid.size):
        offers = []
        for score, history in beams:
            line = log_p(model, prompt, history)
            ranked = sorted(range(len(line)), key=lambda v: (-line[v], v))
            for token in ranked[: max(width, branching) if step == 0 else branching]:
                if math.isfinite(line[token]):
                    offers.append((score + line[token], (*history, token)))
        beams = sorted(offers, key=lambda o: -o[0])[:width]
    return beams


@pytest.mark.parametrize(("width", "branching"), [(1, 1), (3, 1), (3, 2), (4, None), (7, 3)])
def test_the_beams_are_those_of_a_search_by_the_book(width: int, branching: int | None) -> None:
    strategy = evolve(beam(), sampler=BeamSampler(branching=branching))
    result = decode(MODEL, strategy, PROMPTS, n=width)
    for number, prompt in enumerate(PROMPTS):
        expected = slow_search(MODEL, prompt, width, branching or width)
        done = [t for t in result.of_prompt(number) if t.completed]
        found = sorted(done, key=lambda t: -t.final("score"))
        assert [tuple(t.tokens.tolist()) for t in found] == [h for _, h in expected]
        np.testing.assert_allclose(
            [t.final("score") for t in found], [s for s, _ in expected], atol=1e-4
        )
        assert result.answer(number) is found[0]


def test_scores_are_the_summed_guided_log_probabilities() -> None:
    result = decode(MODEL, beam(), PROMPTS, n=4)
    for t in result.trajectories:
        summed = np.cumsum(t.signals["log_prob_guided"].astype(np.float64))
        np.testing.assert_allclose(t.signals["score"], summed, atol=1e-4)


@pytest.mark.parametrize("n", [1, 3, 8])
def test_the_width_does_not_depend_on_the_number_of_rows_that_start(n: int) -> None:
    strategy = evolve(beam(), sampler=BeamSampler(width=4))
    result = decode(MODEL, strategy, PROMPTS, n=n)
    reference = decode(MODEL, beam(), PROMPTS, n=4)
    for number in range(3):
        assert (result.answer(number).tokens == reference.answer(number).tokens).all()
        assert sum(t.completed for t in result.of_prompt(number)) == 4
    assert result.ledger.tokens == 3 * 4 * T


STRATEGIES = [
    beam(),
    evolve(beam(), sampler=BeamSampler(branching=2)),
    evolve(diverse_beam(), sampler=DiverseBeamSampler(groups=2)),
    evolve(confidence_beam(), sampler=ConfidenceBeamSampler(every=2, keep=0.4)),
]


def named(result: Decoded, prompt: int) -> list[tuple[int, list[int]]]:
    return [(t.candidate, t.tokens.tolist()) for t in result.of_prompt(prompt)]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_prompts_search_does_not_depend_on_its_company(strategy: Strategy) -> None:
    together = decode(MODEL, strategy, PROMPTS, n=5, seed=2)
    for number, prompt in enumerate(PROMPTS):
        alone = decode(MODEL, strategy, [prompt], n=5, seed=2)
        assert named(together, number) == named(alone, 0)
        assert together.answer(number).candidate == alone.answer().candidate


@pytest.mark.parametrize("strategy", STRATEGIES[:3])
def test_a_search_is_deterministic_whatever_the_seed_and_the_temperature(
    strategy: Strategy,
) -> None:
    hot = evolve(MODEL.preset, temperature=3.0, top_k=2)
    one = decode(MODEL, strategy, PROMPTS, n=4, seed=0)
    other = decode(MODEL, strategy, PROMPTS, n=4, seed=9, sampling=hot)
    assert [named(one, p) for p in range(3)] == [named(other, p) for p in range(3)]


@frozen
class EndSome(Termination):
    """Ends the least confident row of each prompt at the steps in `at`, if two or more live."""

    at: tuple[int, ...] = (2, 5)

    def update(self, state: None, confidence: Confidence, step: Step) -> tuple[Verdict, None]:
        if step.index not in self.at:
            return Verdict(), None
        gone = torch.zeros(len(step.rows), dtype=torch.bool)
        for g in range(len(step.rows.live)):
            rows = (step.rows.group == g).nonzero()[:, 0]
            if len(rows) > 1:
                gone[rows[int(confidence.value[rows].argmin())]] = True
        return Verdict(gone), None


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_row_with_a_final_status_is_never_a_parent_and_pruning_narrows_the_search(
    strategy: Strategy,
) -> None:
    strategy = evolve(strategy, termination=EndSome(), confidence=LogProbConfidence())
    result = decode(evolve(MODEL, forbidden=0), strategy, PROMPTS, n=5)
    pruned = 0
    for number in range(3):
        by_id = {t.candidate: t for t in result.of_prompt(number)}
        for t in by_id.values():
            pruned += t.status is Status.PRUNED
            if t.parent is not None:
                parent = by_id[t.parent]
                assert parent.status is not Status.PRUNED or len(parent) > t.forked_at
                assert (parent.tokens[: t.forked_at] == t.tokens[: t.forked_at]).all()
        assert sum(t.completed for t in by_id.values()) == 3
    assert pruned == 6
    assert result.ledger.tokens == 3 * (5 * 3 + 4 * 3 + 3 * 3)


def test_ties_are_broken_by_candidate_id_then_by_token() -> None:
    flat = ReferenceModel(vocab_size=4, grid=Grid(1, 3), sharpness=0.0)
    result = decode(flat, beam(), PROMPTS[:1], n=3)
    done = {t.candidate: t.tokens.tolist() for t in result.trajectories if t.completed}
    assert list(done.values()) == [[0, 0, 0], [0, 0, 1], [0, 0, 2]]
    assert result.answer().candidate == 0


# --- diverse beams -----------------------------------------------------------------------------


def slow_diverse(
    model: ReferenceModel, prompt: Prompt, widths: list[int], strength: float
) -> list[list[tuple[float, tuple[int, ...]]]]:
    groups: list[list[tuple[float, tuple[int, ...]]]] = [[(0.0, ())] for _ in widths]
    for _ in range(model.grid.size):
        taken = [0] * model.vocab_size
        for g, width in enumerate(widths):
            offers = []
            for score, history in groups[g]:
                for token, value in enumerate(log_p(model, prompt, history)):
                    if math.isfinite(value):
                        penalised = score + value - strength * taken[token]
                        offers.append((penalised, score + value, (*history, token)))
            kept = sorted(offers, key=lambda o: -o[0])[:width]
            groups[g] = [(score, history) for _, score, history in kept]
            for _, history in groups[g]:
                taken[history[-1]] += 1
    return groups


@pytest.mark.parametrize(("groups", "widths"), [(2, [2, 2]), (3, [2, 1, 1]), (4, [1, 1, 1, 1])])
@pytest.mark.parametrize("strength", [0.0, 0.7, 50.0])
def test_groups_search_one_after_the_other_with_a_penalty(
    groups: int, widths: list[int], strength: float
) -> None:
    sampler = DiverseBeamSampler(groups=groups, strength=strength)
    result = decode(MODEL, evolve(diverse_beam(), sampler=sampler), PROMPTS, n=4)
    for number, prompt in enumerate(PROMPTS):
        expected = slow_diverse(MODEL, prompt, widths, strength)
        found = [t for t in result.of_prompt(number) if t.completed]
        assert sorted(tuple(t.tokens.tolist()) for t in found) == sorted(
            history for group in expected for _, history in group
        )
        best = max(score for group in expected for score, _ in group)
        assert result.answer(number).final("score") == pytest.approx(best, abs=1e-4)


def test_a_penalty_makes_the_images_differ() -> None:
    def differences(strength: float) -> float:
        sampler = DiverseBeamSampler(groups=4, strength=strength)
        result = decode(MODEL, Strategy(sampler=sampler), PROMPTS, n=4)
        images = [t.tokens for t in result.of_prompt(0) if t.completed]
        return float(np.mean([(a != b).mean() for a in images for b in images]))

    assert differences(0.0) == 0.0
    assert differences(2.0) > 0.4


def test_more_groups_than_beams_are_refused_before_the_first_token() -> None:
    with pytest.raises(ScalingarError, match="groups=4 needs at least as many beams"):
        decode(MODEL, diverse_beam(), PROMPTS, n=3)


# --- confidence beams --------------------------------------------------------------------------


def test_every_k_steps_the_best_are_forked_over_the_rest() -> None:
    sampler = ConfidenceBeamSampler(every=3, keep=0.4)
    result = decode(MODEL, evolve(confidence_beam(), sampler=sampler), PROMPTS, n=5, seed=4)
    for number in range(3):
        rows = result.of_prompt(number)
        for step in (3, 6):
            before = [t for t in rows if len(t) >= step and t.forked_at < step]
            assert len(before) == 5
            value = {t.candidate: float(t.signals["confidence"][step - 1]) for t in before}
            ranked = sorted(value, key=lambda c: (-value[c], c))
            forks = {t.candidate: t.parent for t in rows if t.forked_at == step}
            dropped = [t.candidate for t in before if len(t) == step]
            assert sorted(dropped) == sorted(ranked[2:])
            # Two are kept of five, so the best has two children more and the second one.
            assert sorted(forks.values()) == sorted([ranked[0], ranked[0], ranked[1]])
        assert sum(t.completed for t in rows) == 5
    assert result.ledger.tokens == 3 * 5 * T


@given(st.integers(1, 7), st.floats(0.05, 1.0), st.integers(1, 10))
@settings(max_examples=20)
def test_the_number_of_rows_stays_what_it_is(n: int, keep: float, every: int) -> None:
    model = evolve(MODEL, grid=Grid(2, 3))
    sampler = ConfidenceBeamSampler(every=every, keep=keep)
    result = decode(model, evolve(confidence_beam(), sampler=sampler), PROMPTS, n=n)
    assert result.ledger.tokens == 3 * n * 6
    assert result.count(Status.COMPLETED) == 3 * n
    if keep == 1.0:
        assert result.count(Status.DROPPED) == 0


def test_the_share_that_is_kept_is_not_rounded_up_by_rounding_errors() -> None:
    sampler = ConfidenceBeamSampler(every=4, keep=0.3)
    result = decode(MODEL, evolve(confidence_beam(), sampler=sampler), PROMPTS[:1], n=10)
    assert sum(len(t) == 4 for t in result.trajectories) == 7


def settings_of_beams() -> list[tuple[Any, str]]:
    return [
        (lambda: BeamSampler(width=0), "width=0 must lie in"),
        (lambda: BeamSampler(branching=0), "branching=0 must lie in"),
        (lambda: DiverseBeamSampler(strength=-1.0), "strength=-1.0 must lie in"),
        (lambda: ConfidenceBeamSampler(keep=0.0), "keep=0.0 must lie in"),
        (lambda: ConfidenceBeamSampler(every=0), "every=0 must lie in"),
    ]


@pytest.mark.parametrize(("make", "message"), settings_of_beams())
def test_settings_out_of_range_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ScalingarError, match=message):
        make()


def test_the_answer_is_the_best_of_the_completed_beams() -> None:
    assert beam().selector == FinalConfidence("score")


def test_dropped_histories_are_whole_though_their_signals_are_not_copied() -> None:
    """Beams are dropped at every step; copies of what they share would grow with T squared."""
    result = decode(MODEL, beam(), [Prompt("a")], n=4)
    by_id = {t.candidate: t for t in result.of_prompt(0)}
    dropped = [t for t in by_id.values() if t.status is Status.DROPPED and len(t)]
    assert len(dropped) > 4
    for t in dropped:
        assert not isinstance(t.signals, dict)
        assert set(t.signals) == set(result.answer().signals) and len(t.signals) > 5
        assert all(len(values) == len(t) for values in t.signals.values())
        parent = by_id[t.parent] if t.parent is not None else t
        for name in ("entropy", "score", "log_prob_guided"):
            shared = t.signals[name][: t.forked_at]
            assert np.array_equal(shared, parent.signals[name][: t.forked_at])
        assert t.signals.get("nothing") is None
        with pytest.raises(ValueError, match="read-only"):
            t.signals["entropy"][0] = 1.0
        steps = t.signals["log_prob_guided"].astype(np.float64)
        assert t.final("score") == pytest.approx(steps.sum(), abs=1e-5)
