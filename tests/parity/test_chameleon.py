"""Anole and Lumina-mGPT against the official loop, read without a cache and each branch alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

pytest.importorskip("transformers", reason="needs the extra hf")

from scalingar_fw.decoding.loop import decode
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.strategy import Strategy
from scalingar_plugins.models import tiny
from scalingar_plugins.models.vq import VQConfig, VQDecoder
from scalingar_plugins.models.vqgan import decoder_of

SHORT = Prompt("a red circle")
LONG = Prompt("two green squares left of a very large blue star")
TOLERANCE = 1e-5
FIRST, TURN, LINE, START = 1, 30, 31, 32
#: Token ids of the image codes 0 to 23, written out a second time.
IDS = [40 + (code * 7 + 3) % 24 for code in range(24)]


def last_logits(network: Any, ids: list[int]) -> Tensor:
    hidden = network.model(input_ids=torch.tensor([ids]), use_cache=False).last_hidden_state
    logits: Tensor = network.lm_head(hidden[:, -1])[0]
    return logits


def official(
    words: list[int], unconditional: list[int], sizes: list[int], rows: int, cols: int, scale: float
) -> tuple[list[int], list[tuple[Tensor, Tensor]]]:
    """Greedy tokens and both branches' logits of each code. Lumina-mGPT's rule for the next token
    is a count of what stands behind the sizes; Anole has no sizes and no ends of line."""
    network = tiny.chameleon_network()
    row = [FIRST, *words, TURN, START, *sizes]
    twin = [*unconditional, START, *sizes]
    drawn: list[int] = []
    seen = []
    with torch.inference_mode():
        for count in range(rows * (cols + 1 if sizes else cols)):
            if sizes and (count + 1) % (cols + 1) == 0:
                token = LINE
            else:
                pair = last_logits(network, row), last_logits(network, twin)
                guided = scale * (pair[0] - pair[1]) + pair[1]
                masked = torch.full_like(guided, -torch.inf)
                masked[40:64] = guided[40:64]
                token = int(masked.argmax())
                drawn.append(IDS.index(token))
                seen.append((pair[0][IDS], pair[1][IDS]))
            row.append(token)
            twin.append(token)
    return drawn, seen


def check(model: Any, prompt: Prompt, expected: Any) -> None:
    tokens, logits = expected
    greedy = Sampling(guidance=3.0, temperature=0.0)
    result = decode(model, Strategy(), [SHORT, prompt], n=1, seed=0, sampling=greedy)
    assert result.trajectories[1].tokens.tolist() == tokens, "beside a prompt of another length"
    with torch.inference_mode():
        cache, found = model.prefill(model.encode([prompt]), 1)
        for index, (cond, uncond) in enumerate(logits):
            assert float((found.cond[0] - cond).abs().max()) <= TOLERANCE
            assert float((found.uncond[0] - uncond).abs().max()) <= TOLERANCE
            if index + 1 < len(tokens):
                found = model.step(cache, torch.tensor([tokens[index]]), index)


def test_lumina_draws_the_tokens_and_logits_of_the_official_loop() -> None:
    model = tiny.lumina(rows=2, cols=4)
    sizes = [33, 34]  # one unit high, two wide
    words = list(model.tokenize(LONG.text))
    check(model, LONG, official(words, [], sizes, 2, 4, 3.0))


def test_anole_draws_the_tokens_and_logits_of_the_official_loop() -> None:
    model = tiny.anole(rows=3, cols=3)
    words = list(model.tokenize(LONG.text))
    check(model, LONG, official(words, [FIRST], [], 3, 3, 3.0))


def test_three_official_branches_without_images_are_plain_guidance() -> None:
    full, unconditional = torch.randn(2, 9, generator=torch.Generator().manual_seed(0))
    image = unconditional  # what is left of a prompt without images
    official_rule = unconditional + 1.2 * (image - unconditional) + 3.0 * (full - image)
    ours = unconditional + 3.0 * (full - unconditional)
    assert torch.allclose(ours, official_rule, atol=1e-6)


# ---------------------------------------------------------------- the image decoder


def norm(x: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    return F.group_norm(x, 32, state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-6)


def conv(x: Tensor, state: dict[str, Tensor], name: str, padding: int = 1) -> Tensor:
    return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=padding)


def swish(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


def block(x: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    h = conv(swish(norm(x, state, f"{name}.norm1")), state, f"{name}.conv1")
    h = conv(swish(norm(h, state, f"{name}.norm2")), state, f"{name}.conv2")
    if f"{name}.nin_shortcut.weight" in state:
        x = conv(x, state, f"{name}.nin_shortcut", 0)
    return x + h


def attend(x: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    h = norm(x, state, f"{name}.norm")
    q, k, v = (conv(h, state, f"{name}.{part}", 0).flatten(2) for part in "qkv")
    weight = torch.softmax(q.transpose(1, 2) @ k / q.shape[1] ** 0.5, dim=-1)
    mixed = (v @ weight.transpose(1, 2)).reshape(x.shape)
    return x + conv(mixed, state, f"{name}.proj_out", 0)


def reference_pixels(state: dict[str, Tensor], codes: Tensor, levels: int, blocks: int) -> Tensor:
    """The published decoder, level 0 the finest; `codes [B, h, w]`."""
    latent = state["quantize.embedding.weight"][codes].permute(0, 3, 1, 2)
    h = conv(latent, state, "post_quant_conv", 0)
    h = conv(h, state, "decoder.conv_in")
    h = block(h, state, "decoder.mid.block_1")
    h = attend(h, state, "decoder.mid.attn_1")
    h = block(h, state, "decoder.mid.block_2")
    for level in reversed(range(levels)):
        for i in range(blocks + 1):
            h = block(h, state, f"decoder.up.{level}.block.{i}")
            if f"decoder.up.{level}.attn.{i}.q.weight" in state:
                h = attend(h, state, f"decoder.up.{level}.attn.{i}")
        if level:
            h = h.repeat_interleave(2, 2).repeat_interleave(2, 3)
            h = conv(h, state, f"decoder.up.{level}.upsample.conv")
    return conv(swish(norm(h, state, "decoder.norm_out")), state, "decoder.conv_out")


def taming_state(mult: tuple[int, ...], attention: bool) -> dict[str, Tensor]:
    """Random weights under the published names, taken from the shapes of ours."""
    config = VQConfig(
        codebook_size=24,
        codebook_dim=6,
        z_channels=10,
        base_channels=32,
        channel_mult=mult,
        res_blocks=1,
        normalize_codes=False,
        attention=attention,
    )
    ours = VQDecoder(config)
    tiny.randomize(ours, 3, 0.1)
    state = {}
    for name, value in ours.state_dict().items():
        parts = name.split(".")
        if parts[1] == "mid":
            parts[2] = ("block_1", "attn_1", "block_2")[int(parts[2])]
        if parts[1] == "conv_blocks":
            parts[1:3] = ["up", str(len(mult) - 1 - int(parts[2]))]
            parts[3] = parts[3].replace("res", "block")
        state[".".join(parts)] = value
    return state


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("mult", [(1, 2), (1, 1, 3)])
def test_images_are_those_of_the_published_decoder(mult: tuple[int, ...], attention: bool) -> None:
    state = taming_state(mult, attention)
    decoder = decoder_of(state | {"encoder.conv_in.bias": torch.ones(3)}, "it")
    assert decoder.config.channel_mult == mult and decoder.config.attention is attention
    codes = torch.randint(24, (2, 2, 3), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        ours = decoder(codes.flatten(1), 2, 3)
        theirs = reference_pixels(state, codes, len(mult), 1)
    scale = 2 ** (len(mult) - 1)
    assert ours.shape == (2, 3, 2 * scale, 3 * scale)
    assert float((ours - theirs).abs().max()) <= TOLERANCE
