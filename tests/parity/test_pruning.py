"""On real architectures: pruned, forked and chunked candidates are those of a plain run."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from attrs import frozen

from scalingar_fw.decoding.components import Sampler, Step, Termination, Verdict
from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.loop import decode
from scalingar_fw.decoding.memory_budget import Cost
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.result import Decoded
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.signals import Guided
from scalingar_fw.decoding.state import Proposal
from scalingar_fw.decoding.strategy import Multinomial, Strategy
from scalingar_plugins.models import tiny

HF = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="needs the extra hf"
)
TEXTS = [Prompt("a red circle"), Prompt("two green squares left of a blue star")]
CLASSES = [Prompt(class_id=1), Prompt(class_id=4)]
N = 4


@pytest.fixture(
    params=[
        pytest.param((tiny.llamagen_c2i, CLASSES), id="llamagen-c2i"),
        pytest.param((tiny.llamagen_t2i, TEXTS), id="llamagen-t2i"),
        pytest.param((tiny.ar_grpo, TEXTS), id="ar-grpo"),
        pytest.param((tiny.janus, TEXTS), id="janus-pro", marks=HF),
        pytest.param((tiny.emu3, TEXTS), id="emu3", marks=HF),
        pytest.param((tiny.simplear, TEXTS), id="simplear", marks=HF),
        pytest.param((tiny.lumina, TEXTS), id="lumina-mgpt", marks=HF),
    ]
)
def case(request: pytest.FixtureRequest) -> tuple[Any, list[Prompt]]:
    make: Callable[[], Any] = request.param[0]
    return make(), request.param[1]


@frozen
class Scripted(Termination):
    """Ends candidates at the steps of `plan`: (step, prompt, candidate)."""

    plan: tuple[tuple[int, int, int], ...] = ()

    def update(self, state: None, confidence: Confidence, step: Step) -> tuple[Verdict, None]:
        rows = step.rows
        gone = [
            (step.index, int(p), int(c)) in self.plan
            for p, c in zip(rows.prompt, rows.candidate, strict=True)
        ]
        return Verdict(torch.tensor(gone)), None


@frozen
class ForkOnce(Sampler):
    """Multinomial, except that at step `at` every row is continued twice with its own token."""

    at: int = 5

    def propose(
        self, state: None, guided: Guided, confidence: Confidence, step: Step, sampling: Sampling
    ) -> tuple[Proposal, None]:
        proposal, _ = Multinomial().propose(None, guided, confidence, step, sampling)
        if step.index != self.at:
            return proposal, None
        parent = torch.arange(len(guided)).repeat_interleave(2)
        return Proposal(proposal.token[parent], parent=parent), None


def by_name(result: Decoded) -> dict[tuple[int, int], np.ndarray[Any, Any]]:
    return {(t.prompt, t.candidate): t.tokens for t in result.trajectories}


def test_survivors_draw_the_tokens_of_a_run_without_pruning(
    case: tuple[Any, list[Prompt]],
) -> None:
    model, prompts = case
    plan = ((2, 0, 1), (4, 1, 0), (4, 0, 3), (7, 1, 3), (7, 1, 1))
    whole = by_name(decode(model, Strategy(), prompts, n=N, seed=3))
    pruned = by_name(decode(model, Strategy(termination=Scripted(plan)), prompts, n=N, seed=3))
    ended = {(p, c): step + 1 for step, p, c in plan}
    for name, tokens in pruned.items():
        assert len(tokens) == ended.get(name, model.grid.size)
        assert np.array_equal(tokens, whole[name][: len(tokens)])


def test_a_forks_first_branch_draws_the_tokens_of_a_run_without_forking(
    case: tuple[Any, list[Prompt]],
) -> None:
    model, prompts = case
    whole = by_name(decode(model, Strategy(), prompts, n=2, seed=3))
    sampler = ForkOnce()
    forked = decode(model, Strategy(sampler=sampler), prompts, n=2, seed=3)
    assert len(forked.trajectories) == 2 * len(whole)
    for t in forked.trajectories:
        if t.parent is None:
            assert np.array_equal(t.tokens, whole[t.prompt, t.candidate])
        else:
            shared = sampler.at + 1
            assert np.array_equal(t.tokens[:shared], whole[t.prompt, t.parent][:shared])
            assert not np.array_equal(t.tokens, whole[t.prompt, t.parent])


def test_candidates_decoded_in_passes_draw_the_tokens_of_one_batch(
    case: tuple[Any, list[Prompt]],
) -> None:
    model, prompts = case
    budget = len(prompts) * Cost.of(model, Strategy()).bytes(2)
    whole = by_name(decode(model, Strategy(), prompts, n=5, seed=3))
    passes = by_name(decode(model, Strategy(), prompts, n=5, seed=3, max_memory=budget))
    assert list(passes) == list(whole)
    assert all(np.array_equal(passes[name], whole[name]) for name in whole)


def test_the_ledger_counts_forced_tokens_and_pruned_rows() -> None:
    pytest.importorskip("transformers", reason="needs the extra hf")
    model = tiny.emu3(rows=3, cols=4)
    ledger = decode(model, Strategy(), [TEXTS[0]], n=2, seed=1).ledger
    steps = model.grid.size - 1  # nothing is read after the last token
    line_ends = 2  # and neither is the last line's end
    assert ledger.tokens == 2 * model.grid.size
    assert ledger.decode_rows == 2 * 2 * (steps + line_ends)
    assert ledger.model_calls == 1 + steps + line_ends
