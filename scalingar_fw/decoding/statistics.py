"""Streaming statistics over rows: moving averages, running z-scores, quantiles per prompt.

Each is a pure function of a small state and the new value, so that `take` can move it. Semantics
(method.md): an EMA starts at its first observation; running statistics are cumulative, include
the current value and use the population variance; fewer than two observations, or no variance,
give the neutral 0.5.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from attrs import frozen
from torch import Tensor

from scalingar_fw.decoding.state import Rows, candidate_field


def ema(previous: Tensor | None, value: Tensor, rate: float) -> Tensor:
    """(1 - rate) previous + rate value, `[N]`; the value itself at the first observation."""
    return value if previous is None else torch.lerp(previous, value, rate)


@functools.cache
def constant(value: float) -> Tensor:
    """A scalar tensor on the host: any device takes it as an operand without a transfer, and the
    small operations of a step take half the time that they take with a Python number.

    Kept for good: for parameters and step indices, not for data.
    """
    return torch.tensor(value, dtype=torch.float32)


def one_minus(value: Tensor) -> Tensor:
    return torch.sub(constant(1.0), value)


def logistic(z: Tensor) -> Tensor:
    """1 / (1 + exp(-z)).

    Not `torch.sigmoid`, whose last bit depends on an entry's place in the tensor on a CPU
    (vectorised body, scalar tail): a candidate's score would change when its neighbours leave.
    """
    return _logistic_of_minus(z.neg())


def _logistic_of_minus(z: Tensor) -> Tensor:
    """1 / (1 + exp(z)), in place."""
    return z.exp_().add_(constant(1.0)).reciprocal_()


def rebound(value: Tensor, low: Tensor, eps: float) -> Tensor:
    """How far `value [N]` is above a minimum `low [N]`, relative to it (eq. 8):
    (value - low) / (|low| + eps)."""
    return (value - low).div_(low.abs().add_(constant(eps)))


def ceil_share(share: float, count: int) -> int:
    """ceil(share * count), by the decimal number meant: 0.7 of 10 is 7, though 0.7 * 10 > 7."""
    return math.ceil(share * count - 1e-9)


@frozen(eq=False)
class Moments:
    """Count, mean and population variance of each row's history (Welford), `[N]`."""

    count: int = 0
    mean: Tensor | None = candidate_field(default=None)
    variance: Tensor | None = candidate_field(default=None)

    def push(self, value: Tensor) -> Moments:
        """The moments with `value [N]` included."""
        return self._push(value)[0]

    def observe(self, value: Tensor) -> tuple[Tensor, Moments]:
        """The logistic z-score of `value [N]` in a history that ends with it; and the moments."""
        moments, behind = self._push(value)
        return moments._squash(behind), moments

    def _push(self, value: Tensor) -> tuple[Moments, Tensor]:
        """The moments with `value`, and how far their mean is above it."""
        if self.mean is None or self.variance is None:
            nothing = torch.zeros_like(value)
            return Moments(1, value, nothing), nothing
        share = 1.0 / (self.count + 1)
        before = self.mean - value
        # Not (new mean) - value: the mean is rounded, and two close observations differ by less.
        behind = before * constant(1.0 - share)
        mean = torch.sub(self.mean, before, alpha=share)
        variance = torch.lerp(self.variance, before.mul_(behind), share)
        return Moments(self.count + 1, mean, variance), behind

    def _squash(self, behind: Tensor) -> Tensor:
        """The logistic of minus `behind` over the standard deviation."""
        if self.count < 2 or self.mean is None or self.variance is None:
            return torch.full_like(behind, 0.5)
        # Variance 0 means that every value equals the mean: 0 / tiny = 0, and logistic(0) = 0.5.
        floored = torch.addcmul(self.variance, self.mean, self.mean, value=TINY_SPREAD**2)
        inverse = floored.clamp_min_(TINY_SPREAD**2).rsqrt_()
        return _logistic_of_minus(inverse.mul_(behind))


#: A standard deviation of this size, absolute or relative to the mean, is rounding (signals.py
#: states its precision): scores of a stream that should be constant then shrink to the neutral 0.5
#: instead of showing noise.
TINY_SPREAD = 1e-6


@frozen(eq=False)
class Extremes:
    """Running minimum and maximum of each row's history, `[N]`."""

    count: int = 0
    low: Tensor | None = candidate_field(default=None)
    high: Tensor | None = candidate_field(default=None)

    def push(self, value: Tensor) -> Extremes:
        if self.low is None or self.high is None:
            return Extremes(1, value, value)
        return Extremes(
            self.count + 1, torch.minimum(self.low, value), torch.maximum(self.high, value)
        )

    def unit(self, value: Tensor) -> Tensor:
        """`value [N]` placed between the extremes, in [0, 1]; 0.5 where they coincide."""
        if self.count < 2 or self.low is None or self.high is None:
            return torch.full_like(value, 0.5)
        span = self.high - self.low
        return torch.where(span > 0, (value - self.low) / span.clamp_min(1e-30), 0.5)


def gather_groups(values: Tensor, rows: Rows, fill: float) -> Tensor:
    """`values [N]` laid out by prompt, `[G, W]`, with `fill` in empty places."""
    if rows.single:
        return values[None]
    laid = values[rows.slots.clamp_min(0)]
    return laid.masked_fill(rows.slots < 0, fill)


@functools.cache
def _place(q: float, count: int) -> tuple[int, int, float]:
    """The q-quantile of `count` sorted numbers: two of them, and how far from first to second."""
    position = np.float32(q) * np.float32(count - 1)
    low = int(position)
    return low, min(low + 1, count - 1), float(position) - low


def group_quantile(values: Tensor, rows: Rows, q: float) -> Tensor:
    """The q-quantile of `values [N]` over each prompt's live rows, `[G]`; linear interpolation."""
    if rows.single:  # the usual case, on host numbers; float32, so that both ways agree bit by bit
        line = values.sort().values
        low, high, beyond = _place(q, len(line))
        return torch.lerp(line[low : low + 1], line[high : high + 1], beyond)
    ordered = gather_groups(values, rows, math.inf).sort(-1).values
    position_g = q * (rows.live - 1).to(values.dtype)
    low_g = position_g.floor().long()
    high_g = torch.minimum(low_g + 1, rows.live - 1)
    at_low = ordered.gather(1, low_g[:, None])[:, 0]
    at_high = ordered.gather(1, high_g[:, None])[:, 0]
    return torch.lerp(at_low, at_high, position_g - low_g)


def group_logistic_z(values: Tensor, rows: Rows) -> Tensor:
    """The z-score of each row among the live rows of its prompt, squashed to (0, 1); `[N]`."""
    # Relative to the prompt's first row: equal values are then exactly 0, as is their mean.
    first = gather_groups(values, rows, 0.0)[:, 0]
    relative = values - first[rows.group]
    laid = gather_groups(relative, rows, 0.0)
    live = rows.live[:, None].to(values.dtype)
    mean = laid.sum(-1, keepdim=True) / live
    deviation = laid - mean
    if not rows.single:
        deviation = deviation.masked_fill(rows.slots < 0, 0.0)
    spread = (deviation.square().sum(-1, keepdim=True) / live).sqrt().clamp_min(TINY_SPREAD)
    score = logistic((relative - mean[:, 0][rows.group]) / spread[:, 0][rows.group])
    return torch.where(rows.live[rows.group] < 2, 0.5, score)


def group_rank(values: Tensor, rows: Rows) -> Tensor:
    """Rank of each row in its prompt, 0 the highest value; ties go to the lower candidate id.

    `[N]` int64. Never by row position: a row's place on the axis is an accident of pruning.
    """
    order = torch.argsort(rows.candidate_id, stable=True)
    order = order[torch.argsort(values[order], descending=True, stable=True)]
    order = order[torch.argsort(rows.group[order], stable=True)]
    starts = rows.live.cumsum(0) - rows.live
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    return place - starts[rows.group]
