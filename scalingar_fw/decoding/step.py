"""The order of a step, written once: the loop, replay and the conformance player call these.

    observe     signals of the logits -> confidence -> guidance scale
    (the loop samples here: guided logits -> proposal; replay reads the recorded token instead)
    commit      the chosen tokens' log-probabilities -> confidence
    terminate   confidence -> verdict
    departures  verdict -> who leaves, with status and sentence

Pure functions of a strategy, the memories of its components, and what the step brings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray
from torch import Tensor

from scalingar_fw.decoding.components import Context, Step, Verdict
from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.result import Array, Status
from scalingar_fw.decoding.signals import Signals
from scalingar_fw.decoding.state import Chosen, Rows, candidate_field
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.decoding.wrapper import author_of
from scalingar_fw.errors import ContractError


@frozen(eq=False)
class Memories:
    """What each component of a strategy remembers of the live rows."""

    confidence: Any = candidate_field()
    guidance: Any = candidate_field()
    termination: Any = candidate_field()
    sampler: Any = candidate_field()


def remember(strategy: Strategy, context: Context) -> Memories:
    """Every component's `init`.

    Raises:
        ScalingarError: a component refuses its settings for this model and grid.
    """
    context = evolve(context, most_rows=strategy.sampler.most_rows(context))
    strategy.selector.init(context)
    return Memories(
        confidence=strategy.confidence.init(context),
        guidance=strategy.guidance.init(context),
        termination=strategy.termination.init(context),
        sampler=strategy.sampler.init(context),
    )


def observe(
    strategy: Strategy, memories: Memories, signals: Signals, step: Step
) -> tuple[Confidence, Tensor, Memories]:
    """Profile, then policy: confidence before the token is chosen, and the guidance scale `[N]`."""
    confidence, mind = strategy.confidence.update(memories.confidence, signals, step)
    _one_each(strategy.confidence, "confidence", confidence.value, step)
    scale, guidance = strategy.guidance.update(memories.guidance, confidence, step)
    _one_each(strategy.guidance, "guidance scale", scale, step)
    return confidence, scale, evolve(memories, confidence=mind, guidance=guidance)


def commit(
    strategy: Strategy, memories: Memories, confidence: Confidence, chosen: Chosen, step: Step
) -> tuple[Confidence, Memories]:
    """Confidence once the tokens are chosen."""
    confidence, mind = strategy.confidence.commit(memories.confidence, confidence, chosen, step)
    _one_each(strategy.confidence, "confidence", confidence.value, step)
    return confidence, evolve(memories, confidence=mind)


def terminate(
    strategy: Strategy, memories: Memories, confidence: Confidence, step: Step
) -> tuple[Verdict, Memories]:
    """With everything known, who may stay. The last step's verdict ends nobody: see `leaving`."""
    verdict, policy = strategy.termination.update(memories.termination, confidence, step)
    return verdict, evolve(memories, termination=policy)


def _one_each(component: object, what: str, value: object, step: Step) -> None:
    """A number for each row: of another length it would be spread over them, or end in torch."""
    rows = len(step.rows)
    shape = tuple(value.shape) if isinstance(value, Tensor) else None
    if shape == (rows,) and value.is_floating_point():  # type: ignore[attr-defined]
        return
    kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
    raise ContractError(
        f"{type(component).__name__} gave a {what} of shape {shape} and type {kind} at step "
        f"{step.index}: it must be [{rows}] of floating point, one number for each live row."
    )


def leaving(verdict: Verdict, step: Step) -> NDArray[np.int64]:
    """The rows that a verdict ends, `[K]`; none at the last step, where every image is complete.

    One host read, if any row may go.
    """
    if verdict.terminate is None or step.index + 1 == step.total:
        return np.empty(0, dtype=np.int64)
    return np.flatnonzero(verdict.terminate.cpu().numpy())


@frozen
class Departure:
    """A row that leaves at this step: its place, how it ends, and the sentence that says why."""

    row: int
    status: Status
    sentence: str


def departures(
    strategy: Strategy, verdict: Verdict, values: Mapping[str, Tensor], step: Step
) -> list[Departure]:
    """Who leaves, in the order of the rows, with each sentence's fields filled in from `values`,
    the record of this step (`[N]` each).

    Raises:
        ContractError: a prompt would be left without a live candidate.
    """
    gone = leaving(verdict, step)
    if not len(gone):
        return []
    _keep_one(strategy, step.rows, gone, step.index)
    read = {name: value[gone].tolist() for name, value in values.items()}
    out = []
    for place, (row, (status, reason)) in enumerate(
        zip(gone.tolist(), _reasons(verdict, gone), strict=True)
    ):
        # An estimator may record something of its own under the name "step".
        known = {**{name: value[place] for name, value in read.items()}, "step": step.index}
        owner = type(author_of(strategy.termination)).__name__
        out.append(Departure(row, status, sentence(owner, reason, known)))
    return out


def sentence(owner: str, reason: str, known: Mapping[str, Any]) -> str:
    """`reason` with its fields filled in.

    Raises:
        ContractError: it says nothing, or has a field that was not recorded at this step.
    """
    if not isinstance(reason, str) or not reason.strip():
        raise ContractError(
            f"{owner} gives the reason {reason!r}: say in a sentence why a candidate ends."
        )
    try:
        return reason.format(**known)
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise ContractError(
            f"{owner} gives the reason {reason!r}, which can not be filled in "
            f"({type(error).__name__}: {error}). Recorded at this step: {', '.join(known)}."
        ) from error


def _keep_one(strategy: Strategy, rows: Rows, gone: Array, index: int) -> None:
    stay = np.delete(rows.prompt, gone)
    emptied = sorted(set(rows.prompt.tolist()) - set(stay.tolist()))
    if emptied:
        raise ContractError(
            f"{type(author_of(strategy.termination)).__name__} would end the last live candidate of prompt "
            f"{emptied[0]} at step {index}: a policy must keep one (min_survivors)."
        )


def _reasons(verdict: Verdict, gone: Array) -> list[tuple[Status, str]]:
    """Status and sentence (fields not yet filled in) of each row that leaves."""
    why = [(verdict.status, verdict.reason)] * len(gone)
    for other in reversed(verdict.exceptions):
        if other.terminate is not None:
            named = other.terminate.cpu().numpy()[gone]
            why = [
                (other.status, other.reason) if is_named else before
                for is_named, before in zip(named, why, strict=True)
            ]
    return why


#: What the loop itself records of each step; nothing else may be recorded under these names.
RESERVED = (
    "token",
    "entropy_nats",
    "entropy",
    "margin",
    "kl",
    "log_prob_cond",
    "log_prob_uncond",
    "log_prob_guided",
    "scale",
)


def recorded(
    before: Mapping[str, Tensor],
    confidence: Confidence,
    verdict: Verdict,
    sampler: Mapping[str, Tensor] = MappingProxyType({}),
) -> dict[str, Tensor]:
    """The record of a step: `before` (the loop's own quantities), then the sampler's, the
    estimator's and the policy's.

    Raises:
        ContractError: two of them record something under one name.
    """
    parts = (before, sampler, confidence.recorded(), verdict.trace)
    values = {name: value for part in parts for name, value in part.items()}
    if len(values) < sum(map(len, parts)):
        count = Counter(name for part in parts for name in part)
        twice = sorted(name for name, times in count.items() if times > 1)
        raise ContractError(
            f"{twice[0]!r} is recorded twice in one step: a signal of the estimator, or a trace of "
            "the policy or sampler, needs a name of its own."
        )
    return values


__all__ = [
    "RESERVED",
    "Departure",
    "Memories",
    "commit",
    "departures",
    "leaving",
    "observe",
    "recorded",
    "remember",
    "sentence",
    "terminate",
]
