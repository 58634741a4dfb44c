"""Contracts of randomness in samplers: the right distribution, and noise that is not shared."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from attrs import evolve
from torch import Tensor

from scalingar_fw.decoding import contracts
from scalingar_fw.decoding.components import Context, Step
from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.signals import Guided
from scalingar_fw.decoding.state import Rows
from scalingar_fw.errors import ContractError
from scalingar_fw.testing.battery import BATTERY
from scalingar_fw.testing.cases import CONFIDENCE_KINDS, LOGIT_KINDS, PROMPTS, Case
from scalingar_fw.testing.catalogue import Broken, NotHere, check
from scalingar_fw.testing.play import Player
from scalingar_fw.testing.plays import signals_read, world_of
from scalingar_fw.testing.stepping import player

#: The byte of tied logits and of confidences like log-probabilities (see cases.py).
LOG_PROB_AND_TIES = 4 * CONFIDENCE_KINDS.index("log-prob") + LOGIT_KINDS.index("ties") % 4

#: Distributions to count draws from: flat, peaked, tied, with forbidden tokens, truncated.
DRAWN = tuple(
    Case(vocab=vocab, guidance=2.0, material=(byte,), seed=seed, temperature=t, top_k=k, top_p=p)
    for seed, (vocab, byte, t, k, p) in enumerate(
        [(4, 0, 1.0, 0, 1.0), (9, 1, 1.0, 0, 1.0), (7, 7, 1.0, 0, 1.0), (9, 1, 0.7, 3, 1.0)]
        + [(5, 4, 1.3, 0, 0.5), (9, 17, 1.0, 0, 1.0)]
    )
)
FORKED = (Case(seed=0, n=4), Case(seed=5, n=6), Case(seed=11, n=4, prompts=2))

DRAWS = 4096
#: Chance that a right sampler fails: 5.5 standard deviations, about 2e-8.
SIGMAS = 5.5


def _first_step(component: Any, case: Case, guided: Tensor, seed: int) -> Tensor | None:
    """The tokens of `DRAWS` candidates that all see the same logits; None for a search."""
    count = len(guided)
    rows = Rows.of(np.zeros(count, dtype=np.int64), np.arange(count), 1)
    noise = np.random.Generator(np.random.Philox(seed)).random(count)
    confidence = Confidence.of(
        torch.full((count,), 0.5),
        **{name: torch.full((count,), 0.5) for name in signals_read(component)},
    )
    context = Context(rows, case.grid, case.vocab, case.sampling, torch.device("cpu"))
    step = Step(
        index=0,
        total=case.total,
        grid=case.grid,
        rows=rows,
        noise=torch.from_numpy(noise),
        prompts=(PROMPTS[0],),
        seeds=(seed,),
        next_candidate=(count,),
    )
    state = component.init(context)
    proposal, _ = component.propose(state, Guided(guided), confidence, step, case.sampling)
    # Rows that change places draw from the same logits all the same.
    return proposal.token if len(proposal.token) == count else None


@check("distribution", "sampler", share=0.25, cases=DRAWN)
def draws_follow_the_distribution(kind: str, component: Any, case: Case) -> None:
    """Tokens are drawn as often as `drawn_from` says (chi-square, fixed seed).

    A sampler that draws from something else than it says biases every comparison that is made
    with it, and no single picture shows it.
    """
    rows = world_of(component, case).start()
    one = world_of(component, case).guided(rows, 0)[:1]
    guided = one.expand(DRAWS, -1).contiguous()
    drawn = _first_step(component, case, guided, case.seed % 1000)
    again = _first_step(component, case, guided, case.seed % 1000 + 1)
    if drawn is None or again is None or torch.equal(drawn, again):
        raise NotHere("it draws nothing at random")
    said = component.drawn_from(Guided(one), case.sampling)
    if said is None:
        raise NotHere("it does not say what it draws from (drawn_from)")
    p = said[0].double().exp()
    counts = torch.bincount(drawn, minlength=case.vocab).double()
    total = float(p.sum())
    if abs(total - 1.0) > 1e-3:
        raise Broken(f"the probabilities that it says it draws from sum to {total:.4f}.")
    sigmas = surprise(counts, p)
    if sigmas > SIGMAS:
        seen = [f"{int(c)}/{float(q) * DRAWS:.0f}" for c, q in zip(counts, p, strict=True)]
        raise Broken(
            f"of {DRAWS} draws the tokens came (drawn/expected) {', '.join(seen)}: "
            f"{sigmas:.0f} standard deviations from what it says."
        )


def surprise(counts: Tensor, p: Tensor) -> float:
    """How many standard deviations a chi-square statistic is above its expectation.

    Wilson and Hilferty's approximation; classes that expect fewer than five draws are pooled,
    together with whatever probability was not reported.
    """
    expected = p * float(counts.sum())
    rest = 1.0 - float(p.sum())
    rare = expected < 5.0
    o = torch.cat([counts[~rare], counts[rare].sum()[None]])
    e = torch.cat([expected[~rare], (expected[rare].sum() + rest * float(counts.sum()))[None]])
    if float(e[-1]) < 5.0:  # too few to be a class: they are part of the last one
        if len(o) < 2:
            return 0.0
        o = torch.cat([o[:-2], o[-2:].sum()[None]])
        e = torch.cat([e[:-2], e[-2:].sum()[None]])
    degrees = len(o) - 1
    if degrees < 1:
        return 0.0
    statistic = float(((o - e).square() / e).sum())
    spread = 2.0 / (9.0 * degrees)
    cube_root: float = (statistic / degrees) ** (1 / 3)
    return (cube_root - (1.0 - spread)) / math.sqrt(spread)


#: Uniform noise at its ends: 0 is drawn, 1 is not.
EXTREMES = (0.0, 1.0 - 2.0**-53)


@check("extreme-noise", "sampler", share=0.5)
def extreme_noise_gives_permitted_tokens(kind: str, component: Any, case: Case) -> None:
    """Noise of 0 and just below 1 gives permitted tokens of the vocabulary.

    A cumulated distribution ends at 0.9999999, not at 1: the largest noise then falls past the
    last token, once in millions of draws, and the run stops with an index out of range.
    """
    owner = contracts.name_of(component)
    for noise in EXTREMES:

        def accept(play: Any, what: str, said: Any, step: Any, inputs: Any, u: Any = noise) -> None:
            try:
                contracts.check_proposal(owner, said, inputs[0].logits, step.rows)
            except ContractError as error:
                raise Broken(
                    f"at step {step.index} with the noise {u!r}: {error}",
                    "it searches a cumulated sum whose end is rounded, or takes a forbidden token "
                    "whose share is 0: scalingar_fw.decoding.sampling.inverse_cdf does neither.",
                ) from error

        Player(component, kind, world_of(component, case, noise=noise), accept=accept).run()


#: Many candidates with many equally likely tokens: two seeds that agree have not been read.
WIDE = Case(rows=2, cols=2, vocab=512, n=6, seed=1, material=(0,))


@check("seed-matters", "sampler", cases=(WIDE,))
def another_seed_draws_other_tokens(kind: str, component: Any, case: Case) -> None:
    """Another seed gives other tokens where many are equally likely.

    A sampler that ignores `step.noise` gives the same picture for every seed and every candidate.
    One that is deterministic by design says so: expected_failures = {"sampler-seed-matters": why}.
    """
    one = player(kind, component, case).run()
    other = player(kind, component, evolve(case, seed=case.seed + 1)).run()
    if all(
        torch.equal(a.values["token"], b.values["token"]) for a, b in zip(one, other, strict=True)
    ):
        raise Broken(
            f"seeds {case.seed} and {case.seed + 1} gave the same tokens for {case.n} candidates "
            f"over {case.total} steps, of {case.vocab} equally likely ones.",
            "step.noise is not read. If that is the design, declare it: expected_failures = "
            '{"sampler-seed-matters": "why"}.',
        )


@check("settings-act", "sampler", cases=BATTERY)
def sampling_settings_act(kind: str, component: Any, case: Case) -> None:
    """The user's sampling settings act: with top_k = 1, or a temperature of 0, a likeliest token.

    Whoever sets --top-k or --temperature compares methods at that setting. A sampler that passes
    them over changes the comparison, and the record says otherwise.
    """
    plain = evolve(case, temperature=1.0, top_k=0, top_p=1.0, moves=())
    for greedy in (evolve(plain, top_k=1), evolve(plain, temperature=0.0)):

        def accept(
            play: Any, what: str, said: Any, step: Any, inputs: Any, now: Case = greedy
        ) -> None:
            logits = inputs[0].logits
            if said.parent is not None:
                logits = logits[said.parent]
            chosen = logits.gather(1, said.token[:, None])[:, 0]
            worse = chosen < logits.amax(-1)
            if bool(worse.any()):
                row = int(worse.nonzero()[0, 0])
                raise Broken(
                    f"at step {step.index} with top_k={now.top_k} and temperature="
                    f"{now.temperature:g} row {row} drew token {int(said.token[row])} instead of "
                    f"{int(logits[row].argmax())}, the likeliest one.",
                    "draw from scalingar_fw.decoding.sampling.truncate(guided.logits, sampling).",
                )

        Player(component, kind, world_of(component, greedy), accept=accept).run()


@check("fork-noise", "sampler", cases=FORKED)
def branches_do_not_share_noise(kind: str, component: Any, case: Case) -> None:
    """Branches of a fork never share noise.

    Two children that draw with the same number are the same picture twice: the search pays for a
    candidate and gets none.
    """
    # Many equally likely tokens, confidences that part quickly, and time enough to fork.
    case = evolve(case, vocab=512, n=max(4, case.n), temperature=1.0, top_k=0, top_p=1.0)
    case = evolve(case, rows=2, cols=10, material=(LOG_PROB_AND_TIES,), moves=())
    pairs = equal = 0

    def accept(play: Any, what: str, said: Any, step: Any, inputs: Any) -> None:
        nonlocal pairs, equal
        if said.parent is None:
            return
        wide = torch.softmax(inputs[0].logits, -1).amax(-1) < 0.05
        first: dict[int, int] = {}
        for parent, token in zip(said.parent.tolist(), said.token.tolist(), strict=True):
            if parent in first and bool(wide[parent]):
                pairs += 1
                equal += token == first[parent]
            first.setdefault(parent, token)

    play = Player(component, kind, world_of(component, case), accept=accept)
    while play.at < case.total and pairs < 8:
        play.step()
    if not pairs:
        raise NotHere("nothing was forked")
    # At most 0.05 each by chance: half of three or more pairs is no accident.
    if pairs >= 3 and equal > pairs / 2:
        raise Broken(
            f"{contracts.name_of(component)}: {equal} of {pairs} forks began with the token of "
            "their sibling: use step.noise_for(parent)."
        )


__all__ = ["DRAWS", "surprise"]
