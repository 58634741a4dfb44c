"""A small VQ-GAN in the layout in which Chameleon's is published."""

from __future__ import annotations

import torch

from scalingar_plugins.models import tiny
from scalingar_plugins.models.vq import VQConfig, VQDecoder


def vqgan_state(codes: int = 24) -> dict[str, torch.Tensor]:
    """One level of 32 channels, so that a code is a pixel; the encoder's part is a stray."""
    config = VQConfig(codes, 8, 32, 32, (1,), res_blocks=0, normalize_codes=False, attention=False)
    decoder = VQDecoder(config)
    tiny.randomize(decoder, 5, 0.1)
    named = {"encoder.conv_in.bias": torch.ones(2), "quant_conv.bias": torch.ones(2)}
    for name, value in decoder.state_dict().items():
        for old, new in (
            ("mid.0", "mid.block_1"),
            ("mid.1", "mid.attn_1"),
            ("mid.2", "mid.block_2"),
            ("conv_blocks.0.res", "up.0.block"),
        ):
            name = name.replace(old, new)
        named[name] = value
    return named
