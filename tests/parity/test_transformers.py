"""Janus-Pro, Emu3 and SimpleAR against transformers' own image generation, on random models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from attrs import evolve
from torch import Tensor

transformers = pytest.importorskip("transformers", reason="needs the extra hf")

from scalingar_fw.decoding.loop import decode  # noqa: E402
from scalingar_fw.decoding.noise import Prompt  # noqa: E402
from scalingar_fw.decoding.sampling import Sampling  # noqa: E402
from scalingar_fw.decoding.strategy import Strategy  # noqa: E402
from scalingar_plugins.models import tiny  # noqa: E402
from scalingar_plugins.models.global_rng import GlobalMultinomial  # noqa: E402

SHORT = Prompt("a red circle")
LONG = Prompt("two green squares left of a very large blue star")
TOLERANCE = 1e-5


def drawn(model: Any, prompts: Sequence[Prompt], sampling: Sampling, seed: int = 0) -> Tensor:
    strategy = Strategy(sampler=GlobalMultinomial())
    result = decode(model, strategy, prompts, n=1, seed=seed, sampling=sampling)
    return torch.stack([torch.tensor(t.tokens) for t in result.trajectories])


def forced_logits(model: Any, prompts: Sequence[Prompt], tokens: Tensor) -> list[Tensor]:
    """Both branches' logits `[2P, V]` at each step, with the cache, along given tokens."""
    with torch.inference_mode():
        cache, logits = model.prefill(model.encode(prompts), 1)
        steps = [torch.cat([logits.cond, logits.uncond])]
        for t in range(tokens.shape[1] - 1):
            logits = model.step(cache, tokens[:, t], t)
            steps.append(torch.cat([logits.cond, logits.uncond]))
    return steps


class Capture(transformers.LogitsProcessor):
    """Keeps what the library's generation sees before guidance."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self.seen.append(scores.clone())
        return scores


@pytest.mark.parametrize("prompts", [[SHORT], [SHORT, LONG]], ids=["single", "left-padded"])
@pytest.mark.parametrize("sampled", [False, True], ids=["greedy", "sampled"])
def test_janus_draws_the_tokens_and_logits_of_the_librarys_own_loop(
    prompts: list[Prompt], sampled: bool
) -> None:
    model, network = tiny.janus(), tiny.janus_network()
    network.generation_config.generation_kwargs = {"boi_token_id": 61}
    network.generation_config.bos_token_id = 1
    network.generation_config.pad_token_id = 0
    given = model.encode(prompts)
    half = len(prompts)
    capture = Capture()
    torch.manual_seed(7)
    theirs = network.generate(
        given.ids[:half],
        attention_mask=given.mask[:half].long(),
        generation_mode="image",
        guidance_scale=4.0,
        do_sample=sampled,
        top_k=0,
        max_length=64,
        logits_processor=transformers.LogitsProcessorList([capture]),
    )
    sampling = Sampling(guidance=4.0, temperature=1.0 if sampled else 0.0)
    assert torch.equal(drawn(model, prompts, sampling, seed=7), theirs)
    ours = forced_logits(model, prompts, theirs)
    worst = max(float((a - b).abs().max()) for a, b in zip(ours, capture.seen, strict=True))
    assert worst <= TOLERANCE


def test_janus_images_are_those_of_the_library_in_the_channel_order_of_the_framework() -> None:
    model = tiny.janus()
    tokens = torch.randint(40, (3, 16), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        theirs = tiny.janus_network().decode_image_tokens(tokens).permute(0, 3, 1, 2)
        ours = model.tokenizer(tokens, 4, 4)
        assert float((ours - theirs).abs().max()) <= TOLERANCE
        assert torch.equal(model.decode_images(tokens), ours.clamp(-1, 1))


def generated(network: Any, given: Any, allowed: Any, count: int, **options: Any) -> Any:
    """The library's generation with its own, unbatched guidance, for one prompt."""
    ids, mask = given.ids, given.mask
    cond, uncond = ids[:1, mask[0]], ids[1:, mask[1]]
    return network.generate(
        cond,
        attention_mask=torch.ones_like(cond),
        negative_prompt_ids=uncond,
        negative_prompt_attention_mask=torch.ones_like(uncond),
        prefix_allowed_tokens_fn=lambda _, sent: allowed(sent.shape[0] - cond.shape[1]),
        guidance_scale=3.0,
        max_new_tokens=count,
        top_k=0,
        return_dict_in_generate=True,
        output_logits=True,
        eos_token_id=-1,
        pad_token_id=0,
        **options,
    )


@pytest.mark.parametrize("sampled", [False, True], ids=["greedy", "sampled"])
def test_emu3_draws_the_tokens_and_logits_of_the_librarys_own_loop(sampled: bool) -> None:
    rows, cols = 3, 4
    model, network = tiny.emu3(rows, cols), tiny.emu3_network()
    visual = list(range(40, 64))

    length = rows * (cols + 1)
    tail = {length: 35, length + 1: 34, length + 2: 2}

    def allowed(sent: int) -> list[int]:
        if sent in tail:
            return [tail[sent]]
        return [31] if (sent + 1) % (cols + 1) == 0 else visual

    prompt = Prompt(LONG.text, negative="ugly")
    count = rows * (cols + 1) + 3
    torch.manual_seed(3)
    theirs = generated(network, model.encode([prompt]), allowed, count, do_sample=sampled)
    sequence = theirs.sequences[0, -count:]
    grid = sequence[:-3].view(rows, cols + 1)
    assert grid[:, -1].tolist() == [31] * rows
    assert sequence[-3:].tolist() == [35, 34, 2]
    tokens = grid[:, :-1].reshape(1, -1) - 40
    if not sampled:  # sampled streams differ: the library draws for forced tokens as well
        assert torch.equal(drawn(model, [prompt], Sampling(guidance=3.0, temperature=0.0)), tokens)
    ours = forced_logits(model, [prompt], tokens)
    steps = [s for s in range(count - 3) if (s + 1) % (cols + 1)]
    for step, logits in zip(steps, ours, strict=True):
        official = theirs.logits[step][0, 40:64]
        assert float((logits[0] - official).abs().max()) <= TOLERANCE


def test_emu3_images_are_those_of_the_library() -> None:
    model, network = tiny.emu3(3, 4), tiny.emu3_network()
    codes = torch.randint(24, (2, 3, 4), generator=torch.Generator().manual_seed(0))
    lines = torch.cat([codes + 40, torch.full((2, 3, 1), 31)], -1).flatten(1)
    full = torch.cat([lines, torch.tensor([[35, 34, 2]] * 2)], -1)
    with torch.inference_mode():
        theirs = network.decode_image_tokens(image_tokens=full, height=3, width=4)
        ours = model.decode_images(codes.flatten(1))
    assert float((ours - theirs.clamp(-1, 1)).abs().max()) <= TOLERANCE


@pytest.mark.parametrize("official", [False, True])
@pytest.mark.parametrize("sampled", [False, True], ids=["greedy", "sampled"])
def test_simplear_draws_the_tokens_and_logits_of_the_librarys_own_loop(
    official: bool, sampled: bool
) -> None:
    model, network = tiny.simplear(official=official), tiny.simplear_network()
    permitted = list(range(0 if official else 50, 90))
    torch.manual_seed(5)
    theirs = generated(network, model.encode([SHORT]), lambda _: permitted, 16, do_sample=sampled)
    tokens = theirs.sequences[:, -16:] - permitted[0]
    sampling = Sampling(guidance=3.0, temperature=1.0 if sampled else 0.0)
    if official or not sampled:  # else the draws are from vectors of different lengths
        assert torch.equal(drawn(model, [SHORT], sampling, seed=5), tokens)
    for ours, official_logits in zip(
        forced_logits(model, [SHORT], tokens), theirs.logits, strict=True
    ):
        assert float((ours[0] - official_logits[0, permitted]).abs().max()) <= TOLERANCE


@pytest.mark.parametrize("make", [tiny.emu3, tiny.simplear], ids=["emu3", "simplear"])
def test_unconditional_logits_are_those_of_the_negative_prompt_alone(make: Any) -> None:
    model = make()
    prompt = Prompt(LONG.text, negative="blurry")
    given = model.encode([prompt])
    alone = given.ids[1:, given.mask[1]]
    with torch.inference_mode():
        _, logits = model.prefill(given, 1)
        hidden = model.trunk.module(inputs_embeds=model.embed(alone)).last_hidden_state[:, -1]
        expected = hidden @ model.head.T
    assert float((logits.uncond - expected).abs().max()) <= TOLERANCE


@pytest.mark.parametrize(
    "make", [tiny.janus, tiny.emu3, tiny.simplear], ids=["janus", "emu3", "simplear"]
)
def test_a_batch_of_prompts_of_different_lengths_equals_each_alone(make: Any) -> None:
    model = make()
    greedy = evolve(model.preset, temperature=0.0, top_k=0)
    together = drawn(model, [SHORT, LONG], greedy)
    assert torch.equal(together[:1], drawn(model, [SHORT], greedy))
    assert torch.equal(together[1:], drawn(model, [LONG], greedy))
    apart = [forced_logits(model, [p], together[i : i + 1]) for i, p in enumerate([SHORT, LONG])]
    for t, logits in enumerate(forced_logits(model, [SHORT, LONG], together)):
        expected = torch.stack([apart[0][t], apart[1][t]], 1).flatten(0, 1)
        assert float((logits - expected).abs().max()) <= TOLERANCE
