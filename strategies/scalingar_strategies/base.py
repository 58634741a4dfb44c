"""The model by itself: what every strategy is compared with."""

from __future__ import annotations

from scalingar_fw import Strategy


def base() -> Strategy:
    """One candidate, the model's own scale, nothing pruned and nothing selected."""
    return Strategy(name="base", default_n=1)
