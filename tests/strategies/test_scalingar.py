"""ScalingAR end to end: Algorithm 1 on a script worked out by hand, and whole decodes recomputed in
float64 from the model's logits."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import reference_scalingar as slow
import torch
from attrs import evolve

from scalingar_fw.decoding.loop import decode
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.result import Decoded, Status, Trajectory
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.state import Grid
from scalingar_fw.decoding.strategy import (
    ConstantGuidance,
    FinalConfidence,
    NeverTerminate,
    Strategy,
)
from scalingar_fw.registry import default_registry
from scalingar_fw.testing import ReferenceModel, ScriptedModel
from scalingar_plugins.confidence.drift import PromptDrift
from scalingar_plugins.confidence.intrinsic import IntrinsicConfidence
from scalingar_plugins.confidence.token import TokenConfidence
from scalingar_plugins.confidence.unified import UnifiedConfidence
from scalingar_plugins.guidance.adaptive import AdaptiveGuidance
from scalingar_plugins.termination.quantile import QuantileTermination
from scalingar_strategies.base import base
from scalingar_strategies.scalingar import scalingar, scalingar_literal

# --- Algorithm 1 by hand -------------------------------------------------------------------------

#: C = I = the margin of p_c, without memory: what the script says is what the policies read.
BARE = UnifiedConfidence(
    intrinsic=IntrinsicConfidence(
        token=TokenConfidence(entropy_weight=0.0, rate=1.0), block_weight=0.0, rate=1.0
    ),
    drift_weight=0.0,
)
#: Thresholds that can be done in the head: medians, halved.
EASY = QuantileTermination(
    quantile=0.5, rate=0.5, warmup=0.125, recovery_window=2, recovery_threshold=0.1
)
METHOD = Strategy(
    confidence=BARE, guidance=AdaptiveGuidance(), termination=EASY, selector=FinalConfidence()
)
VOCAB = 16
GRID = Grid(4, 4)

Table = dict[str, list[list[float]]]


def table(text: str) -> list[list[float]]:
    """One line for each candidate: C at each step, in hundredths."""
    return [[int(x) / 100 for x in line.split()] for line in text.strip().splitlines()]


def run(tables: Table, strategy: Strategy) -> Decoded:
    """Decode candidates whose C follows their line of their prompt's table.

    A candidate is known by its first token, which is drawn uniformly, so that a seed is soon found
    under which all differ.
    """
    prompts = [Prompt(text) for text in tables]
    owner: dict[tuple[str, int], int] = {}

    def script(prompt: Prompt, tokens: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        lines = tables[prompt.text]
        line = lines[owner.get((prompt.text, tokens[0]), 0) if tokens else 0]
        c = line[min(len(tokens), len(line) - 1)]
        cond = np.full(VOCAB, -60.0)
        cond[:2] = math.log((1 + c) / (1 - c)), 0.0  # p(top-1) - p(top-2) = c
        # s_0 = 0 + 0.3 (1 - 0.5) = 0.15: guided logits u + s (c - u) are 0 for all tokens.
        return cond, -0.15 / 0.85 * cond

    model = ScriptedModel(vocab_size=VOCAB, grid=GRID, preset=Sampling(guidance=0.0), script=script)
    n = len(next(iter(tables.values())))
    for seed in range(100):
        found = decode(
            model, evolve(strategy, termination=NeverTerminate()), prompts, n=n, seed=seed
        )
        first = [(prompts[t.prompt].text, int(t.tokens[0])) for t in found.trajectories]
        if len(set(first)) == len(first):
            owner.update(
                {who: t.candidate for who, t in zip(first, found.trajectories, strict=True)}
            )
            return decode(model, strategy, prompts, n=n, seed=seed)
    raise AssertionError("no seed tells the candidates apart")


def at(result: Decoded, name: str, step: int, prompt: int = 0) -> list[int]:
    """The candidates for which a 0/1 signal is 1 at a step."""
    return [
        t.candidate
        for t in result.of_prompt(prompt)
        if len(t) > step and t.signals[name][step] == 1.0
    ]


def lengths(result: Decoded, prompt: int = 0) -> list[int]:
    return [len(t) for t in result.of_prompt(prompt)]


SCENE = table(
    """
    90 20 80 80 80 80 80 80 80 80 80 50 50 50 50 50
    90 70 60 60 60
    90 70 40 50 50 50 54
    90 70 70 70 70 60 60 67 60 60 60
    """
)


def test_algorithm_1_step_by_step() -> None:
    """Candidates a, b, c, d; T = 16; thresholds are medians, each counted half.

    step  live C              median  theta     what happens
    0, 1  (a dips to 20)                        warm-up: nothing is compared
    2     80 60 40 70         65      65        b and c are flagged, until step 4
    3     80 60 50 70         65      65        c recovers: (50 - 40) / 40 = 25 %
    4     80 60 50 70         65      65        c is flagged again, until 6; b never rose: pruned
    5     80    50 60         60      62.5      d is flagged, until 7
    6     80    54 60         60      61.25     c rose by 8 % of the 50 at its flag: pruned
    7     80       67         73.5    67.375    d recovers: (67 - 60) / 60 = 11.7 %
    8     80       60         70      68.6875   d is flagged, until 10
    9     80       60         70      69.34375
    10    80       60         70      69.671875 d never rose: pruned
    11    50                  50      59.8...   a is flagged, until 13, but is the last: it stays
    """
    result = run({"scene": SCENE}, METHOD)
    a, b, c, d = result.trajectories
    assert [t.status for t in (a, b, c, d)] == [Status.COMPLETED, *[Status.PRUNED] * 3]
    assert lengths(result) == [16, 5, 7, 11]  # the token of the pruning step is the last
    assert result.recoveries == 2 and result.answer() is a
    assert b.reason == (
        "its confidence fell below the threshold and did not rebound by 10 % from its low within 2 "
        "steps, now 0.600 with the threshold at 0.650 (eq. 9)"
    )

    thetas = [0.65, 0.65, 0.65, 0.625, 0.6125, 0.67375, 0.686875, 0.6934375, 0.69671875]
    thetas += [0.598359375, 0.5491796875, 0.52458984375, 0.512294921875, 0.5061474609375]
    np.testing.assert_allclose(a.signals["threshold"], [np.nan, np.nan, *thetas], rtol=1e-5)
    np.testing.assert_allclose(d.signals["threshold"][2:], thetas[:9], rtol=1e-5)
    flagged = [[], [], [1, 2], [1], [1, 2], [2, 3], [2, 3], [], [3], [3], [3], *[[0]] * 5]
    assert [at(result, "flagged", t) for t in range(16)] == flagged
    assert [t for t in range(16) if at(result, "recovered", t)] == [3, 7]
    for t, line in zip((a, b, c, d), SCENE, strict=True):
        np.testing.assert_allclose(t.signals["confidence"], line, rtol=1e-5)

    # Pruned rows cost nothing more: rows that live on after each step but the last, both branches.
    assert result.ledger.tokens == 16 + 5 + 7 + 11
    assert result.ledger.decode_rows == 2 * (4 * 4 + 2 * 3 + 4 * 2 + 5 * 1)


def test_the_scale_step_by_step() -> None:
    """s_base = 0, D = 0.5 (its channel is off), so s = 0.15 + 0.4 Var(I) - 0.4 R, in [0, 1].

    a: I = C = 90, 20, 80: variances 0, 0.1225 and 0.0955...; R = 0, 0 and (80 - 20) / 20 = 3,
    which drives the scale to its lower bound.
    """
    a, b, *_ = run({"scene": SCENE}, METHOD).trajectories
    third = 0.15 + 0.4 * np.var([0.9, 0.2, 0.8]) - 0.4 * 3
    assert third < 0
    np.testing.assert_allclose(a.signals["scale"][:3], [0.15, 0.15 + 0.4 * 0.1225, 0.0], rtol=1e-5)
    c = SCENE[1]
    expected = [0.15 + 0.4 * np.var(c[: t + 1]) for t in range(5)]  # b never rises: R = 0
    np.testing.assert_allclose(b.signals["scale"], expected, rtol=1e-5)


def test_two_prompts_are_pruned_as_if_each_were_alone() -> None:
    """The second prompt's C is a quarter of the first one's, which is below all its thresholds."""
    faint = [[x / 4 for x in line] for line in SCENE]
    both = run({"scene": SCENE, "faint": faint}, METHOD)
    assert lengths(both, 0) == lengths(both, 1) == [16, 5, 7, 11]
    assert [both.answer(p).candidate for p in (0, 1)] == [0, 0]
    for one, other in zip(both.of_prompt(0), both.of_prompt(1), strict=True):
        theta, faint_theta = one.signals["threshold"], other.signals["threshold"]
        np.testing.assert_allclose(faint_theta, theta / 4, rtol=1e-5)


def test_algorithm_1s_short_form() -> None:
    """Without a window: pruned where C < theta and R < 10 %, R since the start.

    Step 2: C = 80, 60, 40, 70, theta 65; b and c are at their minima: pruned. From step 3 on a and
    d: medians 75, 75, 70 ...; thetas 70 (d at 70 is not below), 72.5 (d is: pruned at 4).
    """
    result = run({"scene": SCENE}, evolve(METHOD, termination=evolve(EASY, recovery_window=0)))
    assert lengths(result) == [16, 3, 3, 5]
    b = result.trajectories[1]
    assert b.reason == (
        "confidence 0.600 was below the threshold 0.650, with a rebound of 0.0%, less than 10 % "
        "(Algorithm 1)"
    )


def test_the_minimum_since_the_start_lets_nearly_all_recover() -> None:
    """The literal reading on a candidate that was once far down: at 40 since step 2, it is 100 %
    above its 20 of step 1 at every flag."""
    lines = table("90 80 80 80 80 80\n90 80 80 80 80 80\n90 80 80 80 80 80\n90 20 40 40 40 40")
    mine = run({"dip": lines}, METHOD)
    assert lengths(mine) == [16, 16, 16, 5] and at(mine, "flagged", 2) == [3]
    literal = evolve(METHOD, termination=evolve(EASY, rebound_reference="start"))
    theirs = run({"dip": lines}, literal)
    assert lengths(theirs) == [16] * 4
    assert theirs.recoveries == 14  # at each step after the warm-up


def test_those_who_fall_together_leave_the_best_behind() -> None:
    """All fall below a threshold that remembers better times; 60 and 60 tie, 50 goes first. Medians
    90, 60 (theta 75): three flags at step 3, ended at 5."""
    lines = table("90 90 90 60 60\n90 90 90 50 50\n90 90 90 60 60")
    for survivors, expected in [(1, [16, 6, 6]), (2, [16, 6, 16]), (3, [16, 16, 16])]:
        policy = evolve(EASY, min_survivors=survivors)
        result = run({"fall": lines}, evolve(METHOD, termination=policy))
        assert lengths(result) == expected
        assert result.answer().candidate == 0


def test_a_probation_cut_short_by_the_last_token_ends_in_survival() -> None:
    """b is flagged at step 14, the last but one; with a window of 1 it would end with step 15."""
    high = [0.9] + [0.8] * 15
    low = [0.9] + [0.8] * 13 + [0.1, 0.1]
    for window, expected in [(0, [16, 15]), (1, [16, 16])]:
        policy = evolve(EASY, recovery_window=window)
        result = run({"late": [high, low]}, evolve(METHOD, termination=policy))
        assert lengths(result) == expected
        assert at(result, "flagged", 14) == [1]
        assert result.answer().candidate == 0


# --- whole decodes, recomputed -------------------------------------------------------------------


def logits_of(
    model: ReferenceModel, prompt: Prompt, t: Trajectory
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The model's logits before each of a candidate's tokens, as rounded to its dtype, float64."""
    pairs = [model.rule(prompt, tuple(t.tokens[:k].tolist())) for k in range(len(t))]
    allowed = np.ones(model.vocab_size, dtype=bool)
    start = prompt.key % model.vocab_size
    allowed[[(start + k) % model.vocab_size for k in range(model.forbidden)]] = False

    def rounded(x: np.ndarray) -> np.ndarray:
        exact = torch.tensor(x).to(model.dtype).double().numpy()
        return np.where(allowed, exact, -np.inf)

    return [rounded(c) for c, _ in pairs], [rounded(u) for _, u in pairs]


def recomputed(
    strategy: Strategy, model: ReferenceModel, prompt: Prompt, t: Trajectory
) -> dict[str, Any]:
    """Every recorded quantity of a candidate, from its logits alone."""
    confidence: Any = strategy.confidence
    guidance: Any = strategy.guidance
    cond, uncond = logits_of(model, prompt, t)
    said: dict[str, list[float]] = {n: [] for n in ("entropy_nats", "entropy", "margin", "kl")}
    scale = [model.preset.guidance]
    out: dict[str, Any] = {}
    guided = confidence.distribution == "guided"
    for k in range(len(t)):
        with np.errstate(invalid="ignore"):  # -inf - -inf, where forbidden
            before = uncond[k] + scale[-1] * (cond[k] - uncond[k]) if guided else None
        for name, value in slow.signals(cond[k], uncond[k], before).items():
            said[name].append(value)
        if guided or k == len(t) - 1:
            out = slow.profile(
                said,
                model.grid.rows,
                model.grid.cols,
                confidence.drift.drift_smoothing,
                confidence.rebound_warmup,
            )
            scale = slow.scales(
                out["drift"],
                out["intrinsic"],
                out["rebound"],
                model.preset.guidance,
                window=guidance.window,
                mode=guidance.mode,
            )
    log_guided = []
    for c, u, s, token in zip(cond, uncond, scale, t.tokens.tolist(), strict=True):
        ok = np.isfinite(c)
        log_guided.append(slow.log_softmax(u[ok] + s * (c[ok] - u[ok]))[ok[:token].sum()])
    return {**said, **out, "scale": scale, "log_prob_guided": log_guided}


def equals_reference(
    strategy: Strategy, model: ReferenceModel, prompts: list[Prompt], n: int, seed: int
) -> bool:
    """Compare one decode; False where float32 could have decided otherwise than float64."""
    result = decode(model, strategy, prompts, n=n, seed=seed)
    policy: Any = strategy.termination
    for p, prompt in enumerate(prompts):
        mine = result.of_prompt(p)
        expected = {t.candidate: recomputed(strategy, model, prompt, t) for t in mine}
        for t in mine:
            for name, series in expected[t.candidate].items():
                np.testing.assert_allclose(t.signals[name], series, rtol=1e-5, atol=2e-5)
        done = slow.terminate(
            {k: e["confidence"] for k, e in expected.items()},
            {k: e["rebound"] for k, e in expected.items()},
            model.grid.size,
            window=policy.probation(model.grid.size),
            threshold=policy.recovery_threshold,
            reference=policy.rebound_reference,
            rule=policy.recovery_rule,
        )
        if done["closest"] < 1e-5:
            return False
        for t in mine:
            assert len(t) == done["ended"].get(t.candidate, model.grid.size - 1) + 1
            for k in range(len(t)):
                theta = done["theta"].get(k, np.nan)
                np.testing.assert_allclose(t.signals["threshold"][k], theta, rtol=1e-5, atol=1e-5)
                for name in ("flagged", "recovered"):
                    assert t.signals[name][k] == (t.candidate in done[name].get(k, ()))
        last = {t.candidate: expected[t.candidate]["confidence"][-1] for t in mine if t.completed}
        assert result.answer(p).candidate == max(last, key=lambda k: (last[k], -k))
    return True


PROMPTS = [Prompt("a red circle"), Prompt("two squares")]
MODEL = ReferenceModel(vocab_size=12, grid=Grid(5, 7), sharpness=2.5, preset=Sampling(guidance=2.0))


def brisk(strategy: Strategy, **settings: Any) -> Strategy:
    """With windows that fit an image of 35 tokens."""
    return evolve(
        strategy,
        guidance=AdaptiveGuidance(window=6),
        termination=evolve(
            strategy.termination, **{"recovery_share": None, "recovery_window": 3, **settings}
        ),
    )


@pytest.mark.parametrize(
    ("strategy", "model"),
    [
        (brisk(scalingar()), MODEL),
        (brisk(scalingar()), evolve(MODEL, forbidden=10)),
        (brisk(scalingar()), evolve(MODEL, vocab_size=1)),
        (brisk(scalingar(), recovery_rule="final"), evolve(MODEL, dtype=torch.float16)),
        (brisk(scalingar(), recovery_window=0), evolve(MODEL, dtype=torch.bfloat16)),
        (brisk(scalingar_literal()), MODEL),
        (scalingar(), MODEL),
    ],
    ids=["preset", "masked", "one token", "half", "bfloat16", "literal", "unchanged"],
)
def test_a_whole_decode_equals_the_reference(strategy: Strategy, model: ReferenceModel) -> None:
    """Signals, profile, scale, thresholds, flags, prunings and the answer; two prompts at once."""
    assert any(equals_reference(strategy, model, PROMPTS, n=5, seed=seed) for seed in range(5))


def test_the_guided_distribution_under_the_scale_before() -> None:
    """With distribution = "guided", step t reads the guided distribution at s_{t-1}; s_base at 0."""
    unified: Any = scalingar().confidence
    strategy = evolve(
        brisk(scalingar()),
        confidence=evolve(unified, distribution="guided"),
        guidance=AdaptiveGuidance(window=6, mode="multiplicative"),
    )
    model = evolve(MODEL, grid=Grid(4, 5))
    assert any(equals_reference(strategy, model, PROMPTS, n=3, seed=seed) for seed in range(5))


def test_these_decodes_do_prune_and_recover() -> None:
    """So that the comparisons above compare something."""
    pruned = recovered = 0
    for seed in range(3):
        result = decode(MODEL, brisk(scalingar()), PROMPTS, n=5, seed=seed)
        pruned += result.count(Status.PRUNED)
        recovered += result.recoveries
    assert pruned >= 5 and recovered >= 5


# --- the presets ---------------------------------------------------------------------------------


def test_the_presets_are_registered_under_their_names() -> None:
    for made in (base(), scalingar(), scalingar_literal()):
        assert default_registry().get("strategy", made.name)() == made
    assert (base().default_n, scalingar().default_n, scalingar_literal().default_n) == (1, 8, 8)


def test_the_literal_reading_is_the_papers_text() -> None:
    """Table 'Hyperparameters', and what the text says where it is silent."""
    made = scalingar_literal()
    assert made == Strategy(
        name="scalingar-literal",
        confidence=UnifiedConfidence(drift=PromptDrift(drift_smoothing=1.0)),
        guidance=AdaptiveGuidance(alpha=0.3, beta=0.4, gamma=0.4, window=32, mode="additive"),
        termination=QuantileTermination(
            quantile=0.2,
            rate=0.2,
            warmup=0.125,
            recovery_window=32,
            recovery_threshold=0.05,
            rebound_reference="start",
            recovery_rule="any",
            min_survivors=1,
        ),
        selector=FinalConfidence("confidence"),
        default_n=8,
    )
    unified: Any = made.confidence
    inner = unified.intrinsic
    assert (unified.intrinsic_weight, unified.drift_weight) == (0.75, 0.25)
    assert (unified.rebound_eps, unified.distribution) == (1e-6, "conditional")
    assert (inner.token_weight, inner.block_weight, inner.rate) == (0.65, 0.35, 0.2)
    assert (inner.token.entropy_weight, inner.token.margin_weight) == (0.5, 0.5)
    assert (inner.token.rate, inner.blocks.block, inner.blocks.worst_fraction) == (0.2, 4, 0.1)
    assert inner.blocks.normalizer == unified.drift.normalizer == "z-score"


@pytest.mark.parametrize("preset", [scalingar, scalingar_literal])
def test_without_gains_the_scheduler_is_the_constant_one(preset: Any) -> None:
    none = AdaptiveGuidance(alpha=0.0, beta=0.0, gamma=0.0)
    one = decode(MODEL, evolve(preset(), guidance=none), PROMPTS, n=4)
    two = decode(MODEL, evolve(preset(), guidance=ConstantGuidance()), PROMPTS, n=4)
    for a, b in zip(one.trajectories, two.trajectories, strict=True):
        assert np.array_equal(a.tokens, b.tokens) and list(a.signals) == list(b.signals)
        for name in a.signals:
            assert np.array_equal(a.signals[name], b.signals[name], equal_nan=True)


@pytest.mark.parametrize("preset", [scalingar, scalingar_literal])
def test_quantile_zero_is_never_terminating(preset: Any) -> None:
    made = preset()
    zero = decode(MODEL, evolve(made, termination=QuantileTermination(quantile=0.0)), PROMPTS, n=4)
    never = decode(MODEL, evolve(made, termination=NeverTerminate()), PROMPTS, n=4)
    assert zero.chosen == never.chosen
    for a, b in zip(zero.trajectories, never.trajectories, strict=True):
        assert np.array_equal(a.tokens, b.tokens)
        assert np.array_equal(a.signals["confidence"], b.signals["confidence"])


def test_one_candidate_under_constant_guidance_is_the_model_by_itself() -> None:
    one = decode(MODEL, evolve(scalingar(), guidance=ConstantGuidance()), PROMPTS, n=1)
    plain = decode(MODEL, base(), PROMPTS)
    assert one.ledger.counts() == plain.ledger.counts()
    for a, b in zip(one.trajectories, plain.trajectories, strict=True):
        assert np.array_equal(a.tokens, b.tokens)


def test_until_the_first_pruning_candidates_do_not_depend_on_how_many_there_are() -> None:
    """The profile and the scale read each candidate alone."""
    few = decode(MODEL, evolve(scalingar(), termination=NeverTerminate()), PROMPTS, n=2)
    many = decode(MODEL, evolve(scalingar(), termination=NeverTerminate()), PROMPTS[:1], n=6)
    for a, b in itertools.product(few.of_prompt(0), many.of_prompt(0)):
        if a.candidate == b.candidate:
            assert np.array_equal(a.tokens, b.tokens)
            for name in a.signals:
                assert np.array_equal(a.signals[name], b.signals[name])
