"""Emu3 through transformers: one vocabulary for words and image tokens, and forced tokens.

After the prompt "<image start>H*W<image token>" come H rows of W image tokens, each closed by an
end-of-line token; see `shared_vocabulary`, which feeds it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from attrs import field, frozen
from torch import Tensor

from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.state import Grid
from scalingar_fw.errors import ScalingarError
from scalingar_plugins.models.hf import (
    Trunk,
    load_pretrained,
    load_tokenizer,
    need_folder,
    need_transformers,
    token_id,
    visual_head,
    weight_files,
)
from scalingar_plugins.models.llamagen.load import default_dtype, pick_preset, settings_of
from scalingar_plugins.models.shared_vocabulary import SharedVocabulary, image_slots, in_parts

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


@frozen(eq=False, slots=False, kw_only=True)
class Emu3Model(SharedVocabulary):
    """An `Emu3ForConditionalGeneration` of transformers.

    `tokenize`: text to token ids, first token included, special tokens in the text recognised.
    `header`: whether the negative prompt ends with the size header, as in the authors' code
    (transformers' documentation leaves it out). `suffix`: appended to each prompt after a space.
    """

    vision: Any = field(repr=False)  # Emu3VQVAE, float32
    tokenize: Callable[[str], Sequence[int]] = field(repr=False)
    header: bool = True
    suffix: str = ""
    preset: Sampling = PRESETS["official"]
    presets: Mapping[str, Sampling] = PRESETS

    def pair(self, prompt: Prompt) -> tuple[Sequence[int], Sequence[int]]:
        start = f"{IMAGE_START}{self.grid.rows}*{self.grid.cols}{IMAGE_TOKEN}"
        negative = NEGATIVE if prompt.negative is None else prompt.negative
        text = f"{prompt.text} {self.suffix}" if self.suffix else prompt.text
        twin = negative + (start if self.header else "")
        return self.tokenize(text + start), self.tokenize(twin)

    def decode_images(self, tokens: Tensor) -> Tensor:
        parts = in_parts(tokens, self.grid, PIXELS_PER_TOKEN, 1 << 18)
        return torch.cat([self.vision.decode(part).clamp(-1, 1) for part in parts])


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
    end_of_line = int(inner.vocabulary_mapping.eol_token_id)
    return Emu3Model(
        name=name,
        trunk=Trunk(inner.text_model, prompt_tokens + image_slots(grid, end_of_line)),
        embed=inner.text_model.embed_tokens,
        head=visual_head(model.lm_head.weight.detach(), ids, tied),
        ids=ids,
        end_of_line=end_of_line,
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
