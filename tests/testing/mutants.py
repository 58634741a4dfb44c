"""Components that are broken on purpose, each in one way, and the check that must catch each."""

from __future__ import annotations

import random
from typing import Any, ClassVar

import numpy as np
import torch
from attrs import evolve, field, frozen

from scalingar_fw.decoding.components import (
    ConfidenceEstimator,
    Guidance,
    Promises,
    Reward,
    Sampler,
    Selector,
    Termination,
    Verdict,
)
from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.params import param
from scalingar_fw.decoding.result import Status
from scalingar_fw.decoding.sampling import inverse_cdf, truncate
from scalingar_fw.decoding.state import Proposal, candidate_field, prompt_field
from scalingar_fw.decoding.strategy import FinalConfidence, Multinomial, Strategy

# --- estimators --------------------------------------------------------------------------------


@frozen
class Mean(ConfidenceEstimator):
    """A right one, from which most of the others are made: the mean margin so far."""

    def init(self, context):
        return context.full(0.0)

    def update(self, state, signals, step):
        mean = torch.lerp(state, signals.margin, 1.0 / (step.index + 1))
        return Confidence.of(mean), mean


@frozen
class NanOnTies(Mean):
    """Divides by a spread that may be 0."""

    def update(self, state, signals, step):
        mean = torch.lerp(state, signals.margin, 1.0 / (step.index + 1))
        return Confidence.of((signals.entropy - signals.margin) / (signals.entropy * 1.0)), mean


@frozen
class OutOfRange(Mean):
    """Says [0, 1] and gives nats."""

    ranges: ClassVar[dict[str, tuple[float, float]]] = {"confidence": (0.0, 1.0)}

    def update(self, state, signals, step):
        return Confidence.of(signals.entropy_nats), state


@frozen
class Half(Mean):
    """Half precision."""

    def update(self, state, signals, step):
        return Confidence.of(signals.margin.half()), state


@frozen
class OnTheCpu(Mean):
    """Makes its memory without a device."""

    def init(self, context):
        return torch.zeros(len(context.rows))


@frozen
class MeetsTheCpu(Mean):
    """Multiplies by a table that it makes without a device."""

    def update(self, state, signals, step):
        return Confidence.of(signals.margin * torch.linspace(1, 1, len(step.rows))), state


@frozen
class AcrossPrompts(Mean):
    """Normalises over the whole batch."""

    scope = "cohort"

    def update(self, state, signals, step):
        return Confidence.of(signals.margin - signals.margin.mean()), state


@frozen
class SecretCohort(Mean):
    """Says "row" and looks at its siblings."""

    def update(self, state, signals, step):
        own = torch.nn.functional.one_hot(step.rows.group).float()
        mean = (own * signals.margin[:, None]).sum(0) / own.sum(0)
        return Confidence.of(signals.margin - mean[step.rows.group]), state


@frozen
class PromptFieldMemory(Mean):
    """Declares its memory as the prompt's, so that a pruning leaves it where it was."""

    def init(self, context):
        return Misfiled(context.full(0.0))

    def update(self, state, signals, step):
        mean = torch.lerp(state.mean[: len(step.rows)], signals.margin, 0.5)
        return Confidence.of(mean), Misfiled(mean)


@frozen(eq=False)
class Misfiled:
    mean: Any = prompt_field()


@frozen
class RowNumber(Mean):
    """The first row is a little better than the others."""

    scope = "cohort"

    def update(self, state, signals, step):
        bonus = torch.linspace(0.1, 0.0, len(step.rows))
        return Confidence.of(signals.margin + bonus), state


@frozen
class OnSelf(Mean):
    """Keeps the highest margin that it ever met on itself."""

    seen: list = field(factory=lambda: [0.0])

    def update(self, state, signals, step):
        self.seen[0] = max(self.seen[0], float(signals.margin.max()))
        return Confidence.of(signals.margin / (self.seen[0] + 1.0)), state


@frozen
class InPlace(Mean):
    """Writes into the signals."""

    def update(self, state, signals, step):
        return Confidence.of(signals.margin.mul_(0.5)), state


@frozen
class Buffer(Mean):
    """Hands out its buffer, and overwrites it at the next step."""

    def update(self, state, signals, step):
        state.add_(signals.margin)
        return Confidence.of(state), state


@frozen
class Dropout(Mean):
    """Forgot to switch it off."""

    def update(self, state, signals, step):
        return Confidence.of(torch.nn.functional.dropout(signals.margin, 0.5)), state


@frozen
class NumpyNoise(Mean):
    """Breaks ties by numpy's global stream, scaled to nothing."""

    def update(self, state, signals, step):
        return Confidence.of(signals.margin + 0.0 * float(np.random.random())), state


class Opaque:
    """A memory that can be moved and copied, but not saved."""

    def __init__(self, mean):
        self.mean = mean

    def take(self, rows):
        return Opaque(self.mean.index_select(0, rows))


@frozen
class Unsaved(Mean):
    """Its memory is an object."""

    def init(self, context):
        return Opaque(context.full(0.0))

    def update(self, state, signals, step):
        mean = torch.lerp(state.mean, signals.margin, 0.5)
        return Confidence.of(mean), Opaque(mean)


class Twins:
    """A memory whose copies all write to the same place."""

    def __init__(self, where):
        self.where = where

    def take(self, rows):
        return Twins([self.where[0].index_select(0, rows)])

    def __deepcopy__(self, memo):
        return self


@frozen
class SharedCopy(Mean):
    """A deep copy of its memory is its memory."""

    def init(self, context):
        return Twins([context.full(0.0)])

    def update(self, state, signals, step):
        state.where[0] = torch.lerp(state.where[0], signals.margin, 0.5)
        return Confidence.of(state.where[0]), state


@frozen
class Unreadable(Mean):
    """A setting that no file can hold."""

    how: Any = field(default=max)


@frozen(eq=False)
class TooLong:
    means: Any = candidate_field()


@frozen
class WrongAxis(Mean):
    """Declares a table by step as one by candidate."""

    def init(self, context):
        return TooLong(torch.zeros(context.grid.size + 5))

    def update(self, state, signals, step):
        return Confidence.of(signals.margin), state


# --- guidance ----------------------------------------------------------------------------------


@frozen
class Unclamped(Guidance):
    """Declares bounds and does not clamp."""

    def update(self, state, confidence, step):
        return 1.0 + confidence.signals["rebound"], state

    def bounds(self, sampling):
        return (1.0, 2.0)


@frozen
class Infinite(Guidance):
    """Divides by the drift."""

    def update(self, state, confidence, step):
        return 1.0 / confidence.signals["drift"], state


@frozen
class Wavering(Guidance):
    """A right one: follows each row's confidence."""

    def update(self, state, confidence, step):
        return 1.0 + 40.0 * confidence.value, state


# --- termination -------------------------------------------------------------------------------


@frozen
class Cutoff(Termination):
    """Ends whoever is below a fixed confidence, all of them if need be."""

    scope = "cohort"

    def update(self, state, confidence, step):
        return Verdict(confidence.value < 0.6), state


@frozen
class Lowest(Termination):
    """A right one: ends the least confident of each prompt, by candidate id."""

    scope = "cohort"

    def update(self, state, confidence, step):
        return Verdict(self.worst(confidence, step)), state

    def worst(self, confidence, step, count=1):
        from scalingar_fw.decoding.statistics import group_rank

        rows = step.rows
        rank = group_rank(confidence.value, rows)
        return (rank >= (rows.live - count)[rows.group]) & (rank > 0)


@frozen
class Hasty(Lowest):
    """Promises a warm-up of four steps."""

    def promises(self, total):
        return Promises(warmup=4)


@frozen
class Greedy(Lowest):
    """Promises two survivors and keeps one."""

    def promises(self, total):
        return Promises(survivors=2)


@frozen
class Spendthrift(Termination):
    """Promises a budget and does nothing for it."""

    def update(self, state, confidence, step):
        return Verdict(), state

    def promises(self, total):
        return Promises(tokens=total + 1)


@frozen
class ByPosition(Lowest):
    """Of equal candidates it ends the last row."""

    def update(self, state, confidence, step):
        gone = torch.zeros(len(step.rows), dtype=torch.bool)
        for line in step.rows.slots:
            mine = line[line >= 0]
            if len(mine) > 1:
                values = confidence.value[mine]
                gone[mine[int((values == values.min()).nonzero()[-1, 0])]] = True
        return Verdict(gone), state


@frozen
class Undead(Termination):
    """A verdict with a status that is no end."""

    scope = "cohort"

    def update(self, state, confidence, step):
        return evolve(Lowest().update(state, confidence, step)[0], status=Status.RUNNING), state


@frozen
class SharedThreshold(Lowest):
    """One threshold for all prompts."""

    def update(self, state, confidence, step):
        gone = (confidence.value < confidence.value.mean()) & self.worst(confidence, step)
        return Verdict(gone), state


# --- samplers ----------------------------------------------------------------------------------


@frozen
class Uniform(Sampler):
    """Draws permitted tokens alike, and says that it draws from the model's distribution."""

    def propose(self, state, guided, confidence, step, sampling):
        flat = torch.where(torch.isneginf(guided.logits), guided.logits, 0.0)
        return Proposal(inverse_cdf(flat.softmax(-1), step.noise)), state

    def drawn_from(self, guided, sampling):
        return guided.log_probs


@frozen
class Forbidden(Sampler):
    """Forgets the mask."""

    def propose(self, state, guided, confidence, step, sampling):
        return Proposal((step.noise * guided.logits.shape[1]).long()), state


@frozen
class GlobalDraw(Sampler):
    """torch.multinomial without a generator."""

    def propose(self, state, guided, confidence, step, sampling):
        log_p = torch.log_softmax(truncate(guided.logits, sampling), -1)
        token = torch.multinomial(log_p.exp(), 1)
        return Proposal(token[:, 0]), state


@frozen
class SharedNoise(Sampler):
    """Forks every row, and lets both children draw with its number."""

    def propose(self, state, guided, confidence, step, sampling):
        keep = step.rows.candidate_id % 2 == 0
        for line in step.rows.slots:
            mine = line[line >= 0]
            if not keep[mine].any():
                keep[mine] = True
        parent = keep.nonzero()[:, 0].repeat_interleave(2)
        log_p = guided.log_probs[parent]
        token = inverse_cdf(log_p.exp(), step.noise[parent])
        return Proposal(token, parent=parent), state


@frozen
class LosesPrompts(Sampler):
    """Continues the first prompt only, after the first step."""

    scope = "cohort"

    def propose(self, state, guided, confidence, step, sampling):
        plain, _ = Multinomial().propose(None, guided, confidence, step, sampling)
        if step.index == 0:
            return plain, state
        parent = (step.rows.group == 0).nonzero()[:, 0]
        return Proposal(plain.token[parent], parent=parent), state


# --- selectors, rewards, strategies ------------------------------------------------------------


@frozen
class Id(Selector):
    """Returns a candidate's id as if it were its place."""

    def select(self, pool):
        return pool.candidates[0].candidate


@frozen
class FirstListed(Selector):
    """Whoever comes first."""

    def select(self, pool):
        return 0


@frozen
class Coin(Selector):
    """Draws by Python's global stream."""

    def select(self, pool):
        return random.randrange(len(pool.candidates))


@frozen
class Sorts(Selector):
    """Sorts the pool's own list."""

    def select(self, pool):
        pool.candidates.sort(key=lambda t: t.candidate)
        return 0


@frozen
class Logs(Reward):
    """log 0."""

    def score(self, pool):
        with np.errstate(all="ignore"):
            return np.array([np.log(t.signals["margin"].min() - 2.0) for t in pool.candidates])


@frozen
class Remembers(Reward):
    """Divides by the largest score that it ever met."""

    top: list = field(factory=lambda: [0.0])

    def score(self, pool):
        scores = np.array([float(t.signals["margin"].sum()) for t in pool.candidates])
        self.top[0] = max(self.top[0], float(scores.max()))
        return scores / self.top[0]


@frozen
class Doubles(Sampler):
    """Twice as many rows as there were, up to a limit that nobody asked for."""

    scope = "cohort"
    most: int = param(16, "rows", ge=1)

    def propose(self, state, guided, confidence, step, sampling):
        parent = torch.arange(len(guided))
        if len(parent) * 2 <= self.most * len(step.rows.live):
            parent = parent.repeat_interleave(2)
        log_p = guided.log_probs[parent]
        token = inverse_cdf(log_p.exp(), step.noise_for(parent))
        return Proposal(token, parent=parent), state


#: Each mutant, and the check that is meant for its mistake.
MUTANTS: list[tuple[Any, str]] = [
    (NanOnTies(), "confidence-finite"),
    (OutOfRange(), "confidence-finite"),
    (Half(), "confidence-float32"),
    (OnTheCpu(), "confidence-device"),
    (MeetsTheCpu(), "confidence-device"),
    (AcrossPrompts(), "confidence-prompts-apart"),
    (SecretCohort(), "confidence-take-update"),
    (PromptFieldMemory(), "confidence-take-update"),
    (RowNumber(), "confidence-order"),
    (OnSelf(), "confidence-no-own-memory"),
    (InPlace(), "confidence-inputs"),
    (Buffer(), "confidence-causality"),
    (Dropout(), "confidence-determinism"),
    (NumpyNoise(), "confidence-global-randomness"),
    (Unsaved(), "confidence-save"),
    (SharedCopy(), "confidence-copy"),
    (Unreadable(), "confidence-round-trip"),
    (WrongAxis(), "confidence-memory"),
    (Unclamped(), "guidance-bounds"),
    (Infinite(), "guidance-bounds"),
    (Cutoff(), "termination-keeps-one"),
    (Hasty(), "termination-warmup"),
    (Greedy(), "termination-survivors"),
    (Spendthrift(), "termination-budget"),
    (ByPosition(), "termination-order"),
    (Undead(), "termination-no-revival"),
    (SharedThreshold(), "termination-prompts-apart"),
    (Uniform(), "sampler-distribution"),
    (Forbidden(), "sampler-permitted"),
    (LosesPrompts(), "sampler-permitted"),
    (GlobalDraw(), "sampler-global-randomness"),
    (SharedNoise(), "sampler-fork-noise"),
    (Id(), "selector-valid"),
    (FirstListed(), "selector-order"),
    (Coin(), "selector-global-randomness"),
    (Sorts(), "selector-runs"),
    (Logs(), "reward-finite"),
    (Remembers(), "reward-determinism"),
    (Strategy(sampler=Doubles()), "strategy-budget"),
    (Strategy(confidence=OnSelf(), selector=FinalConfidence()), "strategy-determinism"),
    (Strategy(confidence=AcrossPrompts()), "strategy-prompts-apart"),
    (Strategy(confidence=SecretCohort()), "strategy-prefix"),
    (Strategy(confidence=SharedCopy(), guidance=Wavering()), "strategy-copy"),
    (Strategy(sampler=GlobalDraw()), "strategy-global-randomness"),
]
