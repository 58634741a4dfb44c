"""Beams by confidence: every k steps the best histories are kept and forked over the others.

Between two selections each candidate samples its own tokens, so branches of a fork part at once.
The confidence is any estimator's; here the mean log-probability of the tokens so far.
"""

from __future__ import annotations

from scalingar_fw import FinalConfidence, Strategy
from scalingar_plugins.confidence.likelihood import LogProbConfidence
from scalingar_plugins.samplers.confidence_beam import ConfidenceBeamSampler


def confidence_beam() -> Strategy:
    """Every 16 steps the better half is kept."""
    return Strategy(
        name="confidence-beam",
        confidence=LogProbConfidence(),
        sampler=ConfidenceBeamSampler(every=16, keep=0.5),
        selector=FinalConfidence(),
        default_n=8,
    )
