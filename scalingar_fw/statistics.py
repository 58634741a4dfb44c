"""Streaming statistics over rows: moving averages, running z-scores, quantiles per prompt.

Each is a pure function of a small state and the new value, so that `take` can move it. Semantics
(method.md): an EMA starts at its first observation; running statistics are cumulative, include
the current value and use the population variance; fewer than two observations, or no variance,
give the neutral 0.5.
"""

from __future__ import annotations

import math

import torch
from attrs import frozen
from torch import Tensor

from scalingar_fw.state import Rows, candidate_field


def ema(previous: Tensor | None, value: Tensor, rate: float) -> Tensor:
    """(1 - rate) previous + rate value, `[N]`; the value itself at the first observation."""
    return value if previous is None else torch.lerp(previous, value, rate)


@frozen(eq=False)
class Moments:
    """Count, mean and summed squared deviation of each row's history (Welford), `[N]`."""

    count: int = 0
    mean: Tensor | None = candidate_field(default=None)
    squares: Tensor | None = candidate_field(default=None)

    def push(self, value: Tensor) -> Moments:
        """The moments with `value [N]` included."""
        if self.mean is None or self.squares is None:
            return Moments(1, value, torch.zeros_like(value))
        count = self.count + 1
        delta = value - self.mean
        mean = torch.add(self.mean, delta, alpha=1.0 / count)
        squares = torch.addcmul(self.squares, delta, value - mean)
        return Moments(count, mean, squares)

    def logistic_z(self, value: Tensor) -> Tensor:
        """The z-score of `value [N]` under these moments, squashed to (0, 1)."""
        if self.count < 2 or self.mean is None or self.squares is None:
            return torch.full_like(value, 0.5)
        # Variance 0 means that every value equals the mean: 0 / tiny = 0, and logistic(0) = 0.5.
        spread = (self.squares / self.count).sqrt().clamp_min(TINY_SPREAD)
        return torch.sigmoid((value - self.mean) / spread)


#: Below this a standard deviation is rounding: about the float32 resolution of quantities near 1.
TINY_SPREAD = 1e-7


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


def group_quantile(values: Tensor, rows: Rows, q: float) -> Tensor:
    """The q-quantile of `values [N]` over each prompt's live rows, `[G]`; linear interpolation."""
    ordered = gather_groups(values, rows, math.inf).sort(-1).values
    if rows.single:
        position = q * (ordered.shape[1] - 1)
        low = int(position)
        high = min(low + 1, ordered.shape[1] - 1)
        return torch.lerp(ordered[:, low], ordered[:, high], position - low)
    position_g = q * (rows.live - 1).to(values.dtype)
    low_g = position_g.floor().long()
    high_g = torch.minimum(low_g + 1, rows.live - 1)
    at_low = ordered.gather(1, low_g[:, None])[:, 0]
    at_high = ordered.gather(1, high_g[:, None])[:, 0]
    return torch.lerp(at_low, at_high, position_g - low_g)


def group_logistic_z(values: Tensor, rows: Rows) -> Tensor:
    """The z-score of each row among the live rows of its prompt, squashed to (0, 1); `[N]`."""
    laid = gather_groups(values, rows, 0.0)
    live = rows.live[:, None].to(values.dtype)
    mean = laid.sum(-1, keepdim=True) / live
    deviation = laid - mean
    if not rows.single:
        deviation = deviation.masked_fill(rows.slots < 0, 0.0)
    spread = (deviation.square().sum(-1, keepdim=True) / live).sqrt().clamp_min(TINY_SPREAD)
    score = torch.sigmoid((values - mean[:, 0][rows.group]) / spread[:, 0][rows.group])
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
