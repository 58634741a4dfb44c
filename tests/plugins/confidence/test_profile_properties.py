"""What holds for every part of the profile, on any stream: to the last bit where nothing is summed
over rows."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import KINDS, Company, context, logits, quantities, signals_of, step_at
from torch import Tensor

from scalingar_fw.decoding.components import ConfidenceEstimator
from scalingar_fw.decoding.state import Grid, Rows, take
from scalingar_fw.errors import ScalingarError
from scalingar_plugins.confidence.blocks import WorstBlockStability
from scalingar_plugins.confidence.drift import PromptDrift
from scalingar_plugins.confidence.intrinsic import IntrinsicConfidence
from scalingar_plugins.confidence.token import TokenConfidence
from scalingar_plugins.confidence.unified import UnifiedConfidence

GRID = Grid(4, 5)
STEPS = GRID.size

token = st.builds(TokenConfidence, st.floats(0, 1), st.floats(0.1, 1), st.floats(0.01, 1))
own = st.sampled_from(["z-score", "min-max"])
any_kind = st.sampled_from(["z-score", "min-max", "cohort"])


def blocks(normalizer: Any) -> Any:
    return st.builds(
        WorstBlockStability,
        block=st.integers(2, 5),
        worst_fraction=st.floats(0.05, 1.0),
        min_filled=st.integers(1, 4),
        normalizer=normalizer,
    )


def estimators(normalizer: Any) -> st.SearchStrategy[ConfidenceEstimator]:
    weight = st.sampled_from([0.0, 0.3, 1.0])
    some = st.floats(0.1, 1.0)
    drift = st.builds(PromptDrift, st.floats(0.01, 1), normalizer)
    intrinsic = st.builds(
        IntrinsicConfidence, token, blocks(normalizer), some, weight, st.floats(0.01, 1)
    )
    unified = st.builds(
        UnifiedConfidence, intrinsic, drift, intrinsic_weight=weight, drift_weight=some
    )
    return st.one_of(token, blocks(normalizer), drift, intrinsic, unified)


def single(n: int) -> Rows:
    return Rows.of([0] * n, range(n), 1)


def run(
    estimator: ConfidenceEstimator, cond: Tensor, uncond: Tensor, rows: Rows, steps: int = STEPS
) -> tuple[list[dict[str, Tensor]], Any]:
    """What is said at each step, and the memory after the last."""
    state = estimator.init(context(rows, GRID, cond.shape[-1]))
    out = []
    for t in range(steps):
        confidence, state = estimator.update(
            state, signals_of(cond[t], uncond[t]), step_at(t, GRID, rows)
        )
        out.append(quantities(confidence))
    return out, state


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


kinds = st.sampled_from(KINDS)
seeds = st.integers(0, 10**6)


@given(estimator=estimators(any_kind), kind=kinds, seed=seeds, n=st.integers(1, 5))
@settings(max_examples=25)
def test_all_quantities_are_finite_and_in_range(
    estimator: ConfidenceEstimator, kind: str, seed: int, n: int
) -> None:
    cond, uncond = logits(kind, seed, STEPS, n)
    said, _ = run(estimator, cond, uncond, single(n))
    for step in said:
        for name, value in step.items():
            assert value.shape == (n,) and value.dtype is torch.float32
            assert bool(torch.isfinite(value).all())
            assert bool((value >= -1e-6).all())
            assert name == "rebound" or bool((value <= 1 + 1e-6).all())
    assert "rebound" not in said[0] or not said[0]["rebound"].any()


@given(estimator=estimators(own), kind=kinds, seed=seeds, data=st.data())
@settings(max_examples=25)
def test_each_row_is_read_alone(
    estimator: ConfidenceEstimator, kind: str, seed: int, data: st.DataObject
) -> None:
    """Any rows (fewer, permuted, duplicated), taken before or after any step, are told the same."""
    assert estimator.scope == "row"
    cond, uncond = logits(kind, seed, STEPS, 4)
    whole, _ = run(estimator, cond, uncond, single(4))
    picked = torch.tensor(data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=6)))
    cut = data.draw(st.integers(0, STEPS - 1))
    _, state = run(estimator, cond, uncond, single(4), cut)
    moved, rows = take(state, picked), single(len(picked))
    for t in range(cut, STEPS):
        shown = signals_of(cond[t][picked], uncond[t][picked])
        confidence, moved = estimator.update(moved, shown, step_at(t, GRID, rows))
        assert equal(quantities(confidence), {k: v[picked] for k, v in whole[t].items()})


@given(estimator=estimators(any_kind), seed=seeds)
@settings(max_examples=15)
def test_the_order_of_the_rows_does_not_matter(estimator: ConfidenceEstimator, seed: int) -> None:
    """Across the cohort too, but for the order in which it is summed."""
    cond, uncond = logits("varied", seed, STEPS, 5)
    order = torch.tensor([3, 0, 4, 1, 2])
    whole, _ = run(estimator, cond, uncond, single(5))
    mixed, _ = run(estimator, cond[:, order], uncond[:, order], single(5).take(order))
    for one, other in zip(whole, mixed, strict=True):
        for name in one:
            torch.testing.assert_close(other[name], one[name][order], rtol=1e-4, atol=1e-5)


@given(
    estimator=estimators(any_kind),
    seed=seeds,
    counts=st.lists(st.integers(1, 4), min_size=2, max_size=3),
)
@settings(max_examples=15)
def test_prompts_do_not_see_each_other(
    estimator: ConfidenceEstimator, seed: int, counts: list[int]
) -> None:
    company = Company(tuple(counts))
    rows = company.rows()
    cond, uncond = logits("varied", seed, STEPS, len(rows))
    whole, _ = run(estimator, cond, uncond, rows)
    for prompt in range(len(counts)):
        mine = torch.from_numpy((rows.prompt == prompt).nonzero()[0])
        alone, _ = run(estimator, cond[:, mine], uncond[:, mine], single(len(mine)))
        for one, other in zip(whole, alone, strict=True):
            for name in one:
                torch.testing.assert_close(other[name], one[name][mine], rtol=1e-4, atol=1e-5)


@given(estimator=estimators(any_kind), seed=seeds, cut=st.integers(1, STEPS - 1))
@settings(max_examples=15)
def test_only_the_past_is_read(estimator: ConfidenceEstimator, seed: int, cut: int) -> None:
    cond, uncond = logits("varied", seed, STEPS, 3)
    other_cond, other_uncond = logits("varied", seed + 1, STEPS, 3)
    other_cond[:cut], other_uncond[:cut] = cond[:cut], uncond[:cut]
    one, _ = run(estimator, cond, uncond, single(3))
    two, _ = run(estimator, other_cond, other_uncond, single(3))
    assert all(equal(a, b) for a, b in zip(one[:cut], two[:cut], strict=True))


def tensors(value: Any) -> list[Tensor]:
    """All tensors in a memory, however nested."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        return [x for v in value.values() for x in tensors(v)]
    if isinstance(value, (list, tuple)):
        return [x for v in value for x in tensors(v)]
    if value is not None and attrs.has(type(value)):
        return [x for a in attrs.fields(type(value)) for x in tensors(getattr(value, a.name))]
    return []


@given(estimator=estimators(any_kind), kind=kinds, seed=seeds, cut=st.integers(0, STEPS - 1))
@settings(max_examples=25)
def test_nothing_given_is_changed(
    estimator: ConfidenceEstimator, kind: str, seed: int, cut: int
) -> None:
    """Signals and memory stay as they were: every state can be continued twice."""
    cond, uncond = logits(kind, seed, STEPS, 3)
    _, state = run(estimator, cond, uncond, single(3), cut)
    shown = signals_of(cond[cut], uncond[cut])
    before = [x.clone() for x in tensors(shown) + tensors(state)]
    step = step_at(cut, GRID, single(3))
    one, _ = estimator.update(state, shown, step)
    for was, now in zip(before, tensors(shown) + tensors(state), strict=True):
        assert torch.equal(was, now)
    two, _ = estimator.update(state, shown, step)
    assert equal(quantities(one), quantities(two))


def test_the_scope_is_that_of_the_parts_in_use() -> None:
    cohort = PromptDrift(normalizer="cohort")
    assert UnifiedConfidence().scope == "row"
    assert cohort.scope == "cohort" and UnifiedConfidence(drift=cohort).scope == "cohort"
    assert UnifiedConfidence(drift=cohort, drift_weight=0.0).scope == "row"
    crowd = WorstBlockStability(normalizer="cohort")
    assert IntrinsicConfidence(blocks=crowd).scope == "cohort"
    assert IntrinsicConfidence(blocks=crowd, block_weight=0.0).scope == "row"
    assert UnifiedConfidence(IntrinsicConfidence(blocks=crowd)).scope == "cohort"
    assert UnifiedConfidence(IntrinsicConfidence(blocks=crowd), intrinsic_weight=0.0).scope == "row"


@pytest.mark.parametrize(
    ("made", "settings", "message"),
    [
        (TokenConfidence, {"rate": 0.0}, r"rate=0.0 must lie in \(0, 1\]: lambda_tok"),
        (TokenConfidence, {"entropy_weight": -1.0}, "entropy_weight=-1.0 must lie in"),
        (
            TokenConfidence,
            {"entropy_weight": 0.0, "margin_weight": 0.0},
            "entropy_weight and margin_weight cannot both be 0",
        ),
        (WorstBlockStability, {"block": 0}, r"block=0 must lie in \[1, inf\)"),
        (WorstBlockStability, {"worst_fraction": 0.0}, r"worst_fraction=0.0 must lie in \(0, 1\]"),
        (WorstBlockStability, {"min_filled": 0}, r"min_filled=0 must lie in \[1, inf\)"),
        (
            WorstBlockStability,
            {"normalizer": "rank"},
            "normalizer='rank' must be one of 'z-score', 'min-max', 'cohort'",
        ),
        (PromptDrift, {"drift_smoothing": 1.5}, r"drift_smoothing=1.5 must lie in \(0, 1\]"),
        (
            IntrinsicConfidence,
            {"token_weight": 0.0, "block_weight": 0.0},
            "token_weight and block_weight cannot both be 0: nothing would be left to read",
        ),
        (UnifiedConfidence, {"rebound_eps": 0.0}, r"rebound_eps=0.0 must lie in \(0, inf\)"),
        (
            UnifiedConfidence,
            {"distribution": "uniform"},
            "distribution='uniform' must be one of 'conditional', 'guided'",
        ),
        (
            UnifiedConfidence,
            {"intrinsic_weight": 0.0, "drift_weight": 0.0},
            "intrinsic_weight and drift_weight cannot both be 0",
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused(made: Any, settings: Any, message: str) -> None:
    with pytest.raises(ScalingarError, match=message):
        made(**settings)


def test_a_block_that_can_never_count_is_refused_before_the_first_token() -> None:
    made = WorstBlockStability(block=4, min_filled=17)
    with pytest.raises(
        ScalingarError, match="min_filled=17 must be at most 16: no block of a 4 x 5"
    ):
        made.init(context(single(2), GRID))
