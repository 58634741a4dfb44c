"""The published family as data: widths, files, image sizes and sampling presets.

Source: LlamaGen's repository and weights pages (docs/backends/llamagen.md); AR-GRPO fine-tunes
some of the same generators.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from attrs import field, frozen

from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.errors import ScalingarError, unknown_name
from scalingar_plugins.models.decoder import DecoderConfig
from scalingar_plugins.models.vq import VQ_8, VQ_16, VQConfig

Task = Literal["c2i", "t2i"]

CODEBOOK = 16384
CLASSES = 1000
CAPTION_TOKENS = 120
CAPTION_DIM = 2048


@frozen
class Size:
    """Depth and width of a generator; heads are `dim / head_dim` wide."""

    layers: int
    heads: int
    dim: int


SIZES: Mapping[str, Size] = {
    "B": Size(12, 12, 768),
    "L": Size(24, 16, 1024),
    "XL": Size(36, 20, 1280),
    "XXL": Size(48, 24, 1536),
    "XXXL": Size(48, 40, 2560),
    "1B": Size(22, 32, 2048),
    "3B": Size(24, 32, 3200),
    "7B": Size(32, 32, 4096),
}


def decoder_config(size: str, task: Task, side: int) -> DecoderConfig:
    """The trunk of a published size for a grid of `side x side` tokens."""
    shape = SIZES[size]
    return DecoderConfig(
        vocab_size=CODEBOOK,
        dim=shape.dim,
        n_layer=shape.layers,
        n_head=shape.heads,
        rows=side,
        cols=side,
        prefix_len=1 if task == "c2i" else CAPTION_TOKENS,
    )


#: Official sampling settings by where they come from; the first is the default.
T2I_PRESETS: Mapping[str, Sampling] = {"demo": Sampling(guidance=7.5, top_k=1000)}


def c2i_presets(size: str) -> Mapping[str, Sampling]:
    """Demo, evaluation script, and the scale of the README's FID table for this size."""
    fid = {"B": 2.0, "L": 2.0, "XL": 1.75, "XXL": 1.75, "3B": 1.65}.get(size, 1.75)
    return {
        "demo": Sampling(guidance=4.0, top_k=2000),
        "ddp": Sampling(guidance=1.5),
        "fid": Sampling(guidance=fid),
    }


@frozen
class Variant:
    """One generator with its tokenizer: what a name stands for.

    `image`: pixels along a side; `downsample`: pixels per token. `generator`, `tokenizer`: file
    names as published.
    """

    name: str
    task: Task
    size: str
    image: int
    generator: tuple[str, ...]
    tokenizer: tuple[str, ...]
    downsample: int = 16
    presets: Mapping[str, Sampling] = field(factory=dict)

    @property
    def side(self) -> int:
        """Tokens along a side."""
        return self.image // self.downsample

    @property
    def config(self) -> DecoderConfig:
        return decoder_config(self.size, self.task, self.side)

    @property
    def vq(self) -> VQConfig:
        return VQ_16 if self.downsample == 16 else VQ_8


def variant(
    task: Task, size: str, image: int, downsample: int = 16, name: str | None = None
) -> Variant:
    """A member of the family, published or trained by the user.

    Raises:
        ScalingarError: an unknown size, or an image that the tokenizer's grid does not divide.
    """
    by_lower = {known.lower(): known for known in SIZES}
    if size.lower() not in by_lower:
        raise unknown_name("size", size, SIZES)
    size = by_lower[size.lower()]
    if downsample not in (8, 16):
        raise ScalingarError(f"downsample={downsample!r} must be 8 or 16: pixels per token.")
    if image < downsample or image % downsample:
        raise ScalingarError(
            f"image_size={image!r} must be a multiple of {downsample}: pixels along a side."
        )
    if task == "c2i":
        files: tuple[str, ...] = (f"c2i_{size}_{image}.pt",)
        presets = c2i_presets(size)
    else:
        stage = {256: "stage1", 512: "stage2"}.get(image, "stage2")
        files, presets = (f"t2i_{size}_{stage}_{image}.pt",), T2I_PRESETS
    return Variant(
        name=name or f"llamagen-{task}-{size.lower()}-{image}",
        task=task,
        size=size,
        image=image,
        generator=files,
        tokenizer=(f"vq_ds{downsample}_{task}.pt",),
        downsample=downsample,
        presets=presets,
    )


#: Every published pair of generator and tokenizer.
VARIANTS: Mapping[str, Variant] = {
    v.name: v
    for v in (
        *(variant("c2i", size, image) for size in ("B", "L") for image in (256, 384)),
        *(variant("c2i", size, 384) for size in ("XL", "XXL", "3B")),
        *(variant("t2i", "XL", image, name=f"llamagen-t2i-{image}") for image in (256, 512)),
    )
}
