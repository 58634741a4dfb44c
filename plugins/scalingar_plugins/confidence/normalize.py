"""N_rolling (eq. 6 and 7): a number without a fixed range, brought to [0, 1] by what came before.

The paper does not specify the normaliser, so each component that needs one has a parameter
`normalizer`:

- "z-score": the running z-score of the candidate's own history, squashed by the logistic function;
- "min-max": the place between the running extremes of the candidate's own history;
- "cohort": the z-score among the live candidates of the same prompt at this step, squashed
  likewise. It has no memory, and makes its component read other candidates (scope "cohort").

All give the neutral 0.5 where there are fewer than two observations or no variance.
"""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

from scalingar_fw.decoding.params import param
from scalingar_fw.decoding.state import Rows
from scalingar_fw.decoding.statistics import Extremes, Moments, group_logistic_z

Normalizer = Literal["z-score", "min-max", "cohort"]

#: What a normaliser remembers of each row.
Memory = Moments | Extremes | None


def normalizer_param(of: str) -> Any:
    """The field `normalizer` of a component that normalises `of`."""
    return param(
        "z-score",
        f"what brings {of} to [0, 1]: the candidate's own running z-score or running extremes, or "
        "the z-score across the live candidates of its prompt",
        source="paper does not specify",
        choices=("z-score", "min-max", "cohort"),
    )


def fresh(normalizer: Normalizer) -> Memory:
    """The memory before the first observation."""
    if normalizer == "z-score":
        return Moments()
    return Extremes() if normalizer == "min-max" else None


def normalize(memory: Memory, value: Tensor, rows: Rows) -> tuple[Tensor, Memory]:
    """`value [N]` in [0, 1], itself included in the statistics; and the memory with it."""
    if isinstance(memory, Moments):
        return memory.observe(value)
    if isinstance(memory, Extremes):
        memory = memory.push(value)
        return memory.unit(value), memory
    return group_logistic_z(value, rows), None
