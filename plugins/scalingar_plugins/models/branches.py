"""Two branches in one batch: how adapters with their own KV cache pair guidance rows.

The loop knows candidates only. Here each candidate owns two rows of the network's batch, the
conditional rows first and the unconditional ones after them, and a `take` of candidates moves both.
"""

from __future__ import annotations

import torch
from attrs import define
from torch import Tensor

from scalingar_fw.decoding.state import Logits
from scalingar_plugins.models.decoder import KVCache


@define(eq=False)
class BranchCache:
    """The KV cache of N candidates: rows [0, N) conditional, [N, 2N) unconditional."""

    rows: KVCache

    def take(self, rows: Tensor) -> BranchCache:
        """Candidates by index (prune, reorder, fork), both branches together."""
        count = self.rows.keys[0].shape[0] // 2
        return BranchCache(self.rows.take(torch.cat([rows, rows + count])))

    def keep(self, rows: Tensor) -> None:
        """`take` in place, without a second cache beside the first."""
        count = self.rows.keys[0].shape[0] // 2
        self.rows.keep(torch.cat([rows, rows + count]))


def split_branches(logits: Tensor) -> Logits:
    """`[2N, V]` of conditional, then unconditional rows, as the loop's pair."""
    cond, uncond = logits.chunk(2)
    return Logits(cond, uncond)


def copy_prompts(prefilled: KVCache, logits: Tensor, copies: int) -> tuple[BranchCache, Logits]:
    """From one row for each prompt and branch to `copies` consecutive rows for each.

    Prefilling a prompt once is `copies` times cheaper, and identical rows are identical bits.
    """
    rows = torch.arange(logits.shape[0], device=logits.device).repeat_interleave(copies)
    # Prompts are [P cond, P uncond]; repeating each row in place keeps the halves apart.
    return BranchCache(prefilled.take(rows)), split_branches(logits.index_select(0, rows))
