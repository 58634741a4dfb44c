"""Contracts of whole strategies, decoded on a model that is exact row by row."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import numpy as np
import torch
from attrs import evolve, frozen
from torch import Tensor

from scalingar_fw.decoding import contracts
from scalingar_fw.decoding.loop import BoundStrategy, advance, decode, decode_step, retire, start
from scalingar_fw.decoding.recorder import Recorder
from scalingar_fw.decoding.result import Decoded, Ledger, Status, Trajectory
from scalingar_fw.decoding.timing import Clock
from scalingar_fw.errors import ScalingarError
from scalingar_fw.hooks import make_hooks
from scalingar_fw.testing.battery import SMOKE
from scalingar_fw.testing.cases import PROMPTS, Case
from scalingar_fw.testing.catalogue import Broken, NotHere, check, fresh, scope_of
from scalingar_fw.testing.play import Refused
from scalingar_fw.testing.reference import ReferenceModel
from scalingar_fw.testing.stepping import check_frozen

SIDE = 48


@frozen
class Pictures(ReferenceModel):
    """The reference model, with pictures of the size of the embedded model's."""

    def decode_images(self, tokens: Tensor) -> Tensor:
        small = super().decode_images(tokens)
        return torch.nn.functional.interpolate(small, size=(SIDE, SIDE), mode="nearest")


def model_of(case: Case) -> ReferenceModel:
    """A model whose logits a case decides: flat, tied (sharpness 0) or peaked."""
    byte = case.material[0]
    return Pictures(
        vocab_size=case.vocab,
        grid=case.grid,
        sharpness=(0.0, 1.0, 2.0, 6.0)[byte % 4],
        forbidden=case.material[-1] % case.vocab if byte >= 128 else 0,
    )


def run(strategy: Any, case: Case, **how: Any) -> Decoded:
    """Decode a case; what the strategy refuses before the first token is no failure."""
    options = {
        "n": case.n,
        "seed": case.seed,
        "sampling": case.sampling,
        "prompts": PROMPTS[: case.prompts],
        **how,
    }
    heard = _Steps()
    hooks = make_hooks([heard, *options.pop("observers", ())])
    prompts = options.pop("prompts")
    try:
        return decode(model_of(case), strategy, prompts, hooks=hooks, **options)
    except ScalingarError as error:
        # A selector is refused after one token at the latest (its signal is not recorded).
        if heard.steps <= 1:
            raise Refused(str(error)) from error
        raise


class _Steps:
    steps = 0

    def on_token(self, event: Any) -> None:
        self.steps += 1


def told(decoded: Decoded, prompt: int) -> list[tuple[Any, ...]]:
    """All that a prompt's result says, comparable to the bit."""
    return [_told(t) for t in decoded.of_prompt(prompt)] + [
        ("answer", decoded.answer(prompt).candidate)
    ]


def _told(t: Trajectory) -> tuple[Any, ...]:
    signals = {k: np.nan_to_num(v, nan=-9e9).tobytes() for k, v in sorted(t.signals.items())}
    return (t.candidate, t.status, t.parent, t.forked_at, t.tokens.tobytes(), str(signals))


def _compare(one: Decoded, other: Decoded, places: Any, sentence: str) -> None:
    for here, there in places:
        a, b = told(one, here), told(other, there)
        if a != b:
            where = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(b))
            who = a[where][0] if where < len(a) else "?"
            raise Broken(f"{sentence}: prompt {here} differs, first at candidate {who}.")


@check("runs", "strategy", cases=(SMOKE,))
def it_runs(kind: str, component: Any, case: Case) -> None:
    """It decodes two prompts without an error.

    Everything else is checked on top of this, so what fails here is told once, and the other
    checks are not tried.
    """
    for part in component.parts.values():
        check_frozen(part)
    run(component, case)


@check("answer", "strategy")
def answer_is_completed(kind: str, component: Any, case: Case) -> None:
    """The answer of every prompt is a completed candidate of that prompt, and all come out once.

    Anything else shows a user an unfinished picture, or another prompt's.
    """
    decoded = run(component, case)
    names = [(t.prompt, t.candidate) for t in decoded.trajectories]
    if len(set(names)) != len(names):
        raise Broken("a candidate came out twice.")
    for prompt in range(case.prompts):
        chosen = decoded.answer(prompt)
        if chosen.prompt != prompt or not chosen.completed or len(chosen) != case.total:
            raise Broken(
                f"the answer of prompt {prompt} is candidate {chosen.candidate} of prompt "
                f"{chosen.prompt}, which is {chosen.status.value}."
            )


class _Events:
    """Who received tokens when, and who has ended."""

    def __init__(self) -> None:
        self.tokens: Counter[int] = Counter()
        self.ended: set[tuple[int, int]] = set()
        self.revived: tuple[int, int] | None = None

    def on_token(self, event: Any) -> None:
        for prompt, candidate in zip(event.prompt.tolist(), event.candidate.tolist(), strict=True):
            self.tokens[prompt] += 1
            if (prompt, candidate) in self.ended:
                self.revived = self.revived or (prompt, candidate)

    def on_candidate_end(self, event: Any) -> None:
        self.ended.add((event.prompt, event.candidate))


@check("budget", "strategy")
def budget_is_kept(kind: str, component: Any, case: Case) -> None:
    """A prompt costs at most its token budget: what termination promises, else n * T.

    Strategies are compared at equal cost. One that forks more rows than it was given wins by
    spending more.
    """
    events = _Events()
    run(component, case, observers=[events])
    cap = component.termination.promises(case.total).tokens or case.n * case.total
    for prompt, tokens in events.tokens.items():
        if tokens > cap:
            raise Broken(f"prompt {prompt} cost {tokens} tokens; its budget is {cap}.")


@check("ledger", "strategy")
def ledger_is_the_sum_of_actions(kind: str, component: Any, case: Case) -> None:
    """The ledger equals the sum of what was done: tokens drawn, rows sent through the model.

    Cost tables are made of the ledger. Each token of each history counts once, a fork from where
    it began, and guidance counts twice.
    """
    events = _Events()
    decoded = run(component, case, observers=[events])
    ledger = decoded.ledger
    lived = [(t, len(t) - t.forked_at) for t in decoded.trajectories]
    drawn = sum(tokens for _, tokens in lived)
    if not ledger.tokens == drawn == sum(events.tokens.values()):
        raise Broken(
            f"the ledger counts {ledger.tokens} tokens, the trajectories {drawn}, observers "
            f"{sum(events.tokens.values())}."
        )
    read = sum(tokens - (t.status is not Status.DROPPED) for t, tokens in lived)
    branches = model_of(case).branches
    if ledger.decode_rows != branches * read or ledger.prefill_rows != branches * case.prompts:
        raise Broken(
            f"the ledger counts {ledger.prefill_rows} + {ledger.decode_rows} forward rows instead "
            f"of {branches * case.prompts} + {branches * read}."
        )


@check("no-revival", "strategy")
def ended_is_ended(kind: str, component: Any, case: Case) -> None:
    """A candidate that has ended receives no further token.

    Its cache is freed and its record closed; whatever goes on under its name is another history.
    """
    events = _Events()
    run(component, case, observers=[events])
    if events.revived:
        prompt, candidate = events.revived
        raise Broken(f"candidate {candidate} of prompt {prompt} received tokens after its end.")


@check("determinism", "strategy")
def seed_repeats_the_run(kind: str, component: Any, case: Case) -> None:
    """The same seed gives the same trajectories and answers, bit for bit, on any object.

    A picture in a paper can be made again; a copied strategy is the same strategy.
    """
    one = run(component, case)
    run(component, evolve(case, seed=case.seed + 1))
    other = run(fresh(component), case)
    again = run(component, case)
    places = [(p, p) for p in range(case.prompts)]
    _compare(one, again, places, "a second, equal run")
    _compare(one, other, places, "a copy of the strategy")


@check("prompts-apart", "strategy")
def prompts_are_decoded_alone(kind: str, component: Any, case: Case) -> None:
    """A prompt's result depends neither on its company in the batch nor on its place there.

    So the batch is a matter of speed alone, and interrupted experiments resume in other batches.
    """
    if case.prompts < 2:
        raise NotHere
    together = run(component, case)
    turned = run(component, case, prompts=PROMPTS[: case.prompts][::-1])
    places = [(p, case.prompts - 1 - p) for p in range(case.prompts)]
    _compare(together, turned, places, "prompts in another order")
    last = case.prompts - 1
    alone = run(component, case, prompts=PROMPTS[last : last + 1])
    _compare(together, alone, [(last, 0)], "decoded alone")


@check("prefix", "strategy")
def fewer_are_a_prefix_of_more(kind: str, component: Any, case: Case) -> None:
    """Where no part looks at other candidates, n candidates are the first of n + 1.

    That makes comparisons of N paired: what changes between N = 4 and N = 8 is N, not the noise.
    """
    parts = [component.confidence, component.guidance, component.termination, component.sampler]
    if any(scope_of(part) != "row" for part in parts):
        raise NotHere("a part has scope 'cohort'")
    few, many = run(component, case), run(component, case, n=case.n + 1)
    for prompt in range(case.prompts):
        if told(few, prompt)[:-1] != told(many, prompt)[: case.n]:
            raise Broken(f"prompt {prompt}: the first {case.n} of {case.n + 1} candidates differ.")


@check("copy", "strategy")
def run_can_be_copied(kind: str, component: Any, case: Case) -> None:
    """The state of a run, copied in its middle, continues to the same tokens.

    It is what checkpoints, forks and debuggers rest on.
    """
    bound = BoundStrategy(
        model_of(case),
        component,
        case.sampling,
        PROMPTS[: case.prompts],
        (case.seed,) * case.prompts,
    )
    hooks, ledger, recorder = make_hooks(), Ledger(), Recorder()
    try:
        state: Any = start(bound, case.n, ledger, Clock())
    except ScalingarError as error:
        raise Refused(str(error)) from error

    def forward(state: Any) -> tuple[Any, Tensor]:
        try:
            state, record, verdict = decode_step(bound, state, ledger, recorder, hooks)
        except ScalingarError as error:
            if state.step == 0:
                raise Refused(str(error)) from error
            raise
        tokens = state.tokens[:, : state.step].clone()
        state = retire(bound, state, record, verdict, recorder, hooks)
        return (None if state is None else advance(bound, state, ledger)), tokens

    tokens = again = torch.empty(0)
    for _ in range(case.turn % case.total):
        state, tokens = forward(state)
    twin = copy.deepcopy(state)
    while state is not None:
        state, tokens = forward(state)
    while twin is not None:
        twin, again = forward(twin)
    if tokens.shape != again.shape or not torch.equal(tokens, again):
        raise Broken(f"a copy made before step {case.turn % case.total} ended in other tokens.")


@check("global-randomness", "strategy")
def nothing_global_is_drawn(kind: str, component: Any, case: Case) -> None:
    """No part reads global randomness: torch's, numpy's and Python's streams stay where they are.

    Otherwise a picture depends on what the process did before.
    """
    with contracts.no_global_randomness("the strategy"):
        run(component, case)
