"""What the loop refuses, whom it blames, and what it hands out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from attrs import evolve, frozen
from torch import Tensor

from scalingar_fw.config.serialization import build
from scalingar_fw.decoding.components import (
    ConfidenceEstimator,
    Guidance,
    Pool,
    Selector,
    Step,
    Termination,
    Verdict,
)
from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.loop import decode, to_images
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.result import Status, Trajectory, frozen_array
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.signals import Signals
from scalingar_fw.decoding.state import Grid, Logits
from scalingar_fw.decoding.strategy import FinalConfidence, FirstCandidate, Strategy
from scalingar_fw.errors import ContractError, ScalingarError
from scalingar_fw.hooks import make_hooks
from scalingar_fw.registry import default_registry
from scalingar_fw.testing import ReferenceModel, ScriptedModel

CAT, DOG = Prompt("a cat"), Prompt("a dog")
SMALL = ReferenceModel(grid=Grid(2, 3))

Row = np.ndarray[Any, Any]


def scripted(script: Any, **fields: Any) -> ScriptedModel:
    fields = {"vocab_size": 4, "grid": Grid(1, 4), **fields}
    return ScriptedModel(script=script, **fields)


def flat(prompt: Prompt, tokens: tuple[int, ...]) -> tuple[Row, Row]:
    return np.zeros(4), np.zeros(4)


# --- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, -1, 1.5, True, "8"])
def test_n_must_be_a_positive_whole_number(n: Any) -> None:
    with pytest.raises(ScalingarError, match=r"must be a whole number >= 1: candidates per"):
        decode(SMALL, Strategy(), [CAT], n=n)


def test_without_a_prompt_there_is_nothing_to_decode() -> None:
    with pytest.raises(ScalingarError, match="There is no prompt to decode"):
        decode(SMALL, Strategy(), [])


def test_guidance_needs_an_unconditional_branch() -> None:
    single = evolve(SMALL, branches=1)
    with pytest.raises(ScalingarError, match=r"guidance=2.0 needs unconditional logits"):
        decode(single, Strategy(), [CAT], n=1)
    result = decode(single, Strategy(), [CAT], n=3, sampling=Sampling())
    assert result.ledger.prefill_rows == 1
    assert result.ledger.decode_rows == 3 * 5
    assert all((t.signals["kl"] == 0).all() for t in result.trajectories)


def test_a_bad_seed_is_refused_before_any_work() -> None:
    with pytest.raises(ScalingarError, match="seed=-1"):
        decode(SMALL, Strategy(), [CAT], seed=-1)
    with pytest.raises(ScalingarError, match="3 seeds for 1 prompts"):
        decode(SMALL, Strategy(), [CAT], seed=[1, 2, 3])


def test_n_is_the_strategys_own_where_none_is_given() -> None:
    assert decode(SMALL, Strategy(default_n=3), [CAT]).n == 3


# --- broken models -----------------------------------------------------------------------------


@frozen
class Ragged(ReferenceModel):
    """Returns a row too many at token `at`."""

    at: int = 0

    def _logits(self, history: Any) -> Logits:
        logits = super()._logits(history)
        if len(history.tokens[0]) != self.at:
            return logits
        return Logits(logits.cond, torch.cat([logits.uncond, logits.uncond[:1]]))


@pytest.mark.parametrize("at", [0, 2])
def test_logits_of_a_wrong_shape_are_blamed_on_the_model(at: int) -> None:
    expected = r"'reference' returned logits of shape \(2, 16\) and \(3, 16\); both must be \(2, 16"
    with pytest.raises(ContractError, match=expected):
        decode(Ragged(at=at), Strategy(), [CAT], n=2)


@pytest.mark.parametrize("branch", [0, 1])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_are_not_finite_are_reported_before_the_first_token(
    branch: int, bad: float
) -> None:
    def script(prompt: Prompt, tokens: tuple[int, ...]) -> tuple[Row, Row]:
        pair = np.zeros(4), np.zeros(4)
        pair[branch][1] = bad
        return pair

    with pytest.raises(ContractError, match="not finite for the first token .*--dtype float32"):
        decode(scripted(script), Strategy(), [CAT], n=2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("branches", [1, 2])
def test_finite_logits_with_a_mask_need_no_search(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, branches: int
) -> None:
    """On a GPU the search waits for the device at each step; the result is the same without."""
    model = evolve(SMALL, forbidden=5, dtype=dtype, branches=branches)
    sampling = Sampling(guidance=2.0 if branches == 2 else 1.0)
    monkeypatch.setattr(ReferenceModel, "finite_logits", property(lambda self: False))
    searched = decode(model, Strategy(), [CAT, DOG], n=2, sampling=sampling)
    monkeypatch.setattr(ReferenceModel, "finite_logits", property(lambda self: True))
    monkeypatch.setattr("scalingar_fw.decoding.loop.sanitize", None)
    trusted = decode(model, Strategy(), [CAT, DOG], n=2, sampling=sampling)
    for one, other in zip(searched.trajectories, trusted.trajectories, strict=True):
        assert one.tokens.tolist() == other.tokens.tolist()
        assert one.signals["entropy"].tolist() == other.signals["entropy"].tolist()


@pytest.mark.parametrize("branch", [0, 1])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_break_down_later_are_reported_with_step_and_candidate(
    branch: int, temperature: float, bad: float
) -> None:
    def script(prompt: Prompt, tokens: tuple[int, ...]) -> tuple[Row, Row]:
        pair = np.zeros(4), np.zeros(4)
        if len(tokens) == 2:
            pair[branch][1] = bad
        return pair

    expected = "not finite at step 2 of prompt 0, candidate 0: .*Try --dtype float32"
    with pytest.raises(ContractError, match=expected):
        decode(scripted(script), Strategy(), [CAT], n=2, sampling=Sampling(2.0, temperature))


def test_a_row_without_any_permitted_token_is_reported() -> None:
    def script(prompt: Prompt, tokens: tuple[int, ...]) -> tuple[Row, Row]:
        return (np.full(4, -np.inf),) * 2 if len(tokens) == 1 else flat(prompt, tokens)

    with pytest.raises(ContractError, match="at step 1 of prompt 0"):
        decode(scripted(script), Strategy(), [CAT], n=1)


def test_one_sided_infinities_are_floored_and_counted() -> None:
    def script(prompt: Prompt, tokens: tuple[int, ...]) -> tuple[Row, Row]:
        return np.array([0.0, -np.inf, 0.0, -np.inf]), np.array([0.0, 0.0, 0.0, -np.inf])

    result = decode(scripted(script), Strategy(), [CAT], n=3)
    assert result.ledger.floored_logits == 3 * 4
    assert all(set(t.tokens.tolist()) <= {0, 2} for t in result.trajectories)
    assert all(np.isfinite(t.signals["kl"]).all() for t in result.trajectories)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_signals_are_float32_whatever_the_models_dtype(dtype: torch.dtype) -> None:
    for branches, sampling in ((2, Sampling(2.0)), (1, Sampling())):
        model = evolve(SMALL, dtype=dtype, branches=branches)
        result = decode(model, Strategy(), [CAT], n=2, sampling=sampling)
        for t in result.trajectories:
            assert t.signals["entropy_nats"].dtype == np.float32
            rounded = torch.tensor(model.rule(CAT, ())[0], dtype=dtype).double().softmax(0)
            expected = -(rounded * rounded.log()).sum()
            assert t.signals["entropy_nats"][0] == pytest.approx(float(expected), rel=1e-5)


@frozen
class Forced(ReferenceModel):
    """Feeds an end-of-line token after each row of the grid, as Lumina-mGPT does."""

    def calls(self, index: int) -> int:
        return 2 if (index + 1) % self.grid.cols == 0 else 1


def test_forced_tokens_count_as_model_calls_and_rows_but_not_as_tokens() -> None:
    result = decode(Forced(grid=Grid(3, 2)), Strategy(), [CAT], n=2)
    assert result.ledger.tokens == 2 * 6
    assert result.ledger.model_calls == 1 + 5 + 2
    assert result.ledger.decode_rows == 2 * 2 * (5 + 2)


# --- broken components -------------------------------------------------------------------------


@frozen
class Ends(Termination):
    """Ends `whom` of each prompt at `step`."""

    whom: tuple[int, ...] = (0,)
    at: int = 1

    def update(self, state: None, confidence: Confidence, step: Step) -> tuple[Verdict, None]:
        gone = torch.tensor([int(c) in self.whom for c in step.rows.candidate])
        if step.index != self.at:
            gone[:] = False
        return Verdict(gone, reason="step {step}: entropy {entropy:.2f}"), None


def test_a_policy_that_empties_a_prompt_is_named() -> None:
    with pytest.raises(ContractError, match=r"Ends would end the last live candidate of prompt 0"):
        decode(SMALL, Strategy(termination=Ends((0, 1))), [CAT, DOG], n=2)


def test_a_reason_is_written_with_the_values_of_its_step() -> None:
    result = decode(SMALL, Strategy(termination=Ends((1,))), [CAT, DOG], n=2)
    for t in result.trajectories:
        if t.candidate == 0:
            assert t.reason == "decoded to its last token"
        else:
            assert t.status is Status.PRUNED
            assert len(t) == 2
            assert t.reason == f"step 1: entropy {t.signals['entropy'][1]:.2f}"


def test_whoever_leaves_at_the_last_step_was_completed() -> None:
    result = decode(SMALL, Strategy(termination=Ends((0, 1), at=5)), [CAT], n=2)
    assert result.count(Status.COMPLETED) == 2


@frozen
class Fixed(Guidance):
    scale: float = 1.0

    def update(self, state: None, confidence: Confidence, step: Step) -> tuple[Tensor, None]:
        return torch.full((len(step.rows),), self.scale if step.index == 2 else 1.0), None


@pytest.mark.parametrize("scale", [math.nan, math.inf])
def test_a_scale_that_is_not_finite_is_blamed_on_the_guidance(scale: float) -> None:
    with pytest.raises(ContractError, match="guidance scale was not finite at step 2 of prompt 0"):
        decode(SMALL, Strategy(guidance=Fixed(scale)), [CAT], n=2)


@frozen
class Picks(Selector):
    place: int = 0

    def select(self, pool: Pool) -> int:
        return self.place


@pytest.mark.parametrize("place", [-1, 2])
def test_a_selector_out_of_range_is_named(place: int) -> None:
    strategy = Strategy(termination=Ends((0,)), selector=Picks(place))
    with pytest.raises(ContractError, match=f"Picks chose {place} of 2 completed"):
        decode(SMALL, strategy, [CAT], n=3)


# --- selection ---------------------------------------------------------------------------------


@frozen
class ById(ConfidenceEstimator):
    """Confidence grows with the candidate's id, up to a tie."""

    cap: float = 9.0

    def update(self, state: None, signals: Signals, step: Step) -> tuple[Confidence, None]:
        return Confidence.of(step.rows.candidate_id.float().clamp_max(self.cap)), None


def test_only_completed_candidates_can_be_the_answer() -> None:
    strategy = Strategy(
        confidence=ById(), termination=Ends((3,)), selector=FinalConfidence("confidence")
    )
    result = decode(SMALL, strategy, [CAT, DOG], n=4)
    assert [result.answer(p).candidate for p in (0, 1)] == [2, 2]


def test_ties_go_to_the_lower_candidate_id() -> None:
    strategy = Strategy(confidence=ById(cap=1.0), selector=FinalConfidence())
    assert decode(SMALL, strategy, [CAT], n=4).answer().candidate == 1


def test_the_first_completed_candidate_is_the_neutral_answer() -> None:
    strategy = Strategy(termination=Ends((0,)), selector=FirstCandidate())
    assert decode(SMALL, strategy, [CAT], n=3).answer().candidate == 1


@frozen
class Brightest(Selector):
    def select(self, pool: Pool) -> int:
        images = pool.images()
        assert images.dtype == np.uint8
        assert images.shape == (len(pool.candidates), 2, 3, 3)
        return int(images.mean((1, 2, 3)).argmax())


def test_a_selector_may_look_at_the_images() -> None:
    result = decode(SMALL, Strategy(selector=Brightest()), [CAT], n=4)
    means = [t.tokens.mean() for t in result.trajectories]
    assert result.answer().candidate == int(np.argmax(means))


def test_a_pool_of_signals_alone_has_no_images() -> None:
    with pytest.raises(RuntimeError, match="no image decoder"):
        Pool(CAT, [], 0).images()


# --- images and results ------------------------------------------------------------------------


def test_a_pruned_candidate_is_painted_up_to_where_it_was_cut() -> None:
    result = decode(SMALL, Strategy(termination=Ends((1,))), [CAT], n=20)
    images = to_images(SMALL, result.trajectories)
    assert images.shape == (20, 2, 3, 3), "in several parts, all there"
    assert images[1].reshape(6, 3)[2:].max() == 0
    for t, image in zip(result.trajectories, images, strict=True):
        expected = np.round(t.tokens / 15 * 255)
        assert image.reshape(6, 3)[: len(t), 0].tolist() == expected.tolist()


def test_images_are_read_only_and_announced() -> None:
    seen: list[tuple[int, int]] = []

    class Watcher:
        def on_image(self, prompt: int, candidate: int, image: Row) -> None:
            assert image.shape == (2, 3, 3)
            assert not image.flags.writeable
            seen.append((prompt, candidate))

    result = decode(SMALL, Strategy(), [CAT, DOG], n=2)
    to_images(SMALL, result.trajectories, make_hooks([Watcher()]))
    assert seen == [(0, 0), (0, 1), (1, 0), (1, 1)]


@pytest.mark.parametrize("name", ["best-of-n", "beam", "smc", "scalingar"])
def test_an_observer_can_rebuild_every_history_token_by_token(name: str) -> None:
    """`parent` says whose tokens a row continues, so forks need no look at the end's result."""
    histories: dict[tuple[int, int], list[int]] = {}

    class Watcher:
        def on_token(self, event: Any) -> None:
            rows = zip(event.prompt, event.candidate, event.parent, event["token"], strict=True)
            grown = {(p, c): [*histories.get((p, q), []), int(t)] for p, c, q, t in rows}
            histories.update(grown)

    result = decode(
        ReferenceModel(grid=Grid(4, 4)),
        build("strategy", name, default_registry()),
        [CAT, DOG],
        n=4,
        seed=3,
        hooks=make_hooks([Watcher()]),
    )
    # A candidate that was dropped before its first token was never heard of.
    told = {(t.prompt, t.candidate): t.tokens.tolist() for t in result.trajectories if len(t)}
    assert {k: v[: len(told[k])] for k, v in histories.items()} == told


def trajectory(**fields: Any) -> Trajectory:
    values: dict[str, Any] = {
        "prompt": 0,
        "candidate": 0,
        "status": Status.COMPLETED,
        "reason": "",
        "tokens": frozen_array([1, 2]),
        "signals": {"confidence": frozen_array([0.5, 0.75])},
    }
    return Trajectory(**{**values, **fields})


def test_a_trajectory_knows_its_last_values() -> None:
    assert trajectory().final("confidence") == 0.75
    assert math.isnan(trajectory().final("unheard of"))
    assert len(trajectory()) == 2
    assert trajectory().completed
    assert not trajectory(status=Status.PRUNED).completed


def test_recoveries_are_counted_once_where_histories_are_shared() -> None:
    flags = frozen_array([np.nan, 1.0, 0.0, 1.0])
    both = [
        trajectory(signals={"recovered": flags}),
        trajectory(candidate=1, parent=0, forked_at=2, signals={"recovered": flags}),
        trajectory(candidate=2),
    ]
    result = evolve(decode(SMALL, Strategy(), [CAT], n=1), trajectories=both)
    assert result.recoveries == 3


def test_every_status_has_its_sentence() -> None:
    assert all(status.sentence for status in Status)
    assert Status("pruned") is Status.PRUNED


def test_results_refuse_to_be_written() -> None:
    result = decode(SMALL, Strategy(), [CAT], n=2)
    with pytest.raises(ValueError, match="read-only"):
        result.answer().tokens[0] = 3
    with pytest.raises(ValueError, match="read-only"):
        result.answer().signals["entropy"][0] = 3
    with pytest.raises(TypeError):
        result.chosen[0] = 1  # type: ignore[index]
    with pytest.raises(AttributeError):
        result.n = 3  # type: ignore[misc]


def test_the_countable_part_of_the_ledger_leaves_the_machine_out() -> None:
    ledger = decode(SMALL, Strategy(), [CAT], n=2).ledger
    assert set(ledger.counts()) == {
        "tokens", "prefill_rows", "decode_rows", "scored_rows", "model_calls", "floored_logits",
    }  # fmt: skip
    assert set(ledger.seconds) == {"encode", "prefill", "policy", "model", "select"}
    assert ledger.peak_bytes > 1 << 20
