"""Candidates in passes that fit a budget: the same results, or a refusal with the arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from attrs import frozen

from scalingar_fw.decoding.loop import decode
from scalingar_fw.decoding.memory_budget import (
    Cost,
    is_out_of_memory,
    parse_bytes,
    passes_within,
    prompts_within,
    show_bytes,
)
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.strategy import NeverTerminate, Strategy
from scalingar_fw.errors import ScalingarError
from scalingar_fw.testing import ReferenceModel

MODEL = ReferenceModel()
PROMPTS = [Prompt("a"), Prompt("b")]
BASE = Strategy(name="base")


@frozen
class Comparing(NeverTerminate):
    """A policy that says that it looks at other candidates."""

    scope = "cohort"


COMPARING = Strategy(name="comparing", termination=Comparing())


@pytest.mark.parametrize("fitting", [1, 2, 3, 5])
def test_passes_give_the_tokens_signals_and_answers_of_one_batch(fitting: int) -> None:
    whole = decode(MODEL, BASE, PROMPTS, n=5, seed=3)
    budget = len(PROMPTS) * Cost.of(MODEL, BASE).bytes(fitting)
    parts = decode(MODEL, BASE, PROMPTS, n=5, seed=3, max_memory=budget)
    assert parts.chosen == whole.chosen
    assert parts.ledger.tokens == whole.ledger.tokens
    assert parts.ledger.decode_rows == whole.ledger.decode_rows
    for a, b in zip(parts.trajectories, whole.trajectories, strict=True):
        assert (a.prompt, a.candidate, a.status) == (b.prompt, b.candidate, b.status)
        assert np.array_equal(a.tokens, b.tokens)
        assert all(np.array_equal(a.signals[k], b.signals[k]) for k in b.signals)


def test_passes_cover_every_candidate_once_and_fit() -> None:
    cost = Cost.of(MODEL, BASE)
    for n in range(1, 12):
        for fitting in range(1, n + 1):
            budget = cost.bytes(fitting)
            assert cost.most(budget) == fitting
            assert cost.most(budget - 1) == fitting - 1
            passes = passes_within(MODEL, BASE, n=n, max_memory=budget)
            covered = [c for first, count in passes for c in range(first, first + count)]
            assert covered == list(range(n))
            assert max(count for _, count in passes) <= fitting
            assert len(passes) == -(-n // fitting)


def test_passes_can_be_asked_for_without_a_budget() -> None:
    assert passes_within(MODEL, BASE, n=5, passes=2) == [(0, 2), (2, 3)]
    assert passes_within(MODEL, BASE, n=2, passes=9) == [(0, 1), (1, 1)]
    budget = Cost.of(MODEL, BASE).bytes(1)
    assert len(passes_within(MODEL, BASE, n=5, passes=2, max_memory=budget)) == 5
    assert passes_within(MODEL, COMPARING, n=1, passes=3) == [(0, 1)]
    with pytest.raises(ScalingarError, match="passes=2: the termination Comparing"):
        passes_within(MODEL, COMPARING, n=5, passes=2)


def test_without_a_budget_there_is_one_pass() -> None:
    assert passes_within(MODEL, COMPARING, n=8) == [(0, 8)]


def test_a_strategy_that_compares_candidates_is_refused_with_the_sum() -> None:
    budget = Cost.of(MODEL, COMPARING).bytes(3)
    with pytest.raises(ScalingarError) as error:
        decode(MODEL, COMPARING, PROMPTS[:1], n=8, max_memory=budget)
    text = str(error.value)
    assert "16 caches (copies of survivors included)" in text
    assert "termination Comparing of strategy 'comparing' compares candidates" in text
    assert "n <= 3" in text
    assert show_bytes(Cost.of(MODEL, COMPARING).bytes(8)) in text
    assert decode(MODEL, COMPARING, PROMPTS[:1], n=3, max_memory=budget).n == 3


@frozen
class ByPieces(ReferenceModel):
    """Says what its cache needs besides while it grows and moves."""

    def beside_bytes(self) -> int:
        return 10


def test_a_cache_that_moves_by_pieces_is_not_planned_for_twice() -> None:
    model = ByPieces()
    cost = Cost.of(model, COMPARING)
    assert cost.bytes(8) == 8 * (model.row_bytes() + 10 + cost.work)
    assert cost.most(cost.bytes(5)) == 5 and cost.most(cost.bytes(5) - 1) == 4
    with pytest.raises(ScalingarError, match=r"8 caches x \(256 B \+ 10 B to grow and move\)"):
        passes_within(model, COMPARING, n=8, max_memory=cost.bytes(3))


def test_a_budget_below_one_candidate_is_refused() -> None:
    with pytest.raises(ScalingarError, match="Not one candidate of 'reference' fits"):
        decode(MODEL, BASE, PROMPTS, n=2, max_memory=10)


def test_prompts_share_a_batch_as_far_as_the_budget_goes() -> None:
    each = Cost.of(MODEL, BASE).bytes(4)
    assert prompts_within(MODEL, BASE, n=4, prompts=9, max_memory=3 * each) == 3
    assert prompts_within(MODEL, BASE, n=4, prompts=2, max_memory=3 * each) == 2
    assert prompts_within(MODEL, BASE, n=4, prompts=9, max_memory=1) == 1


@pytest.mark.parametrize(
    ("text", "size"),
    [("8GiB", 8 << 30), ("500 MB", 500_000_000), ("2g", 2 << 30), ("1024", 1024), (77, 77)],
)
def test_sizes_are_read_as_people_write_them(text: str | int, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "lots", "8 parsec", "-1", "0", "1GiB2"])
def test_other_texts_are_no_sizes(text: str) -> None:
    with pytest.raises(ScalingarError, match="max_memory"):
        parse_bytes(text)


def test_memory_that_runs_out_is_recognised_by_type_and_by_words() -> None:
    def allocate() -> None:
        torch.empty(1 << 60, dtype=torch.uint8)

    with pytest.raises(RuntimeError) as error:
        allocate()
    assert is_out_of_memory(error.value), "what a CPU says"
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
