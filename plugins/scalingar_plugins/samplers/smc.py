"""Sequential Monte Carlo: particles that a potential weighs, and resampling during decoding.

The target is the model's distribution times exp(lambda phi_T). A particle's log-weight grows by
lambda (phi_t - phi_(t-1)), with phi_(-1) = 0, so that the increments telescope to lambda phi; where
the effective sample size falls below a share of the particles they are resampled and the weights
start again from 0.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from attrs import evolve, frozen
from torch import Tensor

from scalingar_fw.decoding.components import Context, Sampler, Scope, Step
from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.noise import RESAMPLING
from scalingar_fw.decoding.params import param, part
from scalingar_fw.decoding.result import Array
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.signals import Guided
from scalingar_fw.decoding.state import Proposal, candidate_field, take
from scalingar_fw.decoding.strategy import Multinomial
from scalingar_fw.errors import ContractError
from scalingar_plugins.samplers.lineage import check_inner, draw_children, slots_by_candidate
from scalingar_plugins.selectors.rewarded import POTENTIAL


def systematic(count: int, uniforms: Callable[[int], Array]) -> Array:
    """One number, shifted: (i + u) / n."""
    return np.asarray((np.arange(count) + uniforms(1)) / count)


def stratified(count: int, uniforms: Callable[[int], Array]) -> Array:
    """A number in each of n equal parts of the unit interval: (i + u_i) / n."""
    return np.asarray((np.arange(count) + uniforms(count)) / count)


def multinomial(count: int, uniforms: Callable[[int], Array]) -> Array:
    """n independent numbers, in order."""
    return np.sort(uniforms(count))


SCHEMES: dict[str, Callable[[int, Callable[[int], Array]], Array]] = {
    "systematic": systematic,
    "stratified": stratified,
    "multinomial": multinomial,
}


def resample(log_weights: Array, scheme: str, uniforms: Callable[[int], Array]) -> Array:
    """`[n]` ancestors in increasing order, drawn with weights exp(log_weights `[n]`).

    `uniforms(k)` gives k numbers in [0, 1).
    """
    count = len(log_weights)
    cumulated = np.cumsum(np.exp(np.asarray(log_weights, np.float64) - np.max(log_weights)))
    points = SCHEMES[scheme](count, uniforms) * cumulated[-1]
    ancestors = np.searchsorted(cumulated, points, side="right")
    last = np.searchsorted(cumulated, cumulated[-1])  # where rounding runs past the sum
    return np.asarray(np.minimum(ancestors, last))


def effective_size(log_weights: Array) -> float:
    """(sum w)^2 / sum w^2: n for equal weights, 1 where one particle has all."""
    w = np.exp(np.asarray(log_weights, np.float64) - np.max(log_weights))
    return float(w.sum() ** 2 / np.square(w).sum())


@frozen(eq=False)
class Particles:
    """`log_weight`, `potential` `[N]`: since the last resampling, and phi at the last step."""

    log_weight: Tensor = candidate_field()
    potential: Tensor = candidate_field()


@frozen
class ParticleSampler(Sampler[Particles]):
    """Draws each row's token by `sampler`, after resampling a prompt's rows where it is due."""

    scope: ClassVar[Scope] = "cohort"

    signal: str = param("confidence", "the potential phi: any signal of the confidence estimator")
    gain: float = param(
        1.0, "lambda: how much a unit of phi weighs, in nats", source="paper does not specify"
    )
    threshold: float = param(
        0.5,
        "resample where the effective sample size is strictly below this share of the live "
        "particles; 0 never does",
        source="convention; paper does not specify",
        ge=0.0,
        le=1.0,
    )
    scheme: str = param("systematic", "how ancestors are drawn", choices=tuple(SCHEMES))
    every: int = param(1, "steps between two looks at the effective sample size", ge=1)
    sampler: Sampler[Any] = part(Multinomial, "draws each particle's token")

    def init(self, context: Context) -> Particles:
        check_inner(self.sampler, context, "smc")
        return Particles(_zeros(context.full(0.0)), _zeros(context.full(0.0)))

    def drawn_from(self, guided: Guided, sampling: Sampling) -> Tensor | None:
        return self.sampler.drawn_from(guided, sampling)

    def propose(
        self,
        state: Particles,
        guided: Guided,
        confidence: Confidence,
        step: Step,
        sampling: Sampling,
    ) -> tuple[Proposal, Particles]:
        potential = confidence.signal(self.signal).to(state.potential.dtype)
        weight = state.log_weight + self.gain * (potential - state.potential)
        state = Particles(weight, potential)
        parent, fresh = None, None
        if step.index and step.index % self.every == 0 and self.threshold > 0.0:
            parent, fresh = self._resampled(weight, step)
        proposal = draw_children(self.sampler, parent, guided, confidence, step, sampling)
        if parent is not None and fresh is not None:
            state = take(state, parent)
            state = Particles(state.log_weight.masked_fill(fresh, 0.0), state.potential)
        resampled = torch.zeros_like(state.log_weight) if fresh is None else fresh
        trace = {
            "log_weight": state.log_weight.float(),
            POTENTIAL + self.signal: state.potential.float(),
            "gain": torch.full_like(state.log_weight, self.gain).float(),
            "resampled": resampled.float(),
        }
        proposal = evolve(proposal, trace={**proposal.trace, **trace})
        return proposal, state

    def _resampled(self, weight: Tensor, step: Step) -> tuple[Tensor | None, Tensor | None]:
        """The ancestors of all rows and which of them start afresh; None where nothing is due."""
        slots = slots_by_candidate(step.rows).cpu().numpy()
        values = weight.cpu().numpy()
        parents: list[Any] = []
        fresh: list[Any] = []
        for line in slots:
            rows = line[line >= 0]
            if not np.isfinite(values[rows]).all():
                raise ContractError(
                    f"The potential {self.signal!r} of prompt {int(step.rows.prompt[rows[0]])} is "
                    f"not finite at step {step.index}: correct the estimator that records it."
                )
            due = effective_size(values[rows]) < self.threshold * len(rows)
            if due:
                prompt = int(step.rows.prompt[rows[0]])
                numbers = functools.partial(step.prompt_uniforms, prompt, stream=RESAMPLING)
                rows = rows[resample(values[rows], self.scheme, numbers)]
            parents.append(rows)
            fresh.append(np.full(len(rows), due))
        if not any(f.any() for f in fresh):
            return None, None
        device = weight.device
        return (
            torch.from_numpy(np.concatenate(parents)).to(device),
            torch.from_numpy(np.concatenate(fresh)).to(device),
        )


def _zeros(like: Tensor) -> Tensor:
    """Float64 zeros, where the device has them: increments of a long decode add up."""
    return like if like.device.type == "mps" else like.double()
