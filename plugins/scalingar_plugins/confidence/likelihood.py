"""Confidence as what the chosen tokens' log-probabilities and the entropy say, nothing fused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from attrs import frozen
from torch import Tensor

from scalingar_fw.decoding.components import ConfidenceEstimator, Context, Step
from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.params import param
from scalingar_fw.decoding.signals import Signals
from scalingar_fw.decoding.state import Chosen, candidate_field

UNDER = ("conditional", "guided")


def _so_far(before: Tensor, now: Tensor, step: Step, total: bool) -> Tensor:
    """The sum, or the mean, over the tokens up to this step's."""
    return before + now if total else torch.lerp(before, now, 1.0 / (step.index + 1))


@frozen
class LogProbConfidence(ConfidenceEstimator[Tensor]):
    """C_t: mean or summed log-probability (nats) of the tokens chosen so far; 0 before the first.

    In a step the policies before sampling see the tokens up to the last one, those after it the
    new one as well.
    """

    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {"confidence": (-math.inf, 0.0)}

    under: str = param(
        "conditional", "the distribution whose log-probability counts", choices=UNDER
    )
    total: bool = param(False, "the sum over tokens in place of their mean")

    def init(self, context: Context) -> Tensor:
        return context.full(0.0)

    def update(self, state: Tensor, signals: Signals, step: Step) -> tuple[Confidence, Tensor]:
        return Confidence.of(state), state

    def commit(
        self, state: Tensor, confidence: Confidence, chosen: Chosen, step: Step
    ) -> tuple[Confidence, Tensor]:
        now = chosen.log_prob_guided if self.under == "guided" else chosen.log_prob_cond
        value = _so_far(state, now, step, self.total)
        return Confidence.of(value), value


@frozen
class PmiConfidence(ConfidenceEstimator[Tensor]):
    """C_t: mean or summed pointwise mutual information with the prompt, log p_c - log p_u (nats),
    of the tokens chosen so far; 0 before the first.

    What the prompt does not decide (where an object lies, its background) is as likely with it as
    without it and cancels, which the log-probability alone keeps as noise. 0 throughout for a
    model without an unconditional branch.
    """

    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {"confidence": (-math.inf, math.inf)}

    total: bool = param(False, "the sum over tokens in place of their mean")

    def init(self, context: Context) -> Tensor:
        return context.full(0.0)

    def update(self, state: Tensor, signals: Signals, step: Step) -> tuple[Confidence, Tensor]:
        return Confidence.of(state), state

    def commit(
        self, state: Tensor, confidence: Confidence, chosen: Chosen, step: Step
    ) -> tuple[Confidence, Tensor]:
        now = chosen.log_prob_cond - chosen.log_prob_uncond
        value = _so_far(state, now, step, self.total)
        return Confidence.of(value), value


@frozen(eq=False)
class SurpriseState:
    """`value [N]`: C so far; `entropy [N]`: this step's, until the token is known."""

    value: Tensor = candidate_field()
    entropy: Tensor = candidate_field()


@frozen
class SurpriseConfidence(ConfidenceEstimator[SurpriseState]):
    """C_t: mean or summed log-probability of the tokens chosen so far, less what was to be expected
    of it: log p_c(x) + H(p_c), in nats; 0 before the first.

    A draw from p_c has expectation 0 whatever it draws, so a picture with more objects (and more
    undecided places) is not held against a candidate, as it is by the log-probability alone; tokens
    that were improbable where the model was sure are.
    """

    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {"confidence": (-math.inf, math.inf)}

    total: bool = param(False, "the sum over tokens in place of their mean")

    def init(self, context: Context) -> SurpriseState:
        return SurpriseState(context.full(0.0), context.full(0.0))

    def update(
        self, state: SurpriseState, signals: Signals, step: Step
    ) -> tuple[Confidence, SurpriseState]:
        return Confidence.of(state.value), SurpriseState(state.value, signals.entropy_nats)

    def commit(
        self, state: SurpriseState, confidence: Confidence, chosen: Chosen, step: Step
    ) -> tuple[Confidence, SurpriseState]:
        now = chosen.log_prob_cond + state.entropy
        value = _so_far(state.value, now, step, self.total)
        return Confidence.of(value), SurpriseState(value, state.entropy)


@frozen
class EntropyConfidence(ConfidenceEstimator[None]):
    """C_t = 1 - H_t: the normalised entropy of this step's conditional distribution, turned round.

    No memory and no smoothing.
    """

    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {"confidence": (0.0, 1.0)}

    def update(self, state: None, signals: Signals, step: Step) -> tuple[Confidence, None]:
        return Confidence.of(1.0 - signals.entropy), None
