"""Rewards from the chosen tokens' log-probabilities: free, recorded in every decode."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from attrs import frozen

from scalingar_fw.decoding.components import Pool, Reward
from scalingar_fw.decoding.params import param
from scalingar_fw.decoding.result import Array
from scalingar_plugins.rewards.windows import over, recorded, window_means

#: What a log-probability is taken under, and the signal that holds it.
SIGNALS = {
    "conditional": "log_prob_cond",
    "guided": "log_prob_guided",
    "unconditional": "log_prob_uncond",
}


@frozen
class MeanLogProb(Reward):
    """The mean log-probability (nats) of the chosen tokens."""

    under: str = param(
        "conditional",
        "the distribution whose log-probability counts",
        source="paper does not specify",
        choices=tuple(SIGNALS),
    )

    def score(self, pool: Pool) -> Array:
        return over(pool, SIGNALS[self.under], lambda values: float(values.mean()))


@frozen
class SummedPmi(Reward):
    """Summed pointwise mutual information of prompt and tokens: sum of ln p_c - ln p_u, in nats."""

    def score(self, pool: Pool) -> Array:
        return np.array(
            [
                (recorded(t, "log_prob_cond") - recorded(t, "log_prob_uncond")).sum()
                for t in pool.candidates
            ]
        )


@frozen
class LowestWindowLogProb(Reward):
    """The lowest mean log-probability (nats) of any `window` consecutive tokens; 1 is the minimum.

    A picture is as bad as its worst place.
    """

    window: int = param(4, "consecutive tokens (raster order) that are averaged", ge=1)
    under: str = param(
        "conditional", "the distribution whose log-probability counts", choices=tuple(SIGNALS)
    )

    def score(self, pool: Pool) -> Array:
        return over(
            pool, SIGNALS[self.under], lambda values: float(window_means(values, self.window).min())
        )


@frozen
class SelfCertaintyReward(Reward):
    """The mean over tokens of KL(uniform || p_c) over permitted tokens, in nats."""

    @property
    def requires(self) -> Mapping[str, str]:
        return {"self_certainty": "--set confidence=self-certainty"}

    def score(self, pool: Pool) -> Array:
        return over(pool, "self_certainty", lambda values: float(values.mean()))
