"""Best-of-n by the model's own contrast: which candidate fits its prompt and no other like it."""

from __future__ import annotations

from scalingar_fw import Strategy
from scalingar_plugins.rewards.contrast import PromptContrast
from scalingar_plugins.selectors.rewarded import BestReward


def best_of_n_contrast() -> Strategy:
    """N complete candidates; likelihood and posterior of the prompt decide."""
    return Strategy(name="best-of-n-contrast", selector=BestReward(PromptContrast()), default_n=8)
