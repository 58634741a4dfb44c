"""ScalingAR's frame with another signal and another policy, chosen by measurement.

On the embedded model the paper's confidence does not tell right candidates of a prompt from wrong
ones, and the likelihood of the tokens chosen so far does (docs/decisions.md). Its level drifts with
what is being drawn, so no threshold follows it: at three fixed steps the better half goes on.
"""

from __future__ import annotations

from scalingar_fw.strategy import FinalConfidence, Strategy
from scalingar_plugins.confidence.likelihood import SurpriseConfidence
from scalingar_plugins.termination.halving import SuccessiveHalving


def scalingar_plus() -> Strategy:
    """Halving after an eighth, a quarter and a half of the tokens: 2.5 T at N = 8."""
    return Strategy(
        name="scalingar-plus",
        confidence=SurpriseConfidence(),
        termination=SuccessiveHalving(reduction=2.0, first_rung=1 / 8),
        selector=FinalConfidence(),
        default_n=8,
    )
