"""From a folder of official files to a running adapter. One name for each published generator."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from attrs import asdict
from torch import Tensor

from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.errors import ScalingarError, unknown_name
from scalingar_plugins.hub.fetch import folder_for
from scalingar_plugins.hub.sources import SOURCES
from scalingar_plugins.models.captions import Cleaning
from scalingar_plugins.models.checkpoints import find_file, load_strictly, read_state, without
from scalingar_plugins.models.llamagen.adapter import LlamaGenModel
from scalingar_plugins.models.llamagen.network import CaptionEmbedder, ClassEmbedder, LlamaGen
from scalingar_plugins.models.llamagen.sizes import (
    CAPTION_DIM,
    CAPTION_TOKENS,
    CLASSES,
    VARIANTS,
    Variant,
    variant,
)
from scalingar_plugins.models.llamagen.text import (
    Padding,
    T5Features,
    default_cache,
    find_encoder,
)
from scalingar_plugins.models.vq import UNUSED, VQConfig, VQDecoder


def default_dtype(device: torch.device, dtype: torch.dtype | None) -> torch.dtype:
    """The user's, else bfloat16 on a GPU (as official scripts) and float32 elsewhere."""
    if dtype is not None:
        return dtype
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def pick_preset(presets: Mapping[str, Sampling], name: str | None) -> tuple[str, Sampling]:
    """The preset called `name`, or the first; `ScalingarError` for an unknown one."""
    if name is None:
        name = next(iter(presets))
    if name not in presets:
        raise unknown_name("preset", name, presets)
    return name, presets[name]


def settings_of(preset: str, sampling: Sampling, dtype: torch.dtype, **more: Any) -> dict[str, Any]:
    """What a run records of a model beside its weights."""
    return {
        "preset": {"name": preset, **asdict(sampling)},
        "dtype": str(dtype).removeprefix("torch."),
        **more,
    }


def build_tokenizer(config: VQConfig, state: Mapping[str, Tensor], what: str) -> VQDecoder:
    """The image decoder from a full or decoder-only state dict; float32, as official scripts."""
    with torch.device("meta"):
        decoder = VQDecoder(config)
    named = without(state, UNUSED)
    hint = "VQ-16 and VQ-8 files are different networks; c2i and t2i files are different weights."
    load_strictly(decoder, named, what, hint)
    return decoder.float().eval()


def build_network(
    task: str, v: Variant, state: Mapping[str, Tensor], what: str, dtype: torch.dtype
) -> LlamaGen:
    """The generator of a published geometry."""
    with torch.device("meta"):
        conditioner = (
            ClassEmbedder(CLASSES, v.config.dim)
            if task == "c2i"
            else CaptionEmbedder(CAPTION_TOKENS, CAPTION_DIM, v.config.dim)
        )
    return LlamaGen.from_state(v.config, conditioner, state, what).to(dtype)


def text_features(
    weights: Path,
    t5: str | Path | None,
    feature_cache: str | Path | None,
    cleaning: Cleaning,
    device: torch.device,
    t5_device: str | None,
    dtype: torch.dtype,
) -> T5Features:
    """The caption encoder with its disk cache.

    T5 overflows in float16, so a float16 generator gets bfloat16 features.
    """
    if cleaning not in ("official", "lower", "none"):
        raise unknown_name("caption cleaning", cleaning, ("official", "lower", "none"))
    cache: Path | None = None
    if feature_cache != "none":
        cache = default_cache() if feature_cache is None else Path(feature_cache)
    return T5Features(
        folder=find_encoder(weights, t5),
        device=torch.device(t5_device) if t5_device else device,
        dtype=torch.bfloat16 if dtype is torch.float16 else dtype,
        tokens=CAPTION_TOKENS,
        cleaning=cleaning,
        cache=cache,
    )


def text_settings(
    texts: T5Features | None, padding: Padding, cleaning: Cleaning, t5_device: str | None
) -> dict[str, str]:
    """What changes a caption's features, for the record; nothing where there are no captions."""
    if texts is None:
        return {}
    # Only where it was chosen: "where the generator runs" is not another setting on another device.
    chosen = {} if t5_device is None else {"t5_device": texts.device.type}
    return {"padding": padding, "cleaning": cleaning, **chosen}


def load(
    v: Variant,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    weights: Path | str | None = None,
    preset: str | None = None,
    generator: str | None = None,
    tokenizer: str | None = None,
    t5: Path | str | None = None,
    t5_device: str | None = None,
    feature_cache: Path | str | None = None,
    caption_cleaning: Cleaning = "official",
    prompt_padding: Padding = "left",
) -> LlamaGenModel:
    """An official LlamaGen checkpoint.

    Args:
        v: which one.
        device: where it runs.
        dtype: of the generator; bfloat16 on a GPU, float32 on a CPU where None. The image decoder
            stays in float32.
        weights: the folder with the generator's and the tokenizer's file under their published
            names, and for t2i `flan-t5-xl/`; the generator's file in it; `org/name[@revision]`; or
            None for the published repository.
        preset: an official sampling preset by name; the first where None.
        generator, tokenizer: other file names in `weights`.
        t5: the text encoder's folder or repository, where it is elsewhere.
        t5_device: where the text encoder runs ("cpu" leaves the GPU to the generator).
        feature_cache: a folder for prompt features, "none" for no cache.
        caption_cleaning: "official", "lower" or "none" (captions.clean).
        prompt_padding: "left", or "right_raw" as AR-GRPO evaluates (text.pad).

    Raises:
        ScalingarError: missing, damaged or foreign files, each with what to do.
    """
    if prompt_padding not in ("left", "right_raw"):
        raise unknown_name("prompt padding", prompt_padding, ("left", "right_raw"))
    device = torch.device(device)
    dtype = default_dtype(device, dtype)
    folder = need_weights(v.name, weights, (*v.generator, *v.tokenizer))
    if folder.is_file():
        generator, folder = folder.name, folder.parent
    named, sampling = pick_preset(v.presets, preset)
    model_file = find_file(folder, [generator] if generator else v.generator, "generator")
    vq_file = find_file(folder, [tokenizer] if tokenizer else v.tokenizer, "image tokenizer")
    texts = None
    if v.task == "t2i":
        texts = text_features(folder, t5, feature_cache, caption_cleaning, device, t5_device, dtype)
    network = build_network(v.task, v, read_state(model_file), repr(str(model_file)), dtype)
    decoder = build_tokenizer(v.vq, read_state(vq_file), repr(str(vq_file)))
    more = text_settings(texts, prompt_padding, caption_cleaning, t5_device)
    return LlamaGenModel(
        name=v.name,
        network=network.to(device),
        tokenizer=decoder.to(device),
        device=device,
        dtype=dtype,
        preset=sampling,
        texts=texts,
        padding=prompt_padding,
        presets=v.presets,
        settings=settings_of(named, sampling, dtype, **more),
        files=[model_file, vq_file, *(texts.files if texts is not None else ())],
    )


def need_weights(name: str, weights: Path | str | None, files: tuple[str, ...]) -> Path:
    """The folder (or file) that `weights` names, fetched where it is not here.

    Raises:
        ScalingarError: no weights, and a model without a repository of its own: it says which
            `files` belong into the folder.
    """
    if weights is None and name not in SOURCES:
        raise ScalingarError(
            f"Model {name!r} needs its weights: --weights DIR, a folder with {', '.join(files)}."
        )
    return folder_for(name, weights)


def load_family(
    task: Any,
    *,
    size: str = "XL",
    image_size: int = 384,
    downsample: int = 16,
    **options: Any,
) -> LlamaGenModel:
    """A member of the family that has no name of its own: other sizes, VQ-8, own training."""
    return load(variant(task, size, image_size, downsample), **options)


c2i = functools.partial(load_family, "c2i")
t2i = functools.partial(load_family, "t2i")

c2i_b_256 = functools.partial(load, VARIANTS["llamagen-c2i-b-256"])
c2i_b_384 = functools.partial(load, VARIANTS["llamagen-c2i-b-384"])
c2i_l_256 = functools.partial(load, VARIANTS["llamagen-c2i-l-256"])
c2i_l_384 = functools.partial(load, VARIANTS["llamagen-c2i-l-384"])
c2i_xl_384 = functools.partial(load, VARIANTS["llamagen-c2i-xl-384"])
c2i_xxl_384 = functools.partial(load, VARIANTS["llamagen-c2i-xxl-384"])
c2i_3b_384 = functools.partial(load, VARIANTS["llamagen-c2i-3b-384"])
t2i_256 = functools.partial(load, VARIANTS["llamagen-t2i-256"])
t2i_512 = functools.partial(load, VARIANTS["llamagen-t2i-512"])
