"""`hf-causal`: any causal model of transformers with image codes, described by a small YAML file.

The description says what no checkpoint says of itself: which tokens are image codes, the grid, what
precedes the first code, whether rows are closed by a token, and what turns codes into pixels. It
holds data only, and the model is one of transformers' own classes; nothing that comes with the
weights is executed.

    codes: {first: tokenizer, count: 8192}
    grid: {rows: 32, cols: 32}
    prompt: "<bos>{prompt} Generate an image based on this description.<boi>"
    negative: "<bos><unconditional><boi>"
    sampling: {guidance: 7.0, temperature: 0.99, top_k: 4096, top_p: 0.96}
    image: {decoder: vqgan, file: vqgan.ckpt}
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from attrs import field, frozen
from torch import Tensor

from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.errors import ScalingarError
from scalingar_fw.reading import load_yaml, read_text
from scalingar_plugins.hub.fetch import fetch, in_cache
from scalingar_plugins.hub.sources import VQGAN
from scalingar_plugins.models.checkpoints import read_state
from scalingar_plugins.models.descriptions import Description, described
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
from scalingar_plugins.models.llamagen.load import (
    build_tokenizer,
    default_dtype,
    pick_preset,
    settings_of,
)
from scalingar_plugins.models.shared_vocabulary import SharedVocabulary, image_slots
from scalingar_plugins.models.vq import VQ_8, VQ_16, VQDecoder
from scalingar_plugins.models.vqgan import find_decoder

#: Image decoders of LlamaGen's layout, by the description's name.
VQS = {"llamagen-vq16": VQ_16, "llamagen-vq8": VQ_8}
#: Liquid 7B as its authors' inference script has it (evaluation/inference_t2i.py of Liquid).
LIQUID: Mapping[str, Any] = {
    "codes": {"first": "tokenizer", "count": 8192},
    "grid": {"rows": 32, "cols": 32},
    "prompt": "<bos>{prompt} Generate an image based on this description.<boi>",
    "negative": "<bos><unconditional><boi>",
    "sampling": {"guidance": 7.0, "temperature": 0.99, "top_k": 4096, "top_p": 0.96},
    "image": {"decoder": "vqgan", "file": "vqgan.ckpt"},
}
#: How far the rows of the output layer may be from the model's own logits, of their largest.
AGREEMENT = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}


@frozen(eq=False, slots=False, kw_only=True)
class HFCausalModel(SharedVocabulary):
    """A causal model of transformers and its description. `tokenize`: text to ids, special tokens
    in it recognised and none added."""

    description: Description
    decoder: VQDecoder = field(repr=False)
    tokenize: Callable[[str], Sequence[int]] = field(repr=False)

    def pair(self, prompt: Prompt) -> tuple[Sequence[int], Sequence[int]]:
        scale = self.decoder.config.upscale
        asked = self.description.texts(prompt, self.grid.rows * scale, self.grid.cols * scale)
        return self.tokenize(asked[0]), self.tokenize(asked[1])

    def decode_images(self, tokens: Tensor) -> Tensor:
        return self.decoder.in_parts(tokens, self.grid.rows, self.grid.cols)


def from_transformers(
    model: Any,
    tokenize: Callable[[str], Sequence[int]],
    description: Description,
    ids: Tensor,
    decoder: VQDecoder,
    *,
    end_of_line: int | None = None,
    name: str = "hf-causal",
    pad: int | None = None,
    presets: Mapping[str, Sampling] | None = None,
    **fields: Any,
) -> HFCausalModel:
    """An adapter around a loaded causal model.

    Args:
        model: with `base_model`, embeddings and an output layer.
        tokenize: text to token ids.
        description: what the model does not say of itself.
        ids: the token id of each image code.
        decoder: codes to pixels.
        end_of_line: the id behind each row; None where there is none.
        name: under which it is registered.
        pad: the id of padding; any id does, since nothing attends to it.
        presets: named samplings; the description's alone where None.
        fields: passed on to the adapter.

    Raises:
        ScalingarError: codes that the decoder or the vocabulary does not have, or a model whose
            logits or cache are not what this adapter takes them for.
    """
    head, codes = model.get_output_embeddings(), decoder.config.codebook_size
    if len(ids) != codes:
        raise ScalingarError(
            f"codes: the description has {len(ids)} and the image decoder {codes}: they must agree."
        )
    if int(ids.max()) >= head.weight.shape[0] or int(ids.min()) < 0:
        raise ScalingarError(
            f"codes: token ids {int(ids.min())} to {int(ids.max())} are not within the model's "
            f"vocabulary of {head.weight.shape[0]}. Is `first` right?"
        )
    embed, grid = model.get_input_embeddings(), description.grid
    tied = head.weight is embed.weight
    adapter = HFCausalModel(
        name=name,
        trunk=Trunk(model.base_model, description.prompt_tokens + image_slots(grid, end_of_line)),
        embed=embed,
        head=visual_head(head.weight.detach(), ids, tied),
        ids=ids,
        end_of_line=end_of_line,
        pad=0 if pad is None else pad,
        grid=grid,
        device=embed.weight.device,
        dtype=embed.weight.dtype,
        preset=description.sampling,
        presets=presets or {"described": description.sampling},
        description=description,
        decoder=decoder,
        tokenize=tokenize,
        **fields,
    )
    _check_agreement(model, adapter)
    return adapter


def _check_agreement(model: Any, adapter: HFCausalModel) -> None:
    """Some models scale or cap their logits behind the output layer, or keep another memory than
    keys and values: with those the adapter would draw from other distributions, silently."""
    tokens = torch.stack([adapter.ids[:3], adapter.ids[-3:]])
    try:
        with torch.inference_mode():
            theirs = model(input_ids=tokens, use_cache=False).logits[:, -1]
            mask = torch.ones_like(tokens[:, :2], dtype=torch.bool)
            cache, _ = adapter.trunk.prefill(adapter.embed(tokens[:, :2]), mask, 1)
            hidden = adapter.trunk.read(cache, adapter.embed(tokens[:, 2:]))
            ours = torch.nn.functional.linear(hidden, adapter.head).float()
    except (AttributeError, TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        said = (str(error).strip().splitlines() or [""])[0][:200]
        raise ScalingarError(
            f"{type(model).__name__} cannot be run a step at a time with keys and values alone "
            f"({type(error).__name__}: {said}): it needs an adapter of its own."
        ) from error
    expected = theirs[:, adapter.ids].float()
    far = float((ours - expected).abs().max()) / max(1e-6, float(expected.abs().max()))
    if not far <= AGREEMENT.get(adapter.dtype, 1e-3):
        raise ScalingarError(
            f"{type(model).__name__}: its own logits and those of its output layer over a cache "
            f"differ by {far:.1%}. It changes them in a way that this adapter does not know."
        )


def load(
    name: str = "hf-causal",
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    weights: Path | str | None = None,
    description: Path | str | None = None,
    vqgan: Path | str | None = None,
) -> HFCausalModel:
    """A causal model of transformers from its folder and a description.

    Args:
        name: under which it is registered.
        device: where it runs.
        dtype: bfloat16 on a GPU, float32 on a CPU where None.
        weights: the folder.
        description: the YAML file.
        vqgan: the image decoder's file, instead of the description's.

    Raises:
        ScalingarError: no transformers, a description that says too little or too much, or files
            that are missing, damaged or foreign.
    """
    if description is None:
        raise ScalingarError(
            f"Model {name!r} needs its description: --option description=FILE.yaml. The page on "
            "hf-causal in the documentation says what is in it."
        )
    path = Path(description)
    try:
        text = read_text(path)
    except OSError as error:
        raise ScalingarError(
            f"description={str(path)!r} cannot be read: {error.strerror}."
        ) from error
    about = described(load_yaml(text, str(path)), str(path))
    return _load(name, about, "described", path.parent, device, dtype, weights, vqgan)


def liquid_7b(
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    weights: Path | str | None = None,
    vqgan: Path | str | None = None,
    preset: str | None = None,
) -> HFCausalModel:
    """Liquid 7B from its folder; 512 px.

    Args:
        device: where it runs.
        dtype: bfloat16 on a GPU, float32 on a CPU where None.
        weights: the folder.
        vqgan: Chameleon's image tokenizer (`vqgan.ckpt`), or a folder with it; looked for in
            `weights` where None.
        preset: an official sampling preset by name.

    Raises:
        ScalingarError: no transformers, or files that are missing, damaged or foreign.
    """
    about = described(LIQUID, "liquid-7b")
    named, _ = pick_preset({"official": about.sampling}, preset)
    return _load("liquid-7b", about, named, None, device, dtype, weights, vqgan)


def _load(
    name: str,
    about: Description,
    preset: str,
    beside: Path | None,
    device: torch.device | str,
    dtype: torch.dtype | None,
    weights: Path | str | None,
    vqgan: Path | str | None,
) -> HFCausalModel:
    transformers = need_transformers(name)
    folder = need_folder(name, weights, "Use a folder in transformers' format.")
    device = torch.device(device)
    dtype = default_dtype(device, dtype)
    tokenizer = load_tokenizer(folder)
    ids = torch.tensor(about.token_ids(len(tokenizer), functools.partial(token_id, tokenizer)))
    decoder, file = _decoder(about, folder, beside, vqgan)
    model = load_pretrained(
        transformers.AutoModelForCausalLM, folder, dtype, trust_remote_code=False
    ).to(device)
    line = about.end_of_line
    return from_transformers(
        model,
        lambda text: tokenizer(text, add_special_tokens=False)["input_ids"],
        about,
        ids.to(device),
        decoder.requires_grad_(False).to(device),
        end_of_line=None if line is None else token_id(tokenizer, line),
        name=name,
        pad=tokenizer.pad_token_id,
        presets={preset: about.sampling},
        settings=settings_of(preset, about.sampling, dtype, description=about.plain()),
        files=[*weight_files(folder), file],
    )


def _decoder(
    about: Description, folder: Path, beside: Path | None, named: Path | str | None
) -> tuple[VQDecoder, Path]:
    """The image decoder: the user's file, else the description's, else one that is found."""
    place = Path(named) if named is not None else None
    if place is None and about.file is not None:
        here = [p / about.file for p in (folder, beside) if p is not None]
        place = next((p for p in here if p.is_file()), None)
    if about.decoder in VQS and place is not None:
        what = repr(str(place))
        return build_tokenizer(VQS[about.decoder], read_state(place), what), place
    found = find_decoder(folder, place) if about.decoder not in VQS else None
    if found is None and about.decoder not in VQS and in_cache(folder):
        found = find_decoder(fetch(VQGAN).folder, None)
    if found is None:
        raise ScalingarError(
            f"The image decoder {about.file or 'vqgan.ckpt'!r} is not in {str(folder)!r}: put it "
            "there, or name it with --option vqgan=PATH."
        )
    return found
