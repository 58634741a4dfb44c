"""Guidance schedules as methods: one candidate each, so that only the scale differs from `base`.

The constant schedule is `base` itself.
"""

from __future__ import annotations

from scalingar_fw import Strategy
from scalingar_plugins.confidence.likelihood import EntropyConfidence
from scalingar_plugins.guidance.schedules import (
    CosineGuidance,
    EntropyGuidance,
    IntervalGuidance,
    LinearGuidance,
)


def guidance_linear() -> Strategy:
    """From no guidance to s_base in a straight line."""
    return Strategy(name="guidance-linear", guidance=LinearGuidance(), default_n=1)


def guidance_cosine() -> Strategy:
    """From no guidance to s_base along a half cosine."""
    return Strategy(name="guidance-cosine", guidance=CosineGuidance(), default_n=1)


def guidance_interval() -> Strategy:
    """s_base for the first half of the tokens, none for the second."""
    return Strategy(name="guidance-interval", guidance=IntervalGuidance(), default_n=1)


def guidance_entropy() -> Strategy:
    """Stronger where the model is unsure."""
    return Strategy(
        name="guidance-entropy",
        confidence=EntropyConfidence(),
        guidance=EntropyGuidance(),
        default_n=1,
    )
