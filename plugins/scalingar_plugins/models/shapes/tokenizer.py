"""A vector quantizer of cells: 48 x 48 pictures to 8 x 8 tokens.

The codebook holds every cell that a rendered scene can show (:func:`scenes.distinct_cells`), as
pixels. A picture's tokens are its cells' nearest codes, its tokens' picture is those codes side by
side. Nothing here is learnt, on purpose: the world is made to measure what the *generator's*
logits know, and a learnt decoder would add errors of its own to every verdict. What is lost is a
decoder that smooths over its neighbours' tokens, as the VQ-GANs of real models do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from scalingar_plugins.models.shapes.scenes import CELL, distinct_cells


@dataclass(frozen=True)
class TokenizerConfig:
    """Geometry of the tokenizer.

    Attributes:
        codebook: K, the number of codes.
        cell: Pixels per side of a cell.
    """

    codebook: int
    cell: int = CELL


class Tokenizer(nn.Module):
    """Pictures to tokens and back.

    Attributes:
        cells: float ``[K, 3 * cell * cell]``, RGB from 0 to 255, row by row.
    """

    cells: Tensor

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("cells", torch.zeros(config.codebook, 3 * config.cell**2))

    @classmethod
    def of_world(cls) -> Tokenizer:
        """The tokenizer of today's world: one code for each distinct cell."""
        table = torch.from_numpy(np.array(distinct_cells()))
        tokenizer = cls(TokenizerConfig(len(table)))
        tokenizer.cells.copy_(table)
        return tokenizer.eval()

    @property
    def codebook(self) -> Tensor:
        """Code vectors for the generator's start, ``[K, 3 * cell * cell]``, of about unit norm."""
        centred = self.cells - self.cells.mean(0)
        scaled: Tensor = centred / centred.norm(dim=1).mean()
        return scaled

    def encode(self, pictures: Tensor) -> Tensor:
        """Tokens of pictures in raster order: uint8 ``[B, 48, 48, 3] -> int64 [B, 64]``."""
        size = self.config.cell
        channels = pictures.permute(0, 3, 1, 2).to(self.cells.dtype)
        unfolded = functional.unfold(channels, size, stride=size)  # [B, 3 * cell * cell, T]
        batch, _, total = unfolded.shape
        flat = unfolded.view(batch, 3, size * size, total).permute(0, 3, 2, 1)
        flat = flat.reshape(-1, 3 * size * size)
        # The squared norm of a cell is the same for all codes; sums of squares of bytes stay exact.
        scores = torch.addmm(self.cells.square().sum(1), flat, self.cells.T, alpha=-2.0)
        return scores.argmin(1).view(batch, total)

    def decode(self, tokens: Tensor) -> Tensor:
        """Pictures of tokens in raster order: int64 ``[B, 64] -> uint8 [B, 48, 48, 3]``.

        Raises:
            ValueError: The tokens are not ``[B, n * n]`` or lie outside the codebook.
        """
        side = int(round(tokens.shape[-1] ** 0.5))
        if tokens.ndim != 2 or side * side != tokens.shape[1]:
            raise ValueError(f"tokens of shape {list(tokens.shape)}: expected [B, side * side].")
        if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < len(self.cells):
            raise ValueError(
                f"tokens from {int(tokens.min())} to {int(tokens.max())}: the codebook holds "
                f"0 to {len(self.cells) - 1}."
            )
        size = self.config.cell
        cells = self.cells[tokens].to(torch.uint8).view(-1, side, side, size, size, 3)
        return cells.permute(0, 1, 3, 2, 4, 5).reshape(-1, side * size, side * size, 3)
