"""Successive halving: rungs by hand, whom a rung keeps against a plain sort, and the budget."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from streams import step_at

from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.loop import decode
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.state import Grid, Rows
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.errors import ScalingarError
from scalingar_fw.testing.reference import ReferenceModel
from scalingar_plugins.confidence.likelihood import LogProbConfidence
from scalingar_plugins.termination.halving import SuccessiveHalving


def test_the_default_rungs_are_a_sixth_a_third_and_two_thirds_of_the_tokens() -> None:
    assert SuccessiveHalving().rungs(144) == (24, 48, 96)


def test_rungs_that_round_to_one_step_are_one_rung() -> None:
    assert SuccessiveHalving(first_rung=0.01, reduction=1.5).rungs(4) == (1, 2, 3)


def test_no_rung_lies_at_the_last_step() -> None:
    assert SuccessiveHalving(first_rung=1.0).rungs(144) == ()


@given(first=st.floats(0.001, 1.0), reduction=st.floats(1.05, 8.0), total=st.integers(1, 2000))
def test_rungs_ascend_below_the_total(first: float, reduction: float, total: int) -> None:
    rungs = SuccessiveHalving(first_rung=first, reduction=reduction).rungs(total)
    assert list(rungs) == sorted(set(rungs))
    assert all(0 < r < total for r in rungs)


@given(data=st.data())
def test_a_rung_keeps_the_highest_of_each_prompt(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))
    reduction = data.draw(st.sampled_from([1.5, 2.0, 3.0]))
    survivors = data.draw(st.integers(1, 4))
    values = data.draw(
        st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=sum(sizes), max_size=sum(sizes))
    )
    prompt = np.repeat(np.arange(len(sizes)), sizes)
    candidate = np.concatenate([np.arange(n) for n in sizes])
    order = np.array(data.draw(st.permutations(range(sum(sizes)))), dtype=np.int64)
    rows = Rows.of(prompt[order], candidate[order], len(sizes))
    policy = SuccessiveHalving(reduction=reduction, first_rung=0.5, min_survivors=survivors)
    c = torch.tensor(values)[torch.from_numpy(order)]
    verdict, _ = policy.update(None, Confidence.of(c), step_at(4, Grid(1, 10), rows))

    gone = np.zeros(sum(sizes), dtype=bool)
    for p, size in enumerate(sizes):
        members = sorted(np.flatnonzero(prompt == p), key=lambda i: (-values[i], candidate[i]))
        for i in members[max(survivors, math.ceil(size / reduction)) :]:
            gone[i] = True
    found = np.zeros(len(order), dtype=bool) if verdict.terminate is None else verdict.terminate
    np.testing.assert_array_equal(np.asarray(found), gone[order])


def test_between_rungs_nobody_is_ended() -> None:
    rows = Rows.of([0] * 8, range(8), 1)
    for index in (0, 22, 24, 46, 48, 143):
        verdict, _ = SuccessiveHalving().update(
            None, Confidence.of(torch.arange(8.0)), step_at(index, Grid(12, 12), rows)
        )
        assert verdict.terminate is None


def test_eight_candidates_cost_three_images_of_tokens() -> None:
    model = ReferenceModel(vocab_size=6, grid=Grid(6, 6))
    strategy = Strategy(
        name="halving", confidence=LogProbConfidence(), termination=SuccessiveHalving()
    )
    done = decode(model, strategy, [Prompt("a"), Prompt("b")], n=8)
    assert done.ledger.tokens == 2 * 3 * 36
    for prompt in range(2):
        assert sum(t.completed for t in done.of_prompt(prompt)) == 1


@pytest.mark.parametrize(
    "wrong", [{"reduction": 1.0}, {"first_rung": 0.0}, {"first_rung": 1.1}, {"min_survivors": 0}]
)
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ScalingarError, match=next(iter(wrong))):
        SuccessiveHalving(**wrong)  # type: ignore[arg-type]
