"""The image decoder of LlamaGen, AR-GRPO and Janus."""

from __future__ import annotations

import pytest
import torch

from scalingar_plugins.models.vq import VQ_8, VQ_16, VQConfig, VQDecoder, from_janus_names

TINY = VQConfig(
    codebook_size=32, z_channels=8, base_channels=8, channel_mult=(1, 2), res_blocks=1, groups=4
)


@pytest.mark.parametrize(("config", "millions", "upscale"), [(VQ_16, 42.58, 16), (VQ_8, 41.55, 8)])
def test_published_sizes_have_the_published_number_of_parameters(
    config: VQConfig, millions: float, upscale: int
) -> None:
    with torch.device("meta"):
        decoder = VQDecoder(config)
    assert sum(p.numel() for p in decoder.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)
    assert config.upscale == upscale


def test_a_grid_may_be_oblong() -> None:
    decoder = VQDecoder(TINY).eval()
    with torch.inference_mode():
        assert decoder(torch.randint(32, (1, 6)), 2, 3).shape == (1, 3, 4, 6)


def test_code_vectors_are_normalised_when_they_are_looked_up() -> None:
    torch.manual_seed(0)
    decoder = VQDecoder(TINY).eval()
    codes = torch.randint(32, (2, 4))
    with torch.inference_mode():
        image = decoder(codes, 2, 2)
        decoder.quantize.embedding.weight *= 3.0
        assert torch.allclose(decoder(codes, 2, 2), image, atol=1e-6)


def test_decoding_in_parts_gives_the_same_images_within_the_range() -> None:
    torch.manual_seed(0)
    decoder = VQDecoder(TINY).eval()
    codes = torch.randint(32, (5, 4))
    with torch.inference_mode():
        parts = decoder.in_parts(codes, 2, 2, pixels=32)
        assert torch.allclose(parts, decoder(codes, 2, 2).clamp(-1, 1), atol=1e-6)
    assert parts.abs().max() <= 1


def test_janus_names_map_to_ours() -> None:
    names = ["decoder.up.0.block.1.conv1.weight", "decoder.up.0.attn.0.q.bias"]
    names += [
        "decoder.mid.attn_1.k.weight",
        "decoder.up.3.upsample.conv.bias",
        "decoder.conv_in.bias",
    ]
    renamed = list(from_janus_names(dict.fromkeys(names, torch.ones(1))))
    assert renamed == [
        "decoder.conv_blocks.0.res.1.conv1.weight",
        "decoder.conv_blocks.0.attn.0.q.bias",
        "decoder.mid.1.k.weight",
        "decoder.conv_blocks.3.upsample.conv.bias",
        "decoder.conv_in.bias",
    ]


def test_a_width_that_group_norm_cannot_split_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of groups"):
        VQConfig(base_channels=20)
