"""s_t: how sure the model has recently been of its next token."""

from __future__ import annotations

import torch
from attrs import frozen
from torch import Tensor

from scalingar_fw.decoding.components import Context, Step
from scalingar_fw.decoding.params import param
from scalingar_fw.decoding.signals import Signals
from scalingar_fw.decoding.statistics import ema, one_minus
from scalingar_plugins.confidence.score import Score, shares


@frozen
class TokenConfidence(Score):
    """s_t (eq. 5): the moving average of 1 - u_t, with the token's uncertainty
    u_t = a_H * H_t / ln V + a_M * (1 - m_t).

    H_t / ln V is the normalised entropy and m_t the top-1/top-2 margin of the signals'
    distribution. Records `uncertainty` (u_t) and `token_confidence` (s_t).
    """

    entropy_weight: float = param(
        0.5,
        "a_H, the weight of the normalised entropy; the two weights count as shares of their sum",
        source="Table 'Hyperparameters' (its sensitivity study found 0.7 slightly better)",
        ge=0.0,
    )
    margin_weight: float = param(
        0.5,
        "a_M, the weight of one minus the margin",
        source="Table 'Hyperparameters' (its sensitivity study found 0.3 slightly better)",
        ge=0.0,
    )
    rate: float = param(
        0.2,
        "lambda_tok, the share of the newest token in the moving average",
        source="eq. 5; Table 'Hyperparameters'",
        gt=0.0,
        le=1.0,
    )

    def __attrs_post_init__(self) -> None:
        shares(self.entropy_weight, self.margin_weight, "entropy_weight and margin_weight")

    def init(self, context: Context) -> None:
        """No average before the first token."""

    def score(
        self, state: Tensor | None, signals: Signals, step: Step
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        of_entropy, _ = shares(self.entropy_weight, self.margin_weight, "weights")
        uncertainty = torch.lerp(one_minus(signals.margin), signals.entropy, of_entropy)
        value = ema(state, one_minus(uncertainty), self.rate)
        return value, {"uncertainty": uncertainty, "token_confidence": value}, value
