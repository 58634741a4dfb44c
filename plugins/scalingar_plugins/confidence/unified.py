"""C_t and R_t: the two channels fused, and how far the result has come back from its low."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from attrs import frozen
from torch import Tensor

from scalingar_fw.decoding.components import ConfidenceEstimator, Context, Distribution, Scope, Step
from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.params import param, part
from scalingar_fw.decoding.signals import Signals
from scalingar_fw.decoding.state import candidate_field
from scalingar_fw.decoding.statistics import ceil_share, rebound
from scalingar_plugins.confidence.drift import PromptDrift
from scalingar_plugins.confidence.intrinsic import IntrinsicConfidence
from scalingar_plugins.confidence.score import UNIT, Score, shares


@frozen(eq=False)
class UnifiedState:
    """The channels' memories (None for one that is switched off); `low [N]`: Cmin_{t-1}."""

    intrinsic: Any = candidate_field()
    drift: Any = candidate_field()
    low: Tensor | None = candidate_field(default=None)


@frozen
class UnifiedConfidence(ConfidenceEstimator[UnifiedState]):
    """The confidence state S_t = (C_t, R_t, I_t, D_t) of section 4.1.

    C_t = w_I * I_t + w_D * D_t; R_t = (C_t - Cmin_t) / (|Cmin_t| + eps), with Cmin_t the running
    minimum of C (eq. 8). Signals: "rebound" (R), "intrinsic" (I), "drift" (D), and what the
    channels record. A channel with weight 0 is neither computed nor recorded.
    """

    ranges: ClassVar[Mapping[str, tuple[float, float]]] = UNIT

    intrinsic: Score = part(IntrinsicConfidence, "I_t, the intrinsic channel")
    drift: Score = part(PromptDrift, "D_t, the conditional channel (eq. 7)")
    intrinsic_weight: float = param(
        0.75,
        "w_I, the weight of the intrinsic channel; the two weights count as shares of their sum, "
        "and 0 switches a channel off",
        source="Table 'Hyperparameters'",
        ge=0.0,
    )
    drift_weight: float = param(
        0.25,
        "w_D, the weight of the conditional channel",
        source="Table 'Hyperparameters'",
        ge=0.0,
    )
    rebound_warmup: float = param(
        0.0,
        "the share of the T steps, rounded up, before the running minimum of eq. 8 starts (R is 0 "
        "until then); 0 starts it at the first token, whose confidence, before anything is drawn, "
        "is nearly always the lowest: R then never comes back to 0",
        source="eq. 8; when it starts: paper does not specify",
        ge=0.0,
        le=1.0,
    )
    rebound_eps: float = param(
        1e-6, "eps, which keeps the rebound finite at a minimum of 0", source="eq. 8", gt=0.0
    )
    distribution: Distribution = param(
        "conditional",
        "whose entropy and margin are read: the conditional distribution's, or the guided one's "
        "under the previous step's scale; both untempered and before truncation",
        source="paper does not specify",
        choices=("conditional", "guided"),
    )

    def __attrs_post_init__(self) -> None:
        shares(self.intrinsic_weight, self.drift_weight, "intrinsic_weight and drift_weight")

    @property
    def scope(self) -> Scope:
        used = []
        if self.intrinsic_weight:
            used.append(self.intrinsic.scope)
        if self.drift_weight:
            used.append(self.drift.scope)
        return "cohort" if "cohort" in used else "row"

    def init(self, context: Context) -> UnifiedState:
        return UnifiedState(
            intrinsic=self.intrinsic.init(context) if self.intrinsic_weight else None,
            drift=self.drift.init(context) if self.drift_weight else None,
        )

    def update(
        self, state: UnifiedState, signals: Signals, step: Step
    ) -> tuple[Confidence, UnifiedState]:
        of_intrinsic, _ = shares(self.intrinsic_weight, self.drift_weight, "weights")
        named: dict[str, Tensor] = {}
        seen: dict[str, Tensor] = {}
        inner = outer = None
        if self.intrinsic_weight:
            named["intrinsic"], seen, inner = self.intrinsic.score(state.intrinsic, signals, step)
        if self.drift_weight:
            named["drift"], more, outer = self.drift.score(state.drift, signals, step)
            seen = {**seen, **more}
        value = (
            torch.lerp(named["drift"], named["intrinsic"], of_intrinsic)
            if len(named) == 2
            else next(iter(named.values()))
        )
        early = step.index <= ceil_share(self.rebound_warmup, step.total)
        low = value if state.low is None or early else torch.minimum(state.low, value)
        back = rebound(value, low, self.rebound_eps)
        confidence = Confidence(value, {"rebound": back, **named, **seen})
        return confidence, UnifiedState(inner, outer, low)
