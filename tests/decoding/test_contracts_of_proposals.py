"""What the loop promises to samplers that name parents, to policies with several reasons, and to
selectors that need a signal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from attrs import evolve, frozen
from torch import Tensor

from scalingar_fw.decoding.components import (
    Context,
    Pool,
    Sampler,
    Selector,
    Step,
    Termination,
    Verdict,
)
from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.loop import decode
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.result import Status
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.signals import Guided
from scalingar_fw.decoding.state import Proposal
from scalingar_fw.decoding.strategy import FinalConfidence, Strategy
from scalingar_fw.errors import ScalingarError
from scalingar_fw.testing import ReferenceModel

CAT = Prompt("a cat")


@frozen
class ForkAll(Sampler):
    """Every row twice; remembers the sum of its own tokens."""

    def init(self, context: Context) -> Tensor:
        return torch.zeros(len(context.rows))

    def propose(
        self, state: Tensor, guided: Guided, confidence: Confidence, step: Step, sampling: Sampling
    ) -> tuple[Proposal, Tensor]:
        parent = torch.arange(len(state)).repeat_interleave(2)
        token = torch.arange(len(parent)) % guided.logits.shape[1]
        total = state[parent] + token
        return Proposal(token, parent=parent, trace={"total": total}), total


def test_a_samplers_memory_after_a_fork_is_the_childrens() -> None:
    model = evolve(ReferenceModel(), vocab_size=8, grid=evolve(ReferenceModel().grid, rows=1))
    result = decode(model, Strategy(sampler=ForkAll()), [CAT], n=1)
    for trajectory in result.trajectories:
        assert trajectory.final("total") == trajectory.tokens.sum()


@frozen
class TwoReasons(Termination):
    """Candidate 0 is out of budget at step 1, candidate 1 pruned at the same step."""

    def update(self, state: None, confidence: Confidence, step: Step) -> tuple[Verdict, None]:
        if step.index != 1:
            return Verdict(), None
        ids = step.rows.candidate_id
        spent = Verdict(ids == 0, Status.OUT_OF_BUDGET, "spent at step {step}")
        return Verdict(ids <= 1, reason="worse", exceptions=(spent,)), None


def test_one_step_may_end_rows_for_different_reasons() -> None:
    result = decode(ReferenceModel(), Strategy(termination=TwoReasons()), [CAT], n=3)
    ends = [(t.status, t.reason) for t in result.trajectories]
    assert ends[:2] == [(Status.OUT_OF_BUDGET, "spent at step 1"), (Status.PRUNED, "worse")]
    assert ends[2][0] is Status.COMPLETED


def test_a_selector_without_its_signal_is_refused_after_one_token() -> None:
    with pytest.raises(ScalingarError, match="reads the signal 'beauty', which no component"):
        decode(ReferenceModel(), Strategy(selector=FinalConfidence("beauty")), [CAT], n=2)


@frozen
class Refuses(Selector):
    @property
    def requires(self) -> Mapping[str, str]:
        return {}

    def init(self, context: Context) -> Any:
        raise ScalingarError("not like this")

    def select(self, pool: Pool) -> int:
        return 0


def test_a_selector_may_refuse_its_settings_before_the_first_token() -> None:
    with pytest.raises(ScalingarError, match="not like this"):
        decode(ReferenceModel(), Strategy(selector=Refuses()), [CAT], n=2)


@frozen
class Peeks(Refuses):
    def init(self, context: Context) -> Any:
        return None

    @property
    def oracle(self) -> bool:
        return True


def test_a_strategy_that_looks_at_the_answer_says_so_in_its_label() -> None:
    assert Strategy("best", selector=Peeks()).label == "best (oracle)"
    assert Strategy("best").label == "best"


@frozen
class KeepOne(Sampler):
    """The first row alone, from the first step on."""

    def propose(
        self, state: None, guided: Guided, confidence: Confidence, step: Step, sampling: Sampling
    ) -> tuple[Proposal, None]:
        return Proposal(torch.zeros(1, dtype=torch.int64), parent=torch.tensor([0])), None


def test_a_row_that_is_dropped_before_its_first_token_comes_out_without_tokens() -> None:
    result = decode(ReferenceModel(), Strategy(sampler=KeepOne()), [CAT], n=3)
    assert [t.candidate for t in result.trajectories] == [0, 1, 2]
    assert [len(t) for t in result.trajectories] == [16, 0, 0]
    assert [t.status for t in result.trajectories[1:]] == [Status.DROPPED] * 2
    columns = [list(t.signals) for t in result.trajectories]
    assert columns[1] == columns[2] == columns[0]
    assert result.ledger.tokens == 16
