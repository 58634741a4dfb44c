"""VQ-GAN files in taming transformers' layout, as Chameleon's `vqgan.ckpt` and its likes are.

The geometry is read off the tensors' shapes: it is not written in the file, and the configuration
that lies beside it in another one is one more thing to mix up. Names differ from LlamaGen's, and
levels are counted from the finest one where LlamaGen counts from the coarsest.

Source: taming transformers (arXiv 2012.09841) and Chameleon (arXiv 2405.09818), the published
architecture.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from scalingar_fw.errors import ScalingarError
from scalingar_plugins.models.checkpoints import load_strictly, read_state
from scalingar_plugins.models.vq import VQConfig, VQDecoder

#: The parts of a tokenizer that decoding uses.
WANTED = ("decoder.", "post_quant_conv.", "quantize.embedding.")
#: Where published folders keep the file, the plainest first.
PLACES = tuple(
    folder + name
    for folder in ("", "original_tokenizers/", "tokenizer/", "chameleon/tokenizer/")
    for name in ("vqgan.safetensors", "vqgan.ckpt")
)
#: Before the tokenizer's names in a model folder that holds it among the model's own tensors.
PREFIX = "model.vqmodel."

_MIDDLE = {"block_1": "0", "attn_1": "1", "block_2": "2"}


def decoder_of(state: Mapping[str, Tensor], what: str) -> VQDecoder:
    """The decoding half of a VQ-GAN, in float32.

    Args:
        state: its tensors under taming transformers' names; the encoder's may be among them.
        what: names the file in an error.

    Raises:
        ScalingarError: another architecture, or tensors that are missing, left over or misshapen.
    """
    kept = {name: value for name, value in state.items() if name.startswith(WANTED)}
    try:
        config = _geometry(kept)
    except (KeyError, ValueError, IndexError) as error:
        raise ScalingarError(
            f"{what} is no VQ-GAN with a decoder ({error}). Chameleon's is vqgan.ckpt; "
            "transformers' own conversion of Chameleon leaves the decoder out."
        ) from error
    with torch.device("meta"):
        decoder = VQDecoder(config)
    load_strictly(decoder, _renamed(kept, len(config.channel_mult)), what)
    return decoder.float().eval()


def _geometry(state: Mapping[str, Tensor]) -> VQConfig:
    levels = 1 + max((int(n) for n in _matches(state, r"decoder\.up\.(\d+)\.")), default=-1)
    base = state["decoder.conv_out.weight"].shape[1]
    widths = [state[f"decoder.up.{i}.block.0.conv2.weight"].shape[0] for i in range(levels)]
    blocks = {int(n) for n in _matches(state, r"decoder\.up\.0\.block\.(\d+)\.")}
    if any(width % base for width in widths):
        raise ValueError(f"widths {widths} of the levels are no multiples of {base}")
    codes, width = state["quantize.embedding.weight"].shape
    return VQConfig(
        codebook_size=codes,
        codebook_dim=width,
        z_channels=state["decoder.conv_in.weight"].shape[1],
        base_channels=base,
        channel_mult=tuple(width // base for width in widths),
        res_blocks=len(blocks) - 1,
        normalize_codes=False,
        attention=any(_matches(state, rf"decoder\.up\.({levels - 1})\.attn\.")),
    )


def _matches(names: Mapping[str, Tensor], pattern: str) -> Iterator[str]:
    return (found[1] for name in names if (found := re.match(pattern, name)))


def _renamed(state: Mapping[str, Tensor], levels: int) -> dict[str, Tensor]:
    renamed = {}
    for name, value in state.items():
        name = re.sub(
            r"^decoder\.mid\.(block_1|attn_1|block_2)\.",
            lambda m: f"decoder.mid.{_MIDDLE[m[1]]}.",
            name,
        )
        name = re.sub(
            r"^decoder\.up\.(\d+)\.(block\.|attn\.|upsample\.)",
            lambda m: (
                f"decoder.conv_blocks.{levels - 1 - int(m[1])}.{m[2].replace('block.', 'res.')}"
            ),
            name,
        )
        renamed[name] = value
    return renamed


def find_decoder(folder: Path, named: Path | str | None) -> tuple[VQDecoder, Path] | None:
    """The image decoder of a model folder and the file that it was read from.

    `named`: the file or a folder that holds it; else it is looked for in `folder`, as a file of its
    own or among the model's tensors. None where neither is there.

    Raises:
        ScalingarError: `named` is not there, or what was found is no VQ-GAN.
    """
    if named is not None:
        places = [Path(named), *(Path(named) / place for place in PLACES)]
        found = next((p for p in places if p.is_file()), None)
        if found is None:
            raise ScalingarError(
                f"vqgan={str(named)!r} is neither a file nor a folder with {PLACES[1]!r}."
            )
        return decoder_of(read_state(found), repr(str(found))), found
    for place in PLACES:
        if (folder / place).is_file():
            return decoder_of(read_state(folder / place), repr(str(folder / place))), folder / place
    for file in sorted(folder.glob("*.safetensors")):
        if _holds_decoder(file):
            state: dict[str, Tensor] = {}
            for shard in sorted(folder.glob("*.safetensors")):
                state |= _prefixed(shard)
            return decoder_of(state, f"The image tokenizer in {str(folder)!r}"), file
    return None


def _holds_decoder(file: Path) -> bool:
    return any(name.startswith(f"{PREFIX}decoder.") for name in _names(file))


def _names(file: Path) -> list[str]:
    import safetensors

    try:
        with safetensors.safe_open(file, framework="pt") as opened:
            return list(opened.keys())
    except (safetensors.SafetensorError, OSError) as error:
        raise ScalingarError(f"{str(file)!r} cannot be read as safetensors: {error}.") from error


def _prefixed(file: Path) -> dict[str, Tensor]:
    """The tokenizer's tensors in a shard; the model's own, which are larger, are not read."""
    import safetensors

    wanted = tuple(PREFIX + name for name in WANTED)
    with safetensors.safe_open(file, framework="pt") as opened:
        names = [name for name in opened.keys() if name.startswith(wanted)]
        return {name.removeprefix(PREFIX): opened.get_tensor(name) for name in names}
