"""The answer by a reward: the best candidate, or one drawn by its weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from attrs import frozen

from scalingar_fw.decoding.components import Context, Pool, Reward, Selector
from scalingar_fw.decoding.noise import SELECTION, uniforms
from scalingar_fw.decoding.params import param, part
from scalingar_fw.decoding.result import Array, Trajectory
from scalingar_fw.errors import ContractError, shown
from scalingar_plugins.rewards.images import checked
from scalingar_plugins.rewards.likelihood import MeanLogProb

#: What a sampler's record of its potential is called: this, then the name of the signal.
POTENTIAL = "phi_"


def draw(log_weights: Array, pool: Pool) -> int:
    """The place of one candidate, drawn with weights exp(log_weights), normalised in log space.

    One keyed number decides, by the inverse CDF in the order of candidate ids.
    """
    order = np.argsort([t.candidate for t in pool.candidates], kind="stable")
    ordered = np.asarray(log_weights, dtype=np.float64)[order]
    if np.isnan(ordered).any() or not np.isfinite(ordered.max()):
        raise ContractError(
            f"The candidates of prompt {pool.prompt.label!r} have the log-weights "
            f"{shown(ordered.tolist())}, by which none can be drawn: correct the reward or signal "
            "that they are made of."
        )
    cumulated = np.cumsum(np.exp(ordered - ordered.max()))
    u = uniforms(pool.seed, pool.prompt, 0, 1, SELECTION)[0]
    place = np.searchsorted(cumulated, u * cumulated[-1], side="right")
    last = np.searchsorted(cumulated, cumulated[-1])  # where rounding runs past the sum
    return int(order[min(place, last)])


@frozen
class _Rewarded(Selector):
    reward: Reward = part(MeanLogProb, "how good a completed candidate is")

    def init(self, context: Context) -> Any:
        self.reward.init(context)

    @property
    def requires(self) -> Mapping[str, str]:
        return self.reward.requires

    @property
    def oracle(self) -> bool:
        return self.reward.oracle

    def scores(self, pool: Pool) -> Array:
        """The reward of each candidate, `[K]` finite: NaN would win or lose without a word."""
        found = self.reward.score(pool)
        return checked(found, len(pool.candidates), f"Reward {type(self.reward).__name__}")


@frozen
class BestReward(_Rewarded):
    """The completed candidate with the highest reward; ties go to the lower candidate id."""

    def select(self, pool: Pool) -> int:
        scores = self.scores(pool)
        return max(range(len(scores)), key=lambda i: (scores[i], -pool.candidates[i].candidate))


@frozen
class RewardDraw(_Rewarded):
    """Importance sampling: one completed candidate, drawn with w_i proportional to exp(r_i / tau).

    tau to 0 is best-of-n, tau to infinity is one sample.
    """

    tau: float = param(
        0.1,
        "temperature of the weights, in the reward's unit",
        source="paper does not specify",
        gt=0.0,
    )

    def select(self, pool: Pool) -> int:
        return draw(self.scores(pool) / self.tau, pool)


@frozen
class WeightDraw(Selector):
    """One completed particle, drawn by the weight that it has gathered since the last resampling.

    The sampler records its log-weight, its gain and its potential (`phi_` and the name of the
    signal) before a token is chosen; the last token's share, the gain times (the signal now - the
    potential then), is added here.
    """

    @property
    def requires(self) -> Mapping[str, str]:
        return dict.fromkeys(("log_weight", "gain", f"{POTENTIAL}*"), "--set sampler=smc")

    def select(self, pool: Pool) -> int:
        return draw(np.array([_final_log_weight(t) for t in pool.candidates]), pool)


def _final_log_weight(t: Trajectory) -> float:
    [potential] = [name for name in t.signals if name.startswith(POTENTIAL)]
    rest = t.final(potential.removeprefix(POTENTIAL)) - t.final(potential)
    return t.final("log_weight") + t.final("gain") * rest
