"""SimpleAR: a plain Qwen2 language model whose vocabulary ends with 64,000 image codes.

The image decoder is NVIDIA's Cosmos tokenizer, distributed as TorchScript: loading it executes the
program inside the file. So it is loaded only from a path that the user names for this purpose.
"""

from __future__ import annotations

import functools
import warnings
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
from scalingar_plugins.models.shared_vocabulary import SharedVocabulary, in_parts

CODES = 64_000
PIXELS_PER_TOKEN = 16
START, END = "<|t2i|>", "<|soi|>"
PREFIX = "A highly realistic image of "
#: The official demo's negative prompt, which `Prompt.negative` replaces.
NEGATIVE = (
    "An image of aerial view, overexposed, low quality, deformation, a poor composition, bad "
    "hands, bad teeth, bad eyes, bad limbs, distortion"
)
#: The official top-k of 64,000 runs over the whole vocabulary; over the image codes it keeps all.
PRESETS: Mapping[str, Sampling] = {"official": Sampling(guidance=6.0, top_k=CODES)}
PROMPT_TOKENS = 128


@frozen(eq=False, slots=False, kw_only=True)
class SimpleARModel(SharedVocabulary):
    """A `Qwen2ForCausalLM` of transformers and a decoder of codes.

    `first`: token id of image code 0. `codes`: how many codes there are. `official`: sample from
    the whole vocabulary as the official script does (it then clamps words to the nearest code);
    by default only image codes are permitted, and signals are over them. `pixels`: codes
    `[B, 1, h, w]` to images `[B, 3, 1, H, W]`.
    """

    first: int
    codes: int
    pixels: Callable[[Tensor], Tensor] = field(repr=False)
    tokenize: Callable[[str], Sequence[int]] = field(repr=False)
    official: bool = False
    prefix: str = PREFIX
    preset: Sampling = PRESETS["official"]
    presets: Mapping[str, Sampling] = PRESETS

    def pair(self, prompt: Prompt) -> tuple[Sequence[int], Sequence[int]]:
        negative = NEGATIVE if prompt.negative is None else prompt.negative
        text = f"{START}{self.prefix}{prompt.text}{END}"
        return self.tokenize(text), self.tokenize(f"{START}{negative}{END}")

    def decode_images(self, tokens: Tensor) -> Tensor:
        codes = (tokens - self.first).clamp(0, self.codes - 1) if self.official else tokens
        images = [
            self.pixels(part[:, None]).squeeze(2).float().clamp(-1, 1)
            for part in in_parts(codes, self.grid, PIXELS_PER_TOKEN, 1 << 20)
        ]
        return torch.cat(images)


def load_scripted(path: Path | str, device: torch.device) -> Callable[[Tensor], Tensor]:
    """The Cosmos decoder (`decoder.jit`). Loading executes the TorchScript program in the file.

    Raises:
        ScalingarError: no such file, or one that TorchScript cannot read.
    """
    path = Path(path)
    if not path.is_file():
        raise ScalingarError(f"scripted_decoder={str(path)!r} does not exist: name decoder.jit.")
    try:
        with warnings.catch_warnings():  # TorchScript is deprecated, but it is what Cosmos ships
            warnings.simplefilter("ignore", DeprecationWarning)
            module = torch.jit.load(str(path), map_location=device)  # type: ignore[no-untyped-call]
    except Exception as error:
        detail = (str(error).strip().splitlines() or [""])[0][:160]
        raise ScalingarError(
            f"{str(path)!r} could not be loaded as a TorchScript module ({detail}): use decoder.jit "
            "of nvidia/Cosmos-1.0-Tokenizer-DV8x16x16."
        ) from error

    def pixels(codes: Tensor) -> Tensor:
        image = module(codes)
        found: Tensor = image[0] if isinstance(image, tuple) else image
        return found

    return pixels


def from_transformers(
    model: Any,
    tokenize: Callable[[str], Sequence[int]],
    pixels: Callable[[Tensor], Tensor],
    *,
    first: int,
    codes: int = CODES,
    grid: Grid,
    official: bool = False,
    name: str = "simplear",
    prompt_tokens: int = PROMPT_TOKENS,
    **fields: Any,
) -> SimpleARModel:
    """An adapter around a loaded `Qwen2ForCausalLM`.

    Raises:
        ScalingarError: the vocabulary is not `first` words followed by `codes` image codes.
    """
    weight = model.lm_head.weight.detach()
    if weight.shape[0] != first + codes:
        raise ScalingarError(
            f"The model's vocabulary has {weight.shape[0]} entries; {first} of the tokenizer and "
            f"{codes} image codes make {first + codes}: these files do not belong together."
        )
    tied = model.lm_head.weight is model.model.embed_tokens.weight
    ids = torch.arange(0 if official else first, first + codes, device=weight.device)
    head = weight if official else visual_head(weight, ids, tied)
    pad = model.config.pad_token_id
    return SimpleARModel(
        name=name,
        trunk=Trunk(model.model, prompt_tokens + grid.size),
        embed=model.model.embed_tokens,
        head=head,
        ids=ids,
        first=first,
        codes=codes,
        pixels=pixels,
        tokenize=tokenize,
        pad=0 if pad is None else int(pad),
        grid=grid,
        device=weight.device,
        dtype=weight.dtype,
        official=official,
        **fields,
    )


def load(
    name: str = "simplear",
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    weights: Path | str | None = None,
    scripted_decoder: Path | str | None = None,
    preset: str | None = None,
    image_size: int = 1024,
    official: bool = False,
    prefix: str = PREFIX,
    prompt_tokens: int = PROMPT_TOKENS,
) -> SimpleARModel:
    """SimpleAR from its published folder.

    Args:
        name: under which it is registered.
        device: where it runs.
        dtype: bfloat16 on a GPU, float32 on a CPU where None.
        weights: the folder of the language model with its tokenizer.
        scripted_decoder: the path of Cosmos' `decoder.jit`; **loading it executes the program in
            that file**, so it is never searched for.
        preset: an official sampling preset by name.
        image_size: pixels along a side: 1024, or what the checkpoint was trained for.
        official: sample from the whole vocabulary, words included.
        prefix: put before each prompt; the official evaluation draws one of twenty styles.
        prompt_tokens: a prompt's share of a candidate's cache.

    Raises:
        ScalingarError: no transformers, or files that are missing, damaged or foreign.
    """
    transformers = need_transformers("SimpleAR")
    folder = need_folder(name, weights, "Use a folder of SimpleAR with its tokenizer.")
    if scripted_decoder is None:
        raise ScalingarError(
            f"Model {name!r} needs an image decoder: pass --option scripted_decoder=PATH to decoder.jit of "
            "nvidia/Cosmos-1.0-Tokenizer-DV8x16x16. It is a TorchScript program that is executed, "
            "so name a file you trust."
        )
    if image_size < PIXELS_PER_TOKEN or image_size % PIXELS_PER_TOKEN:
        raise ScalingarError(
            f"image_size={image_size!r} must be a multiple of {PIXELS_PER_TOKEN}: pixels along a "
            "side."
        )
    device = torch.device(device)
    dtype = default_dtype(device, dtype)
    named, sampling = pick_preset(PRESETS, preset)
    tokenizer = load_tokenizer(folder)
    for token in (START, END):
        token_id(tokenizer, token)
    side = image_size // PIXELS_PER_TOKEN
    pixels = load_scripted(scripted_decoder, device)
    model = load_pretrained(transformers.Qwen2ForCausalLM, folder, dtype).to(device)
    settings = settings_of(
        named,
        sampling,
        dtype,
        image_size=image_size,
        official=official,
        prefix=prefix,
        prompt_tokens=prompt_tokens,
    )
    return from_transformers(
        model,
        lambda text: list(tokenizer(text)["input_ids"]),
        pixels,
        first=len(tokenizer),
        codes=CODES,
        grid=Grid(side, side),
        official=official,
        name=name,
        prompt_tokens=prompt_tokens,
        prefix=prefix,
        preset=sampling,
        settings=settings,
        files=[*weight_files(folder), Path(scripted_decoder)],
    )


small = functools.partial(load, "simplear-0.5b")
large = functools.partial(load, "simplear-1.5b")
