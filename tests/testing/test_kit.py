"""The kit's own promises: readable checks, structured results, declared failures, lazy imports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from scalingar_fw.decoding.components import ConfidenceEstimator
from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.signals import sanitize
from scalingar_fw.decoding.strategy import ConstantGuidance, Multinomial, NoConfidence, Strategy
from scalingar_fw.errors import ScalingarError
from scalingar_fw.testing import CATALOGUE, Case, check_component, checks_for, replay
from scalingar_fw.testing import generators as gen
from scalingar_fw.testing.cases import LOGIT_KINDS, World
from scalingar_fw.testing.drawing import surprise


@frozen
class Noisy(ConfidenceEstimator):
    """Breaks one contract by design and says so."""

    expected_failures = {"confidence-global-randomness": "dropout is the point here"}

    def update(self, state: Any, signals: Any, step: Any) -> Any:
        torch.rand(1)
        return Confidence.of(signals.margin), state


def test_every_check_is_a_sentence_with_a_reason() -> None:
    checks_for(NoConfidence())
    for one in CATALOGUE.values():
        assert one.title.endswith(".") and len(one.title) < 120, one.id
        assert len(one.why) > 40, one.id
        assert one.id.startswith(one.kind + "-")


def test_the_catalogue_covers_every_kind() -> None:
    checks_for(NoConfidence())
    found: dict[str, int] = {}
    for one in CATALOGUE.values():
        found[one.kind] = found.get(one.kind, 0) + 1
    assert found == {
        "confidence": 22,
        "guidance": 21,
        "termination": 27,
        "sampler": 26,
        "selector": 11,
        "reward": 11,
        "strategy": 11,
        "observer": 5,
    }


def test_every_check_says_where_the_documentation_says_it() -> None:
    checks_for(NoConfidence())
    for one in CATALOGUE.values():
        page, _, heading = one.documented.partition("#")
        text = (Path(__file__).parents[2] / page).read_text(encoding="utf-8")
        assert heading == "the-contract" and "\n## The contract\n" in text, one.id


def test_former_names_of_checks_are_still_understood(tmp_path: Path) -> None:
    """In `only`, in declarations of third parties, and in counter-examples that were written."""
    [bound] = checks_for(NoConfidence(), only=["estimator-finite"])
    assert bound.id == "confidence-finite"
    given = checks_for(
        Strategy(), expected_failures={"confidence.estimator-device": "old"}, examples=0
    )
    assert {b.id for b in given if b.expected} == {"confidence.confidence-device"}
    old = {"check": "estimator-finite", "case": Case().to_data()}
    (tmp_path / "old.json").write_text(json.dumps(old))
    outcome = replay(NoConfidence(), tmp_path / "old.json")
    assert (outcome.id, outcome.status) == ("confidence-finite", "passed")


def test_a_declared_failure_is_expected_and_carries_its_reason(tmp_path: Path) -> None:
    name = "confidence-global-randomness"
    [outcome] = check_component(Noisy(), only=[name], folder=tmp_path)
    assert outcome.status == "expected-failure"
    assert outcome.ok
    assert outcome.message.startswith("dropout is the point here (Noisy draws from the global")
    assert list(tmp_path.iterdir()) == []


def test_a_declared_failure_that_passes_is_a_failure(tmp_path: Path) -> None:
    name = "guidance-bounds"
    [outcome] = check_component(
        ConstantGuidance(), only=[name], expected_failures={name: "for ever"}, examples=3
    )
    assert outcome.status == "failed"
    assert "declared as an expected failure (for ever), but it passes" in outcome.message


def test_a_contract_that_does_not_apply_is_skipped_with_the_reason() -> None:
    [outcome] = check_component(Multinomial(), only=["sampler-fork-noise"], examples=5)
    assert (outcome.status, outcome.message) == ("skipped", "nothing was forked")


def test_a_strategy_is_checked_with_its_parts() -> None:
    ids = [str(b) for b in checks_for(Strategy())]
    assert "strategy-ledger" in ids
    assert "termination.termination-keeps-one" in ids
    assert len(ids) == len(set(ids))


def test_what_can_not_be_checked_is_refused_in_words() -> None:
    with pytest.raises(ScalingarError, match=r"NoConfidence is a class: give an object"):
        checks_for(NoConfidence)
    with pytest.raises(ScalingarError, match="is nothing that can be checked"):
        checks_for(3)
    with pytest.raises(ScalingarError, match="Did you mean 'confidence-finite'"):
        checks_for(NoConfidence(), only=["confidence-finit"])


def test_a_bound_check_raises_in_a_test_with_everything_one_needs(tmp_path: Path) -> None:
    @frozen
    class Bad(ConfidenceEstimator):
        def update(self, state: Any, signals: Any, step: Any) -> Any:
            return Confidence.of(signals.margin * float("nan")), state

    [bound] = checks_for(Bad(), only=["confidence-finite"], folder=tmp_path)
    with pytest.raises(AssertionError) as caught:
        bound()
    message = str(caught.value)
    assert "must be finite" in message
    assert "The contract: Confidences are finite" in message
    assert "One NaN makes every comparison false" in message
    assert f"At {Path(__file__).name}" in message.replace(
        str(Path(__file__).parent) + "/", ""
    ).replace("tests/testing/", "")
    assert "See docs/write/confidence.md#the-contract" in message
    path = Path(message.rsplit("Counter-example: ", 1)[1])
    case = Case.from_data(json.loads(path.read_text())["case"])
    assert (case.n, case.prompts, case.material, case.moves) == (1, 1, (0,), ()), "shrunk"


def test_without_hypothesis_the_reference_model_works_and_the_extra_is_named() -> None:
    program = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "import scalingar_fw.testing as t\n"
        "t.ReferenceModel()\n"
        "from scalingar_fw.decoding.strategy import NoConfidence\n"
        "for ask in (lambda: t.checks_for(NoConfidence()), lambda: t.generators):\n"
        "    try: ask()\n"
        "    except ValueError as error: print(error)\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert out.stdout.count("pip install 'scalingar-fw[testing]'") == 2


# --- what the strategies generate --------------------------------------------------------------


@settings(max_examples=30)
@given(gen.logits())
def test_logits_are_what_components_get(logits: Any) -> None:
    assert logits.cond.dtype is torch.float32
    permitted = logits.permitted
    if permitted is None:
        permitted = torch.ones_like(logits.cond, dtype=torch.bool)
    assert bool(permitted.any(-1).all())
    assert torch.equal(torch.isfinite(logits.cond), permitted)
    assert torch.equal(torch.isfinite(logits.uncond), permitted)


@settings(max_examples=30)
@given(gen.raw_logits())
def test_raw_logits_are_what_models_give(pair: Any) -> None:
    clean, _ = sanitize(*pair, None)
    assert not bool(torch.isnan(clean.cond).any())


def test_every_kind_of_logits_occurs() -> None:
    """Vocabulary 1, ties, one-hot, uniform, huge, masked, half precision: all within reach."""
    for kind in range(len(LOGIT_KINDS)):
        for vocab in (1, 2, 7):
            world = World(Case(vocab=vocab, n=3, material=(kind,), dtype="float16"))
            logits = world.logits(world.start(), 1)
            assert logits.cond.shape == (3, vocab)
            reach = logits.cond if logits.permitted is None else logits.cond[logits.permitted]
            assert bool(torch.isfinite(reach).all())


@settings(max_examples=20)
@given(gen.cases())
def test_a_case_is_plain_data(case: Case) -> None:
    assert Case.from_data(json.loads(json.dumps(case.to_data()))) == case


@settings(max_examples=20)
@given(gen.cases(), st.integers(0, 3))
def test_what_a_candidate_sees_depends_neither_on_its_row_nor_on_its_company(
    case: Case, candidate: int
) -> None:
    world, alone = World(case), World(case, subset=(case.prompts - 1,))
    rows = world.start()
    at = case.turn % case.total
    mine = torch.from_numpy((rows.prompt == case.prompts - 1).nonzero()[0])
    assert torch.equal(world.logits(rows, at).cond[mine], alone.logits(alone.start(), at).cond)
    flipped = rows.take(torch.arange(len(rows)).flip(0))
    assert torch.equal(
        world.confidence(rows, at).value.flip(0), world.confidence(flipped, at).value
    )


def test_the_chi_square_statistic_knows_right_from_wrong() -> None:
    p = torch.tensor([0.5, 0.25, 0.125, 0.125], dtype=torch.float64)
    right = torch.tensor([2060.0, 1010.0, 520.0, 506.0], dtype=torch.float64)
    wrong = torch.tensor([1024.0, 1024.0, 1024.0, 1024.0], dtype=torch.float64)
    assert abs(surprise(right, p)) < 3
    assert surprise(wrong, p) > 20
    assert surprise(torch.tensor([4096.0]), torch.tensor([1.0], dtype=torch.float64)) == 0.0
