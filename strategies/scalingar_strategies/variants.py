"""ScalingAR with parts switched off: the paper's ablations, each one change away from the preset.

The full method is `scalingar` itself.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve

from scalingar_fw import ConstantGuidance, NeverTerminate, Strategy
from scalingar_strategies.scalingar import scalingar


def scalingar_termination() -> Strategy:
    """Adaptive termination under the constant scale."""
    return evolve(scalingar(), name="scalingar-termination", guidance=ConstantGuidance())


def scalingar_scheduler() -> Strategy:
    """The guidance scheduler; every candidate is decoded to its end."""
    return evolve(scalingar(), name="scalingar-scheduler", termination=NeverTerminate())


def scalingar_without_drift() -> Strategy:
    """Without the conditional channel: C is the intrinsic score."""
    full = scalingar()
    unified: Any = full.confidence
    return evolve(
        full, name="scalingar-without-drift", confidence=evolve(unified, drift_weight=0.0)
    )


def scalingar_without_intrinsic() -> Strategy:
    """Without the intrinsic channel: C is the drift score."""
    full = scalingar()
    unified: Any = full.confidence
    return evolve(
        full, name="scalingar-without-intrinsic", confidence=evolve(unified, intrinsic_weight=0.0)
    )


def scalingar_without_blocks() -> Strategy:
    """Without worst-block stability: the intrinsic score is the token confidence."""
    return _intrinsic("scalingar-without-blocks", block_weight=0.0)


def scalingar_without_token() -> Strategy:
    """Without token confidence: the intrinsic score is the worst-block stability."""
    return _intrinsic("scalingar-without-token", token_weight=0.0)


def _intrinsic(name: str, **weights: float) -> Strategy:
    full = scalingar()
    unified: Any = full.confidence
    channel = evolve(unified.intrinsic, **weights)
    return evolve(full, name=name, confidence=evolve(unified, intrinsic=channel))
