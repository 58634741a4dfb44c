"""Every quantity of the profile equals the slow float64 reference, whatever the rows do.

Two comparisons. From the same float32 signals, a component's own arithmetic is measured: its
scores agree to 1e-5, with an absolute 2e-6 for what cancels (a z-score divides a difference of
float32 numbers near 5, exact to 3e-7, by a spread of 0.1 or more; the logistic's slope is 1/4).
From logits, the signals' own error (1e-6 nats, signals.py) comes on top: absolute 1e-5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import reference_scalingar as slow
from attrs import evolve
from streams import KINDS, Company, Histories, logits, play

from scalingar_fw.decoding.state import Grid
from scalingar_plugins.confidence.blocks import WorstBlockStability
from scalingar_plugins.confidence.drift import PromptDrift
from scalingar_plugins.confidence.intrinsic import IntrinsicConfidence
from scalingar_plugins.confidence.token import TokenConfidence
from scalingar_plugins.confidence.unified import UnifiedConfidence

GRID = Grid(7, 6)  # blocks of 4 are cut at both edges
ALONE = Company((1,))
PRUNED = Company((5,), {9: [1], 20: [0, 3]})
#: Three prompts of different live counts; one is left with a single candidate.
SEVERAL = Company((3, 1, 4), {5: [0, 6], 23: [0, 2], 24: [0]})
COMPANIES = (ALONE, PRUNED, SEVERAL)


def close(found: Any, expected: Any, atol: float) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=atol)


def compare(
    said: Histories, shown: Histories, expected: Callable[[Any], dict[str, Any]], atol: float
) -> None:
    assert said.keys() == shown.keys()
    for who, history in shown.items():
        for name, series in expected(history).items():
            close(said[who][name], series, atol)


def from_logits(history: dict[str, Any]) -> dict[str, list[float]]:
    """The candidate's signals in float64."""
    each = [slow.signals(c, u) for c, u in zip(history["cond"], history["uncond"], strict=True)]
    return {name: [e[name] for e in each] for name in each[0]}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("company", COMPANIES, ids=["alone", "pruned", "several"])
def test_the_whole_profile_from_logits(kind: str, company: Company) -> None:
    cond, uncond = logits(kind, 3, GRID.size, sum(company.counts))
    shown, said = play(UnifiedConfidence(), GRID, cond, uncond, company)
    compare(said, shown, lambda h: slow.profile(from_logits(h), GRID.rows, GRID.cols), 1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_signals_that_the_profile_reads(kind: str) -> None:
    cond, uncond = logits(kind, 4, GRID.size, 4)
    shown, _ = play(TokenConfidence(), GRID, cond, uncond, Company())
    for history in shown.values():
        for name, series in from_logits(history).items():
            close(history[name], series, 2e-6)


@pytest.mark.parametrize("company", COMPANIES, ids=["alone", "pruned", "several"])
@pytest.mark.parametrize(
    ("entropy_weight", "margin_weight", "rate"),
    [(0.5, 0.5, 0.2), (0.7, 0.3, 0.05), (1.0, 0.0, 1.0), (0.0, 2.0, 0.5)],
)
def test_token_confidence(
    company: Company, entropy_weight: float, margin_weight: float, rate: float
) -> None:
    """Eq. 5; weights count as shares of their sum."""
    made = TokenConfidence(entropy_weight, margin_weight, rate)
    cond, uncond = logits("masked", 5, GRID.size, sum(company.counts))
    shown, said = play(made, GRID, cond, uncond, company)

    def expected(history: Any) -> dict[str, Any]:
        total = entropy_weight + margin_weight
        a_h, a_m = entropy_weight / total, margin_weight / total
        u, s = slow.token_confidence(history["entropy"], history["margin"], a_h, a_m, rate)
        return {"uncertainty": u, "token_confidence": s, "confidence": s}

    compare(said, shown, expected, 2e-6)


@pytest.mark.parametrize("company", COMPANIES, ids=["alone", "pruned", "several"])
@pytest.mark.parametrize("normalizer", ["z-score", "min-max"])
@pytest.mark.parametrize(
    ("block", "fraction", "min_filled"),
    [(4, 0.1, 1), (1, 0.1, 1), (2, 0.7, 1), (3, 0.34, 3), (4, 1.0, 16), (50, 0.1, 2), (2, 0.5, 4)],
)
def test_worst_block_stability(
    company: Company, normalizer: Any, block: int, fraction: float, min_filled: int
) -> None:
    """Eq. 6: edge blocks, one worst block and several, blocks that do not count yet."""
    made = WorstBlockStability(block, fraction, min_filled, normalizer)
    cond, uncond = logits("varied", 6, GRID.size, sum(company.counts))
    shown, said = play(made, GRID, cond, uncond, company)

    def expected(history: Any) -> dict[str, Any]:
        raw = slow.worst_blocks(
            history["entropy_nats"], GRID.rows, GRID.cols, block, fraction, min_filled
        )
        return {"block_stability": slow.stability(raw, normalizer)}

    compare(said, shown, expected, 2e-6)


def test_the_number_of_worst_blocks_is_that_of_the_decimal_fraction() -> None:
    """0.07 of 100 blocks are 7, though 0.07 * 100 is above 7 in binary."""
    assert 0.07 * 100 > 7
    grid = Grid(1, 100)
    cond, uncond = logits("varied", 7, grid.size, 2)
    company = Company((2,))
    shown, said = play(WorstBlockStability(1, 0.07), grid, cond, uncond, company)

    def expected(history: Any) -> dict[str, Any]:
        raw = slow.worst_blocks(history["entropy_nats"], 1, 100, 1, 0.07)
        return {"block_stability": slow.stability(raw, "z-score")}

    compare(said, shown, expected, 2e-6)


@pytest.mark.parametrize("company", COMPANIES, ids=["alone", "pruned", "several"])
@pytest.mark.parametrize("normalizer", ["z-score", "min-max"])
@pytest.mark.parametrize("smoothing", [1.0, 0.2])
def test_prompt_drift(company: Company, normalizer: Any, smoothing: float) -> None:
    """Eq. 7; `drift_smoothing` = 1 is the raw score."""
    cond, uncond = logits("varied", 8, GRID.size, sum(company.counts))
    shown, said = play(PromptDrift(smoothing, normalizer), GRID, cond, uncond, company)

    def expected(history: Any) -> dict[str, Any]:
        d = slow.drift(history["kl"], smoothing, normalizer)
        return {"drift": d, "confidence": d}

    compare(said, shown, expected, 2e-6)


@pytest.mark.parametrize("company", COMPANIES, ids=["alone", "pruned", "several"])
def test_normalisation_across_the_live_candidates_of_the_prompt(company: Company) -> None:
    """The cohort normaliser: neutral for a single live candidate; prompts never mix."""
    cond, uncond = logits("varied", 9, GRID.size, sum(company.counts))
    shown, drifts = play(PromptDrift(1.0, "cohort"), GRID, cond, uncond, company)
    _, stabilities = play(WorstBlockStability(normalizer="cohort"), GRID, cond, uncond, company)
    raw = {
        who: slow.worst_blocks(history["entropy_nats"], GRID.rows, GRID.cols)
        for who, history in shown.items()
    }
    for who, history in shown.items():
        for t in range(len(history["kl"])):
            live = [k for k in shown if k[0] == who[0] and len(shown[k]["kl"]) > t]
            close(
                drifts[who]["drift"][t],
                slow.cohort_z(history["kl"][t], [shown[k]["kl"][t] for k in live]),
                2e-6,
            )
            worst: list[Any] = [raw[k][t] for k in live]
            mine: Any = raw[who][t]
            close(stabilities[who]["block_stability"][t], 1 - slow.cohort_z(mine, worst), 2e-6)


@pytest.mark.parametrize(
    ("token_weight", "block_weight"), [(0.65, 0.35), (1.3, 0.7), (0.65, 0.0), (0.0, 0.35)]
)
def test_intrinsic_confidence(token_weight: float, block_weight: float) -> None:
    """I_t; a part with weight 0 is left out and the other one keeps its scale."""
    made = IntrinsicConfidence(token_weight=token_weight, block_weight=block_weight, rate=0.3)
    cond, uncond = logits("varied", 10, GRID.size, 5)
    shown, said = play(made, GRID, cond, uncond, PRUNED)

    def expected(history: Any) -> dict[str, Any]:
        whole = slow.profile(history, GRID.rows, GRID.cols)
        share = token_weight / (token_weight + block_weight)
        s, b = whole["token_confidence"], whole["block_stability"]
        return {"confidence": slow.intrinsic(s, b, share, 1 - share, 0.3)}

    compare(said, shown, expected, 2e-6)
    extras = set(next(iter(said.values()))) - {"confidence"}
    assert extras == {
        *(["token_confidence", "uncertainty"] if token_weight else []),
        *(["block_stability"] if block_weight else []),
    }


@pytest.mark.parametrize(
    ("intrinsic_weight", "drift_weight"), [(0.75, 0.25), (3.0, 1.0), (0.75, 0.0), (0.0, 0.25)]
)
def test_unified_confidence_and_its_rebound(intrinsic_weight: float, drift_weight: float) -> None:
    """C_t and eq. 8; a channel with weight 0 is absent and enters nothing."""
    made = UnifiedConfidence(
        intrinsic_weight=intrinsic_weight, drift_weight=drift_weight, rebound_eps=0.01
    )
    cond, uncond = logits("varied", 11, GRID.size, 5)
    shown, said = play(made, GRID, cond, uncond, PRUNED)

    def expected(history: Any) -> dict[str, Any]:
        whole = slow.profile(history, GRID.rows, GRID.cols)
        share = intrinsic_weight / (intrinsic_weight + drift_weight)
        i, d = whole["intrinsic"], whole["drift"]
        c, r = slow.unified(i, d, share, 1 - share, 0.01)
        return {
            "confidence": c,
            "rebound": r,
            **({"intrinsic": i} if intrinsic_weight else {}),
            **({"drift": d} if drift_weight else {}),
        }

    compare(said, shown, expected, 4e-6)
    named = set(next(iter(said.values())))
    assert ("intrinsic" in named, "drift" in named) == (bool(intrinsic_weight), bool(drift_weight))


def test_nothing_is_computed_for_a_part_that_is_switched_off() -> None:
    """A part that cannot run is never asked."""

    class Unusable(PromptDrift):
        def init(self, context: Any) -> Any:
            raise AssertionError("asked")

        score = init  # type: ignore[assignment]

    broken = Unusable()
    made = UnifiedConfidence(
        intrinsic=IntrinsicConfidence(blocks=broken, block_weight=0.0),
        drift=broken,
        drift_weight=0.0,
    )
    cond, uncond = logits("varied", 12, GRID.size, 4)
    play(made, GRID, cond, uncond, Company())
    play(
        evolve(made, intrinsic=IntrinsicConfidence(token=broken, token_weight=0.0)),
        GRID,
        cond,
        uncond,
        Company(),
    )


@pytest.mark.parametrize("kind", ["constant", "one token", "agreeing"])
def test_what_never_varies_is_neutral_and_not_nan(kind: str) -> None:
    cond, uncond = logits(kind, 13, GRID.size, 4)
    for normalizer in ("z-score", "min-max"):
        made = UnifiedConfidence(drift=PromptDrift(1.0, normalizer))
        _, said = play(made, GRID, cond, uncond, Company())
        for history in said.values():
            assert history["drift"] == [0.5] * GRID.size
    if kind == "one token":  # entropy 0 and margin 1: as sure as can be
        for history in said.values():
            assert history["token_confidence"] == [1.0] * GRID.size
            assert history["block_stability"] == [0.5] * GRID.size


def test_rounding_noise_of_a_constant_stream_is_not_blown_up_to_a_score() -> None:
    """The same distribution in another order of tokens has the same entropy up to rounding: its
    z-score says nothing and must stay near 0.5."""
    cond, uncond = logits("constant", 14, GRID.size, 4)
    order = np.random.default_rng(0)
    for t in range(GRID.size):
        shuffle = order.permutation(cond.shape[-1])
        cond[t], uncond[t] = cond[t][:, shuffle], uncond[t][:, shuffle]
    _, said = play(UnifiedConfidence(drift=PromptDrift(1.0)), GRID, cond, uncond, Company())
    for history in said.values():
        close(history["drift"], 0.5, 0.2)
        close(history["block_stability"], 0.5, 0.2)
