"""What samplers that name parents share: rows in the order of candidate ids, and children.

Nothing here depends on where a row lies on the axis: a row's place is an accident of pruning.
"""

from __future__ import annotations

from typing import Any

import torch
from attrs import evolve
from torch import Tensor

from scalingar_fw.decoding.components import Context, Sampler, Step
from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.signals import Guided
from scalingar_fw.decoding.state import Children, Proposal, Rows, take
from scalingar_fw.errors import ScalingarError


def slots_by_candidate(rows: Rows) -> Tensor:
    """`[G, W]`: the rows of each prompt in the order of their candidate ids, padded with -1."""
    order = torch.argsort(rows.candidate_id, stable=True)
    order = order[torch.argsort(rows.group[order], stable=True)]
    starts = rows.live.cumsum(0) - rows.live
    group = rows.group[order]
    slots = torch.full_like(rows.slots, -1)
    column = torch.arange(len(order), device=order.device) - starts[group]
    slots[group, column] = order
    return slots


def lay_out(values: Tensor, slots: Tensor, fill: float) -> Tensor:
    """`values [N, ...]` as `[G, W, ...]`, with `fill` in empty places."""
    laid = values[slots.clamp_min(0)]
    empty = (slots < 0).view(*slots.shape, *[1] * (laid.dim() - 2))
    return laid.masked_fill(empty, fill)


def unchanged(parent: Tensor, count: int) -> bool:
    """Whether every one of `count` rows continues itself, so that nothing needs to move."""
    return len(parent) == count and bool(
        torch.equal(parent, torch.arange(count, device=parent.device))
    )


def at_children(step: Step, parent: Tensor) -> Step:
    """The same step, seen by the children of `parent [M]`: their names and their own noise."""
    names = Children.of(step.rows, parent, step.next_candidate)
    rows = Rows.of(names.prompt, names.candidate, step.rows.n_prompts, parent.device)
    return evolve(
        step,
        rows=rows,
        noise=step.noise_for(parent),
        next_candidate=names.next_candidate,
    )


def check_inner(inner: Sampler[Any], context: Context, owner: str) -> None:
    """A sampler inside another draws tokens for rows, and keeps nothing."""
    if inner.init(context) is not None:
        raise ScalingarError(
            f"sampler={type(inner).__name__} has a memory, so it can not draw the tokens inside "
            f"{owner}: use a sampler without one, such as multinomial."
        )


def draw_children(
    inner: Sampler[Any],
    parent: Tensor | None,
    guided: Guided,
    confidence: Confidence,
    step: Step,
    sampling: Sampling,
) -> Proposal:
    """The tokens that `inner` draws for the children of `parent [M]` (None: for the rows)."""
    if parent is not None:
        guided, confidence = take(guided, parent), take(confidence, parent)
        step = at_children(step, parent)
    drawn, _ = inner.propose(None, guided, confidence, step, sampling)
    if drawn.parent is not None:
        raise ScalingarError(
            f"sampler={type(inner).__name__} moves rows, so it can not draw the tokens inside "
            "another sampler: use one that does not, such as multinomial."
        )
    return evolve(drawn, parent=parent)
