"""Rewards from a recorded confidence: its end, its mean, its worst group, its tail."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from attrs import frozen

from scalingar_fw.decoding.components import Pool, Reward
from scalingar_fw.decoding.params import param
from scalingar_fw.decoding.result import Array
from scalingar_plugins.rewards.windows import over, window_means

_SIGNAL = "the recorded signal that is read"
_RECORDS_IT = "an estimator that records it, or another reward.signal"
_TOKEN = "--set confidence=top-token"


def _needs(signal: str) -> Mapping[str, str]:
    return {signal: _TOKEN if signal == "token_confidence" else _RECORDS_IT}


@frozen
class FinalSignal(Reward):
    """C_T: the last value of a recorded signal."""

    signal: str = param("confidence", _SIGNAL)

    @property
    def requires(self) -> Mapping[str, str]:
        return _needs(self.signal)

    def score(self, pool: Pool) -> Array:
        return over(pool, self.signal, lambda values: float(values[-1]))


@frozen
class MeanSignal(Reward):
    """The mean over all tokens of a recorded signal."""

    signal: str = param("confidence", _SIGNAL)

    @property
    def requires(self) -> Mapping[str, str]:
        return _needs(self.signal)

    def score(self, pool: Pool) -> Array:
        return over(pool, self.signal, lambda values: float(values.mean()))


@frozen
class LowestGroupConfidence(Reward):
    """DeepConf's group confidence: the lowest mean of `window` consecutive tokens' confidence.

    With `share` > 0 it is the mean over that share of the lowest groups (the original's
    "bottom 10 %" is 0.1).
    """

    signal: str = param("token_confidence", _SIGNAL)
    window: int = param(
        16, "tokens in a group; 2048 in the original's texts", source="arXiv 2508.15260", ge=1
    )
    share: float = param(
        0.0, "share of the lowest groups that are averaged; 0: the lowest alone", ge=0.0, le=1.0
    )

    @property
    def requires(self) -> Mapping[str, str]:
        return _needs(self.signal)

    def score(self, pool: Pool) -> Array:
        return over(pool, self.signal, self._lowest)

    def _lowest(self, values: Array) -> float:
        groups = np.sort(window_means(values, self.window))
        return float(groups[: max(1, math.ceil(self.share * len(groups)))].mean())


@frozen
class TailConfidence(Reward):
    """DeepConf's tail confidence: the mean over the last tokens."""

    signal: str = param("token_confidence", _SIGNAL)
    window: int = param(
        16, "last tokens that count; 2048 in the original's texts", source="arXiv 2508.15260", ge=1
    )

    @property
    def requires(self) -> Mapping[str, str]:
        return _needs(self.signal)

    def score(self, pool: Pool) -> Array:
        return over(pool, self.signal, lambda values: float(values[-self.window :].mean()))
