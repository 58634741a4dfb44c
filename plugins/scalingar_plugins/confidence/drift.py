"""D_t: is the prompt still being listened to?"""

from __future__ import annotations

from typing import Any

from attrs import frozen
from torch import Tensor

from scalingar_fw.decoding.components import Context, Scope, Step
from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.params import param
from scalingar_fw.decoding.signals import Signals
from scalingar_fw.decoding.state import candidate_field
from scalingar_fw.decoding.statistics import ema
from scalingar_plugins.confidence.normalize import (
    Memory,
    Normalizer,
    fresh,
    normalize,
    normalizer_param,
)
from scalingar_plugins.confidence.score import Score


@frozen(eq=False)
class DriftState:
    """The normaliser's memory, and D_{t-1}."""

    memory: Memory = candidate_field()
    value: Tensor | None = candidate_field(default=None)


@frozen
class PromptDrift(Score):
    """D_t: the rolling normalisation of K_t = KL(p_c || p_u) (eq. 7), smoothed; low D means that
    the prompt is being ignored.

    K_t always compares the two branches, whichever distribution the other signals read. A model
    without an unconditional branch has K_t = 0 and D_t = 0.5.
    """

    drift_smoothing: float = param(
        0.2,
        "the share of the newest value in D's moving average; 1 gives the raw score",
        source="paper does not specify (the rate of I_t; Algorithm 1, line 9 says 'EMA')",
        gt=0.0,
        le=1.0,
    )
    normalizer: Normalizer = normalizer_param("the divergence K_t")

    @property
    def scope(self) -> Scope:
        return "cohort" if self.normalizer == "cohort" else "row"

    def init(self, context: Context) -> DriftState:
        return DriftState(fresh(self.normalizer))

    def score(
        self, state: DriftState, signals: Signals, step: Step
    ) -> tuple[Tensor, dict[str, Tensor], DriftState]:
        raw, memory = normalize(state.memory, signals.kl, step.rows)
        value = raw if self.drift_smoothing == 1.0 else ema(state.value, raw, self.drift_smoothing)
        return value, {}, DriftState(memory, value)

    def update(self, state: Any, signals: Signals, step: Step) -> tuple[Confidence, Any]:
        """As any score by itself, and recorded as "drift" as well: C = D."""
        value, _, state = self.score(state, signals, step)
        return Confidence(value, {"drift": value}), state
