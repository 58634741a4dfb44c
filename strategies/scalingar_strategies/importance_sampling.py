"""Importance sampling: N complete candidates, of which one is drawn by its weight.

w_i is proportional to exp(r_i / tau), so the answer follows the model's distribution tilted by the
reward (exactly as N grows), where best-of-n takes the maximum. `smc` is the same target with
resampling during decoding.
"""

from __future__ import annotations

from scalingar_fw import Strategy
from scalingar_plugins.rewards.likelihood import MeanLogProb
from scalingar_plugins.selectors.rewarded import RewardDraw


def importance_sampling() -> Strategy:
    """Weights by the mean log-probability under p_c."""
    return Strategy(
        name="importance-sampling", selector=RewardDraw(MeanLogProb(), tau=0.1), default_n=8
    )
