"""The passive checker: a strategy whose components are watched while they work.

    decode(model, checked(strategy), prompts)

Every value that a component returns is held to its contract, every input to being left alone, and
every update is made twice: a component that keeps something on itself, or draws from a global
stream, answers differently the second time. What breaks raises `ContractError` with the
component's name. The results are those of the strategy itself; the run takes about twice as long
outside the model, and reads the device at every step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from attrs import evolve, frozen
from torch import Tensor

from scalingar_fw.decoding import contracts
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
from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.result import Status
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.signals import Guided, Signals
from scalingar_fw.decoding.state import Chosen, Proposal, candidate_field
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.decoding.wrapper import Wrapper
from scalingar_fw.errors import ContractError


def checked(strategy: Strategy) -> Strategy:
    """The same strategy, which fails loudly where a component breaks its contract."""
    return evolve(
        strategy,
        confidence=CheckedConfidence(strategy.confidence),
        guidance=CheckedGuidance(strategy.guidance),
        termination=CheckedTermination(strategy.termination),
        sampler=CheckedSampler(strategy.sampler),
        selector=CheckedSelector(strategy.selector),
    )


def _watched(
    component: Any, call: Callable[[], tuple[Any, Any]], step: Step, *inputs: Any
) -> tuple[Any, Any]:
    """`call()` made twice, with equal results, untouched inputs and no global randomness.

    What was returned must also still be what it was after the second call.
    """
    owner = contracts.name_of(component)
    with contracts.no_global_randomness(owner):
        first: tuple[Any, Any] = contracts.untouched(owner, call, step, *inputs)
        seen = contracts.snapshot(first)
        second = call()
    if not contracts.unchanged(seen, second):
        raise ContractError(
            f"{owner} answered differently to the same inputs at step {step.index}: its memory "
            "must be in the state that it is given, not on itself."
        )
    if not contracts.unchanged(seen, first):
        raise ContractError(
            f"{owner} overwrote what it had returned at step {step.index}: return new tensors."
        )
    return first


@frozen
class CheckedConfidence(Wrapper, ConfidenceEstimator[Any]):
    """Finite float32 confidences in their ranges; memory that moves with its rows."""

    watches: ClassVar[bool] = True
    inner: ConfidenceEstimator[Any]

    def init(self, context: Context) -> Any:
        state = self.inner.init(context)
        contracts.check_memory(contracts.name_of(self.inner), state, len(context.rows))
        return state

    def update(self, state: Any, signals: Signals, step: Step) -> tuple[Confidence, Any]:
        out = _watched(
            self.inner, lambda: self.inner.update(state, signals, step), step, state, signals
        )
        return self._held(out, step)

    def commit(
        self, state: Any, confidence: Confidence, chosen: Chosen, step: Step
    ) -> tuple[Confidence, Any]:
        out = _watched(
            self.inner,
            lambda: self.inner.commit(state, confidence, chosen, step),
            step,
            state,
            confidence,
            chosen,
        )
        return self._held(out, step)

    def _held(self, out: tuple[Confidence, Any], step: Step) -> tuple[Confidence, Any]:
        owner, device = contracts.name_of(self.inner), step.rows.group.device
        contracts.check_confidence(owner, out[0], step.rows, self.ranges, device)
        contracts.check_memory(owner, out[1], len(step.rows))
        return out


@frozen(eq=False)
class Bounded:
    """A schedule's memory, and the bounds of its scales in this run."""

    bounds: tuple[float, float]
    inner: Any = candidate_field()


@frozen
class CheckedGuidance(Wrapper, Guidance[Any]):
    """Finite scales within the schedule's bounds."""

    watches: ClassVar[bool] = True
    inner: Guidance[Any]

    def init(self, context: Context) -> Bounded:
        state = self.inner.init(context)
        contracts.check_memory(contracts.name_of(self.inner), state, len(context.rows))
        return Bounded(self.bounds(context.sampling), state)

    def update(self, state: Bounded, confidence: Confidence, step: Step) -> tuple[Tensor, Bounded]:
        inner = state.inner
        scale, memory = _watched(
            self.inner, lambda: self.inner.update(inner, confidence, step), step, inner, confidence
        )
        owner, device = contracts.name_of(self.inner), step.rows.group.device
        contracts.check_scale(owner, scale, step.rows, state.bounds, device)
        contracts.check_memory(owner, memory, len(step.rows))
        return scale, Bounded(state.bounds, memory)


@frozen
class CheckedTermination(Wrapper, Termination[Any]):
    """Verdicts over live rows that empty no prompt and keep the policy's promises."""

    watches: ClassVar[bool] = True
    inner: Termination[Any]

    def init(self, context: Context) -> Any:
        state = self.inner.init(context)
        contracts.check_memory(contracts.name_of(self.inner), state, len(context.rows))
        return state

    def update(self, state: Any, confidence: Confidence, step: Step) -> tuple[Verdict, Any]:
        verdict, memory = _watched(
            self.inner, lambda: self.inner.update(state, confidence, step), step, state, confidence
        )
        owner, device = contracts.name_of(self.inner), step.rows.group.device
        contracts.check_verdict(owner, verdict, step.rows, device)
        if step.index + 1 < step.total:  # at the last step every image is complete
            promised = self.promises(step.total)
            contracts.check_survivors(owner, verdict.terminate, step.rows, step.index, promised)
        contracts.check_memory(owner, memory, len(step.rows))
        return verdict, memory


@frozen
class CheckedSampler(Wrapper, Sampler[Any]):
    """Permitted tokens of live rows, for every prompt."""

    watches: ClassVar[bool] = True
    inner: Sampler[Any]

    def init(self, context: Context) -> Any:
        state = self.inner.init(context)
        contracts.check_memory(contracts.name_of(self.inner), state, len(context.rows))
        return state

    def propose(
        self, state: Any, guided: Guided, confidence: Confidence, step: Step, sampling: Sampling
    ) -> tuple[Proposal, Any]:
        proposal, memory = _watched(
            self.inner,
            lambda: self.inner.propose(state, guided, confidence, step, sampling),
            step,
            state,
            guided,
            confidence,
        )
        owner = contracts.name_of(self.inner)
        contracts.check_proposal(owner, proposal, guided.logits, step.rows)
        contracts.check_memory(owner, memory, len(proposal.token))
        return proposal, memory


@frozen
class CheckedSelector(Wrapper, Selector):
    """A completed candidate of the right prompt."""

    watches: ClassVar[bool] = True
    inner: Selector

    def select(self, pool: Pool) -> int:
        owner = contracts.name_of(self.inner)
        listed = list(pool.candidates)
        with contracts.no_global_randomness(owner), torch.no_grad():
            inputs = [(t.tokens, t.signals) for t in listed]
            pick = contracts.untouched(owner, lambda: self.inner.select(pool), inputs)
        if isinstance(pick, bool) or not hasattr(pick, "__index__"):
            raise ContractError(f"{owner} chose {pick!r}, which is no index.")
        if not 0 <= pick < len(listed):
            raise ContractError(f"{owner} chose candidate {pick} of {len(listed)} completed ones.")
        if any(a is not b for a, b in zip(listed, pool.candidates, strict=True)):
            raise ContractError(f"{owner} changed the list of candidates.")
        if listed[pick].status is not Status.COMPLETED:
            raise ContractError(f"{owner} chose a candidate that is not completed.")
        return int(pick)


__all__ = ["checked"]
