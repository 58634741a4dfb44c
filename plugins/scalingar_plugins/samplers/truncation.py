"""Neighbours of plain sampling: min-p, and a temperature that follows the entropy."""

from __future__ import annotations

import math

import torch
from attrs import evolve, frozen
from torch import Tensor

from scalingar_fw.decoding.params import param
from scalingar_fw.decoding.sampling import Sampling, truncate
from scalingar_fw.decoding.signals import Guided
from scalingar_fw.decoding.strategy import Multinomial


def keep_min_p(logits: Tensor, share: float) -> Tensor:
    """-inf for tokens less likely than `share` times the most likely one of `[N, V]`."""
    if share <= 0.0:
        return logits
    floor = logits.amax(-1, keepdim=True) + math.log(share)
    return logits.masked_fill(logits < floor, -math.inf)


@frozen
class MinP(Multinomial):
    """Keeps the tokens with at least `min_p` times the probability of the most likely one.

    After the temperature, the top-k and the top-p of the run's settings; 0 keeps all, 1 only the
    most likely (and ties).
    """

    min_p: float = param(
        0.05,
        "share of the highest probability that a token needs",
        source="arXiv 2407.01082",
        ge=0.0,
        le=1.0,
    )

    def drawn_from(self, guided: Guided, sampling: Sampling) -> Tensor:
        return torch.log_softmax(keep_min_p(truncate(guided.logits, sampling), self.min_p), -1)


@frozen
class EntropyTemperature(Multinomial):
    """A temperature for each token: T (amplitude exp(-H / decay) + floor), H in nats.

    H is the entropy of the guided distribution after top-k and top-p. Sure tokens (flat areas,
    where a mistake shows little) are drawn more freely, unsure ones more strictly; T is the run's
    temperature. Amplitude 0 and floor 1 are plain sampling.
    """

    amplitude: float = param(
        2.5, "what a token without entropy adds", source="arXiv 2510.09012", ge=0.0
    )
    decay: float = param(
        3.0, "entropy (nats) at which that has fallen to 1/e", source="arXiv 2510.09012", gt=0.0
    )
    floor: float = param(0.6, "the factor at high entropy", source="arXiv 2510.09012", gt=0.0)

    def drawn_from(self, guided: Guided, sampling: Sampling) -> Tensor:
        kept = truncate(guided.logits, evolve(sampling, temperature=1.0))
        log_p = torch.log_softmax(kept, -1)
        forbidden = torch.isneginf(log_p)
        nats = -(log_p.exp() * log_p.masked_fill(forbidden, 0.0)).sum(-1)
        factor = self.amplitude * torch.exp(-nats / self.decay) + self.floor
        return torch.log_softmax(kept / (sampling.temperature * factor)[:, None], -1)
