"""How peaked the conditional distribution is: self-certainty and DeepConf's token confidence.

Both read the whole distribution, so they can not be replayed from a trace; what they record (an
extra signal for each token) can.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from attrs import frozen
from torch import Tensor

from scalingar_fw.decoding.components import ConfidenceEstimator, Context, Step
from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.params import param
from scalingar_fw.decoding.signals import Signals


def permitted_count(signals: Signals) -> Tensor | float:
    """How many tokens can be sampled: `[N]`, or a number where all can."""
    if signals.permitted is None:
        return float(signals.log_p_cond.shape[-1])
    return signals.permitted.sum(-1).to(signals.log_p_cond.dtype)


def self_certainty(signals: Signals) -> Tensor:
    """KL(uniform || p_c) over permitted tokens in nats, `[N]`: -ln n - mean of ln p_c."""
    log_p = signals.log_p_cond
    if signals.permitted is not None:
        log_p = log_p.masked_fill(~signals.permitted, 0.0)
    count = torch.as_tensor(permitted_count(signals), dtype=log_p.dtype, device=log_p.device)
    return (-log_p.sum(-1) / count - count.log()).clamp_min(0.0)


def top_confidence(signals: Signals, top: int) -> Tensor:
    """Minus the mean log-probability of the `top` most likely permitted tokens, `[N]`, in nats."""
    log_p = signals.log_p_cond
    best = log_p.topk(min(top, log_p.shape[-1]), dim=-1).values
    if signals.permitted is None:
        return -best.mean(-1)
    inside = torch.isfinite(best)
    return -best.masked_fill(~inside, 0.0).sum(-1) / inside.sum(-1).to(best.dtype)


@frozen
class SelfCertainty(ConfidenceEstimator[Tensor]):
    """C_t: the mean so far of KL(uniform || p_c); records each token's as `self_certainty`."""

    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {
        "confidence": (0.0, math.inf),
        "self_certainty": (0.0, math.inf),
    }

    def init(self, context: Context) -> Tensor:
        return context.full(0.0)

    def update(self, state: Tensor, signals: Signals, step: Step) -> tuple[Confidence, Tensor]:
        now = self_certainty(signals)
        mean = torch.lerp(state, now, 1.0 / (step.index + 1))
        return Confidence.of(mean, self_certainty=now), mean


@frozen
class TopTokenConfidence(ConfidenceEstimator[Tensor]):
    """C_t: the mean so far of DeepConf's token confidence; each token's as `token_confidence`.

    A token's is minus the mean log-probability of the k most likely tokens: a peaked distribution
    leaves little to the others, so higher is more confident.
    """

    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {
        "confidence": (0.0, math.inf),
        "token_confidence": (0.0, math.inf),
    }

    top: int = param(20, "k: the most likely tokens that count", source="arXiv 2508.15260", ge=1)

    def init(self, context: Context) -> Tensor:
        return context.full(0.0)

    def update(self, state: Tensor, signals: Signals, step: Step) -> tuple[Confidence, Tensor]:
        now = top_confidence(signals, self.top)
        mean = torch.lerp(state, now, 1.0 / (step.index + 1))
        return Confidence.of(mean, token_confidence=now), mean
