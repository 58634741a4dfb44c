"""The text encoder: words of a closed vocabulary to a fixed number of conditioning vectors.

Word embeddings with fixed sinusoidal positions, then two small bidirectional transformer layers,
so that each vector knows its sentence ("red" that belongs to "circle").  Positions are not
learned because the longest prompts occur in the split ``beyond`` only, and an untrained
embedding would be noise there.  Padding is hidden from the words, but padding positions read the
sentence and go to the generator like the rest: they act as summary vectors, and the generator
needs no prefix mask.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from scalingar_plugins.models.shapes.words import (
    MAX_PROMPT_TOKENS,
    NULL,
    PAD,
    TOKEN_IDS,
    TOKENS,
    encode,
)


@dataclass(frozen=True)
class TextConfig:
    """Geometry of the text encoder.

    Attributes:
        dim: Width of the conditioning vectors (the generator's width).
        layers: Transformer layers.
        heads: Attention heads; divides ``dim``.
        vocabulary: Number of tokens.
        length: P, conditioning vectors per prompt.
    """

    dim: int = 192
    layers: int = 2
    heads: int = 6
    vocabulary: int = len(TOKENS)
    length: int = MAX_PROMPT_TOKENS

    def __post_init__(self) -> None:
        if self.dim % self.heads or self.dim % 2:
            raise ValueError(f"dim={self.dim} must be even and divisible by heads={self.heads}.")


def prompt_ids(prompts: Sequence[str | None]) -> Tensor:
    """Token ids of prompts, padded: int64 ``[B, P]``; None stands for the null prompt.

    Raises:
        UnknownWordError: A word is not in the vocabulary (a ValueError that lists it).
        PromptError: A prompt is empty or too long.
    """
    ids = torch.full((len(prompts), MAX_PROMPT_TOKENS), TOKEN_IDS[PAD], dtype=torch.int64)
    for row, prompt in zip(ids, prompts, strict=True):
        tokens = [TOKEN_IDS[NULL]] if prompt is None else encode(prompt)
        row[: len(tokens)] = torch.tensor(tokens)
    return ids


def sinusoids(length: int, dim: int) -> Tensor:
    """Fixed positions, `[length, dim]`."""
    frequency = torch.exp(torch.arange(0, dim, 2) * (-math.log(1e3) / dim))
    angle = torch.arange(length)[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=1)


class Layer(nn.Module):
    """A bidirectional transformer layer; `mask` (bool, broadcast to scores) hides what is False."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1 = nn.RMSNorm(dim, eps=1e-5)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        self.norm_2 = nn.RMSNorm(dim, eps=1e-5)
        self.up = nn.Linear(dim, 2 * dim, bias=False)
        self.down = nn.Linear(2 * dim, dim, bias=False)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        batch, length, dim = x.shape
        qkv = self.qkv(self.norm_1(x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], attn_mask=mask)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, dim))
        out: Tensor = x + self.down(functional.silu(self.up(self.norm_2(x))))
        return out


class WordEncoder(nn.Module):
    """Words in, conditioning vectors out."""

    positions: Tensor

    def __init__(self, config: TextConfig | None = None) -> None:
        super().__init__()
        self.config = config or TextConfig()
        self.words = nn.Embedding(self.config.vocabulary, self.config.dim)
        self.layers = nn.ModuleList(
            Layer(self.config.dim, self.config.heads) for _ in range(self.config.layers)
        )
        self.norm = nn.RMSNorm(self.config.dim, eps=1e-5)
        self.register_buffer(
            "positions", sinusoids(self.config.length, self.config.dim), persistent=False
        )

    def forward(self, ids: Tensor) -> Tensor:
        """``int64 [B, P] -> [B, P, dim]``."""
        mask = (ids != TOKEN_IDS[PAD])[:, None, None, :]
        x = self.words(ids) + 0.5 * self.positions.to(self.words.weight.dtype)
        for layer in self.layers:
            x = layer(x, mask)
        out: Tensor = self.norm(x)
        return out

    def encode_prompts(self, prompts: Sequence[str | None]) -> Tensor:
        """Conditioning vectors of prompts (None: the null prompt), ``[B, P, dim]``.

        Raises:
            ValueError: As :func:`prompt_ids`.
        """
        vectors: Tensor = self(prompt_ids(prompts).to(self.words.weight.device))
        return vectors
