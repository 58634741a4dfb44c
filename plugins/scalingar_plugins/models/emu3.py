"""Emu3 through transformers: one vocabulary for words and image tokens, and forced tokens.

After the prompt "<image start>H*W<image token>" come H rows of W image tokens, each closed by an
end-of-line token. The loop never sees that token: `step` feeds it after the last token of a row,
and `calls` counts it. The tail (end of frame, of image, of sequence) depends on nothing and
nothing depends on it, so it is not fed at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from attrs import field, frozen
from torch import Tensor, nn

from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.state import Grid, Logits
from scalingar_fw.errors import ScalingarError
from scalingar_plugins.models.branches import split_branches
from scalingar_plugins.models.checkpoints import fingerprint
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
    visual_head,
    weight_files,
)
from scalingar_plugins.models.llamagen.load import default_dtype, pick_preset, settings_of

END_OF_LINE, IMAGE_START, IMAGE_TOKEN = "<|extra_200|>", "<|image start|>", "<|image token|>"
#: The negative prompt of the authors' example (image_generation.py of baaivision/Emu3), which
#: `Prompt.negative` replaces.
NEGATIVE = (
    "lowres, bad anatomy, bad hands, text, error, missing fingers, extra digit, fewer digits, "
    "cropped, worst quality, low quality, normal quality, jpeg artifacts, signature, watermark, "
    "username, blurry."
)
PRESETS: Mapping[str, Sampling] = {"official": Sampling(guidance=3.0, top_k=2048)}
PROMPT_TOKENS = 128
PIXELS_PER_TOKEN = 8


@frozen(eq=False, slots=False)
class Emu3Model:
    """An `Emu3ForConditionalGeneration` of transformers.

    `tokenize`: text to token ids, first token included, special tokens in the text recognised.
    `ids [codes]`: token id of each image code. `head [codes, dim]`: their rows of the output
    layer. `header`: whether the negative prompt ends with the size header, as in the authors'
    code (transformers' documentation leaves it out). `suffix`: appended to each prompt after a
    space.
    """

    name: str
    trunk: Trunk = field(repr=False)
    embed: nn.Module = field(repr=False)
    head: Tensor = field(repr=False)
    ids: Tensor = field(repr=False)
    end_of_line: int
    vision: Any = field(repr=False)  # Emu3VQVAE, float32
    tokenize: Callable[[str], Sequence[int]] = field(repr=False)
    pad: int
    grid: Grid
    device: torch.device
    dtype: torch.dtype
    header: bool = True
    suffix: str = ""
    preset: Sampling = PRESETS["official"]
    presets: Mapping[str, Sampling] = PRESETS
    settings: Mapping[str, Any] = field(factory=dict)
    files: Sequence[Path] = field(default=(), repr=False)
    branches: int = 2
    finite_logits: bool = True

    @property
    def vocab_size(self) -> int:
        """Image codes; the words of the shared vocabulary are not permitted."""
        return int(self.ids.shape[0])

    def fingerprint(self) -> str:
        """A hash of the weights and of the settings that change results."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        return fingerprint(self.files, self.settings)

    def encode(self, prompts: Sequence[Prompt]) -> PaddedIds:
        """Tokens of the prompts, then of the negative prompts, padded on the left."""
        start = f"{IMAGE_START}{self.grid.rows}*{self.grid.cols}{IMAGE_TOKEN}"
        rows, negatives = [], []
        for prompt in prompts:
            if prompt.class_id is not None:
                raise ScalingarError(f"class {prompt.class_id}: {self.name!r} draws texts.")
            if not prompt.text.strip():
                raise ScalingarError(f"The prompt of {self.name!r} is empty: say what to draw.")
            negative = NEGATIVE if prompt.negative is None else prompt.negative
            text = f"{prompt.text} {self.suffix}" if self.suffix else prompt.text
            rows.append(list(self.tokenize(text + start)))
            negatives.append(list(self.tokenize(negative + (start if self.header else ""))))
        return PaddedIds.of(rows + negatives, self.pad, self.device)

    def prefill(self, conditioning: PaddedIds, copies: int) -> tuple[TrunkCache, Logits]:
        room = self.grid.size + self.grid.rows
        cache, hidden = self.trunk.prefill(self.embed(conditioning.ids), conditioning.mask, room)
        cache, hidden = repeat_rows(cache, hidden, copies)
        return cache, self._logits(hidden)

    def step(self, cache: TrunkCache, token: Tensor, index: int) -> Logits:
        hidden = self._read(cache, self.ids[token.repeat(2)])
        if self.calls(index) > 1:
            line_end = torch.full_like(token, self.end_of_line).repeat(2)
            hidden = self._read(cache, line_end)
        return self._logits(hidden)

    def _read(self, cache: TrunkCache, ids: Tensor) -> Tensor:
        return self.trunk.read(cache, self.embed(ids[:, None]))

    def _logits(self, hidden: Tensor) -> Logits:
        return split_branches(F.linear(hidden, self.head).float())

    def teacher_forced(self, prompts: Sequence[Prompt], tokens: Tensor) -> Logits:
        """Logits `[P, t + 1, V]` along `tokens [P, t]`, read at once without a cache."""
        given = self.encode(prompts)
        columns, kept = [], [given.ids.shape[1] - 1]
        for index in range(tokens.shape[1]):
            columns.append(self.ids[tokens[:, index]])
            if self.calls(index) > 1:
                columns.append(torch.full_like(tokens[:, index], self.end_of_line))
            kept.append(given.ids.shape[1] - 1 + len(columns))
        ids = torch.cat([given.ids, torch.stack(columns, 1).repeat(2, 1)], 1)
        mask = torch.cat([given.mask, given.mask.new_ones(ids.shape[0], len(columns))], 1)
        return self._logits(self.trunk.whole(self.embed(ids), mask)[:, kept])

    def calls(self, index: int) -> int:
        """2 after the last token of a grid row: the token, and the end of its line."""
        return 2 if (index + 1) % self.grid.cols == 0 else 1

    def decode_images(self, tokens: Tensor) -> Tensor:
        images = []
        for part in torch.split(tokens, max(1, (1 << 18) // (64 * self.grid.size))):
            codes = part.view(-1, self.grid.rows, self.grid.cols)
            images.append(self.vision.decode(codes).clamp(-1, 1))
        return torch.cat(images)

    def row_bytes(self) -> int:
        return self.branches * (self.trunk.row_bytes + 4 * self.vocab_size)

    def beside_bytes(self) -> int:
        return self.branches * self.trunk.beside_bytes


def grid_for(ratio: str, image_area: int) -> Grid:
    """The grid of an aspect ratio "width:height" and an area in pixels, rounded as officially."""
    try:
        width, height = (int(x) for x in ratio.split(":"))
        scale = (image_area / (width * height)) ** 0.5 / PIXELS_PER_TOKEN
        return Grid(round(height * scale), round(width * scale))
    except (ValueError, ZeroDivisionError, TypeError) as error:
        raise ScalingarError(
            f"ratio={ratio!r} and image_area={image_area!r} must be whole numbers 'width:height' "
            "and a number of pixels, such as '1:1' and 518400."
        ) from error


def from_transformers(
    model: Any,
    tokenize: Callable[[str], Sequence[int]],
    *,
    grid: Grid,
    name: str = "emu3-gen",
    prompt_tokens: int = PROMPT_TOKENS,
    **fields: Any,
) -> Emu3Model:
    """An adapter around a loaded `Emu3ForConditionalGeneration`; its image decoder in float32."""
    inner = model.model
    by_code = inner.vocabulary_mapping.img2bpe
    parameter = next(inner.text_model.parameters())
    ids = torch.tensor([by_code[code] for code in range(len(by_code))], device=parameter.device)
    tied = model.lm_head.weight is inner.text_model.embed_tokens.weight
    pad = model.config.text_config.pad_token_id
    return Emu3Model(
        name=name,
        trunk=Trunk(inner.text_model, prompt_tokens + grid.size + grid.rows),
        embed=inner.text_model.embed_tokens,
        head=visual_head(model.lm_head.weight.detach(), ids, tied),
        ids=ids,
        end_of_line=int(inner.vocabulary_mapping.eol_token_id),
        vision=inner.vqmodel.float().eval(),
        tokenize=tokenize,
        pad=0 if pad is None else int(pad),
        grid=grid,
        device=parameter.device,
        dtype=parameter.dtype,
        **fields,
    )


def load(
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    weights: Path | str | None = None,
    preset: str | None = None,
    ratio: str = "1:1",
    image_area: int = 518400,
    negative_header: bool = True,
    suffix: str = "",
    prompt_tokens: int = PROMPT_TOKENS,
) -> Emu3Model:
    """Emu3-Gen from a folder in transformers' format (`BAAI/Emu3-Gen-hf`).

    Args:
        device: where it runs.
        dtype: bfloat16 on a GPU, float32 on a CPU where None.
        weights: the folder.
        preset: an official sampling preset by name.
        ratio: the image's "width:height".
        image_area: in pixels; 518400 (720 x 720) is what the model was made for.
        negative_header: end the negative prompt with the size header, as the authors do.
        suffix: appended to each prompt; the authors' example has "masterpiece, film grained, best
            quality.".
        prompt_tokens: a prompt's share of a candidate's cache.

    Raises:
        ScalingarError: no transformers, or files that are missing, damaged or foreign.
    """
    name = "emu3-gen"
    transformers = need_transformers("Emu3")
    folder = need_folder(name, weights, "Use BAAI/Emu3-Gen-hf (the -hf format, not Emu3-Chat).")
    grid = grid_for(ratio, image_area)
    device = torch.device(device)
    dtype = default_dtype(device, dtype)
    named, sampling = pick_preset(PRESETS, preset)
    tokenizer = load_tokenizer(folder)
    for token in (END_OF_LINE, IMAGE_START, IMAGE_TOKEN):
        token_id(tokenizer, token)

    def tokenize(text: str) -> list[int]:
        ids = tokenizer(f"{tokenizer.bos_token}{text}", add_special_tokens=False)["input_ids"]
        return list(ids)

    model = load_pretrained(transformers.Emu3ForConditionalGeneration, folder, dtype).to(device)
    settings = settings_of(
        named,
        sampling,
        dtype,
        ratio=ratio,
        image_area=image_area,
        negative_header=negative_header,
        suffix=suffix,
        prompt_tokens=prompt_tokens,
    )
    return from_transformers(
        model,
        tokenize,
        grid=grid,
        name=name,
        prompt_tokens=prompt_tokens,
        header=negative_header,
        suffix=suffix,
        preset=sampling,
        settings=settings,
        files=weight_files(folder),
    )
