"""LlamaGen behind the framework's adapter protocol; AR-GRPO's checkpoints run in it as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from attrs import field, frozen
from torch import Tensor

from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.state import Grid, Logits
from scalingar_fw.errors import ScalingarError
from scalingar_plugins.models.branches import BranchCache, copy_prompts, split_branches
from scalingar_plugins.models.checkpoints import fingerprint
from scalingar_plugins.models.decoder import cache_bytes
from scalingar_plugins.models.llamagen.network import ClassEmbedder, LlamaGen
from scalingar_plugins.models.llamagen.text import Padding, TextFeatures, pad
from scalingar_plugins.models.vq import VQDecoder


@frozen(eq=False)
class Prefix:
    """What the decoder reads first: `vectors [2P, T, dim]`, prompts before their null rows;
    `mask [2P, T]` bool or None."""

    vectors: Tensor
    mask: Tensor | None


@frozen(eq=False, slots=False)
class LlamaGenModel:
    """Both branches in one batch; captions through `texts`, classes through the table.

    `padding`: how captions are padded (text.pad). `settings`: what a run records beside the
    weights, because it changes results. `presets`: the official sampling settings by name.
    """

    name: str
    network: LlamaGen = field(repr=False)
    tokenizer: VQDecoder = field(repr=False)
    device: torch.device
    dtype: torch.dtype
    preset: Sampling
    texts: TextFeatures | None = field(default=None, repr=False)
    padding: Padding = "left"
    presets: Mapping[str, Sampling] = field(factory=dict)
    settings: Mapping[str, Any] = field(factory=dict)
    files: Sequence[Path] = field(default=(), repr=False)
    branches: int = 2
    finite_logits: bool = True

    @cached_property
    def grid(self) -> Grid:
        config = self.network.decoder.config
        return Grid(config.rows, config.cols)

    @property
    def vocab_size(self) -> int:
        return self.network.decoder.config.vocab_size

    def fingerprint(self) -> str:
        """A hash of the weights and of the settings that change results."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        return fingerprint(self.files, self.settings)

    def encode(self, prompts: Sequence[Prompt]) -> Prefix:
        """The prefix of each prompt and its unconditional twin.

        Raises:
            ScalingarError: a text where a class is needed, or the other way round; a class out of
                range; a negative prompt, which LlamaGen has no place for.
        """
        for prompt in prompts:
            if prompt.negative is not None:
                raise ScalingarError(
                    f"Prompt {prompt.label!r}: {self.name!r} takes no negative prompt; its "
                    "unconditional branch is learned."
                )
        embedder = self.network.cls_embedding
        with torch.inference_mode():
            if isinstance(embedder, ClassEmbedder):
                return Prefix(embedder(self._labels(prompts, embedder.classes)), None)
            texts = self._texts(prompts)
            assert self.texts is not None
            features, mask = self.texts.encode(texts)
            if features.shape[1:] != embedder.uncond_embedding.shape:
                raise ScalingarError(
                    f"The text encoder gives features {tuple(features.shape[1:])}; {self.name!r} "
                    f"needs {tuple(embedder.uncond_embedding.shape)} (tokens, width): use "
                    "google/flan-t5-xl."
                )
            features, mask = pad(features.to(self.device), mask.to(self.device), self.padding)
            # The official code gives the unconditional rows the caption's mask, so what they say
            # depends on the caption's length: they cannot be shared between prompts.
            vectors = embedder(features.to(self.dtype))
            return Prefix(vectors, mask.repeat(2, 1))

    def _labels(self, prompts: Sequence[Prompt], classes: int) -> Tensor:
        for prompt in prompts:
            if prompt.class_id is None:
                raise ScalingarError(
                    f"Prompt {prompt.text!r}: {self.name!r} draws classes, not texts: give a class "
                    f"from 0 to {classes - 1} (--class ID)."
                )
            if prompt.text:
                raise ScalingarError(
                    f"Prompt {prompt.text!r}: {self.name!r} takes a class without a text."
                )
            if not 0 <= prompt.class_id < classes:
                raise ScalingarError(
                    f"class {prompt.class_id} must lie in [0, {classes - 1}]: the classes of "
                    f"{self.name!r}."
                )
        return torch.tensor([p.class_id for p in prompts], device=self.device)

    def _texts(self, prompts: Sequence[Prompt]) -> list[str]:
        for prompt in prompts:
            if prompt.class_id is not None:
                raise ScalingarError(
                    f"class {prompt.class_id}: {self.name!r} draws texts; class-conditional models "
                    "are named llamagen-c2i-*."
                )
            if not prompt.text.strip():
                raise ScalingarError(f"The prompt of {self.name!r} is empty: say what to draw.")
        return [p.text for p in prompts]

    def prefill(self, conditioning: Prefix, copies: int) -> tuple[BranchCache, Logits]:
        cache, logits = self.network.decoder.prefill(conditioning.vectors, conditioning.mask)
        return copy_prompts(cache, logits, copies)

    def step(self, cache: BranchCache, token: Tensor, index: int) -> Logits:
        return split_branches(self.network.decoder.step(cache.rows, token.repeat(2)))

    def teacher_forced(self, prompts: Sequence[Prompt], tokens: Tensor) -> Logits:
        """Logits `[P, t + 1, V]` along `tokens [P, t]`, read at once without a cache."""
        given = self.encode(prompts)
        logits = self.network.decoder(given.vectors, tokens.repeat(2, 1), given.mask)
        return split_branches(logits)

    def calls(self, index: int) -> int:
        return 1

    def decode_images(self, tokens: Tensor) -> Tensor:
        return self.tokenizer.in_parts(tokens, self.grid.rows, self.grid.cols)

    def row_bytes(self) -> int:
        config = self.network.decoder.config
        mask = config.prefix_len if self.texts is not None else 0
        cache, _ = cache_bytes(config, self.dtype)
        return self.branches * (cache + mask + 4 * config.vocab_size)

    def beside_bytes(self) -> int:
        return self.branches * cache_bytes(self.network.decoder.config, self.dtype)[1]
