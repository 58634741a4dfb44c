"""A strategy: a frozen composition of components. The loop does not know which one it runs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from attrs import field, frozen
from torch import Tensor

from scalingar_fw.decoding.components import (
    ConfidenceEstimator,
    Context,
    Guidance,
    Pool,
    Sampler,
    Selector,
    Step,
    Termination,
    Verdict,
)
from scalingar_fw.decoding.params import param, part
from scalingar_fw.decoding.sampling import Sampling, inverse_cdf, truncate
from scalingar_fw.decoding.signals import Signals
from scalingar_fw.decoding.state import Confidence, Proposal


@frozen
class NoConfidence(ConfidenceEstimator):
    """The neutral estimator: every candidate is equally good, C = 0.5."""

    def init(self, context: Context) -> Confidence:
        return Confidence.of(context.full(0.5))

    def update(
        self, state: Confidence, signals: Signals, step: Step
    ) -> tuple[Confidence, Confidence]:
        return state, state


@frozen
class ConstantGuidance(Guidance):
    """The neutral schedule: s_t = s_base, the scale of the model's preset or the user's."""

    def init(self, context: Context) -> Tensor:
        return context.full(context.sampling.guidance)

    def update(self, state: Tensor, confidence: Confidence, step: Step) -> tuple[Tensor, Tensor]:
        return state, state

    def bounds(self, sampling: Sampling) -> tuple[float, float]:
        return (sampling.guidance, sampling.guidance)


@frozen
class NeverTerminate(Termination):
    """The neutral policy: every candidate is decoded to its end."""

    def update(self, state: None, confidence: Confidence, step: Step) -> tuple[Verdict, None]:
        return _NOBODY, None


_NOBODY = Verdict()


@frozen
class Multinomial(Sampler):
    """Draw each row's token from its guided distribution by the inverse CDF of keyed noise."""

    def propose(
        self, state: None, guided: Tensor, confidence: Confidence, step: Step, sampling: Sampling
    ) -> tuple[Proposal, None]:
        if sampling.temperature == 0.0:
            return Proposal(guided.argmax(-1), torch.zeros(len(guided), device=guided.device)), None
        log_p = torch.log_softmax(truncate(guided, sampling), -1)
        token = inverse_cdf(log_p.exp(), step.noise)
        return Proposal(token, log_p.gather(1, token[:, None])[:, 0]), None


@frozen
class FinalConfidence(Selector):
    """The completed candidate with the highest C_T; ties go to the lower candidate id."""

    signal: str = param("confidence", "the recorded signal whose last value decides")

    @property
    def requires(self) -> Mapping[str, str]:
        return {self.signal: "a component that records it, or another selector.signal"}

    def select(self, pool: Pool) -> int:
        best = max(
            range(len(pool.candidates)),
            key=lambda i: (pool.candidates[i].final(self.signal), -pool.candidates[i].candidate),
        )
        return best


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
    confidence: ConfidenceEstimator = part(NoConfidence, "what is read off the logits")
    guidance: Guidance = part(ConstantGuidance, "how hard the prompt is pushed")
    termination: Termination = part(NeverTerminate, "who may stay")
    sampler: Sampler = part(Multinomial, "which tokens are appended")
    selector: Selector = part(FirstCandidate, "which candidate is the answer")
    default_n: int = param(8, "candidates per prompt where the user names no number", ge=1)

    @property
    def oracle(self) -> bool:
        """Whether its answers are an upper bound: the selector looks at what is measured."""
        return bool(getattr(self.selector, "oracle", False))

    @property
    def label(self) -> str:
        """The name for tables; an oracle says that it is one."""
        return f"{self.name} (oracle)" if self.oracle else self.name

    @property
    def parts(self) -> dict[str, object]:
        """The components by field name."""
        return {
            "confidence": self.confidence,
            "guidance": self.guidance,
            "termination": self.termination,
            "sampler": self.sampler,
            "selector": self.selector,
        }
