"""The embedded model behind the framework's adapter protocol."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch
from attrs import field, frozen
from torch import Tensor

from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.state import Grid, Logits
from scalingar_fw.errors import ScalingarError
from scalingar_plugins.models.branches import BranchCache, copy_prompts, split_branches
from scalingar_plugins.models.decoder import cache_bytes
from scalingar_plugins.models.shapes.generator import Generator
from scalingar_plugins.models.shapes.tokenizer import Tokenizer
from scalingar_plugins.models.shapes.weights import (
    GENERATOR_FILE,
    TOKENIZER_FILE,
    default_folder,
    load_generator,
    load_tokenizer,
)
from scalingar_plugins.models.shapes.words import WORD_CLASSES

#: Where one sample is right most often on the validation split (MODEL_CARD.md); not where a method
#: gains most. Guidance 1.5 with top-p 0.9 is its equal there: of two equals, the wider nucleus.
PRESET = Sampling(guidance=1.25, temperature=1.0, top_k=0, top_p=0.95)


@frozen(eq=False, slots=False)
class ShapesModel:
    """8 x 8 tokens of 6 x 6 pixels, a code for each distinct cell, both branches in one batch."""

    generator: Generator = field(repr=False)
    tokenizer: Tokenizer = field(repr=False)
    folder: Path = field(repr=False)
    device: torch.device
    dtype: torch.dtype
    name: str = "shapes"
    branches: int = 2
    finite_logits: bool = True
    preset: Sampling = PRESET

    @property
    def vocab_size(self) -> int:
        return self.generator.config.vocab_size

    @property
    def grid(self) -> Grid:
        return self._grid

    @cached_property
    def _grid(self) -> Grid:
        return Grid(self.generator.config.grid, self.generator.config.grid)

    def fingerprint(self) -> str:
        """sha256 over both weights files."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        for name in (TOKENIZER_FILE, GENERATOR_FILE):
            digest.update((self.folder / name).read_bytes())
        return digest.hexdigest()

    def encode(self, prompts: Sequence[Prompt]) -> Tensor:
        """Conditioning vectors `[2P, prefix, dim]`: the prompts, then the null prompt P times."""
        for prompt in prompts:
            if prompt.class_id is not None or prompt.negative is not None:
                raise ScalingarError(
                    f"Prompt {prompt.label!r}: the model 'shapes' reads text only; it takes no "
                    "class and no negative prompt."
                )
        texts: list[str | None] = [p.text for p in prompts]
        with torch.inference_mode():
            vectors = self.generator.text.encode_prompts(texts + [None] * len(texts))
        return vectors.to(self.dtype)

    def prefill(self, conditioning: Tensor, copies: int) -> tuple[BranchCache, Logits]:
        cache, logits = self.generator.decoder.prefill(conditioning)
        return copy_prompts(cache, logits, copies)

    def step(self, cache: BranchCache, token: Tensor, index: int) -> Logits:
        return split_branches(self.generator.decoder.step(cache.rows, token.repeat(2)))

    def calls(self, index: int) -> int:
        return 1

    @property
    def word_classes(self) -> Sequence[Sequence[str]]:
        """Words that can stand in for one another: colours, shapes, numbers, sides."""
        return WORD_CLASSES

    def log_probs(self, prompts: Sequence[Prompt], tokens: Tensor) -> Tensor:
        """Log-probabilities (nats) of whole grids `[B, T]` under a prompt each, in one pass."""
        conditioning = self.encode(prompts)[: len(prompts)]
        logits = self.generator.decoder(conditioning, tokens)
        found: Tensor = logits.log_softmax(-1).gather(2, tokens[..., None])[..., 0]
        return found

    def decode_images(self, tokens: Tensor) -> Tensor:
        pixels = self.tokenizer.decode(tokens)  # uint8: what the judge sees is what users see
        return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1.0

    def row_bytes(self) -> int:
        config = self.generator.decoder.config
        return self.branches * (cache_bytes(config, self.dtype)[0] + 4 * config.vocab_size)

    def beside_bytes(self) -> int:
        return self.branches * cache_bytes(self.generator.decoder.config, self.dtype)[1]


def load(
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    weights: Path | str | None = None,
) -> ShapesModel:
    """The model with the shipped weights, or those of the folder `weights`.

    Args:
        device: where it runs; a CPU is enough.
        dtype: float32 by default (the weights are stored in float16; at this size half precision
            saves nothing); bfloat16 and float16 run the generator in that type.
        weights: a folder with `tokenizer.safetensors` and `generator.safetensors`.

    Raises:
        ScalingarError: missing, damaged or foreign weights.
    """
    folder = Path(weights) if weights is not None else default_folder()
    device, dtype = torch.device(device), dtype or torch.float32
    generator = load_generator(folder).to(device=device, dtype=dtype)
    tokenizer = load_tokenizer(folder).to(device)
    return ShapesModel(generator, tokenizer, folder, device, dtype)
