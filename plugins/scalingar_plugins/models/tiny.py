"""Every supported architecture with a few thousand random weights, for tests and demonstrations.

Images are noise; logits, caches, forced tokens and masks behave as those of the real models do.
All are made from a seed without touching the global random state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from attrs import frozen
from torch import Tensor, nn

from scalingar_fw.sampling import Sampling
from scalingar_plugins.models.decoder import DecoderConfig
from scalingar_plugins.models.llamagen.adapter import LlamaGenModel
from scalingar_plugins.models.llamagen.network import CaptionEmbedder, ClassEmbedder, LlamaGen
from scalingar_plugins.models.llamagen.text import Padding
from scalingar_plugins.models.vq import VQConfig, VQDecoder

CPU = torch.device("cpu")


@frozen
class HashedText:
    """Text features without an encoder: one vector per word, drawn from the word's hash."""

    tokens: int = 6
    width: int = 12

    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        features = torch.zeros(len(texts), self.tokens, self.width)
        mask = torch.zeros(len(texts), self.tokens, dtype=torch.bool)
        for row, text in enumerate(texts):
            words = (text.split()[: self.tokens - 1] + ["</s>"])[: self.tokens]
            mask[row, : len(words)] = True
            for place in range(self.tokens):  # padding is not zero, as T5's is not
                word = words[place] if place < len(words) else f"pad {place} {text}"
                features[row, place] = _hashed(word, self.width)
        return features, mask


def _hashed(text: str, count: int) -> Tensor:
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    return torch.randn(count, generator=torch.Generator().manual_seed(seed % (1 << 63)))


def randomize(module: nn.Module, seed: int, scale: float = 0.25) -> None:
    """Normal weights from `seed`; norms near one. LlamaGen's own initialisation has a zero output
    layer, with which every comparison of logits would pass."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in module.named_parameters():
            noise = torch.randn(value.shape, generator=generator)
            norm = "norm" in name and name.endswith("weight")
            value.copy_(1 + 0.1 * noise if norm else scale * noise)
    module.requires_grad_(False).eval()


def image_tokenizer(codes: int = 40, seed: int = 1) -> VQDecoder:
    """Two levels: 2 x 2 pixels per token."""
    config = VQConfig(
        codebook_size=codes,
        z_channels=8,
        base_channels=8,
        channel_mult=(1, 1),
        res_blocks=1,
        groups=4,
    )
    decoder = VQDecoder(config)
    randomize(decoder, seed, 0.1)
    return decoder


def llamagen_c2i(rows: int = 4, cols: int = 4, classes: int = 10, seed: int = 0) -> LlamaGenModel:
    """Class-conditional; classes 0 to `classes - 1`."""
    config = DecoderConfig(vocab_size=40, dim=32, n_layer=2, n_head=4, rows=rows, cols=cols)
    network = LlamaGen(config, ClassEmbedder(classes, config.dim))
    return _llamagen("tiny-llamagen-c2i", network, seed)


def llamagen_t2i(
    rows: int = 4, cols: int = 4, padding: Padding = "left", seed: int = 0
) -> LlamaGenModel:
    """Text-conditional on hashed words; any text."""
    texts = HashedText()
    config = DecoderConfig(
        vocab_size=40,
        dim=32,
        n_layer=2,
        n_head=4,
        rows=rows,
        cols=cols,
        prefix_len=texts.tokens,
    )
    network = LlamaGen(config, CaptionEmbedder(texts.tokens, texts.width, config.dim))
    return _llamagen("tiny-llamagen-t2i", network, seed, texts, padding)


def ar_grpo(seed: int = 0) -> LlamaGenModel:
    """LlamaGen with AR-GRPO's prompt padding."""
    return llamagen_t2i(padding="right_raw", seed=seed)


def _llamagen(
    name: str,
    network: LlamaGen,
    seed: int,
    texts: HashedText | None = None,
    padding: Padding = "left",
) -> LlamaGenModel:
    randomize(network, seed)
    preset = Sampling(guidance=3.0)
    return LlamaGenModel(
        name=name,
        network=network,
        tokenizer=image_tokenizer(),
        device=CPU,
        dtype=torch.float32,
        preset=preset,
        texts=texts,
        padding=padding,
        presets={"demo": preset},
        settings={"padding": padding, "seed": seed},
    )
