"""I_t: the image by itself, whatever the prompt says."""

from __future__ import annotations

from typing import Any

import torch
from attrs import frozen
from torch import Tensor

from scalingar_fw.decoding.components import Context, Scope, Step
from scalingar_fw.decoding.params import param, part
from scalingar_fw.decoding.signals import Signals
from scalingar_fw.decoding.state import candidate_field
from scalingar_fw.decoding.statistics import ema
from scalingar_plugins.confidence.blocks import WorstBlockStability
from scalingar_plugins.confidence.score import Score, shares
from scalingar_plugins.confidence.token import TokenConfidence


@frozen(eq=False)
class IntrinsicState:
    """The parts' memories (None for a part that is switched off), and I_{t-1}."""

    token: Any = candidate_field(default=None)
    blocks: Any = candidate_field(default=None)
    value: Tensor | None = candidate_field(default=None)


@frozen
class IntrinsicConfidence(Score):
    """I_t: the moving average of w_tok * s_t + w_blk * B_t.

    A part with weight 0 is not computed: the paper's ablations "without token confidence" and
    "without worst-block stability".
    """

    token: Score = part(TokenConfidence, "s_t, the token confidence (eq. 5)")
    blocks: Score = part(WorstBlockStability, "B_t, the worst-block stability (eq. 6)")
    token_weight: float = param(
        0.65,
        "w_tok, the weight of the token confidence; the two weights count as shares of their sum, "
        "and 0 switches a part off",
        source="Table 'Hyperparameters'",
        ge=0.0,
    )
    block_weight: float = param(
        0.35,
        "w_blk, the weight of the worst-block stability",
        source="Table 'Hyperparameters'",
        ge=0.0,
    )
    rate: float = param(
        0.2,
        "lambda_I, the share of the newest value in the moving average",
        source="Table 'Hyperparameters'",
        gt=0.0,
        le=1.0,
    )

    def __attrs_post_init__(self) -> None:
        shares(self.token_weight, self.block_weight, "token_weight and block_weight")

    @property
    def scope(self) -> Scope:
        used = []
        if self.token_weight:
            used.append(self.token.scope)
        if self.block_weight:
            used.append(self.blocks.scope)
        return "cohort" if "cohort" in used else "row"

    def init(self, context: Context) -> IntrinsicState:
        return IntrinsicState(
            token=self.token.init(context) if self.token_weight else None,
            blocks=self.blocks.init(context) if self.block_weight else None,
        )

    def score(
        self, state: IntrinsicState, signals: Signals, step: Step
    ) -> tuple[Tensor, dict[str, Tensor], IntrinsicState]:
        if not self.block_weight:
            mixed, extra, token = self.token.score(state.token, signals, step)
            blocks = None
        elif not self.token_weight:
            mixed, extra, blocks = self.blocks.score(state.blocks, signals, step)
            token = None
        else:
            of_token, _ = shares(self.token_weight, self.block_weight, "weights")
            sure, extra, token = self.token.score(state.token, signals, step)
            stable, more, blocks = self.blocks.score(state.blocks, signals, step)
            mixed = torch.lerp(stable, sure, of_token)
            extra = {**extra, **more}
        value = ema(state.value, mixed, self.rate)
        return value, extra, IntrinsicState(token, blocks, value)
