"""The study behind `scalingar-plus`: its shortcuts against the decode and against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalingar_analysis.studies.plus import PER_TOKEN, answers, halved, pass_at
from scalingar_fw.decoding.loop import decode
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.state import Grid
from scalingar_fw.decoding.strategy import FinalConfidence, Strategy
from scalingar_fw.errors import ScalingarError
from scalingar_fw.testing.reference import ReferenceModel
from scalingar_plugins.confidence.likelihood import (
    LogProbConfidence,
    PmiConfidence,
    SurpriseConfidence,
)
from scalingar_plugins.termination.halving import SuccessiveHalving

MODEL = ReferenceModel(vocab_size=9, grid=Grid(4, 5))
PROMPTS = [Prompt("a"), Prompt("b"), Prompt("c")]


@pytest.mark.parametrize("first", [0.1, 0.3])
@pytest.mark.parametrize("reduction", [1.5, 2.0, 8.0])
@pytest.mark.parametrize(
    ("signal", "estimator"),
    [
        ("log-prob", LogProbConfidence(total=True)),
        ("log-prob (guided)", LogProbConfidence("guided", total=True)),
        ("pmi", PmiConfidence(total=True)),
        ("surprise", SurpriseConfidence(total=True)),
    ],
)
def test_halving_simulated_on_complete_candidates_is_what_a_decode_does(
    signal, estimator, reduction, first
) -> None:
    policy = SuccessiveHalving(reduction=reduction, first_rung=first)
    whole = decode(MODEL, Strategy(name="record"), PROMPTS, n=8)
    pools = [whole.of_prompt(p) for p in range(len(PROMPTS))]
    score = np.cumsum(
        [[PER_TOKEN[signal](t.signals) for t in pool] for pool in pools], -1, dtype=np.float64
    )
    alive, images = halved(score, policy)

    strategy = Strategy(
        name="halving", confidence=estimator, termination=policy, selector=FinalConfidence()
    )
    online = decode(MODEL, strategy, PROMPTS, n=8)
    for p in range(len(PROMPTS)):
        assert [t.completed for t in online.of_prompt(p)] == alive[p].tolist()
        chosen = next(i for i, t in enumerate(online.of_prompt(p)) if t is online.answer(p))
        is_chosen = np.tile(np.arange(8) == chosen, (len(PROMPTS), 1))
        assert answers(score, alive, is_chosen)[p] == 1.0
    assert online.ledger.tokens == pytest.approx(len(PROMPTS) * images * MODEL.grid.size)


@given(correct=st.lists(st.booleans(), min_size=6, max_size=6), k=st.integers(1, 6))
def test_pass_at_k_is_the_mean_over_all_subsets(correct: list[bool], k: int) -> None:
    subsets = list(itertools.combinations(correct, k))
    wanted = sum(any(s) for s in subsets) / len(subsets)
    assert pass_at(np.array([correct]), k)[0] == pytest.approx(wanted)


def test_between_whole_numbers_pass_at_is_a_straight_line() -> None:
    correct = np.array([[True, False, False, False]])
    assert pass_at(correct, 2.25)[0] == pytest.approx(0.75 * 0.5 + 0.25 * 0.75)


@pytest.mark.parametrize("k", [0, 0.5, 3.5, 5])
def test_a_budget_that_the_pool_does_not_hold_is_refused(k: float) -> None:
    with pytest.raises(ScalingarError, match=r"must be in \[1, 3\]"):
        pass_at(np.array([[True, False, False]]), k)


def test_the_answer_is_the_best_of_those_left() -> None:
    score = np.zeros((1, 3, 2))
    score[0, :, -1] = [3.0, 2.0, 1.0]
    correct = np.array([[False, True, False]])
    assert answers(score, np.array([[True, True, True]]), correct) == [0.0]
    assert answers(score, np.array([[False, True, True]]), correct) == [1.0]
