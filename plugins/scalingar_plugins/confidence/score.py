"""What the parts of the unified confidence have in common: one number in [0, 1] for each row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from scalingar_fw.decoding.components import ConfidenceEstimator, Step
from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.signals import Signals
from scalingar_fw.errors import ScalingarError

#: C, I and D of a score all lie in [0, 1].
UNIT = dict.fromkeys(("confidence", "intrinsic", "drift"), (0.0, 1.0))


class Score(ConfidenceEstimator[Any]):
    """An estimator that is one number; a part of a fused confidence, or a confidence by itself.

    Subclasses implement `score`, which a composition calls directly: no `Confidence` is built for
    a part. By itself a score is C, without a rebound (eq. 8 belongs to the fused confidence).
    """

    ranges: ClassVar[Mapping[str, tuple[float, float]]] = UNIT

    def score(
        self, state: Any, signals: Signals, step: Step
    ) -> tuple[Tensor, dict[str, Tensor], Any]:
        """The score `[N]` in [0, 1], higher is better; further quantities to record; the memory."""
        raise NotImplementedError

    def update(self, state: Any, signals: Signals, step: Step) -> tuple[Confidence, Any]:
        value, extra, state = self.score(state, signals, step)
        return Confidence(value, extra), state


def shares(first: float, second: float, what: str) -> tuple[float, float]:
    """Two weights as shares of their sum; `ScalingarError` where both are 0.

    The paper's weights sum to 1, where this changes nothing. Elsewhere (paper does not specify) it
    keeps every score in [0, 1], so that switching a part off by the weight 0 leaves the scale of
    what remains, and with it the rebound and the volatility, comparable.
    """
    if first + second == 0.0:
        raise ScalingarError(f"{what} cannot both be 0: nothing would be left to read.")
    return first / (first + second), second / (first + second)
