"""Beams by confidence: sampling, with the best histories forked over the worst every k steps."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from attrs import frozen
from torch import Tensor

from scalingar_fw.decoding.components import Context, Sampler, Scope, Step
from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.params import param, part
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.signals import Guided
from scalingar_fw.decoding.state import Proposal
from scalingar_fw.decoding.statistics import group_rank
from scalingar_fw.decoding.strategy import Multinomial
from scalingar_plugins.samplers.lineage import (
    check_inner,
    draw_children,
    unchanged,
)


@frozen
class ConfidenceBeamSampler(Sampler[None]):
    """Every `every` steps the best `keep` of a prompt's rows by confidence stay and are forked.

    The number of rows stays what it is: the best gets the first spare place, the next best the
    second, and so on in turns. Between two such steps every row samples its own token. A row that
    a termination policy ended is not replaced.
    """

    scope: ClassVar[Scope] = "cohort"

    every: int = param(16, "k: steps between two selections", source="paper does not specify", ge=1)
    keep: float = param(0.5, "share of the live rows that is kept, rounded up", gt=0.0, le=1.0)
    signal: str = param("confidence", "what they are ranked by: a signal of the estimator")
    sampler: Sampler[Any] = part(Multinomial, "draws each row's token")

    def init(self, context: Context) -> None:
        check_inner(self.sampler, context, "confidence-beam")

    def drawn_from(self, guided: Guided, sampling: Sampling) -> Tensor | None:
        return self.sampler.drawn_from(guided, sampling)

    def propose(
        self, state: None, guided: Guided, confidence: Confidence, step: Step, sampling: Sampling
    ) -> tuple[Proposal, None]:
        parent = None
        if step.index and step.index % self.every == 0:
            parent = self._parents(confidence.signal(self.signal), step)
            parent = None if unchanged(parent, len(step.rows)) else parent
        return draw_children(self.sampler, parent, guided, confidence, step, sampling), None

    def _parents(self, value: Tensor, step: Step) -> Tensor:
        """Whom each row of the next step continues: by rank, each kept one, then forks in turns."""
        rows = step.rows
        rank = group_rank(value, rows)
        live = rows.live
        kept = torch.ceil(live.float() * self.keep - 1e-4).long().clamp_min(1)  # 0.3 of 10 is 3
        by_rank = torch.full_like(rows.slots, -1)
        by_rank[rows.group, rank] = torch.arange(len(rows), device=rank.device)
        place = torch.arange(rows.slots.shape[1], device=rank.device).expand_as(rows.slots)
        # The i-th place of a prompt, by rank, goes to the row of rank i modulo the kept ones.
        chosen = by_rank.gather(1, place % kept[:, None])
        return chosen[place < live[:, None]]
