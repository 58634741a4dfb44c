"""What used to give an answer that nobody meant, without a word: now another one, a warning, or an
error that names who gave it."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from attrs import evolve, frozen

import scalingar_fw as sar
from scalingar_fw.config.run_config import RunConfig
from scalingar_fw.decoding.strategy import FinalConfidence, Multinomial
from scalingar_fw.errors import ContractError, ResultWarning, ScalingarError
from scalingar_fw.testing import ReferenceModel

MODEL = ReferenceModel()


def made(prompts: Any, **asked: Any) -> Any:
    asked = {"model": MODEL, "strategy": sar.Strategy("one", default_n=1), **asked}
    return sar.generate(prompts, **asked)


def tokens(run: Any) -> list[list[int]]:
    return [c.tokens.tolist() for c in run.candidates]


# --- the same prompt twice -----------------------------------------------------------------------


def test_an_equal_prompt_is_another_picture_and_each_can_be_made_again_alone() -> None:
    first, other, second, third = made(["a", "b", "a", "a"], seed=3)
    assert len({tuple(tokens(r)[0]) for r in (first, second, third)}) == 3
    for run in (first, other, second, third):
        alone = made(run.prompt, seed=run.config.seed)
        assert tokens(alone) == tokens(run)
    assert tokens(made("a", seed=3)) == tokens(first), "the first one is what it always was"


def test_how_prompts_share_batches_changes_no_repeated_one() -> None:
    prompts = ["a", "a", "b", "a"]
    one, all_ = (made(prompts, batch=batch) for batch in (1, 4))
    assert [tokens(r) for r in one] == [tokens(r) for r in all_]


def test_a_run_of_repeated_prompts_has_an_identity_of_its_own_and_its_file_makes_it_again() -> None:
    run = made(["a", "a"])[0].run
    text = run.to_yaml()
    assert RunConfig.from_yaml(text).key() == run.key()
    again = made(["a", "a"], seed=yaml.safe_load(text)["seed"])
    assert tokens(again[1]) == tokens(made(["a", "a"])[1])


def test_another_negative_text_is_another_prompt() -> None:
    from scalingar_fw.decoding.noise import REPLICA_STEP, Prompt, seeds_apart

    same, other = Prompt("a"), Prompt("a", negative="b")
    assert seeds_apart(5, [same, other, same]) == (5, 5, 5 + REPLICA_STEP)
    with pytest.raises(ScalingarError, match="too large for repeated prompts"):
        seeds_apart(2**64 - 1, [same, same])
    assert seeds_apart(2**64 - 1, [same, other]) == (2**64 - 1,) * 2


# --- nothing is drawn ----------------------------------------------------------------------------


def test_candidates_that_would_all_be_the_same_are_decoded_once_and_said_so() -> None:
    strategy = sar.Strategy("best", selector=FinalConfidence())
    with pytest.warns(ResultWarning, match="n=8, but nothing is drawn at temperature=0"):
        run = made("a", strategy=strategy, n=8, temperature=0)
    assert len(run.candidates) == 1 and run.config.n == 1
    assert run.ledger.tokens == MODEL.grid.size
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alone = made("a", strategy=strategy, n=1, temperature=0)
    assert tokens(alone) == tokens(run)


@frozen
class DrawsAnyway(Multinomial):
    def propose(self, state: Any, guided: Any, confidence: Any, step: Any, sampling: Any) -> Any:
        warm = evolve(sampling, temperature=1.0)
        return super().propose(state, guided, confidence, step, warm)


@pytest.mark.parametrize(
    ("strategy", "temperature"),
    [(sar.Strategy("warm"), 0.5), (sar.Strategy("own", sampler=DrawsAnyway()), 0.0)],
)
def test_candidates_that_differ_are_all_decoded(strategy: Any, temperature: float) -> None:
    run = made("a", strategy=strategy, n=4, temperature=temperature)
    assert len({tuple(t) for t in tokens(run)}) > 1


# --- numbers that are none -----------------------------------------------------------------------


def broken(value: Any) -> Any:
    @frozen
    class Broken(sar.ConfidenceEstimator[None]):
        def update(self, state: None, signals: Any, step: Any) -> Any:
            rows = len(step.rows)
            made = value(rows) if callable(value) else torch.full((rows,), value)
            return sar.Confidence.of(made), None

    return Broken()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("selector", [FinalConfidence(), None])
def test_a_confidence_that_is_no_number_is_named_without_checks(bad: float, selector: Any) -> None:
    parts = {} if selector is None else {"selector": selector}
    strategy = sar.Strategy("broken", confidence=broken(bad), **parts)
    with pytest.raises(ContractError, match="confidence was not finite at step 0"):
        made("a", strategy=strategy, n=2)


@pytest.mark.parametrize(
    "value",
    [
        lambda n: torch.zeros(n + 1),
        lambda n: torch.zeros(1),
        lambda n: torch.zeros(n, 1),
        lambda n: torch.zeros(n, dtype=torch.int64),
        lambda n: torch.zeros(n, dtype=torch.bool),
        lambda n: torch.tensor(0.5),
    ],
)
def test_a_confidence_of_another_length_or_type_is_named_without_checks(value: Any) -> None:
    with pytest.raises(ContractError, match="Broken gave a confidence of shape"):
        made("a", strategy=sar.Strategy("broken", confidence=broken(value)), n=3)


def broken_scale(value: Any) -> Any:
    @frozen
    class BrokenScale(sar.Guidance[None]):
        def update(self, state: None, confidence: Any, step: Any) -> Any:
            return value(len(step.rows)), None

    return BrokenScale()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (lambda n: torch.full((n,), float("nan")), "guidance scale was not finite"),
        (lambda n: torch.ones(1), "BrokenScale gave a guidance scale of shape"),
        (lambda n: 2.0, "BrokenScale gave a guidance scale of shape None and type float"),
        (lambda n: torch.ones(n, dtype=torch.int64), "torch.int64"),
    ],
)
def test_a_guidance_scale_that_is_none_is_named_without_checks(value: Any, said: str) -> None:
    with pytest.raises(ContractError, match=said):
        made("a", strategy=sar.Strategy("broken", guidance=broken_scale(value)), n=3)


def picking(pick: Any) -> Any:
    @frozen
    class Picks(sar.Selector):
        def select(self, pool: Any) -> Any:
            return pick

    return Picks()


@pytest.mark.parametrize("pick", [float("nan"), 1.0, None, True, -1, 3, "0", np.float64(0), [0]])
def test_a_choice_that_is_no_place_is_named_without_checks(pick: Any) -> None:
    with pytest.raises(ContractError, match="Picks chose"):
        made("a", strategy=sar.Strategy("broken", selector=picking(pick)), n=3)


@pytest.mark.parametrize("pick", [1, np.int64(1), torch.tensor(1)])
def test_a_choice_in_any_form_of_a_whole_number_is_taken(pick: Any) -> None:
    run = made("a", strategy=sar.Strategy("fine", selector=picking(pick)), n=3)
    assert run.answer.id == 1


# --- what a loader does not take -----------------------------------------------------------------


def load_without_dtype(*, device: Any) -> ReferenceModel:
    return ReferenceModel(device=torch.device(device))


def test_the_configuration_of_a_loader_without_a_dtype_can_be_run_again() -> None:
    registry = sar.load_registry([])
    registry.add("model", "bare", load_without_dtype)
    first = made("a", model="bare", registry=registry)
    config = RunConfig.from_yaml(first.config.to_yaml())
    again = sar.generate(
        "a",
        model="bare",
        registry=registry,
        dtype=config.dtype,
        n=1,
        strategy=sar.Strategy("one", default_n=1),
    )
    assert tokens(again) == tokens(first)
    with pytest.raises(ScalingarError, match="is float32 and takes no other: leave --dtype out"):
        made("a", model="bare", registry=registry, dtype="bfloat16")
