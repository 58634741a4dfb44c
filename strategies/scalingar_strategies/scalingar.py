"""ScalingAR (arXiv 2509.26376): profile, then policy. Two readings of what the paper leaves open.

Parameters that are not named here have the paper's values ("Hyperparameters" table).
"""

from __future__ import annotations

from scalingar_fw import FinalConfidence, Strategy
from scalingar_plugins.confidence.drift import PromptDrift
from scalingar_plugins.confidence.unified import UnifiedConfidence
from scalingar_plugins.guidance.adaptive import AdaptiveGuidance
from scalingar_plugins.termination.quantile import QuantileTermination


def scalingar() -> Strategy:
    """The preset: the silent decisions chosen so that it behaves as the paper describes."""
    return Strategy(
        name="scalingar",
        confidence=UnifiedConfidence(
            drift=PromptDrift(drift_smoothing=0.2),
            rebound_warmup=0.03,
        ),
        guidance=AdaptiveGuidance(),
        termination=QuantileTermination(
            rebound_reference="flag",
            recovery_rule="any",
            recovery_share=1 / 32,
        ),
        selector=FinalConfidence(),
        default_n=8,
    )


def scalingar_literal() -> Strategy:
    """The paper's text read literally: R of eq. 8 with the minimum since the start, a rebound at
    any step of the window, D unsmoothed."""
    return Strategy(
        name="scalingar-literal",
        confidence=UnifiedConfidence(
            drift=PromptDrift(drift_smoothing=1.0),
        ),
        guidance=AdaptiveGuidance(),
        termination=QuantileTermination(
            rebound_reference="start",
            recovery_rule="any",
        ),
        selector=FinalConfidence(),
        default_n=8,
    )
