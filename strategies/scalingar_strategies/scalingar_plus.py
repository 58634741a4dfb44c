"""ScalingAR's frame with another signal and another policy, chosen by measurement.

On the embedded model the paper's confidence does not tell right candidates of a prompt from wrong
ones, and the likelihood of the chosen tokens does, but hardly before the picture is complete
(docs/decisions.md). So the one cut comes early, where it saves most, and leaves a pair: which of
the two answers is decided at the end, when the signal knows.
"""

from __future__ import annotations

from scalingar_fw import FinalConfidence, Strategy
from scalingar_plugins.confidence.likelihood import LogProbConfidence
from scalingar_plugins.termination.halving import SuccessiveHalving


def scalingar_plus() -> Strategy:
    """After a sixth of the tokens 8 become 2, of which one answers: 3 T at N = 8."""
    return Strategy(
        name="scalingar-plus",
        confidence=LogProbConfidence(),
        termination=SuccessiveHalving(reduction=4.0, first_rung=1 / 6, min_survivors=2),
        selector=FinalConfidence(),
        default_n=8,
    )
