"""What holds for every registered strategy: prompts apart, ledgers that add up, names, settings."""

from __future__ import annotations

import pytest
import torch
from attrs import evolve

from scalingar_fw.decoding.loop import decode
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.result import Decoded
from scalingar_fw.decoding.state import Grid
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.errors import ScalingarError
from scalingar_fw.registry import default_registry
from scalingar_fw.testing import ReferenceModel

MODEL = ReferenceModel(vocab_size=9, grid=Grid(4, 4), forbidden=3)
PROMPTS = [Prompt("a"), Prompt("b"), Prompt("c")]
NAMES = sorted(
    e.name for e in default_registry().of_kind("strategy") if e.package == "scalingar-fw"
)
BLIND = [name for name in NAMES if name != "best-of-n-oracle"]  # it needs pictures of its domain


def made(name: str) -> Strategy:
    strategy = default_registry().get("strategy", name)()
    assert isinstance(strategy, Strategy)
    return strategy


def rows(result: Decoded, prompt: int) -> list[tuple[int, str, list[int]]]:
    return [(t.candidate, t.status.value, t.tokens.tolist()) for t in result.of_prompt(prompt)]


@pytest.mark.parametrize("name", NAMES)
def test_a_strategy_bears_the_name_it_is_registered_under(name: str) -> None:
    assert made(name).name == name


def test_only_the_oracle_is_labelled_as_one() -> None:
    assert [n for n in NAMES if made(n).oracle] == ["best-of-n-oracle"]
    assert made("best-of-n-oracle").label == "best-of-n-oracle (oracle)"


@pytest.mark.parametrize("name", BLIND)
def test_a_prompts_candidates_do_not_depend_on_its_company(name: str) -> None:
    strategy = made(name)
    together = decode(MODEL, strategy, PROMPTS, seed=1)
    for number, prompt in enumerate(PROMPTS):
        alone = decode(MODEL, strategy, [prompt], seed=1)
        assert rows(together, number) == rows(alone, 0)
        assert together.answer(number).candidate == alone.answer().candidate


@pytest.mark.parametrize("name", BLIND)
def test_the_ledger_is_the_sum_of_what_the_candidates_cost(name: str) -> None:
    result = decode(MODEL, made(name), PROMPTS, seed=2)
    own = sum(len(t) - t.forked_at for t in result.trajectories)
    assert result.ledger.tokens == own
    assert own <= len(PROMPTS) * result.n * MODEL.grid.size
    for t in result.trajectories:
        assert set(t.tokens.tolist()) <= permitted(result.prompts[t.prompt])


def permitted(prompt: Prompt) -> set[int]:
    start = prompt.key % MODEL.vocab_size
    return set(range(MODEL.vocab_size)) - {(start + k) % MODEL.vocab_size for k in range(3)}


@pytest.mark.parametrize("name", BLIND)
def test_a_decode_reads_no_global_randomness_and_repeats_itself(name: str) -> None:
    torch.manual_seed(5)
    one = decode(MODEL, made(name), PROMPTS[:1], seed=3)
    torch.manual_seed(6)
    two = decode(MODEL, made(name), PROMPTS[:1], seed=3)
    assert rows(one, 0) == rows(two, 0)
    assert one.chosen == two.chosen


@pytest.mark.parametrize("name", BLIND)
def test_a_vocabulary_of_one_token_is_no_special_case(name: str) -> None:
    model = ReferenceModel(vocab_size=1, grid=Grid(3, 3))
    strategy = made(name)
    if name == "diverse-beam":
        with pytest.raises(ScalingarError, match="needs at least as many beams"):
            decode(model, strategy, PROMPTS[:1], n=1)
        strategy = evolve(strategy, sampler=evolve(strategy.sampler, groups=1))  # type: ignore[misc]
    result = decode(model, strategy, PROMPTS, n=2)
    assert all(result.answer(p).tokens.tolist() == [0] * 9 for p in range(3))
