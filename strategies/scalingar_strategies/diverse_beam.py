"""Diverse beam search (arXiv 1610.02424): groups of beams that keep away from one another.

The answer is the most likely image of all groups.
"""

from __future__ import annotations

from scalingar_fw import FinalConfidence, Strategy
from scalingar_plugins.samplers.beam import DiverseBeamSampler


def diverse_beam() -> Strategy:
    """Four groups of two beams at N = 8."""
    return Strategy(
        name="diverse-beam",
        sampler=DiverseBeamSampler(groups=4, strength=0.5),
        selector=FinalConfidence("score"),
        default_n=8,
    )
