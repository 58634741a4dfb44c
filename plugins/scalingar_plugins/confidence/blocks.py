"""B_t: is there a pocket of the image where the model does not know what to draw?"""

from __future__ import annotations

import torch
from attrs import frozen
from torch import Tensor

from scalingar_fw.decoding.components import Context, Scope, Step
from scalingar_fw.decoding.params import param
from scalingar_fw.decoding.signals import Signals
from scalingar_fw.decoding.state import Grid, candidate_field
from scalingar_fw.decoding.statistics import ceil_share, one_minus
from scalingar_fw.errors import ScalingarError
from scalingar_plugins.confidence.normalize import (
    Memory,
    Normalizer,
    fresh,
    normalize,
    normalizer_param,
)
from scalingar_plugins.confidence.score import Score


@frozen(eq=False)
class BlockPlan:
    """What the raster order says about each step, the same for all rows; one entry per step.

    `gain [K]`: 1 / (tokens in the block) at the block of this step's token, 0 at the other blocks,
    so that mean + gain * (H - mean) is the new mean. `counted [K]`: 1 for blocks that count, 0
    for others; None where those others still hold 0. `worst`: |W_t|, the number of blocks to
    average; 0 where none counts yet.
    """

    blocks: int
    gain: tuple[Tensor, ...]
    counted: tuple[Tensor, ...] | None
    worst: tuple[int, ...]

    @classmethod
    def of(
        cls, grid: Grid, block: int, fraction: float, min_filled: int, device: torch.device
    ) -> BlockPlan:
        step = torch.arange(grid.size)
        across = -(-grid.cols // block)
        block_of = step // grid.cols // block * across + step % grid.cols // block
        blocks = across * -(-grid.rows // block)
        here = torch.nn.functional.one_hot(block_of, blocks)
        filled = here.cumsum(0)
        counted = filled >= min_filled
        worst = [max(1, ceil_share(fraction, n)) if n else 0 for n in counted.sum(1).tolist()]
        return cls(
            blocks=blocks,
            gain=(here / filled.clamp_min(1)).float().to(device).unbind(0),
            counted=counted.float().to(device).unbind(0) if min_filled > 1 else None,
            worst=tuple(worst),
        )


@frozen(eq=False)
class BlockState:
    """`means [N, K]`: E_k of each block, 0 before its first token."""

    plan: BlockPlan
    means: Tensor = candidate_field()
    memory: Memory = candidate_field()


@frozen
class WorstBlockStability(Score):
    """B_t = 1 - N_rolling(mean of E_k over W_t) (eq. 6).

    E_k is the mean entropy, in nats, of the tokens of block k up to and including the one being
    chosen; W_t is the worst share q of the blocks that have been started, by E_k. Records
    `block_stability`.
    """

    block: int = param(
        4,
        "b: the grid is cut into b x b blocks; those at its edge may be smaller",
        source="Table 'Hyperparameters'",
        ge=1,
    )
    worst_fraction: float = param(
        0.1,
        "q, the share of the started blocks, rounded up, that are the worst",
        source="eq. 6; Table 'Hyperparameters'",
        gt=0.0,
        le=1.0,
    )
    min_filled: int = param(
        1, "tokens from which on a block counts", source="paper does not specify", ge=1
    )
    normalizer: Normalizer = normalizer_param("the mean entropy of the worst blocks")

    @property
    def scope(self) -> Scope:
        return "cohort" if self.normalizer == "cohort" else "row"

    def init(self, context: Context) -> BlockState:
        grid = context.grid
        largest = min(self.block, grid.rows) * min(self.block, grid.cols)
        if self.min_filled > largest:
            raise ScalingarError(
                f"min_filled={self.min_filled} must be at most {largest}: no block of a "
                f"{grid.rows} x {grid.cols} grid has more tokens (block={self.block})."
            )
        plan = BlockPlan.of(grid, self.block, self.worst_fraction, self.min_filled, context.device)
        return BlockState(plan, context.full(0.0, plan.blocks), fresh(self.normalizer))

    def score(
        self, state: BlockState, signals: Signals, step: Step
    ) -> tuple[Tensor, dict[str, Tensor], BlockState]:
        plan, t = state.plan, step.index
        entropy = signals.entropy_nats
        means = torch.lerp(state.means, entropy.unsqueeze(1), plan.gain[t])
        # Entropies are not negative, so a block that holds 0 is never worse than one that counts.
        ranked = means if plan.counted is None else means * plan.counted[t]
        if plan.worst[t] == 0:  # nothing to observe: neutral, and no part of the statistics
            memory, value = state.memory, torch.full_like(entropy, 0.5)
        else:
            worst = (
                ranked.amax(-1)
                if plan.worst[t] == 1
                else ranked.topk(plan.worst[t], sorted=False).values.mean(-1)
            )
            instability, memory = normalize(state.memory, worst, step.rows)
            value = one_minus(instability)
        return value, {"block_stability": value}, BlockState(plan, means, memory)
