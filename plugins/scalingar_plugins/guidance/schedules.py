"""Guidance baselines: schedules over the step, and one that follows the entropy.

u = t / (T - 1) runs from 0 at the first token to 1 at the last. Scales are absolute; where one is
left open it is s_base, the scale of the model's preset or the user's. The schedule of a constant
scale is in the core.
"""

from __future__ import annotations

import math

import torch
from attrs import frozen
from torch import Tensor

from scalingar_fw.decoding.components import Context, Guidance, Step
from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.params import param
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.state import candidate_field

_START = "the scale at the first token; null: s_base"
_END = "the scale at the last token; null: s_base"


@frozen(eq=False)
class Base:
    """s_base, and a row of ones to multiply."""

    scale: float
    ones: Tensor = candidate_field()


def _base(context: Context) -> Base:
    return Base(context.sampling.guidance, context.full(1.0))


def _at(step: Step) -> float:
    return step.index / max(1, step.total - 1)


@frozen
class LinearGuidance(Guidance[Base]):
    """From `start` to `end` in a straight line: s_t = start + (end - start) u."""

    start: float | None = param(1.0, _START, source="paper does not specify", optional=True)
    end: float | None = param(None, _END)

    def init(self, context: Context) -> Base:
        return _base(context)

    def update(self, state: Base, confidence: Confidence, step: Step) -> tuple[Tensor, Base]:
        return state.ones * self._scale(_at(step), state.scale), state

    def _ends(self, base: float) -> tuple[float, float]:
        return (
            base if self.start is None else self.start,
            base if self.end is None else self.end,
        )

    def _scale(self, u: float, base: float) -> float:
        start, end = self._ends(base)
        return start + (end - start) * u

    def bounds(self, sampling: Sampling) -> tuple[float, float]:
        start, end = self._ends(sampling.guidance)
        return min(start, end), max(start, end)


@frozen
class CosineGuidance(LinearGuidance):
    """From `start` to `end` along a half cosine: u becomes (1 - cos(pi u^power)) / 2.

    Above 1 the power keeps the scale near `start` for longer.
    """

    power: float = param(
        1.0,
        "exponent of u",
        source="common in image models' scripts; paper does not specify",
        gt=0.0,
    )

    def _scale(self, u: float, base: float) -> float:
        start, end = self._ends(base)
        return start + (end - start) * (1.0 - math.cos(math.pi * u**self.power)) / 2.0


@frozen
class IntervalGuidance(Guidance[Base]):
    """Guidance up to a step, and none (s = 1) after it, as LlamaGen's `cfg_interval` counts.

    LlamaGen counts from the second token (its first comes out of the prefill): the last guided
    token is t = cfg_interval + 1; -1 never switches off.
    """

    cfg_interval: int | None = param(
        None,
        "guided steps after the first two tokens; -1: all; null: half of the tokens are guided",
        source="LlamaGen, generate.py",
        ge=-1,
        kind=int,
    )

    def init(self, context: Context) -> Base:
        return _base(context)

    def update(self, state: Base, confidence: Confidence, step: Step) -> tuple[Tensor, Base]:
        if self.cfg_interval is None:
            last = math.ceil(step.total / 2) - 1
        elif self.cfg_interval == -1:
            last = step.total
        else:
            last = self.cfg_interval + 1
        return state.ones * (state.scale if step.index <= last else 1.0), state

    def bounds(self, sampling: Sampling) -> tuple[float, float]:
        return min(1.0, sampling.guidance), max(1.0, sampling.guidance)


@frozen(eq=False)
class EntropyState:
    """s_base and the bounds."""

    scale: float
    low: float
    high: float


@frozen
class EntropyGuidance(Guidance[EntropyState]):
    """s_t = s_base (1 + gain (H_t - pivot)), clamped: pushes harder where the model is unsure.

    H_t is the normalised entropy, read as 1 - C_t: the estimator `entropy` gives C_t = 1 - H_t,
    and any other confidence in [0, 1] may take its place. A negative gain turns the rule round.
    The clamp is min(1, s_base) to max(1, 2 s_base).
    """

    gain: float = param(1.0, "relative change of the scale by a unit of entropy")
    pivot: float = param(
        0.5,
        "the entropy at which the scale is s_base",
        source="paper does not specify",
        ge=0.0,
        le=1.0,
    )
    signal: str = param("confidence", "what 1 - H_t is read from: a signal of the estimator")

    def init(self, context: Context) -> EntropyState:
        return EntropyState(context.sampling.guidance, *self.bounds(context.sampling))

    def update(
        self, state: EntropyState, confidence: Confidence, step: Step
    ) -> tuple[Tensor, EntropyState]:
        entropy = 1.0 - confidence.signal(self.signal)
        scale = state.scale * (1.0 + self.gain * (entropy - self.pivot))
        return torch.clamp(scale, state.low, state.high), state

    def bounds(self, sampling: Sampling) -> tuple[float, float]:
        return min(1.0, sampling.guidance), max(1.0, 2.0 * sampling.guidance)
