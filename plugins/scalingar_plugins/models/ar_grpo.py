"""AR-GRPO: LlamaGen generators fine-tuned by reinforcement learning, in a Hugging Face folder.

The folder's class needs the authors' code, so nothing is built from it: `config.json` gives the
geometry, and the tensors below `gpt_model.` and `vq_model.` are LlamaGen's own, under a prefix.
Text prompts are padded differently than LlamaGen's (`prompt_padding="right_raw"`): that is how the
checkpoint was trained and is evaluated, and the difference is not small.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.errors import ScalingarError, unknown_name
from scalingar_fw.reading import read_json
from scalingar_plugins.models.captions import Cleaning
from scalingar_plugins.models.checkpoints import read_state, with_prefix, without
from scalingar_plugins.models.llamagen.adapter import LlamaGenModel
from scalingar_plugins.models.llamagen.load import (
    build_network,
    build_tokenizer,
    default_dtype,
    need_weights,
    pick_preset,
    settings_of,
    text_features,
    text_settings,
)
from scalingar_plugins.models.llamagen.sizes import Task, Variant, variant
from scalingar_plugins.models.llamagen.text import Padding

GENERATOR, TOKENIZER = "gpt_model.", "vq_model."
#: The trainer saves the frozen reference policy beside the trained one.
REFERENCE = ("ref_model.*",)

#: `script` is test_t2i.sh, which passes scale 2.0 unless told otherwise; `python` is test_t2i.py
#: called by hand; `training` is the scale of the reinforcement learning.
T2I_PRESETS: Mapping[str, Sampling] = {
    "script": Sampling(guidance=2.0, top_k=2000),
    "python": Sampling(guidance=7.5, top_k=2000),
    "training": Sampling(guidance=4.0, top_k=2000),
}
C2I_PRESETS: Mapping[str, Sampling] = {"test": Sampling(guidance=2.0)}


def read_folder(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor], list[Path]]:
    """`config.json`, all tensors less the reference policy's, and the files they came from.

    Raises:
        ScalingarError: no such folder, no readable configuration, no weights.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ScalingarError(
            f"{str(folder)!r} has no config.json: download the whole AR-GRPO folder."
        )
    try:
        config = read_json(path)
    except ScalingarError as error:
        raise ScalingarError(f"{error} Download it again.") from error
    if not isinstance(config, dict) or config.get("model_type") != "ImgGen_HF":
        kind = config.get("model_type") if isinstance(config, dict) else None
        raise ScalingarError(
            f"{str(folder)!r} has model_type {kind!r}; AR-GRPO's folders say 'ImgGen_HF'. "
            "Choose the model that matches the weights."
        )
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        files = sorted(folder.glob("pytorch_model*.bin"))
    if not files:
        raise ScalingarError(f"{str(folder)!r} has no weights: expected *.safetensors.")
    state: dict[str, Tensor] = {}
    for file in files:
        state |= without(read_state(file), REFERENCE)
    return config, state, files


def variant_of(config: Mapping[str, Any], v: Variant) -> Variant:
    """`v` with the geometry of the folder, after checking that they agree."""
    task: Task = "t2i" if config.get("gpt_type", v.task) == "t2i" else "c2i"
    size = str(config.get("gpt_model", f"GPT-{v.size}")).removeprefix("GPT-")
    image = int(config.get("image_size", v.image))
    found = variant(task, size, image, int(config.get("downsample_size", v.downsample)), v.name)
    if (found.task, found.size, found.image) != (v.task, v.size, v.image):
        raise ScalingarError(
            f"These weights are {found.task} {found.size} at {found.image} px; {v.name!r} is "
            f"{v.task} {v.size} at {v.image} px: choose the model that matches them."
        )
    return found


def load(
    v: Variant,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    weights: Path | str | None = None,
    preset: str | None = None,
    t5: Path | str | None = None,
    t5_device: str | None = None,
    feature_cache: Path | str | None = None,
    caption_cleaning: Cleaning = "official",
    prompt_padding: Padding = "right_raw",
) -> LlamaGenModel:
    """An AR-GRPO folder; its image tokenizer is inside. Arguments as of LlamaGen's `load`.

    Raises:
        ScalingarError: missing, damaged or foreign files; a folder of another size or task.
    """
    if prompt_padding not in ("left", "right_raw"):
        raise unknown_name("prompt padding", prompt_padding, ("left", "right_raw"))
    device = torch.device(device)
    dtype = default_dtype(device, dtype)
    folder = need_weights(v.name, weights, ("config.json", "*.safetensors"))
    folder = folder.parent if folder.is_file() else folder
    presets = T2I_PRESETS if v.task == "t2i" else C2I_PRESETS
    named, sampling = pick_preset(presets, preset)
    config, state, files = read_folder(folder)
    found = variant_of(config, v)
    stray = [n for n in state if not n.startswith((GENERATOR, TOKENIZER))]
    if stray:
        raise ScalingarError(
            f"{str(folder)!r} holds {len(stray)} tensors that are neither the generator's nor the "
            f"tokenizer's: {', '.join(sorted(stray)[:6])}. Is it an AR-GRPO folder?"
        )
    texts = None
    if v.task == "t2i":
        texts = text_features(folder, t5, feature_cache, caption_cleaning, device, t5_device, dtype)
    what = repr(str(folder))
    network = build_network(found.task, found, with_prefix(state, GENERATOR), what, dtype)
    tokenizer = build_tokenizer(found.vq, with_prefix(state, TOKENIZER), what)
    more = text_settings(texts, prompt_padding, caption_cleaning, t5_device)
    return LlamaGenModel(
        name=v.name,
        network=network.to(device),
        tokenizer=tokenizer.to(device),
        device=device,
        dtype=dtype,
        preset=sampling,
        texts=texts,
        padding=prompt_padding,
        presets=presets,
        settings=settings_of(named, sampling, dtype, **more),
        files=[*files, *(texts.files if texts is not None else ())],
    )


#: The published checkpoints.
VARIANTS: Mapping[str, Variant] = {
    v.name: v
    for v in (
        variant("t2i", "XL", 256, name="ar-grpo-t2i-256"),
        variant("c2i", "B", 256, name="ar-grpo-c2i-b-256"),
        *(variant("c2i", s, 384, name=f"ar-grpo-c2i-{s.lower()}-384") for s in ("B", "L", "XL")),
    )
}

t2i_256 = functools.partial(load, VARIANTS["ar-grpo-t2i-256"])
c2i_b_256 = functools.partial(load, VARIANTS["ar-grpo-c2i-b-256"])
c2i_b_384 = functools.partial(load, VARIANTS["ar-grpo-c2i-b-384"])
c2i_l_384 = functools.partial(load, VARIANTS["ar-grpo-c2i-l-384"])
c2i_xl_384 = functools.partial(load, VARIANTS["ar-grpo-c2i-xl-384"])
