"""Successive halving: at a few fixed steps, only the best share of a prompt's candidates goes on.

Jamieson and Talwalkar (AISTATS 2016, "Non-stochastic Best Arm Identification and Hyperparameter
Optimization"), with tokens as the budget and candidates as the arms.
"""

from __future__ import annotations

import functools
from typing import Any, ClassVar

import torch
from attrs import frozen

from scalingar_fw.decoding.components import Promises, Scope, Step, Termination, Verdict
from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.params import param
from scalingar_fw.decoding.statistics import ceil_share, group_rank


@frozen
class SuccessiveHalving(Termination[Any]):
    """At each rung, keep the 1 / `reduction` of a prompt's live candidates with the highest C.

    Rung r = 0, 1, ... follows step ceil(`first_rung` * `reduction`^r * T), so that each stage
    after the first costs about what the one before it did. The number kept is rounded up and at
    least `min_survivors`; ties go to the lower candidate id. With the defaults 8 candidates become
    4, 2 and 1 after a sixth, a third and two thirds of the tokens: 3 T in all.

    C has to be comparable between the candidates of a prompt at one step; unlike a threshold on a
    smoothed quantile it need not be comparable between steps.
    """

    scope: ClassVar[Scope] = "cohort"

    reduction: float = param(2.0, "eta, how many times fewer candidates go on from a rung", gt=1.0)
    first_rung: float = param(
        1 / 6, "the first rung, as a share of the T steps, rounded up", gt=0.0, le=1.0
    )
    min_survivors: int = param(1, "candidates of a prompt that are always kept", ge=1)

    def rungs(self, total: int) -> tuple[int, ...]:
        """Numbers of tokens after which candidates are ended; below `total`, ascending."""
        return _rungs(self.first_rung, self.reduction, total)

    def update(self, state: None, confidence: Confidence, step: Step) -> tuple[Verdict, None]:
        rungs, rows = self.rungs(step.total), step.rows
        if step.index + 1 not in rungs or rows.slots.shape[1] <= self.min_survivors:
            return Verdict(), state
        keep = torch.ceil(rows.live / self.reduction).clamp_min(self.min_survivors)
        terminate = group_rank(confidence.value, rows) >= keep.long()[rows.group]
        place = rungs.index(step.index + 1) + 1
        reason = (
            f"its confidence {{confidence:.3f}} was not among the highest of its prompt at rung "
            f"{place} of {len(rungs)} (successive halving)"
        )
        return Verdict(terminate=terminate, reason=reason), state

    def promises(self, total: int) -> Promises:
        rungs = self.rungs(total)
        warmup = rungs[0] - 1 if rungs else total
        return Promises(warmup=warmup, survivors=self.min_survivors)


@functools.cache
def _rungs(first: float, reduction: float, total: int) -> tuple[int, ...]:
    found: list[int] = []
    share = first
    while (step := ceil_share(share, total)) < total:
        if step not in found:  # short images: several shares round to one step
            found.append(step)
        share *= reduction
    return tuple(found)
