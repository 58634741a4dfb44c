"""A small learned judge of text and picture: the miniature of an external reward model.

Real comparisons choose among candidates by a reward model of their own (CLIPScore, ImageReward).
This is one for the shapes world: a bidirectional transformer over the prompt's words and the
picture's 64 cells that says how likely the picture fits. It is trained on training prompts alone,
on rendered pictures and on spoiled ones (:mod:`train_scorer`), never sees a generated picture, and
errs as a reward model does: the programmatic judge stays the measure.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from scalingar_plugins.models.shapes.scenes import CELL, GRID
from scalingar_plugins.models.shapes.text import Layer, sinusoids
from scalingar_plugins.models.shapes.words import MAX_PROMPT_TOKENS, PAD, TOKEN_IDS, TOKENS


@dataclass(frozen=True)
class ScorerConfig:
    """Geometry of the scorer."""

    dim: int = 96
    layers: int = 3
    heads: int = 4
    vocabulary: int = len(TOKENS)
    length: int = MAX_PROMPT_TOKENS
    grid: int = GRID
    cell: int = CELL

    def as_dict(self) -> dict[str, int]:
        """The fields as plain integers, for a weights file's metadata."""
        return asdict(self)


class Scorer(nn.Module):
    """Prompt ids and cells in, the log-odds that they fit out."""

    positions: Tensor

    def __init__(self, config: ScorerConfig | None = None) -> None:
        super().__init__()
        self.config = config or ScorerConfig()
        dim = self.config.dim
        self.words = nn.Embedding(self.config.vocabulary, dim)
        self.cells = nn.Linear(3 * self.config.cell**2, dim)
        self.rows = nn.Parameter(torch.zeros(self.config.grid, 1, dim))
        self.cols = nn.Parameter(torch.zeros(1, self.config.grid, dim))
        self.start = nn.Parameter(torch.zeros(dim))
        self.layers = nn.ModuleList(
            Layer(dim, self.config.heads) for _ in range(self.config.layers)
        )
        self.norm = nn.RMSNorm(dim, eps=1e-5)
        self.head = nn.Linear(dim, 1)
        self.register_buffer("positions", sinusoids(self.config.length, dim), persistent=False)

    def forward(self, ids: Tensor, cells: Tensor) -> Tensor:
        """Log-odds `[B]` of `ids int64 [B, P]` (padded) and `cells uint8 [B, 64, 108]`."""
        batch = ids.shape[0]
        words = self.words(ids) + 0.5 * self.positions
        places = (self.rows + self.cols).flatten(0, 1)
        seen = self.cells(cells.to(places.dtype) / 127.5 - 1.0) + places
        x = torch.cat([self.start.expand(batch, 1, -1), words, seen], dim=1)
        mask = ids.new_ones(batch, x.shape[1], dtype=torch.bool)
        mask[:, 1 : 1 + ids.shape[1]] = ids != TOKEN_IDS[PAD]
        for layer in self.layers:
            x = layer(x, mask[:, None, None, :])
        out: Tensor = self.head(self.norm(x[:, 0]))[:, 0]
        return out
