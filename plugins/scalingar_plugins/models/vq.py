"""The image decoder of LlamaGen's tokenizer: codebook indices to pixels.

One implementation serves LlamaGen, AR-GRPO (whose tokenizer is the same network), Janus (the same
network under other names, see `from_janus_names`) and the VQ-GANs whose names are those of taming
transformers (Chameleon's, and with it Anole's, Lumina-mGPT's and Liquid's; see `vqgan`). Only the decoding half exists: generation
never encodes an image, and the encoder is two fifths of the file.

Source: LlamaGen (arXiv 2406.06525), `tokenizer/tokenizer_image/vq_model.py`, reimplemented.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from attrs import field, frozen, validators
from torch import Tensor, nn

#: Entries of a full checkpoint that decoding does not use, dropped by name.
UNUSED = ("encoder.*", "quant_conv.*", "quantize.codebook_used")


@frozen
class VQConfig:
    """Geometry of the decoder; the defaults are VQ-16's.

    `channel_mult`: width of each level over `base_channels`, finest level first; the image is
    `2 ** (levels - 1)` times as wide as the grid. `groups`: of every group norm. `attention`:
    whether the blocks of the coarsest level are followed by attention, as the middle always is.
    """

    codebook_size: int = field(default=16384, validator=validators.ge(1))
    codebook_dim: int = field(default=8, validator=validators.ge(1))
    z_channels: int = field(default=256, validator=validators.ge(1))
    base_channels: int = field(default=128, validator=validators.ge(1))
    channel_mult: tuple[int, ...] = field(default=(1, 1, 2, 2, 4), validator=validators.min_len(1))
    res_blocks: int = field(default=2, validator=validators.ge(0))
    groups: int = field(default=32, validator=validators.ge(1))
    normalize_codes: bool = True
    attention: bool = True

    def __attrs_post_init__(self) -> None:
        if self.base_channels % self.groups:
            raise ValueError(
                f"base_channels={self.base_channels} must be a multiple of groups={self.groups}: "
                "change one of them."
            )

    @property
    def upscale(self) -> int:
        """Pixels per token along an axis."""
        return int(2 ** (len(self.channel_mult) - 1))


VQ_16 = VQConfig()
VQ_8 = VQConfig(channel_mult=(1, 2, 2, 4))


class ResBlock(nn.Module):
    """Two 3 x 3 convolutions with pre-activation; a 1 x 1 shortcut where the width changes."""

    def __init__(self, inner: int, outer: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, inner, eps=1e-6)
        self.conv1 = nn.Conv2d(inner, outer, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, outer, eps=1e-6)
        self.conv2 = nn.Conv2d(outer, outer, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(inner, outer, 1) if inner != outer else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        out: Tensor = self.nin_shortcut(x) + h
        return out


class SpatialAttention(nn.Module):
    """Single-head attention over the cells of the feature map, with a residual."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, width, eps=1e-6)
        self.q = nn.Conv2d(width, width, 1)
        self.k = nn.Conv2d(width, width, 1)
        self.v = nn.Conv2d(width, width, 1)
        self.proj_out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        query, key, value = (f(h).flatten(2).transpose(1, 2) for f in (self.q, self.k, self.v))
        mixed = F.scaled_dot_product_attention(query[:, None], key[:, None], value[:, None])[:, 0]
        out: Tensor = x + self.proj_out(mixed.transpose(1, 2).reshape(x.shape))
        return out


class Upsample(nn.Module):
    """Nearest neighbour times two, then a convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return out


class Level(nn.Module):
    """The residual blocks of one resolution; attention after each at the coarsest one."""

    def __init__(self, inner: int, outer: int, config: VQConfig, first: bool, last: bool) -> None:
        super().__init__()
        count = config.res_blocks + 1
        self.res = nn.ModuleList(
            ResBlock(inner if i == 0 else outer, outer, config.groups) for i in range(count)
        )
        self.attn = nn.ModuleList(
            SpatialAttention(outer, config.groups)
            for _ in range(count if first and config.attention else 0)
        )
        self.upsample = nn.Identity() if last else Upsample(outer)

    def forward(self, x: Tensor) -> Tensor:
        for i, block in enumerate(self.res):
            x = block(x)
            if len(self.attn):
                x = self.attn[i](x)
        out: Tensor = self.upsample(x)
        return out


class PixelDecoder(nn.Module):
    """Latents `[B, z_channels, h, w]` to pixels `[B, 3, h * upscale, w * upscale]`."""

    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        widths = [config.base_channels * m for m in reversed(config.channel_mult)]
        top, groups = widths[0], config.groups
        self.conv_in = nn.Conv2d(config.z_channels, top, 3, padding=1)
        self.mid = nn.ModuleList(
            [ResBlock(top, top, groups), SpatialAttention(top, groups), ResBlock(top, top, groups)]
        )
        self.conv_blocks = nn.ModuleList(
            Level(
                widths[max(0, i - 1)],
                width,
                config,
                first=i == 0,
                last=i == len(widths) - 1,
            )
            for i, width in enumerate(widths)
        )
        self.norm_out = nn.GroupNorm(groups, widths[-1], eps=1e-6)
        self.conv_out = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for block in (*self.mid, *self.conv_blocks):
            x = block(x)
        out: Tensor = self.conv_out(F.silu(self.norm_out(x)))
        return out


class Codebook(nn.Module):
    """`embedding.weight [codebook_size, codebook_dim]`, under the official name."""

    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.codebook_size, config.codebook_dim)


class VQDecoder(nn.Module):
    """Codes to images. Parameter names are the official ones, so that loading is strict."""

    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        self.config = config
        self.quantize = Codebook(config)
        self.post_quant_conv = nn.Conv2d(config.codebook_dim, config.z_channels, 1)
        self.decoder = PixelDecoder(config)

    def forward(self, codes: Tensor, rows: int, cols: int) -> Tensor:
        """`codes [B, rows * cols]` int64 in raster order to `[B, 3, H, W]`, about [-1, 1].

        Values may pass +-1 slightly, as those of the official decoder do; adapters clamp.
        """
        weight = self.quantize.embedding.weight
        if self.config.normalize_codes:
            # At look-up, not once at loading: official files hold rows that are not unit vectors.
            weight = F.normalize(weight, dim=-1)
        latent = F.embedding(codes, weight).transpose(1, 2)
        latent = latent.reshape(codes.shape[0], self.config.codebook_dim, rows, cols)
        out: Tensor = self.decoder(self.post_quant_conv(latent))
        return out

    def in_parts(self, codes: Tensor, rows: int, cols: int, pixels: int = 1 << 18) -> Tensor:
        """`forward`, clamped to [-1, 1], at most about `pixels` pixels at a time.

        The finest level holds several maps of `base_channels` floats per pixel: about half a
        gigabyte at 512 x 512 for each image that is decoded at once.
        """
        at_once = max(1, pixels // (rows * cols * self.config.upscale**2))
        images = [self(part, rows, cols).clamp(-1, 1) for part in torch.split(codes, at_once)]
        return torch.cat(images)


def from_janus_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with the names that transformers gives Janus' tokenizer, in ours."""
    order = {"block_1": "0", "attn_1": "1", "block_2": "2"}
    renamed = {}
    for name, value in state.items():
        name = re.sub(r"\.mid\.(block_1|attn_1|block_2)\.", lambda m: f".mid.{order[m[1]]}.", name)
        name = re.sub(r"^decoder\.up\.(\d+)\.block\.", r"decoder.conv_blocks.\1.res.", name)
        name = re.sub(r"^decoder\.up\.", "decoder.conv_blocks.", name)
        renamed[name] = value
    return renamed
