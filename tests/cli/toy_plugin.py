"""A plugin file as a user writes one: a model without weights, a policy, a strategy, a command."""

from __future__ import annotations

from typing import Any

import torch
from attrs import evolve, frozen

from scalingar_fw import (
    Confidence,
    ConfidenceEstimator,
    ScalingarError,
    Status,
    Strategy,
    Termination,
    Verdict,
    hookimpl,
    param,
)
from scalingar_fw.decoding.strategy import FinalConfidence
from scalingar_fw.testing import ReferenceModel


class ToyModel(ReferenceModel):
    def encode(self, prompts):
        for prompt in prompts:
            if "xyzzy" in prompt.text:
                raise ScalingarError("unknown word 'xyzzy'. The toy model knows: all others.")
        return super().encode(prompts)


def load(*, device: torch.device, dtype: torch.dtype = torch.float32, weights: Any = None) -> Any:
    """Logits by hashing; `weights` must be a text file."""
    if weights is not None and not weights.read_bytes().isascii():
        raise ValueError(f"{weights} is damaged")
    return ToyModel(dtype=dtype, device=device, name="toy")


@frozen
class Margin(ConfidenceEstimator):
    """C_t is the mean margin so far."""

    rate: float = param(0.5, "EMA rate of the margin", source="eq. 0", gt=0.0, le=1.0)

    def init(self, context):
        return context.full(0.5)

    def update(self, state, signals, step):
        value = torch.lerp(state, signals.margin, self.rate)
        return Confidence.of(value), value


@frozen
class DropWorst(Termination):
    """Ends the worst candidate every `every` steps."""

    scope = "cohort"
    every: int = param(4, "steps between two prunings", ge=1)

    def update(self, state, confidence, step):
        if (step.index + 1) % self.every or len(step.rows) == 1:
            return Verdict(), None
        worst = torch.zeros(len(step.rows), dtype=torch.bool, device=confidence.value.device)
        for prompt in range(step.rows.n_prompts):
            mine = torch.from_numpy((step.rows.prompt == prompt).nonzero()[0])
            if len(mine) > 1:
                worst[mine[confidence.value[mine].argmin()]] = True
        reason = "confidence {confidence:.3f} was the lowest at step {step}"
        return Verdict(worst, Status.PRUNED, reason), None


TOY = Strategy(
    "toy-prune", confidence=Margin(), termination=DropWorst(), selector=FinalConfidence()
)


@hookimpl
def scalingar_register(registry):
    registry.add("model", "toy", load, "logits by hashing, 16 tokens")
    registry.add("confidence", "margin", Margin, "EMA of the margin")
    registry.add("termination", "drop-worst", DropWorst, "the worst goes every few steps")
    registry.add("strategy", "toy-prune", TOY, "drops the worst every 4 steps")
    registry.add("strategy", "toy-idle", evolve(TOY, name="toy-idle", termination=DropWorst(100)))
    registry.add("command", "hello", "toy_command_module:hello", "Say hello.")
