"""The generator: a word encoder in front of LlamaGen's decoder, and a plain sampling function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from scalingar_plugins.models.decoder import Decoder, DecoderConfig
from scalingar_plugins.models.shapes.scenes import GRID
from scalingar_plugins.models.shapes.text import TextConfig, WordEncoder, prompt_ids
from scalingar_plugins.models.shapes.words import MAX_PROMPT_TOKENS


@dataclass(frozen=True)
class GeneratorConfig:
    """Geometry of the generator; see :class:`scalingar_plugins.models.decoder.DecoderConfig`."""

    vocab_size: int
    dim: int = 192
    layers: int = 6
    heads: int = 6
    text_layers: int = 2
    prefix_len: int = MAX_PROMPT_TOKENS
    grid: int = GRID

    def as_dict(self) -> dict[str, int]:
        """The fields as plain integers, for a weights file's metadata."""
        return asdict(self)

    def decoder(self) -> DecoderConfig:
        """The decoder's configuration.

        The prefix is rotated by the identity: LlamaGen's zeroed rotation attends to the prefix
        uniformly, which suits T5 features but hides which word is which.
        """
        return DecoderConfig(
            vocab_size=self.vocab_size,
            dim=self.dim,
            n_layer=self.layers,
            n_head=self.heads,
            rows=self.grid,
            cols=self.grid,
            prefix_len=self.prefix_len,
            prefix_rotation="identity",
        )


class Generator(nn.Module):
    """Prompt ids and tokens in, next-token logits out."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.text = WordEncoder(
            TextConfig(
                dim=self.config.dim,
                layers=self.config.text_layers,
                heads=self.config.heads,
                length=self.config.prefix_len,
            )
        )
        self.decoder = Decoder(self.config.decoder())

    def forward(self, ids: Tensor, tokens: Tensor) -> Tensor:
        """Teacher forcing: ``ids [B, P], tokens [B, T] -> float32 [B, T, V]``; index i predicts i."""
        logits: Tensor = self.decoder(self.text(ids), tokens[:, :-1])
        return logits


@torch.inference_mode()
def sample_tokens(
    generator: Generator,
    prompts: Sequence[str],
    *,
    guidance: float = 1.5,
    temperature: float = 1.0,
    rng: torch.Generator,
) -> Tensor:
    """Sample one grid of tokens per prompt, int64 ``[B, T]``, with classifier-free guidance.

    A bare loop for training and tests; the framework's decoding loop does the rest.
    """
    device = generator.text.words.weight.device
    rows = len(prompts)
    both = torch.cat([prompt_ids(prompts), prompt_ids([None] * rows)]).to(device)
    cache, logits = generator.decoder.prefill(generator.text(both))
    total = generator.config.grid**2
    tokens = torch.empty(rows, total, dtype=torch.int64, device=device)
    for step in range(total):
        conditional, unconditional = logits[:rows], logits[rows:]
        guided = unconditional + guidance * (conditional - unconditional)
        probabilities = (guided / temperature).softmax(-1).cpu()
        tokens[:, step] = torch.multinomial(probabilities, 1, generator=rng)[:, 0].to(device)
        if step + 1 < total:
            logits = generator.decoder.step(cache, tokens[:, step].repeat(2))
    return tokens
