"""Guidance baselines: the scale of each step, by the formulas."""

from __future__ import annotations

import math
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from scalingar_fw.decoding.loop import decode
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.state import Grid
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.errors import ScalingarError
from scalingar_fw.testing import ReferenceModel
from scalingar_plugins.confidence.drift import PromptDrift
from scalingar_plugins.confidence.likelihood import EntropyConfidence
from scalingar_plugins.guidance.schedules import (
    CosineGuidance,
    EntropyGuidance,
    IntervalGuidance,
    LinearGuidance,
)

MODEL = ReferenceModel(vocab_size=5, grid=Grid(3, 3))  # T = 9
PROMPTS = [Prompt("a"), Prompt("b")]


def scales(guidance: Any, base: float = 3.0, model: ReferenceModel = MODEL) -> list[float]:
    strategy = Strategy(guidance=guidance)
    result = decode(model, strategy, PROMPTS, n=2, sampling=Sampling(guidance=base))
    lines = [t.signals["scale"].tolist() for t in result.trajectories]
    assert all(line == lines[0] for line in lines)
    low, high = guidance.bounds(Sampling(guidance=base))
    assert all(low - 1e-6 <= s <= high + 1e-6 for s in lines[0])
    return lines[0]


def test_linear_goes_in_equal_steps_from_no_guidance_to_the_base_scale() -> None:
    assert scales(LinearGuidance()) == pytest.approx([1 + t / 4 for t in range(9)])
    assert scales(LinearGuidance(None, 1.0)) == pytest.approx([3 - t / 4 for t in range(9)])
    assert scales(LinearGuidance(0.0, 8.0)) == pytest.approx([float(t) for t in range(9)])


def test_cosine_starts_and_ends_flat() -> None:
    expected = [2 - math.cos(math.pi * t / 8) for t in range(9)]
    assert scales(CosineGuidance()) == pytest.approx(expected)
    late = [2 - math.cos(math.pi * (t / 8) ** 3) for t in range(9)]
    assert scales(CosineGuidance(power=3.0)) == pytest.approx(late)


def test_interval_counts_as_llamagen_does() -> None:
    """LlamaGen's first token comes from the prefill and is always guided; its loop index i counts
    from the second one, and guidance is off where i > cfg_interval."""
    for interval in (-1, 0, 3, 7, 50):
        theirs = [3.0]
        for i in range(8):
            off = interval > -1 and i > interval
            theirs.append(1.0 if off else 3.0)
        assert scales(IntervalGuidance(interval)) == theirs
    assert scales(IntervalGuidance()) == [3.0] * 5 + [1.0] * 4


def test_a_single_token_takes_the_first_scale() -> None:
    one = ReferenceModel(vocab_size=5, grid=Grid(1, 1))
    assert scales(LinearGuidance(), model=one) == [1.0]
    assert scales(CosineGuidance(), model=one) == [1.0]
    assert scales(IntervalGuidance(), model=one) == [3.0]


@given(st.floats(-2.0, 3.0), st.floats(0.0, 1.0), st.floats(-1.0, 9.0))
def test_entropy_guidance_follows_the_entropy_within_its_bounds(
    gain: float, pivot: float, base: float
) -> None:
    model = evolve(MODEL, grid=Grid(2, 2))
    strategy = Strategy(confidence=EntropyConfidence(), guidance=EntropyGuidance(gain, pivot))
    result = decode(model, strategy, PROMPTS, n=2, sampling=Sampling(guidance=base))
    for t in result.trajectories:
        for entropy, scale in zip(t.signals["entropy"], t.signals["scale"], strict=True):
            wanted = base * (1 + gain * (float(entropy) - pivot))
            clamped = min(max(wanted, min(1.0, base)), max(1.0, 2 * base))
            assert scale == pytest.approx(clamped, rel=1e-5, abs=1e-5)


def test_a_signal_that_the_estimator_does_not_give_is_named() -> None:
    strategy = Strategy(confidence=PromptDrift(), guidance=EntropyGuidance(signal="drifd"))
    with pytest.raises(ScalingarError, match="Did you mean 'drift'"):
        decode(MODEL, strategy, PROMPTS, n=1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: IntervalGuidance(-2), "cfg_interval=-2 must lie in"),
        (lambda: CosineGuidance(power=0.0), "power=0.0 must lie in"),
        (lambda: LinearGuidance(start=math.inf), "start=inf must be finite"),
    ],
)
def test_settings_out_of_range_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ScalingarError, match=message):
        make()
