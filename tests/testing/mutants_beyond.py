"""More components that are broken on purpose: mistakes that show beyond one small run.

Late, on a rare token, on the ninth row; in another process, at another time; in names, sentences
and settings that are shared with everybody; in how a class is written at all.
"""

from __future__ import annotations

import random
import time
from typing import Any, ClassVar

import numpy as np
import torch
from attrs import evolve, field, frozen

from scalingar_fw import (
    Confidence,
    ConfidenceEstimator,
    Guidance,
    Multinomial,
    Promises,
    Proposal,
    Reward,
    Sampler,
    Selector,
    Termination,
    Verdict,
    group_rank,
    param,
)
from scalingar_fw.decoding.sampling import inverse_cdf, truncate

# --- confidence estimators ---------------------------------------------------------------------


class Margin(ConfidenceEstimator):
    """A right one, from which the others are made."""

    def update(self, state, signals, step):
        return Confidence.of(self.read(signals, step)), state

    def read(self, signals, step):
        return signals.margin


class LateNan(Margin):
    """Divides by the steps that are left before step 40."""

    def read(self, signals, step):
        return signals.margin / (40.0 - step.index if step.index <= 40 else 1.0)


class NinthRow(Margin):
    """A buffer for eight rows: whoever comes later is worth nothing."""

    scope = "cohort"

    def read(self, signals, step):
        return signals.margin * (torch.arange(len(signals.margin)) < 8).float()


class RareToken(Margin):
    """The logarithm of the distance from token 57."""

    def commit(self, state, confidence, chosen, step):
        return Confidence.of((chosen.token - 57).abs().float().log()), state


class ModuleCache(Margin):
    """What was computed at a step is kept for that step, in the module."""

    def read(self, signals, step):
        first = _CACHE.setdefault((step.index, len(signals.margin)), float(signals.entropy.sum()))
        return signals.margin + first


_CACHE: dict[Any, float] = {}


class HashOfText(Margin):
    """A number for each prompt, by Python's hash of its text."""

    def read(self, signals, step):
        salt = [hash(p.text) % 97 / 97 for p in step.prompts]
        return signals.margin + torch.tensor([salt[p] for p in step.rows.prompt.tolist()])


class ShadowsEntropy(Margin):
    """Records its own idea of the entropy under the name of the model's."""

    def update(self, state, signals, step):
        return Confidence.of(signals.margin, entropy=1.0 - signals.margin), state


class Deadline(Margin):
    """Stops looking when an image takes too long."""

    def init(self, context):
        return {"began": time.monotonic()}

    def update(self, state, signals, step):
        late = time.monotonic() - state["began"] > 600.0
        return Confidence.of(signals.margin * (0.0 if late else 1.0)), state


class QuietNumpy(Margin):
    """Switches numpy's warnings off, for everybody and for ever."""

    def read(self, signals, step):
        np.seterr(all="ignore")
        return signals.margin


class Share(Margin):
    """Divides by how many rows there are."""

    def read(self, signals, step):
        return signals.margin / len(signals.margin)


class NotFrozen(Margin):
    """Forgot `@frozen`."""

    power: float = param(2.0, "of the margin", gt=0.0)

    def read(self, signals, step):
        return signals.margin**self.power


class Alone(Margin):
    """Forgot to return its memory."""

    def update(self, state, signals, step):
        return Confidence.of(signals.margin)


class Column(Margin):
    """`[N, 1]` instead of `[N]`."""

    def read(self, signals, step):
        return signals.margin[:, None]


class BareTensor(Margin):
    """A tensor instead of a Confidence."""

    def update(self, state, signals, step):
        return signals.margin, state


class PlainSettings(Margin):
    """Settings by `__init__`, which no configuration reaches."""

    def __init__(self, power=2.0):
        self.power = power

    def read(self, signals, step):
        return signals.margin**self.power


class Double(Margin):
    """Float64, from a table of numpy."""

    def read(self, signals, step):
        return signals.margin * torch.from_numpy(np.ones(1))


class LogMargin(Margin):
    """The logarithm of 0."""

    def read(self, signals, step):
        return signals.margin.log()


@frozen
class OwnStream(Margin):
    """A generator of its own, on itself."""

    stream: Any = field(factory=lambda: np.random.default_rng(0))

    def read(self, signals, step):
        return signals.margin + float(self.stream.random())


class Typo(Margin):
    """A misspelt signal."""

    def read(self, signals, step):
        return signals.margn


class CrashesWithForks(Margin):
    """Knows the four candidates that it began with by number."""

    def read(self, signals, step):
        if int(step.rows.candidate.max()) > 3:
            raise KeyError(int(step.rows.candidate.max()))
        return signals.margin


# --- guidance ----------------------------------------------------------------------------------


class Base(Guidance):
    """A right one: the base scale."""

    def init(self, context):
        return context.full(context.sampling.guidance)

    def update(self, state, confidence, step):
        return self.scale(state, confidence, step), state

    def scale(self, state, confidence, step):
        return state


class HalvesInPlace(Base):
    """Writes into the confidence."""

    def scale(self, state, confidence, step):
        return state + confidence.value.mul_(0.5)


class FollowsTheBatch(Base):
    """The batch's mean confidence decides everybody's scale."""

    scope = "cohort"

    def scale(self, state, confidence, step):
        return state + 1.0 - confidence.value.mean()


class RunsAway(Base):
    """Doubles at each step, which is harmless in small images."""

    def scale(self, state, confidence, step):
        return (state + 1.0) * 2.0**step.index

    def bounds(self, sampling):
        return (0.0, 1e6)


class MissingSignal(Base):
    """A misspelt signal of the estimator."""

    def scale(self, state, confidence, step):
        return state * confidence.signals["drfit"]


class HalfScale(Base):
    """Half precision."""

    def scale(self, state, confidence, step):
        return state.half()


class CachedScale(Base):
    """A cache by step, whatever the base scale."""

    def scale(self, state, confidence, step):
        return torch.full_like(state, _first_scale(step.index, state))


def _first_scale(index, state):
    return _SCALES.setdefault(index, float(state[0]))


_SCALES: dict[int, float] = {}


class ByCompany(Base):
    """Says "row" and counts the live candidates."""

    def scale(self, state, confidence, step):
        return state + step.rows.live[step.rows.group].float()


# --- termination -------------------------------------------------------------------------------


class Worst(Termination):
    """A right one: ends the least confident of each prompt while there are two."""

    scope = "cohort"

    def update(self, state, confidence, step):
        return Verdict(self.ended(confidence, step)), state

    def ended(self, confidence, step):
        rank = group_rank(confidence.value, step.rows)
        return (rank == (step.rows.live - 1)[step.rows.group]) & (rank > 0)


class UnknownField(Worst):
    """A sentence about a quantity that nobody records."""

    def update(self, state, confidence, step):
        return Verdict(
            self.ended(confidence, step), reason="{confidence:.2f} < {threshold:.2f}"
        ), state


class NoReason(Worst):
    """Says nothing."""

    def update(self, state, confidence, step):
        return Verdict(self.ended(confidence, step), reason=" "), state


class BadFormat(Worst):
    """A format that no number has."""

    def update(self, state, confidence, step):
        return Verdict(self.ended(confidence, step), reason="{confidence:d}"), state


class LateMassacre(Worst):
    """Gives up on everybody after forty steps."""

    def ended(self, confidence, step):
        return torch.full_like(confidence.value, step.index >= 40, dtype=torch.bool)


class Impatient(Worst):
    """Ends more the later it is on the wall."""

    def ended(self, confidence, step):
        late = time.time() > 1.99e9
        return (
            super().ended(confidence, step) if late else torch.zeros_like(confidence.value).bool()
        )


class TracesScale(Worst):
    """Records its threshold under the name of the guidance scale."""

    def update(self, state, confidence, step):
        return Verdict(self.ended(confidence, step), trace={"scale": confidence.value}), state


class FreshDice(Worst):
    """A new generator each time, seeded by the machine."""

    def ended(self, confidence, step):
        lucky = torch.from_numpy(np.random.default_rng().random(len(step.rows))) < 0.5
        return super().ended(confidence, step) & lucky


class PerPrompt(Worst):
    """A table by prompt, kept as if it were by candidate."""

    def init(self, context):
        return torch.zeros(context.rows.n_prompts + 7)


class CountsFromTheStart(Worst):
    """Keeps half of those that there were, and never looks again how many are left."""

    def init(self, context):
        return {"keep": int(context.rows.live.max()) // 2}

    def update(self, state, confidence, step):
        worse = group_rank(confidence.value, step.rows) >= max(1, state["keep"] - step.index)
        return Verdict(worse), state

    def promises(self, total):
        return Promises(survivors=2)


class FloatMask(Worst):
    """A mask of floats."""

    def ended(self, confidence, step):
        return super().ended(confidence, step).float()


# --- samplers ----------------------------------------------------------------------------------


class AlwaysBest(Sampler):
    """Takes the likeliest token and calls it sampling."""

    def propose(self, state, guided, confidence, step, sampling):
        return Proposal(guided.logits.argmax(-1)), state


class NaiveCdf(Sampler):
    """Counts what lies below the noise in a float32 sum."""

    def propose(self, state, guided, confidence, step, sampling):
        log_p = torch.log_softmax(truncate(guided.logits, sampling), -1)
        cdf = log_p.exp().cumsum(-1)
        return Proposal((cdf < step.noise[:, None] + 1e-6).sum(-1)), state


class ZeroIsFirst(Sampler):
    """A noise of 0 means the first token, whether or not it is permitted."""

    def propose(self, state, guided, confidence, step, sampling):
        token = inverse_cdf(truncate(guided.logits, sampling).softmax(-1), step.noise)
        return Proposal(torch.where(step.noise == 0.0, 0, token)), state


class IgnoresTopK(Multinomial):
    """The user's temperature, and not the user's truncation."""

    def drawn_from(self, guided, sampling):
        return super().drawn_from(guided, evolve(sampling, top_k=0, top_p=1.0))


class IgnoresTemperature(Sampler):
    """Draws at a temperature of 1, whatever was asked for."""

    def propose(self, state, guided, confidence, step, sampling):
        kept = truncate(guided.logits, evolve(sampling, temperature=1.0))
        return Proposal(inverse_cdf(kept.softmax(-1), step.noise)), state


class PastTheEnd(Multinomial):
    """Numbers tokens from 1 from token 62 on."""

    def propose(self, state, guided, confidence, step, sampling):
        drawn, state = super().propose(state, guided, confidence, step, sampling)
        return Proposal(drawn.token + (drawn.token >= 62) * 2), state


class OneNoiseForAll(Multinomial):
    """The first row's number for every row."""

    def propose(self, state, guided, confidence, step, sampling):
        same = evolve(step, noise=step.noise[:1].expand(len(step.noise)))
        return super().propose(state, guided, confidence, same, sampling)


class TracesEntropy(Multinomial):
    """Records the entropy of what it drew from under the name of the model's."""

    def propose(self, state, guided, confidence, step, sampling):
        drawn, state = super().propose(state, guided, confidence, step, sampling)
        return evolve(drawn, trace={"entropy": confidence.value}), state


class Sharpens(Multinomial):
    """Draws at half the temperature that it states."""

    def propose(self, state, guided, confidence, step, sampling):
        p = (2.0 * self.drawn_from(guided, sampling)).softmax(-1)
        if sampling.temperature == 0.0:
            return Proposal(guided.logits.argmax(-1)), state
        return Proposal(inverse_cdf(p, step.noise)), state


class DeadParents(Multinomial):
    """Continues candidates by their number, as if it were their row."""

    scope = "cohort"

    def propose(self, state, guided, confidence, step, sampling):
        drawn, state = super().propose(state, guided, confidence, step, sampling)
        return evolve(drawn, parent=step.rows.candidate_id + step.index), state


class Reseeds(Multinomial):
    """Seeds torch at each step, so that it be reproducible."""

    def propose(self, state, guided, confidence, step, sampling):
        torch.manual_seed(step.index)
        return super().propose(state, guided, confidence, step, sampling)


# --- selectors and rewards ---------------------------------------------------------------------


class Highest(Selector):
    """A right one: the highest final confidence, ties by number."""

    def select(self, pool):
        def key(place):
            return (self.value(pool, place), -pool.candidates[place].candidate)

        return max(range(len(pool.candidates)), key=key)

    def value(self, pool, place):
        return pool.candidates[place].final("confidence")


class Undeclared(Highest):
    """Reads a signal that it does not require."""

    def value(self, pool, place):
        return float(pool.candidates[place].signals["rebound"].sum())


class HashedTie(Highest):
    """Breaks ties by a hash of the prompt and the number."""

    def value(self, pool, place):
        return hash(f"{pool.prompt.text} {pool.candidates[place].candidate}")


class Prints(Highest):
    """Shortens what numpy prints, for everybody."""

    def select(self, pool):
        np.set_printoptions(precision=2)
        return super().select(pool)


class LookedAtTheClock(Highest):
    """The first half of an hour likes the first half of the candidates."""

    def value(self, pool, place):
        return -pool.candidates[place].candidate * (1 if time.time() < 1.99e9 else -1)


class FloatIndex(Highest):
    """An index that is a float."""

    def select(self, pool):
        return float(super().select(pool))


class Annotates(Highest):
    """Leaves a note in the recorded signals."""

    def select(self, pool):
        for t in pool.candidates:
            t.signals["seen"] = np.ones(1)
        return super().select(pool)


class Mean(Reward):
    """A right one: the mean confidence."""

    def score(self, pool):
        return np.array([float(t.signals["confidence"].mean()) for t in pool.candidates])


class OneShort(Mean):
    """Differences of neighbours: one score too few."""

    def score(self, pool):
        return np.diff(super().score(pool))


class AgainstTheFirst(Mean):
    """Scores relative to whoever comes first."""

    def score(self, pool):
        scores = super().score(pool)
        return scores - scores[0]


class NeedsDrift(Mean):
    """Reads the drift, which most estimators do not record."""

    def score(self, pool):
        return np.array([t.final("drift") for t in pool.candidates])


class RunningMean(Mean):
    """Centred by the mean of all that it ever saw, kept in the class."""

    seen: ClassVar[list[float]] = []

    def score(self, pool):
        scores = super().score(pool)
        self.seen.extend(scores.tolist())
        return scores - np.mean(self.seen)


class Jitter(Mean):
    """Breaks ties by numbers in the order of the list."""

    def score(self, pool):
        return super().score(pool) + np.random.default_rng(pool.seed).random(len(pool.candidates))


class Scaled(Mean):
    """Scales by Python's hash of the prompt."""

    def score(self, pool):
        return super().score(pool) * (1 + hash(pool.prompt.text) % 7)


# --- observers ---------------------------------------------------------------------------------


class Rounds:
    """Rounds what it is shown, in place."""

    def on_token(self, event):
        np.round(event["margin"], 2, out=event["margin"])


class Misses:
    """Reads a field that events do not have."""

    def on_decode_start(self, event):
        self.total = event.steps


class NoEvent:
    """Waits for an event that never comes."""

    def on_tokens(self, event):
        pass

    def on_decode_end(self, result):
        pass


class Samples:
    """Logs one step in ten, by Python's global stream."""

    def on_token(self, event):
        if random.random() < 0.1:
            self.last = event.index


class Closes:
    """Closes its file after the first run."""

    def __init__(self):
        self.lines: Any = []

    def on_token(self, event):
        self.lines.append(event.index)

    def on_decode_end(self, result):
        self.lines = None


class Precision:
    """Chooses how numpy prints, for everybody."""

    def on_decode_start(self, event):
        np.set_printoptions(precision=3)


class Retouches:
    """Replaces the recorded confidence by its own."""

    def on_decode_end(self, result):
        for t in result.trajectories:
            t.signals["confidence"] = np.zeros_like(t.signals["confidence"])


#: Each mutant, and the check that is meant for its mistake.
MUTANTS: list[tuple[Any, str]] = [
    (LateNan(), "confidence-scale"),
    (NinthRow(), "confidence-scale"),
    (RareToken(), "confidence-scale"),
    (ModuleCache(), "confidence-fresh-process"),
    (HashOfText(), "confidence-fresh-process"),
    (ShadowsEntropy(), "confidence-names"),
    (Deadline(), "confidence-clock"),
    (QuietNumpy(), "confidence-global-settings"),
    (Share(), "confidence-prefix"),
    (NotFrozen(), "confidence-runs"),
    (Alone(), "confidence-runs"),
    (Column(), "confidence-runs"),
    (BareTensor(), "confidence-runs"),
    (Typo(), "confidence-runs"),
    (PlainSettings(), "confidence-round-trip"),
    (Double(), "confidence-float32"),
    (LogMargin(), "confidence-finite"),
    (OwnStream(), "confidence-no-own-memory"),
    (HalvesInPlace(), "guidance-inputs"),
    (FollowsTheBatch(), "guidance-prompts-apart"),
    (RunsAway(), "guidance-scale"),
    (MissingSignal(), "guidance-runs"),
    (HalfScale(), "guidance-float32"),
    (CachedScale(), "guidance-fresh-process"),
    (ByCompany(), "guidance-prefix"),
    (UnknownField(), "termination-sentences"),
    (NoReason(), "termination-sentences"),
    (BadFormat(), "termination-sentences"),
    (LateMassacre(), "termination-scale"),
    (Impatient(), "termination-clock"),
    (TracesScale(), "termination-names"),
    (FreshDice(), "termination-determinism"),
    (PerPrompt(), "termination-memory"),
    (CountsFromTheStart(), "termination-survivors"),
    (FloatMask(), "termination-no-revival"),
    (AlwaysBest(), "sampler-seed-matters"),
    (NaiveCdf(), "sampler-extreme-noise"),
    (ZeroIsFirst(), "sampler-extreme-noise"),
    (IgnoresTopK(), "sampler-settings-act"),
    (IgnoresTemperature(), "sampler-settings-act"),
    (PastTheEnd(), "sampler-scale"),
    (OneNoiseForAll(), "sampler-order"),
    (TracesEntropy(), "sampler-names"),
    (Sharpens(), "sampler-distribution"),
    (DeadParents(), "sampler-runs"),
    (Reseeds(), "sampler-global-randomness"),
    (Undeclared(), "selector-needs"),
    (HashedTie(), "selector-fresh-process"),
    (Prints(), "selector-global-settings"),
    (LookedAtTheClock(), "selector-clock"),
    (FloatIndex(), "selector-valid"),
    (Annotates(), "selector-inputs"),
    (OneShort(), "reward-finite"),
    (AgainstTheFirst(), "reward-order"),
    (NeedsDrift(), "reward-needs"),
    (RunningMean(), "reward-determinism"),
    (Jitter(), "reward-order"),
    (Scaled(), "reward-fresh-process"),
    (Rounds(), "observer-runs"),
    (Misses(), "observer-runs"),
    (NoEvent(), "observer-runs"),
    (Samples(), "observer-global-randomness"),
    (Closes(), "observer-determinism"),
    (Precision(), "observer-global-settings"),
    (Retouches(), "observer-results"),
]

#: What they are made of, which is right.
RIGHT: list[Any] = [Margin(), Base(), Worst(), Highest(), Mean()]
