"""Signals against an independent float64 reference, and logits that would break a naive one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from scalingar_fw.decoding.signals import (
    FLOOR_NATS,
    Signals,
    compute_signals,
    guided_logits,
    log_normalizer,
    sanitize,
)
from scalingar_fw.decoding.state import Logits

Array = np.ndarray[Any, Any]

# A KL divergence is a difference of nearly equal log-probabilities, each rounded to float32 at
# the size of the log-probabilities themselves (up to the logits' range, say 20 nats: 2e-6).
KL_ATOL = 4e-6


def reference(cond: Array, uncond: Array, of: Array | None = None) -> dict[str, Array]:
    """The signals, one row at a time, over the permitted tokens only, in float64.

    `of`: the logits that entropy and margin read, where they are not the conditional ones.
    """
    rows: dict[str, list[float]] = {"entropy_nats": [], "entropy": [], "margin": [], "kl": []}
    for row in range(len(cond)):
        ok = cond[row] > -np.inf
        p_c, p_u = (softmax(x[row][ok].astype(np.float64)) for x in (cond, uncond))
        p = p_c if of is None else softmax(of[row][ok].astype(np.float64))
        nats = -sum(float(q) * math.log(q) for q in p if q > 0)
        best = sorted(p, reverse=True)
        rows["entropy_nats"].append(nats)
        rows["entropy"].append(nats / math.log(len(p)) if len(p) > 1 else 0.0)
        rows["margin"].append(best[0] - best[1] if len(best) > 1 else 1.0)
        rows["kl"].append(
            sum(
                float(a) * (la - lb)
                for a, la, lb in zip(
                    p_c,
                    log_softmax(cond[row][ok].astype(np.float64)),
                    log_softmax(uncond[row][ok].astype(np.float64)),
                    strict=True,
                )
                if a > 0
            )
        )
    return {name: np.array(values) for name, values in rows.items()}


def log_softmax(x: Array) -> Array:
    shifted: Array = x - x.max()
    return shifted - math.log(np.exp(shifted).sum())


def softmax(x: Array) -> Array:
    return np.exp(log_softmax(x))


def check(signals: Signals, expected: dict[str, Array]) -> None:
    for name, values in expected.items():
        found = getattr(signals, name).double().numpy()
        atol = KL_ATOL if name == "kl" else 1e-6
        np.testing.assert_allclose(found, values, rtol=1e-5, atol=atol, err_msg=name)


def clean(cond: Tensor, uncond: Tensor, permitted: Tensor | None = None) -> Logits:
    return sanitize(cond, uncond, permitted)[0]


@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 5),
    vocab=st.sampled_from([1, 2, 3, 17, 1024]),
    size=st.sampled_from([0.0, 1e-3, 1.0, 10.0]),
    forbidden=st.sampled_from([0.0, 0.5, 0.95]),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
)
def test_signals_agree_with_float64(
    seed: int, rows: int, vocab: int, size: float, forbidden: float, dtype: torch.dtype
) -> None:
    rng = np.random.default_rng(seed)
    # Rounded to the model's dtype first: how the model computed its logits is not our error.
    cond, uncond = (
        torch.from_numpy(rng.normal(size=(rows, vocab)) * size).to(dtype) for _ in range(2)
    )
    permitted = torch.from_numpy(rng.random((rows, vocab)) >= forbidden)
    permitted[torch.arange(rows), torch.from_numpy(rng.integers(vocab, size=rows))] = True
    logits = clean(cond, uncond, permitted)
    signals = compute_signals(logits)
    masked = [x.float().masked_fill(~permitted, -math.inf).numpy() for x in (cond, uncond)]
    check(signals, reference(masked[0], masked[1]))
    assert signals.entropy.dtype is torch.float32


@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(-2.0, 8.0))
def test_entropy_and_margin_of_the_guided_distribution_agree_with_float64(
    seed: int, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    cond, uncond = (rng.normal(size=(3, 64)).astype(np.float32) for _ in range(2))
    cond[:, :5] = uncond[:, :5] = -np.inf
    logits = clean(torch.from_numpy(cond), torch.from_numpy(uncond))
    guided = guided_logits(logits, torch.full((3,), scale))
    with np.errstate(invalid="ignore"):
        mixed = uncond.astype(np.float64) + np.float32(scale) * (
            cond.astype(np.float64) - uncond.astype(np.float64)
        )
    mixed[:, :5] = -np.inf
    np.testing.assert_allclose(guided.numpy()[:, 5:], mixed[:, 5:], rtol=1e-5, atol=1e-5)
    assert bool(torch.isneginf(guided[:, :5]).all())
    check(compute_signals(logits, guided), reference(cond, uncond, of=mixed))


# Rows of eight logits that have broken somebody's entropy before.
ADVERSARIAL = {
    "all equal": [0.0] * 8,
    "one-hot": [40.0] + [0.0] * 7,
    "certain beyond float32": [1e4] + [0.0] * 7,
    "huge and shifted": [1e4 + x for x in range(8)],
    "very negative": [-1e4 - x for x in range(8)],
    "two tied at the top": [5.0, 5.0] + [0.0] * 6,
    "only one permitted": [3.0] + [-math.inf] * 7,
    "two permitted, tied": [3.0, 3.0] + [-math.inf] * 6,
    "overflow of exp": [100.0, 90.0, 89.0, 88.0, 0.0, -100.0, -1000.0, -10000.0],
    "float16's largest": [65504.0, -65504.0] + [0.0] * 6,
    "subnormal differences": [1e-40 * x for x in range(8)],
}


@pytest.mark.parametrize("uncond", ADVERSARIAL.values(), ids=ADVERSARIAL.keys())
@pytest.mark.parametrize("cond", ADVERSARIAL.values(), ids=ADVERSARIAL.keys())
def test_adversarial_logits_give_finite_signals_in_their_ranges(
    cond: list[float], uncond: list[float]
) -> None:
    logits = clean(torch.tensor([cond]), torch.tensor([uncond]))
    for scale in (1.0, 0.0, 7.5):
        guided = guided_logits(logits, torch.tensor([scale]))
        assert not bool(torch.isnan(guided).any())
        for signals in (compute_signals(logits), compute_signals(logits, guided)):
            for name in ("entropy_nats", "entropy", "margin", "kl"):
                assert bool(torch.isfinite(getattr(signals, name)).all()), name
            assert 0.0 <= float(signals.entropy) <= 1.0
            assert 0.0 <= float(signals.margin) <= 1.0
            assert float(signals.kl) >= 0.0


def test_known_values() -> None:
    rows = {name: torch.tensor([row]) for name, row in ADVERSARIAL.items()}

    def of(name: str) -> Signals:
        return compute_signals(clean(rows[name], rows["all equal"]))

    assert float(of("all equal").entropy) == pytest.approx(1.0)
    assert float(of("all equal").entropy_nats) == pytest.approx(math.log(8))
    assert float(of("all equal").margin) == 0.0
    assert float(of("all equal").kl) == 0.0
    assert float(of("certain beyond float32").entropy) == 0.0
    assert float(of("certain beyond float32").margin) == 1.0
    assert float(of("certain beyond float32").kl) == pytest.approx(math.log(8))
    assert float(of("two tied at the top").margin) == 0.0


@pytest.mark.parametrize("vocab", [1, 5])
def test_one_permitted_token_has_entropy_zero_and_margin_one(vocab: int) -> None:
    cond = torch.full((1, vocab), -math.inf)
    cond[0, 0] = 2.0
    signals = compute_signals(clean(cond, cond.clone()))
    assert float(signals.entropy) == 0.0
    assert float(signals.entropy_nats) == 0.0
    assert float(signals.margin) == 1.0
    assert float(signals.kl) == 0.0


def test_entropy_is_normalised_by_the_tokens_that_may_be_sampled() -> None:
    cond = torch.zeros(2, 8)
    cond[0, 4:] = -math.inf
    signals = compute_signals(clean(cond, cond.clone()))
    assert signals.entropy_nats.tolist() == pytest.approx([math.log(4), math.log(8)])
    assert signals.entropy.tolist() == pytest.approx([1.0, 1.0])
    assert log_normalizer(None, 8) == math.log(8)


def test_a_model_without_the_unconditional_branch_has_no_divergence() -> None:
    cond = torch.randn(2, 9, generator=torch.Generator().manual_seed(0))
    logits = Logits(cond, cond)
    assert compute_signals(logits).kl.tolist() == [0.0, 0.0]
    assert guided_logits(logits, torch.ones(2)) is cond


def test_scale_one_is_conditional_and_scale_zero_unconditional() -> None:
    cond, uncond = torch.randn(2, 3, 9, generator=torch.Generator().manual_seed(0)).unbind()
    logits = Logits(cond, uncond)
    assert torch.equal(guided_logits(logits, torch.ones(3)), cond)
    assert torch.equal(guided_logits(logits, torch.zeros(3)), uncond)


def test_each_row_has_its_own_scale() -> None:
    logits = Logits(torch.ones(3, 2), torch.zeros(3, 2))
    guided = guided_logits(logits, torch.tensor([0.0, 1.0, 2.5]))
    assert guided[:, 0].tolist() == [0.0, 1.0, 2.5]


def test_a_token_forbidden_in_one_branch_only_is_floored_and_counted() -> None:
    inf = math.inf
    cond = torch.tensor([[1.0, -inf, 0.0, -inf]])
    uncond = torch.tensor([[1.0, 0.5, -inf, -inf]])
    logits, floored = sanitize(cond, uncond, None)
    assert floored == 2
    assert logits.permitted is not None
    assert logits.permitted.tolist() == [[True, True, True, False]]
    assert float(logits.cond[0, 1]) == 1.0 - FLOOR_NATS
    assert float(logits.uncond[0, 2]) == 1.0 - FLOOR_NATS
    assert bool(torch.isneginf(logits.cond[0, 3]) and torch.isneginf(logits.uncond[0, 3]))
    signals = compute_signals(logits)
    assert bool(torch.isfinite(signals.kl).all())
    assert bool(torch.isfinite(guided_logits(logits, torch.tensor([7.5]))[0, :3]).all())
    assert cond.tolist() == [[1.0, -inf, 0.0, -inf]], "the model's tensors are not written"


def test_a_floor_lies_below_every_finite_logit() -> None:
    logits, _ = sanitize(
        torch.tensor([[0.0, -500.0, -math.inf]]), torch.tensor([[0.0, 0.0, 0.0]]), None
    )
    assert float(logits.cond[0, 2]) == -500.0


def test_a_branch_that_forbids_every_permitted_token_says_nothing_about_them() -> None:
    logits, floored = sanitize(torch.full((1, 4), -math.inf), torch.zeros(1, 4), None)
    assert floored == 4
    assert float(compute_signals(logits).entropy) == pytest.approx(1.0)
    assert float(compute_signals(logits).kl) == 0.0


def test_a_mask_forbids_in_both_branches_whatever_the_logits_say() -> None:
    permitted = torch.tensor([[True, False, True]])
    logits, floored = sanitize(torch.zeros(1, 3), torch.zeros(1, 3), permitted)
    assert floored == 0
    for branch in (logits.cond, logits.uncond):
        assert torch.isneginf(branch).tolist() == [[False, True, False]]


def test_finite_logits_pass_through_without_a_mask() -> None:
    cond, uncond = torch.zeros(2, 3), torch.ones(2, 3)
    logits, floored = sanitize(cond, uncond, None)
    assert logits.permitted is None
    assert floored == 0
    assert torch.equal(logits.cond, cond)
    assert torch.equal(logits.uncond, uncond)


def test_chosen_log_probabilities_are_those_of_the_token_under_each_distribution() -> None:
    rng = np.random.default_rng(0)
    cond, uncond = (rng.normal(size=(3, 7)).astype(np.float32) for _ in range(2))
    logits = Logits(torch.from_numpy(cond), torch.from_numpy(uncond))
    guided = guided_logits(logits, torch.full((3,), 2.0))
    token = torch.tensor([6, 0, 3])
    chosen = compute_signals(logits).commit(token, torch.log_softmax(guided, -1))
    for row, t in enumerate(token.tolist()):
        mixed = uncond[row].astype(np.float64) + 2.0 * (cond[row] - uncond[row])
        expected = [log_softmax(x.astype(np.float64))[t] for x in (cond[row], uncond[row], mixed)]
        found = [chosen.log_prob_cond, chosen.log_prob_uncond, chosen.log_prob_guided]
        assert [float(f[row]) for f in found] == pytest.approx(expected, rel=1e-5)


def test_signals_of_a_row_do_not_depend_on_its_neighbours() -> None:
    cond, uncond = torch.randn(2, 6, 50, generator=torch.Generator().manual_seed(0)).unbind()
    together = compute_signals(Logits(cond, uncond))
    for row in range(6):
        alone = compute_signals(Logits(cond[row : row + 1], uncond[row : row + 1]))
        assert float(alone.entropy) == float(together.entropy[row])
        assert float(alone.kl) == float(together.kl[row])
