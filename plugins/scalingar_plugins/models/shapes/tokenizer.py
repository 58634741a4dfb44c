"""A convolutional VQ tokenizer: 48 x 48 pictures to 12 x 12 tokens of a codebook of 1024.

The encoder sees one 4 x 4 patch at a time (a strided convolution, then 1 x 1 convolutions), so
equal patches get equal tokens wherever they lie.  That determinism is worth more here than a
wider view: the generator learns a clean language, and the decoder, which does see its neighbours,
smooths what is left.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class TokenizerConfig:
    """Geometry of the tokenizer.

    Attributes:
        codebook: Number of codes.
        code_dim: Width of a code vector.
        width: Channels of encoder and decoder.
        blocks: Residual 3 x 3 blocks of the decoder, on the token grid.
    """

    codebook: int = 1024
    code_dim: int = 16
    width: int = 128
    blocks: int = 2


class _Residual(nn.Module):
    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.first = nn.Conv2d(width, width, kernel, padding=kernel // 2)
        self.second = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.second(functional.silu(self.first(functional.silu(self.norm(x)))))
        return out


class _Pointwise(nn.Module):
    """A residual 1 x 1 block without a norm: a GroupNorm would leak the rest of the picture."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 1)
        self.second = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.second(functional.silu(self.first(functional.silu(x))))
        return out


class Tokenizer(nn.Module):
    """Encoder, quantizer and decoder.

    The codebook is a buffer: it follows the encoder by exponential moving averages, not by
    gradients (see :meth:`update_codebook`).
    """

    codebook: Tensor  #: float ``[K, code_dim]``

    def __init__(self, config: TokenizerConfig | None = None) -> None:
        super().__init__()
        self.config = config or TokenizerConfig()
        width, code = self.config.width, self.config.code_dim
        self.encoder = nn.Sequential(
            nn.Conv2d(3, width, 4, stride=4),
            _Pointwise(width),
            _Pointwise(width),
            nn.Conv2d(width, code, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(code, width, 1),
            *(_Residual(width, 3) for _ in range(self.config.blocks)),
            nn.SiLU(),
            nn.Conv2d(width, 48, 1),
            nn.PixelShuffle(4),
        )
        self.register_buffer("codebook", torch.zeros(self.config.codebook, code))

    def features(self, pictures: Tensor) -> Tensor:
        """Unquantized codes of pictures in [-1, 1]: ``[B, 3, 48, 48] -> [B, code_dim, 12, 12]``."""
        # L2-normalised, as LlamaGen's tokenizer: a bounded space keeps every code within reach.
        out: Tensor = functional.normalize(self.encoder(pictures), dim=1)
        return out

    def nearest(self, features: Tensor) -> Tensor:
        """Index of the nearest code of each position: ``[B, code_dim, h, w] -> int64 [B, h, w]``."""
        flat = features.permute(0, 2, 3, 1).reshape(-1, self.config.code_dim)
        # The squared norm of a feature is the same for all codes.
        scores = torch.addmm(self.codebook.square().sum(1), flat, self.codebook.T, alpha=-2.0)
        return scores.argmin(1).view(features.shape[0], *features.shape[2:])

    def vectors(self, tokens: Tensor) -> Tensor:
        """Code vectors: int64 ``[B, h, w] -> [B, code_dim, h, w]``."""
        return functional.embedding(tokens, self.codebook).permute(0, 3, 1, 2)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the reconstruction, the features and the tokens (straight-through gradients)."""
        features = self.features(pictures)
        tokens = self.nearest(features.detach())
        quantized = features + (self.vectors(tokens) - features).detach()
        return self.decoder(quantized), features, tokens

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """Tokens of pictures in raster order: uint8 ``[B, 48, 48, 3] -> int64 [B, 144]``."""
        scaled = to_signed(pictures, self.codebook.dtype)
        return self.nearest(self.features(scaled)).flatten(1)

    @torch.no_grad()
    def decode(self, tokens: Tensor) -> Tensor:
        """Pictures of tokens in raster order: int64 ``[B, 144] -> uint8 [B, 48, 48, 3]``.

        Raises:
            ValueError: The tokens are not ``[B, n * n]`` or lie outside the codebook.
        """
        side = int(round(tokens.shape[-1] ** 0.5))
        if tokens.ndim != 2 or side * side != tokens.shape[1]:
            raise ValueError(f"tokens of shape {list(tokens.shape)}: expected [B, side * side].")
        if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < len(self.codebook):
            raise ValueError(
                f"tokens from {int(tokens.min())} to {int(tokens.max())}: the codebook holds "
                f"0 to {len(self.codebook) - 1}."
            )
        pictures = self.decoder(self.vectors(tokens.long().view(-1, side, side)))
        return to_bytes(pictures)

    @torch.no_grad()
    def initialise_codebook(self, features: Tensor, generator: torch.Generator) -> None:
        """Choose initial codes by farthest-point traversal of sampled features ``[N, code_dim]``.

        k-means++ draws in proportion to squared distance, which on a world of few distinct
        patches spends codes on duplicates; the deterministic variant takes every distinct patch
        once before it takes anything twice.
        """
        size = self.config.codebook
        first = int(torch.randint(len(features), (1,), generator=generator))
        chosen = [first]
        gap = (features - features[first]).square().sum(1)
        for _ in range(size - 1):
            best = int(gap.argmax())
            chosen.append(best)
            gap = torch.minimum(gap, (features - features[best]).square().sum(1))
        self.codebook.copy_(features[chosen])

    @torch.no_grad()
    def update_codebook(
        self, features: Tensor, tokens: Tensor, idle: Tensor, rate: float = 0.1, patience: int = 50
    ) -> int:
        """Move the codes in use towards the mean of their features; restart a dead one.

        Args:
            features: ``[B, code_dim, h, w]``.
            tokens: ``[B, h, w]``, the code of each feature.
            idle: int64 ``[K]``, batches since each code was last used; updated in place.
            rate: Share of the way to this batch's mean.
            patience: Idle batches after which a code counts as dead.

        Returns:
            The number of codes that this batch used.
        """
        flat = features.permute(0, 2, 3, 1).reshape(-1, self.config.code_dim)
        index = tokens.flatten()
        count = torch.zeros(len(self.codebook), device=flat.device)
        count.index_add_(0, index, torch.ones_like(index, dtype=torch.float32))
        total = torch.zeros_like(self.codebook).index_add_(0, index, flat)
        used = count > 0
        idle.add_(1).masked_fill_(used, 0)
        self.codebook[used] += rate * (total[used] / count[used, None] - self.codebook[used])
        # The longest dead code moves to the feature that the codebook serves worst, if any is
        # served badly: a restart where nothing is missing would only shuffle the vocabulary.
        loss = (flat - self.codebook[index]).square().sum(1)
        worst, stale = int(loss.argmax()), int(idle.argmax())
        if float(loss[worst]) > 1e-2 and int(idle[stale]) > patience:
            self.codebook[stale] = flat[worst]
            idle[stale] = 0
        return int(used.sum())


def to_signed(pictures: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 ``[B, H, W, 3]`` to ``[B, 3, H, W]`` in [-1, 1]."""
    return pictures.permute(0, 3, 1, 2).to(dtype) / 127.5 - 1.0


def to_bytes(pictures: Tensor) -> Tensor:
    """``[B, 3, H, W]`` in [-1, 1] (clamped) to uint8 ``[B, H, W, 3]``, rounded."""
    scaled = ((pictures.float() + 1.0) * 127.5).round().clamp(0, 255)
    return scaled.to(torch.uint8).permute(0, 2, 3, 1)
