"""What holds for every decode, whatever the model, the strategy and the company.

All on the reference model, whose logits are exact functions of one row's history: there, "the
same" means equal to the last bit. Real models round differently with the shape of the batch.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import torch
from attrs import evolve, frozen
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from scalingar_fw.decoding.components import (
    ConfidenceEstimator,
    Guidance,
    Sampler,
    Step,
    Termination,
    Verdict,
)
from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.loop import BoundStrategy, advance, decode, decode_step, retire, start
from scalingar_fw.decoding.noise import EXTRA, Prompt, uniforms
from scalingar_fw.decoding.recorder import Recorder
from scalingar_fw.decoding.result import Decoded, Ledger, Status, Trajectory
from scalingar_fw.decoding.sampling import Sampling, inverse_cdf, truncate
from scalingar_fw.decoding.signals import Guided, Signals
from scalingar_fw.decoding.state import Chosen, Grid, Proposal
from scalingar_fw.decoding.strategy import Multinomial, Strategy
from scalingar_fw.decoding.timing import Clock
from scalingar_fw.hooks import make_hooks
from scalingar_fw.testing import ReferenceModel

# --- components that make mistakes visible -----------------------------------------------------


@frozen
class Memory(ConfidenceEstimator):
    """Confidence is the sum of a row's guided log-probabilities and an EMA of its entropy: wrong
    as soon as memory and history part ways."""

    def init(self, context: Any) -> dict[str, Tensor]:
        return {"sum": context.full(0.0), "ema": context.full(0.0)}

    def update(
        self, state: dict[str, Tensor], signals: Signals, step: Step
    ) -> tuple[Confidence, dict[str, Tensor]]:
        ema = 0.5 * state["ema"] + 0.5 * signals.entropy
        return Confidence.of(ema), {"sum": state["sum"], "ema": ema}

    def commit(
        self, state: dict[str, Tensor], confidence: Confidence, chosen: Chosen, step: Step
    ) -> tuple[Confidence, dict[str, Tensor]]:
        total = state["sum"] + chosen.log_prob_guided
        return evolve(confidence, signals={"sum": total}), {"sum": total, "ema": state["ema"]}


@frozen
class Wavering(Guidance):
    """A scale that follows each row's own confidence."""

    def update(self, state: None, confidence: Confidence, step: Step) -> tuple[Tensor, None]:
        return 1.0 + 2.0 * confidence.value, None


@frozen
class RandomPruning(Termination):
    """Ends each candidate with probability `rate` at each step, but never a prompt's last one."""

    rate: float = 0.1
    key: int = 0

    def update(self, state: None, confidence: Confidence, step: Step) -> tuple[Verdict, None]:
        rows = step.rows
        lots = [
            uniforms(self.key, step.prompts[p], int(c), step.index + 1, EXTRA)[-1]
            for p, c in zip(rows.prompt, rows.candidate, strict=True)
        ]
        gone = np.array(lots) < self.rate
        for prompt in np.unique(rows.prompt):
            mine = np.flatnonzero(rows.prompt == prompt)
            if gone[mine].all():
                gone[mine[np.argmin(rows.candidate[mine])]] = False
        return Verdict(torch.from_numpy(gone), reason="unlucky at step {step}"), None


@frozen
class Resampling(Sampler):
    """Continues random rows of each prompt, sometimes more and sometimes fewer than before."""

    key: int = 0

    def propose(
        self, state: None, guided: Guided, confidence: Confidence, step: Step, sampling: Sampling
    ) -> tuple[Proposal, None]:
        rng = np.random.default_rng([self.key, step.index])
        parents: list[int] = []
        for prompt in np.unique(step.rows.prompt):
            mine = np.flatnonzero(step.rows.prompt == prompt)
            parents += rng.choice(mine, size=rng.integers(1, 7)).tolist()
        parent = torch.tensor(rng.permutation(parents))
        log_p = torch.log_softmax(truncate(guided.logits, sampling), -1)[parent]
        token = inverse_cdf(log_p.exp(), step.noise_for(parent))
        return Proposal(token, parent=parent), None


@frozen
class Shuffling(Sampler):
    """Plain sampling, after which the rows change places."""

    key: int = 0

    def propose(
        self, state: None, guided: Guided, confidence: Confidence, step: Step, sampling: Sampling
    ) -> tuple[Proposal, None]:
        plain, _ = Multinomial().propose(None, guided, confidence, step, sampling)
        order = np.random.default_rng([self.key, step.index]).permutation(len(step.rows))
        parent = torch.from_numpy(order)
        return Proposal(plain.token[parent], parent=parent), None


FREE = Strategy(confidence=Memory(), guidance=Wavering())  # no row looks at another one

PROMPTS = [Prompt("a cat"), Prompt("a dog"), Prompt("a red cube"), Prompt(class_id=7)]

models = st.builds(
    ReferenceModel,
    vocab_size=st.integers(1, 20),
    grid=st.builds(Grid, st.integers(1, 4), st.integers(1, 4)),
    sharpness=st.sampled_from([0.0, 1.0, 5.0]),
).flatmap(
    lambda m: st.builds(
        lambda forbidden: evolve(m, forbidden=forbidden), st.integers(0, m.vocab_size - 1)
    )
)
samplings = st.builds(
    Sampling,
    guidance=st.just(2.0),
    temperature=st.sampled_from([0.0, 0.7, 1.0]),
    top_k=st.sampled_from([0, 3]),
    top_p=st.sampled_from([0.8, 1.0]),
)
seeds = st.integers(0, 2**64 - 1)
widths = st.integers(1, 6)


def same(one: Trajectory, other: Trajectory, upto: int | None = None) -> bool:
    """Equal tokens and signals, bit for bit (NaN is equal to NaN)."""
    mine, others = {"token": one.tokens, **one.signals}, {"token": other.tokens, **other.signals}
    return list(mine) == list(others) and all(
        np.array_equal(mine[k][:upto], others[k][:upto], equal_nan=mine[k].dtype.kind == "f")
        for k in mine
    )


def assert_same(one: list[Trajectory], other: list[Trajectory]) -> None:
    assert [(t.candidate, t.status, t.reason, t.parent, t.forked_at) for t in one] == [
        (t.candidate, t.status, t.reason, t.parent, t.forked_at) for t in other
    ]
    assert all(same(a, b) for a, b in zip(one, other, strict=True))


# --- independence ------------------------------------------------------------------------------


@settings(max_examples=20)
@given(models, samplings, seeds, widths, widths)
def test_fewer_candidates_are_a_prefix_of_more(
    model: ReferenceModel, sampling: Sampling, seed: int, few: int, more: int
) -> None:
    prompts = PROMPTS[:2]
    small = decode(model, FREE, prompts, n=few, seed=seed, sampling=sampling)
    large = decode(model, FREE, prompts, n=few + more, seed=seed, sampling=sampling)
    for number in range(len(prompts)):
        assert_same(small.of_prompt(number), large.of_prompt(number)[:few])


@settings(max_examples=20)
@given(models, samplings, seeds, widths, st.floats(0.0, 0.5), st.integers(0, 99))
def test_a_candidates_tokens_do_not_depend_on_who_was_pruned(
    model: ReferenceModel, sampling: Sampling, seed: int, n: int, rate: float, key: int
) -> None:
    pruning = evolve(FREE, termination=RandomPruning(rate, key))
    whole = decode(model, FREE, PROMPTS[:2], n=n, seed=seed, sampling=sampling)
    pruned = decode(model, pruning, PROMPTS[:2], n=n, seed=seed, sampling=sampling)
    for one, other in zip(pruned.trajectories, whole.trajectories, strict=True):
        assert same(one, other, upto=len(one))


def test_the_pruning_of_the_test_above_really_prunes() -> None:
    result = decode(
        ReferenceModel(), evolve(FREE, termination=RandomPruning(0.1)), PROMPTS[:2], n=8
    )
    assert 4 <= result.count(Status.PRUNED) <= 14
    assert len({len(t) for t in result.trajectories}) > 3
    assert result.trajectories[0].reason.startswith(("unlucky at step ", "decoded to its last"))


@settings(max_examples=20)
@given(
    models,
    samplings,
    seeds,
    widths,
    st.lists(st.integers(0, 3), min_size=1, max_size=4, unique=True),
)
def test_a_prompts_result_depends_neither_on_its_company_nor_on_the_order(
    model: ReferenceModel, sampling: Sampling, seed: int, n: int, company: list[int]
) -> None:
    pruning = evolve(FREE, termination=RandomPruning())
    together = decode(
        model, pruning, [PROMPTS[i] for i in company], n=n, seed=seed, sampling=sampling
    )
    for place, i in enumerate(company):
        alone = decode(model, pruning, [PROMPTS[i]], n=n, seed=seed, sampling=sampling)
        assert_same(together.of_prompt(place), alone.of_prompt(0))
        assert together.answer(place).candidate == alone.answer().candidate


@settings(max_examples=20)
@given(models, seeds, seeds)
def test_the_same_prompt_twice_is_two_draws_with_two_seeds(
    model: ReferenceModel, one: int, other: int
) -> None:
    both = decode(model, FREE, [PROMPTS[0], PROMPTS[0]], n=2, seed=[one, other])
    for place, seed in enumerate((one, other)):
        assert_same(
            both.of_prompt(place),
            decode(model, FREE, [PROMPTS[0]], n=2, seed=seed).of_prompt(0),
        )


@settings(max_examples=20)
@given(models, samplings, seeds, widths, st.integers(0, 99))
def test_rows_that_change_places_change_nothing(
    model: ReferenceModel, sampling: Sampling, seed: int, n: int, key: int
) -> None:
    pruning = evolve(FREE, termination=RandomPruning())
    shuffled = evolve(pruning, sampler=Shuffling(key))
    still = decode(model, pruning, PROMPTS[:2], n=n, seed=seed, sampling=sampling)
    moved = decode(model, shuffled, PROMPTS[:2], n=n, seed=seed, sampling=sampling)
    assert_same(list(still.trajectories), list(moved.trajectories))
    assert still.chosen == moved.chosen
    assert still.ledger.counts() == moved.ledger.counts()


class Nosy:
    """An observer that reads everything it is given."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def on_decode_start(self, event: Any) -> None:
        self.heard.append(event)

    def on_token(self, event: Any) -> None:
        self.heard.append({name: event[name].tolist() for name in event})

    def on_candidate_end(self, event: Any) -> None:
        self.heard.append(event)

    def on_decode_end(self, result: Any) -> None:
        self.heard.append(result)


@settings(max_examples=20)
@given(models, samplings, seeds, widths)
def test_observers_change_nothing(
    model: ReferenceModel, sampling: Sampling, seed: int, n: int
) -> None:
    strategy = evolve(FREE, termination=RandomPruning())
    alone = decode(model, strategy, PROMPTS[:2], n=n, seed=seed, sampling=sampling)
    nosy = Nosy()
    seen = decode(
        model,
        strategy,
        PROMPTS[:2],
        n=n,
        seed=seed,
        sampling=sampling,
        hooks=make_hooks([nosy, Nosy()]),
    )
    assert len(nosy.heard) == 2 + model.grid.size + 2 * n
    assert_same(list(alone.trajectories), list(seen.trajectories))
    assert alone.chosen == seen.chosen
    assert alone.ledger.counts() == seen.ledger.counts()


@settings(max_examples=20)
@given(models, seeds)
def test_a_seed_means_the_same_result_every_time(model: ReferenceModel, seed: int) -> None:
    one, other = (decode(model, FREE, PROMPTS[:1], n=3, seed=seed) for _ in range(2))
    assert_same(list(one.trajectories), list(other.trajectories))


def test_another_seed_means_another_result() -> None:
    one, other = (decode(ReferenceModel(), FREE, PROMPTS[:1], n=1, seed=s) for s in (0, 1))
    assert one.answer().tokens.tolist() != other.answer().tokens.tolist()


def test_candidates_differ_from_their_first_token_on() -> None:
    """A shared generator once gave all samples of a batch the same first token (nanochat)."""
    result = decode(ReferenceModel(vocab_size=1000, sharpness=0.0), FREE, PROMPTS[:2], n=8)
    assert len({int(t.tokens[0]) for t in result.trajectories}) >= 14


# --- bookkeeping -------------------------------------------------------------------------------

strategies = st.builds(
    Strategy,
    confidence=st.just(Memory()),
    guidance=st.just(Wavering()),
    termination=st.builds(RandomPruning, st.sampled_from([0.0, 0.1]), st.integers(0, 9)),
    sampler=st.just(Multinomial()) | st.builds(Resampling, st.integers(0, 9)),
)


@settings(max_examples=20)
@given(models, strategies, samplings, seeds, widths)
def test_every_candidate_comes_out_exactly_once(
    model: ReferenceModel, strategy: Strategy, sampling: Sampling, seed: int, n: int
) -> None:
    result = decode(model, strategy, PROMPTS[:2], n=n, seed=seed, sampling=sampling)
    names = [(t.prompt, t.candidate) for t in result.trajectories]
    assert names == sorted(set(names)), "by prompt, then by id, each once"
    for number in range(2):
        mine = result.of_prompt(number)
        assert [t.candidate for t in mine] == list(range(len(mine))), "ids without gaps"
        assert len(mine) >= n
        assert [t.parent is None for t in mine] == [c < n for c in range(len(mine))]
        assert result.answer(number) in mine
        assert result.answer(number).completed
    for t in result.trajectories:
        assert t.status in (Status.COMPLETED, Status.PRUNED, Status.DROPPED)
        assert t.completed <= (len(t) == model.grid.size)
        assert all(len(values) == len(t) for values in t.signals.values())


@settings(max_examples=20)
@given(models, strategies, samplings, seeds, widths)
def test_the_ledger_counts_what_was_done(
    model: ReferenceModel, strategy: Strategy, sampling: Sampling, seed: int, n: int
) -> None:
    result = decode(model, strategy, PROMPTS[:2], n=n, seed=seed, sampling=sampling)
    ledger = result.ledger
    lived = [(t, len(t) - t.forked_at) for t in result.trajectories]
    assert ledger.tokens == sum(tokens for _, tokens in lived)
    # The token that a row ends with is read by nobody; one that was dropped had read its last.
    read = [tokens - (t.status is not Status.DROPPED) for t, tokens in lived]
    assert ledger.decode_rows == model.branches * sum(read)
    assert ledger.prefill_rows == model.branches * 2
    assert ledger.forward_rows == ledger.prefill_rows + ledger.decode_rows
    assert ledger.model_calls == model.grid.size
    assert ledger.floored_logits == 0
    assert ledger.total_seconds == sum(ledger.seconds.values()) > 0


@settings(max_examples=20)
@given(models, strategies, samplings, seeds, widths)
def test_a_trajectorys_signals_are_those_of_its_own_history(
    model: ReferenceModel, strategy: Strategy, sampling: Sampling, seed: int, n: int
) -> None:
    """Recomputed from the tokens alone: whatever moved between rows, history and record agree."""
    prompts = PROMPTS[:2]
    result = decode(model, strategy, prompts, n=n, seed=seed, sampling=sampling)
    for t in result.trajectories:
        prompt, history = prompts[t.prompt], tuple(t.tokens.tolist())
        total = 0.0
        for step, token in enumerate(history):
            cond, _ = model.rule(prompt, history[:step])
            ok = np.ones(len(cond), dtype=bool)
            begin = prompt.key % model.vocab_size
            ok[[(begin + k) % model.vocab_size for k in range(model.forbidden)]] = False
            assert ok[token], "a forbidden token was sampled"
            log_p = cond - math.log(np.exp(cond[ok]).sum())
            entropy = -(np.exp(log_p[ok]) * log_p[ok]).sum()
            np.testing.assert_allclose(t.signals["entropy_nats"][step], entropy, atol=2e-5)
            np.testing.assert_allclose(t.signals["log_prob_cond"][step], log_p[token], atol=2e-5)
            total += float(t.signals["log_prob_guided"][step])
            np.testing.assert_allclose(t.signals["sum"][step], total, rtol=1e-4, atol=1e-4)


@settings(max_examples=20)
@given(models, st.integers(0, 99), seeds, widths)
def test_a_fork_shares_its_parents_past_and_draws_its_own_future(
    model: ReferenceModel, key: int, seed: int, n: int
) -> None:
    strategy = evolve(FREE, sampler=Resampling(key), termination=RandomPruning(0.05))
    result = decode(model, strategy, PROMPTS[:2], n=n, seed=seed)
    by_name = {(t.prompt, t.candidate): t for t in result.trajectories}
    assume(any(t.parent is not None for t in result.trajectories))
    for t in result.trajectories:
        if t.parent is not None:
            parent = by_name[t.prompt, t.parent]
            assert t.parent < t.candidate
            assert len(parent) > t.forked_at, "the first child kept the parent's name"
            assert same(t, parent, upto=t.forked_at)
        noise = uniforms(seed, PROMPTS[t.prompt], t.candidate, model.grid.size)
        for step in range(t.forked_at, len(t)):
            cond, uncond = (
                torch.from_numpy(x)
                for x in model.rule(PROMPTS[t.prompt], tuple(t.tokens[:step].tolist()))
            )
            scale = float(t.signals["scale"][step])
            guided = uncond + scale * (cond - uncond)
            begin = PROMPTS[t.prompt].key % model.vocab_size
            for k in range(model.forbidden):
                guided[(begin + k) % model.vocab_size] = -math.inf
            cdf = guided.softmax(-1).cumsum(0)
            # Where the noise falls within rounding of a boundary either token is right.
            token = int(t.tokens[step])
            low = float(cdf[token - 1]) if token else 0.0
            assert low - 1e-5 <= noise[step] <= float(cdf[token]) + 1e-5


@settings(max_examples=20)
@given(models, strategies, samplings, seeds, st.data())
def test_a_state_is_enough_to_go_on(
    model: ReferenceModel, strategy: Strategy, sampling: Sampling, seed: int, data: Any
) -> None:
    """A deep copy of the state at any step leads to the same tokens."""
    bound = BoundStrategy(model, strategy, sampling, tuple(PROMPTS[:2]), (seed, seed))
    hooks, ledger = make_hooks(), Ledger()
    state: Any = start(bound, 3, ledger, Clock())
    recorder = Recorder()

    def forward(state: Any) -> Any:
        state, record, verdict = decode_step(bound, state, ledger, recorder, hooks)
        tokens = state.tokens[:, : state.step].clone()
        state = retire(bound, state, record, verdict, recorder, hooks)
        return (None, tokens) if state is None else (advance(bound, state, ledger), tokens)

    for _ in range(data.draw(st.integers(0, model.grid.size - 1))):
        state, _ = forward(state)
    twin = copy.deepcopy(state)
    while state is not None:
        state, tokens = forward(state)
    while twin is not None:
        twin, again = forward(twin)
    assert torch.equal(tokens, again)


def test_images_are_grey_levels_of_the_tokens_here() -> None:
    from scalingar_fw.decoding.loop import to_images

    model = ReferenceModel(vocab_size=2, grid=Grid(2, 3))
    result: Decoded = decode(model, FREE, PROMPTS[:1], n=3)
    images = to_images(model, result.trajectories)
    assert images.shape == (3, 2, 3, 3)
    for t, image in zip(result.trajectories, images, strict=True):
        assert (image[..., 0].ravel() // 255).tolist() == t.tokens.tolist()
