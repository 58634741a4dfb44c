"""Anole and Lumina-mGPT, the descendants of Chameleon that draw, through transformers.

Both are Chameleon's decoder-only network with its VQ-GAN. Anole reads a prompt, an end of turn and
a start of image, and draws 32 x 32 codes. Lumina-mGPT says the image's height and width first, each
in units of 32 pixels and as a token of its own, and closes each row by an end of line; the model
would write start, height and width itself, and here they are given.

transformers' own `forward` masks image codes out of the logits, and its Chameleon has no image
decoder: only the trunk is used, with the output layer's rows, and the decoder is ours (`vqgan`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from attrs import evolve, field, frozen
from torch import Tensor

from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.state import Grid
from scalingar_fw.errors import ScalingarError
from scalingar_plugins.hub.fetch import fetch, in_cache
from scalingar_plugins.hub.sources import VQGAN
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
from scalingar_plugins.models.shared_vocabulary import SharedVocabulary, image_slots
from scalingar_plugins.models.vq import VQDecoder
from scalingar_plugins.models.vqgan import PREFIX, find_decoder

IMAGE_START, END_OF_TURN, END_OF_LINE = "<racm3:break>", "<reserved08706>", "<reserved08799>"
#: Pixels per unit of Lumina-mGPT's sizes: two codes.
UNIT = 32
#: What Lumina-mGPT's fine-tuning put before a prompt.
INSTRUCTION = "Generate an image of {width}x{height} according to the following prompt:\n{prompt}"

ANOLE: Mapping[str, Sampling] = {"official": Sampling(guidance=3.0, temperature=0.7, top_p=0.9)}
LUMINA: Mapping[str, Sampling] = {
    "official": Sampling(guidance=4.0, top_k=2000),
    "code-default": Sampling(guidance=3.0, top_k=2000),
}
PROMPT_TOKENS = 128


@frozen
class Marks:
    """Token ids around a prompt. `sizes`: Lumina-mGPT's height and width; empty for Anole."""

    first: int
    end_of_turn: int
    image_start: int
    end_of_line: int | None = None
    sizes: tuple[int, ...] = ()


@frozen(eq=False, slots=False, kw_only=True)
class ChameleonModel(SharedVocabulary):
    """A `ChameleonForConditionalGeneration` of transformers, with our image decoder.

    `tokenize`: text to token ids, none added. `instruction`: with `{prompt}`, `{width}` and
    `{height}` in pixels; the text that the model reads.
    """

    decoder: VQDecoder = field(repr=False)
    tokenize: Callable[[str], Sequence[int]] = field(repr=False)
    marks: Marks
    instruction: str = "{prompt}"

    def pair(self, prompt: Prompt) -> tuple[Sequence[int], Sequence[int]]:
        marks = self.marks
        image = [marks.image_start, *marks.sizes]
        if prompt.negative is not None:
            return self._turn(prompt.text) + image, self._turn(prompt.negative) + image
        # Officially Lumina-mGPT's unconditional context begins at the image, Chameleon's with the
        # first token of all.
        return self._turn(prompt.text) + image, image if marks.sizes else [marks.first, *image]

    def _turn(self, text: str) -> list[int]:
        scale = self.decoder.config.upscale
        asked = self.instruction.replace("{width}", str(self.grid.cols * scale))
        asked = asked.replace("{height}", str(self.grid.rows * scale)).replace("{prompt}", text)
        return [self.marks.first, *self.tokenize(asked), self.marks.end_of_turn]

    def decode_images(self, tokens: Tensor) -> Tensor:
        return self.decoder.in_parts(tokens, self.grid.rows, self.grid.cols)


def from_transformers(
    model: Any,
    tokenize: Callable[[str], Sequence[int]],
    decoder: VQDecoder,
    marks: Marks,
    *,
    grid: Grid,
    name: str = "anole",
    prompt_tokens: int = PROMPT_TOKENS,
    **fields: Any,
) -> ChameleonModel:
    """An adapter around a loaded `ChameleonForConditionalGeneration`.

    Raises:
        ScalingarError: the vocabulary's image codes are not those of the image decoder.
    """
    inner = model.model
    by_code = inner.vocabulary_mapping.img2bpe
    codes = decoder.config.codebook_size
    if sorted(by_code) != list(range(codes)):
        raise ScalingarError(
            f"The vocabulary of {name!r} names {len(by_code)} image codes and the image decoder "
            f"has {codes}: these files do not belong together."
        )
    parameter = inner.embed_tokens.weight
    ids = torch.tensor([by_code[code] for code in range(codes)], device=parameter.device)
    tied = model.lm_head.weight is parameter
    pad = model.config.pad_token_id
    return ChameleonModel(
        name=name,
        trunk=Trunk(inner, prompt_tokens + image_slots(grid, marks.end_of_line)),
        embed=inner.embed_tokens,
        head=visual_head(model.lm_head.weight.detach(), ids, tied),
        ids=ids,
        end_of_line=marks.end_of_line,
        pad=0 if pad is None else int(pad),
        grid=grid,
        device=parameter.device,
        dtype=parameter.dtype,
        decoder=decoder,
        tokenize=tokenize,
        marks=marks,
        **fields,
    )


def anole(
    name: str = "anole-7b",
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    weights: Path | str | None = None,
    vqgan: Path | str | None = None,
    preset: str | None = None,
    prompt_tokens: int = PROMPT_TOKENS,
) -> ChameleonModel:
    """Anole, or another Chameleon that draws, from a folder in transformers' format; 512 px.

    Args:
        name: under which it is registered.
        device: where it runs.
        dtype: bfloat16 on a GPU, float32 on a CPU where None.
        weights: the folder.
        vqgan: Chameleon's image tokenizer (`vqgan.ckpt`), or a folder with it; looked for in
            `weights` where None.
        preset: an official sampling preset by name.
        prompt_tokens: a prompt's share of a candidate's cache.

    Raises:
        ScalingarError: no transformers, or files that are missing, damaged or foreign.
    """
    loaded = _load(name, weights, vqgan, device, dtype)
    return loaded.adapter(
        name, loaded.marks(), Grid(32, 32), ANOLE, preset, prompt_tokens, instruction="{prompt}"
    )


def lumina(
    name: str = "lumina-mgpt-7b-768",
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    weights: Path | str | None = None,
    vqgan: Path | str | None = None,
    preset: str | None = None,
    width: int = 768,
    height: int = 768,
    instruction: str = INSTRUCTION,
    prompt_tokens: int = PROMPT_TOKENS,
) -> ChameleonModel:
    """Lumina-mGPT from its folder.

    Args:
        name: under which it is registered.
        device: where it runs.
        dtype: bfloat16 on a GPU, float32 on a CPU where None.
        weights: the folder.
        vqgan: Chameleon's image tokenizer (`vqgan.ckpt`), or a folder with it; looked for in
            `weights` where None.
        preset: an official sampling preset by name.
        width: in pixels, a multiple of 32.
        height: in pixels, a multiple of 32.
        instruction: what the model is told; `{prompt}`, `{width}` and `{height}` are replaced.
        prompt_tokens: a prompt's share of a candidate's cache.

    Raises:
        ScalingarError: no transformers, a size that is none, or files that are missing, damaged or
            foreign.
    """
    grid = lumina_grid(width, height)
    if "{prompt}" not in instruction:
        raise ScalingarError(
            f"instruction={instruction!r} must hold {{prompt}}: where is the prompt to stand?"
        )
    loaded = _load(name, weights, vqgan, device, dtype)
    named = [f"<reserved{8800 + pixels // UNIT:05d}>" for pixels in (height, width)]
    marks = evolve(
        loaded.marks(),
        end_of_line=token_id(loaded.tokenizer, END_OF_LINE),
        sizes=tuple(token_id(loaded.tokenizer, size) for size in named),
    )
    return loaded.adapter(
        name,
        marks,
        grid,
        LUMINA,
        preset,
        prompt_tokens,
        width=width,
        height=height,
        instruction=instruction,
    )


def lumina_grid(width: int, height: int) -> Grid:
    """Codes of an image of so many pixels, 16 a code; sizes come in steps of two codes."""
    for what, pixels in (("width", width), ("height", height)):
        if pixels < UNIT or pixels % UNIT:
            raise ScalingarError(f"{what}={pixels!r} must be a positive multiple of {UNIT} pixels.")
    return Grid(2 * height // UNIT, 2 * width // UNIT)


@frozen
class _Loaded:
    """What both loaders read before they differ."""

    model: Any
    tokenizer: Any
    decoder: VQDecoder
    files: Sequence[Path]
    dtype: torch.dtype

    def marks(self) -> Marks:
        first = self.tokenizer.bos_token_id
        if first is None:
            raise ScalingarError("The tokenizer names no first token (bos_token).")
        turn, image = (token_id(self.tokenizer, token) for token in (END_OF_TURN, IMAGE_START))
        return Marks(int(first), turn, image)

    def adapter(
        self,
        name: str,
        marks: Marks,
        grid: Grid,
        presets: Mapping[str, Sampling],
        preset: str | None,
        prompt_tokens: int,
        instruction: str,
        **settings: Any,
    ) -> ChameleonModel:
        named, sampling = pick_preset(presets, preset)
        told = {"instruction": instruction, "prompt_tokens": prompt_tokens, **settings}
        return from_transformers(
            self.model,
            lambda text: self.tokenizer(text, add_special_tokens=False)["input_ids"],
            self.decoder,
            marks,
            grid=grid,
            name=name,
            prompt_tokens=prompt_tokens,
            instruction=instruction,
            preset=sampling,
            presets=presets,
            settings=settings_of(named, sampling, self.dtype, **told),
            files=self.files,
        )


def _load(
    name: str,
    weights: Path | str | None,
    vqgan: Path | str | None,
    device: torch.device | str,
    dtype: torch.dtype | None,
) -> _Loaded:
    transformers = need_transformers(name)
    folder = need_folder(
        name, weights, "Use a folder in transformers' format, not Meta's consolidated.pth."
    )
    device = torch.device(device)
    dtype = default_dtype(device, dtype)
    found = find_decoder(folder, vqgan)
    if found is None and in_cache(folder):
        found = find_decoder(folder, fetch(VQGAN).folder)
    if found is None:
        raise ScalingarError(
            f"{str(folder)!r} has no image decoder, which transformers' Chameleon lacks: put "
            "Chameleon's vqgan.ckpt into it, or name it with --option vqgan=PATH."
        )
    decoder, file = found
    tokenizer = load_tokenizer(folder)
    model = load_pretrained(
        transformers.ChameleonForConditionalGeneration,
        folder,
        dtype,
        unused=(f"{PREFIX}*", "*.rotary_emb.inv_freq"),
        absent=(f"{PREFIX}*",),  # the tokenizer for reading images; training drops it
    )
    model.model.vqmodel = None
    files = weight_files(folder)
    return _Loaded(
        model=model.to(device),
        tokenizer=tokenizer,
        decoder=decoder.to(device),
        files=files if file in files else [*files, file],
        dtype=dtype,
    )


lumina_512 = functools.partial(lumina, "lumina-mgpt-7b-512", width=512, height=512)
lumina_768 = functools.partial(lumina, "lumina-mgpt-7b-768")
lumina_1024 = functools.partial(lumina, "lumina-mgpt-7b-1024", width=1024, height=1024)
