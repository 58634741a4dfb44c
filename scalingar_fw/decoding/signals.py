"""Per-step signals of the logits, once per step, vectorised over rows, in float32.

Precision: entropies and margins agree with float64 to about 1e-6. A KL divergence is a difference
of nearly equal log-probabilities where the branches agree, so its error is absolute: about 1e-6
nats; it is clamped at 0.
"""

from __future__ import annotations

import functools
import math

import torch
from attrs import frozen
from torch import Tensor

from scalingar_fw.decoding.state import Chosen, Logits, candidate_field
from scalingar_fw.decoding.statistics import constant

#: A one-sided -inf becomes the row's maximum minus this (nats): e**-100 is still not zero in
#: float32's subnormals, and guided logits and KL stay finite.
FLOOR_NATS = 100.0


@frozen(eq=False)
class Signals:
    """What estimators read; `[N]` float32 each, on the logits' device.

    `entropy_nats`: -sum p ln p. `entropy`: the same over ln(number of permitted tokens), in [0, 1]
    (0 where one token is permitted). `margin`: p(top-1) - p(top-2) (1 for one token). `kl`:
    KL(p_c || p_u) in nats. p is the conditional distribution, or the guided one where the
    estimator asks for it. `log_p_cond`, `log_p_uncond`: `[N, V]` log-probabilities (-inf where
    forbidden); an estimator that reads these cannot be replayed from a trace.
    """

    entropy_nats: Tensor = candidate_field()
    entropy: Tensor = candidate_field()
    margin: Tensor = candidate_field()
    kl: Tensor = candidate_field()
    log_p_cond: Tensor = candidate_field()
    log_p_uncond: Tensor = candidate_field()
    permitted: Tensor | None = candidate_field(default=None)

    def commit(self, token: Tensor, log_p_guided: Tensor) -> Chosen:
        """The log-probabilities of the chosen `token [N]` (untempered)."""
        index = token[:, None]
        return Chosen(
            token=token,
            log_prob_cond=self.log_p_cond.gather(1, index)[:, 0],
            log_prob_uncond=self.log_p_uncond.gather(1, index)[:, 0],
            log_prob_guided=log_p_guided.gather(1, index)[:, 0],
        )


@frozen(eq=False, slots=False)
class Guided:
    """The guided distribution of one step, before temperature and truncation.

    `logits [N, V]`: -inf where forbidden. `log_probs [N, V]`: their log-softmax in nats, computed
    when it is first read and then shared by the sampler and the record.
    """

    logits: Tensor = candidate_field()

    @functools.cached_property
    def log_probs(self) -> Tensor:
        """`[N, V]` float32, in nats; -inf where a token is forbidden."""
        return torch.log_softmax(self.logits, -1)

    def __len__(self) -> int:
        return len(self.logits)


def sanitize(cond: Tensor, uncond: Tensor, permitted: Tensor | None) -> tuple[Logits, int]:
    """Apply one mask to both branches and floor a one-sided -inf.

    A token is permitted where `permitted` says so (everywhere if None) and at least one branch is
    above -inf. Returns the logits and how many entries were floored. Costs a host read; models
    whose logits are finite by construction skip it.
    """
    cond, uncond = cond.float(), uncond.float()
    reachable = ~(torch.isneginf(cond) & torch.isneginf(uncond))
    mask = reachable if permitted is None else permitted & reachable
    floored = 0
    for_each = []
    for branch in (cond, uncond):
        one_sided = mask & torch.isneginf(branch)
        count = int(one_sided.sum())
        if count:
            finite = branch.masked_fill(~mask | one_sided, math.inf).amin(-1, keepdim=True)
            top = branch.masked_fill(~mask, -math.inf).amax(-1, keepdim=True)
            # A branch that forbids every permitted token says nothing about them: all equal.
            floor = torch.where(torch.isneginf(top), 0.0, torch.minimum(finite, top - FLOOR_NATS))
            branch = torch.where(one_sided, floor, branch)
            floored += count
        for_each.append(branch.masked_fill(~mask, -math.inf))
    if bool(mask.all()):
        return Logits(for_each[0], for_each[1], None), floored
    return Logits(for_each[0], for_each[1], mask), floored


def _expectation(p: Tensor, values: Tensor, permitted: Tensor | None) -> Tensor:
    """Sum over permitted tokens of p * values; 0 * inf of forbidden ones counts as 0."""
    if permitted is not None:
        values = values.masked_fill(~permitted, 0.0)
    return (p * values).sum(-1)


def log_normalizer(permitted: Tensor | None, vocab: int) -> Tensor | float:
    """ln of the number of permitted tokens: `[N]`, or a number where all are."""
    if permitted is None:
        return math.log(vocab)
    return permitted.sum(-1).float().log()


def compute_signals(logits: Logits, guided: Tensor | None = None) -> Signals:
    """Signals of one step.

    Args:
        logits: both branches, `[N, V]` float32.
        guided: guided logits `[N, V]`; where given, entropy and margin are those of their softmax
            (`distribution = "guided"`) instead of the conditional one.
    """
    permitted = logits.permitted
    log_c = torch.log_softmax(logits.cond, -1)
    log_u = log_c if logits.uncond is logits.cond else torch.log_softmax(logits.uncond, -1)
    p_c = torch.softmax(logits.cond, -1)  # cheaper than an exponential of what is at hand
    if guided is None:
        log_p, p = log_c, p_c
    else:
        log_p = torch.log_softmax(guided, -1)
        p = torch.softmax(guided, -1)
    nats = _expectation(p, log_p, permitted).neg().clamp_min(0.0)
    vocab = logits.cond.shape[-1]
    scale = log_normalizer(permitted, vocab)
    if isinstance(scale, float):
        entropy = nats / constant(scale) if scale > 0 else torch.zeros_like(nats)
    else:
        entropy = torch.where(scale > 0, nats / scale.clamp_min(1e-30), 0.0)
    entropy.clamp_max_(1.0)
    if vocab == 1:
        margin = torch.ones_like(nats)
    else:
        top = p.topk(2, dim=-1).values
        margin = torch.sub(*top.unbind(-1))
    kl = _expectation(p_c, log_c - log_u, permitted).clamp_min(0.0)
    return Signals(nats, entropy, margin, kl, log_c, log_u, permitted)


def guided_logits(logits: Logits, scale: Tensor) -> Tensor:
    """l_u + s (l_c - l_u), `[N, V]`; `scale [N]`. Forbidden tokens stay -inf."""
    if logits.uncond is logits.cond:
        return logits.cond
    guided = torch.lerp(logits.uncond, logits.cond, scale[:, None])
    if logits.permitted is not None:  # -inf - -inf
        guided = guided.masked_fill(~logits.permitted, -math.inf)
    return guided
