"""Eq. 10: s_t = s_base + alpha (1 - D_t) + beta Var(I) - gamma R_t."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import reference_scalingar as slow
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import context, step_at
from torch import Tensor

from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.state import Grid, Rows, take
from scalingar_fw.decoding.strategy import ConstantGuidance
from scalingar_fw.errors import ScalingarError
from scalingar_plugins.guidance.adaptive import AdaptiveGuidance

GRID = Grid(8, 9)


def scalingar(value: Tensor, rebound: Tensor, intrinsic: Tensor, drift: Tensor) -> Confidence:
    return Confidence.of(value, rebound=rebound, intrinsic=intrinsic, drift=drift)


def confidences(seed: int, steps: int, rows: int, rise: float = 0.3) -> list[Confidence]:
    """Random S_t: I and D in [0, 1], rebounds from 0 up."""
    generator = torch.Generator().manual_seed(seed)
    c, r, i, d = torch.rand(4, steps, rows, generator=generator)
    return [scalingar(c[t], rise * r[t], i[t], d[t]) for t in range(steps)]


def one_prompt(n: int) -> Rows:
    return Rows.of([0] * n, range(n), 1)


def play(
    made: AdaptiveGuidance | ConstantGuidance,
    said: list[Confidence],
    guidance: float = 2.0,
    grid: Grid = GRID,
) -> Tensor:
    """The scales `[T, N]`."""
    rows = one_prompt(len(said[0].value))
    state = made.init(context(rows, grid, guidance=guidance))
    out = []
    for t, confidence in enumerate(said):
        scale, state = made.update(state, confidence, step_at(t, grid, rows))
        out.append(scale)
    return torch.stack(out)


def expected(said: list[Confidence], row: int, base: float, **settings: Any) -> list[float]:
    d = [float(c.signals["drift"][row]) for c in said]
    i = [float(c.signals["intrinsic"][row]) for c in said]
    r = [float(c.signals["rebound"][row]) for c in said]
    return slow.scales(d, i, r, base, **settings)


@pytest.mark.parametrize("mode", ["additive", "multiplicative"])
@pytest.mark.parametrize("base", [0.0, 0.5, 1.0, 2.0, 7.5, -1.0])
def test_scales_equal_the_reference(mode: Any, base: float) -> None:
    """Before, while and after the window fills; at ordinary and at odd base scales."""
    said = confidences(0, GRID.size, 5)
    scales = play(AdaptiveGuidance(mode=mode), said, base)
    for row in range(5):
        series = expected(said, row, base, mode=mode)
        np.testing.assert_allclose(scales[:, row], series, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("window", [1, 2, 7, 32, 1000])
def test_the_volatility_is_that_of_the_last_steps_only(window: int) -> None:
    said = confidences(1, GRID.size, 3)
    wide = {"alpha": 0.0, "beta": 40.0, "gamma": 0.0, "s_max": 100.0}
    scales = play(AdaptiveGuidance(window=window, **wide), said)  # type: ignore[arg-type]
    for row in range(3):
        series = expected(said, row, 2.0, window=window, **wide)
        np.testing.assert_allclose(scales[:, row], series, rtol=1e-5, atol=1e-6)


def test_each_term_by_hand() -> None:
    """s_base = 2; D = 0.25, R = 0.5; I = 0.2 then 0.6, whose population variance is 0.04."""
    one = torch.ones(1)
    said = [scalingar(one, 0.5 * one, x * one, 0.25 * one) for x in (0.2, 0.6)]
    for gains, first, second in [
        ({"alpha": 0.3, "beta": 0.4, "gamma": 0.4}, 2 + 0.225 - 0.2, 2 + 0.225 + 0.016 - 0.2),
        ({"alpha": 0.3, "beta": 0.0, "gamma": 0.0}, 2.225, 2.225),
        ({"alpha": 0.0, "beta": 0.4, "gamma": 0.0}, 2.0, 2.016),
        ({"alpha": 0.0, "beta": 0.0, "gamma": 0.4}, 1.8, 1.8),
    ]:
        scales = play(AdaptiveGuidance(**gains), said)[:, 0]  # type: ignore[arg-type]
        np.testing.assert_allclose(scales, [first, second], rtol=1e-6)
    multiplied = play(AdaptiveGuidance(mode="multiplicative"), said)[:, 0]
    np.testing.assert_allclose(multiplied, [2 * 1.025, 2 * 1.041], rtol=1e-6)


@pytest.mark.parametrize("mode", ["additive", "multiplicative"])
@pytest.mark.parametrize("base", [0.0, 0.3, 1.0, 1.7, 7.5])
def test_without_gains_it_is_constant_guidance(mode: Any, base: float) -> None:
    """To the last bit."""
    said = confidences(2, GRID.size, 4)
    none = AdaptiveGuidance(alpha=0.0, beta=0.0, gamma=0.0, mode=mode)
    assert torch.equal(play(none, said, base), play(ConstantGuidance(), said, base))


@given(
    seed=st.integers(0, 1000),
    base=st.floats(-3, 10),
    gains=st.tuples(*[st.floats(0, 50)] * 3),
    rise=st.floats(0, 1e6),
)
@settings(max_examples=25)
def test_scales_stay_in_their_bounds(
    seed: int, base: float, gains: tuple[float, float, float], rise: float
) -> None:
    """However large a gain or a rebound from a minimum near 0 is."""
    made = AdaptiveGuidance(*gains, window=4)
    low, high = made.bounds(Sampling(guidance=base))
    assert low == min(1.0, base) and high == max(1.0, 2 * base)
    scales = play(made, confidences(seed, 12, 3, rise), base)
    assert bool(torch.isfinite(scales).all())
    assert bool((scales >= np.float32(low)).all()) and bool((scales <= np.float32(high)).all())


def test_bounds_can_be_chosen() -> None:
    said = confidences(3, GRID.size, 4)
    made = AdaptiveGuidance(alpha=5.0, gamma=9.0, s_min=1.9, s_max=2.2)
    scales = play(made, said)
    assert made.bounds(Sampling(guidance=2.0)) == (1.9, 2.2)
    assert float(scales.min()) == np.float32(1.9) and float(scales.max()) == np.float32(2.2)


@given(seed=st.integers(0, 1000), window=st.integers(1, 6), data=st.data())
@settings(max_examples=25)
def test_memory_follows_its_rows(seed: int, window: int, data: st.DataObject) -> None:
    """Taking rows (a subset, another order, duplicates) before or after a step is the same; a
    step reads the past only, and changes no input."""
    made = AdaptiveGuidance(window=window)
    said = confidences(seed, 10, 4)
    cut = data.draw(st.integers(0, 9))
    picked = torch.tensor(data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=6)))
    whole = play(made, said)
    rows = one_prompt(4)
    state = made.init(context(rows, GRID))
    for t in range(cut):
        scale, state = made.update(state, said[t], step_at(t, GRID, rows))
        assert torch.equal(scale, whole[t])
    kept = None if state.history is None else state.history.clone()
    moved, few = take(state, picked), one_prompt(len(picked))
    for t in range(cut, 10):
        scale, moved = made.update(moved, take(said[t], picked), step_at(t, GRID, few))
        assert torch.equal(scale, whole[t, picked])
    assert kept is None or (state.history is not None and torch.equal(state.history, kept))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": -0.1}, r"alpha=-0.1 must lie in \[0, inf\): gain of 1 - D"),
        ({"beta": float("nan")}, "beta=nan must be finite: gain of Var"),
        ({"window": 0}, r"window=0 must lie in \[1, inf\): steps of the candidate's own I"),
        ({"window": 2.5}, "window=2.5 must be a whole number"),
        ({"mode": "both"}, "mode='both' must be one of 'additive', 'multiplicative'"),
        ({"s_min": 3.0, "s_max": 2.0}, "s_min=3.0 must not be above s_max=2.0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: Any, message: str) -> None:
    with pytest.raises(ScalingarError, match=message):
        AdaptiveGuidance(**settings)


def test_a_lower_bound_above_the_implied_upper_one_is_refused_before_the_first_token() -> None:
    with pytest.raises(ScalingarError, match=r"s_min=5 is above s_max=3 at guidance=1\.5"):
        AdaptiveGuidance(s_min=5.0).init(context(one_prompt(2), GRID, guidance=1.5))
