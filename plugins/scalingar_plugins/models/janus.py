"""Janus-Pro through transformers: trunk, image embeddings and image head, one step at a time.

Image tokens have their own embedding table and their own head. The unconditional prompt is the
conditional one with every token but the first and the image marker replaced by padding *that is
attended to*: it keeps the prompt's length, so it cannot be shared between prompts.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from attrs import field, frozen
from torch import Tensor, nn

from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.state import Grid, Logits
from scalingar_fw.errors import ScalingarError
from scalingar_plugins.models.branches import split_branches
from scalingar_plugins.models.checkpoints import fingerprint, load_strictly, without
from scalingar_plugins.models.hf import (
    PaddedIds,
    Trunk,
    TrunkCache,
    load_pretrained,
    load_tokenizer,
    need_folder,
    need_transformers,
    repeat_rows,
    token_id,
    weight_files,
)
from scalingar_plugins.models.llamagen.load import default_dtype, pick_preset, settings_of
from scalingar_plugins.models.vq import UNUSED, VQConfig, VQDecoder, from_janus_names

TEMPLATE = "<|User|>: {prompt}\n\n<|Assistant|>:"
IMAGE_MARKER = "<begin_of_image>"
PRESETS: Mapping[str, Sampling] = {"official": Sampling(guidance=5.0)}
#: A prompt's share of a candidate's cache; longer prompts get more room than `row_bytes` says.
PROMPT_TOKENS = 64


@frozen(eq=False, slots=False)
class JanusModel:
    """A `JanusForConditionalGeneration` of transformers, with our image decoder.

    `tokenize`: a prompt to token ids, first token and image marker included. `special`: ids of the
    first token, the padding and the image marker.
    """

    name: str
    trunk: Trunk = field(repr=False)
    embed_text: nn.Module = field(repr=False)
    embed_image: nn.Module = field(repr=False)  # table, then aligner
    head: nn.Module = field(repr=False)
    tokenizer: VQDecoder = field(repr=False)
    tokenize: Callable[[str], Sequence[int]] = field(repr=False)
    special: tuple[int, int, int]
    grid: Grid
    device: torch.device
    dtype: torch.dtype
    preset: Sampling = PRESETS["official"]
    presets: Mapping[str, Sampling] = PRESETS
    settings: Mapping[str, Any] = field(factory=dict)
    files: Sequence[Path] = field(default=(), repr=False)
    branches: int = 2
    finite_logits: bool = True

    @property
    def vocab_size(self) -> int:
        return self.tokenizer.config.codebook_size

    def fingerprint(self) -> str:
        """A hash of the weights and of the settings that change results."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        return fingerprint(self.files, self.settings)

    def encode(self, prompts: Sequence[Prompt]) -> PaddedIds:
        """Tokens of the prompts, then of their unconditional twins, padded on the left."""
        rows = []
        for prompt in prompts:
            if prompt.class_id is not None or prompt.negative is not None:
                raise ScalingarError(
                    f"Prompt {prompt.label!r}: {self.name!r} reads text only; it takes no class, "
                    "and its unconditional branch has no words to replace by a negative prompt."
                )
            if not prompt.text.strip():
                raise ScalingarError(f"The prompt of {self.name!r} is empty: say what to draw.")
            rows.append(list(self.tokenize(prompt.text)))
        bos, pad, marker = self.special
        blank = [[t if t in (bos, marker) else pad for t in row] for row in rows]
        return PaddedIds.of(rows + blank, pad, self.device)

    def prefill(self, conditioning: PaddedIds, copies: int) -> tuple[TrunkCache, Logits]:
        embeds = self.embed_text(conditioning.ids)
        cache, hidden = self.trunk.prefill(embeds, conditioning.mask, self.grid.size)
        cache, hidden = repeat_rows(cache, hidden, copies)
        return cache, self._logits(hidden)

    def step(self, cache: TrunkCache, token: Tensor, index: int) -> Logits:
        embeds = self.embed_image(token.repeat(2)[:, None])
        return self._logits(self.trunk.read(cache, embeds))

    def _logits(self, hidden: Tensor) -> Logits:
        return split_branches(self.head(hidden).float())

    def teacher_forced(self, prompts: Sequence[Prompt], tokens: Tensor) -> Logits:
        """Logits `[P, t + 1, V]` along `tokens [P, t]`, read at once without a cache."""
        given = self.encode(prompts)
        drawn = self.embed_image(tokens.repeat(2, 1))
        embeds = torch.cat([self.embed_text(given.ids), drawn], 1)
        mask = torch.cat([given.mask, given.mask.new_ones(drawn.shape[:2])], 1)
        hidden = self.trunk.whole(embeds, mask)[:, given.ids.shape[1] - 1 :]
        return self._logits(hidden)

    def calls(self, index: int) -> int:
        return 1

    def decode_images(self, tokens: Tensor) -> Tensor:
        return self.tokenizer.in_parts(tokens, self.grid.rows, self.grid.cols)

    def row_bytes(self) -> int:
        return self.branches * (self.trunk.row_bytes + 4 * self.vocab_size)

    def beside_bytes(self) -> int:
        return self.branches * self.trunk.beside_bytes


def vq_config(config: Any) -> VQConfig:
    """Our decoder's geometry from transformers' `JanusVQVAEConfig`."""
    return VQConfig(
        codebook_size=config.num_embeddings,
        codebook_dim=config.embed_dim,
        z_channels=config.latent_channels,
        base_channels=config.base_channels,
        channel_mult=tuple(config.channel_multiplier),
        res_blocks=config.num_res_blocks,
    )


def from_transformers(
    model: Any,
    tokenize: Callable[[str], Sequence[int]],
    special: tuple[int, int, int],
    *,
    name: str = "janus-pro",
    prompt_tokens: int = PROMPT_TOKENS,
    **fields: Any,
) -> JanusModel:
    """An adapter around a loaded `JanusForConditionalGeneration`, in float32 or half precision.

    The vision encoder and the text head are left behind; the image decoder is ours, with the
    model's weights in float32.

    Raises:
        ScalingarError: the configuration's image token count is no square, or disagrees.
    """
    inner = model.model
    count = int(model.config.vision_config.num_image_tokens)
    side = int(count**0.5)
    if side * side != count or inner.vqmodel.quantize.quant_state_dims != [side, side]:
        raise ScalingarError(
            f"This Janus configuration draws {count} image tokens and decodes "
            f"{inner.vqmodel.quantize.quant_state_dims}: the numbers must agree (24 x 24 = 576 for "
            "the published models)."
        )
    with torch.device("meta"):
        decoder = VQDecoder(vq_config(inner.vqmodel.config))
    state = from_janus_names(without(inner.vqmodel.state_dict(), UNUSED))
    load_strictly(decoder, state, f"The image tokenizer of {name!r}")
    parameter = next(inner.language_model.parameters())
    return JanusModel(
        name=name,
        trunk=Trunk(inner.language_model, prompt_tokens + count),
        embed_text=inner.get_input_embeddings(),
        embed_image=nn.Sequential(inner.generation_embeddings, inner.generation_aligner),
        head=inner.generation_head,
        tokenizer=decoder.float().eval(),
        tokenize=tokenize,
        special=special,
        grid=Grid(side, side),
        device=parameter.device,
        dtype=parameter.dtype,
        **fields,
    )


def load(
    name: str = "janus-pro",
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    weights: Path | str | None = None,
    preset: str | None = None,
    prompt_tokens: int = PROMPT_TOKENS,
) -> JanusModel:
    """Janus-Pro from a folder in transformers' format (`deepseek-community/Janus-Pro-*`).

    Args:
        name: under which it is registered.
        device: where it runs.
        dtype: bfloat16 on a GPU, float32 on a CPU where None.
        weights: the folder; the `deepseek-ai` repositories are in another format.
        preset: an official sampling preset by name.
        prompt_tokens: a prompt's share of a candidate's cache.

    Raises:
        ScalingarError: no transformers, or files that are missing, damaged or foreign.
    """
    transformers = need_transformers("Janus-Pro")
    remedy = (
        "Use a folder in transformers' format (deepseek-community/Janus-Pro-1B or -7B); the "
        "deepseek-ai repositories need another package."
    )
    folder = need_folder(name, weights, remedy)
    device = torch.device(device)
    dtype = default_dtype(device, dtype)
    named, sampling = pick_preset(PRESETS, preset)
    tokenizer = load_tokenizer(folder)
    marker = token_id(tokenizer, IMAGE_MARKER)
    bos, pad = tokenizer.bos_token_id, tokenizer.pad_token_id
    if bos is None or pad is None:
        raise ScalingarError(f"The tokenizer in {str(folder)!r} names no first or padding token.")

    def tokenize(text: str) -> list[int]:
        ids = list(tokenizer(TEMPLATE.format(prompt=text), add_special_tokens=False)["input_ids"])
        return [bos, *ids, marker]

    cls = transformers.JanusForConditionalGeneration
    model = load_pretrained(cls, folder, dtype).to(device)
    return from_transformers(
        model,
        tokenize,
        (bos, pad, marker),
        name=name,
        prompt_tokens=prompt_tokens,
        preset=sampling,
        settings=settings_of(named, sampling, dtype, prompt_tokens=prompt_tokens),
        files=weight_files(folder),
    )


pro_1b = functools.partial(load, "janus-pro-1b")
pro_7b = functools.partial(load, "janus-pro-7b")
