"""Temperature, truncation and the inverse CDF: from guided logits and one uniform to one token."""

from __future__ import annotations

import math

import torch
from attrs import frozen
from torch import Tensor

from scalingar_fw.decoding.params import param

#: Smaller temperatures overflow float32; at this one only exact ties still share probability.
MIN_TEMPERATURE = 1e-5


@frozen
class Sampling:
    """How tokens are drawn and how hard the prompt is pushed; a model's preset, or the user's."""

    guidance: float = param(
        1.0, "guidance scale s_base: guided logits are l_u + s (l_c - l_u); 1 is unguided"
    )
    temperature: float = param(
        1.0, "divides the guided logits; 0 picks the most likely token", ge=0.0
    )
    top_k: int = param(0, "keep the k most likely tokens and ties with the last; 0 keeps all", ge=0)
    top_p: float = param(
        1.0, "keep the smallest set of tokens with this much probability", gt=0.0, le=1.0
    )


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """-inf for all but the `k` highest of `[N, V]`; ties with the k-th stay, as in LlamaGen."""
    if k <= 0 or k >= logits.shape[-1]:
        return logits
    kth = logits.topk(k, dim=-1).values[:, -1:]
    return logits.masked_fill(logits < kth, -math.inf)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """-inf outside the smallest set of tokens with a probability of at least `p` (never empty)."""
    if p >= 1.0:
        return logits
    ordered, index = logits.sort(dim=-1, descending=True, stable=True)
    probability = ordered.softmax(-1)
    # A token goes if those before it already reach p: the first to do so stays, as in LlamaGen
    # (which keeps one more where they are exactly p).
    excess = probability.cumsum(-1).roll(1, -1) >= p
    excess[:, 0] = False
    drop = torch.zeros_like(excess).scatter(1, index, excess)
    return logits.masked_fill(drop, -math.inf)


def truncate(logits: Tensor, sampling: Sampling) -> Tensor:
    """Temperature, then top-k, then top-p (the official order); `[N, V]` logits."""
    if sampling.temperature not in (0.0, 1.0):
        logits = logits / max(sampling.temperature, MIN_TEMPERATURE)
    return keep_top_p(keep_top_k(logits, sampling.top_k), sampling.top_p)


def inverse_cdf(probability: Tensor, uniform: Tensor) -> Tensor:
    """The token at which the cumulated `probability [N, V]` first exceeds `uniform [N]`.

    In float64: with 16384 tokens a float32 sum loses the rare ones. Where rounding runs past the
    sum the answer is the last token with probability; a token without any is never drawn.
    `probability` need not be normalised.
    """
    device = probability.device
    if device.type == "mps":  # no float64 there; the rows are small, so the CPU does it
        return inverse_cdf(probability.cpu(), uniform.cpu()).to(device)
    cdf = probability.double().cumsum(-1)
    total = cdf[:, -1:].contiguous()
    index = torch.searchsorted(cdf, uniform[:, None] * total, right=True)
    last = torch.searchsorted(cdf, total)
    # NaN sorts past the end: kept inside the vocabulary, since the loop reports NaN when it reads
    # its records and an index out of range would end the process before that on a GPU.
    return torch.minimum(index, last).clamp_max_(cdf.shape[-1] - 1)[:, 0]
