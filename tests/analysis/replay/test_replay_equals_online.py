"""Replay claims to give what decoding would have given: held to it, event by event, to the bit.

On the reference model, whose rows do not influence each other's rounding. Estimators, policies and
selectors are those that the plugins register, so a new one is held to it from its first day.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scalingar_analysis.recordings.recording import Candidates, Recording
from scalingar_analysis.replay.replay import replay
from scalingar_fw.config.serialization import build
from scalingar_fw.decoding.loop import decode
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.result import Decoded, Status
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.state import Grid
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.errors import ScalingarError
from scalingar_fw.registry import default_registry
from scalingar_fw.testing import ReferenceModel
from scalingar_plugins.confidence.blocks import WorstBlockStability
from scalingar_plugins.confidence.drift import PromptDrift
from scalingar_plugins.confidence.intrinsic import IntrinsicConfidence
from scalingar_plugins.confidence.unified import UnifiedConfidence
from scalingar_plugins.guidance.adaptive import AdaptiveGuidance
from scalingar_plugins.samplers.truncation import MinP
from scalingar_plugins.termination.halving import SuccessiveHalving
from scalingar_plugins.termination.quantile import QuantileTermination

PROMPTS = [Prompt("a cat"), Prompt("a dog"), Prompt("a red cube"), Prompt(class_id=7)]
REGISTRY = default_registry()

#: They read the whole distribution, which a recording does not hold.
READ_LOGITS = {"self-certainty", "top-token"}
#: They look at pictures, or at what only their own sampler records.
NO_SIGNALS = {"oracle", "image"}


def names(kind: str) -> list[str]:
    return REGISTRY.names(kind)


def estimators() -> st.SearchStrategy[Any]:
    plain = [build("confidence", n, REGISTRY) for n in names("confidence") if n not in READ_LOGITS]
    normalizers = st.sampled_from(["z-score", "min-max", "cohort"])
    unified = st.builds(
        lambda one, other, smoothing, warmup, block: UnifiedConfidence(
            intrinsic=IntrinsicConfidence(blocks=WorstBlockStability(normalizer=one, block=block)),
            drift=PromptDrift(normalizer=other, drift_smoothing=smoothing),
            rebound_warmup=warmup,
        ),
        normalizers,
        normalizers,
        st.sampled_from([0.2, 1.0]),
        st.sampled_from([0.0, 0.2]),
        st.sampled_from([1, 2]),
    )
    return st.one_of(st.sampled_from(plain), unified)


quantile = st.builds(
    QuantileTermination,
    quantile=st.sampled_from([0.0, 0.2, 0.6]),
    warmup=st.sampled_from([0.0, 0.2]),
    recovery_window=st.sampled_from([0, 1, 3]),
    recovery_threshold=st.sampled_from([0.0, 0.05, 0.5]),
    rebound_reference=st.sampled_from(["flag", "start"]),
    recovery_rule=st.sampled_from(["any", "final"]),
    min_survivors=st.sampled_from([1, 2]),
)
WRAPPERS = [
    {"name": "warmup", "share": 0.3},
    {"name": "every-steps", "every": 3},
    {"name": "recovery-window", "window": 2, "threshold": 0.02},
    {"name": "patience", "steps": 2},
    {"name": "min-survivors", "count": 2},
    {"name": "token-budget", "budget": 2.6},
]


def wrapped(spec: dict[str, Any], inside: Any) -> Any:
    return build("termination", {**spec, "policy": inside}, REGISTRY)


policies = st.one_of(
    st.sampled_from([build("termination", n, REGISTRY) for n in names("termination")]),
    quantile,
    st.builds(SuccessiveHalving, first_rung=st.sampled_from([0.1, 0.4]), min_survivors=st.just(2)),
    st.builds(wrapped, st.sampled_from(WRAPPERS), quantile),
)
REWARDS = [n for n in names("reward") if n not in NO_SIGNALS]
BY_REWARD = [n for n in names("selector") if hasattr(build("selector", n, REGISTRY), "reward")]
SELECTORS = [
    *(n for n in names("selector") if n not in BY_REWARD),
    {"name": "final-confidence", "signal": "log_prob_cond"},
    *({"name": s, "reward": r} for s in BY_REWARD for r in REWARDS),
]

models = st.builds(
    ReferenceModel,
    vocab_size=st.integers(2, 20),
    grid=st.builds(Grid, st.integers(2, 5), st.integers(2, 5)),
    sharpness=st.sampled_from([0.0, 1.0, 5.0]),
    forbidden=st.sampled_from([0, 1]),
)
samplings = st.builds(
    Sampling,
    guidance=st.sampled_from([1.0, 2.0]),
    temperature=st.sampled_from([0.7, 1.0]),
    top_k=st.sampled_from([0, 3]),
)
seeds = st.integers(0, 2**64 - 1)
widths = st.integers(1, 9)


def recorded(
    model: ReferenceModel, sampling: Sampling, seed: int, n: int, **parts: Any
) -> Recording:
    """Complete candidates of all prompts, each decoded by itself: replay has them in one batch."""
    watcher = Strategy(name="record", **parts)
    pools = []
    for prompt in PROMPTS:
        alone = decode(model, watcher, [prompt], n=n, seed=seed, sampling=sampling)
        pools.append(Candidates(prompt, alone.trajectories, seed))
    return Recording.of(pools, model.grid, sampling, watcher)


def assert_online_equals_replay(online: Decoded, strategy: Strategy, recording: Recording) -> None:
    """Statuses, sentences, tokens, every signal at every step, answers and counts."""
    outcome = replay(strategy, recording)
    for row, t in enumerate(online.trajectories):
        mine = outcome.trajectory(row)
        assert (mine.prompt, mine.candidate) == (t.prompt, t.candidate)
        assert (mine.status, mine.reason) == (t.status, t.reason)
        assert np.array_equal(mine.tokens, t.tokens)
        assert mine.signals.keys() == t.signals.keys()
        for name, values in t.signals.items():
            assert np.array_equal(mine.signals[name], values, equal_nan=True), name
    assert outcome.chosen.tolist() == list(online.chosen)
    assert int(outcome.tokens.sum()) == online.ledger.tokens
    assert int(outcome.recoveries.sum()) == online.recoveries


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(models, samplings, seeds, widths, estimators(), policies, st.data())
def test_online_equals_replay_event_by_event(
    model: ReferenceModel,
    sampling: Sampling,
    seed: int,
    n: int,
    confidence: Any,
    termination: Any,
    data: Any,
) -> None:
    selector = build("selector", data.draw(st.sampled_from(SELECTORS)), REGISTRY)
    strategy = Strategy("policy", confidence, termination=termination, selector=selector)
    recording = recorded(model, sampling, seed, n)
    try:
        online = decode(model, strategy, PROMPTS, n=n, seed=seed, sampling=sampling)
    except ScalingarError:  # a budget or a block that does not fit, a signal that nobody records
        with pytest.raises(ScalingarError):
            replay(strategy, recording).chosen  # noqa: B018
        return
    assert_online_equals_replay(online, strategy, recording)


def test_the_property_above_meets_prunings_recoveries_and_answers_of_all_kinds() -> None:
    strategy = Strategy(
        "policy",
        UnifiedConfidence(),
        termination=QuantileTermination(
            quantile=0.6, warmup=0.2, recovery_window=2, recovery_threshold=0.02
        ),
        selector=build("selector", "final-confidence", REGISTRY),
    )
    model, sampling = ReferenceModel(grid=Grid(5, 5)), Sampling(guidance=2.0)
    online = decode(model, strategy, PROMPTS, n=8, sampling=sampling)
    assert_online_equals_replay(online, strategy, recorded(model, sampling, 0, 8))
    assert online.count(Status.PRUNED) >= 8
    assert online.recoveries > 8
    assert len({online.answer(p).candidate for p in range(4)}) > 1


@settings(max_examples=10)
@given(models, seeds, widths, quantile)
def test_a_schedule_that_was_recorded_is_replayed_with_any_policy(
    model: ReferenceModel, seed: int, n: int, termination: Any
) -> None:
    """The scale of a row follows from its own history, whoever else lives."""
    parts = {"confidence": UnifiedConfidence(), "guidance": AdaptiveGuidance()}
    sampling = Sampling(guidance=2.0)
    recording = recorded(model, sampling, seed, n, **parts)
    strategy = Strategy("policy", **parts, termination=termination)
    online = decode(model, strategy, PROMPTS, n=n, seed=seed, sampling=sampling)
    assert_online_equals_replay(online, strategy, recording)


@settings(max_examples=10)
@given(models, seeds, quantile)
def test_estimators_of_the_guided_distribution_are_replayed_where_it_was_recorded(
    model: ReferenceModel, seed: int, termination: Any
) -> None:
    confidence = UnifiedConfidence(distribution="guided")
    sampling = Sampling(guidance=2.0)
    recording = recorded(model, sampling, seed, 6, confidence=confidence)
    strategy = Strategy("policy", confidence, termination=termination)
    online = decode(model, strategy, PROMPTS, n=6, seed=seed, sampling=sampling)
    assert_online_equals_replay(online, strategy, recording)


@settings(max_examples=10)
@given(models, seeds, st.integers(2, 8), st.data())
def test_fewer_candidates_of_a_recording_are_a_recording_of_fewer(
    model: ReferenceModel, seed: int, n: int, data: Any
) -> None:
    few = data.draw(st.integers(1, n - 1))
    sampling = Sampling(guidance=2.0)
    strategy = Strategy(
        "policy", UnifiedConfidence(), termination=QuantileTermination(recovery_window=1)
    )
    online = decode(model, strategy, PROMPTS, n=few, seed=seed, sampling=sampling)
    assert_online_equals_replay(online, strategy, recorded(model, sampling, seed, n).first(few))


# --- what is refused ---------------------------------------------------------------------------

MODEL = ReferenceModel(grid=Grid(3, 3))
PLAIN = recorded(MODEL, Sampling(guidance=2.0), 0, 3)


def test_what_follows_from_other_tokens_is_refused_with_the_way_out() -> None:
    scheduled = Strategy("policy", UnifiedConfidence(), AdaptiveGuidance())
    with pytest.raises(ScalingarError, match="another scale gives other tokens.*guidance=constant"):
        replay(scheduled, PLAIN)
    for sampler in ("smc", "beam", "diverse-beam", "confidence-beam", "global-multinomial"):
        forking = Strategy("policy", sampler=build("sampler", sampler, REGISTRY))
        with pytest.raises(ScalingarError, match="forks, resamples or shares noise"):
            replay(forking, PLAIN)
    for sampler in ("min-p", "entropy-temperature"):
        hot = Strategy("policy", sampler=build("sampler", sampler, REGISTRY))
        with pytest.raises(ScalingarError, match="draws other tokens.*sampler=multinomial"):
            replay(hot, PLAIN)


@pytest.mark.parametrize("name", [n for n in names("guidance") if n != "constant"])
def test_every_schedule_but_the_recorded_one_is_refused(name: str) -> None:
    strategy = Strategy("policy", guidance=build("guidance", name, REGISTRY))
    with pytest.raises(ScalingarError, match="cannot be replayed"):
        replay(strategy, PLAIN)


@pytest.mark.parametrize("name", sorted(READ_LOGITS))
def test_estimators_that_read_the_whole_distribution_are_refused(name: str) -> None:
    strategy = Strategy("policy", build("confidence", name, REGISTRY))
    with pytest.raises(ScalingarError, match="whole distribution, which no recording holds"):
        replay(strategy, PLAIN)


def test_selectors_that_look_at_pictures_are_refused() -> None:
    oracle = build("strategy", "best-of-n-oracle", REGISTRY)
    with pytest.raises(ScalingarError, match="looks at images"):
        replay(oracle, PLAIN).chosen  # noqa: B018


def test_a_schedule_fed_by_the_company_is_refused_even_where_it_was_recorded() -> None:
    parts: dict[str, Any] = {
        "confidence": UnifiedConfidence(drift=PromptDrift(normalizer="cohort")),
        "guidance": AdaptiveGuidance(),
    }
    recording = recorded(MODEL, Sampling(guidance=2.0), 0, 3, **parts)
    with pytest.raises(ScalingarError, match="looks at the other live candidates"):
        replay(Strategy("policy", **parts), recording)
    constant = Strategy("policy", parts["confidence"])
    with pytest.raises(ScalingarError, match="recorded under AdaptiveGuidance"):
        replay(constant, recording)


def test_another_distribution_than_the_recorded_one_is_refused() -> None:
    with pytest.raises(ScalingarError, match="reads the guided distribution"):
        replay(Strategy("policy", UnifiedConfidence(distribution="guided")), PLAIN)


def test_unknown_origins_are_refused() -> None:
    with pytest.raises(ScalingarError, match="recorded under is not known"):
        replay(Strategy("policy"), evolve(PLAIN, strategy=None))


def test_a_sampler_is_replayed_where_it_was_recorded() -> None:
    sampling = Sampling(guidance=2.0)
    recording = recorded(MODEL, sampling, 0, 4, sampler=MinP())
    strategy = Strategy(
        "policy",
        UnifiedConfidence(),
        termination=QuantileTermination(recovery_window=1),
        sampler=MinP(),
    )
    online = decode(MODEL, strategy, PROMPTS, n=4, sampling=sampling)
    assert_online_equals_replay(online, strategy, recording)


def test_candidates_that_were_ended_early_or_forked_are_refused() -> None:
    sampling = Sampling(guidance=2.0)
    pruning = Strategy("p", UnifiedConfidence(), termination=QuantileTermination(recovery_window=0))
    decoded = decode(ReferenceModel(grid=Grid(5, 5)), pruning, PROMPTS[:1], n=8)
    assert decoded.count(Status.PRUNED)
    with pytest.raises(ScalingarError, match="ended early.*scalingar record"):
        Recording.of([Candidates(PROMPTS[0], decoded.trajectories)], Grid(5, 5), sampling, pruning)
    smc = build("strategy", "confidence-beam", REGISTRY)
    forked = decode(ReferenceModel(grid=Grid(5, 5)), smc, PROMPTS[:1], n=4)
    with pytest.raises(ScalingarError, match="are forks"):
        Recording.of([Candidates(PROMPTS[0], forked.trajectories)], Grid(5, 5), sampling, smc)


def test_the_scale_that_a_schedule_would_ask_for_is_a_diagnostic_beside_what_was_used() -> None:
    strategy = Strategy("policy", UnifiedConfidence(), AdaptiveGuidance())
    outcome = replay(strategy, PLAIN, schedule=True)
    assert (outcome.signals["scale"] == 2.0).all()
    assert (outcome.signals["scale_asked"] != 2.0).any()
    online = decode(MODEL, strategy, PROMPTS, n=3, sampling=Sampling(guidance=2.0))
    first = [t.signals["scale"][0] for t in online.trajectories]
    assert outcome.signals["scale_asked"][:, 0].tolist() == first, "the first step is the same"
