"""A small learned judge of text and picture: the miniature of an external reward model.

Real comparisons choose among candidates by a reward model of their own (CLIPScore, ImageReward).
This is one for the shapes world: it says how likely a picture fits its prompt. It is trained on
training prompts alone, on rendered pictures and on spoiled ones (:mod:`train_scorer`), never sees a
generated picture, and errs as a reward model does: the programmatic judge stays the measure.

An object fills two by two cells, so the network looks through windows of that size, adds up what
all windows show (and where), and compares the sum with the prompt. A transformer over cells and
words learnt nothing in the same time: to find that four cells belong together took all of it. A code is
looked up as its pixels, not as a name of its own, so that what is learnt of red squares and of blue
circles is of use for a red circle, which no training prompt names.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from scalingar_plugins.models.shapes.scenes import CELL, GRID, OBJECT_CELLS
from scalingar_plugins.models.shapes.text import Layer, sinusoids
from scalingar_plugins.models.shapes.words import MAX_PROMPT_TOKENS, PAD, TOKEN_IDS, TOKENS


@dataclass(frozen=True)
class ScorerConfig:
    """Geometry of the scorer.

    Attributes:
        codes: K, the size of the tokenizer's codebook.
        dim: Width.
        heads: Attention heads of the layer that reads the prompt.
        vocabulary: Number of words.
        length: Words of the longest prompt.
        grid: Cells per side of a picture.
        window: Cells per side of a window.
        cell: Pixels per side of a cell.
    """

    codes: int
    dim: int = 128
    heads: int = 4
    vocabulary: int = len(TOKENS)
    length: int = MAX_PROMPT_TOKENS
    grid: int = GRID
    window: int = OBJECT_CELLS
    cell: int = CELL

    def as_dict(self) -> dict[str, int]:
        """The fields as plain integers, for a weights file's metadata."""
        return asdict(self)


class Scorer(nn.Module):
    """Prompt ids and a picture's tokens in, the log-odds that they fit out.

    Attributes:
        codebook: The tokenizer's code vectors, float `[codes, 3 * cell * cell]`.
    """

    positions: Tensor
    codebook: Tensor

    def __init__(self, config: ScorerConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.dim
        self.words = nn.Embedding(config.vocabulary, dim)
        self.reader = Layer(dim, config.heads)
        self.asked = nn.Linear(dim, 3 * dim)
        self.register_buffer("codebook", torch.zeros(config.codes, 3 * config.cell**2))
        self.cells = nn.ModuleList(
            nn.Linear(3 * config.cell**2, 2 * dim, bias=False) for _ in range(config.window**2)
        )
        self.seen = nn.Sequential(
            nn.RMSNorm(2 * dim), nn.ReLU(), nn.Linear(2 * dim, dim), nn.ReLU(), nn.Linear(dim, dim)
        )
        self.head = nn.Sequential(nn.Linear(9 * dim, 2 * dim), nn.SiLU(), nn.Linear(2 * dim, 1))
        self.register_buffer("positions", sinusoids(config.length, dim), persistent=False)

    def _prompt(self, ids: Tensor) -> Tensor:
        """`int64 [B, P] -> [B, 3 * dim]`: the sum of what the words are in their sentence."""
        there = ids != TOKEN_IDS[PAD]
        x = self.reader(self.words(ids) + 0.5 * self.positions, there[:, None, None, :])
        out: Tensor = self.asked((x * there[..., None]).sum(1))
        return out

    def _picture(self, tokens: Tensor) -> Tensor:
        """`int64 [B, grid * grid] -> [B, 3 * dim]`: what is there, how high, how far right."""
        side, window = self.config.grid, self.config.window
        grid = tokens.view(-1, side, side)
        places = side - window + 1
        x = torch.zeros((), device=tokens.device)
        for index, cell in enumerate(self.cells):
            row, col = divmod(index, window)
            x = x + cell(self.codebook)[grid[:, row : row + places, col : col + places]]
        x = self.seen(x).relu()
        where = torch.linspace(-1.0, 1.0, places, device=x.device)
        sums = [x, x * where[:, None, None], x * where[:, None]]
        return torch.cat([each.sum((1, 2)) for each in sums], dim=1)

    def forward(self, ids: Tensor, tokens: Tensor) -> Tensor:
        """Log-odds `[B]` of `ids int64 [B, P]` (padded) and `tokens int64 [B, grid * grid]`."""
        asked, shown = self._prompt(ids), self._picture(tokens) / 8
        both = torch.cat([shown, nn.functional.silu(asked), shown * asked], dim=1)
        out: Tensor = self.head(both)[:, 0]
        return out
