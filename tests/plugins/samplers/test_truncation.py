"""Min-p and the temperature that follows the entropy: kept sets and distributions by definition."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from scalingar_fw.decoding.loop import decode
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.state import Grid
from scalingar_fw.decoding.strategy import Multinomial, Strategy
from scalingar_fw.testing import ScriptedModel
from scalingar_plugins.samplers.truncation import EntropyTemperature, MinP, keep_min_p

logits = st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=12)


@given(logits, st.floats(0.0, 1.0))
def test_min_p_keeps_what_has_a_share_of_the_highest_probability(
    values: list[float], share: float
) -> None:
    p = np.exp(np.array(values) - max(values))  # relative to the most likely
    kept = torch.isfinite(keep_min_p(torch.tensor([values]), share))[0].numpy()
    assert kept[int(np.argmax(values))]
    clear = np.abs(p - share) > 1e-5 * max(share, 1e-9)
    assert (kept == (p >= share))[clear].all()


def histogram(sampler: Any, line: list[float], sampling: Sampling, count: int = 4000) -> Any:
    """Frequencies of the first token of `count` candidates whose guided logits are `line`."""
    values = np.array(line)
    model = ScriptedModel(
        vocab_size=len(line), grid=Grid(1, 1), branches=1, script=lambda p, t: (values, values)
    )
    result = decode(model, Strategy(sampler=sampler), [Prompt("a")], n=count, sampling=sampling)
    drawn = [int(t.tokens[0]) for t in result.trajectories]
    return np.bincount(drawn, minlength=len(line))


def fits(counts: Any, probability: Any) -> bool:
    """A chi-square test at 0.1 % with a fixed seed; impossible tokens never occur."""
    impossible = probability < 1e-12
    if counts[impossible].any():
        return False
    expected = (probability * counts.sum())[~impossible]
    statistic = ((counts[~impossible] - expected) ** 2 / expected).sum()
    return bool(statistic < {1: 10.9, 2: 13.8, 3: 16.3, 4: 18.5}[len(expected) - 1])


LINE = [2.0, 1.0, 0.0, -1.0, -math.inf]


def softmax(values: Any) -> Any:
    with np.errstate(invalid="ignore"):
        p = np.exp(np.array(values) - np.max(values))
    return p / p.sum()


@pytest.mark.parametrize("temperature", [0.7, 1.0, 2.0])
def test_min_p_draws_from_the_tempered_distribution_of_what_it_keeps(temperature: float) -> None:
    tempered = softmax(np.array(LINE) / temperature)
    kept = np.where(tempered >= 0.2 * tempered.max(), tempered, 0.0)
    sampling = Sampling(temperature=temperature)
    assert fits(histogram(MinP(0.2), LINE, sampling), kept / kept.sum())


@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, 0), (0.8, 0), (1.0, 3)])
def test_the_entropy_sets_the_temperature_of_each_token(temperature: float, top_k: int) -> None:
    kept = np.array(LINE)
    if top_k:
        kept[top_k:] = -math.inf
    p = softmax(kept)
    entropy = -sum(x * math.log(x) for x in p if x > 0)
    warm = temperature * (2.5 * math.exp(-entropy / 3.0) + 0.6)
    counts = histogram(EntropyTemperature(), LINE, Sampling(temperature=temperature, top_k=top_k))
    assert fits(counts, softmax(kept / warm))
    assert not fits(counts, softmax(kept / temperature))


def test_a_sure_token_is_drawn_more_freely_than_an_unsure_one() -> None:
    sure, unsure = [6.0] + [0.0] * 3, [0.01] + [0.0] * 3
    plain = histogram(Multinomial(), sure, Sampling())
    free = histogram(EntropyTemperature(), sure, Sampling())
    assert free[1:].sum() > 3 * plain[1:].sum()
    strict = evolve(EntropyTemperature(), amplitude=0.0, floor=0.05)
    assert (
        histogram(strict, unsure, Sampling())[0] > histogram(Multinomial(), unsure, Sampling())[0]
    )
