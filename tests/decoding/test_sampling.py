"""From guided logits and one uniform number to one token."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from scalingar_fw.decoding.noise import Prompt, uniforms
from scalingar_fw.decoding.sampling import Sampling, inverse_cdf, keep_top_k, keep_top_p, truncate
from scalingar_fw.errors import ScalingarError

BELOW_ONE = 1.0 - 2.0**-53  # the largest number that the generator gives


def kept(logits: Tensor) -> list[list[int]]:
    return [torch.isfinite(row).nonzero()[:, 0].tolist() for row in logits]


def log(*p: float) -> Tensor:
    return torch.tensor([p]).log()


def test_top_k_keeps_the_k_highest() -> None:
    assert kept(keep_top_k(torch.tensor([[1.0, 4.0, 2.0, 3.0]]), 2)) == [[1, 3]]


def test_top_k_keeps_ties_with_the_last_one() -> None:
    assert kept(keep_top_k(torch.tensor([[3.0, 1.0, 2.0, 2.0, 2.0]]), 2)) == [[0, 2, 3, 4]]


@pytest.mark.parametrize("k", [0, 4, 5])
def test_top_k_of_nothing_or_everything_keeps_all(k: int) -> None:
    logits = torch.tensor([[1.0, 4.0, 2.0, 3.0]])
    assert keep_top_k(logits, k) is logits


def test_top_k_never_brings_a_forbidden_token_back() -> None:
    logits = torch.tensor([[1.0, -math.inf, -math.inf, 0.0]])
    assert kept(keep_top_k(logits, 3)) == [[0, 3]]


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        (1e-9, [0]),  # never empty
        (0.45, [0]),
        (0.55, [0, 1]),
        (0.85, [0, 1, 2]),
        (0.95, [0, 1, 2, 3]),
        (1.0, [0, 1, 2, 3]),
    ],
)
def test_top_p_keeps_the_first_token_that_passes_the_threshold(
    p: float, expected: list[int]
) -> None:
    assert kept(keep_top_p(log(0.5, 0.3, 0.125, 0.075), p)) == [expected]


def test_top_p_works_in_any_order_of_the_vocabulary() -> None:
    assert kept(keep_top_p(log(0.1, 0.6, 0.3), 0.7)) == [[1, 2]]


def test_truncation_is_temperature_then_top_k_then_top_p() -> None:
    # At temperature 2 the two best have 0.59 and 0.41 among themselves: top-p = 0.5 keeps one;
    # top-p before top-k would have kept two of the four.
    logits = log(0.5, 0.25, 0.15, 0.1)
    out = truncate(logits, Sampling(temperature=2.0, top_k=2, top_p=0.5))
    assert kept(out) == [[0]]
    assert float(out[0, 0]) == pytest.approx(math.log(0.5) / 2)


def test_the_default_truncates_nothing() -> None:
    logits = torch.randn(2, 5)
    assert truncate(logits, Sampling()) is logits


@pytest.mark.parametrize("temperature", [1e-3, 1e-30, 5e-324])
def test_a_vanishing_temperature_picks_the_most_likely_token(temperature: float) -> None:
    out = truncate(torch.tensor([[1.0, 3.0, 2.0]]), Sampling(temperature=temperature))
    assert out.softmax(-1).tolist() == [[0.0, 1.0, 0.0]]


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": -0.1},
        {"top_k": -1},
        {"top_k": 1.5},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"guidance": math.nan},
        {"guidance": math.inf},
    ],
)
def test_impossible_settings_are_refused(values: dict[str, float]) -> None:
    (name,) = values
    with pytest.raises(ScalingarError, match=f"^{name}="):
        Sampling(**values)  # type: ignore[arg-type]


def draw(probability: Tensor, u: float) -> int:
    return int(inverse_cdf(probability, torch.tensor([u], dtype=torch.float64)))


def test_the_inverse_cdf_is_right_continuous() -> None:
    p = torch.tensor([[0.25, 0.5, 0.25]])
    drawn = [draw(p, u) for u in (0.0, 0.2499, 0.25, 0.7499, 0.75, BELOW_ONE)]
    assert drawn == [0, 0, 1, 1, 2, 2]


@given(
    weights=st.lists(
        st.just(0.0) | st.floats(2.0**-100, 2.0**10, width=32), min_size=1, max_size=12
    ).filter(any),
    u=st.floats(0, BELOW_ONE) | st.sampled_from([0.0, BELOW_ONE, 0.5]),
)
def test_a_token_without_probability_is_never_drawn(weights: list[float], u: float) -> None:
    token = draw(torch.tensor([weights]), u)
    assert weights[token] > 0


def test_the_ends_of_the_noise_meet_forbidden_tokens_at_the_ends_of_the_vocabulary() -> None:
    p = torch.tensor([[0.0, 0.0, 1.0, 1.0, 0.0, 0.0]])
    assert draw(p, 0.0) == 2
    assert draw(p, BELOW_ONE) == 3


def test_rounding_past_the_sum_gives_the_last_permitted_token() -> None:
    p = torch.zeros(1, 16384)
    p[0, :10_000] = 1.0 / 3.0
    assert draw(p, BELOW_ONE) == 9_999


def test_probabilities_need_no_normalisation() -> None:
    assert draw(torch.tensor([[3.0, 5.0]]), 0.374) == 0
    assert draw(torch.tensor([[3.0, 5.0]]), 0.376) == 1


def test_rare_tokens_survive_a_large_vocabulary() -> None:
    """16383 tokens of 1e-9 each come after a nearly certain one. Near 1 a float32 sum moves in
    steps of 6e-8, so it could tell only every sixtieth of them from its neighbours."""
    vocab = 16_384
    p = torch.full((vocab,), 1e-9)
    p[0] = 1.0
    tail = float(p[1:].double().sum())
    tokens = torch.arange(9_000, 9_128, dtype=torch.float64)
    u = (1.0 + tail * (tokens - 0.5) / (vocab - 1)) / (1.0 + tail)
    assert inverse_cdf(p.expand(len(u), -1), u).tolist() == tokens.tolist()
    single = torch.searchsorted(p.cumsum(0), (u * (1.0 + tail)).float(), right=True)
    assert len(single.unique()) < 5, "what float32 would have drawn"


def test_draws_follow_the_distribution() -> None:
    """Chi-square of 200,000 keyed draws at eight tokens; 7 degrees of freedom: 24.3 is p = 0.001."""
    p = torch.tensor([0.3, 0.2, 0.2, 0.1, 0.1, 0.05, 0.04, 0.01])
    count = 200_000
    u = torch.from_numpy(uniforms(0, Prompt("chi-square"), 0, count))
    tokens = inverse_cdf(p.expand(count, -1), u)
    observed = np.bincount(tokens.numpy(), minlength=8)
    expected = p.double().numpy() / p.double().sum().item() * count
    assert ((observed - expected) ** 2 / expected).sum() < 24.3


def test_each_row_is_drawn_with_its_own_number() -> None:
    p = torch.tensor([[0.5, 0.5]]).expand(3, 2)
    u = torch.tensor([0.1, 0.9, 0.4], dtype=torch.float64)
    assert inverse_cdf(p, u).tolist() == [0, 1, 0]


@pytest.mark.parametrize(("p", "count"), [(0.25, 1), (0.5, 2), (0.75, 3), (0.76, 4)])
def test_top_p_keeps_no_token_beyond_the_smallest_set_that_has_it(p: float, count: int) -> None:
    """Four equal tokens have exactly a quarter each: two of them already are a half."""
    assert len(kept(keep_top_p(torch.zeros(1, 4), p))[0]) == count
