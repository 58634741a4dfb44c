"""What a selector costs is counted, and counting changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from attrs import evolve, frozen

from scalingar_fw import Prompt, Selector, Strategy, decode
from scalingar_fw.decoding.strategy import FirstCandidate
from scalingar_fw.experiments.flops import Flops, model_flops
from scalingar_fw.experiments.metering import by_component, metered
from scalingar_fw.testing import ReferenceModel


@frozen
class Painted(ReferenceModel):
    """Its images cost a product of 16 x 16 by 16 x 3 for each."""

    def decode_images(self, tokens):
        super().decode_images(tokens)
        weights = torch.ones(16, 3)
        rows = torch.nn.functional.one_hot(tokens, 16).float() @ weights
        return (rows / 8 - 1).transpose(1, 2).reshape(len(tokens), 3, 4, 4)


@frozen
class Looks(Selector):
    """Looks at images (twice where asked to) and scores them by a product of 48 by 5 for each."""

    twice: bool = False

    def select(self, pool):
        images = pool.images()
        if self.twice:
            images = pool.images()
        flat = torch.from_numpy(np.array(images)).float().reshape(len(images), -1)
        return int((flat @ torch.ones(flat.shape[1], 5)).sum(1).argmax())


IMAGE = 2 * 16 * 16 * 3


@pytest.mark.parametrize("twice", [False, True])
def test_a_selector_s_model_and_its_images_are_counted_apart(twice):
    model, prompts = Painted(), [Prompt("a"), Prompt("b")]
    flops = model_flops(model)
    assert flops.decode_image == IMAGE
    strategy = Strategy(selector=Looks(twice))
    with_meter, meter = metered(strategy, flops)
    result = decode(model, with_meter, prompts, n=3)
    plain = decode(model, strategy, prompts, n=3)
    assert result.chosen == plain.chosen
    for mine, theirs in zip(result.trajectories, plain.trajectories, strict=True):
        np.testing.assert_array_equal(mine.tokens, theirs.tokens)
    looks = 2 if twice else 1
    assert meter.images == looks * 2 * 3, "two prompts with three candidates"
    assert meter.flops == 2 * 3 * 2 * 48 * 5
    said = by_component(flops, meter, 2, result.trajectories)
    assert said["decoder"] == (2 + looks * 6) * IMAGE
    assert said["reward"] == meter.flops


def test_a_selector_that_looks_at_nothing_costs_nothing():
    flops = model_flops(Painted())
    with_meter, meter = metered(Strategy(selector=FirstCandidate()), flops)
    result = decode(Painted(), with_meter, [Prompt("a")], n=2)
    assert (meter.images, meter.flops) == (0, 0.0)
    assert by_component(flops, meter, 1, result.trajectories)["decoder"] == IMAGE


def test_pruned_and_forked_candidates_cost_their_own_steps():
    flops = Flops(5.0, 100.0, 10.0, 10.0, (1,) * 15, 7.0)
    result = decode(ReferenceModel(), Strategy(), [Prompt("a")], n=1)
    (whole,) = result.trajectories
    cut = evolve(whole, tokens=whole.tokens[:4])
    fork = evolve(whole, forked_at=10)
    _, meter = metered(Strategy(), flops)
    said = by_component(flops, meter, 1, [whole, cut, fork])
    # Read: 15 of 16 tokens, 3 of 4, and those from 10 to 14.
    assert said["model"] == 5.0 + 100.0 + 10.0 * (15 + 3 + 5)
