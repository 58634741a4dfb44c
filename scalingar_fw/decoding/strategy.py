"""A strategy: a frozen composition of components. The loop does not know which one it runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from attrs import field, frozen
from torch import Tensor

from scalingar_fw.decoding.components import (
    Component,
    ConfidenceEstimator,
    Context,
    Guidance,
    Pool,
    Sampler,
    Selector,
    Step,
    Termination,
    Verdict,
    check_kind,
)
from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.params import param, part
from scalingar_fw.decoding.sampling import Sampling, inverse_cdf, truncate
from scalingar_fw.decoding.signals import Guided, Signals
from scalingar_fw.decoding.state import Proposal
from scalingar_fw.errors import ContractError


@frozen
class NoConfidence(ConfidenceEstimator[Confidence]):
    """The neutral estimator: every candidate is equally good, C = 0.5."""

    def init(self, context: Context) -> Confidence:
        return Confidence.of(context.full(0.5))

    def update(
        self, state: Confidence, signals: Signals, step: Step
    ) -> tuple[Confidence, Confidence]:
        return state, state


@frozen
class ConstantGuidance(Guidance[Tensor]):
    """The neutral schedule: s_t = s_base, the scale of the model's preset or the user's."""

    def init(self, context: Context) -> Tensor:
        return context.full(context.sampling.guidance)

    def update(self, state: Tensor, confidence: Confidence, step: Step) -> tuple[Tensor, Tensor]:
        return state, state

    def bounds(self, sampling: Sampling) -> tuple[float, float]:
        return (sampling.guidance, sampling.guidance)


@frozen
class NeverTerminate(Termination[None]):
    """The neutral policy: every candidate is decoded to its end."""

    def update(self, state: None, confidence: Confidence, step: Step) -> tuple[Verdict, None]:
        return _NOBODY, None


_NOBODY = Verdict()


@frozen
class Multinomial(Sampler[None]):
    """Draw each row's token from its guided distribution by the inverse CDF of keyed noise."""

    def drawn_from(self, guided: Guided, sampling: Sampling) -> Tensor:
        kept = truncate(guided.logits, sampling)
        whole = kept is guided.logits  # nothing to truncate: the record needs the same log-softmax
        return guided.log_probs if whole else torch.log_softmax(kept, -1)

    def deterministic(self, sampling: Sampling) -> bool:
        own = type(self).propose is not Multinomial.propose  # a subclass that may draw all the same
        return sampling.temperature == 0.0 and not own

    def propose(
        self, state: None, guided: Guided, confidence: Confidence, step: Step, sampling: Sampling
    ) -> tuple[Proposal, None]:
        if sampling.temperature == 0.0:
            return Proposal(guided.logits.argmax(-1)), None
        return Proposal(inverse_cdf(self.drawn_from(guided, sampling).exp(), step.noise)), None


@frozen
class FinalConfidence(Selector):
    """The completed candidate with the highest C_T; ties go to the lower candidate id."""

    signal: str = param("confidence", "the recorded signal whose last value decides")

    @property
    def requires(self) -> Mapping[str, str]:
        return {self.signal: "a component that records it, or another selector.signal"}

    def select(self, pool: Pool) -> int:
        values = [t.final(self.signal) for t in pool.candidates]
        for t, value in zip(pool.candidates, values, strict=True):
            if math.isnan(value):
                raise ContractError(
                    f"The signal {self.signal!r} of candidate {t.candidate} is NaN at its last "
                    f"step, so nothing can be chosen by it (prompt {pool.prompt.label!r}): correct "
                    "the component that records it, or use another selector.signal."
                )
        return max(range(len(values)), key=lambda i: (values[i], -pool.candidates[i].candidate))


@frozen
class FirstCandidate(Selector):
    """The completed candidate with the lowest id: one sample of the model, nothing selected."""

    def select(self, pool: Pool) -> int:
        return min(range(len(pool.candidates)), key=lambda i: pool.candidates[i].candidate)


@frozen
class Strategy:
    """The parts of a test-time scaling method; neutral ones by default, which is plain sampling.

    Compose with `attrs.evolve`, or by name on the command line (`--set termination.quantile=0.3`).
    """

    name: str = field(default="custom")
    confidence: ConfidenceEstimator[Any] = part(NoConfidence, "what is read off the logits")
    guidance: Guidance[Any] = part(ConstantGuidance, "how hard the prompt is pushed")
    termination: Termination[Any] = part(NeverTerminate, "who may stay")
    sampler: Sampler[Any] = part(Multinomial, "which tokens are appended")
    selector: Selector = part(FirstCandidate, "which candidate is the answer")
    default_n: int = param(8, "candidates per prompt where the user names no number", ge=1)

    def __attrs_post_init__(self) -> None:
        for kind, component in self.parts.items():
            check_kind(kind, component)

    @property
    def oracle(self) -> bool:
        """Whether its answers are an upper bound: the selector looks at what is measured."""
        return self.selector.oracle

    @property
    def label(self) -> str:
        """The name for tables; an oracle says that it is one."""
        return f"{self.name} (oracle)" if self.oracle else self.name

    def candidates_equal(self, sampling: Sampling) -> bool:
        """Whether all candidates of a prompt would be one and the same: nothing is drawn, and none
        looks at the others."""
        alone = all(c.scope == "row" for c in (self.confidence, self.guidance, self.sampler))
        return alone and self.sampler.deterministic(sampling)

    @property
    def parts(self) -> dict[str, Component[Any]]:
        """The components by field name."""
        return {
            "confidence": self.confidence,
            "guidance": self.guidance,
            "termination": self.termination,
            "sampler": self.sampler,
            "selector": self.selector,
        }
