"""`global-multinomial`: the official scripts' stream, without a hidden global state."""

from __future__ import annotations

import copy

import pytest
import torch
from attrs import evolve

from scalingar_fw.decoding.components import Context, Step
from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.loop import decode
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.sampling import Sampling, truncate
from scalingar_fw.decoding.signals import Guided
from scalingar_fw.decoding.state import Grid, Rows, take
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.errors import ScalingarError
from scalingar_fw.testing import ReferenceModel
from scalingar_plugins.models import tiny
from scalingar_plugins.models.global_rng import GlobalMultinomial

STRATEGY = Strategy(sampler=GlobalMultinomial())
SETTINGS = Sampling(guidance=2.0, temperature=0.9, top_k=9, top_p=0.95)


def official(model: ReferenceModel, prompts: list[Prompt], n: int, seed: int) -> torch.Tensor:
    """What a script does that seeds torch once and draws once per step for all rows."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        cache, logits = model.prefill(model.encode(prompts), n)
        drawn = []
        for index in range(model.grid.size):
            guided = logits.uncond + (logits.cond - logits.uncond) * SETTINGS.guidance
            probability = truncate(guided, SETTINGS).softmax(-1)
            drawn.append(torch.multinomial(probability, 1))
            logits = model.step(cache, drawn[-1][:, 0], index)
    return torch.cat(drawn, 1)


def test_tokens_are_those_of_a_script_that_seeds_torch_once() -> None:
    model, prompts = ReferenceModel(), [Prompt("a"), Prompt("b")]
    result = decode(model, STRATEGY, prompts, n=3, seed=11, sampling=SETTINGS)
    ours = torch.stack([torch.tensor(t.tokens) for t in result.trajectories])
    assert torch.equal(ours, official(model, prompts, 3, 11))


def test_global_randomness_is_neither_read_nor_changed() -> None:
    model, prompts = tiny.llamagen_c2i(), [Prompt(class_id=1)]
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = decode(model, STRATEGY, prompts, n=2, seed=5)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(2)
    second = decode(model, STRATEGY, prompts, n=2, seed=5)
    assert all(
        (a.tokens == b.tokens).all()
        for a, b in zip(first.trajectories, second.trajectories, strict=True)
    )


def test_a_copied_state_continues_identically_and_take_leaves_the_stream_alone() -> None:
    sampler = GlobalMultinomial()
    rows = Rows.of([0, 0, 0], [0, 1, 2], 1)
    context = Context(rows, Grid(2, 2), 8, SETTINGS, torch.device("cpu"))
    step = Step(0, 4, Grid(2, 2), rows, torch.zeros(3), (Prompt("a"),), (4,), (3,))
    guided, confidence = Guided(torch.zeros(3, 8)), Confidence.of(torch.zeros(3))
    _, state = sampler.propose(sampler.init(context), guided, confidence, step, SETTINGS)
    kept = copy.deepcopy(state)
    later = evolve(step, index=1)
    first, _ = sampler.propose(state, guided, confidence, later, SETTINGS)
    again, _ = sampler.propose(kept, guided, confidence, later, SETTINGS)
    assert torch.equal(first.token, again.token)
    moved = take(state, torch.tensor([2]))
    assert torch.equal(moved.position, kept.position)


def test_one_stream_takes_one_seed() -> None:
    with pytest.raises(ScalingarError, match="takes one seed, not 2"):
        decode(ReferenceModel(), STRATEGY, [Prompt("a"), Prompt("b")], n=1, seed=[1, 2])


def test_temperature_zero_draws_nothing() -> None:
    greedy = evolve(SETTINGS, temperature=0.0)
    a = decode(ReferenceModel(), STRATEGY, [Prompt("a")], n=1, seed=1, sampling=greedy)
    b = decode(ReferenceModel(), Strategy(), [Prompt("a")], n=1, seed=2, sampling=greedy)
    assert (a.answer().tokens == b.answer().tokens).all()
